"""Park before sleep: what the table counts, and who is alive."""

import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import GateCase, Later, raw, until


class Park(GateCase):
    def test_park_and_wake(self):
        self.box("p1")
        self.assertEqual(self.preview("p1")[0], 200)
        self.idle("p1")
        gen = self.k.known["p1"]["gen"]
        self.assertEqual(self.k.park("p1")[0], "ok")
        # a late answer of that generation or below does not wake
        self.k.known["p1"]["state"] = "awake"
        self.k.say(self.k.answer("p1", 3000))
        self.k.known["p1"]["state"] = "asleep"
        self.k.auto = False
        call = Later(self.preview, "p1")
        until(lambda: [a for a in self.k.asked("p1", "wake") if a[3] >= gen])
        self.assertFalse(call.done())
        self.k.auto = True
        self.k.wake("p1", 3000)
        self.assertEqual(call.result()[0], 200)

    def test_busy_while_in_flight(self):
        app = self.box("p2")
        call = Later(self.preview, "p2", "/slow")
        until(lambda: app.seen)
        reply = self.k.park("p2")
        self.assertEqual(reply[:2], ["busy", "1"])
        # it stays awake: others enter
        self.assertEqual(self.preview("p2")[0], 200)
        app.gate.set()
        self.assertEqual(call.result()[0], 200)
        self.k.sleep("p2")

    def test_busy_when_not_idle_long_enough(self):
        self.box("p3")
        self.assertEqual(self.preview("p3")[0], 200)
        self.idle("p3")
        state, n, idle_ms = self.k.park("p3", min_idle_ms=3600000)
        self.assertEqual((state, n), ("busy", "0"))
        self.assertLess(int(idle_ms), 10000)
        asked = len(self.k.asked("p3"))
        self.assertEqual(self.preview("p3")[0], 200)
        self.assertEqual(len(self.k.asked("p3")), asked)

    def test_inactive_requests_do_not_count_as_activity(self):
        self.box("p4")
        self.assertEqual(self.preview("p4")[0], 200)
        self.idle("p4")
        until(lambda: int(self.k.request("I %d p4")[4]) > 300)
        self.preview("p4", headers={"X-Sandbox-Activity": "none"})
        self.idle("p4")
        self.assertGreater(int(self.k.request("I %d p4")[4]), 300)
        self.preview("p4")
        self.assertLess(int(self.k.request("I %d p4")[4]), 300)

    def test_stale(self):
        self.box("p5")
        self.assertEqual(self.preview("p5")[0], 200)
        self.assertEqual(self.k.park("p5", gen=1)[0], "stale")

    def test_park_of_what_the_table_does_not_know(self):
        self.box("p6", state="awake")
        gen = self.k.known["p6"]["gen"]
        self.assertEqual(self.k.park("p6")[0], "ok")
        self.k.known["p6"]["state"] = "awake"
        # the answer that was on its way when it was parked
        self.k.say("A p6 %d awake 3000 open4 %s 3000"
                   % (gen, self.k.known["p6"]["policy"]))
        self.preview("p6")
        self.assertGreater(self.k.known["p6"]["gen"], gen)

    def test_revoked_by_broadcast(self):
        self.box("p7", state="awake")
        self.assertEqual(self.preview("p7")[0], 200)
        k = self.k.known["p7"]
        k["gen"] = self.k.next_gen()
        k["policy"] = k["policy"].replace("public", "private", 1)
        self.k.say(self.k.answer("p7", 0, "R"))
        until(lambda: self.preview("p7")[0] == 401)

    def test_gone_by_broadcast(self):
        self.box("p8", state="awake")
        self.assertEqual(self.preview("p8")[0], 200)
        k = self.k.known["p8"]
        k["state"], k["gen"] = "gone", self.k.next_gen()
        self.k.say(self.k.answer("p8", 0, "R"))
        until(lambda: self.preview("p8")[0] == 404)
        # made again
        k["state"], k["gen"] = "awake", self.k.next_gen()
        self.k.say(self.k.answer("p8", 0, "R"))
        until(lambda: self.preview("p8")[0] == 200)

    def test_spares_of_a_parked_sandbox_are_closed(self):
        self.box("p9")
        self.assertEqual(self.preview("p9")[0], 200)
        self.idle("p9")
        pids = self.n.worker_pids()

        def inodes():
            return {os.readlink("/proc/%d/fd/%s" % (p, f))
                    for p in pids for f in os.listdir("/proc/%d/fd" % p)
                    if os.path.islink("/proc/%d/fd/%s" % (p, f))}
        before = self.n.status()["spares"]
        self.k.sleep("p9")
        k = self.k.known["p9"]
        k["gen"] = self.k.next_gen()
        self.k.say(self.k.answer("p9", 0, "R"))
        until(lambda: self.n.status()["spares"] < before)

    def test_wrong_lines_drop_the_link(self):
        links = len(self.k.hellos)
        self.k.say("A p1 1 sideways")
        until(lambda: len(self.k.hellos) >= links + self.workers)
        until(lambda: len(self.k.links) == self.workers)


class Death(GateCase):
    expected = ("exited on signal 9",)

    def test_kill_9_leaves_no_count(self):
        app = self.box("d1")
        calls = [Later(self.preview, "d1", "/slow") for _ in range(20)]
        until(lambda: len(app.seen) == 20)
        self.assertEqual(self.k.park("d1")[:2], ["busy", "20"])
        for pid in self.n.worker_pids():
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(self.k.hellos) == 4 and len(self.k.links) == 2)
        self.assertEqual(self.k.park("d1")[0], "ok")
        app.gate.set()
        self.assertEqual(self.preview("d1")[0], 200)

    def test_reload_with_requests_in_flight(self):
        app = self.box("d2")
        call = Later(self.preview, "d2", "/slow")
        until(lambda: app.seen)
        name = self.n.status()["table"]["name"]
        for i in range(3):
            hellos = len(self.k.hellos)
            self.n.reload()
            until(lambda: len(self.k.hellos) >= hellos + 2)
        # the old worker's column counts, the table is the same
        self.assertEqual(self.n.status()["table"]["name"], name)
        self.assertEqual(self.k.park("d2")[:2], ["busy", "1"])
        app.gate.set()
        self.assertEqual(call.result()[0], 200)
        self.idle("d2")
        until(lambda: len(self.n.worker_pids()) == 2)
        self.assertEqual(self.k.park("d2")[0], "ok")

    def test_load_with_parks_reloads_and_wakes(self):
        app = self.box("d3")
        stop, bad, good = threading.Event(), [], [0]

        def client(n):
            i = 0
            while not stop.is_set():
                i += 1
                body = b"x" * 1000 if i % 3 == 0 else None
                try:
                    r = self.n.call("POST" if body else "GET",
                                    "/%d-%d" % (n, i), body=body,
                                    host="3000-d3.localhost",
                                    port=self.n.port)
                    if r[0] != 200:
                        bad.append((r[0], r[2][:200]))
                except OSError as e:
                    bad.append(repr(e))
                good[0] += 1
                # a pause in which a park may fall
                stop.wait(0.002 * (i % 7))

        clients = [threading.Thread(target=client, args=(i,))
                   for i in range(3)]
        for c in clients:
            c.start()
        parks = 0
        end = time.monotonic() + 8
        reload_at = time.monotonic() + 2
        while time.monotonic() < end:
            if self.k.park("d3")[0] == "ok":
                parks += 1
            if time.monotonic() > reload_at:
                reload_at = end
                hellos = len(self.k.hellos)
                self.n.reload()
                until(lambda: len(self.k.hellos) >= hellos + 2)
        stop.set()
        for c in clients:
            c.join()
        self.assertEqual(bad, [])
        self.assertGreater(parks, 5)
        paths = [x["path"] for x in app.seen]
        self.assertEqual(len(paths), len(set(paths)))
        self.assertEqual(len(paths), good[0])
        print("%d requests, %d parks" % (good[0], parks), file=sys.stderr)


class Quiet(GateCase):
    """Connections that stay open and say nothing do not block a park."""

    settings = "holdfast_quiet_after 1200ms;"

    def socket(self, id):
        s = raw(self.n.port, "GET /ws HTTP/1.1\r\nHost: 3000-%s.localhost\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % id,
                read=False)
        while b"\r\n\r\n" not in s.recv(4096):
            pass
        return s

    def counts(self, id):
        return self.k.request("I %%d %s" % id)[2:4]

    def test_websocket(self):
        self.box("q1")
        s = self.socket("q1")
        self.assertEqual(self.counts("q1"), ["1", "0"])
        self.assertEqual(self.k.park("q1")[0], "busy")
        until(lambda: self.counts("q1") == ["0", "1"])
        # a byte makes it active again
        s.sendall(b"x")
        self.assertEqual(s.recv(10), b"x")
        self.assertEqual(self.counts("q1"), ["1", "0"])
        until(lambda: self.counts("q1") == ["0", "1"])
        self.k.sleep("q1")
        # and a message wakes what sleeps
        asked = len(self.k.asked("q1", "wake"))
        s.sendall(b"hello")
        until(lambda: len(self.k.asked("q1", "wake")) > asked)
        until(lambda: self.counts("q1") == ["1", "0"])
        self.assertEqual(s.recv(10), b"hello")
        s.close()
        until(lambda: self.counts("q1") == ["0", "0"])

    def test_message_while_the_keeper_is_away(self):
        self.box("q2")
        s = self.socket("q2")
        until(lambda: self.counts("q2") == ["0", "1"])
        self.k.sleep("q2")
        self.k.stop()
        asked = len(self.k.asked("q2", "wake"))
        s.sendall(b"hello")
        self.assertEqual(s.recv(10), b"hello")
        self.k.start()
        until(lambda: len(self.k.asked("q2", "wake")) > asked)
        until(lambda: self.counts("q2") == ["1", "0"])
        s.close()

    def test_heartbeats_do_not_count(self):
        self.box("q3")
        s = self.socket("q3")
        stop = threading.Event()

        def beat():
            while not stop.wait(1.0):
                s.sendall(b"ping1234")
        t = threading.Thread(target=beat)
        t.start()
        try:
            until(lambda: self.counts("q3") == ["0", "1"], 15)
            # a different one counts at once
            s.sendall(b"a word")
            until(lambda: self.counts("q3") == ["1", "0"])
        finally:
            stop.set()
            t.join()
            s.close()

    def test_gone_closes(self):
        self.box("q4", state="awake")
        s = self.socket("q4")
        k = self.k.known["q4"]
        k["state"], k["gen"] = "gone", self.k.next_gen()
        self.k.say(self.k.answer("q4", 0, "R"))
        self.assertEqual(s.recv(10), b"")
        s.close()

    def test_stop_closes(self):
        """A stop by a caller, which no park came before."""
        self.box("q6", state="awake")
        s = self.socket("q6")
        self.assertEqual(self.k.park("q6")[0], "busy")
        k = self.k.known["q6"]
        k["state"], k["gen"] = "asleep", self.k.next_gen()
        self.k.say(self.k.answer("q6", 0, "R"))
        self.assertEqual(s.recv(10), b"")
        s.close()
        until(lambda: self.counts("q6") == ["0", "0"])

    def test_event_stream(self):
        app = self.box("q5")
        s = raw(self.n.port, "GET /events HTTP/1.1\r\nHost: 3000-q5.localho"
                "st\r\nConnection: close\r\n\r\n", read=False)
        data = b""
        while b"data: 1" not in data:
            data += s.recv(4096)
        self.assertEqual(self.counts("q5"), ["1", "0"])
        until(lambda: self.counts("q5") == ["0", "1"])
        app.gate.set()
        until(lambda: self.counts("q5") == ["1", "0"])
        while b"data: 2" not in data:
            data += s.recv(4096)
        app.end.set()
        while s.recv(4096):
            pass
        s.close()
        self.idle("q5")
        # its connection may be kept: it must not be watched any more
        self.assertEqual(self.preview("q5")[0], 200)


class Small(GateCase):
    """A table with few entries."""

    workers = 1
    options = {"table": "64k"}

    def test_full_and_evicted(self):
        room = self.n.status()["table"]["entries"]
        app = self.box("full0")
        for i in range(1, room + 20):
            self.spaces["full%d" % i] = self.spaces["full0"]
            self.k.add("full%d" % i, open={3000: "open4"})
        try:
            # more than fit, one after the other: each finds a place
            for i in range(room + 20):
                self.assertEqual(self.preview("full%d" % i)[0], 200, i)
            status = self.n.status()
            self.assertGreater(status["evicted"], 0)
            self.assertGreater(status["table"]["floor"], 0)
            # all in flight: no place, and the answer says so
            calls = [Later(self.preview, "full%d" % i, "/slow")
                     for i in range(room)]
            until(lambda: len([x for x in app.seen
                               if x["path"] == "/slow"]) == room, 30)
            code, headers, body = self.preview("full%d" % (room + 1))
            self.assertEqual(code, 503, body)
            self.assertIn(b"unavailable", body)
            self.assertIn("Retry-After", headers)
            app.gate.set()
            self.assertEqual({c.result()[0] for c in calls}, {200})
            self.assertEqual(self.preview("full%d" % (room + 1))[0], 200)
        finally:
            app.gate.set()
            for i in range(1, room + 20):
                self.spaces.pop("full%d" % i, None)

    def test_newer_epoch_empties_older_is_refused(self):
        self.box("e1", state="awake")
        self.assertEqual(self.preview("e1")[0], 200)
        self.k.stop()
        self.k.epoch += 1
        self.k.gen = 0
        self.k.start()
        until(lambda: self.k.links)
        until(lambda: self.n.status()["table"]["used"] == 0)
        self.k.known["e1"]["gen"] = 0
        self.assertEqual(self.preview("e1")[0], 200)
        self.k.stop()
        self.k.epoch -= 1
        hellos = len(self.k.hellos)
        self.k.start()
        until(lambda: len(self.k.hellos) >= hellos + 2)
        self.assertEqual(self.n.status()["links"], 0)
        self.assertIn("an older database", self.n.log())
        self.k.stop()
        self.k.epoch += 1
        self.k.start()
        until(lambda: self.n.status()["links"] == 1)


if __name__ == "__main__":
    unittest.main()
