"""The other ends of the gate, scripted: keeper, door, api and sandboxes.

For system tests of the nginx module alone. nginx, its module and the shipped
configuration are real, and so are the sandboxes' network namespaces; what
stands behind the sockets is played here, so that a test decides what is
answered and when.

    Keeper      keeper.sock: lines (docs/interfaces.md, 1)
    Door        door.sock: sockets made inside a namespace, by SCM_RIGHTS
    Namespace   a network namespace with a loopback, without a process
    App         an HTTP/1.1 server inside one, on a port or an abstract name
    Api         api.sock: a FastCGI responder
    Nginx       one nginx with its own prefix, ports and settings

Waiting is always for something, with a deadline: see until().
"""

import array
import ctypes
import fcntl
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def until(what, seconds=10, every=0.005):
    """Waits for what() to be true and returns it."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %gs in vain: %s" % (seconds, what))
        time.sleep(every)


def tag(tenant):
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]


def in_thread(fn):
    """Runs fn in a thread of its own, which may change its namespace."""
    box = {}

    def run():
        try:
            box["value"] = fn()
        except BaseException as e:          # handed to the caller
            box["error"] = e

    t = threading.Thread(target=run)
    t.start()
    t.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


class Namespace:
    def __init__(self):
        def make():
            if libc.unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
            fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
            s.close()
            return os.open("/proc/thread-self/ns/net",
                           os.O_RDONLY | os.O_CLOEXEC)
        self.fd = in_thread(make)

    def socket(self, family, kind=socket.SOCK_STREAM):
        def make():
            if libc.setns(self.fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            return socket.socket(family, kind)
        return in_thread(make)

    def close(self):
        os.close(self.fd)


class Keeper:
    """What it knows of a sandbox is in .known[id]: a dict with state, gen,
    policy and open (ports). .auto decides whether a wake is answered at once;
    otherwise it is until wake(), fail() ... are called."""

    def __init__(self, path, epoch=1):
        self.path, self.epoch = str(path), epoch
        self.gen, self.known, self.ops = 0, {}, {}
        self.auto, self.mute = True, False
        self.asks, self.hellos, self.lines, self.replies = [], [], [], {}
        self.links, self.seq = [], 0
        self.lock = threading.RLock()
        self.listener = None
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,),
                         daemon=True).start()

    def stop(self):
        """As if killed: the socket is there, nobody listens."""
        with self.lock:
            listener, self.listener = self.listener, None
            links, self.links = self.links, []
        if listener:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for s in links:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def _accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,),
                             daemon=True).start()

    def _serve(self, s):
        try:
            f = s.makefile("rb")
            for raw in f:
                if len(raw) > 512:
                    raise AssertionError("a line of %d bytes" % len(raw))
                self._line(s, raw.decode().rstrip("\n"))
        except OSError:
            pass
        with self.lock:
            if s in self.links:
                self.links.remove(s)

    def _line(self, s, line):
        with self.lock:
            self.lines.append(line)
            f = line.split(" ")
            if f[0] == "H":
                self.hellos.append(f)
                self.gen = max(self.gen, int(f[7]))
                self._send(s, "H 1 node-a %d %d" % (self.epoch, self.gen))
                self.links.append(s)
            elif f[0] == "W":
                self.asks.append((f[1], int(f[2]), f[3], int(f[4])))
                if not self.mute:
                    self._asked(s, f[1], int(f[2]), f[3], int(f[4]))
            elif f[0] == "O":
                self.asks.append(("op", int(f[1])))
                state = self.ops.get(int(f[1]), "pending")
                if state != "pending":
                    self._send(s, "O %s %s" % (f[1], state))
            elif f[0] in "KJ":
                self.replies[int(f[1])] = f

    def _asked(self, s, id, port, how, gen):
        k = self.known.get(id)
        if k is None:
            self._send(s, "A %s 0 gone" % id)
            return
        if gen >= k["gen"]:
            k["gen"] = self.next_gen(gen)
        if how == "look" or k["state"] == "gone":
            self._send(s, self.answer(id, port))
        elif k.get("fail"):
            self._send(s, "A %s %d failed %s" % (id, k["gen"], k["fail"]))
        elif k["state"] == "awake":
            if how == "refused" and not k.get("reopen"):
                k["gen"] = self.next_gen(k["gen"])
            self._send(s, self.answer(id, port))
        elif self.auto:
            self.wake(id, port)

    def next_gen(self, least=0):
        self.gen = max(self.gen, least) + 1
        return self.gen

    def answer(self, id, port, kind="A"):
        k = self.known[id]
        if k["state"] == "gone":
            return "%s %s %d gone" % (kind, id, k["gen"])
        pstate, opened = "none", k["open"]
        if port and k["state"] == "awake":
            pstate = opened.get(port, "closed")
        return "%s %s %d %s %d %s %s %s" % (
            kind, id, k["gen"], k["state"], port, pstate, k["policy"],
            ",".join(map(str, opened)) or "-")

    def add(self, id, state="asleep", tenant="default", private=False,
            wake_on="visit", ports="any", host="public", declared="-",
            wakes="ondemand", open=None):
        with self.lock:
            self.known[id] = {
                "state": state, "gen": self.next_gen(), "open": open or {},
                "policy": "%s,%s,%s,%s,%s,120,0,%s,%s" % (
                    "private" if private else "public", tag(tenant), wake_on,
                    ports, host, declared, wakes)}
            return self.known[id]

    def _send(self, s, line):
        try:
            s.sendall(line.encode() + b"\n")
        except OSError:
            pass

    def say(self, line):
        with self.lock:
            for s in list(self.links):
                self._send(s, line)

    def wake(self, id, port=0):
        with self.lock:
            k = self.known[id]
            k["state"], k["gen"] = "awake", self.next_gen()
            self.say(self.answer(id, port))

    def request(self, line):
        """P or I to one worker: `line` with %d for the sequence number.
        Said again to another if that one's link goes, as at a reload."""
        with self.lock:
            self.seq += 1
            seq = self.seq

        def reply():
            with self.lock:
                if seq not in self.replies and link not in self.links:
                    return True
                return self.replies.get(seq)

        while seq not in self.replies:
            until(lambda: self.links)
            with self.lock:
                link = self.links[0]
                self._send(link, line % seq)
            until(reply)
        return self.replies[seq]

    def park(self, id, min_idle_ms=0, gen=None):
        k = self.known[id]
        reply = self.request("P %%d %s %d %d" % (
            id, k["gen"] if gen is None else gen, min_idle_ms))
        if reply[2] == "ok":
            k["state"] = "asleep"
        return reply[2:]

    def sleep(self, id):
        """Parks, commits, publishes."""
        until(lambda: self.park(id)[0] == "ok")

    def asked(self, id, how=None):
        with self.lock:
            return [a for a in self.asks
                    if a[0] == id and (how is None or a[2] == how)]


class Door:
    def __init__(self, path, spaces):
        self.path, self.spaces = str(path), spaces
        self.asked, self.made, self.mute = [], 0, False
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.conns = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o777)
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,),
                         daemon=True).start()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.conns:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            self.conns.append(s)
            threading.Thread(target=self._serve, args=(s,),
                             daemon=True).start()

    def _serve(self, s):
        families = {1: socket.AF_UNIX, 4: socket.AF_INET, 6: socket.AF_INET6}
        while True:
            try:
                data = s.recv(4096)
            except OSError:
                return
            if not data:
                return
            seq, family, count, gen, id = struct.unpack("=IBB2xQ48s", data)
            id = id.rstrip(b"\0").decode()
            self.asked.append(id)
            if self.mute:
                continue
            space = self.spaces.get(id)
            if space is None:
                s.send(struct.pack("=Ii", seq, 2))
                continue
            socks = [space.socket(families[family]) for _ in range(count)]
            self.made += count
            fds = array.array("i", [x.fileno() for x in socks])
            try:
                s.sendmsg([struct.pack("=Ii", seq, 0)],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            except OSError:
                return
            for x in socks:
                x.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return ""

    def do_any(self):
        app = self.server.app
        body = self._body()
        self.count = getattr(self, "count", 0) + 1
        if app.close and self.count > 1:
            # as if it had been closed a moment before: a kept connection
            self.close_connection = True
            app.cut += 1
            return
        seen = {"method": self.command, "path": self.path,
                "headers": dict(self.headers.items()),
                "length": len(body), "name": app.name,
                "sha1": hashlib.sha1(body).hexdigest(),
                "peer": self.client_address[0] if self.client_address else ""}
        with app.lock:
            app.seen.append(seen)
        if (self.headers.get("Upgrade") or "").lower() == "websocket":
            return self._websocket()
        if self.path.startswith("/drop"):
            self.close_connection = True
            return
        if self.path.startswith("/kept") and self.count > 1:
            # closed under a request that came by a kept connection
            app.gate.wait(30)
            self.close_connection = True
            return
        if self.path.startswith("/cut"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            self.wfile.flush()
            self.close_connection = True
            return
        if self.path.startswith("/events"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: 1\n\n")
            self.wfile.flush()
            app.gate.wait(30)
            self.wfile.write(b"data: 2\n\n")
            self.wfile.flush()
            app.end.wait(30)
            self.close_connection = True
            return
        if self.path.startswith("/slow"):
            app.gate.wait(30)
        data = json.dumps(seen).encode()
        self.send_response(404 if self.path.startswith("/404") else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in app.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            out = b""
            while True:
                n = int(self.rfile.readline().split(b";")[0], 16)
                out += self.rfile.read(n)
                self.rfile.readline()
                if n == 0:
                    return out
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _websocket(self):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while True:
            data = self.connection.recv(4096)
            if not data:
                return
            self.connection.sendall(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_any


class App(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Listens inside `space`: on a port (family 4 or 6) or, as the guest
    does, on the abstract name holdfast."""

    daemon_threads = True

    def __init__(self, space, port=None, family=4, name=""):
        self.app = self
        self.name, self.seen, self.headers = name, [], []
        self.close, self.lock = False, threading.Lock()
        self.conns, self.cut = set(), 0
        self.gate, self.end = threading.Event(), threading.Event()
        socketserver.BaseServer.__init__(self, None, _Handler)
        if port is None:
            self.socket = space.socket(socket.AF_UNIX)
            self.socket.bind(b"\0holdfast")
        else:
            kind = socket.AF_INET if family == 4 else socket.AF_INET6
            self.socket = space.socket(kind)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(("127.0.0.1" if family == 4 else "::1", port))
        self.socket.listen(1024)
        threading.Thread(target=self.serve_forever, args=(0.05,),
                         daemon=True).start()

    def get_request(self):
        s, addr = self.socket.accept()
        if isinstance(addr, (bytes, str)):
            addr = ("unix", 0)
        self.conns.add(s)
        return s, addr

    def shutdown_request(self, request):
        self.conns.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass

    def stop(self):
        """As if killed."""
        self.shutdown()
        self.server_close()
        for s in list(self.conns):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Api:
    """FastCGI: answer(params, body) -> (headers, body)."""

    def __init__(self, path, answer):
        self.answer, self.seen = answer, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(str(path), 0o777)
        self.listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,),
                             daemon=True).start()

    def _serve(self, s):
        f = s.makefile("rwb")
        params, body = b"", b""
        while True:
            head = f.read(8)
            if len(head) < 8:
                return
            _, kind, _, length, pad = struct.unpack(">BBHHBx", head)
            data = f.read(length)
            f.read(pad)
            if kind == 4:
                params += data
            elif kind == 5:
                if not data:
                    break
                body += data
        params = dict(self._pairs(params))
        self.seen.append(params)
        headers, out = self.answer(params, body)
        text = headers.encode() + b"\r\n\r\n" + out
        for i in range(0, len(text), 60000):
            part = text[i:i + 60000]
            f.write(struct.pack(">BBHHBx", 1, 6, 1, len(part), 0) + part)
        f.write(struct.pack(">BBHHBx", 1, 6, 1, 0, 0))
        f.write(struct.pack(">BBHHBx", 1, 3, 1, 8, 0) + bytes(8))
        f.flush()
        s.close()

    @staticmethod
    def _pairs(data):
        at = 0

        def length():
            nonlocal at
            n = data[at]
            at += 1
            if n & 0x80:
                n = int.from_bytes(data[at - 1:at + 3], "big") & 0x7fffffff
                at += 3
            return n

        while at < len(data):
            n, v = length(), length()
            name, at = data[at:at + n].decode(), at + n
            value, at = data[at:at + v].decode("latin-1"), at + v
            yield name, value

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def sanitized():
    """The environment of an nginx whose module was built with sanitizers:
    what they find goes to files in HOLDFAST_SANITIZED (test_sanitized.py)."""
    where = os.environ.get("HOLDFAST_SANITIZED")
    if not where:
        return None
    asan = subprocess.run(["gcc", "-print-file-name=libasan.so"],
                          capture_output=True, text=True).stdout.strip()
    # Leaks: nginx frees pools, not what is in them.
    return {**os.environ, "LD_PRELOAD": asan,
            "ASAN_OPTIONS": f"log_path={where}/asan:detect_leaks=0",
            "UBSAN_OPTIONS": f"log_path={where}/ubsan:print_stacktrace=1"}


class Nginx:
    """The shipped configuration with settings of its own."""

    def __init__(self, workers=2, settings="", main="", wrap=(), **options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-gate-"))
        os.chmod(self.dir, 0o755)
        self.workers, self.settings, self.main = workers, settings, main
        self.options, self.wrap = options, list(wrap)
        self.api_port, self.port, self.metrics = (
            free_port(), free_port(), free_port())
        self.pid, self.process = None, None
        shutil.copy(ROOT / "nginx.conf", self.dir)
        shutil.copytree(ROOT / "lua-free-config",
                        self.dir / "lua-free-config")
        self.write()

    @property
    def keeper(self):
        return self.dir / "keeper.sock"

    @property
    def door(self):
        return self.dir / "door.sock"

    @property
    def api(self):
        return self.dir / "api.sock"

    def write(self):
        out = self.dir / "lua-free-config/settings"
        d = self.dir
        module = os.environ.get("HOLDFAST_MODULE",
                                ROOT / "build/ngx_http_holdfast_module.so")
        (out / "main.conf").write_text(f"""
user www-data;
worker_processes {self.workers};
worker_rlimit_nofile 8192;
pid {d}/nginx.pid;
error_log {d}/error.log info;
worker_shutdown_timeout 30s;
load_module {module};
{self.main}
""")
        (out / "events.conf").write_text("worker_connections 4096;\n")
        o = {"table": "1m", "tokens": "off", "origins": "off", "hosts": "off",
             "rate": 0, "hold_max": "20s", "op_hold_max": "20s",
             "hold_limit": "1000 10000", "domain": "localhost"}
        o.update(self.options)
        lines = "".join(f"holdfast_{k} {v};\n" for k, v in o.items())
        (out / "http.conf").write_text(f"""
client_body_temp_path {d}/body;
proxy_temp_path {d}/proxy;
fastcgi_temp_path {d}/fastcgi;
uwsgi_temp_path {d}/uwsgi;
scgi_temp_path {d}/scgi;
access_log {d}/access.log holdfast buffer=64k flush=1s;
holdfast_keeper unix:{self.keeper};
holdfast_door unix:{self.door};
{lines}
{self.settings}
upstream holdfast_api {{ server unix:{self.api}; }}
""")
        (out / "listen_api.conf").write_text(
            f"listen 127.0.0.1:{self.api_port};\n"
            "client_max_body_size 1024k;\n")
        (out / "listen_preview.conf").write_text(
            f"listen 127.0.0.1:{self.port};\n")
        (out / "listen_metrics.conf").write_text(
            f"listen 127.0.0.1:{self.metrics};\n")

    def command(self, *args):
        return ["nginx", "-p", str(self.dir), "-c",
                str(self.dir / "nginx.conf"), "-e",
                str(self.dir / "error.log"), *args]

    def test(self):
        """nginx -t: (accepted, what it said)."""
        r = subprocess.run(self.command("-t"), capture_output=True,
                           text=True, env=sanitized())
        return r.returncode == 0, r.stderr + (
            (self.dir / "error.log").read_text()
            if (self.dir / "error.log").exists() else "")

    def start(self):
        self.process = subprocess.Popen(
            self.wrap + self.command("-g", "daemon off;"), env=sanitized(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def up():
            if self.process.poll() is not None:
                raise AssertionError(self.process.stderr.read()
                                     + self.log())
            for port in (self.api_port, self.port):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                except OSError:
                    return False
            return True
        until(up, 60)
        self.pid = self.process.pid
        return self

    def worker_pids(self):
        out = subprocess.run(["ps", "-o", "pid=,args=", "--ppid",
                              str(self.pid)], capture_output=True,
                             text=True).stdout
        return [int(x.split()[0]) for x in out.splitlines()
                if "worker process" in x]

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)

    def log(self):
        p = self.dir / "error.log"
        return p.read_text(errors="replace") if p.exists() else ""

    def stop(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
            self.process.wait(30)
        if self.process:
            self.process.stderr.close()

    def clean(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def status(self):
        c = http.client.HTTPConnection("127.0.0.1", self.metrics, timeout=10)
        c.request("GET", "/gate/status")
        out = json.loads(c.getresponse().read())
        c.close()
        return out

    def call(self, method, path, host=None, headers=None, body=None,
             port=None, timeout=30):
        """One request on a connection of its own: (status, headers, body)."""
        c = http.client.HTTPConnection("127.0.0.1", port or self.api_port,
                                       timeout=timeout)
        h = dict(headers or {})
        if host:
            h["Host"] = host
        try:
            c.request(method, path, body=body, headers=h)
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def get(self, host, path="/", **kw):
        return self.call("GET", path, host=host, port=self.port, **kw)


class Later:
    """A call in the background; result() waits for it."""

    def __init__(self, fn, *args, **kw):
        self.value = self.error = None
        self.thread = threading.Thread(target=self._run, args=(fn, args, kw),
                                       daemon=True)
        self.thread.start()

    def _run(self, fn, args, kw):
        try:
            self.value = fn(*args, **kw)
        except BaseException as e:          # handed to result()
            self.error = e

    def done(self):
        return not self.thread.is_alive()

    def result(self, seconds=30):
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError("no result after %gs" % seconds)
        if self.error:
            raise self.error
        return self.value
