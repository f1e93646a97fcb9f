"""Going to sleep: when nobody needs it, and never while somebody does."""

import threading
import time
import unittest

from case import Case, until

LIMIT = 300


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


class Freeze(Sleeping):
    seconds = 90
    settings = {"idle_s": 600, "freeze_s": 2}

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
