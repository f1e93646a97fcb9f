"""What an idle sandbox says of itself, and what it has used."""

import threading
import time

from case import until
from sleeping import Sleeping, stamp

LIMIT = 300


class Explained(Sleeping):
    """GET …/idle, leases and keepalives, on sandboxes that sleep late."""
    settings = {"idle_s": 6000, "freeze_s": 300, "lease_max_s": 600,
                "leases_max": 2}

    def idle(self, box):
        return self.s.expect(200, "GET", f"/v1/sandboxes/{box}/idle").json

    def classes(self, box):
        return {r["class"] for r in self.idle(box)["because"]}

    def test_because(self):
        s = self.s
        box = s.create_app(3000)
        self.status(200, s.preview(box))
        idle = self.idle(box)
        self.assertEqual(("busy", "running"), (idle["state"], idle["rung"]))
        self.assertIn("http_recent", {r["class"] for r in idle["because"]})
        self.assertTrue(idle["sleeps_at"])
        run = threading.Thread(target=lambda: s.sh(box, "sleep 3"))
        run.start()
        until("the exec shows", lambda: "exec_running" in self.classes(box))
        run.join()
        until("it is over", lambda: "exec_running" not in self.classes(box))
        burn = threading.Thread(target=lambda: s.exec(
            box, "while :; do :; done", timeout_ms=4000))
        burn.start()
        until("the CPU shows", lambda: "cpu_busy" in self.classes(box))
        burn.join()
        send = threading.Thread(target=lambda: s.exec(
            box, "while :; do app connect 192.0.2.1 9 10; done",
            timeout_ms=4000))
        send.start()
        until("its own traffic shows",
              lambda: "net_bytes" in self.classes(box))
        send.join()
        s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                 {"idle_policy": "always_on"})
        idle = self.idle(box)
        self.assertIn("always_on", {r["class"] for r in idle["because"]})
        self.assertIsNone(idle["sleeps_at"])
        s.purge(box)

    def test_asking_changes_nothing(self):
        """Nor does what says that it is no activity."""
        s = self.s
        box = s.create_app(3000, freeze_s=12)

        def sleeps():
            return self.idle(box)["sleeps_at"]
        self.status(200, s.preview(box))
        first = sleeps()
        for _ in range(5):
            s.get(box)
            s.preview(box, headers={"X-Sandbox-Activity": "none"})
            s.expect(200, "GET", f"/v1/sandboxes/{box}/ports")
        self.assertLess(abs(stamp(sleeps()) - stamp(first)), 0.3)
        self.status(200, s.preview(box))
        self.assertGreater(stamp(sleeps()) - stamp(first), 0.4)
        s.purge(box)

    def test_asleep(self):
        box = self.s.create_app(3000)
        self.s.stop_box(box)
        idle = self.idle(box)
        self.assertEqual(("idle", "stopped", [], None), (
            idle["state"], idle["rung"], idle["because"], idle["sleeps_at"]))
        self.assertEqual("stopped", self.s.state(box))
        self.s.purge(box)
        self.error(404, "not_found", self.s.api(
            "GET", f"/v1/sandboxes/{box}/idle"))

    def test_leases(self):
        s = self.s
        box = s.create_app(3000)
        at = f"/v1/sandboxes/{box}/leases"
        one = s.expect(201, "POST", at, {"ttl_s": 600, "reason": "ci"}).json
        self.assertEqual(("ci", box), (one["reason"], one["sandbox_id"]))
        two = s.expect(201, "POST", at, {"ttl_s": 1}).json
        self.error(429, "quota_exceeded", s.api("POST", at, {"ttl_s": 1}))
        idle = self.idle(box)
        self.assertIn({"class": "lease", "id": one["id"],
                       "since": one["created_at"],
                       "until": one["expires_at"]}, idle["because"])
        self.assertGreaterEqual(idle["sleeps_at"], one["expires_at"])
        until("the short one is over", lambda: [one] == s.expect(
            200, "GET", at).json["leases"])
        s.restart()
        self.assertEqual([one], s.expect(200, "GET", at).json["leases"])
        s.expect(204, "DELETE", f"{at}/{one['id']}")
        self.error(404, "not_found", s.api("DELETE", f"{at}/{two['id']}x"))
        self.assertNotIn("lease", self.classes(box))
        for bad in ({}, {"ttl_s": 0}, {"ttl_s": 601}, {"ttl_s": "1"},
                    {"ttl_s": 1.5}, {"ttl_s": 1, "reason": ""},
                    {"ttl_s": 1, "reason": 7}, {"ttl_s": 1, "x": 1}, []):
            self.status(400, s.api("POST", at, bad))
        s.purge(box)

    def test_keepalive_shows(self):
        s = self.s
        box = s.create_app(3000)
        s.expect(200, "POST", f"/sandbox/{box}/keepalive",
                 {"until": int(time.time()) + 4000})
        idle = self.idle(box)
        self.assertIn("keepalive", {r["class"] for r in idle["because"]})
        self.assertGreater(stamp(idle["sleeps_at"]), time.time() + 3900)
        s.purge(box)


class Usage(Sleeping):
    settings = {"idle_s": 600, "freeze_s": 300, "usage_s": 1}

    def used(self, box):
        return self.s.expect(200, "GET",
                             f"/v1/sandboxes/{box}/usage").json["total"]

    def test_what_was_used_and_nothing_while_frozen(self):
        s = self.s
        box = s.create_app(3000)
        s.exec(box, "while :; do :; done", timeout_ms=2000)
        s.sh(box, "head -c 30000000 /dev/zero > /tmp/in-memory")
        until("the CPU is in the books",
              lambda: self.used(box)["cpu_s"] > 1)
        until("so is the memory",
              lambda: self.used(box)["memory_mb_s"] > 20)
        s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        used = self.used(box)
        self.assertGreater(used["awake_s"], 2)
        self.assertLess(used["cpu_s"], used["awake_s"] * 1.5)
        time.sleep(2.2)                 # it must be seen not to grow
        self.assertEqual(used, self.used(box))
        self.status(200, s.preview(box))
        until("it is awake longer", lambda: self.used(box)["awake_s"]
              > used["awake_s"] + 1)
        self.assertLess(self.used(box)["awake_s"], used["awake_s"] + 2.5)
        before = self.used(box)
        s.restart()                     # the last reading is not lost
        self.assertGreaterEqual(self.used(box)["awake_s"],
                                before["awake_s"])
        other = s.create_app(3000)
        whole = s.expect(200, "GET", "/v1/usage").json
        self.assertEqual(2, max(d["sandboxes"] for d in whole["days"]))
        self.assertGreaterEqual(whole["total"]["cpu_s"], used["cpu_s"])
        s.purge(box)
        s.purge(other)
        self.assertGreater(self.used(box)["cpu_s"], 1)
        self.error(404, "not_found", s.api(
            "GET", "/v1/sandboxes/neverwas/usage"))
        for bad in ("from=2026-02-30", "from=x", "to=2026-1-1", "to=",
                    "from=2026-02-01&to=2026-01-01", "from=1971-01-01",
                    "days=3"):
            self.status(400, s.api("GET", f"/v1/usage?{bad}"))

    def test_egress(self):
        s = self.s
        box = s.create_app(3000)
        s.sh(box, "i=0; while [ $i -lt 30 ]; do i=$((i+1)); "
             "app connect 192.0.2.1 9 10; done; true")
        until("bytes are in the books",
              lambda: self.used(box)["egress_bytes"] > 1000)
        s.purge(box)
