"""Going to sleep: when nobody needs it, and never while somebody does."""

import os
import signal
import threading
import time

from case import until
from sleeping import Sleeping

LIMIT = 300


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
