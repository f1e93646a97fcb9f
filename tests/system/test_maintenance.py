"""The maintenance switch: nothing new is made or woken."""

import os
import subprocess

from case import Case, until

PAGE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


class Maintenance(Case):
    def switch(self, *word):
        r = subprocess.run(self.s.command("-c", self.s.conf, "maintenance",
                                          *word),
                           capture_output=True, text=True, timeout=20)
        self.assertEqual(0, r.returncode, r.stderr)
        return r.stdout

    def tearDown(self):
        self.switch("off")

    def refused(self, answer):
        self.assertGreater(int(answer.headers["Retry-After"]), 0)
        e = self.error(503, "maintenance", answer)
        self.assertTrue(e["retryable"])
        self.assertIn("maintenance", e["message"])

    def test_the_switch(self):
        s = self.s
        awake = s.create_app(3000, ports=[3000])
        asleep = s.create_app(3000, ports=[3000], key="mine")
        s.stop_box(asleep)
        self.assertIn("off", self.switch())
        self.assertFalse(s.expect(200, "GET", "/v1/info").json["maintenance"])
        self.assertIn("on since", self.switch("on"))
        self.assertIn("on since", self.switch("on"))

        self.refused(s.api("POST", "/v1/sandboxes", {}))
        base = self.status(503, s.api("POST", "/sandbox", {"id": "m1"}))
        self.assertIn("maintenance", base.json["error"])
        self.refused(s.api("POST", f"/v1/sandboxes/{asleep}/start"))
        self.refused(s.api("POST", f"/v1/sandboxes/{awake}/restart"))
        self.refused(s.api("PUT", "/v1/sandboxes/by-key/mine", {}))
        self.refused(s.api("POST", f"/v1/sandboxes/{asleep}/exec",
                           {"cmd": ["true"]}))
        self.refused(s.preview(asleep))
        page = self.status(503, s.preview(asleep, headers=PAGE))
        self.assertIn("text/html", page.headers["Content-Type"])
        self.assertIn("maintenance", page.text)
        self.assertGreater(int(page.headers["Retry-After"]), 0)
        self.assertEqual("stopped", s.state(asleep))

        self.status(200, s.preview(awake))
        self.assertEqual("hi\n", s.sh(awake, "echo hi"))
        self.status(200, s.api("POST", f"/v1/sandboxes/{awake}/start"))

        # it is seen, and not a fault
        self.assertTrue(s.expect(200, "GET", "/v1/info").json["maintenance"])
        self.assertIn("maintenance", s.expect(200, "GET", "/readyz").text)
        r = subprocess.run(s.command("-c", s.conf, "status"),
                           capture_output=True, text=True)
        self.assertEqual(0, r.returncode)
        self.assertIn("in maintenance", r.stdout)

        # it outlives everything
        s.restart()
        self.assertTrue(s.expect(200, "GET", "/v1/info").json["maintenance"])
        self.refused(s.preview(asleep))
        self.status(200, s.preview(awake))

        self.switch("off")
        self.status(200, s.preview(asleep))
        self.assertFalse(os.path.exists(f"{s.dir}/data/maintenance"))
        for box in (awake, asleep):
            s.purge(box)

    def test_always_on_waits_for_the_end(self):
        s = self.s
        box = s.create_app(3000, idle_policy="always_on")
        self.switch("on")
        s.docker.kill(s.container(box)["Id"])
        until("it is down", lambda: s.state(box) == "stopped")
        self.refused(s.preview(box))
        self.switch("off")
        until("it runs", lambda: s.state(box) == "running", 20)
        s.purge(box)

    def test_what_was_asked_before_is_answered(self):
        s = self.s
        key = {"Idempotency-Key": "maint-1"}
        a = self.status(201, s.api("POST", "/v1/sandboxes", {}, key))
        self.switch("on")
        b = self.status(201, s.api("POST", "/v1/sandboxes", {}, key))
        self.assertEqual(a.json["id"], b.json["id"])
        self.switch("off")
        s.purge(a.json["id"])
