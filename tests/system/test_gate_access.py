"""Who may call, and what callers of a sleeping preview get."""

import hashlib
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import GateCase, Later, Nginx, raw, tag, until


def line(secret, tenant, name, scope):
    return "%s %s %s %s %s\n" % (hashlib.sha256(secret.encode()).hexdigest(),
                                 tenant, tag(tenant), name, scope)


class Open(GateCase):
    """Without tokens, as on loopback."""

    options = {"origins": "https://app.example.org",
               "hosts": "sandboxes.example.org"}

    def test_nobody_is_default_admin(self):
        self.n.call("GET", "/sandboxes")
        p = self.a.seen[-1]
        self.assertEqual((p["HOLDFAST_TENANT"], p["HOLDFAST_KEY"],
                          p["HOLDFAST_SCOPE"]), ("default", "-", "admin"))

    def test_request_id(self):
        for sent, kept in (("abcDEF-123", True), ("short", False),
                           ("x" * 65, False), ("bad_underscore", False)):
            _, h, _ = self.n.call("GET", "/x", headers={"X-Request-Id": sent})
            self.assertEqual(h["X-Request-Id"] == sent, kept, sent)
            self.assertRegex(h["X-Request-Id"], "^[A-Za-z0-9-]{8,64}$")
            self.assertEqual(self.a.seen[-1]["HOLDFAST_REQUEST_ID"],
                             h["X-Request-Id"])

    def test_origins(self):
        seen = len(self.a.seen)
        for headers in ({"Origin": "https://evil.example"},
                        {"Origin": "null"},
                        {"Sec-Fetch-Site": "cross-site"},
                        {"Sec-Fetch-Site": "same-site"}):
            status, h, body = self.n.call("GET", "/v1/info", headers=headers)
            self.assertEqual(status, 403)
            self.assertIn(b"origin_refused", body)
            self.assertNotIn("Access-Control-Allow-Origin", h)
        self.assertEqual(len(self.a.seen), seen)
        for headers in ({"Sec-Fetch-Site": "none"},
                        {"Sec-Fetch-Site": "same-origin"}, {}):
            self.assertEqual(self.n.call("GET", "/v1/info",
                                         headers=headers)[0], 200)
        status, h, _ = self.n.call("GET", "/v1/info", headers={
            "Origin": "https://app.example.org",
            "Sec-Fetch-Site": "cross-site"})
        self.assertEqual(status, 200)
        self.assertEqual(h["Access-Control-Allow-Origin"],
                         "https://app.example.org")
        self.assertEqual(h["Vary"], "Origin")

    def test_preflight(self):
        seen = len(self.a.seen)
        status, h, body = self.n.call("OPTIONS", "/v1/sandboxes", headers={
            "Origin": "https://app.example.org",
            "Access-Control-Request-Method": "POST"})
        self.assertEqual((status, body), (204, b""))
        self.assertIn("POST", h["Access-Control-Allow-Methods"])
        self.assertEqual(h["Access-Control-Allow-Origin"],
                         "https://app.example.org")
        self.assertEqual(len(self.a.seen), seen)

    def test_hosts(self):
        for host, status in (("localhost:7070", 200), ("127.0.0.1", 200),
                             ("[::1]:7070", 200), ("10.1.2.3", 200),
                             ("sandboxes.example.org", 200),
                             ("evil.example", 403), ("127.0.0.1.evil", 403),
                             ("localhost.evil.example", 403)):
            self.assertEqual(self.n.call("GET", "/v1/x", host=host)[0],
                             status, host)

    def test_paths(self):
        seen = len(self.a.seen)
        for path in ("/v1/a%2fb", "/v1/a%2Fb", "/v1/a%5cb", "/v1/%2e%2e/x",
                     "/v1/../x", "/v1/./x", "/v1/a%00", "/v1/a%0ab", "/v1/%zz",
                     "/v1/%"):
            out = raw(self.n.api_port, "GET %s HTTP/1.1\r\nHost: localhost"
                      "\r\nConnection: close\r\n\r\n" % path)
            self.assertIn(b" 400 ", out.splitlines()[0], path)
            self.assertIn(b"\r\nX-Request-Id: ", out, path)
            self.assertIn(b'{"error":', out)
        self.assertEqual(len(self.a.seen), seen)
        self.assertEqual(self.n.call("GET", "/v1/a%20b?p=a%2Fb/../c")[0], 200)

    def test_nginx_own_errors_have_our_form(self):
        big = b"x" * (1 << 21)
        status, h, body = self.n.call("POST", "/v1/sandboxes", body=big)
        self.assertEqual(status, 413)
        e = json.loads(body)["error"]
        self.assertEqual((e["code"], e["request_id"]),
                         ("too_large", h["X-Request-Id"]))
        status, h, body = self.n.call("POST", "/sandbox", body=big)
        self.assertEqual(list(json.loads(body)), ["error"])
        self.assertIsInstance(json.loads(body)["error"], str)
        out = raw(self.n.api_port, "GET /v1/x HTTP/1.1\r\nHost: localhost\r\n"
                  "Connection: close\r\nX-Big: %s\r\n\r\n" % ("y" * 70000))
        self.assertIn(b" 431 ", out.splitlines()[0])
        self.assertIn(b'"error"', out)
        out = raw(self.n.api_port, "GET /%s HTTP/1.1\r\nHost: localhost\r\n"
                  "Connection: close\r\n\r\n" % ("y" * 70000))
        self.assertIn(b" 414 ", out.splitlines()[0])
        out = raw(self.n.api_port, "nonsense\r\n\r\n")
        self.assertIn(b" 400 ", out.splitlines()[0])
        self.assertIn(b'{"error":', out)

    def test_guest_ids(self):
        app = self.box("abc1", port=None)
        status, _, body = self.n.call("POST", "/v1/sandboxes/ABC1/exec",
                                      body=b"{}")
        self.assertEqual(status, 200)
        self.assertEqual(app.seen[-1]["path"], "/v1/sandboxes/ABC1/exec")
        self.assertEqual(app.seen[-1]["peer"], "unix")
        self.assertNotIn("Authorization", app.seen[-1]["headers"])
        for bad in ("a_b", "x" * 41, "a-b"):
            status, _, body = self.n.call("POST", "/sandbox/%s/exec" % bad,
                                          body=b"{}")
            self.assertEqual(status, 400, bad)
        self.assertEqual(self.n.call("POST", "/sandbox/none1/exec",
                                     body=b"{}")[0], 404)
        self.assertEqual(self.n.call("GET", "/sandbox/abc1/exec")[0], 405)
        self.assertEqual(self.k.asked("abc1", "wake")[0][1], 0)

    def test_exec_wakes_what_a_caller_stopped(self):
        self.box("abc2", port=None, wakes="caller")
        self.assertEqual(self.n.call("POST", "/sandbox/abc2/exec",
                                     body=b"{}")[0], 200)

    def test_inside_cannot_steer_nginx(self):
        app = self.box("abc3")
        app.headers.append(("X-Accel-Redirect", "/_op/1"))
        app.headers.append(("Set-Cookie", "a=b; Domain=localhost; Path=/"))
        app.headers.append(("Set-Cookie", "c=d;DOMAIN = .localhost"))
        app.headers.append(("Set-Cookie", "domain=e;Secure; HttpOnly"))
        status, h, body = self.preview("abc3")
        self.assertEqual(status, 200)
        self.assertNotIn("X-Accel-Redirect", h)
        self.assertEqual(h.get_all("Set-Cookie"), [
            "a=b; Path=/", "c=d", "domain=e; Secure; HttpOnly"])


class Tokens(GateCase):
    options = {"rate": 0}

    @classmethod
    def before(cls):
        f = cls.n.dir / "tokens"
        f.write_text("# a comment\n" + line("s1", "default", "me", "admin")
                     + line("s2", "acme", "bot", "rw")
                     + line("s3", "acme", "eye", "ro")
                     + line("s4", "acme", "two", "ids:acme1+acme2"))
        f.chmod(0o600)
        cls.n.options["tokens"] = str(f)

    def auth(self, secret):
        return {"Authorization": "Bearer " + secret}

    def test_tokens(self):
        for headers in ({}, self.auth("wrong"), self.auth(""),
                        {"Authorization": "Basic s1"}):
            status, h, body = self.n.call("GET", "/v1/info", headers=headers)
            self.assertEqual(status, 401)
            self.assertIn("Bearer", h["WWW-Authenticate"])
            self.assertIn("X-Request-Id", h)
        self.assertEqual(self.n.call("GET", "/v1/info",
                                     headers=self.auth("s2"))[0], 200)
        p = self.a.seen[-1]
        self.assertEqual((p["HOLDFAST_TENANT"], p["HOLDFAST_KEY"],
                          p["HOLDFAST_SCOPE"]), ("acme", "bot", "rw"))
        self.assertEqual(self.n.call("GET", "/healthz")[0], 200)

    def test_forged_parameters(self):
        self.n.call("GET", "/v1/info", headers={
            **self.auth("s2"), "Holdfast-Tenant": "default",
            "HOLDFAST_TENANT": "default"})
        self.assertEqual(self.a.seen[-1]["HOLDFAST_TENANT"], "acme")

    def test_read_only(self):
        self.assertEqual(self.n.call("GET", "/v1/x",
                                     headers=self.auth("s3"))[0], 200)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            self.assertEqual(self.n.call(method, "/v1/x",
                                         headers=self.auth("s3"))[0], 403)

    def test_tenants_and_scopes_at_the_guest(self):
        app = self.box("acme1", port=None, tenant="acme")
        self.box("acme3", port=None, tenant="acme")
        for secret, id, want in (("s2", "acme1", 200), ("s4", "acme1", 200),
                                 ("s4", "acme3", 404), ("s3", "acme1", 403),
                                 ("s1", "acme1", 404)):
            status, _, body = self.n.call(
                "POST", "/v1/sandboxes/%s/exec" % id, body=b"{}",
                headers=self.auth(secret))
            self.assertEqual(status, want, (secret, id, body))
        self.assertEqual(self.n.call("POST", "/sandbox/acme1/exec",
                                     body=b"{}")[0], 401)
        self.assertNotIn("Authorization", app.seen[-1]["headers"])

    def test_others_do_not_wake(self):
        self.box("acme9", port=None, tenant="acme")
        self.n.call("POST", "/sandbox/acme9/exec", body=b"{}",
                    headers=self.auth("s1"))
        self.assertEqual(self.k.asked("acme9", "wake"), [])


class Rate(GateCase):
    options = {"rate": 5}

    def test_rate(self):
        got = [self.n.call("GET", "/v1/x") for _ in range(12)]
        codes = [x[0] for x in got]
        self.assertEqual(codes[:5], [200] * 5)
        self.assertIn(429, codes)
        limited = [x for x in got if x[0] == 429][0]
        self.assertGreaterEqual(int(limited[1]["Retry-After"]), 1)
        self.assertIn(b"rate_limited", limited[2])
        self.assertEqual(self.n.call("GET", "/healthz")[0], 200)
        until(lambda: self.n.call("GET", "/v1/x")[0] == 200)


class Callers(GateCase):
    options = {"warming_after": "200ms"}

    def setUp(self):
        self.k.auto = False

    def tearDown(self):
        self.k.auto = True

    def asleep(self, id, **headers):
        h = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.preview(id, "/", headers=h)

    def test_who_does_not_wake(self):
        self.box("c1")
        ws = {"Connection": "Upgrade", "Upgrade": "websocket",
              "Sec_WebSocket_Version": "13"}
        for headers, status, text in (
                ({**ws, "Origin": "http://x"}, 503, b"asleep"),
                ({"Accept": "text/x-vite-ping"}, 503, b"asleep"),
                ({**ws, "Sec_WebSocket_Protocol": "vite-hmr"}, 503, b"asleep"),
                ({"User_Agent": "kube-probe/1.28"}, 503, b"asleep"),
                ({"User_Agent": "Slackbot-LinkExpanding 1.0"}, 200,
                 b"og:title"),
                ({"User_Agent": "Pingdom.com_bot"}, 503, b"asleep")):
            got, h, body = self.asleep("c1", **headers)
            self.assertEqual(got, status, headers)
            self.assertIn(text, body)
        self.assertEqual(self.k.asked("c1", "wake"), [])

    def test_event_source_ends_when_awake(self):
        self.box("c9")
        s = raw(self.n.port, "GET /e HTTP/1.1\r\nHost: 3000-c9.localhost\r\n"
                "Accept: text/event-stream\r\nOrigin: http://x\r\n"
                "Connection: close\r\n\r\n", read=False)
        data = b""
        while b"asleep" not in data:
            data += s.recv(4096)
        self.assertIn(b" 200 ", data.splitlines()[0])
        self.assertEqual(self.k.asked("c9", "wake"), [])
        until(lambda: self.n.status()["holding"] == 1)
        self.k.known["c9"].update(state="awake", gen=self.k.next_gen())
        self.k.say(self.k.answer("c9", 0, "R"))
        while more := s.recv(4096):
            data += more
        self.assertTrue(data.endswith(b"0\r\n\r\n"), data)
        s.close()

    def test_wake_on_any(self):
        self.box("c2", wake_on="any")
        call = Later(self.asleep, "c2", Accept="text/x-vite-ping")
        until(lambda: self.k.asked("c2", "wake"))
        self.k.wake("c2", 3000)
        self.assertEqual(call.result()[0], 200)
        # but not what a caller has stopped
        self.box("c3", wake_on="any", wakes="caller")
        self.assertEqual(self.asleep("c3", Accept="text/x-vite-ping")[0], 503)

    def test_nothing_wakes(self):
        self.box("c4", wakes="none")
        status, h, body = self.asleep("c4")
        self.assertEqual(status, 503)
        self.assertEqual(self.k.asked("c4", "wake"), [])

    def test_navigation_gets_the_page_then_the_app(self):
        self.box("c5")
        status, h, body = self.asleep("c5", Sec_Fetch_Mode="navigate",
                                      Accept="text/html")
        self.assertEqual(status, 503)
        self.assertIn(b"/.holdfast/state", body)
        self.assertEqual(h["Cache-Control"], "no-store")
        call = Later(self.preview, "c5", "/.holdfast/state")
        until(lambda: self.n.status()["holding"] == 1)
        self.k.wake("c5", 3000)
        self.assertEqual(json.loads(call.result()[2])["state"], "awake")
        self.assertEqual(self.asleep("c5", Sec_Fetch_Mode="navigate")[0], 200)

    def test_state_of_a_failed_wake(self):
        self.box("c6")
        self.k.known["c6"]["fail"] = "9 wake_failed the app exited 1"
        s = json.loads(self.preview("c6", "/.holdfast/state")[2])
        self.assertEqual((s["state"], s["retry_after_s"], s["message"]),
                         ("failed", 9, "the app exited 1"))

    def test_private(self):
        self.box("c7", private=True)
        status, _, body = self.asleep("c7")
        self.assertEqual(status, 401)
        self.assertIn(b"private", body)
        self.assertEqual(self.k.asked("c7", "wake"), [])

    def test_declared_ports(self):
        self.box("c8", state="awake", ports="declared", declared="3000",
                 open={3000: "open4", 4000: "open4"})
        self.assertEqual(self.preview("c8")[0], 200)
        self.assertEqual(self.preview("c8", port=4000)[0], 404)

    def test_host_header(self):
        for mode, want in (("public", "3000-%s.localhost"),
                           ("localhost", "localhost:3000"),
                           ("my.app:80", "my.app:80")):
            id = "host" + mode[0]
            app = self.box(id, state="awake", host=mode)
            self.n.get("3000-%s.localhost" % id, "/", headers={
                "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"})
            h = app.seen[-1]["headers"]
            self.assertEqual(h["Host"], want % id if "%" in want else want)
            self.assertEqual(h["X-Forwarded-For"], "127.0.0.1")
            self.assertNotIn("Forwarded", h)

    def test_bad_hosts(self):
        asks = len(self.k.asks)
        for host in ("localhost", "api.localhost", "x.localhost",
                     "s-abc-3000.localhost", "3000-abc.preview.localhost",
                     "s-abc-80.preview.localhost", "80-abc.localhost",
                     "70000-abc.localhost", "03000-abc.localhost",
                     "3000-a_b.localhost", "3000-.localhost",
                     "s--3000.preview.localhost", "49983-abc.localhost",
                     "49999-abc.localhost", "3000-%s.localhost" % ("a" * 41),
                     "s-a-b-3000.preview.localhost", "3000-abc.localhost.evil",
                     "3000-abc.evil"):
            status, _, body = self.n.get(host)
            self.assertEqual(status, 404, host)
        self.assertEqual(len(self.k.asks), asks)

    def test_html_or_json(self):
        status, h, body = self.asleep("nobody", Accept="text/html")
        self.assertEqual((status, h["Content-Type"]),
                         (404, "text/html; charset=utf-8"))
        status, h, body = self.asleep("nobody", Accept="*/*")
        self.assertEqual(h["Content-Type"], "application/json")


class Configuration(unittest.TestCase):
    def check(self, text, **options):
        n = Nginx(**options)
        try:
            ok, said = n.test()
            self.assertEqual(ok, text is None, said)
            if text:
                self.assertIn(text, said)
        finally:
            n.clean()

    def test_accepted(self):
        self.check(None)

    def test_wrong_values(self):
        self.check("must be at least 64k", table="1k")
        self.check("host name", domain="a/b")
        self.check("not an origin", origins="app.example.org")
        self.check("more than 0", hold_max="0")
        self.check("two numbers", hold_limit="0 5")
        self.check("cannot open tokens", tokens="/nonexistent")
        self.check("between 0 and", rate="5000000")
        self.check("must come before", settings="upstream x { server 1.1.1.1;"
                   " keepalive 2; holdfast_peer; }")

    def test_tokens_file(self):
        n = Nginx()
        f = n.dir / "tokens"
        n.options["tokens"] = str(f)
        n.write()
        try:
            for text, mode, said in (
                    (line("a", "t", "n", "root"), 0o600, "scope must be"),
                    ("xx\n", 0o600, "five fields"),
                    (line("a", "t", "n", "rw")[1:], 0o600, "64 hexadecimal"),
                    (line("a", "t", "n", "ids:a++b"), 0o600, "not one"),
                    (line("a", "t", "n", "rw"), 0o644, "make it 0600")):
                f.write_text(text)
                f.chmod(mode)
                ok, out = n.test()
                self.assertFalse(ok)
                self.assertIn(said, out)
        finally:
            n.clean()


if __name__ == "__main__":
    unittest.main()
