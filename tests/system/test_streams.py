"""What dev servers do on the wire: event streams, WebSockets, large bodies
both ways, kept connections, HTTP/2. No byte of it is stored on the way.
"""

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import npm
from browsed import Boxed
from case import until

BASE = True
LIMIT = 240
MB = 1000000


class Streams(Boxed):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.workers = cls.s.parts()["nginx-worker"]

    def app(self):
        def put(folder, uid):
            shutil.copy(f"{npm.FIXTURES}/streams.mjs", folder)
        return self.sandbox(3000, put, services=[{
            "name": "app", "cmd": ["node", "streams.mjs"], "port": 3000}])

    def connect(self, host):
        at, port = self.s.preview_address.split(":")
        c = http.client.HTTPConnection(at, int(port), timeout=60)
        self.addCleanup(c.close)

        def ask(method, path, body=None, **headers):
            c.request(method, path, body, {"Host": host, **headers})
            return c.getresponse()
        return ask

    def websocket(self, host):
        """A WebSocket without an Origin: it is held. Gives an echo."""
        at, port = self.s.preview_address.split(":")
        s = socket.create_connection((at, int(port)), 60)
        self.addCleanup(s.close)
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall((f"GET /echo HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket"
                   "\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   f"Sec-WebSocket-Key: {key}\r\n\r\n").encode())
        f = s.makefile("rb")
        self.assertIn(b" 101 ", f.readline())
        while f.readline() != b"\r\n":
            pass

        def echo(data):
            s.sendall(struct.pack("!BBQ4s", 0x82, 0x80 | 127, len(data),
                                  b"\0\0\0\0") + data)
            head, length, size = struct.unpack("!BBQ", f.read(10))
            self.assertEqual((0x82, 127), (head, length))
            return f.read(size)
        return echo

    def test_events_come_as_they_happen(self):
        box, host = self.app()
        self.s.stop_box(box)
        ask = self.connect(host)
        a = ask("GET", "/events", Accept="text/event-stream")
        self.assertEqual(200, a.status)
        self.assertEqual("text/event-stream", a.headers["Content-Type"])
        times = []
        for n in range(1, 21):
            self.assertEqual(f"id: {n}\n".encode(), a.readline())
            times.append(time.monotonic())
            self.assertEqual(f"data: tick {n}\n".encode(), a.readline())
            self.assertEqual(b"\n", a.readline())
        self.assertGreater(times[-1] - times[0], 0.5)

    def test_large_websocket_messages(self):
        box, host = self.app()
        echo = self.websocket(host)
        for size in (70000, 300000, 16 * MB):
            data = os.urandom(size)
            self.assertTrue(data == echo(data), size)

    def test_stop_does_not_wait_for_streams(self):
        box, host = self.app()
        echo = self.websocket(host)
        a = self.connect(host)("GET", "/events")
        a.readline()
        self.assertEqual(b"x" * 70000, echo(b"x" * 70000))
        began = time.monotonic()
        self.s.stop_box(box)
        self.assertLess(time.monotonic() - began, 5)
        while a.readline():
            pass

    def measured(self, act):
        """What nginx' workers have taken and written while act() ran."""
        def pages():
            total = 0
            for p in self.workers:
                with open(f"/proc/{p}/smaps_rollup") as f:
                    total += int(re.search(r"Private_Dirty: +(\d+)",
                                           f.read()).group(1))
            return total

        def written():
            total = 0
            for p in self.workers:
                with open(f"/proc/{p}/io") as f:
                    total += int(re.search(r"write_bytes: (\d+)",
                                           f.read()).group(1))
            return total

        most, over = [0], threading.Event()

        def look():
            while not over.wait(0.02):
                most[0] = max(most[0], pages())
        kb, disk = pages(), written()
        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            act()
        finally:
            over.set()
            watcher.join()
        return most[0] - kb, written() - disk

    def flat(self, act):
        act()                       # what is allocated once
        kb, disk = self.measured(act)
        self.assertLess(kb, 1500)
        self.assertLess(disk, MB)

    def test_large_download(self):
        box, host = self.app()

        def download():
            a = self.connect(host)("GET", f"/download?size={200 * MB}")
            self.assertEqual(200, a.status)
            got = 0
            while part := a.read(1 << 16):
                got += len(part)
                if got % (20 * MB) < 1 << 16:
                    time.sleep(0.02)            # a reader that is slower
            self.assertEqual(200 * MB, got)
        self.flat(download)

    def test_large_upload(self):
        box, host = self.app()
        block = os.urandom(MB)
        sum = hashlib.sha256()
        for _ in range(200):
            sum.update(block)

        def upload(**headers):
            a = self.connect(host)("POST", "/upload", (
                block for _ in range(200)), **headers)
            self.assertEqual(200, a.status)
            a = json.load(a)
            self.assertEqual((200 * MB, sum.hexdigest()),
                             (a["size"], a["sha256"]))
            return a["uploads"]
        self.flat(lambda: upload(**{"Content-Length": str(200 * MB)}))
        self.assertEqual(3, upload())           # chunked

        # To one that sleeps: held, and delivered whole, once.
        self.s.stop_box(box)
        self.assertEqual(1, upload(**{"Content-Length": str(200 * MB)}))

    def test_http2(self):
        """Held, large both ways, and a stream beside it, over TLS."""
        box, host = self.app()
        at = f"https://{host}:{self.tls_port}"

        def curl(path, *more):
            r = subprocess.run(
                ["curl", "-sSk", "--http2", "--resolve",
                 f"{host}:{self.tls_port}:127.0.0.1", "-w",
                 "\n%{http_code} %{http_version}", *more, at + path],
                capture_output=True, timeout=60)
            body, last = r.stdout.rsplit(b"\n", 1)
            self.assertEqual(b"200 2", last, r)
            return body
        self.s.stop_box(box)
        body = os.urandom(20 * MB)
        file = f"{self.s.dir}/body"
        with open(file, "wb") as f:
            f.write(body)
        a = json.loads(curl("/upload", "--data-binary", f"@{file}"))
        self.assertEqual((len(body), hashlib.sha256(body).hexdigest(), 1),
                         (a["size"], a["sha256"], a["uploads"]))
        self.flat(lambda: curl(f"/download?size={50 * MB}", "-o", "/dev/null",
                               "-w", "\n\n%{http_code} %{http_version}"))

    def test_connections_are_kept_on_both_sides(self):
        box, host = self.app()
        ask = self.connect(host)
        for method, body in (("POST", b"x" * 100000), ("GET", None),
                             ("HEAD", None), ("OPTIONS", None)) * 4:
            a = ask(method, "/x", body)
            text = a.read()
            self.assertEqual(200, a.status)
            self.assertFalse(a.will_close)
            if method == "HEAD":
                self.assertEqual(b"", text)
                self.assertGreater(int(a.headers["Content-Length"]), 50)
                continue
            told = json.loads(text)
            self.assertEqual((method, len(body or b"")),
                             (told["method"], told["size"]))
            if method == "OPTIONS":
                self.assertEqual("GET, HEAD, POST", a.headers["Allow"])
        used = {json.load(ask("GET", "/x"))["connection"] for _ in range(20)}
        self.assertEqual(1, len(used), "GETs use one connection to the app")

    def test_dev_servers_are_told_a_host_they_trust(self):
        """And an Origin that fits, for the preview's own pages only."""
        box, host = self.app()

        def upgrade(origin):
            s = self.s.raw(f"GET /echo HTTP/1.1\r\nHost: {host}\r\nUpgrade: "
                           "websocket\r\nConnection: Upgrade\r\nSec-WebSocket"
                           f"-Key: x\r\nOrigin: {origin}\r\n\r\n")
            line = s.recv(12)
            s.close()
            return int(line.split()[1])
        self.assertEqual(200, self.connect(host)("GET", "/x").status)
        for origin in (f"http://{host}", f"https://{host}"):
            self.assertEqual(101, upgrade(origin))
        self.assertEqual(403, upgrade("http://else.example"))
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                      {"preview_host_header": "localhost"})
        until("it is asked as localhost", lambda: json.load(
            self.connect(host)("GET", "/x"))["host"] == "localhost:3000")
        for origin in (f"http://{host}", f"https://{host.upper()}"):
            self.assertEqual(101, upgrade(origin))
        for origin in ("http://else.example", f"http://{host}.else.example",
                       f"http://x@{host}", "null"):
            self.assertNotEqual(101, upgrade(origin), origin)
