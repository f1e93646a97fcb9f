"""nginx with our module under valgrind: no bad access, nothing undefined."""

import os
import re
import shutil
import signal
import unittest

from case import Case
from sse import Sse
from stack import TOP, request
from test_preview import UPGRADE, head

SLOW = True
LIMIT = 400

LOG = f"{TOP}/build/tests/valgrind.log"
WRAPPER = f"{TOP}/build/tests/nginx-valgrind"


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class Valgrind(Case):
    seconds = 200

    @classmethod
    def setUpClass(cls):
        os.makedirs(os.path.dirname(WRAPPER), exist_ok=True)
        with open(WRAPPER, "w") as f:
            f.write("#!/bin/sh\nexec valgrind --quiet --error-limit=no "
                    f"--num-callers=20 --log-file={LOG} "
                    '/usr/sbin/nginx "$@"\n')
        os.chmod(WRAPPER, 0o755)
        cls.settings = {"nginx_program": WRAPPER, "nginx_workers": 2}
        super().setUpClass()

    def test_all_ways_through_the_gate(self):
        s = self.s
        box = s.create_app(3000, ports=[3000])
        host = s.preview_host(box)
        s.preview(box, 4999)
        s.preview("nobody")
        s.preview(box, headers={"Host": "nonsense"})
        s.exec(box, "true")
        s.api("GET", "/sandboxes")
        s.api("POST", "/v1/sandboxes/nobody/exec", {"cmd": ["true"]})
        s.api("GET", "/sandboxes", headers={"Origin": "http://evil.example"})
        for round in range(2):
            s.stop_box(box)
            for _ in range(5):          # held, and gone before the answer
                s.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").close()
            self.status(200, s.preview(box, 3000, "/", "POST", b"x" * 300000))
            s.stop_box(box)
            w = s.raw(UPGRADE.format(host=host, more=""))
            self.assertIn(b" 101 ", head(w))
            w.sendall(b"\x81\x80\0\0\0\0")
            w.recv(100)
            w.close()
            w = s.raw(UPGRADE.format(host=host, more=""))
            self.assertIn(b" 101 ", head(w))
            s.stop_box(box)         # a goodbye between two frames
            self.assertEqual(b"\x88\x02\x03\xe9", w.recv(100))
            w.close()
            request(s.metrics_address, "GET", "/gate/metrics")
            request(s.metrics_address, "GET", "/gate/status")
        streams = [Sse(s, path) for path in (
            f"/v1/sandboxes/{box}/events", "/v1/events",
            "/v1/events?after=latest", f"/v1/sandboxes/{box}/events?after=1")]
        streams[0].until("sandbox.running")
        streams[2].close()
        s.api("GET", "/v1/sandboxes/nobody/events")
        s.kill("keeper")
        s.wait_ready()
        self.status(200, s.preview(box))
        late = Sse(s, f"/v1/sandboxes/{box}/events")
        s.purge(box)
        late.rest()
        streams[1].until("sandbox.purged")
        with open(f"{s.dir}/run/nginx/nginx.pid") as f:
            os.kill(int(f.read()), signal.SIGHUP)
        streams[1].rest(60)
        s.halt()
        with open(LOG, errors="replace") as f:
            text = f.read()
        bad = re.findall(r"(?m)^==\d+== (?:Invalid|Conditional|Use of|Syscall"
                         r"|Jump|Process terminating|Mismatched).*", text)
        self.assertEqual([], bad, text[:6000])
