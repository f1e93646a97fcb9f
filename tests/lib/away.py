"""A network namespace for a browser, in which ports of loopback lead here.

    away = Away(7080, 7443)
    subprocess.Popen([*away.enter, "chromium"], pass_fds=[away.fd])

A browser on the machine where sandboxes come and go sees their interfaces
come and go, takes that for another network each time, and breaks off what it
was loading. Users' browsers are elsewhere.
"""

import socket
import subprocess
import threading

from linkpeer import Namespace


class Away:
    def __init__(self, *ports):
        self.namespace = Namespace()
        self.fd = self.namespace.fd
        self.enter = ["nsenter", f"--net=/proc/self/fd/{self.fd}"]
        # With loopback alone a browser believes that it is offline.
        for command in ("link add eth0 type veth peer name eth1",
                        "addr add 192.0.2.1/24 dev eth0",
                        "link set eth0 up", "link set eth1 up"):
            subprocess.run([*self.enter, "ip", *command.split()], check=True,
                           pass_fds=[self.fd])
        self.listeners = [self.listen(port) for port in ports]

    def listen(self, port):
        s = self.namespace.socket(socket.AF_INET)
        s.bind(("127.0.0.1", port))
        s.listen(128)
        threading.Thread(target=self.accept, args=(s, port),
                         daemon=True).start()
        return s

    def accept(self, listener, port):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:             # stop()
                return
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:
                near.close()
                continue
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=carry, args=(a, b),
                                 daemon=True).start()

    def stop(self):
        for s in self.listeners:
            s.shutdown(socket.SHUT_RDWR)
            s.close()
        self.namespace.close()


def carry(a, b):
    """What comes from one goes to the other, its end too."""
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:             # it is closed already
                pass
