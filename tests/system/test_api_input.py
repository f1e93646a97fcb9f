"""Bad input: every field of every route gets what it must not get.

Straight to the workers (Workers), where the keeper is a few lines that note
whether it was asked: bad input must end before it. Then a choice of it through
nginx (Whole), where nothing may be left behind.
"""

import json
import socket
import unittest

from case import Case
from fcgi import Api

HUGE = "x" * 70000
DEEP = "[" * 40 + "]" * 40
WRONG = [None, True, 1, -1, 0, 1.5, 1e308, 10 ** 30, "", "x", HUGE, [], ["x"],
         [[]], {}, {"x": 1}, "\u0000", "a\nb", "../../etc/passwd", "%00"]

# What a field takes of the list above; None is "not given" everywhere.
TAKES = {
    "id": ["x"],
    "key": ["x", "../../etc/passwd", "%00"],
    "project": [], "setup": [],
    "external": [{}],
    "image": ["x"],
    "template": [""], "git_remote_url": ["", "x", "../../etc/passwd", "%00"],
    "ports": [[]], "services": [[]],
    "env": [{}], "labels": [{}], "files": [[], {}],
    "memory_high": [], "memory_mb": [],
    "cpus": [1, 1.5],
    "pids": [], "disk_mb": [],
    "idle_s": [], "freeze_s": [0, 1], "ttl_s": [0, 1],
    "visibility": [], "idle_policy": [], "wake_on": [], "ports_policy": [],
    "preview_host_header": ["x"], "root": [],
}
BASE = {"id", "external", "template", "git_remote_url", "ports", "env",
        "memory_high", "visibility", "idle_policy"}
PATCH = {"ports", "memory_high", "memory_mb", "cpus", "pids", "disk_mb",
         "idle_s", "freeze_s", "ttl_s", "labels", "visibility",
         "idle_policy", "wake_on", "ports_policy", "preview_host_header"}

BODIES = [
    b"{", b"[]", b'"x"', b"null", b"1", b"{} {}", b"{}x", b"\xff", b"{\xff}",
    b'{"id":"a","id":"b"}', b'{"id":"a","\\u0069d":"b"}', b"\x00", b"{}\x00",
    b'{"ports":[3000,]}', b"{'id':'a'}", b"{id:1}", b'{"idle_s":NaN}',
    b'{"idle_s":Infinity}', b'{"idle_s":0100}', b"\xef\xbb\xbf{}",
    b'{"ports":' + DEEP.encode() + b"}", b'{"env":{"A":"\xc0\xaf"}}',
    b'{"env":{"A":"\xed\xa0\x80"}}', b"[" * 100000, b"{\"a\":" * 50000,
]

IDS = ["..%2fx", "..%5cx", "%2e%2e", "..", "a%00b", "a%20b", "a%0ab", "a-b",
       "a.b", "a" * 41, "%ff", "%c3%a4", "%", "%4", "%zz", "a%2", "%2f",
       "a%252fb", "$(id)", "'", "a;b", "_op"]

ROUTES = [
    ("GET", "/sandbox/{}"), ("DELETE", "/sandbox/{}"),
    ("POST", "/sandbox/{}/purge"), ("POST", "/sandbox/{}/keepalive"),
    ("POST", "/wake/{}"), ("GET", "/v1/sandboxes/{}"),
    ("PATCH", "/v1/sandboxes/{}"), ("DELETE", "/v1/sandboxes/{}"),
    ("PUT", "/v1/sandboxes/{}/env"), ("POST", "/v1/sandboxes/{}/start"),
    ("POST", "/v1/sandboxes/{}/stop"), ("POST", "/v1/sandboxes/{}/restart"),
    ("GET", "/v1/sandboxes/{}/ports"), ("GET", "/v1/sandboxes/{}/metrics"),
    ("POST", "/v1/sandboxes/{}/freeze"), ("GET", "/v1/sandboxes/{}/files"),
]
WITH_BODY = [
    ("POST", "/sandbox"), ("POST", "/v1/sandboxes"),
    ("PUT", "/v1/sandboxes/by-key/k"), ("PATCH", "/v1/sandboxes/box0"),
    ("PUT", "/v1/sandboxes/box0/env"), ("POST", "/sandbox/box0/keepalive"),
]


def fields(path):
    if path == "/sandbox":
        return BASE
    return PATCH if path == "/v1/sandboxes/box0" else set(TAKES)


class Workers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.api = Api()
        cls.api.insert(id="box0")

    @classmethod
    def tearDownClass(cls):
        cls.api.stop()

    def refused(self, a, why, statuses=(400,)):
        self.assertIn(a.status, statuses, f"{why}: {a!r}")
        error = a.json["error"]
        if isinstance(error, dict):
            self.assertTrue(error["code"] and error["message"], why)
            self.assertEqual(a.headers["x-request-id"], error["request_id"])
        else:
            self.assertTrue(error, why)
        self.assertEqual([], self.api.keeper.asked, why)

    def setUp(self):
        self.api.keeper.asked = []

    def test_every_field_with_every_wrong_value(self):
        for method, path in WITH_BODY[:4]:
            for field in fields(path):
                for value in WRONG:
                    if value is None or value in TAKES[field] \
                            and not isinstance(value, bool):
                        continue
                    if (path, field, value) == ("/sandbox", "external",
                                                {"x": 1}):
                        continue        # unknown fields are ignored there
                    a = self.api.ask(method, path, {field: value})
                    why = f"{method} {path} {field}={str(value)[:60]!r}"
                    self.refused(a, why, (400, 501))
                    if a.status == 501:
                        self.assertIn(field, ("files", "git_remote_url"))

    def test_what_fields_take(self):
        for field, values in TAKES.items():
            for value in values:
                self.api.keeper.asked = []
                a = self.api.ask("POST", "/v1/sandboxes", {field: value})
                if field == "git_remote_url" and value:
                    self.assertEqual(501, a.status)
                    continue
                self.assertEqual(200, a.status, f"{field}={value!r} {a!r}")
                self.assertEqual(1, len(self.api.keeper.asked))

    def test_bodies(self):
        for method, path in WITH_BODY:
            for body in BODIES:
                a = self.api.ask(method, path, body)
                self.refused(a, f"{method} {path} {body[:60]!r}")

    def test_nested_fields(self):
        for body in (
                {"services": [{}]}, {"services": [{"name": "a"}]},
                {"services": [{"name": "A b", "cmd": ["x"]}]},
                {"services": [{"name": "a", "cmd": ["\0"]}]},
                {"services": [{"name": "a", "cmd": ["x"], "port": 80}]},
                {"services": [{"name": "a", "cmd": ["x"], "x": 1}]},
                {"services": [{"name": "a", "cmd": ["x"], "env": {"=": ""}}]},
                {"services": [{"name": f"a{i}", "cmd": ["x"]}
                              for i in range(17)]},
                {"setup": {"cmd": ["x"], "timeout_s": "1"}},
                {"setup": {"cmd": ["x"] * 300}},
                {"external": {"user_id": "a\nb"}},
                {"external": {"user_id": "a" * 129}},
                {"project": {"id": ""}}, {"project": {"id": "a", "x": 1}},
                {"env": {"A": "x" * 300000}}, {"env": {"A" * 200: ""}},
                {"env": {f"A{i}": "" for i in range(1001)}},
                {"labels": {f"a{i}": "" for i in range(65)}},
                {"labels": {"a": "x" * 300}}, {"labels": {"ä": "x"}},
                {"ports": list(range(2000, 2017))}, {"ports": [2 ** 64]}):
            self.refused(self.api.ask("POST", "/v1/sandboxes", body),
                         str(body)[:80])

    def test_keepalive_and_env(self):
        for until in ("x", "", -1, 0, 1.5, True, [], {}, 10 ** 30,
                      "2026-99-01T00:00:00Z", "0000-00-00T00:00:00Z"):
            self.refused(self.api.ask("POST", "/sandbox/box0/keepalive",
                                      {"until": until}), repr(until))
        for env in ([], {"A": 1}, {"A": None}, {"": "x"}, {"A=": "x"},
                    {"A": "\0"}, {"env": {"A": 1}}, {"env": []}):
            self.refused(self.api.ask("PUT", "/v1/sandboxes/box0/env", env),
                         repr(env))

    def test_ids(self):
        for method, path in ROUTES:
            for bad in IDS:
                a = self.api.ask(method, path.format(bad))
                self.refused(a, f"{method} {path} {bad}", (400, 404))

    def test_names_in_paths(self):
        for path in ("/v1/sandboxes/by-key/{}", "/external-users/{}/purge",
                     "/external-projects/{}/purge"):
            method = "PUT" if "key" in path else "POST"
            for bad in ("a%2fb", "%00", "%0a", "%ff", "..", "%2e", "a" * 129,
                        "a%7fb", "%5c"):
                a = self.api.ask(method, path.format(bad),
                                 b"{}" if method == "PUT" else b"")
                self.refused(a, f"{path} {bad}")

    def test_queries(self):
        for query in ("limit=0", "limit=1001", "limit=-1", "limit=1e3",
                      "limit=", "limit=0x1", "limit=99999999999999999999",
                      "after=", "after=x", "after=1-", "after=-a",
                      "after=1-a-b", "after=1-" + "a" * 41, "state=",
                      "state=x", "state=deleted", "deleted=maybe",
                      "label.=x", "label.a%22b=x", "a=%", "a=%00", "a=%ff",
                      "&".join(f"label.a{i}=x" for i in range(100)),
                      "label.a=" + "x" * 9000):
            for path in ("/sandboxes", "/v1/sandboxes"):
                self.refused(self.api.get(f"{path}?{query}"), query[:80])
        for query in ("sate=running", "limit=1&limit=2", "x=1"):
            self.refused(self.api.get(f"/v1/sandboxes?{query}"), query)
        for query in ("keep_workspace=x", "keep_workspce=true"):
            self.refused(self.api.ask(
                "DELETE", f"/v1/sandboxes/box0?{query}"), query)
        for query in ("wait=x", "x=1"):
            self.refused(self.api.ask("POST", f"/v1/sandboxes?{query}",
                                      b"{}"), query)
        for query in ("after=x", "sandbox=a-b", "limit=0", "x=1"):
            self.refused(self.api.get(f"/v1/audit?{query}"), query)
        for number in ("0", "-1", "x", "1.5", "9" * 30):
            self.refused(self.api.get(f"/v1/operations/{number}"), number)

    def test_headers(self):
        create = ("POST", "/v1/sandboxes", b"{}")
        self.refused(self.api.ask(*create, headers={
            "Content-Type": "text/plain"}), "type", (415,))
        self.refused(self.api.ask(*create, CONTENT_TYPE=None), "", (415,))
        self.refused(self.api.ask(*create, headers={
            "Content-Type": "application/json; charset=latin1"}), "", (415,))
        self.refused(self.api.ask(*create, headers={
            "Content-Encoding": "gzip"}), "", (415,))
        self.refused(self.api.ask(*create, CONTENT_LENGTH="x"), "length")
        self.refused(self.api.ask(*create, CONTENT_LENGTH="-5"), "length")
        self.refused(self.api.ask(*create, CONTENT_LENGTH="500"), "cut")
        self.refused(self.api.ask(*create, CONTENT_LENGTH=str(1 << 40)), "",
                     (413,))
        self.refused(self.api.ask(*create, CONTENT_LENGTH=None, headers={
            "Transfer-Encoding": "chunked"}), "", (411,))
        for key in ("x" * 201, "a\x07b", "ä"):
            self.refused(self.api.ask(*create, headers={
                "Idempotency-Key": key}), repr(key)[:40])
        for tag in ("x", "7", '"x"', "W/\"1\"", '"1", "2"', '"-1"'):
            self.refused(self.api.ask("PATCH", "/v1/sandboxes/box0",
                                      {"idle_s": 60},
                                      headers={"If-Match": tag}), tag, (412,))
        for bad in ("x", "a" * 65, "a b c d e f", "ääääääää"):
            a = self.api.get("/healthz", headers={"X-Request-Id": bad})
            self.assertRegex(a.headers["x-request-id"], r"^[0-9a-z]{26}$")
        a = self.api.get("/healthz", headers={"X-Request-Id": "keep-me-0"})
        self.assertEqual("keep-me-0", a.headers["x-request-id"])

    def test_methods(self):
        for path in ("/sandbox", "/sandboxes", "/v1/sandboxes/box0",
                     "/v1/info", "/v1/sandboxes/box0/env"):
            for method in ("TRACE", "CONNECT", "PUTT", "get", "X" * 500,
                           "PROPFIND"):
                a = self.api.ask(method, path)
                self.refused(a, f"{method[:20]} {path}", (405,))
                self.assertIn("OPTIONS", a.headers["allow"])
        a = self.api.ask("OPTIONS", "/sandboxes")
        self.assertEqual((204, "GET, HEAD, OPTIONS"),
                         (a.status, a.headers["allow"]))
        for path in ("/", "/v1", "/v2/sandboxes", "/sandbox/a/b/c", "/_op/1",
                     "/v1/sandboxes/box0/nothing", "/a/b/c/d/e/f/g/h/i/j/k/l"
                     "/m/n"):
            self.refused(self.api.get(path), path, (404,))

    def test_strange_uris(self):
        for uri in ("", "x", "//", "/sandbox//box0", "/sandbox/./box0",
                    "/sandbox/box0/", "/../etc/passwd", "/" + "a" * 5000,
                    "/sandbox/box0#x", "http://x/sandboxes", "*",
                    "/sandbox/box0\r\nX: y"):
            a = self.api.get(uri)
            self.refused(a, uri[:60], (400, 404))
            self.assertNotIn("\r\nX: y", str(a.headers))

    def test_nothing_was_harmed(self):
        """The same workers as at the start: none died of all that."""
        self.assertEqual("ok", self.api.get("/healthz").text.strip())
        text = self.api.get("/metrics", tenant=None).text
        self.assertRegex(text, r"workers_died_total\{[^}]*\} 0\n")


class Whole(Case):
    """Through nginx, the gate and the keeper: nothing is left behind."""

    def left(self):
        return {r["id"] for r in self.s.api("GET", "/sandboxes").json}

    def test_bad_creates_leave_nothing(self):
        before = self.left()
        for path in ("/sandbox", "/v1/sandboxes"):
            for body in BODIES:
                a = self.s.api("POST", path, body, {
                    "Content-Type": "application/json"})
                self.assertEqual(400, a.status, f"{body[:50]!r} {a!r}")
        for field in sorted(TAKES):
            a = self.s.api("POST", "/v1/sandboxes", {field: [[]]})
            self.assertIn(a.status, (400, 501), f"{field} {a!r}")
        self.assertEqual(before, self.left())

    def test_ids(self):
        for method, path in ROUTES:
            for bad in IDS:
                a = self.s.api(method, path.format(bad))
                self.assertIn(a.status, (400, 404), f"{method} {bad} {a!r}")

    def test_too_large(self):
        a = self.s.api("POST", "/v1/sandboxes", b" " * (2 << 20),
                       {"Content-Type": "application/json"})
        self.assertEqual(413, a.status, repr(a))
        self.assertEqual("too_large", a.json["error"]["code"])

    def test_raw(self):
        host, port = self.s.api_address.rsplit(":", 1)
        for raw in (b"GET /sandbox/a\0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"\x16\x03\x01", b"GET\r\n\r\n",
                    b"POST /sandbox HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Length: x\r\n\r\n",
                    b"POST /sandbox HTTP/1.1\r\nHost: localhost\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
            c = socket.create_connection((host, int(port)), timeout=10)
            with c:
                c.sendall(raw)
                c.shutdown(socket.SHUT_WR)
                got = b""
                while True:
                    part = c.recv(4096)
                    if not part:
                        break
                    got += part
            self.assertNotIn(b" 500 ", got.split(b"\r\n")[0])
            self.assertNotIn(b" 200 ", got.split(b"\r\n")[0])

    def test_chunked_bodies_are_taken(self):
        host, port = self.s.api_address.rsplit(":", 1)
        body = json.dumps({"prots": []}).encode()
        c = socket.create_connection((host, int(port)), timeout=10)
        with c:
            c.sendall(b"POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\n"
                      b"Connection: close\r\n"
                      b"Content-Type: application/json\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n"
                      + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            got = b""
            while True:
                part = c.recv(4096)
                if not part:
                    break
                got += part
        self.assertIn(b"unknown_field", got)
