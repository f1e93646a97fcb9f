"""Little memory: what is idle goes down, and no wake takes what is not there."""

import re
import threading

from case import Case, until


def available_mb():
    with open("/proc/meminfo") as f:
        return int(re.search(r"MemAvailable: +(\d+)", f.read())[1]) // 1024


def settled_mb():
    """What is available when nothing is being given back any more."""
    last = []

    def settled():
        last.append(available_mb())
        return len(last) > 1 and abs(last[-1] - last[-2]) < 50
    until("memory has settled", settled, every=0.4)
    return last[-1]


# The machine's memory is what is measured.
ALONE = True


class Pressure(Case):
    """Memory is always low here."""
    seconds = 90
    settings = {"idle_s": 6000, "freeze_s": 3000, "memory_low": "1000000M",
                "pressure_idle_s": 2}

    def test_what_is_idle_goes_down(self):
        s = self.s
        small, big = s.create_app(3000), s.create_app(3000)
        s.sh(big, "head -c 30000000 /dev/zero > /tmp/in-memory")
        leased, always = s.create_app(3000), s.create_app(
            3000, idle_policy="always_on")
        s.expect(201, "POST", f"/v1/sandboxes/{leased}/leases",
                 {"ttl_s": 600})
        working = s.create()
        said = []
        work = threading.Thread(target=lambda: said.append(
            s.exec(working, "sleep 20; echo done")))
        work.start()
        until("the big one is stopped",
              lambda: s.state(big) == "stopped", 40)
        until("the small one is frozen", lambda: s.state(small) == "frozen")
        for box in (leased, always, working):
            self.assertEqual("running", s.state(box), box)
        work.join()
        self.assertEqual("done\n", said[0]["stdout"])
        # What is visited comes back all the same.
        self.status(200, s.preview(big))
        self.status(200, s.preview(small))
        self.assertEqual("frozen", s.expect(
            200, "POST", f"/v1/sandboxes/{small}/freeze").json["state"])
        for box in (small, big, leased, always, working):
            s.purge(box)


class Admission(Case):
    """Of a sandbox that needed 2 GB when it last slept."""
    seconds = 120
    settings = {"idle_s": 6000, "freeze_s": 3000, "tmp_size": "3G",
                "memory_wait_s": 10}
    BIG_MB = 2000

    def reserve(self, mb):
        self.s.halt()
        self.s.configure(memory_reserve=f"{mb}M")
        self.s.start()

    def setUp(self):
        self.reserve(0)

    def test_what_it_is_known_to_need(self):
        s = self.s
        box = s.create_app(3000, memory_mb=4096)
        s.sh(box, f"head -c {self.BIG_MB << 20} /dev/zero > /tmp/big")
        s.stop_box(box)
        self.reserve(settled_mb() - self.BIG_MB // 2)
        a = s.api("POST", f"/v1/sandboxes/{box}/start")
        self.error(503, "low_memory", a)
        self.assertGreater(int(a.headers["Retry-After"]), 0)
        a = s.preview(box)
        self.status(503, a)
        self.assertGreater(int(a.headers["Retry-After"]), 0)
        self.assertEqual("stopped", s.state(box))
        # One that is not known to need that much has room.
        other = s.create_app(3000)
        s.purge(other)
        self.reserve(0)
        self.status(200, s.preview(box))
        s.purge(box)

    def test_a_sleeping_one_makes_room(self):
        """The start waits until memory_wait_s for what others give up."""
        s = self.s
        sleeper = s.create_app(3000, memory_mb=4096)
        s.sh(sleeper, f"head -c {self.BIG_MB << 20} /dev/zero > /tmp/big")
        s.expect(200, "POST", f"/v1/sandboxes/{sleeper}/freeze")
        self.reserve(settled_mb() + self.BIG_MB // 2)
        a = s.api("POST", "/v1/sandboxes", {"id": "needsroom"})
        self.status(201, a)
        self.assertEqual("stopped", s.state(sleeper))
        s.purge(sleeper)
        s.purge("needsroom")
