"""The api workers without nginx and without the keeper.

    with Api() as api:
        api.insert(id="a1")
        api.get("/sandbox/a1").status

A FastCGI client, a database filled by hand, and a keeper of a few lines that
says what the test tells it to say. For what a real stack cannot show: bad
bytes, a keeper that is away or slow, a database that is replaced.
"""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6


def schema():
    """The SQL of common/schema.c."""
    with open(f"{TOP}/fcgi_workers/common/schema.c") as f:
        text = f.read()
    body = text[text.index("schema_steps[SCHEMA_VERSION] = {"):]
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', body))


def version():
    with open(f"{TOP}/fcgi_workers/common/schema.h") as f:
        return int(re.search(r"SCHEMA_VERSION\s+(\d+)", f.read()).group(1))


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.raw = raw
        self.headers = {}
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() in self.headers and name:
                raise AssertionError(f"header {name} twice: {head!r}")
            self.headers[name.lower()] = value
        self.status = int(self.headers.get("status", "0 ").split(" ")[0])

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    def __repr__(self):
        return repr(self.raw[:1000])


def record(kind, data):
    return struct.pack(">BBHHBB", 1, kind, 1, len(data), 0, 0) + data


def pair(name, value):
    def size(n):
        return bytes([n]) if n < 128 else struct.pack(">I", n | 1 << 31)
    return size(len(name)) + size(len(value)) + name + value


def call(path, params, body=b"", timeout=15):
    """One FastCGI request on a connection of its own."""
    block = b"".join(
        pair(k.encode(), v if isinstance(v, bytes) else v.encode())
        for k, v in params.items())
    out = record(BEGIN, struct.pack(">HB5x", 1, 0))
    for i in range(0, len(block), 65000):
        out += record(PARAMS, block[i:i + 65000])
    out += record(PARAMS, b"")
    for i in range(0, len(body), 65000):
        out += record(STDIN, body[i:i + 65000])
    out += record(STDIN, b"")
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(timeout)
    try:
        s.connect(path)
        try:
            s.sendall(out)
        except BrokenPipeError:
            pass                # it answered without reading the body
        raw = b""
        while True:
            part = s.recv(1 << 16)
            if not part:
                break
            raw += part
    finally:
        s.close()
    got = b""
    while len(raw) >= 8:
        _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", raw[:8])
        if kind == STDOUT:
            got += raw[8:8 + length]
        raw = raw[8 + length + padding:]
    return Answer(got)


class Keeper:
    """Answers what `say` gives for a request; None: nothing, for ever."""

    def __init__(self, path):
        self.path = path
        self.asked = []
        self.say = lambda q: {"status": 200, "answer": {}}
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(path)
        self.listener.listen(64)
        self.peers = []
        self.over = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.over:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            self.peers.append(c)
            threading.Thread(target=self.serve, args=(c,),
                             daemon=True).start()

    def serve(self, c):
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(c, 1 << 16, 1)
            except OSError:
                return
            if not text:
                return
            question = json.loads(text)
            if fds:
                with os.fdopen(fds[0], "rb") as f:
                    f.seek(0)
                    question = json.loads(f.read())
            self.asked.append(question)
            answer = self.say(question)
            if answer is None:
                continue
            if not isinstance(answer, bytes):
                answer = json.dumps(answer).encode()
            try:
                c.send(answer)
            except OSError:
                return

    def stop(self):
        self.over = True
        self.listener.close()
        for c in self.peers:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            c.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


class Api:
    """Workers of the real program on a socket of their own."""

    def __init__(self, database=True, keeper=True, program=None, **settings):
        self.dir = tempfile.mkdtemp(prefix="hf-api-")
        self.socket = f"{self.dir}/api.sock"
        self.db = f"{self.dir}/data/db/holdfast.db"
        os.makedirs(f"{self.dir}/data/db")
        os.makedirs(f"{self.dir}/run")
        self.keeper = None
        if database:
            self.make_database()
        if keeper:
            self.keeper = Keeper(f"{self.dir}/run/ops.sock")
        settings = {"data_dir": f"{self.dir}/data", "run_dir":
                    f"{self.dir}/run", "api_workers": 2, **settings}
        self.conf = f"{self.dir}/holdfast.conf"
        with open(self.conf, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            for name, value in settings.items():
                f.write(f"{name}={value}\n")
        self.program = program or os.environ.get(
            "HOLDFASTD", f"{TOP}/build/holdfastd")
        self.log = open(f"{self.dir}/log", "ab")
        self.start()

    def start(self):
        listener = socket.socket(socket.AF_UNIX)
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        listener.bind(self.socket)
        listener.listen(512)
        listener.setblocking(False)
        # A high number first: 3 may be in use by the pipes of Popen.
        fd = os.dup2(listener.fileno(), 60)
        listener.close()
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", 'exec "$0" -c "$1" api 3<&60 60<&-',
             self.program, self.conf],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            pass_fds=(60,), start_new_session=True)
        os.close(fd)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            if self.keeper:
                self.keeper.stop()
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop()

    def logs(self):
        with open(f"{self.dir}/log") as f:
            return f.read()

    def workers(self):
        out = subprocess.run(["pgrep", "-P", str(self.process.pid)],
                             stdout=subprocess.PIPE, check=False).stdout
        return [int(p) for p in out.split()]

    # ---- the database ------------------------------------------------------

    def make_database(self, path=None):
        path = path or self.db
        with sqlite3.connect(path) as c:
            c.execute("PRAGMA journal_mode=WAL")
            c.executescript(schema())
            c.execute(f"PRAGMA user_version={version()}")
            c.execute("INSERT INTO meta VALUES('epoch',1)")
            c.execute("INSERT INTO meta VALUES('node_name','here')")
        c.close()

    def sql(self, text, *args, path=None):
        c = sqlite3.connect(path or self.db, timeout=10)
        try:
            with c:
                return c.execute(text, args).fetchall()
        finally:
            c.close()

    def insert(self, path=None, **row):
        now = int(time.time() * 1000)
        n = self.sql("SELECT count(*) FROM sandboxes", path=path)[0][0]
        row = {"id": f"box{n}", "tenant": "default", "rung": 2,
               "generation": n + 1, "image": "holdfast/base:latest",
               "ports": "[3000]", "visibility": "public",
               "idle_policy": "sleep", "wake_on": "visit",
               "ports_policy": "any", "host_header": "public",
               "memory_mb": 2048, "cpus_milli": 1500, "pids": 512,
               "disk_mb": 10240, "idle_s": 900, "freeze_s": 120,
               "node": "here", "engine": "docker", "uid": 2000000 + n,
               "addr": n + 1, "created_ms": now + n, "updated_ms": now,
               "active_ms": now, "started_ms": now, **row}
        names = ",".join(row)
        marks = ",".join("?" * len(row))
        self.sql(f"INSERT INTO sandboxes({names}) VALUES({marks})",
                 *row.values(), path=path)
        return row["id"]

    # ---- requests ----------------------------------------------------------

    def ask(self, method, uri, body=b"", headers=None, tenant="default",
            scope="admin", key="test", **params):
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogateescape")
        p = {"REQUEST_METHOD": method, "REQUEST_URI": uri,
             "REMOTE_ADDR": "127.0.0.1", "HTTP_HOST": "localhost"}
        if body or method in ("POST", "PUT", "PATCH"):
            p["CONTENT_LENGTH"] = str(len(body))
        if body:
            p["CONTENT_TYPE"] = "application/json"
        if tenant is not None:
            p.update(HOLDFAST_TENANT=tenant, HOLDFAST_KEY=key,
                     HOLDFAST_SCOPE=scope)
        for name, value in (headers or {}).items():
            name = name.upper().replace("-", "_")
            if name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                name = f"HTTP_{name}"
            p[name] = value
        for name, value in params.items():
            if value is None:
                p.pop(name, None)
            else:
                p[name] = value
        return call(self.socket, p, body)

    def get(self, uri, **options):
        return self.ask("GET", uri, **options)
