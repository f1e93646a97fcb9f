"""Going to sleep: when nobody needs it, and never while somebody does."""

import datetime
import os
import signal
import threading
import time
import unittest

from case import Case, until

LIMIT = 300


def stamp(text):
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


class Sleeping(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls.s.api("GET", "/v1/info").json["features"]["idle"]:
            super().tearDownClass()
            raise unittest.SkipTest("/v1/info has idle: false, not yet there")


class Idle(Sleeping):
    seconds = 110
    settings = {"idle_s": 10, "freeze_s": 0}

    def all_asleep(self, boxes, seconds=40):
        until("all sleep", lambda: {self.s.state(b) for b in boxes}
              == {"stopped"}, seconds, every=0.2)

    def test_who_sleeps_and_who_does_not(self):
        """One wait for all, because waiting is what takes the time."""
        s = self.s
        quiet = s.create_app(3000)
        watched = s.create_app(3000)            # only state is looked at
        visited = s.create_app(3000)
        working = s.create()                    # a long exec
        streaming = s.create_app(3000)          # a stream that moves
        always = s.create_app(3000, idle_policy="always_on")
        kept = s.create_app(3000)
        s.expect(200, "POST", f"/sandbox/{kept}/keepalive",
                 {"until": int(time.time()) + 300})
        patched = s.create_app(3000)
        s.expect(200, "PATCH", f"/v1/sandboxes/{patched}", {"idle_s": 3000})

        over = threading.Event()
        execs = []
        threads = [threading.Thread(target=lambda: execs.append(
            s.exec(working, "sleep 25; echo done", timeout_ms=60000)))]

        def visit():
            while not over.wait(1):
                # Upper case must count as well as lower case.
                host = s.preview_host(visited).upper()
                s.preview(visited, headers={"Host": host})
        threads.append(threading.Thread(target=visit))

        def look():
            while not over.wait(0.5):
                s.get(watched)
        threads.append(threading.Thread(target=look))

        stream = s.raw("GET /events HTTP/1.1\r\nHost: "
                       f"{s.preview_host(streaming)}\r\n\r\n")

        def read():
            stream.settimeout(1)
            while not over.is_set():
                try:
                    if not stream.recv(65536):
                        return
                except TimeoutError:
                    pass
        threads.append(threading.Thread(target=read))
        for t in threads:
            t.start()
        try:
            self.all_asleep([quiet, watched])
            for box in (visited, working, streaming, always, kept, patched):
                self.assertEqual("running", s.state(box), box)
            threads[0].join(60)
            self.assertEqual("done\n", execs[0]["stdout"])
            for box in (visited, streaming, always, kept, patched):
                self.assertEqual("running", s.state(box), box)
        finally:
            over.set()
            for t in threads:
                t.join(70)
            stream.close()
        self.all_asleep([working, visited, streaming])
        self.status(200, s.preview(quiet))

    def test_frozen_then_stopped(self):
        """Down the whole ladder, and up from its foot."""
        s = self.s
        box = s.create_app(3000, freeze_s=2)
        seen = []

        def look():
            state = s.state(box)
            if not seen or seen[-1] != state:
                seen.append(state)
            if state == "frozen":
                idle = s.expect(200, "GET", f"/v1/sandboxes/{box}/idle").json
                self.assertTrue(idle["stops_at"] or s.state(box) != "frozen")
            return state == "stopped"
        began = time.monotonic()
        until("it is stopped", look, 40, every=0.1)
        self.assertEqual(["running", "frozen", "stopped"], seen)
        self.assertGreater(time.monotonic() - began, 8)
        self.status(200, s.preview(box))
        s.purge(box)


class Freeze(Sleeping):
    seconds = 90
    settings = {"idle_s": 600, "freeze_s": 2, "quiet_s": 5}

    def frozen(self, box):
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)

    def test_frozen_and_back(self):
        box = self.s.create_app(3000)
        pid = self.status(200, self.s.preview(box)).json["pid"]
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        docker = self.s.docker.inspect(self.s.container(box)["Id"])["State"]
        self.assertIs(True, docker["Paused"])
        row = self.s.expect(200, "GET", f"/sandbox/{box}").json["row"]
        self.assertEqual(("stopped", "frozen"), (row["status"],
                                                 row["state"]))
        began = time.monotonic()
        self.status(200, self.s.preview(box))
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual("running", self.s.state(box))
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        self.assertEqual("x\n", self.s.sh(box, "echo x"))
        self.s.stop_box(box)
        self.assertEqual("stopped", self.s.state(box))
        self.status(200, self.s.preview(box))
        self.assertTrue(pid)
        self.s.purge(box)

    def test_frozen_killed_behind_our_back(self):
        box = self.s.create_app(3000)
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        self.s.docker.remove(self.s.container(box)["Id"])
        self.status(200, self.s.preview(box))
        self.s.purge(box)

    def test_paused_and_unpaused_behind_our_back(self):
        box = self.s.create_app(3000, freeze_s=3000)
        ref = self.s.container(box)["Id"]
        self.s.docker.call("POST", f"/containers/{ref}/pause")
        self.frozen(box)
        self.status(200, self.s.preview(box))
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        self.s.docker.call("POST", f"/containers/{ref}/unpause")
        until("it runs", lambda: self.s.state(box) == "running")
        self.status(200, self.s.preview(box))
        self.s.purge(box)

    def test_visits_while_it_freezes_again_and_again(self):
        """Our own sleeping never costs a request."""
        box = self.s.create_app(3000)
        end = time.monotonic() + 20
        n = 0
        while time.monotonic() < end:
            n += 1
            self.status(200, self.s.preview(box, 3000, f"/{n}", "POST",
                                            b"x"))
            # Just about the moment at which it is frozen.
            time.sleep((1.9, 2.0, 2.1, 2.2, 2.5)[n % 5])
        self.s.purge(box)

    def test_memory_of_the_frozen_goes_back(self):
        box = self.s.create_app(3000)
        self.s.sh(box, "head -c 40000000 /dev/zero > big; sync; cat big big "
                  "> /dev/null")
        self.assertGreater(self.s.memory(box), 35 << 20)
        self.frozen(box)
        until("its memory is given back",
              lambda: self.s.memory(box) < 20 << 20, 20)
        self.assertEqual("40000000\n", self.s.sh(box, "wc -c < big"))
        self.s.purge(box)

    def test_a_message_on_an_open_socket_wakes(self):
        """It is silent for longer than quiet_s, then it speaks."""
        box = self.s.create_app(3000)
        ws = self.s.raw(
            "GET /ws HTTP/1.1\r\nHost: " + self.s.preview_host(box)
            + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += ws.recv(4096)
        self.assertIn(b" 101 ", head)
        for i in range(3):
            idle = self.idle(box)
            self.assertEqual("busy", idle["state"], idle)
            self.frozen(box)
            self.assertEqual([], self.idle(box)["because"])
            # Of another length each time: else it were a heartbeat.
            text = b"hello" * (i + 1)
            message = bytes((0x82, 0x80 + len(text))) + bytes(4) + text
            ws.sendall(message)
            got = b""
            while len(got) < len(message):
                more = ws.recv(4096)
                self.assertTrue(more, "the socket ended")
                got += more
            self.assertEqual(message, got)
            until("it runs", lambda: self.s.state(box) == "running", 5,
                  every=0.02)
        ws.close()
        self.s.purge(box)

    def test_an_open_socket_is_told_before_the_stop(self):
        """Frozen with it, stopped without it: 1001, not a reset."""
        box = self.s.create_app(3000, idle_s=12)
        ws = self.s.raw(
            "GET /ws HTTP/1.1\r\nHost: " + self.s.preview_host(box)
            + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        got = b""
        while b"\r\n\r\n" not in got:
            got += ws.recv(4096)
        self.assertIn(b" 101 ", got)
        self.frozen(box)
        until("it is stopped",
              lambda: self.s.state(box) == "stopped", 40, every=0.1)
        got = b""
        while more := ws.recv(4096):
            got += more
        ws.close()
        self.assertEqual(b"\x88\x02\x03\xe9", got)
        self.s.purge(box)

    def idle(self, box):
        return self.s.expect(200, "GET", f"/v1/sandboxes/{box}/idle").json

    def test_a_caller_freezes(self):
        box = self.s.create_app(3000, freeze_s=3000, idle_s=6000)
        row = self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze").json
        self.assertEqual("frozen", row["state"])
        # again is as well, and so is one that is stopped
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        self.status(200, self.s.preview(box))
        self.assertEqual("running", self.s.state(box))
        slow = threading.Thread(
            target=lambda: self.s.preview(box, 3000, "/slow?3000"))
        slow.start()
        until("it is in flight", lambda: any(
            r["class"] == "http_inflight" for r in self.idle(box)["because"]))
        self.error(409, "conflict", self.s.api(
            "POST", f"/v1/sandboxes/{box}/freeze"))
        slow.join()
        self.s.stop_box(box)
        row = self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze").json
        self.assertEqual("stopped", row["state"])
        self.s.purge(box)


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


class WithoutRedis(Sleeping):
    """What cannot be known counts as work."""
    settings = {"idle_s": 600, "freeze_s": 2}

    def test_nothing_sleeps_and_then_it_does(self):
        s = self.s
        box = s.create_app(3000)
        [redis] = s.parts()["redis"]
        os.kill(redis, signal.SIGSTOP)
        try:
            end = time.monotonic() + 8
            while time.monotonic() < end:
                self.assertEqual("running", s.state(box))
                time.sleep(0.2)
            self.status(200, s.preview(box))
        finally:
            os.kill(redis, signal.SIGCONT)
        until("it is frozen", lambda: s.state(box) == "frozen", 30)
        self.status(200, s.preview(box))
        s.kill("redis")
        until("Redis is back, empty", lambda: s.parts().get("redis"), 20)
        until("it is frozen", lambda: s.state(box) == "frozen", 90)
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
