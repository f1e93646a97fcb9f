"""Talks to the keeper as an api worker and as a gate do, and runs the roles
that it needs by hand: net, door and keeper on a folder of their own.

    from opsclient import Stack
    with Stack("/tmp/x", {"docker_socket": "…"}) as s:
        s.do("create", args={"id": "a"})            # waits for its answer
        s.gate().wake("a")
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
LISTENS = {"keeper": [("ops.sock", socket.SOCK_SEQPACKET),
                      ("keeper.sock", socket.SOCK_STREAM),
                      ("outbox.sock", socket.SOCK_SEQPACKET)],
           "door": [("door.sock", socket.SOCK_SEQPACKET),
                    ("doorctl.sock", socket.SOCK_SEQPACKET)],
           "net": [("net.sock", socket.SOCK_SEQPACKET)]}


class OpError(Exception):
    def __init__(self, error):
        super().__init__("%s %s: %s" % (error.get("status"),
                         error.get("code"), error.get("message")))
        self.error = error
        self.code = error.get("code")
        self.status = error.get("status")


class Ops:
    """One api worker's connection: a packet out, a packet in."""

    def __init__(self, path, tenant="default"):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.tenant = tenant

    def send(self, kind, **more):
        request = {"kind": kind, "tenant": self.tenant, "actor": "test",
                   "remote": "127.0.0.1", "request_id": "test-request",
                   "shape": "v1"}
        request.update(more)
        request = {k: v for k, v in request.items() if v is not None}
        self.sock.send(json.dumps(request).encode())

    def recv(self):
        data, fds, _, _ = socket.recv_fds(self.sock, 1 << 20, 1)
        if not data:
            raise ConnectionError("the keeper went away")
        reply = json.loads(data)
        if "memfd" in reply:
            size = os.fstat(fds[0]).st_size
            reply = json.loads(os.pread(fds[0], size, 0))
        for fd in fds:
            os.close(fd)
        return reply

    def ask(self, kind, **more):
        self.send(kind, **more)
        return self.recv()

    def answer(self, reply, timeout=60, tenant=None):
        """Waits for the end of an operation; raises OpError if it failed."""
        if "op" in reply:
            number = reply["op"]
            until = time.monotonic() + timeout
            while True:
                reply = self.ask("answer", op=number,
                                 tenant=tenant or self.tenant)
                if not reply.get("pending"):
                    break
                if time.monotonic() > until:
                    raise TimeoutError("operation %d" % number)
                time.sleep(0.002)
        if "error" in reply:
            raise OpError(reply["error"])
        return reply

    def do(self, kind, timeout=60, **more):
        return self.answer(self.ask(kind, **more), timeout,
                           more.get("tenant"))

    def close(self):
        self.sock.close()


class Gate:
    """One nginx worker's link."""

    def __init__(self, path, gen=0, epoch=0, slot=0, table="0123456789abcdef"):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(path)
        self.rest = b""
        self.say("H 1 - %d %s %d %d %d" % (epoch, table, os.getpid(), slot,
                                           gen))
        self.hello = self.line()

    def say(self, line):
        self.sock.sendall(line.encode() + b"\n")

    def line(self, timeout=30):
        self.sock.settimeout(timeout)
        while b"\n" not in self.rest:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("link closed")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        if line.startswith(b"P "):      # nothing is in flight here
            self.say("K %s ok 0 0" % line.split()[1].decode())
            return self.line(timeout)
        return line.decode()

    def until(self, begin, timeout=30):
        while True:
            line = self.line(timeout)
            if line.startswith(begin):
                return line

    def ask(self, sid, port=0, how="wake", gen=0, timeout=60):
        """Like a gate: whoever is told "asleep" and needs it asks anew."""
        while True:
            self.say("W %s %d %s %d" % (sid, port, how, gen))
            answer = self.until("A %s " % sid, timeout).split()
            if how == "look" or answer[3] != "asleep":
                return answer

    def close(self):
        self.sock.close()


class Stack:
    """net, door and keeper on their own folders; others are left alone."""

    def __init__(self, folder, settings=None, program=None, roles=None,
                 keep=False):
        self.folder = folder
        self.program = program or TOP + "/build/holdfastd"
        self.roles = roles or ["net", "door", "keeper"]
        self.run = folder + "/run"
        self.procs, self.socks = {}, {}
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        for sub in ("run", "data", "log", "lib"):
            os.makedirs(folder + "/" + sub, exist_ok=True)
        shutil.copy(TOP + "/build/guest", folder + "/lib/guest")
        shutil.copytree(TOP + "/lua-free-config",
                        folder + "/lib/lua-free-config", dirs_exist_ok=True)
        self.settings = {"data_dir": folder + "/data", "run_dir": self.run,
                         "log_dir": folder + "/log",
                         "lib_dir": folder + "/lib", "api_user": "www-data",
                         "run_redis": "off", "stack": "kp",
                         "addr_range": "198.19.240.0/20",
                         "uid_base": "3000000",
                         "image": "holdfast/small:latest",
                         "disk_reserve_percent": "0",
                         "dns": "1.1.1.1"}
        self.settings.update(settings or {})
        self.write_settings()

    def write_settings(self):
        with open(self.folder + "/holdfast.conf", "w") as f:
            for name, value in self.settings.items():
                f.write("%s=%s\n" % (name, value))

    def listen(self, role):
        socks = []
        for name, kind in LISTENS[role]:
            path = self.run + "/" + name
            if path not in self.socks:
                if os.path.exists(path):
                    os.unlink(path)
                s = socket.socket(socket.AF_UNIX, kind)
                s.bind(path)
                s.listen(512)
                s.setblocking(False)
                self.socks[path] = s
            socks.append(self.socks[path])
        return socks

    def start(self, role):
        fds = [s.fileno() for s in self.listen(role)]

        def child():
            high = [os.dup2(fd, 60 + i) for i, fd in enumerate(fds)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)
            os.closerange(3 + len(fds), 256)
        log = open(self.folder + "/log/" + role + ".log", "ab")
        self.procs[role] = subprocess.Popen(
            [self.program, "-c", self.folder + "/holdfast.conf", role],
            stderr=log, stdout=log, close_fds=False, preexec_fn=child)
        log.close()

    def stop(self, role, signo=signal.SIGTERM):
        proc = self.procs.pop(role)
        proc.send_signal(signo)
        return proc.wait(20)

    def kill(self, role):
        return self.stop(role, signal.SIGKILL)

    def ops(self, tenant="default"):
        return Ops(self.run + "/ops.sock", tenant)

    def gate(self, **more):
        return Gate(self.run + "/keeper.sock", **more)

    def do(self, kind, **more):
        ops = self.ops()
        try:
            return ops.do(kind, **more)
        finally:
            ops.close()

    def ready(self, timeout=20):
        until = time.monotonic() + timeout
        while True:
            parts = self.do("ready")["answer"]
            if all(parts[p] is True for p in ("docker", "door", "net")):
                return parts
            if time.monotonic() > until:
                raise TimeoutError("not ready: %r" % parts)
            time.sleep(0.02)

    def log(self, role="keeper"):
        with open(self.folder + "/log/" + role + ".log") as f:
            return f.read()

    def __enter__(self):
        for role in self.roles:
            self.start(role)
        return self

    def __exit__(self, *_):
        for role in list(self.procs):
            try:
                self.stop(role)
            except subprocess.TimeoutExpired:
                self.procs.pop(role, None)
        subprocess.run(["nft", "delete", "table", "inet",
                        "holdfast_" + self.settings["stack"]],
                       stderr=subprocess.DEVNULL)
        for path, s in self.socks.items():
            s.close()
            if os.path.exists(path):
                os.unlink(path)
