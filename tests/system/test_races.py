"""Many at once: nothing is lost, nothing is doubled."""

import collections
from concurrent.futures import ThreadPoolExecutor

from case import Case, until


def at_once(n, call):
    """call(0) … call(n-1), all at the same time."""
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(call, range(n)))


class Races(Case):
    seconds = 120

    def test_50_creates(self):
        def create(n):
            return self.s.api("POST", "/v1/sandboxes", {
                "id": f"many{n}", "labels": {"many": "1"}})
        answers = at_once(50, create)
        kinds = collections.Counter(a.status for a in answers)
        self.assertLessEqual(set(kinds), {201, 503}, kinds)
        self.assertGreater(kinds[201], 0)
        for a in answers:
            if a.status == 503:
                self.assertGreater(int(a.headers["Retry-After"]), 0)
        made = {a.json["id"] for a in answers if a.status == 201}
        rows = self.s.expect(
            200, "GET",
            "/v1/sandboxes?label.many=1&limit=1000").json["sandboxes"]
        self.assertEqual(made, {r["id"] for r in rows})
        self.assertEqual({"running"}, {r["state"] for r in rows})
        docker = [c["Labels"]["holdfast.id"] for c in self.s.containers()]
        for box in made:
            self.assertEqual(1, docker.count(box), box)
        refused = {f"many{n}" for n in range(50)} - made
        self.assertFalse(refused & set(docker))
        at_once(8, lambda i: [self.s.purge(b) for b in sorted(made)[i::8]])

    def test_the_same_id(self):
        answers = at_once(20, lambda n: self.s.api(
            "POST", "/sandbox", {"id": "onlyone"}))
        kinds = collections.Counter(a.status for a in answers)
        self.assertEqual({201: 1, 409: 19}, kinds)
        self.s.purge("onlyone")

    def test_100_by_key(self):
        answers = at_once(100, lambda n: self.s.api(
            "PUT", "/v1/sandboxes/by-key/the-one", {}))
        kinds = collections.Counter(a.status for a in answers)
        self.assertEqual({201: 1, 200: 99}, kinds)
        self.assertEqual(1, len({a.json["id"] for a in answers}))
        self.s.purge(answers[0].json["id"])

    def test_20_with_one_idempotency_key(self):
        answers = at_once(20, lambda n: self.s.api(
            "POST", "/v1/sandboxes", {"labels": {"idem": "1"}},
            {"Idempotency-Key": "race-for-it"}))
        for a in answers:
            self.assertIn(a.status, (201, 409), repr(a))
            if a.status == 409:
                self.assertIsNotNone(a.headers["Retry-After"])
        made = {a.json["id"] for a in answers if a.status == 201}
        self.assertEqual(1, len(made))
        self.s.purge(made.pop())

    def test_1000_wakes(self):
        box = self.s.create_app(3000, ports=[3000])
        self.s.stop_box(box)

        def wake(n):
            if n % 2:
                return self.s.api("POST", f"/wake/{box}")
            return self.s.preview(box, 3000, f"/{n}")
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(wake, range(1000)))
        bad = [a for a in answers if a.status != 200]
        self.assertEqual([], bad[:3])
        for n in range(0, 1000, 2):
            self.assertEqual(f"/{n}", answers[n].json["path"])
        self.assertEqual(1, len([c for c in self.s.containers()
                                 if c["Labels"]["holdfast.id"] == box]))
        self.s.purge(box)

    def test_1000_wakes_of_what_is_not_there(self):
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(
                lambda n: self.s.api("POST", "/wake/nothere"), range(1000)))
        self.assertEqual({404}, {a.status for a in answers})

    def test_stop_and_visit_against_each_other(self):
        """Whatever order they take, every visit gets the app's answer."""
        box = self.s.create_app(3000, ports=[3000])

        def act(n):
            if n % 5 == 0:
                return self.s.api("POST", f"/v1/sandboxes/{box}/stop")
            return self.s.preview(box, 3000, f"/{n}", "POST", b"body")
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(act, range(60)))
        for n, a in enumerate(answers):
            self.assertEqual(200, a.status, f"{n}: {a!r}")
            if n % 5:
                self.assertEqual((f"/{n}", 4), (a.json["path"],
                                                a.json["body_bytes"]))
        self.s.purge(box)

    def test_delete_during_create_and_wake(self):
        def act(n):
            return self.s.api("POST", "/sandbox", {"id": "flicker"}) \
                if n % 2 else self.s.api("POST", "/sandbox/flicker/purge")
        answers = at_once(16, act)
        for a in answers:
            self.assertIn(a.status, (200, 201, 404, 409), repr(a))
        self.s.api("POST", "/sandbox/flicker/purge")
        self.s.expect(404, "GET", "/sandbox/flicker")
        self.assertIsNone(self.s.container("flicker"))
        self.s.expect(201, "POST", "/sandbox", {"id": "flicker"})
        self.s.purge("flicker")

    def test_a_visitor_who_left_does_not_undo_a_stop(self):
        """What he waited for never came: nobody waits for it any more."""
        box = self.s.create_app(3000, ports=[3000, 3001])
        self.s.stop_box(box)
        visit = self.s.raw("GET / HTTP/1.1\r\nHost: "
                           f"{self.s.preview_host(box, 3001)}\r\n\r\n")
        until("it is awake", lambda: self.s.state(box) == "running")
        visit.close()
        self.s.stop_box(box)
        self.s.purge(self.s.create())           # takes longer than a wake
        self.assertEqual("stopped", self.s.state(box))
        self.s.purge(box)

    def test_a_client_that_leaves_during_a_wake(self):
        box = self.s.create_app(3000, ports=[3000])
        self.s.stop_box(box)
        for _ in range(20):
            self.s.raw(f"GET / HTTP/1.1\r\nHost: "
                       f"{self.s.preview_host(box)}\r\n\r\n").close()
        self.status(200, self.s.preview(box, 3000))
        self.assertEqual("running", self.s.state(box))
        self.s.purge(box)
