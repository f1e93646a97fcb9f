"""Speaks to a guest: frames and HTTP over its abstract sockets.

The sockets are made inside the sandbox's network namespace and connected from
here, outside its pid namespace: that is what the guest asks of a peer.
"""

import ctypes
import json
import os
import select
import socket
import struct
import time

BOOT, WATCH, ENV, STOP, HELLO, BOOTED, STATUS = 1, 2, 3, 4, 16, 17, 18
SERVICE_STATES = ["none", "starting", "ready", "backoff", "exited", "failed"]
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def socket_in(pid, name, timeout=10):
    """A socket connected to an abstract name in the netns of a process."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _setns(theirs)
        try:
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.settimeout(timeout)
            s.connect("\0" + name)
            return s
        finally:
            _setns(own)
    finally:
        os.close(own)
        os.close(theirs)


def bound(connect, seconds=10):
    """A guest that has just begun has not bound its names yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            return connect()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def field(tag, data):
    if isinstance(data, str):
        data = data.encode()
    return tag.encode() + struct.pack("<I", len(data)) + data


def boot_body(uid=54321, gid=54321, home="/tmp", shell=None, cwd=None, env=(),
              services=(), setup=None, image=()):
    """services: dicts name, cmd, cwd, env, port, restart (0, 1, 2)."""
    b = field("u", struct.pack("<I", uid)) + field("g", struct.pack("<I", gid))
    for tag, value in (("h", home), ("s", shell), ("w", cwd)):
        if value is not None:
            b += field(tag, value)
    for e in env:
        b += field("E", e)
    for s in services:
        b += field("S", s["name"])
        b += b"".join(field("c", c) for c in s["cmd"])
        if "cwd" in s:
            b += field("d", s["cwd"])
        b += b"".join(field("e", e) for e in s.get("env", ()))
        if "port" in s:
            b += field("p", struct.pack("<H", s["port"]))
        if "restart" in s:
            b += field("r", bytes([s["restart"]]))
    if setup:
        b += field("X", "")
        b += b"".join(field("c", c) for c in setup["cmd"])
        if "timeout_s" in setup:
            b += field("t", struct.pack("<I", setup["timeout_s"]))
    b += b"".join(field("I", i) for i in image)
    return b


def parse_status(b):
    version, nports, nservices, execs, out_ago, in_ago = struct.unpack_from(
        "<HBBIII", b)
    ports, services = {}, []
    for i in range(nports):
        port, families = struct.unpack_from("<HBx", b, 16 + 4 * i)
        ports[port] = families
    for i in range(17):
        state, signo, code, starts = struct.unpack_from("<BBhI", b,
                                                        272 + 8 * i)
        services.append({"state": SERVICE_STATES[state], "signal": signo,
                         "code": code, "starts": starts})
    if len(b) != 272 + 17 * 8:
        raise ValueError(f"status of {len(b)} bytes")
    return {"version": version, "execs": execs, "output_ago_ms": out_ago,
            "input_ago_ms": in_ago, "ports": ports,
            "services": services[:nservices], "setup": services[16]}


class Keeper:
    """The keeper's end of a guest."""

    def __init__(self, pid):
        self.sock = bound(lambda: socket_in(pid, "holdfast.keeper"))
        self.status = None
        kind, body = self.frame()
        assert kind == HELLO and body[0] == 1, (kind, body)
        self.booted = bool(body[1])

    def close(self):
        self.sock.close()

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.sock.recv(n - len(data))
            if not more:
                raise ConnectionError("the guest closed the connection")
            data += more
        return data

    def frame(self):
        n, = struct.unpack("<I", self._exactly(4))
        data = self._exactly(n)
        if data[0] == STATUS:
            self.status = parse_status(data[1:])
        return data[0], data[1:]

    def send(self, kind, body=b""):
        self.sock.sendall(struct.pack("<IB", len(body) + 1, kind) + body)

    def boot(self, **args):
        """The guest's error, or None."""
        self.send(BOOT, boot_body(**args))
        while True:
            kind, body = self.frame()
            if kind == BOOTED:
                self.status = None      # one with the services follows
                return None if body[0] else body[1:].decode()

    def watch(self, ms):
        self.send(WATCH, struct.pack("<I", ms))

    def env(self, *entries):
        self.send(ENV, b"".join(field("E", e) for e in entries))

    def stop(self, ms):
        self.send(STOP, struct.pack("<I", ms))

    def wait(self, what, timeout=5):
        """Until what(status) is true; the status."""
        end = time.monotonic() + timeout
        while self.status is None or not what(self.status):
            left = end - time.monotonic()
            ready, _, _ = select.select([self.sock], [], [], max(0, left))
            if not ready:
                raise TimeoutError(f"never so: {self.status}")
            self.frame()
        return self.status


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Http:
    """One connection to the guest's HTTP server."""

    def __init__(self, pid, timeout=30):
        self.sock = socket_in(pid, "holdfast", timeout)
        self.buf = b""

    def close(self):
        self.sock.close()

    def raw(self, data):
        self.sock.sendall(data)

    def request(self, path, body, headers=(), method="POST"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
        for name, value in headers:
            head += f"{name}: {value}\r\n"
        self.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.buf += data

    def _until(self, mark):
        while mark not in self.buf:
            self._more()
        line, self.buf = self.buf.split(mark, 1)
        return line

    def _take(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n:
            data = self.sock.recv(1 << 20)
            if not data:
                raise ConnectionError("closed")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buf = whole[n:]
        return whole[:n]

    def head(self):
        lines = self._until(b"\r\n\r\n").decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers

    def chunks(self):
        while True:
            n = int(self._until(b"\r\n"), 16)
            data = self._take(n)
            self._take(2)
            if n == 0:
                return
            yield data

    def answer(self):
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, b"".join(self.chunks()))
        return Answer(status, headers,
                      self._take(int(headers["content-length"])))

    def exec(self, cmd, **args):
        """An exec in the v1 form: the answer's JSON (with `status`)."""
        self.request("/v1/sandboxes/x/exec", dict(cmd=cmd, **args))
        a = self.answer()
        return dict(a.json(), status=a.status)

    def events(self):
        """The events of an SSE answer, as they come: (name, data)."""
        status, headers = self.head()
        if status != 200:
            raise ValueError(self._take(int(headers["content-length"])))
        assert headers["content-type"] == "text/event-stream"
        buf = b""
        for chunk in self.chunks():
            buf += chunk
            while b"\n\n" in buf:
                event, buf = buf.split(b"\n\n", 1)
                lines = event.decode().split("\n")
                if lines[0].startswith("event: "):
                    yield lines[0][7:], json.loads(lines[1][6:])
