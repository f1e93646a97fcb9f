"""nginx -t finds every mistake in our directives, and says in which line."""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import Nginx
from linkpeer import ROOT

# A line of the configuration as it is written by the harness, what becomes of
# it, and what nginx says. None: the line is taken away.
TABLE = [
    ("holdfast_keeper ", "holdfast_keeper 127.0.0.1:1;", "must be \"unix:\""),
    ("holdfast_keeper ", "holdfast_keeper unix:/%s;" % ("a" * 120),
     "too long path"),
    ("holdfast_keeper ", "holdfast_keeper unix:;", "and a path"),
    ("holdfast_keeper ", "holdfast_keeper;", "number of arguments"),
    ("holdfast_door ", "holdfast_door unix:/a; holdfast_door unix:/b;",
     "is duplicate"),
    ("holdfast_table ", "holdfast_table 1k;", "must be at least 64k"),
    ("holdfast_table ", "holdfast_table big;", "must be a size"),
    ("holdfast_table ", "holdfast_table 1m; holdfast_table 2m;",
     "is duplicate"),
    ("holdfast_domain ", "holdfast_domain a/b;", "host name"),
    ("holdfast_domain ", "holdfast_domain \"\";", "host name"),
    ("holdfast_domain ", "holdfast_domain .a.b;", "host name"),
    ("holdfast_domain ", "holdfast_domain a..b;", "host name"),
    ("holdfast_domain ", "holdfast_domain a-.b;", "host name"),
    ("holdfast_domain ", "holdfast_domain a.b.;", "host name"),
    ("holdfast_domain ", "holdfast_domain %s;" % ("a" * 64), "host name"),
    ("holdfast_domain ", "holdfast_domain a; holdfast_domain b;",
     "is duplicate"),
    ("holdfast_origins ", "holdfast_origins app.example.org;",
     "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://a.b/;", "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://a.b/x;",
     "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://a.b:0;",
     "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://a.b:99999;",
     "not an origin"),
    ("holdfast_origins ", "holdfast_origins ftp://a.b;", "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://[::1;", "not an origin"),
    ("holdfast_origins ", "holdfast_origins https://*.a.b;",
     "not an origin"),
    ("holdfast_origins ", "holdfast_origins off https://a.b;", "alone"),
    ("holdfast_origins ", "holdfast_origins;", "number of arguments"),
    ("holdfast_hosts ", "holdfast_hosts a.b:80;", "without a port"),
    ("holdfast_hosts ", "holdfast_hosts *.a.b;", "not a host name"),
    ("holdfast_hosts ", "holdfast_hosts a.b off;", "alone"),
    ("holdfast_rate ", "holdfast_rate 5000000;", "between 0 and"),
    ("holdfast_rate ", "holdfast_rate -1;", "invalid number"),
    ("holdfast_rate ", "holdfast_rate fast;", "invalid number"),
    ("holdfast_hold_max ", "holdfast_hold_max 0;", "more than 0"),
    ("holdfast_hold_max ", "holdfast_hold_max 2d;", "at most a day"),
    ("holdfast_hold_max ", "holdfast_hold_max soon;", "invalid value"),
    ("holdfast_op_hold_max ", "holdfast_op_hold_max 0;", "more than 0"),
    ("holdfast_hold_limit ", "holdfast_hold_limit 0 5;", "two numbers"),
    ("holdfast_hold_limit ", "holdfast_hold_limit 5;", "number of arg"),
    ("holdfast_hold_limit ", "holdfast_hold_limit 6 5;", "more than all"),
    ("holdfast_hold_limit ", "holdfast_warming_after 2d;", "at most a day"),
    ("holdfast_hold_limit ", "holdfast_quiet_after 0;", "more than 0"),
    ("holdfast_hold_limit ", "holdfast_spares many;", "invalid number"),
    ("holdfast_tokens ", "holdfast_tokens /nonexistent;",
     "cannot open tokens"),
    ("holdfast_tokens ", "holdfast_tokens off; holdfast_tokens off;",
     "is duplicate"),
    ("holdfast_gate op", "holdfast_gate sideways;", "invalid value"),
    ("holdfast_gate op", "holdfast_gate op; holdfast_gate op;",
     "is duplicate"),
    ("        internal;\n        holdfast_gate op",
     "        holdfast_gate op;", "\"holdfast_gate\" needs \"internal\""),
    ("holdfast_caller ", "holdfast_caller robot;", "must be \"checker\""),
    ("holdfast_error preview", "holdfast_error html;",
     "must be \"api\" or \"preview\""),
    ("holdfast_error preview", "proxy_pass http://[::1]; "
     "holdfast_error preview;", "not the only one"),
    ("holdfast_status json", "holdfast_status xml;",
     "must be \"json\" or \"prometheus\""),
    ("holdfast_status json", "holdfast_status json; holdfast_error api;",
     "not the only one"),
    ("    holdfast_peer", "    keepalive 2; holdfast_peer;",
     "must come before"),
    ("    holdfast_peer", "    holdfast_peer; holdfast_peer;",
     "is duplicate"),
    ("    holdfast_peer", "    holdfast_peer 3;", "number of arguments"),
    ("    server 0.0.0.1", "    ;", "unexpected \";\""),
]

# Mistakes of the whole: what is said names the directive that needs it.
MISSING = [
    ("holdfast_keeper ", "needs \"holdfast_keeper\", too"),
    ("holdfast_door ", "needs \"holdfast_door\", too"),
    ("holdfast_table ", "needs \"holdfast_table\""),
]


class Conf(unittest.TestCase):
    def setUp(self):
        self.n = Nginx()
        self.addCleanup(self.n.clean)

    def edit(self, was, now):
        """Puts `now` where the directive `was` stands. Its file and line."""
        for path in sorted((self.n.dir / "lua-free-config").rglob("*.conf")):
            text = path.read_text()
            m = re.search("^" + re.escape(was) + "[^;]*;", text, re.M) or \
                re.search("(?<=\n)[ ]*" + re.escape(was) + "[^;]*;", text)
            if m:
                path.write_text(text[:m.start()] + now + text[m.end():])
                return "%s:%d" % (path, text[:m.start()].count("\n") + 1)
        raise AssertionError("no line with " + was)

    def test_what_is_right_is_accepted(self):
        ok, said = self.n.test()
        self.assertTrue(ok, said)
        for was, now in (
                ("holdfast_origins ", "holdfast_origins https://A.b "
                 "http://localhost:5173 https://[::1]:8443 https://[::1];"),
                ("holdfast_hosts ", "holdfast_hosts A.b x-1.example;"),
                ("holdfast_hold_limit ", "holdfast_hold_limit 5 5; "
                 "holdfast_warming_after 0; holdfast_spares 0;"),
                ("holdfast_caller ", "holdfast_caller checker;"),
                ("holdfast_domain ", "holdfast_domain A-1.Example.ORG;")):
            self.edit(was, now)
            ok, said = self.n.test()
            self.assertTrue(ok, now + said)

    def test_mistakes(self):
        for was, now, text in TABLE:
            with self.subTest(now):
                n = self.n = Nginx()
                self.addCleanup(n.clean)
                where = self.edit(was, now)
                ok, said = n.test()
                self.assertFalse(ok, now)
                line = next(x for x in said.splitlines() if "[emerg]" in x)
                self.assertIn(text, line)
                self.assertIn(where, line)

    def test_what_is_missing(self):
        for was, text in MISSING:
            with self.subTest(was):
                n = self.n = Nginx()
                self.addCleanup(n.clean)
                self.edit(was, "")
                ok, said = n.test()
                self.assertFalse(ok)
                self.assertIn(text, said)
                self.assertRegex(said, r"\.conf:\d+")

    def test_without_a_table_each_use_is_named(self):
        for use, where in (
                ("server { listen 127.0.0.1:1; location / {\n"
                 "holdfast_gate api; } }", 2),
                ("server { listen 127.0.0.1:1; location / {\n\n"
                 "holdfast_status json; } }", 3),
                ("upstream x {\nholdfast_peer; server 0.0.0.1; }", 1)):
            with self.subTest(use):
                (self.n.dir / "nginx.conf").write_text(
                    "include lua-free-config/settings/main.conf;\n"
                    "events { }\nhttp { include x.conf; }\n")
                (self.n.dir / "x.conf").write_text(use)
                ok, said = self.n.test()
                self.assertFalse(ok)
                self.assertIn("needs \"holdfast_table\"", said)
                self.assertRegex(said, r"x\.conf:[123]\b")
                (self.n.dir / "error.log").unlink()
        (self.n.dir / "x.conf").write_text(
            "server { listen 127.0.0.1:1; location / { holdfast_gate off; } }")
        ok, said = self.n.test()
        self.assertTrue(ok, said)

    def test_the_pieces_in_another_nginx(self):
        """As docs/nginx.md says."""
        doc = (ROOT / "docs/nginx.md").read_text()
        block = re.search(r"```\n(load_module .*?)```", doc, re.S)[1]
        other = self.n.dir / "etc"
        other.mkdir()
        (other / "lua-free-config").symlink_to(
            self.n.dir / "lua-free-config")
        (other / "nginx.conf").write_text(
            block.replace(
                "/usr/lib/holdfast/ngx_http_holdfast_module.so",
                str(ROOT / "build/ngx_http_holdfast_module.so"))
            + "pid other.pid;\nevents { }\n")
        r = subprocess.run(
            ["nginx", "-t", "-p", str(other), "-c",
             str(other / "nginx.conf"), "-e", "stderr"],
            capture_output=True, text=True)
        self.assertEqual(0, r.returncode, r.stderr)


if __name__ == "__main__":
    unittest.main()
