"""The gate holds requests and lets them through, exactly once."""

import os
import signal
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
from gatecase import GateCase, Later, raw, sha1, until


class Hold(GateCase):
    options = {"hold_limit": "50 120", "hold_max": "6s"}

    def setUp(self):
        self.k.auto, self.k.mute = True, False

    def test_unknown_is_404_without_a_wake(self):
        status, headers, body = self.preview("nobody")
        self.assertEqual(status, 404)
        self.assertIn(b"no sandbox nobody", body)
        self.assertEqual(self.k.asked("nobody", "wake"), [])
        # nothing is remembered of a name that somebody made up
        used = self.n.status()["table"]["used"]
        self.preview("nobody2")
        self.assertEqual(self.n.status()["table"]["used"], used)

    def test_sleeping_is_woken(self):
        app = self.box("h1")
        status, _, body = self.preview("h1", "/a?b=%20c")
        self.assertEqual(status, 200)
        self.assertEqual(app.seen[-1]["path"], "/a?b=%20c")
        self.assertEqual(len(self.k.asked("h1", "look")), 1)
        self.assertEqual(len(self.k.asked("h1", "wake")), 1)
        # awake now: nobody is asked
        self.assertEqual(self.preview("h1")[0], 200)
        self.assertEqual(len(self.k.asked("h1")), 2)
        self.assertEqual(app.seen[-1]["peer"], "127.0.0.2")

    def test_one_ask_for_many_requests(self):
        app = self.box("h2")
        self.k.auto = False
        calls = [Later(self.preview, "h2", "/%d" % i) for i in range(40)]
        until(lambda: self.n.status()["holding"] == 40)
        # one per worker at most: each has its own link
        self.assertLessEqual(len(self.k.asked("h2", "look")), 2)
        self.assertLessEqual(len(self.k.asked("h2", "wake")), 2)
        self.assertEqual(app.seen, [])
        self.k.wake("h2", 3000)
        self.assertEqual({c.result()[0] for c in calls}, {200})
        self.assertEqual(sorted(x["path"] for x in app.seen),
                         sorted("/%d" % i for i in range(40)))
        status = self.n.status()
        self.assertEqual(status["holding"], 0)
        # each took a socket of its own, few are left over
        made = len([s for s in self.d.asked if s == "h2"])
        self.assertGreater(made, 2)
        self.assertLessEqual(status["spares"], 8 * 2 * len(self.spaces))

    def test_client_leaves_only_its_hold_goes(self):
        app = self.box("h3")
        self.k.auto = False
        first = raw(self.n.port, "GET /left HTTP/1.1\r\n"
                    "Host: 3000-h3.localhost\r\n\r\n", read=False)
        until(lambda: self.k.asked("h3", "wake"))
        second = Later(self.preview, "h3", "/stays")
        until(lambda: self.n.status()["holding"] == 2)
        first.close()
        until(lambda: self.n.status()["holding"] == 1)
        self.k.wake("h3", 3000)
        self.assertEqual(second.result()[0], 200)
        self.assertEqual([x["path"] for x in app.seen], ["/stays"])

    def test_limits(self):
        self.box("h4")
        self.box("h5")
        self.box("h6")
        self.k.auto = False
        calls = [Later(self.preview, "h4") for _ in range(130)]
        # 50 per sandbox and worker; the rest is turned away
        until(lambda: sum(c.done() for c in calls) >= 30)
        got = [c.result() for c in calls if c.done()]
        self.assertEqual({x[0] for x in got}, {503})
        self.assertIn(b"queue_full", got[0][2])
        self.assertGreaterEqual(int(got[0][1]["Retry-After"]), 1)
        self.assertLessEqual(self.n.status()["holding"], 100)
        self.k.wake("h4", 3000)
        self.assertTrue({c.result()[0] for c in calls} <= {200, 503})

    def test_failed_wake_is_told(self):
        self.box("h7")
        self.k.known["h7"]["fail"] = "7 low_memory not enough \"memory\""
        status, headers, body = self.preview("h7")
        self.assertEqual(status, 503)
        self.assertEqual(headers["Retry-After"], "7")
        self.assertIn(b'"code":"low_memory"', body)
        self.assertIn(rb'not enough \"memory\"', body)
        # nothing is remembered
        del self.k.known["h7"]["fail"]
        self.assertEqual(self.preview("h7")[0], 200)

    def test_held_too_long(self):
        self.box("h8")
        self.k.auto = False
        status, headers, body = self.preview("h8")
        self.assertEqual(status, 503)
        self.assertIn(b"hold_timeout", body)
        self.assertIn("Retry-After", headers)
        self.idle("h8")

    def test_closed_port(self):
        self.box("h9", open={3000: "open4", 5173: "open4"})
        status, _, body = self.preview("h9", port=4000)
        self.assertEqual(status, 502)
        self.assertIn(b"4000", body)
        self.assertIn(b"3000, 5173", body)
        self.idle("h9")

    def test_refused_is_asked_and_tried_once_more(self):
        app = self.box("h10", state="awake")
        self.assertEqual(self.preview("h10")[0], 200)
        app.stop()
        self.apps.remove(app)
        self.k.mute = True
        call = Later(self.preview, "h10", "/again")
        until(lambda: self.k.asked("h10", "refused"))
        again = self.box("h10", state="awake")
        self.k.mute = False
        self.k.wake("h10", 3000)
        self.assertEqual(call.result()[0], 200)
        self.assertEqual([x["path"] for x in again.seen], ["/again"])

    def test_refused_post_is_sent_once(self):
        app = self.box("h11", state="awake")
        self.assertEqual(self.preview("h11")[0], 200)
        app.stop()
        self.apps.remove(app)
        self.k.mute = True
        body = os.urandom(1 << 20)
        call = Later(self.n.call, "POST", "/p", host="3000-h11.localhost",
                     port=self.n.port, body=body)
        until(lambda: self.k.asked("h11", "refused"))
        again = self.box("h11", state="awake")
        self.k.mute = False
        self.k.wake("h11", 3000)
        self.assertEqual(call.result()[0], 200)
        self.assertEqual([x["sha1"] for x in again.seen], [sha1(body)])

    def test_refused_for_ever_ends(self):
        app = self.box("h12", state="awake")
        app.stop()
        self.apps.remove(app)
        for method in ("GET", "POST"):
            status, _, body = self.n.call(method, "/",
                                          host="3000-h12.localhost",
                                          port=self.n.port)
            self.assertEqual(status, 502, body)
            self.assertIn(b'"error"', body)
        # Each answer of this keeper is a start of its own.
        self.assertLessEqual(len(self.k.asked("h12", "refused")), 16)
        self.idle("h12")

    def test_app_breaks_off(self):
        self.box("h13", state="awake")
        for method in ("GET", "POST"):
            status, _, body = self.n.call(method, "/drop",
                                          host="3000-h13.localhost",
                                          port=self.n.port)
            self.assertEqual(status, 502)
            self.assertIn(b"closed the connection", body)
        self.assertEqual(self.k.asked("h13", "refused"), [])
        self.assertEqual(self.preview("h13", "/404")[0], 404)

    def test_ipv6_only_app(self):
        app = self.box("h14", family=6)
        self.assertEqual(self.preview("h14")[0], 200)
        self.assertEqual(app.seen[-1]["peer"], "::1")
        self.assertEqual(self.preview("h14")[0], 200)

    def test_two_sandboxes_same_port(self):
        one, two = self.box("h15"), self.box("h16")
        for _ in range(5):
            self.assertIn(b'"name": "h15"', self.preview("h15")[2])
            self.assertIn(b'"name": "h16"', self.preview("h16")[2])
        self.assertEqual((len(one.seen), len(two.seen)), (5, 5))

    def test_keeper_gone_and_back(self):
        self.box("h17", state="awake")
        app = self.box("h18")
        self.assertEqual(self.preview("h17")[0], 200)
        self.k.stop()
        try:
            # awake routes serve on
            self.assertEqual(self.preview("h17")[0], 200)
            calls = [Later(self.preview, "h18") for _ in range(20)]
            until(lambda: self.n.status()["holding"] == 20)
        finally:
            self.k.start()
        self.assertEqual({c.result()[0] for c in calls}, {200})
        self.assertEqual(len(app.seen), 20)
        until(lambda: len(self.k.links) == self.workers)
        # a table without a link may have missed something: asked once more
        asked = len(self.k.asked("h17"))
        self.assertEqual(self.preview("h17")[0], 200)
        self.assertEqual(len(self.k.asked("h17")), asked + 1)

    def test_door_gone_and_back(self):
        self.box("h19", state="awake")
        self.d.stop()
        call = Later(self.preview, "h19")
        until(lambda: self.k.asked("h19"))
        self.d.start()
        self.assertEqual(call.result()[0], 200)

    def test_door_does_not_know_it(self):
        self.box("h20", state="awake")
        space = self.spaces.pop("h20")
        try:
            status, _, body = self.preview("h20")
            self.assertEqual(status, 502)
            self.assertTrue(self.k.asked("h20", "refused"))
        finally:
            self.spaces["h20"] = space

    def test_kept_connection_that_was_closed(self):
        app = self.box("h21", state="awake")
        app.close = True
        for i in range(20):
            self.assertEqual(self.preview("h21", "/%d" % i)[0], 200)
        self.assertGreater(app.cut, 5)
        cut = app.cut
        for i in range(10):
            self.assertEqual(self.n.call("POST", "/p%d" % i, body=b"x",
                                         host="3000-h21.localhost",
                                         port=self.n.port)[0], 200)
        self.assertEqual(app.cut, cut)
        paths = [x["path"] for x in app.seen]
        self.assertEqual(len(paths), len(set(paths)))

    def test_answer_that_began_is_not_asked_for_again(self):
        app = self.box("h22", state="awake")
        for i in range(6):
            self.preview("h22", "/%d" % i)
        self.assertEqual(self.preview("h22", "/cut")[0], 502)
        self.assertEqual([x["path"] for x in app.seen].count("/cut"), 1)


class Spares(GateCase):
    workers = 1

    def test_the_spare_is_gone_at_the_second_try(self):
        app = self.box("sp1", state="awake")
        self.assertEqual(self.preview("sp1")[0], 200)
        self.assertEqual(self.n.status()["spares"], 1)
        first = Later(self.preview, "sp1", "/kept")
        until(lambda: [x for x in app.seen if x["path"] == "/kept"])
        self.assertEqual(self.n.status()["spares"], 1)
        second = Later(self.preview, "sp1", "/slow")
        until(lambda: [x for x in app.seen if x["path"] == "/slow"])
        self.assertEqual(self.n.status()["spares"], 0)
        asked = len(self.d.asked)
        app.gate.set()
        self.assertEqual(first.result()[0], 200)
        self.assertEqual(second.result()[0], 200)
        self.assertEqual(len(self.d.asked), asked + 1)
        self.idle("sp1")


class Many(GateCase):
    """More asks than the link's buffer takes, and a reload meanwhile."""

    workers = 1

    def test_outage_with_many_ids(self):
        self.k.stop()
        try:
            # 1,500 lines of 60 bytes are 90 KiB
            ids = ["m" + "x" * 34 + "%04d" % i for i in range(1500)]
            socks = [raw(self.n.port, "GET / HTTP/1.1\r\nHost: 3000-%s.local"
                         "host\r\nConnection: close\r\n\r\n" % i, read=False)
                     for i in ids]
            until(lambda: self.n.status()["holding"] == 1500, 30)
        finally:
            self.k.start()
        for s in socks:
            self.assertIn(b" 404 ", s.recv(4096).splitlines()[0])
            s.close()
        self.assertEqual(len(self.k.hellos), 2)

    def test_reload_while_held(self):
        app = self.box("r1")
        self.k.auto = False
        call = Later(self.preview, "r1", "/held")
        until(lambda: self.k.asked("r1", "wake"))
        hellos = len(self.k.hellos)
        self.n.reload()
        until(lambda: len(self.k.hellos) > hellos)
        self.k.auto = True
        self.k.wake("r1", 3000)
        self.assertEqual(call.result()[0], 200)
        self.assertEqual([x["path"] for x in app.seen], ["/held"])
        until(lambda: len(self.n.worker_pids()) == 1)


class Bodies(GateCase):
    def held(self, id, request):
        app = self.box(id)
        self.k.auto = False
        call = Later(raw, self.n.port, request)
        until(lambda: self.k.asked(id, "wake"))
        self.k.wake(id, 3000)
        self.k.auto = True
        return app, call.result()

    def test_content_length(self):
        body = os.urandom(3 << 20)
        app, out = self.held("b1", b"POST /x HTTP/1.1\r\nHost: 3000-b1.localh"
                             b"ost\r\nConnection: close\r\nContent-Length: %d"
                             b"\r\n\r\n" % len(body) + body)
        self.assertIn(b" 200 ", out.splitlines()[0])
        self.assertEqual(app.seen[0]["sha1"], sha1(body))

    def test_chunked(self):
        body = os.urandom(1 << 20)
        chunks = b"".join(b"%x\r\n" % len(body[i:i + 9999])
                          + body[i:i + 9999] + b"\r\n"
                          for i in range(0, len(body), 9999)) + b"0\r\n\r\n"
        app, out = self.held("b2", b"PUT /x HTTP/1.1\r\nHost: 3000-b2.localho"
                             b"st\r\nConnection: close\r\nTransfer-Encoding: "
                             b"chunked\r\n\r\n" + chunks)
        self.assertIn(b" 200 ", out.splitlines()[0])
        self.assertEqual(app.seen[0]["sha1"], sha1(body))

    def test_expect(self):
        app = self.box("b3")
        self.k.auto = False
        body = os.urandom(100000)
        s = raw(self.n.port, "POST /x HTTP/1.1\r\nHost: 3000-b3.localhost\r\n"
                "Expect: 100-continue\r\nConnection: close\r\n"
                "Content-Length: 100000\r\n\r\n", read=False)
        until(lambda: self.k.asked("b3", "wake"))
        s.settimeout(0.2)
        with self.assertRaises(TimeoutError):   # nobody has said to go on
            s.recv(1)
        s.settimeout(20)
        self.k.wake("b3", 3000)
        self.k.auto = True
        self.assertIn(b" 100 ", s.recv(25))
        s.sendall(body)
        out = b""
        while data := s.recv(65536):
            out += data
        s.close()
        self.assertIn(b" 200 ", out)
        self.assertEqual(app.seen[0]["sha1"], sha1(body))

    def test_slow_body(self):
        app = self.box("b4")
        self.k.auto = False
        s = raw(self.n.port, "POST /x HTTP/1.1\r\nHost: 3000-b4.localhost\r\n"
                "Connection: close\r\nContent-Length: 20000\r\n\r\n",
                read=False)
        until(lambda: self.k.asked("b4", "wake"))
        s.sendall(b"a" * 10000)
        self.k.wake("b4", 3000)
        self.k.auto = True
        s.sendall(b"b" * 10000)
        out = b""
        while data := s.recv(65536):
            out += data
        s.close()
        self.assertIn(b" 200 ", out)
        self.assertEqual(app.seen[0]["sha1"],
                         sha1(b"a" * 10000 + b"b" * 10000))

    def test_websocket(self):
        app = self.box("b5")
        self.k.auto = False
        s = raw(self.n.port, "GET /ws HTTP/1.1\r\nHost: 3000-b5.localhost\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n",
                read=False)
        until(lambda: self.k.asked("b5", "wake"))
        self.k.wake("b5", 3000)
        self.k.auto = True
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        self.assertIn(b" 101 ", head)
        s.sendall(b"hello")
        self.assertEqual(s.recv(100), b"hello")
        # it is in flight: no park
        self.assertEqual(self.k.park("b5")[0], "busy")
        s.close()
        self.idle("b5")
        self.assertEqual(app.seen[0]["path"], "/ws")


class Op(GateCase):
    options = {"op_hold_max": "3s"}

    @classmethod
    def api_answer(cls, params, body):
        if params.get("HOLDFAST_OP"):
            return "Content-Type: text/plain", (
                "%s %s %s %s" % (params["REQUEST_METHOD"],
                                 params["REQUEST_URI"],
                                 params["HOLDFAST_OP"],
                                 params["HOLDFAST_TENANT"])).encode()
        return "X-Accel-Redirect: /_op/17\r\nContent-Type: text/plain", b""

    def setUp(self):
        self.k.ops.clear()
        self.k.asks.clear()
        self.a.seen.clear()

    def test_held_until_done(self):
        call = Later(self.n.call, "POST", "/sandbox?x=1", body=b"{}",
                     headers={"X-Request-Id": "kept-0001"})
        until(lambda: ("op", 17) in self.k.asks)
        self.assertFalse(call.done())
        self.k.ops[17] = "done"
        self.k.say("O 17 done")
        status, headers, body = call.result()
        self.assertEqual((status, body),
                         (200, b"POST /sandbox?x=1 17 default"))
        self.assertEqual(headers["X-Request-Id"], "kept-0001")
        self.assertEqual(self.a.seen[1]["QUERY_STRING"], "x=1")
        self.assertEqual(self.a.seen[1]["HOLDFAST_REQUEST_ID"], "kept-0001")
        self.assertEqual(self.a.seen[1].get("CONTENT_LENGTH", ""), "")

    def test_many_and_lost_link(self):
        calls = [Later(self.n.call, "POST", "/sandbox") for _ in range(30)]
        until(lambda: self.n.status()["holding"] == 30)
        self.assertLessEqual(self.k.asks.count(("op", 17)), 2)
        self.k.ops[17] = "done"
        self.k.stop()
        self.k.start()
        self.assertEqual({c.result()[0] for c in calls}, {200})

    def test_too_long_goes_on_to_the_api(self):
        status, _, body = self.n.call("POST", "/v1/sandboxes")
        self.assertEqual((status, body[:5]), (200, b"POST "))
        self.assertEqual(len(self.a.seen), 2)

    def test_not_from_outside(self):
        status, headers, body = self.n.call("GET", "/_op/17")
        self.assertEqual(status, 404)
        self.assertIn(b'{"error":', body)
        self.assertIn("X-Request-Id", headers)


if __name__ == "__main__":
    unittest.main()
