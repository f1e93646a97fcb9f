"""Private previews: who gets in by what, and how that ends."""

import base64
import concurrent.futures
import glob
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time

from case import Case, until

PAGE = {"Accept": "text/html,application/xhtml+xml",
        "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
UPGRADE = ("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n"
           "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n")
NAME = "hf_ticket"


def ours(headers):
    """Our Set-Cookie, not the app's."""
    for value in headers.get_all("Set-Cookie") or []:
        if NAME in value:
            return value
    return None


def cookie_of(answer):
    """The pair that a browser would send back."""
    return ours(answer.headers).split(";")[0]


def forged(ticket):
    other = "B" if ticket[-1] == "A" else "A"
    return ticket[:-1] + other


def head(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(65536)
        if not more:
            break
        got += more
    return got


def closed(sock, seconds):
    sock.settimeout(seconds)
    try:
        while sock.recv(4096):
            pass
    except socket.timeout:
        return False
    except ConnectionError:
        pass
    return True


class Private(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.create_app(3000, ports=[3000], visibility="private")

    def share(self, box=None, **body):
        return self.s.expect(201, "POST",
                             f"/v1/sandboxes/{box or self.box}/shares",
                             body).json

    def ticket(self, *allow, box=None, **body):
        return self.s.expect(201, "POST",
                             f"/v1/sandboxes/{box or self.box}/tickets",
                             {"allow": allow or ["preview"], **body}).json

    def shares(self):
        return {s["id"]: s for s in self.s.expect(
            200, "GET", f"/v1/sandboxes/{self.box}/shares").json["shares"]}

    def revoke(self, share):
        self.s.expect(204, "DELETE",
                      f"/v1/sandboxes/{self.box}/shares/{share['id']}")

    def visit(self, ticket, path="/", **headers):
        between = "&" if "?" in path else "?"
        return self.s.preview(self.box, 3000,
                              f"{path}{between}{NAME}={ticket}",
                              headers={**PAGE, **headers})

    def enter(self, share):
        """The cookie that a link becomes."""
        a = self.status(302, self.visit(share["ticket"]))
        return cookie_of(a)

    def with_cookie(self, cookie, **headers):
        return self.s.preview(self.box, headers={"Cookie": cookie, **headers})

    def upgrade(self, path="/", more="", box=None):
        s = self.s.raw(UPGRADE.format(
            host=self.s.preview_host(box or self.box), path=path, more=more))
        self.assertIn(b" 101 ", head(s).split(b"\r\n")[0])
        return s

    # ---- without ------------------------------------------------------------

    def test_without_a_ticket(self):
        a = self.s.preview(self.box)
        self.error(401, "unauthorized", a)
        self.assertIn("WWW-Authenticate", a.headers)
        a = self.status(401, self.s.preview(self.box, headers=PAGE))
        self.assertIn("text/html", a.headers["Content-Type"])
        self.assertIn("private", a.text)
        self.assertEqual("no-store", a.headers["Cache-Control"])
        # the state page, a preflight, a card, a health check neither
        for headers, path, method in (
                ({}, "/.holdfast/state", "GET"), ({}, "/", "OPTIONS"),
                ({"User-Agent": "Slackbot 1.0"}, "/", "GET"),
                ({"User-Agent": "kube-probe/1"}, "/", "GET"),
                ({"Authorization": "Bearer x"}, "/", "GET")):
            self.status(401, self.s.preview(self.box, 3000, path, method,
                                            headers=headers))

    def test_not_woken_by_a_stranger(self):
        share = self.share()
        other = self.s.create(visibility="private")
        for ticket in (None, "x", forged(share["ticket"]),
                       self.ticket("preview:3001")["ticket"],
                       self.ticket("events")["ticket"],
                       self.ticket(box=other)["ticket"]):
            self.s.stop_box(self.box)
            headers = {"X-Holdfast-Ticket": ticket} if ticket else {}
            a = self.s.preview(self.box, headers=headers)
            self.assertIn(a.status, (401, 403), repr(a))
            a = self.visit(ticket or "y")
            self.assertIn(a.status, (401, 403), repr(a))
            self.assertEqual("stopped", self.s.state(self.box))
        # a link is exchanged without waking; the page that follows wakes
        cookie = self.enter(share)
        self.assertEqual("stopped", self.s.state(self.box))
        self.status(200, self.with_cookie(cookie))
        self.assertEqual("running", self.s.state(self.box))
        self.s.purge(other)

    # ---- with ---------------------------------------------------------------

    def test_link_becomes_a_cookie(self):
        share = self.share(label="for Ada", ttl_s=600)
        self.assertEqual(
            f"http://{self.s.preview_host(self.box)}:"
            f"{self.s.preview_address.split(':')[1]}/?{NAME}="
            + share["ticket"], share["url"])
        a = self.status(302, self.visit(share["ticket"], "/a%20b?x=1&y=%2F"))
        self.assertEqual("/a%20b?x=1&y=%2F", a.headers["Location"])
        self.assertEqual("no-store", a.headers["Cache-Control"])
        self.assertEqual("no-referrer", a.headers["Referrer-Policy"])
        fields = a.headers["Set-Cookie"].split("; ")
        self.assertEqual({"Path=/", "HttpOnly", "SameSite=Lax"},
                         {f for f in fields[1:] if "Max-Age" not in f})
        age = int(re.search(r"Max-Age=(\d+)", a.headers["Set-Cookie"])[1])
        self.assertTrue(590 <= age <= 600, age)
        a = self.with_cookie(f"sid=7; {fields[0]}; theme=dark")
        self.status(200, a)
        self.assertEqual("sid=7; theme=dark", a.json["headers"]["cookie"])
        self.assertIsNone(ours(a.headers))
        row = self.shares()[share["id"]]
        self.assertEqual(("for Ada", 1), (row["label"], row["uses"]))
        self.assertNotIn("ticket", json.dumps(row))

    def test_nothing_reaches_the_app(self):
        t = self.ticket()["ticket"]
        for path, headers, want in (
                ("/p?a=1", {"X-Holdfast-Ticket": t}, "/p?a=1"),
                ("/p", {"Cookie": f"{NAME}={t}"}, "/p"),
                ("/p", {"Cookie": f"{NAME}={t}; __Host-{NAME}={t}"}, "/p"),
                (f"/p?{NAME}={t}", {"Accept": "text/event-stream"}, "/p"),
                (f"/p?a=1&{NAME}={t}&b=2", {"Sec-Fetch-Mode": "cors"},
                 "/p?a=1&b=2")):
            a = self.s.preview(self.box, 3000, path, headers=headers)
            self.status(200, a)
            self.assertEqual(want, a.json["path"])
            self.assertNotIn(t[-20:], a.text)
            self.assertNotIn("holdfast-ticket", a.text.lower())
        a = self.s.preview(self.box, 3000, f"/p?{NAME}={t}", "POST", b"body")
        self.assertEqual(("/p", 4), (a.json["path"], a.json["body_bytes"]))
        # on a public one it is taken out, too
        box = self.s.create_app(3000)
        a = self.s.preview(box, 3000, f"/p?{NAME}=x",
                           headers={"Cookie": f"a=1; {NAME}=x",
                                    "Sec-Fetch-Mode": "cors"})
        self.assertEqual(("/p", "a=1"), (a.json["path"],
                                         a.json["headers"]["cookie"]))
        a = self.status(302, self.s.preview(box, 3000, f"/p?{NAME}=x",
                                            headers=PAGE))
        self.assertEqual("/p", a.headers["Location"])
        self.assertIsNone(ours(a.headers))
        self.s.purge(box)

    def test_nothing_is_logged(self):
        share, t = self.share(), self.ticket()["ticket"]
        cookie = self.enter(share)
        self.with_cookie(cookie)
        self.s.preview(self.box, headers={"X-Holdfast-Ticket": t})
        self.upgrade(f"/?{NAME}={t}").close()
        self.visit(t, "/", Referer=self.s.preview_host(self.box))
        for _ in range(5):          # nginx' own errors quote the request
            self.s.preview(self.box, 4001, f"/quoted?{NAME}={t}",
                           headers={"Sec-Fetch-Mode": "cors"})
        macs = [x.rsplit(".", 1)[1].encode()
                for x in (share["ticket"], cookie, t)]

        def logged():
            text = self.s.logs(10000)
            return text.count("/quoted") >= 6 and "connect() failed" in text
        until("the logs", logged)
        for name in glob.glob(f"{self.s.dir}/log/*"):
            with open(name, "rb") as f:
                text = f.read()
            for mac in macs:
                self.assertNotIn(mac, text, name)
        for path in ("/metrics", "/gate/metrics", "/gate/status"):
            host, port = self.s.metrics_address.split(":")
            c = http.client.HTTPConnection(host, int(port), timeout=10)
            c.request("GET", path)
            text = c.getresponse().read()
            for mac in macs:
                self.assertNotIn(mac, text)
            c.close()

    def test_forged_and_foreign(self):
        good = self.ticket()["ticket"]
        self.status(200, self.s.preview(
            self.box, headers={"X-Holdfast-Ticket": good}))
        parts = good.split(".")
        for i, value in ((1, "00000000"), (2, "a" * 40), (3, "p-t"),
                         (4, str(int(parts[4]) + 1)), (6, "0"),
                         (7, base64.urlsafe_b64encode(
                             os.urandom(32)).decode()[:43])):
            bad = ".".join(parts[:i] + [value] + parts[i + 1:])
            self.error(401, "unauthorized", self.s.preview(
                self.box, headers={"X-Holdfast-Ticket": bad}))
        for bad in ("", "h1t", good + ".", good * 60, "\xff" * 150):
            self.status(401, self.s.preview(
                self.box, headers={"X-Holdfast-Ticket": bad}))
        port = self.ticket("preview:4000", "preview:4001")["ticket"]
        self.error(403, "forbidden", self.s.preview(
            self.box, headers={"X-Holdfast-Ticket": port}))
        self.assertIn(self.s.preview(self.box, 4001, headers={
            "X-Holdfast-Ticket": port}).status, (502, 503))

    def test_ends_by_itself(self):
        share = self.share(ttl_s=1)
        cookie = self.enter(share)
        until("it expires", lambda: self.with_cookie(cookie).status == 401, 5)
        self.assertIn("expired", self.with_cookie(cookie).text)
        self.error(401, "unauthorized",
                   self.s.preview(self.box, headers={
                       "X-Holdfast-Ticket": share["ticket"]}))
        self.assertNotIn(share["id"], self.shares())

    def test_redirect_stays_here(self):
        for path in ("//evil.example/x", "/\\evil.example/x",
                     "///evil.example", "/\\/evil.example",
                     "//evil.example"):
            a = self.visit(self.ticket()["ticket"], path)
            self.assertIn(a.status, (302, 400), repr(a))
            if a.status == 302:
                self.assertRegex(a.headers["Location"], r"^/[^/\\]")
        t = self.ticket()["ticket"]
        s = self.s.raw(f"GET http://{self.s.preview_host(self.box)}"
                       f"?{NAME}={t} HTTP/1.1\r\nHost: "
                       f"{self.s.preview_host(self.box)}\r\n\r\n")
        self.assertRegex(head(s), rb"\r\nLocation: /\r\n")
        s.close()

    # ---- uses ---------------------------------------------------------------

    def test_max_uses(self):
        share = self.share(max_uses=2)
        self.error(401, "unauthorized", self.s.preview(
            self.box, headers={"X-Holdfast-Ticket": share["ticket"]}))
        # who looks a link up for a chat does not use it up
        a = self.visit(share["ticket"], **{"User-Agent": "Slackbot 1.0"})
        self.assertIn("og:title", self.status(200, a).text)
        first = self.enter(share)
        # nor who has a cookie already
        for _ in range(3):
            a = self.visit(share["ticket"], Cookie=first)
            self.assertEqual((302, None), (a.status,
                                           a.headers["Set-Cookie"]))
        self.enter(share)
        self.assertEqual(2, self.shares()[share["id"]]["uses"])
        self.assertIn("used", self.error(403, "forbidden", self.s.preview(
            self.box, 3000, f"/?{NAME}={share['ticket']}"))["message"])
        self.status(200, self.with_cookie(first))

    def test_max_uses_raced(self):
        share = self.share(max_uses=3)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda _: self.visit(share["ticket"]).status,
                                range(32)))
        self.assertEqual((3, 29), (got.count(302), got.count(403)), got)

    # ---- ending it ----------------------------------------------------------

    def test_revoked(self):
        dead, alive = self.share(), self.share()
        gone, stays = self.enter(dead), self.enter(alive)
        sock = self.upgrade(more=f"Cookie: {gone}\r\n")
        before = time.monotonic()
        self.revoke(dead)
        for _ in range(40):         # every worker, kept connections or not
            self.error(403, "forbidden", self.with_cookie(gone))
        self.assertTrue(closed(sock, 2))
        self.assertLess(time.monotonic() - before, 10)
        self.error(403, "forbidden", self.s.preview(self.box, headers={
            "X-Holdfast-Ticket": dead["ticket"]}))
        self.error(403, "forbidden", self.s.preview(
            self.box, 3000, f"/?{NAME}={dead['ticket']}"))
        a = self.status(200, self.with_cookie(stays))
        again = cookie_of(a)        # of now: need not be asked about again
        self.assertNotEqual(stays, again)
        a = self.status(200, self.with_cookie(again))
        self.assertIsNone(ours(a.headers))
        # of two, the one that is good counts
        self.status(200, self.with_cookie(f"{gone}; {again}"))
        self.error(404, "not_found", self.s.api(
            "DELETE", f"/v1/sandboxes/{self.box}/shares/{dead['id']}"))
        self.assertNotIn(dead["id"], self.shares())

    def test_revoked_while_it_sleeps(self):
        share = self.share()
        cookie = self.enter(share)
        self.s.stop_box(self.box)
        self.revoke(share)
        self.error(403, "forbidden", self.with_cookie(cookie))
        self.assertEqual("stopped", self.s.state(self.box))

    def test_survives_the_keeper(self):
        share, dead = self.share(), self.share()
        cookie, gone = self.enter(share), self.enter(dead)
        self.status(200, self.with_cookie(cookie))
        self.s.kill("keeper")
        until("the API is back", lambda: self.s.api(
            "DELETE", f"/v1/sandboxes/{self.box}/shares/{dead['id']}"
        ).status in (204, 404), 20)
        until("it is revoked", lambda: self.with_cookie(gone).status == 403,
              5)
        until("the other is not",
              lambda: self.with_cookie(cookie).status == 200, 10)

    def test_made_again_by_the_same_id(self):
        box = self.s.create_app(3000, id="again", visibility="private")
        t, share = self.ticket(box=box)["ticket"], self.share(box=box)
        headers = {"X-Holdfast-Ticket": t}
        self.status(200, self.s.preview(box, headers=headers))
        self.s.expect(204, "DELETE",
                      f"/v1/sandboxes/{box}?keep_workspace=true")
        self.status(404, self.s.preview(box, headers=headers))
        self.s.create_app(3000, id="again", visibility="private")
        for ticket in (t, share["ticket"]):
            a = self.s.preview(box, headers={"X-Holdfast-Ticket": ticket})
            self.assertIn(a.status, (401, 403), repr(a))
        self.s.purge(box)

    def test_visibility_at_once(self):
        box = self.s.create_app(3000)
        self.status(200, self.s.preview(box))
        sock = self.upgrade(box=box)
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                      {"visibility": "private"})
        for _ in range(20):
            self.status(401, self.s.preview(box))
        self.assertTrue(closed(sock, 2))
        t = self.ticket(box=box)["ticket"]
        sock = self.upgrade(f"/?{NAME}={t}", box=box)
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                      {"visibility": "public"})
        for _ in range(20):
            self.status(200, self.s.preview(box))
        sock.close()
        for policy, want in ((("private", "localhost"), 401),
                             (("public", "localhost"), 200),
                             (("public", "public"), 200)) * 8:
            self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                          {"visibility": policy[0],
                           "preview_host_header": policy[1]})
            a = self.status(want, self.s.preview(box))
            if want == 200:
                self.assertEqual(
                    "localhost" in policy,
                    a.json["headers"]["host"].startswith("localhost"))
        self.s.purge(box)

    def test_a_patch_ends_when_the_gates_know(self):
        box = self.s.create_app(3000, visibility="private")

        def patch():
            return self.s.api("PATCH", f"/v1/sandboxes/{box}",
                              {"visibility": "public"}).status
        door = self.s.kill("door", signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            try:
                said = pool.submit(patch)
                until("it is stored", lambda: self.s.get(box)["visibility"]
                      == "public")
                self.assertFalse(said.done(), "the gates cannot know it")
            finally:
                for p in door:
                    os.kill(p, signal.SIGCONT)
            self.assertEqual(200, said.result())
        self.status(200, self.s.preview(box))
        self.s.purge(box)

    def test_a_patch_cut_short_by_the_keepers_death(self):
        box = self.s.create_app(3000)
        self.status(200, self.s.preview(box))

        def patch():
            return self.s.api("PATCH", f"/v1/sandboxes/{box}",
                              {"visibility": "private"})
        door = self.s.kill("door", signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            try:
                said = pool.submit(patch)
                until("it is stored", lambda: self.s.get(box)["visibility"]
                      == "private")
                self.s.kill("keeper")
            finally:
                for p in door:
                    os.kill(p, signal.SIGCONT)
            self.assertTrue(self.error(503, "unavailable",
                                       said.result())["retryable"])
        self.status(200, patch())
        self.status(401, self.s.preview(box))
        self.s.purge(box)

    def test_rotation(self):
        old = self.ticket()["ticket"]

        def status(ticket):
            return self.s.preview(self.box, headers={
                "X-Holdfast-Ticket": ticket}).status

        def rotate():
            subprocess.run(self.s.command("-c", self.s.conf, "rotate-keys"),
                           check=True, stdout=subprocess.DEVNULL)
        self.assertEqual(200, status(old))
        rotate()
        new = self.ticket()["ticket"]
        self.assertNotEqual(old.split(".")[1], new.split(".")[1])
        for _ in range(20):
            self.assertEqual((200, 200), (status(old), status(new)))
        rotate()
        until("the oldest key is gone", lambda: status(old) == 401, 20)
        self.assertEqual(200, status(new))

    # ---- the calls ----------------------------------------------------------

    def test_calls(self):
        path = f"/v1/sandboxes/{self.box}"
        for route, body, field in (
                ("shares", {"ttl_s": 0}, "ttl_s"),
                ("shares", {"ttl_s": 10 ** 12}, "ttl_s"),
                ("shares", {"max_uses": 0}, "max_uses"),
                ("shares", {"max_uses": "1"}, "max_uses"),
                ("shares", {"port": 80}, "port"),
                ("shares", {"label": "a\nb"}, "label"),
                ("shares", {"lable": "x"}, "lable"),
                ("tickets", {}, "allow"),
                ("tickets", {"allow": []}, "allow"),
                ("tickets", {"allow": ["all"]}, "allow[0]"),
                ("tickets", {"allow": ["preview:80"]}, "allow[0]"),
                ("tickets", {"allow": ["preview"], "ttl_s": 3601}, "ttl_s")):
            a = self.s.api("POST", f"{path}/{route}", body)
            self.assertEqual((400, field), (
                a.status, a.json["error"].get("field")), repr(a))
        for method, route in (("GET", "shares"), ("POST", "shares"),
                              ("DELETE", "shares/x")):
            self.error(404, "not_found", self.s.api(
                method, f"/v1/sandboxes/nobody/{route}",
                {} if method == "POST" else None))
        share = self.share()
        made, over = (time.mktime(time.strptime(
            share[k][:19], "%Y-%m-%dT%H:%M:%S"))
            for k in ("created_at", "expires_at"))
        self.assertTrue(86399 <= over - made <= 86401)
        key = {"Idempotency-Key": "share-once-1"}
        a = self.s.expect(201, "POST", f"{path}/shares", {}, key)
        b = self.s.expect(201, "POST", f"{path}/shares", {}, key)
        self.assertEqual(a.json, b.json)
        self.assertTrue(self.s.expect(200, "GET", "/v1/info").json[
            "features"]["shares"])


class Tenants(Case):
    settings = {"auth_tokens": "a/ci:rw=alpha-secret,b/ci:rw=beta-secret,"
                               "a/look:ro=look-secret"}

    def test_others(self):
        made = self.s.api("POST", "/v1/sandboxes", {
            "visibility": "private"}, token="alpha-secret").json["id"]
        path = f"/v1/sandboxes/{made}/shares"
        share = self.s.expect(201, "POST", path, {}, token="alpha-secret")
        self.s.expect(404, "GET", path, token="beta-secret")
        self.s.expect(404, "POST", path, {}, token="beta-secret")
        self.s.expect(404, "DELETE", f"{path}/{share.json['id']}",
                      token="beta-secret")
        self.s.expect(403, "POST", path, {}, token="look-secret")
        self.s.expect(403, "POST", f"/v1/sandboxes/{made}/tickets",
                      {"allow": ["preview"]}, token="look-secret")
        self.s.expect(401, "POST", path, {}, token="x")
        self.s.expect(204, "DELETE", f"{path}/{share.json['id']}",
                      token="alpha-secret")


    def test_tickets_at_the_api(self):
        made = self.s.api("POST", "/v1/sandboxes", {}, token="alpha-secret")
        box, other = made.json["id"], self.s.api(
            "POST", "/v1/sandboxes", {}, token="beta-secret").json["id"]

        def ticket(*allow, **body):
            return self.s.expect(201, "POST", f"/v1/sandboxes/{box}/tickets",
                                 {"allow": allow, **body},
                                 token="alpha-secret").json["ticket"]

        def get(path, t, method="GET", **headers):
            mark = "&" if "?" in path else "?"
            return self.s.api(method, f"/v1/sandboxes/{path}{mark}ticket={t}",
                              headers=headers)
        events, files = ticket("events"), ticket("files:read")
        term = ticket("terminal")
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/stop",
                      token="alpha-secret")
        for path, t in (("events", events), ("tasks/1/events", events),
                        ("files?path=x", files), ("export", files),
                        ("files/content?path=x", files), ("terminal", term)):
            # a stream that is opened stays open
            a = get(f"{box}/{path}", t,
                    "HEAD" if path.endswith("events") else "GET")
            self.assertNotIn(a.status, (401, 403, 400), f"{path} {a!r}")
        for path, t, method in (
                (f"{box}/events", files, "GET"), (f"{box}/files", term, "GET"),
                (f"{box}/events", ticket("preview"), "GET"),
                (f"{box}", events, "GET"), (f"{box}/env", events, "PUT"),
                (f"{box}/files", files, "PUT"), (f"{box}/exec", term, "POST"),
                (f"{box}/files", files, "DELETE"),
                (f"{box}/events/", events, "GET"),
                (f"{box}/events/x", events, "GET"),
                (f"{other}/events", events, "GET"),
                ("nobody/events", events, "GET"),
                (f"{box}/events", forged(events), "GET"),
                (f"{box}/events", "", "GET")):
            a = get(path, t, method)
            self.assertIn(a.status, (401, 403), f"{method} {path} {a!r}")
        a = get(f"{box}/events", events, Origin="http://evil.example")
        self.error(403, "origin_refused", a)
        self.assertEqual("stopped", self.s.api(
            "GET", f"/v1/sandboxes/{box}", token="alpha-secret"
        ).json["state"])
        for protocol, status in ((f"holdfast.ticket.{term}", 0),
                                 ("holdfast.terminal.v1, holdfast.ticket."
                                  f"{term}", 0),
                                 ("holdfast.terminal.v1", 401),
                                 ("holdfast.ticket.x", 401)):
            a = self.s.api("GET", f"/v1/sandboxes/{box}/terminal", headers={
                "Sec-WebSocket-Protocol": protocol})
            if status:
                self.status(status, a)
            else:
                self.assertNotIn(a.status, (400, 401, 403), repr(a))
        for name in glob.glob(f"{self.s.dir}/log/*"):
            with open(name) as f:
                text = f.read()
            for t in (events, files, term):
                self.assertNotIn(t.rsplit(".", 1)[1], text, name)
        self.s.expect(404, "POST", f"/v1/sandboxes/{box}/tickets",
                      {"allow": ["events"]}, token="beta-secret")
        short = ticket("events", ttl_s=1)
        until("it expires",
              lambda: get(f"{box}/events", short, "HEAD").status == 401, 5)


class Tls(Case):
    """TLS in our nginx, as its settings have it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        d = cls.s.dir
        cls.s.halt()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048",
                        "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-keyout", f"{d}/key.pem", "-out", f"{d}/cert.pem"],
                       check=True, capture_output=True)
        cls.port = int(cls.s.preview_address.split(":")[1]) + 2
        with open(f"{d}/lib/lua-free-config/tls.conf", "w") as f:
            f.write(f"server {{\n    listen 127.0.0.1:{cls.port} ssl http2;\n"
                    "    server_name *.localhost;\n"
                    f"    ssl_certificate {d}/cert.pem;\n"
                    f"    ssl_certificate_key {d}/key.pem;\n"
                    "    include lua-free-config/preview_server.conf;\n}\n")
        with open(f"{d}/lib/nginx.conf") as f:
            text = f.read()
        with open(f"{d}/lib/nginx.conf", "w") as f:
            f.write(text.replace(
                "    include lua-free-config/preview.conf;\n",
                "    include lua-free-config/preview.conf;\n"
                "    include lua-free-config/tls.conf;\n"))
        cls.s.start()
        cls.box = cls.s.create_app(3000, visibility="private")

    def get(self, path, headers=None):
        c = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=30,
            context=ssl._create_unverified_context())
        try:
            c.request("GET", path, headers={
                "Host": self.s.preview_host(self.box), **(headers or {})})
            r = c.getresponse()
            return r.status, r.headers, r.read().decode()
        finally:
            c.close()

    def test_cookie_of_one_host(self):
        t = self.s.expect(201, "POST", f"/v1/sandboxes/{self.box}/shares",
                          {}).json["ticket"]
        status, headers, _ = self.get(f"/in/frame?{NAME}={t}", {
            **PAGE, "Sec-Fetch-Dest": "iframe",
            "Sec-Fetch-Site": "cross-site"})
        self.assertEqual((302, "/in/frame"), (status, headers["Location"]))
        fields = headers["Set-Cookie"].split("; ")
        self.assertTrue(fields[0].startswith(f"__Host-{NAME}="))
        self.assertEqual({"Path=/", "HttpOnly", "Secure", "SameSite=None",
                          "Partitioned"},
                         {f for f in fields[1:] if "Max-Age" not in f})
        status, _, text = self.get("/", {"Cookie": "a=1; " + fields[0]})
        self.assertEqual((200, "a=1"), (
            status, json.loads(text)["headers"]["cookie"]))
        # the form that anybody may set for a host counts for nothing here,
        # nor this one without TLS
        value = fields[0].split("=", 1)[1]
        self.assertEqual(401, self.get("/", {
            "Cookie": f"{NAME}={value}"})[0])
        self.assertEqual(401, self.s.preview(self.box, headers={
            "Cookie": fields[0]}).status)
        self.assertEqual(401, self.get("/")[0])

    def test_http2_cookies_in_pieces(self):
        t = self.s.expect(201, "POST", f"/v1/sandboxes/{self.box}/tickets",
                          {"allow": ["preview"]}).json["ticket"]
        host = self.s.preview_host(self.box)
        out = subprocess.run(
            ["curl", "-sk", "--http2", "--resolve",
             f"{host}:{self.port}:127.0.0.1", "-H", "Cookie: a=1",
             "-H", f"Cookie: __Host-{NAME}={t}", "-H", "Cookie: b=2",
             f"https://{host}:{self.port}/"],
            capture_output=True, timeout=30).stdout
        self.assertEqual("a=1; b=2", json.loads(out)["headers"]["cookie"])


class Front(Case):
    """TLS ends in front: the settings say so."""
    settings = {"preview_scheme": "https", "preview_public_port": 443}

    def test_cookie_is_secure(self):
        box = self.s.create_app(3000, visibility="private")
        share = self.s.expect(201, "POST", f"/v1/sandboxes/{box}/shares",
                              {"port": 3000}).json
        self.assertTrue(share["url"].startswith(
            f"https://{self.s.preview_host(box)}/?{NAME}="))
        a = self.status(302, self.s.preview(
            box, 3000, f"/?{NAME}={share['ticket']}", headers=PAGE))
        self.assertTrue(cookie_of(a).startswith(f"__Host-{NAME}="))
        self.status(200, self.s.preview(box, headers={
            "Cookie": cookie_of(a)}))
