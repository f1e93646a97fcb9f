"""The outside world, on this machine: a network namespace behind a route.

    with Outside() as out:
        out.public      an address anybody may talk to: HTTP 80, TLS 443, DNS
        out.private     one in 10.0.0.0/8, same servers
        out.metadata    169.254.169.254, same servers

Run as a program it is the servers inside the namespace.
"""

import os
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading

from traces import until

PUBLIC, PRIVATE, METADATA = "203.0.113.2", "10.233.7.2", "169.254.169.254"
NAME = "hfoutside"


def ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True)


class Outside:
    public, private, metadata = PUBLIC, PRIVATE, METADATA

    def __enter__(self):
        self.close()
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def open(self):
        ip("netns", "add", NAME)
        ip("link", "add", NAME, "type", "veth", "peer", "name", "eth0",
           "netns", NAME)
        ip("addr", "add", "203.0.113.1/24", "dev", NAME)
        ip("link", "set", NAME, "up")
        ip("-n", NAME, "link", "set", "lo", "up")
        ip("-n", NAME, "addr", "add", f"{PUBLIC}/24", "dev", "eth0")
        ip("-n", NAME, "addr", "add", f"{PRIVATE}/32", "dev", "lo")
        ip("-n", NAME, "addr", "add", f"{METADATA}/32", "dev", "lo")
        ip("-n", NAME, "link", "set", "eth0", "up")
        ip("-n", NAME, "route", "add", "default", "via", "203.0.113.1")
        for address in (PRIVATE, METADATA):
            ip("route", "add", f"{address}/32", "via", PUBLIC, "dev", NAME)
        self.server = subprocess.Popen(
            ["ip", "netns", "exec", NAME, sys.executable, "-B",
             os.path.abspath(__file__)], stdin=subprocess.DEVNULL)
        for address in (PUBLIC, PRIVATE, METADATA):
            until(f"{address} answers", lambda: self.answers(address))

    def answers(self, address):
        try:
            socket.create_connection((address, 80), 1).close()
            return True
        except OSError:
            return False

    def close(self):
        server = getattr(self, "server", None)
        if server:
            server.kill()
            server.wait()
        subprocess.run(["ip", "link", "delete", NAME], capture_output=True)
        subprocess.run(["ip", "netns", "delete", NAME], capture_output=True)

    def __exit__(self, *failure):
        self.close()


# ---- inside the namespace ---------------------------------------------------

class Http(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 8\r\n\r\n"
                             b"outside\n")


class Dns(socketserver.BaseRequestHandler):
    """Every name has the address PUBLIC."""

    def handle(self):
        ask, sock = self.request
        end = ask.index(b"\0", 12) + 5          # the name, type, class
        is_a = ask[end - 4:end - 2] == b"\0\1"
        answer = (ask[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0")
                  + b"\0\0\0\0" + ask[12:end])
        if is_a:
            answer += (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"
                       + socket.inet_aton(PUBLIC))
        sock.sendto(answer, self.client_address)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


class TlsServer(Server):
    def get_request(self):
        sock, address = super().get_request()
        return self.context.wrap_socket(sock, server_side=True,
                                        do_handshake_on_connect=False), address


def serve():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048",
             "-nodes", "-days", "2", "-subj",
             "/CN=outside.test", "-keyout", f"{folder}/key", "-out",
             f"{folder}/cert"], check=True, capture_output=True)
        tls = TlsServer(("", 443), Http)
        tls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.context.set_ciphers("ALL:@SECLEVEL=0")      # as old as busybox
        tls.context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
    socketserver.ThreadingUDPServer.daemon_threads = True
    servers = [tls, socketserver.ThreadingUDPServer((PUBLIC, 53), Dns),
               Server(("", 80), Http)]
    for s in servers[:-1]:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    servers[-1].serve_forever()


if __name__ == "__main__":
    serve()
