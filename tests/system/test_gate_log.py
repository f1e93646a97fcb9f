"""The access log, and which names the health and figures answer to."""

import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import GateCase, Later, raw, until


class Log(GateCase):
    @classmethod
    def api_answer(cls, params, body):
        if params.get("HOLDFAST_OP"):
            return ("Content-Type: text/plain\r\nX-Holdfast-Sandbox: made1",
                    b"done")
        if params["REQUEST_METHOD"] == "POST":
            return "X-Accel-Redirect: /_op/7", b""
        return "Content-Type: text/plain", b"ok"

    def line(self, mark):
        """The log's line with `mark` in it, as (status, request, fields)."""
        def find():
            text = (self.n.dir / "access.log").read_text()
            return [x for x in text.splitlines() if mark in x]
        found = until(find)
        self.assertEqual(len(found), 1, found)
        m = re.match(r'\S+ \S+ (\d+) "([^"]*)" (.*)', found[0])
        return m[1], m[2], dict(re.findall(r"(\w+)=(\S*)", m[3]))

    def test_held_operation_is_the_clients_request(self):
        self.k.ops[7] = "done"
        status, h, body = self.n.call("POST", "/v1/sandboxes?secret=1",
                                      headers={"X-Request-Id": "log-op-001"})
        self.assertEqual((status, body), (200, b"done"))
        self.assertNotIn("X-Holdfast-Sandbox", h)
        status, request, f = self.line("log-op-001")
        self.assertEqual(request, "POST 127.0.0.1/v1/sandboxes")
        self.assertEqual((status, f["sandbox"]), ("200", "made1"))

    def test_preview(self):
        app = self.box("log2")
        app.headers.append(("X-Holdfast-Sandbox", "another"))
        self.preview("log2", "/a%20b?c", headers={"X-Request-Id": "log-pre-1"})
        status, request, f = self.line("log-pre-1")
        self.assertEqual(request,
                         "GET s-log2-3000.preview.localhost/a%20b")
        self.assertEqual((status, f["sandbox"], f["state"]),
                         ("200", "log2", "awake"))

    def test_what_nginx_refuses_itself(self):
        self.n.call("POST", "/v1/too-large", body=b"x" * (1 << 21),
                    headers={"X-Request-Id": "log-413-1"})
        status, request, f = self.line("log-413-1")
        self.assertEqual((status, request),
                         ("413", "POST 127.0.0.1/v1/too-large"))

    def test_forged_lines(self):
        raw(self.n.port, b'GET /x"\x80 HTTP/1.1\r\nHost: 3000-log5.localhost'
            b"\r\nX-Request-Id: log-forge-1\r\nConnection: close\r\n\r\n")
        text = until(lambda: [x for x in (self.n.dir / "access.log")
                              .read_text().splitlines()
                              if "log-forge-1" in x])[0]
        self.assertIn(r'/x\x22\x80" ', text)


class Names(GateCase):
    options = {"hosts": "sandboxes.example.org"}

    def test_health_and_figures_by_our_names_only(self):
        for port, paths in ((self.n.api_port, ("/healthz", "/readyz")),
                            (self.n.metrics, ("/metrics", "/gate/metrics",
                                              "/gate/status"))):
            for path in paths:
                for host, want in (("localhost", 200), ("127.0.0.1:1", 200),
                                   ("sandboxes.example.org", 200),
                                   ("evil.example", 403),
                                   ("s-a1-3000.preview.localhost", 403),
                                   ("3000-a1.localhost", 403)):
                    status, _, body = self.n.call("GET", path, host=host,
                                                  port=port)
                    self.assertEqual(status, want, (path, host, body))
        out = raw(self.n.api_port, "GET /healthz HTTP/1.0\r\n\r\n")
        self.assertIn(b" 200 ", out.splitlines()[0])

    def test_on_preview_hosts_they_are_the_apps(self):
        app = self.box("own1")
        asked = len(self.a.seen)
        for path in ("/healthz", "/readyz", "/metrics", "/gate/status",
                     "/gate/metrics", "/v1/info", "/_op/1", "/sandboxes"):
            self.assertEqual(self.preview("own1", path)[0], 200)
            self.assertEqual(app.seen[-1]["path"], path)
        self.assertEqual(len(self.a.seen), asked)


if __name__ == "__main__":
    unittest.main()
