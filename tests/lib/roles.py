"""The net and door roles and the keeper's engine, without the rest: for tests
that look at one of them alone.
"""

import array
import os
import queue
import re
import socket
import struct
import subprocess
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def build_drive():
    """tests/lib/engine_drive.c, linked with build/libholdfast.a."""
    out = f"{TOP}/build/tests/engine_drive"
    source = f"{TOP}/tests/lib/engine_drive.c"
    lib = f"{TOP}/build/libholdfast.a"
    if os.path.exists(out) and os.path.getmtime(out) > max(
            os.path.getmtime(source), os.path.getmtime(lib)):
        return out
    os.makedirs(os.path.dirname(out), exist_ok=True)
    flags = subprocess.check_output(
        ["pkg-config", "--cflags", "--libs", "json-c", "libcurl", "sqlite3",
         "hiredis", "libcrypto", "libnftables", "libarchive"], text=True).split()
    subprocess.run(["gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra",
                    "-Werror", "-g", f"-I{TOP}/fcgi_workers", "-o", out,
                    source, lib, *flags, "-lfcgi", "-lpthread"], check=True)
    return out


class Failed(Exception):
    """The engine said no; `code` is the error's."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


class Engine:
    """engine_drive, with answers matched to calls and news in a queue."""

    def __init__(self, conf):
        self.process = subprocess.Popen(
            [build_drive(), conf], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.answers, self.news, self.number = {}, queue.Queue(), 0
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            tag, _, rest = line.strip().partition(" ")
            (self.news if tag == "news" else self.answers[tag]).put(rest)

    def send(self, *words):
        self.number += 1
        tag = str(self.number)
        self.answers[tag] = queue.Queue()
        self.process.stdin.write(" ".join([tag, *map(str, words)]) + "\n")
        self.process.stdin.flush()
        return tag

    def wait(self, tag, seconds=60):
        """The fields of an answer; a refusal is Failed."""
        what, _, rest = self.answers[tag].get(timeout=seconds).partition(" ")
        if what == "err":
            raise Failed(rest)
        self.last = rest
        return dict(re.findall(r"(\w+)=(\S*)", rest))

    def __call__(self, *words):
        return self.wait(self.send(*words))

    def expect(self, *begins, seconds=20):
        """The next news, until one begins so."""
        while True:
            got = self.news.get(timeout=seconds)
            if got.startswith(begins):
                return got

    def close(self):
        self.process.stdin.close()
        try:
            return self.process.wait(20)
        finally:
            self.process.stdout.close()


class Role:
    """`holdfastd ROLE` with its listening sockets, as the parent starts it."""

    def __init__(self, role, conf, folder, *names):
        listening = []
        for name in names:
            path = f"{folder}/{name}"
            if os.path.exists(path):
                os.unlink(path)
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.bind(path)
            s.listen(16)
            s.setblocking(False)
            listening.append(s)

        def place():
            high = [os.dup2(s.fileno(), 100 + i)
                    for i, s in enumerate(listening)]
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, True)
                os.close(fd)
        self.log = open(f"{folder}/{role}.log", "w")
        self.process = subprocess.Popen(
            [f"{TOP}/build/holdfastd", "-c", conf, role], preexec_fn=place,
            close_fds=False, stderr=self.log)
        for s in listening:
            s.close()
        self.folder, self.mine = folder, []

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(20)
        s.connect(f"{self.folder}/{name}")
        self.mine.append(s)
        return s

    def close(self):
        for s in self.mine:
            s.close()
        self.process.terminate()
        code = self.process.wait(20)
        self.log.close()
        return code


def ask(sock, packet, size, fds=()):
    """One packet there, one back: (bytes, descriptors)."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    sock.sendmsg([packet], rights if fds else [])
    data, control, flags, _ = sock.recvmsg(size + 1, socket.CMSG_SPACE(64))
    got = []
    for level, kind, content in control:
        got += list(array.array("i", content))
    return data, got


class Net(Role):
    def __init__(self, conf, folder):
        super().__init__("net", conf, folder, "net.sock")
        self.sock = self.connect("net.sock")

    def call(self, verb, pid=0, number=0, addr="0.0.0.0"):
        """(errno, sentence, descriptor or None)."""
        a, = struct.unpack(">I", socket.inet_aton(addr))
        data, fds = ask(self.sock, struct.pack("=IB3xiII", 7, verb, pid,
                                               number, a), 128, ())
        seq, error = struct.unpack("=Ii", data[:8])
        assert seq == 7 and len(data) == 128
        return error, data[8:].split(b"\0")[0].decode(), \
            fds[0] if fds else None

    def make(self, pid, number, addr):
        return self.call(1, pid, number, addr)

    def drop(self, number):
        return self.call(2, number=number)

    def check(self):
        return self.call(3)


class Door(Role):
    UNIX, INET, INET6 = 1, 4, 6

    def __init__(self, conf, folder):
        super().__init__("door", conf, folder, "door.sock", "doorctl.sock")
        self.asks = self.connect("door.sock")
        self.orders = self.connect("doorctl.sock")

    def order(self, verb, box, generation, fd=None):
        data, _ = ask(self.orders, struct.pack(
            "=IB3xQ48s", 1, verb, generation, box.encode()), 8,
            [fd] if fd is not None else [])
        return struct.unpack("=Ii", data)[1]

    def add(self, box, generation, fd):
        return self.order(1, box, generation, fd)

    def drop(self, box, generation=0):
        return self.order(2, box, generation)

    def sockets(self, box, generation, family=4, count=1):
        """(errno, sockets)"""
        data, fds = ask(self.asks, struct.pack(
            "=IBB2xQ48s", 3, family, count, generation, box.encode()), 8)
        return struct.unpack("=Ii", data)[1], \
            [socket.socket(fileno=fd) for fd in fds]
