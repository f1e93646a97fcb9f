"""Hostile clients at the gate: what is not clear is refused, what is refused
reaches no app, and nothing that a client does takes memory for long."""

import os
import random
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import rawh2
from case import Case
from case import until as wait_until
from gatecase import GateCase, Later, raw, until
from linkpeer import free_port
from traces import processes

MB = 1 << 20
LIMIT = 300
A, B = "3000-a.localhost", "3000-b.localhost"


def memory(pids):
    """KiB that only these processes hold."""
    total = 0
    for p in pids:
        with open(f"/proc/{p}/smaps_rollup") as f:
            total += int(re.search(r"Private_Dirty: +(\d+)",
                                   f.read()).group(1))
    return total


class Hostile(GateCase):
    """Two apps, awake; every test ends with the same workers as before, and
    with nothing held."""

    @classmethod
    def before(cls):
        d, cls.tls = cls.n.dir, free_port()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", d / "key.pem", "-out", d / "cert.pem"],
                       check=True, capture_output=True)
        cls.n.settings = f"""
server {{
    listen 127.0.0.1:{cls.tls} ssl http2;
    server_name *.localhost;
    ssl_certificate {d}/cert.pem;
    ssl_certificate_key {d}/key.pem;
    include lua-free-config/preview_server.conf;
}}
"""

    def setUp(self):
        self.a = self.box("a", state="awake")
        self.b = self.box("b", state="awake")
        for host in (A, B):
            self.assertEqual(self.n.get(host)[0], 200)
        self.a.seen.clear()
        self.b.seen.clear()
        self.pids = sorted(self.n.worker_pids())

    def tearDown(self):
        until(lambda: self.n.status()["holding"] == 0)
        self.assertEqual(sorted(self.n.worker_pids()), self.pids)
        self.assertEqual(self.n.get(A)[0], 200)
        for app in (self.a, self.b):
            app.stop()
            self.apps.remove(app)

    def answers(self, text):
        """Statuses of all that came back until it closed, or was silent."""
        out = b""
        with socket.create_connection(("127.0.0.1", self.n.port), 5) as s:
            try:
                s.sendall(text.encode("latin-1"))
            except OSError:
                pass                    # it has answered already
            s.settimeout(0.3)
            try:
                while data := s.recv(65536):
                    out += data
            except OSError:
                pass
        return [int(x) for x in re.findall(rb"HTTP/1.1 (\d+)", out)]

    def paths(self):
        return [x["path"] for x in self.a.seen + self.b.seen]


class Http1(Hostile):
    def test_lengths_that_disagree(self):
        inner = f"GET /smuggled HTTP/1.1\r\nHost: {B}\r\n\r\n"
        for headers in (
                "Content-Length: 4\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked\r\nContent-Length: 4",
                "Content-Length: 4\r\nContent-Length: 4",
                "Content-Length: 4\r\nContent-Length: 60",
                "Content-Length: 4, 4", "Content-Length: +4",
                "Content-Length: -1", "Content-Length: 0x4",
                "Content-Length: 4 4", "Content-Length: ",
                "Content-Length: 99999999999999999999",
                "Transfer-Encoding: xchunked",
                "Transfer-Encoding: chunked, identity",
                "Transfer-Encoding: identity, chunked",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: \x0bchunked",
                "Transfer-Encoding : chunked",
                "Transfer-Encoding\t: chunked",
                "Transfer_Encoding: chunked\r\nContent-Length: x",
                "Content-Length\0: 4", "Content-Length: 4\0",
                "Content-Length: 4\r\n Transfer-Encoding: chunked",
                "X: y\r\n\tContent-Length: 0\r\nContent-Length: z"):
            got = self.answers(
                f"POST /odd HTTP/1.1\r\nHost: {A}\r\n{headers}\r\n\r\n"
                f"0\r\n\r\n{inner}")
            self.assertEqual(1, len(got), f"{headers!r}: {got}")
            self.assertIn(got[0], (400, 413, 501), headers)
        self.assertEqual([], self.paths())

    def test_chunks_that_are_none(self):
        for chunk in ("g\r\n", "-1\r\nx\r\n", "0x1\r\nx\r\n",
                      "ffffffffffffffffffff\r\n", "1\r\nxx\r\n0\r\n\r\n",
                      "1;" + "e" * 100000 + "\r\n"):
            got = self.answers(
                f"POST /odd HTTP/1.1\r\nHost: {A}\r\nTransfer-Encoding: "
                f"chunked\r\n\r\n{chunk}GET /smuggled HTTP/1.1\r\nHost: {B}"
                "\r\n\r\n")
            self.assertNotIn(200, got, chunk[:40])
        self.assertNotIn("/smuggled", self.paths())

    def test_an_end_of_line_is_one_thing(self):
        """A bare LF ends a line, here and in what the app gets; a bare CR
        ends none."""
        self.assertEqual([200], self.answers(
            f"GET /lf HTTP/1.1\nHost: {A}\nX-One: 1\nConnection: close\n\n"))
        self.assertEqual("1", self.a.seen[0]["headers"]["X-One"])
        self.a.seen.clear()
        for text in (f"GET /cr HTTP/1.1\rHost: {A}\r\r",
                     f"GET /cr HTTP/1.1\r\nHost: {A}\r\nX: 1\rY: 2\r\n\r\n",
                     f"GET /cr\0 HTTP/1.1\r\nHost: {A}\r\n\r\n",
                     f"GET /cr HTTP/1.1\r\nHost: {A}\r\nX: 1\0\r\n\r\n",
                     f"GET /cr HTTP/1.1\r\nHost: {A}\r\nX Y: 1\r\n\r\n",
                     f"GET /cr HTTP/1.1\r\nHost: {A}\r\n: 1\r\n\r\n"):
            self.assertNotIn(200, self.answers(text + "\r\n"), text)
        self.assertEqual([], self.paths())

    def test_two_hosts(self):
        for text in (f"GET /x HTTP/1.1\r\nHost: {A}\r\nHost: {B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}\r\nHost: {A}\r\n\r\n",
                     f"GET http://{A}/x HTTP/1.1\r\nHost: {B}\r\n\r\n",
                     f"GET http://{A}/x HTTP/1.1\r\nHost: {A}.evil\r\n\r\n",
                     f"GET http://{A}@{B}/x HTTP/1.1\r\nHost: {A}\r\n\r\n",
                     f"GET http://{A}\\@{B}/x HTTP/1.1\r\nHost: {B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}, {B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A} {B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}/{B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}@{B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}#{B}\r\n\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}:1:2\r\n\r\n",
                     "GET /x HTTP/1.1\r\n\r\n",
                     "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
                     "GET /x HTTP/1.0\r\n\r\n", "GET /x\r\n\r\n",
                     f"CONNECT {A}:3000 HTTP/1.1\r\nHost: {A}\r\n\r\n",
                     f"TRACE /x HTTP/1.1\r\nHost: {A}\r\n\r\n"):
            got = self.answers(text)
            self.assertTrue(all(s in (400, 404, 405) for s in got),
                            f"{text!r}: {got}")
        self.assertEqual([], self.paths())
        for text in (f"GET http://{A}/x HTTP/1.1\r\nHost: {A}\r\n",
                     f"GET http://{A}:8/x HTTP/1.1\r\nHost: {A.upper()}\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}:8\r\n",
                     f"GET /x HTTP/1.1\r\nHost: {A}.:8\r\n"):
            self.assertEqual([200], self.answers(
                text + "Connection: close\r\n\r\n"), text)
            self.assertTrue(self.a.seen.pop()["headers"]["Host"].lower()
                            .startswith(A))

    def test_random_bytes(self):
        rng = random.Random(7)
        good = (f"POST /ok HTTP/1.1\r\nHost: {A}\r\nContent-Length: 3\r\n"
                "Connection: close\r\n\r\nabc").encode()
        for n in range(300):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            s = socket.create_connection(("127.0.0.1", self.n.port), 5)
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass
            s.close()
        self.assertTrue(all(x["length"] <= 99 for x in self.a.seen))

    def test_headers_of_a_megabyte(self):
        before = memory(self.pids)
        for text in ("X: " + "y" * MB + "\r\n",
                     "".join(f"X{n}: y\r\n" for n in range(100000)),
                     "Cookie: a=b\r\n" * 50000):
            for _ in range(10):
                self.assertNotIn(200, self.answers(
                    f"GET /big HTTP/1.1\r\nHost: {A}\r\n{text}\r\n"))
        self.assertNotIn(200, self.answers(
            f"GET /{'y' * MB} HTTP/1.1\r\nHost: {A}\r\n\r\n"))
        self.assertEqual([], self.paths())
        self.assertLess(memory(self.pids) - before, 1500)

    def test_slow_clients(self):
        """Headers that never end are waited for 15 s; hundreds of clients
        that do not read what they asked for cost little."""
        slow = [socket.create_connection(("127.0.0.1", self.n.port))
                for _ in range(200)]
        for s in slow:
            s.sendall(f"GET /slow HTTP/1.1\r\nHost: {A}\r\n".encode())
        began = time.monotonic()
        self.a.headers.append(("X-Long", "z" * 8000))
        before = memory(self.pids)
        readers = []
        for _ in range(300):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.connect(("127.0.0.1", self.n.port))
            s.sendall(f"GET /r HTTP/1.1\r\nHost: {A}\r\n\r\n".encode() * 20)
            readers.append(s)
        time.sleep(2)
        self.assertLess(memory(self.pids) - before, 300 * 100)
        for s in readers:
            s.close()
        while slow:
            left = 25 - (time.monotonic() - began)
            self.assertGreater(left, 0, f"{len(slow)} are waited for still")
            for s in slow:
                try:
                    s.send(b"X: y\r\n"[:1])
                except OSError:
                    pass
            time.sleep(0.5)
            over = select.select(slow, [], [], 0)[0]
            for s in over:
                slow.remove(s)
                s.close()
        self.assertGreater(time.monotonic() - began, 5)
        self.assertNotIn("/slow", self.paths())

    def test_held_clients_that_leave(self):
        """A thousand visits to one that sleeps, all gone before it wakes."""
        self.box("sleepy")
        self.k.auto = False
        try:
            socks = [raw(self.n.port, "GET / HTTP/1.1\r\nHost: 3000-sleepy."
                         "localhost\r\n\r\n", read=False)
                     for _ in range(1000)]
            until(lambda: self.n.status()["holding"] == 1000)
            for s in socks:
                s.close()
            until(lambda: self.n.status()["holding"] == 0)
            self.assertLessEqual(len(self.k.asked("sleepy", "wake")), 2)
        finally:
            self.k.auto = True


class Http2(Hostile):
    def one(self, headers, flags=rawh2.END, body=None):
        with rawh2.H2(self.tls) as c:
            c.send(rawh2.HEADERS, flags, 1, rawh2.block(headers))
            if body is not None:
                c.send(rawh2.DATA, rawh2.END_STREAM, 1, body)
            return c.status(1)

    def test_what_is_refused(self):
        base = [(":method", "GET"), (":scheme", "https"),
                (":authority", A), (":path", "/x")]
        self.assertEqual(200, self.one(base))
        self.a.seen.clear()
        for odd in ([(":path", "/y")], [(":authority", B)], [(":method", "X")],
                    [("host", B)], [("Upper", "1")], [("x y", "1")],
                    [("x", "1\r\ninjected: 1")], [("x", "1\nhost: " + B)],
                    [("x", "1\0")], [(":unknown", "1")], [("", "1")],
                    [("content-length", "4")], [("content-length", "x")]):
            got = self.one(base + odd)
            self.assertIn(got, (400, 404, "reset", "goaway"),
                          f"{odd}: {got}")
        for odd in ([(":method", "GET"), (":scheme", "https"),
                     (":path", "/x")],
                    base[:3], base[1:], base[:3] + [(":path", "x")],
                    base[:3] + [(":path", "/x HTTP/1.1\r\nHost: " + B)],
                    base[:3] + [(":path", f"http://{B}/")],
                    base[:2] + [(":authority", f"{A}@{B}"), (":path", "/")],
                    [(":method", "G T")] + base[1:]):
            got = self.one(odd)
            self.assertIn(got, (400, 404, 405, "reset", "goaway"),
                          f"{odd}: {got}")
        self.assertEqual([], self.paths())

    def test_hop_by_hop_headers_go_no_further(self):
        base = [(":method", "POST"), (":scheme", "https"),
                (":authority", A), (":path", "/hop")]
        for odd in ([("transfer-encoding", "chunked")],
                    [("connection", "close, x-forwarded-for")],
                    [("te", "trailers, chunked")],
                    [("upgrade", "h2c")]):
            got = self.one(base + odd, rawh2.END_HEADERS,
                           f"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: {B}"
                           "\r\n\r\n".encode())
            self.assertIn(got, (200, 400, "reset", "goaway"), odd)
        self.assertNotIn("/smuggled", self.paths())
        for x in self.a.seen:
            self.assertEqual("127.0.0.1", x["headers"]["X-Forwarded-For"])

    def test_a_length_that_is_not_kept(self):
        for size, body in (("10", b"x" * 5), ("5", b"x" * 10)):
            got = self.one([(":method", "POST"), (":scheme", "https"),
                            (":authority", A), (":path", "/len"),
                            ("content-length", size)],
                           rawh2.END_HEADERS, body)
            self.assertIn(got, (400, 502, "reset", "goaway"), size)

    def test_floods(self):
        """Each is ended by nginx, or costs nothing; a visit beside it is
        answered."""
        def flood(c, act, times):
            try:
                for n in range(times):
                    act(c, n)
            except OSError:
                return              # closed: that is well
        before = memory(self.pids)
        for act, times in (
                (lambda c, n: c.send(rawh2.SETTINGS, 0, 0,
                                     b"\0\4\0\0\xff\xff"), 20000),
                (lambda c, n: c.send(rawh2.PING, 0, 0, b"x" * 8), 20000),
                (lambda c, n: c.send(rawh2.PRIORITY, 0, 2 * n + 1,
                                     b"\0\0\0\0\1"), 20000),
                (lambda c, n: c.send(rawh2.HEADERS, 0, 1, b"") if n == 0
                 else c.send(rawh2.MORE, 0, 1, b""), 20000),
                (lambda c, n: c.send(rawh2.HEADERS, 0, 1, b"") if n == 0
                 else c.send(rawh2.MORE, 0, 1, rawh2.block(
                     [("x", "y" * 4000)])), 500),
                (lambda c, n: c.send(rawh2.HEADERS, rawh2.END_HEADERS, 1,
                                     rawh2.get(A, "/flood", "POST"))
                 if n == 0 else c.send(rawh2.DATA, 0, 1, b""), 20000)):
            with rawh2.H2(self.tls) as c:
                flood(c, act, times)
                self.assertEqual(self.n.get(A)[0], 200)
        self.assertLess(memory(self.pids) - before, 3000)

    def test_rapid_reset_of_what_is_held(self):
        """Streams that are held and reset at once: nothing is left."""
        self.box("reset")
        self.k.auto = False
        try:
            before = memory(self.pids)
            for _ in range(5):
                with rawh2.H2(self.tls) as c:
                    try:
                        for n in range(500):
                            at = 2 * n + 1
                            c.send(rawh2.HEADERS, rawh2.END, at,
                                   rawh2.get("3000-reset.localhost"))
                            c.send(rawh2.RST, 0, at, b"\0\0\0\x08")
                    except OSError:
                        pass
            until(lambda: self.n.status()["holding"] == 0)
            self.assertLess(memory(self.pids) - before, 3000)
        finally:
            self.k.auto = True

    def test_many_held_on_one_connection(self):
        """As many as nginx lets one connection have; all are answered."""
        app = self.box("many")
        self.k.auto = False
        with rawh2.H2(self.tls) as c:
            for n in range(100):
                c.send(rawh2.HEADERS, rawh2.END, 2 * n + 1,
                       rawh2.get("3000-many.localhost", f"/{n}"))
            until(lambda: self.n.status()["holding"] == 100)
            self.k.wake("many", 3000)
            self.k.auto = True
            done = set()
            for kind, flags, at, body in c.frames(10):
                if kind == rawh2.DATA and flags & rawh2.END_STREAM:
                    done.add(at)
                if len(done) == 100:
                    break
            self.assertEqual(100, len(done))
        self.assertEqual(sorted(f"/{n}" for n in range(100)),
                         sorted(x["path"] for x in app.seen))




class Faults(Case):
    """The whole of it, while parts die: visitors see nothing of that."""

    seconds = 120

    def visits(self, box, n):
        return [Later(self.s.preview, box, path=f"/{i}") for i in range(n)]

    def test_redis_dies_under_load(self):
        awake, woken = self.s.create_app(3000), self.s.create_app(3000)
        over, bad, count = threading.Event(), [], [0]

        def load():
            while not over.is_set():
                for a in (self.s.preview(awake),
                          self.s.api("GET", f"/v1/sandboxes/{awake}")):
                    count[0] += 1
                    if a.status != 200:
                        bad.append(repr(a))
        threads = [threading.Thread(target=load) for _ in range(2)]
        for t in threads:
            t.start()
        try:
            for _ in range(3):
                gone = self.s.kill("redis")
                self.s.stop_box(woken)
                self.status(200, self.s.preview(woken))
                self.s.sh(awake, "true")
                wait_until("redis is back", lambda: set(
                    self.s.parts().get("redis", gone)) - set(gone))
                self.s.stop_box(woken)
                self.status(200, self.s.preview(woken))
        finally:
            over.set()
            for t in threads:
                t.join()
        self.assertEqual([], bad[:3])
        self.assertGreater(count[0], 100)
        self.s.purge(awake)
        self.s.purge(woken)

    def test_keeper_and_door_die_in_the_middle_of_a_wake(self):
        box = self.s.create_app(3000)
        rng = random.Random(3)
        for role in ("keeper", "door") * 5:
            self.s.stop_box(box)
            calls = self.visits(box, 20)
            time.sleep(rng.random() * 0.3)
            self.s.kill(role)
            for c in calls:
                self.status(200, c.result(60))
            wait_until(f"{role} is back", lambda: self.s.parts().get(role))
            self.s.wait_ready()
        self.s.purge(box)

    def test_database_of_yesterday(self):
        """nginx has seen more than the database that the keeper gets."""
        old = self.s.create_app(3000, labels={"day": "1"})
        self.status(200, self.s.preview(old))
        path = f"{self.s.dir}/data/db/holdfast.db"
        backup = f"{self.s.dir}/backup.db"
        with sqlite3.connect(path) as a, sqlite3.connect(backup) as b:
            a.backup(b)
        a.close()
        b.close()
        new = self.s.create_app(3000)
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{old}",
                      {"labels": {"day": "2"}})
        for _ in range(3):
            for box in (old, new):
                self.s.stop_box(box)
                self.status(200, self.s.preview(box))
        container = self.s.container(new)["Id"]

        os.kill(self.s.process.pid, signal.SIGSTOP)     # starts no new one
        try:
            for p in self.s.kill("keeper") + self.s.kill("api"):
                wait_until("it is dead", lambda: processes().get(
                    p, (0, "Z"))[1] == "Z")
            for end in ("-wal", "-shm"):
                if os.path.exists(path + end):
                    os.unlink(path + end)
            shutil.copyfile(backup, path)
        finally:
            os.kill(self.s.process.pid, signal.SIGCONT)
        self.s.wait_ready()
        self.status(200, self.s.preview(old))
        self.assertEqual({"day": "1"}, self.s.get(old)["labels"])
        wait_until("what is not in it is not there", lambda:
              self.s.preview(new).status == 404)
        self.assertTrue(
            self.s.docker.inspect(container)["State"]["Running"])
        for _ in range(3):
            self.s.stop_box(old)
            self.status(200, self.s.preview(old))
        more = self.s.create_app(3000)
        self.status(200, self.s.preview(more))
        self.s.purge(more)
        self.s.purge(old)


if __name__ == "__main__":
    unittest.main()
