"""Event streams: what happens to sandboxes, in order, once, to everybody."""

import glob
import itertools
import os
import signal
import struct
import threading
import time

from case import Case, until
from sse import Follower, Sse
from stack import request

LIMIT = 400


def types(events):
    return [e.type.removeprefix("sandbox.") for e in events]


def ids(events):
    return [e.id for e in events]


class Frame(Case):
    def events(self, box=None, **more):
        sse = Sse(self.s, f"/v1/sandboxes/{box}/events" if box
                  else "/v1/events", **more)
        self.addCleanup(sse.close)
        return sse

    def in_order(self, events, first=0):
        """No gap and no repeat."""
        self.assertEqual(list(range(first, first + len(events))),
                         ids(events))

    def settled(self, box, want):
        """All events of a sandbox, the last of which is of a type."""
        with Sse(self.s, f"/v1/sandboxes/{box}/events") as sse:
            got = sse.until(f"sandbox.{want}")
            while True:
                more = sse.next(0.3)
                if more is None:
                    return got
                got.append(more)


class Life(Frame):
    settings = {"stream_ping_s": 1}

    def open_now(self):
        return request(self.s.metrics_address, "GET",
                       "/gate/status").json["streams"]

    def test_a_life_in_order(self):
        box = self.s.create_app(3000)
        live = self.events(box)
        self.assertEqual(200, live.status)
        self.assertEqual("text/event-stream", live.headers["content-type"])
        self.assertEqual("no-store", live.headers["cache-control"])
        self.assertIn("x-request-id", live.headers)
        got = live.until("sandbox.ports")
        self.assertEqual(1000, live.retry)
        self.assertEqual(["creating", "running", "ports"], types(got))
        self.assertEqual([3000], got[2].data["ports"])
        self.assertGreater(got[1].data["wake_duration_ms"], 0)

        self.s.stop_box(box)
        got += live.until("sandbox.stopped")
        self.assertEqual(("stopped", "call"), (got[-1].data["state"],
                                               got[-1].data["reason"]))
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        got += live.until("sandbox.waking")
        self.assertEqual("call", got[-1].data["cause"])
        self.s.stop_box(box)
        got += live.until("sandbox.stopped")
        self.status(200, self.s.preview(box))
        got += live.until("sandbox.running")
        self.assertEqual(["waking", "running"], types(got[-2:]))
        self.assertEqual(("stopped", "visit"), (got[-2].data["from"],
                                                got[-2].data["cause"]))

        self.s.expect(204, "DELETE", f"/sandbox/{box}")
        got += live.rest()
        self.assertEqual("sandbox.deleted", got[-1].type)
        self.in_order(got)
        for e in got:
            self.assertEqual(box, e.data["sandbox"])
            self.assertTrue(e.data["node"])
            self.assertRegex(e.data["at"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")
        self.assertEqual(sorted(e.data["at"] for e in got),
                         [e.data["at"] for e in got])

        # nothing more is to come: that is what stops an EventSource
        last = got[-1].id
        a = self.events(box, last=last)
        self.assertEqual(204, a.status)
        again = self.events(box, last=last - 2)
        self.assertEqual([last - 1, last], ids(again.rest()))
        self.error(404, "not_found",
                   self.s.api("GET", f"/v1/sandboxes/{box}/events"))

        # the same name again: the stream goes on
        self.s.create(id=box)
        on = self.events(box, last=last)
        got = on.until("sandbox.running")
        self.in_order(got, last + 1)
        self.assertEqual(["creating", "running"], types(got))

    def test_from_every_place(self):
        box = self.s.create()
        for _ in range(2):
            self.s.stop_box(box)
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        every = self.settled(box, "running")
        every = [e for e in every if e.id <= 7]
        self.in_order(every)
        for place in range(-1, len(every)):
            for how in ("header", "query", "both"):
                path = f"/v1/sandboxes/{box}/events"
                if how != "header" and place >= 0:
                    path += f"?after={place if how == 'query' else 0}"
                last = place if how != "query" and place >= 0 else None
                with Sse(self.s, path, last=last) as sse:
                    if place + 1 < len(every):
                        self.assertEqual(place + 1, sse.next().id)
                    else:
                        self.s.expect(200, "GET", f"/v1/sandboxes/{box}")
                        self.assertIsNone(sse.next(0.2))

        with Sse(self.s, f"/v1/sandboxes/{box}/events?after=latest") as sse:
            self.assertIsNone(sse.next(0.2))
            self.s.stop_box(box)
            self.assertEqual("sandbox.stopped", sse.next().type)

        # an id of a life before: told so, and begun where it begins
        sse = self.events(box, last=4000)
        lagged = sse.next()
        self.assertEqual(("lagged", None, {"first": 0}),
                         (lagged.type, lagged.id, lagged.data))
        self.assertEqual(0, sse.next().id)

    def test_all_of_a_tenant(self):
        with Sse(self.s, "/v1/events?after=latest") as every:
            one, two = self.s.create(), self.s.create()
            self.s.purge(one)
            self.s.stop_box(two)
            got = every.until("sandbox.stopped")
        self.in_order(got, got[0].id)
        self.assertEqual(["creating", "running", "purged"],
                         types([e for e in got if e.data["sandbox"] == one]))
        self.assertEqual(["creating", "running", "stopped"],
                         types([e for e in got if e.data["sandbox"] == two]))
        with Sse(self.s, "/v1/events", last=got[1].id) as more:
            self.assertEqual(got[2].id, more.next().id)

    def test_purge_removes_the_stream(self):
        box = self.s.create(id="purged1")
        live = self.events(box)
        live.until("sandbox.running")
        self.assertTrue(self.files(box))
        self.s.purge(box)
        self.assertEqual(["purged"], types(live.rest())[-1:])
        until("the files are gone", lambda: not self.files(box))
        self.status(404, self.s.api("GET", f"/v1/sandboxes/{box}/events"))

        # the next of this name knows nothing of it
        self.s.create(id=box)
        sse = self.events(box, last=2)
        first = sse.next()
        if first.type == "lagged":
            first = sse.next()
            self.assertEqual((0, "sandbox.creating"), (first.id, first.type))
        self.assertNotIn("purged", types(sse.until("sandbox.running")))

    def files(self, box):
        return glob.glob(f"{self.s.dir}/data/streams/*/s-{box}.*")

    def test_ports_come_and_go(self):
        box = self.s.create()
        live = self.events(box)
        live.until("sandbox.running")
        self.s.sh(box, "setsid /bin/app serve 4000 >/dev/null 2>&1 & "
                       "echo $! > /tmp/pid")
        self.assertEqual([4000],
                         live.until("sandbox.ports")[-1].data["ports"])
        self.s.sh(box, "kill -9 $(cat /tmp/pid)")
        self.assertEqual([], live.until("sandbox.ports")[-1].data["ports"])

    def test_freeze_and_thaw(self):
        box = self.s.create_app(3000)
        live = self.events(box)
        live.until("sandbox.ports")
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        self.assertEqual(["frozen"], types(live.until("sandbox.frozen")))
        self.assertIsNone(live.next(0.2))       # open, and nobody woke
        self.status(200, self.s.preview(box))
        got = live.until("sandbox.running")
        self.assertEqual(["waking", "running"], types(got))
        self.assertEqual(("frozen", "visit"), (got[0].data["from"],
                                               got[0].data["cause"]))
        self.assertIsNone(live.next(0.5))       # its ports are as before

    def test_reading_wakes_nobody(self):
        box = self.s.create()
        self.s.stop_box(box)
        with Sse(self.s, f"/v1/sandboxes/{box}/events") as sse:
            sse.until("sandbox.stopped")
            until("some pings", lambda: sse.next(0.5) is None
                  and sse.comments >= 2)
            self.assertEqual(1, self.open_now())
        until("it is closed", lambda: self.open_now() == 0)
        self.assertEqual("stopped", self.s.state(box))

    def test_bad_input(self):
        box = self.s.create()
        for path in (f"/v1/sandboxes/{box}/events", "/v1/events"):
            for query in ("?after=", "?after=-1", "?after=x", "?after=1.5",
                          "?after=99999999999999999999", "?since=1",
                          "?after=1&after=2", "?from=0"):
                a = self.s.api("GET", path + query)
                self.assertEqual(400, a.status, f"{path}{query} {a!r}")
            for last in ("x", "-1", "1 2", "99999999999999999999"):
                a = self.s.api("GET", path, headers={"Last-Event-ID": last})
                self.assertEqual(400, a.status, f"{last} {a!r}")
            a = self.s.api("POST", path)
            self.assertEqual(405, a.status)
            with Sse(self.s, path, method="HEAD") as head:
                self.assertEqual(200, head.status)
                self.assertEqual("text/event-stream",
                                 head.headers["content-type"])
        self.status(404, self.s.api("GET", "/v1/sandboxes/nobody/events"))
        for path in ("/_stream/37a8eec1ce19687d/all", "/_stream/",
                     "/_stream/../all"):
            self.assertIn(self.s.api("GET", path).status, (400, 404))
        self.assertTrue(self.s.expect(200, "GET", "/v1/info")
                        .json["features"]["events"])


class Tenants(Frame):
    settings = {
        "auth_tokens": "acme/alice:admin=alice-secret-1,"
                       "acme/reader:ro=reader-secret-1,"
                       "acme/narrow:only1=narrow-secret-1,"
                       "globex/bob=bob-secret-1",
        "stream_tenant_max": 5,
        "nginx_workers": 1,
        "rate_per_s": 50,
    }

    def test_each_sees_its_own(self):
        self.s.token = "alice-secret-1"
        self.s.create(id="only1")
        self.s.create(id="other1")
        self.s.expect(201, "POST", "/v1/sandboxes", {"id": "bobs1"},
                      token="bob-secret-1")
        for token, box, want in (
                ("alice-secret-1", "only1", 200),
                ("alice-secret-1", "bobs1", 404),
                ("reader-secret-1", "other1", 200),
                ("narrow-secret-1", "only1", 200),
                ("narrow-secret-1", "other1", 404),
                ("narrow-secret-1", "bobs1", 404),
                ("narrow-secret-1", None, 403),
                ("bob-secret-1", "only1", 404),
                ("wrong-secret-1", "only1", 401),
                ("wrong-secret-1", None, 401)):
            sse = self.events(box, token=token, last=0)
            self.assertEqual(want, sse.status, f"{token} {box}")
            sse.close()
        for token, mine in (("alice-secret-1", {"only1", "other1"}),
                            ("reader-secret-1", {"only1", "other1"}),
                            ("bob-secret-1", {"bobs1"})):
            with Sse(self.s, "/v1/events", token=token) as sse:
                seen = set()
                while True:
                    event = sse.next(0.5)
                    if event is None:
                        break
                    seen.add(event.data["sandbox"])
            self.assertEqual(mine, seen)

        # gone from one tenant, taken by another: nothing of it is told
        self.s.purge("only1")
        self.s.expect(201, "POST", "/v1/sandboxes", {"id": "only1"},
                      token="bob-secret-1")
        self.assertEqual(404, self.events("only1").status)
        got = self.events("only1", token="bob-secret-1").until(
            "sandbox.running")
        self.in_order(got)
        self.assertEqual(["creating", "running"], types(got))

    def test_tickets(self):
        """What a browser does: a ticket instead of a token."""
        self.s.expect(201, "POST", "/v1/sandboxes", {"id": "shown1"},
                      token="alice-secret-1")
        self.s.expect(201, "POST", "/v1/sandboxes", {"id": "hidden1"},
                      token="alice-secret-1")
        ticket = self.s.expect(
            201, "POST", "/v1/sandboxes/shown1/tickets",
            {"allow": ["events"]}, token="alice-secret-1").json["ticket"]
        with Sse(self.s, f"/v1/sandboxes/shown1/events?ticket={ticket}"
                 "&after=0", token="") as sse:
            self.assertEqual(200, sse.status)
            self.assertEqual("sandbox.running", sse.next().type)
        for path in ("/v1/sandboxes/hidden1/events", "/v1/events",
                     "/v1/sandboxes/nobody1/events"):
            with Sse(self.s, f"{path}?ticket={ticket}", token="") as sse:
                self.assertIn(sse.status, (401, 403, 404), path)

        def log():
            with open(f"{self.s.dir}/log/access.log") as f:
                return f.read()
        until("the last call is in the log",
              lambda: "/v1/sandboxes/nobody1/events" in log())
        self.assertNotIn(ticket, log())
        self.assertNotIn("/_stream", log())
        self.assertRegex(log(),
                         r' 200 "GET [^ "]+/v1/sandboxes/shown1/events"')

    def test_a_tenant_cannot_take_all(self):
        mine = [self.events(token="alice-secret-1") for _ in range(5)]
        self.assertEqual({200}, {m.status for m in mine})
        a = self.s.api("GET", "/v1/events", token="reader-secret-1")
        self.error(503, "unavailable", a)
        self.assertTrue(a.headers["Retry-After"])
        other = self.events(token="bob-secret-1")
        self.assertEqual(200, other.status)
        for _ in range(120):            # no rate holds for streams
            with Sse(self.s, "/v1/events", token="bob-secret-1") as sse:
                self.assertIn(sse.status, (200, 503))
        mine[0].close()

        def again():
            with Sse(self.s, "/v1/events", token="reader-secret-1") as sse:
                return sse.status == 200
        until("there is room again", again)


class Faults(Frame):
    """Whatever is killed: what was acknowledged is told, once."""

    seconds = 120

    def rounds(self, box, n, failed):
        """Stops and starts; gives the number of stops acknowledged."""
        done = 0
        for _ in range(n):
            for what in ("stop", "start"):
                def call():
                    a = self.s.api("POST", f"/v1/sandboxes/{box}/{what}")
                    if a.status >= 500:
                        failed.append(a.status)
                    return a.status == 200
                until(f"{what} of {box}", call, 40, 0.1)
            done += 1
        return done

    def judge(self, box, stops):
        def told():
            got = self.settled(box, "running")
            words = [t for t in types(got) if t in ("running", "stopped")]
            return words[-1] == "running" and words.count("stopped") \
                >= stops and (got, words)
        # what was killed may be waiting to be started again
        events, words = until(f"{stops} stops are told", told, 20)
        self.in_order(events)
        # running and not running take turns, and no stop is missing
        for a, b in zip(words, words[1:]):
            self.assertNotEqual(a, b, words)
        self.assertEqual(stops, words.count("stopped"))
        return events

    def torment(self, kill, every, rounds=6):
        boxes = [self.s.create() for _ in range(2)]
        start = ids(self.settled(boxes[0], "running"))
        self.assertEqual([0, 1], start)
        followers = [Follower(self.s, f"/v1/sandboxes/{b}/events")
                     for b in boxes]
        counts, failed, stop = {}, [], threading.Event()

        def work(box):
            counts[box] = self.rounds(box, rounds, failed)

        def disturb():
            while not stop.wait(every):
                kill()

        threads = [threading.Thread(target=work, args=(b,)) for b in boxes]
        enemy = threading.Thread(target=disturb)
        for t in threads + [enemy]:
            t.start()
        for t in threads:
            t.join()
        stop.set()
        enemy.join()
        self.s.wait_ready()
        self.assertEqual({b: rounds for b in boxes}, counts)
        for f, box in zip(followers, boxes):
            events = self.judge(box, rounds)
            f.follow(lambda got, n=len(events): len(got) >= n)
            self.assertEqual(ids(events), ids(f.events))
            f.close()
        return failed

    def kill(self, role):
        try:
            self.s.kill(role)
        except (AssertionError, ProcessLookupError):
            pass                # it is being started again

    def test_keeper_killed(self):
        self.torment(lambda: self.kill("keeper"), 0.9)

    def test_what_runs_on_is_not_told_again(self):
        box = self.s.create_app(3000)
        live = self.events(box)
        live.until("sandbox.ports")
        for role in ("keeper", "tasks", "keeper"):
            self.kill(role)
            self.s.wait_ready()
        until("the guest is heard again", lambda: self.s.expect(
            200, "GET", f"/v1/sandboxes/{box}/ports").json["ports"])
        self.assertIsNone(live.next(0.5))
        self.s.stop_box(box)
        self.assertEqual("sandbox.stopped", live.next().type)

    def test_tasks_killed(self):
        self.assertEqual([], self.torment(lambda: self.kill("tasks"), 0.05))

    def test_reload_and_worker_killed(self):
        box = self.s.create()
        follower = Follower(self.s, f"/v1/sandboxes/{box}/events")
        follower.follow(lambda got: "sandbox.running" in [e.type
                                                          for e in got])
        for how in ("reload", "kill", "reload", "kill"):
            before = follower.connects
            workers = set(self.s.parts()["nginx-worker"])
            if how == "reload":
                sse = self.events(box)
                sse.until("sandbox.running")
                os.kill(self.s.parts()["nginx"][0], signal.SIGHUP)
                sse.rest()      # it ends whole
                self.assertTrue(sse.ended)
            else:
                self.kill("nginx-worker")
            self.s.stop_box(box)
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
            n = len(follower.events)
            follower.follow(lambda got, n=n: types(got[n:])[-1:]
                            == ["running"])
            self.assertGreater(follower.connects, before)
            until("the old workers are gone", lambda w=workers:
                  not w & set(self.s.parts().get("nginx-worker", [])))
        self.in_order(follower.events)
        self.judge(box, 4)
        follower.close()

    def test_without_redis(self):
        box = self.s.create()
        live = self.events(box)
        live.until("sandbox.running")
        self.s.stop_box(box)
        live.until("sandbox.stopped", 1)
        for p in self.s.parts()["redis"]:
            os.kill(p, signal.SIGSTOP)
            self.addCleanup(self.go_on, p)
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        live.until("sandbox.running", 3)
        self.kill("redis")
        self.s.stop_box(box)
        live.until("sandbox.stopped", 3)
        until("redis is back", lambda: self.s.parts().get("redis"))
        self.s.wait_ready()

    @staticmethod
    def go_on(pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def test_torn_files_are_mended(self):
        box = self.s.create()
        self.settled(box, "running")
        files = {p.rsplit(".", 1)[1]: p for p in
                 glob.glob(f"{self.s.dir}/data/streams/*/s-{box}.*")}
        for junk in ({"log": b"id: 2\nevent: sandb"},
                     {"idx": b"\x00" * 5}, {"idx": b"\xff" * 40},
                     {"log": b"\x00" * 5000, "idx": b"\x00" * 48}):
            tasks = self.s.parts()["tasks"][0]
            os.kill(tasks, signal.SIGSTOP)
            for ending, data in junk.items():
                with open(files[ending], "ab") as f:
                    f.write(data)
            os.kill(tasks, signal.SIGKILL)
            self.s.stop_box(box)
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
            until("it is copied", lambda: self.s.parts().get("tasks"))
            live = self.events(box)
            n = 0
            while n < 2 + 3 * self.torn:
                self.assertEqual(n, live.next().id)
                n += 1
            self.torn += 1
        self.judge(box, 4)

    torn = 1


class Slow(Frame):
    """Readers that do not read, and logs that are trimmed meanwhile."""

    settings = {"stream_log_kb": 4, "nginx_workers": 1}
    seconds = 120

    def fill(self, box, n):
        for _ in range(n):
            self.s.stop_box(box)
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")

    def test_trimmed(self):
        box = self.s.create()
        first = self.events(box)
        first.until("sandbox.running")
        self.fill(box, 14)
        got = self.events(box, last=0)
        lagged = got.next()
        self.assertEqual("lagged", lagged.type)
        begins = lagged.data["first"]
        self.assertGreater(begins, 5)
        events = []
        while not events or events[-1].id < 1 + 14 * 3:
            events.append(got.next())
        self.in_order(events, begins)
        # who read all the time has all of it
        while first.next(0.3):
            pass
        size = glob.glob(f"{self.s.dir}/data/streams/*/s-{box}.log")[0]
        self.assertLess(os.stat(size).st_blocks * 512, 16384)

    def grow(self, box, count):
        """Puts a stream of `count` events where tasks has its own."""
        frames = [(f"id: {i}\nevent: sandbox.ports\n"
                   f'data: {{"n":{i},"fill":"{"x" * 150}"}}\n\n').encode()
                  for i in range(count)]
        log, ends = b"".join(frames), itertools.accumulate(map(len, frames))
        # the two rows of its creation are in it
        index = b"HFSTREAM" + struct.pack("<Q", 0) + b"".join(
            struct.pack("<QQ", end, 2) for end in ends)
        tasks = self.s.parts()["tasks"][0]
        os.kill(tasks, signal.SIGSTOP)
        for path in glob.glob(f"{self.s.dir}/data/streams/*/s-{box}.*"):
            with open(path, "r+b") as f:
                f.write(log if path.endswith("log") else index)
        os.kill(tasks, signal.SIGKILL)

    def test_a_large_past(self):
        """Megabytes, to one who reads and to some who stop in the middle,
        and then the front of it is trimmed under their feet."""
        box = self.s.create()
        self.settled(box, "running")
        count = 20000
        self.grow(box, count)
        quick = self.events(box)
        slow = [self.events(box, rcvbuf=4096) for _ in range(5)]
        for i in range(count):
            self.assertEqual(i, quick.next().id)
        for s in slow:
            for i in range(50):
                self.assertEqual(i, s.next().id)
        self.s.stop_box(box)
        self.assertEqual("sandbox.stopped", quick.next().type)
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        quick.until("sandbox.running")
        for s in slow:
            # what it had on its way was cut off, not falsified
            last = 49
            while True:
                e = s.next(5)
                if e is None:
                    self.assertTrue(s.ended or s.cut)
                    break
                self.assertEqual(last + 1, e.id)
                last = e.id
            self.assertLess(last, count)
            with Sse(self.s, f"/v1/sandboxes/{box}/events",
                     last=last) as again:
                e = again.next()
                self.assertEqual("lagged", e.type)
                e2 = again.next()
                self.assertEqual(e.data["first"], e2.id)

    def test_slow_costs_nobody(self):
        """One that never reads: others get everything at once."""
        slow = [Sse(self.s, "/v1/events", rcvbuf=2048) for _ in range(20)]
        box = self.s.create()
        quick = self.events(box)
        worst = 0
        for _ in range(5):
            self.s.stop_box(box)
            t = time.monotonic()
            quick.until("sandbox.stopped", 2)
            worst = max(worst, time.monotonic() - t)
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
            quick.until("sandbox.running", 2)
        self.assertLess(worst, 0.9)
        # and they, when they read at last, get whole events in order
        for s in slow:
            last = None
            while True:
                e = s.next(0.3)
                if e is None:
                    break
                if e.id is not None:
                    if last is not None:
                        self.assertGreater(e.id, last)
                    last = e.id
            s.close()


class Many(Frame):
    """A thousand clients of one worker."""

    settings = {"nginx_workers": 1, "nofile": 8192, "stream_ping_s": 3600}
    seconds = 120
    CLIENTS = 1000

    def memory(self):
        pid = self.s.parts()["nginx-worker"][0]
        with open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                if line.startswith("Private_Dirty:"):
                    return int(line.split()[1]) * 1024

    def descriptors(self):
        pid = self.s.parts()["nginx-worker"][0]
        return len(os.listdir(f"/proc/{pid}/fd"))

    def test_a_thousand(self):
        box = self.s.create()
        warm = [self.events(box) for _ in range(20)]
        for w in warm:
            w.until("sandbox.running")
            w.close()
        until("they are gone", lambda: self.descriptors() < 40)
        before, fds = self.memory(), self.descriptors()
        many = [self.events(box) for _ in range(self.CLIENTS)]
        for m in many:
            m.until("sandbox.running")
        each = (self.memory() - before) / self.CLIENTS
        print(f"\n    {each:.0f} bytes a stream, "
              f"{self.descriptors() - fds} descriptors", end=" ")
        self.assertLess(each, 16000)
        self.assertLess(self.descriptors() - fds, self.CLIENTS + 10)
        t = time.monotonic()
        self.s.stop_box(box)
        for m in many:
            m.until("sandbox.stopped")
        print(f"all told {time.monotonic() - t:.2f} s after the call",
              end=" ")
        held = self.memory()
        for _ in range(5):
            self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
            self.s.stop_box(box)
        for m in many:
            for _ in range(5):
                m.until("sandbox.stopped")
        self.assertLess(self.memory() - held, 256 * 1024)
        for m in many:
            m.close()
        until("they are gone", lambda: self.descriptors() <= fds + 3)


class Age(Frame):
    settings = {"stream_max_s": 10, "stream_ping_s": 1}

    def test_a_stream_ends_and_goes_on(self):
        box = self.s.create()
        follower = Follower(self.s, f"/v1/sandboxes/{box}/events")
        t = time.monotonic()
        follower.follow(lambda got: follower.connects >= 2
                        and follower.sse, 20)
        self.assertGreater(time.monotonic() - t, 7)
        self.s.stop_box(box)
        follower.follow(lambda got: types(got)[-1:] == ["stopped"])
        self.in_order(follower.events)
        follower.close()
