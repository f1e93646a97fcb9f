"""Previews behind TLS and HTTP/2: held like any other."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import GateCase, Later, sha1, until
from linkpeer import free_port


@unittest.skipUnless(shutil.which("curl"), "curl is not installed")
class Tls(GateCase):
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

    def curl(self, id, *args):
        host = "3000-%s.localhost" % id
        return subprocess.run(
            ["curl", "-sk", "--resolve", "%s:%d:127.0.0.1" % (host, self.tls),
             "-w", " %{http_code} %{http_version}", *args,
             "https://%s:%d/x" % (host, self.tls)],
            capture_output=True, timeout=30).stdout

    def test_held_over_http2(self):
        app = self.box("t1")
        self.k.auto = False
        body = os.urandom(2 << 20)
        with tempfile.NamedTemporaryFile() as f:
            f.write(body)
            f.flush()
            call = Later(self.curl, "t1", "--data-binary", "@" + f.name)
            until(lambda: self.k.asked("t1", "wake"))
            self.k.wake("t1", 3000)
            self.k.auto = True
            self.assertTrue(call.result().endswith(b" 200 2"))
        self.assertEqual(app.seen[0]["sha1"], sha1(body))
        self.assertEqual(app.seen[0]["headers"]["X-Forwarded-Proto"], "https")

    def test_client_cancels(self):
        app = self.box("t2")
        self.k.auto = False
        out = self.curl("t2", "--max-time", "0.3")
        self.assertTrue(out.endswith(b" 000 0"), out)
        until(lambda: self.n.status()["holding"] == 0)
        self.k.wake("t2", 3000)
        self.k.auto = True
        self.assertEqual(app.seen, [])
        self.assertTrue(self.curl("t2").endswith(b" 200 2"))

    def test_http1_and_errors(self):
        self.box("t3")
        self.assertTrue(self.curl("t3", "--http1.1").endswith(b" 200 1.1"))
        self.assertIn(b" 404 2", self.curl("nobody"))
        self.assertIn(b'"not_found"', self.curl("nobody"))


if __name__ == "__main__":
    unittest.main()
