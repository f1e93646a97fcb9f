"""Preview hosts: what gets through, and what is answered instead."""

import os
import random
import re
import time

from case import Case, until

BROWSER = {"Accept": "text/html,application/xhtml+xml",
           "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
           "User-Agent": "Mozilla/5.0 Firefox/130.0"}
UPGRADE = ("GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
           "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n")


def head(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(65536)
        if not more:
            break
        got += more
    return got


class Preview(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.create_app(3000, ports=[3000])

    def asleep(self):
        self.s.stop_box(self.box)

    def test_both_forms_of_the_host(self):
        for host in (f"s-{self.box}-3000.preview.localhost",
                     f"3000-{self.box}.localhost",
                     f"S-{self.box.upper()}-3000.Preview.LocalHost",
                     f"s-{self.box}-3000.preview.localhost:"
                     + self.s.preview_address.split(":")[1]):
            a = self.s.preview(self.box, headers={"Host": host})
            self.assertEqual(200, a.status, f"{host} {a!r}")
            self.assertEqual(host.lower(), a.json["headers"]["host"].lower())

    def test_hosts_that_are_none(self):
        for host in ("localhost", "preview.localhost", "s--3000.preview"
                     ".localhost", f"s-{self.box}-80.preview.localhost",
                     f"s-{self.box}-99999.preview.localhost",
                     f"s-{self.box}-03000.preview.localhost",
                     f"s-{self.box}-3000.preview.other.example",
                     "s-nobody-3000.preview.localhost", "a" * 300,
                     f"s-{self.box}-49983.preview.localhost",
                     f"s-{self.box}-49999.preview.localhost",
                     "api.localhost"):
            a = self.s.preview(self.box, headers={"Host": host})
            self.assertIn(a.status, (400, 403, 404, 421), f"{host} {a!r}")

    def test_forwarded_headers_are_ours(self):
        a = self.s.preview(self.box, headers={
            "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil",
            "X-Forwarded-Proto": "gopher", "X-Forwarded-Port": "1",
            "Forwarded": "for=6.6.6.6"}).json["headers"]
        self.assertEqual("127.0.0.1", a["x-forwarded-for"])
        self.assertEqual("http", a["x-forwarded-proto"])
        self.assertNotIn("evil", repr(a))
        self.assertNotEqual("1", a.get("x-forwarded-port"))

    def test_methods_and_bodies(self):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            body = os.urandom(3000000) if method in ("POST", "PUT") else None
            a = self.status(200, self.s.preview(self.box, 3000, "/x%20y?q=%2F",
                                                method, body))
            self.assertEqual((method, "/x%20y?q=%2F", len(body or b"")), (
                a.json["method"], a.json["path"], a.json["body_bytes"]))
        self.assertEqual(b"", self.status(200, self.s.preview(
            self.box, 3000, "/", "HEAD")).body)

    def test_cookies_stay_with_their_app(self):
        a = self.s.preview(self.box)
        self.assertNotIn("domain", a.headers["Set-Cookie"].lower())
        self.assertIn("app=1", a.headers["Set-Cookie"])

    def test_undeclared_port_and_closed_port(self):
        self.s.exec(self.box, "/bin/app serve 4321 >/dev/null 2>&1 &")
        until("port 4321 answers",
              lambda: self.s.preview(self.box, 4321).status == 200)
        a = self.status(502, self.s.preview(self.box, 4999))
        self.assertIn("4999", a.text)
        self.assertIn("3000", a.text)

    def test_declared_ports_only(self):
        box = self.s.create_app(3000, ports=[3000],
                                ports_policy="declared")
        self.s.exec(box, "/bin/app serve 4321 >/dev/null 2>&1 &")
        self.status(200, self.s.preview(box, 3000))
        self.assertIn(self.s.preview(box, 4321).status, (403, 404))
        self.s.purge(box)

    def test_held_and_delivered_once(self):
        for method, body, headers in (
                ("GET", None, {"Accept": "application/json"}),
                ("POST", b"{}", {"Content-Type": "application/json"}),
                ("PUT", os.urandom(5000000), {}),
                ("HEAD", None, {}), ("OPTIONS", None, {})):
            self.asleep()
            a = self.status(200, self.s.preview(
                self.box, 3000, f"/{method}", method, body, headers))
            if method != "HEAD":
                self.assertEqual((method, len(body or b"")),
                                 (a.json["method"], a.json["body_bytes"]))

    def test_navigation_is_held_or_gets_a_page_that_becomes_the_app(self):
        self.asleep()
        a = self.s.preview(self.box, 3000, "/", headers=BROWSER)
        if a.status == 200 and "application/json" in a.headers[
                "Content-Type"]:
            return                      # awake before the page was due
        self.assertIn("text/html", a.headers["Content-Type"])
        self.assertNotIn("http-equiv=\"refresh\"", a.text)
        until("the app answers", lambda: "method" in self.s.preview(
            self.box).text)

    def test_websocket(self):
        host = self.s.preview_host(self.box)
        for sleeping in (False, True):
            if sleeping:
                self.asleep()
            s = self.s.raw(UPGRADE.format(host=host, more=""))
            self.assertIn(b" 101 ", head(s).split(b"\r\n")[0])
            frame = b"\x81\x85\1\2\3\4" + bytes(
                c ^ k for c, k in zip(b"hello", b"\1\2\3\4\1"))
            s.sendall(frame)
            got = b""
            while len(got) < len(frame):
                got += s.recv(100)
            self.assertEqual(frame, got)
            s.close()

    def test_what_must_not_wake(self):
        self.asleep()
        host = self.s.preview_host(self.box)
        for headers, status in (
                ({"Accept": "text/x-vite-ping"}, (503,)),
                ({"Accept": "text/event-stream",
                  "Origin": f"http://{host}"}, (200,)),
                ({"User-Agent": "kube-probe/1.28"}, (503,)),
                ({"User-Agent": "Slackbot-LinkExpanding 1.0 "
                                "(+https://api.slack.com/robots)"}, (200,)),
                ({"User-Agent": "Twitterbot/1.0"}, (200,))):
            if "text/event-stream" in headers.get("Accept", ""):
                s = self.s.raw("GET / HTTP/1.1\r\n" + "".join(
                    f"{k}: {v}\r\n" for k, v in
                    {"Host": host, **headers}.items()) + "\r\n")
                self.assertIn(b"text/event-stream", head(s))
                s.close()
            else:
                a = self.s.preview(self.box, headers=headers)
                self.assertIn(a.status, status, f"{headers} {a!r}")
                if a.status == 503:
                    self.assertGreater(int(a.headers["Retry-After"]), 0)
                elif "Slackbot" in headers.get("User-Agent", ""):
                    self.assertIn("og:title", a.text)
        s = self.s.raw(UPGRADE.format(
            host=host, more=f"Origin: http://{host}\r\n"))
        self.assertIn(b" 503 ", head(s).split(b"\r\n")[0])
        s.close()
        self.assertEqual("stopped", self.s.state(self.box))

    def test_wake_on_any(self):
        box = self.s.create_app(3000, wake_on="any")
        self.s.docker.kill(self.s.container(box)["Id"])     # not by a caller
        until("it is down", lambda: self.s.state(box) == "stopped")
        host = self.s.preview_host(box)
        s = self.s.raw(UPGRADE.format(
            host=host, more=f"Origin: http://{host}\r\n"))
        line = head(s).split(b"\r\n")[0]
        s.close()
        self.assertIn(b" 101 ", line)
        self.s.purge(box)

    def test_private_needs_more_than_the_link(self):
        box = self.s.create_app(3000, visibility="private")
        a = self.s.preview(box)
        self.assertIn(a.status, (401, 403, 404), repr(a))
        self.s.stop_box(box)
        a = self.s.preview(box)
        self.assertIn(a.status, (401, 403, 404), repr(a))
        self.assertEqual("stopped", self.s.state(box))
        self.s.purge(box)

    def test_api_is_not_on_preview_hosts(self):
        for path in ("/sandboxes", "/v1/info", "/metrics"):
            a = self.s.preview(self.box, 3000, path)
            self.assertEqual(path, a.json["path"])      # the app's answer
            a = self.s.api("GET", path, headers={
                "Host": self.s.preview_host(self.box)})
            self.assertNotEqual(200, a.status)

    def test_random_hosts_take_no_memory(self):
        def memory():
            total = 0
            for p in sum(self.s.parts().values(), []):
                with open(f"/proc/{p}/smaps_rollup") as f:
                    # Not what is shared with others: libraries count for
                    # more when a neighbour ends.
                    total += sum(int(x.split()[1]) for x in f if
                                 x.startswith(("Pss_Anon:", "Pss_Shmem:")))
            return total

        def ask(count):
            sock = self.s.raw(b"")
            for _ in range(count):
                name = "".join(random.choices("abcdefghij0123456789", k=20))
                sock.sendall(f"GET / HTTP/1.1\r\nHost: s-{name}-3000.preview."
                             "localhost\r\n\r\n".encode())
                got = b""
                while b"\r\n\r\n" not in got:
                    got += sock.recv(65536)
                first = got.split(b"\r\n", 1)[0]
                assert b" 404 " in first, first
                size = int(re.search(rb"(?i)content-length: (\d+)",
                                     got).group(1))
                rest = size - len(got.split(b"\r\n\r\n", 1)[1])
                while rest > 0:
                    rest -= len(sock.recv(rest))
                if re.search(rb"(?i)connection: close", got):
                    sock.close()
                    sock = self.s.raw(b"")
            sock.close()
        ask(500)
        before = memory()
        ask(5000)
        self.assertLess(memory() - before, 3000)

    def test_app_restart_costs_at_most_a_502(self):
        self.status(200, self.s.preview(self.box))
        for _ in range(3):
            self.s.exec(self.box, "killall app; true")
            end = time.monotonic() + 15
            while True:
                a = self.s.preview(self.box)
                self.assertIn(a.status, (200, 502, 503), repr(a))
                if a.status == 200:
                    break
                self.assertLess(time.monotonic(), end)
