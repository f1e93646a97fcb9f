"""nginx under load: reload, another binary, a worker that is killed."""

import collections
import os
import re
import signal
import subprocess
import threading
import time

from case import Case, until
from stack import Stack, request
from test_preview import UPGRADE, head

LIMIT = 200


class Load:
    """Visits of an awake sandbox, and of one that is put to sleep again and
    again; a WebSocket that is spoken to. Nothing of it may fail."""

    def __init__(self, s, awake, sleeper):
        self.s, self.awake, self.sleeper = s, awake, sleeper
        self.done, self.bad = collections.Counter(), []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(f,))
                        for f in (self.visit, self.visit, self.wake,
                                  self.api)]
        for t in self.threads:
            t.start()

    def run(self, one):
        n = 0
        while not self.stop.is_set():
            n += 1
            try:
                one(n)
                self.done[one.__name__] += 1
            except Exception as e:          # told at the end
                self.bad.append(f"{one.__name__}: {e!r}")
            self.stop.wait(0.005)

    def visit(self, n):
        body = b"x" * 3000 if n % 3 == 0 else None
        a = self.s.preview(self.awake, 3000, f"/{n}",
                           "POST" if body else "GET", body)
        assert a.status == 200 and a.json["path"] == f"/{n}" \
            and a.json["body_bytes"] == len(body or b""), repr(a)

    def wake(self, n):
        self.s.stop_box(self.sleeper)
        a = self.s.preview(self.sleeper, 3000, "/", "POST", b"once")
        assert a.status == 200 and a.json["body_bytes"] == 4, repr(a)

    def api(self, n):
        a = self.s.api("GET", f"/v1/sandboxes/{self.awake}")
        assert a.status == 200, repr(a)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join()
        return self.bad


class Talk:
    """A WebSocket; say() is answered with the same."""

    def __init__(self, s, box):
        self.c = s.raw(UPGRADE.format(host=s.preview_host(box), more=""))
        assert b" 101 " in head(self.c).split(b"\r\n")[0]

    def say(self):
        frame = b"\x81\x85\1\2\3\4" + bytes(
            c ^ k for c, k in zip(b"hello", b"\1\2\3\4\1"))
        self.c.sendall(frame)
        got = b""
        while len(got) < len(frame):
            more = self.c.recv(100)
            assert more, f"closed: {got}"
            got += more
        assert got == frame, got

    def close(self):
        self.c.close()


class Upgrade(Case):
    """Our pieces in an nginx that is not a child of holdfastd."""

    seconds = 150

    @classmethod
    def setUpClass(cls):
        s = cls.s = Stack(start=False, run_nginx="off")
        cls.addClassCleanup(s.stop)
        s.start(ready=False)
        cls.home = f"{s.dir}/run/nginx"
        until("the pieces are there", lambda: os.path.exists(
            f"{cls.home}/lua-free-config/settings/tls.conf"))
        subprocess.run(["/usr/sbin/nginx", "-p", cls.home, "-c",
                        f"{cls.home}/nginx.conf"], check=True)
        cls.addClassCleanup(cls.end_nginx)
        s.wait_ready()
        cls.awake = s.create_app(3000)
        cls.sleeper = s.create_app(3000)

    @classmethod
    def tearDownClass(cls):
        for box in (cls.awake, cls.sleeper):
            cls.s.purge(box)

    @classmethod
    def end_nginx(cls):
        for name in ("nginx.pid", "nginx.pid.oldbin"):
            try:
                os.kill(cls.pid(name), signal.SIGTERM)
                until("nginx is gone", lambda: not os.path.exists(
                    f"{cls.home}/{name}"))
            except (OSError, ValueError):
                pass

    @classmethod
    def pid(cls, name="nginx.pid"):
        with open(f"{cls.home}/{name}") as f:
            return int(f.read())

    def workers(self, master):
        out = subprocess.run(["ps", "-o", "pid=,args=", "--ppid",
                              str(master)], capture_output=True,
                             text=True).stdout
        return {int(x.split()[0]): "shutting down" in x
                for x in out.splitlines() if "worker process" in x}

    def gates(self):
        text = request(self.s.metrics_address, "GET", "/metrics").text
        return {k: int(v) for k, v in re.findall(
            r"(?m)^holdfast_keeper_(gates|held_asks)\{.*\} (\d+)$", text)}

    def status_now(self):
        return request(self.s.metrics_address, "GET", "/gate/status").json

    def settled(self):
        """Counts, links and the keeper's view are right."""
        until("nothing is in flight", lambda: {
            k: v for k, v in self.status_now().items()
            if k in ("workers", "links", "holding", "inside", "quiet")
        } == {"workers": 2, "links": 2, "holding": 0, "inside": 0,
              "quiet": 0}, 20)
        until("the keeper knows two gates, and nobody waits",
              lambda: self.gates() == {"gates": 2, "held_asks": 0}, 20)
        for box in (self.awake, self.sleeper):
            began = time.monotonic()
            self.s.stop_box(box)
            self.assertLess(time.monotonic() - began, 5)
            self.status(200, self.s.preview(box))

    def test_reload_loses_nothing(self):
        table = self.status_now()["table"]["name"]
        load = Load(self.s, self.awake, self.sleeper)
        talk = Talk(self.s, self.awake)
        try:
            master = self.pid()
            for _ in range(3):
                before = set(self.workers(master))
                os.kill(master, signal.SIGHUP)
                until("new workers", lambda: len(
                    set(self.workers(master)) - before) == 2)
                done = load.done["wake"]
                until("it goes on", lambda: load.done["wake"] > done + 1, 30)
                talk.say()
        finally:
            bad = load.end()
        self.assertEqual([], bad)
        self.assertEqual(table, self.status_now()["table"]["name"])
        # the first one's worker is still there for it, and then is not
        self.assertIn(True, self.workers(master).values())
        talk.say()
        talk.close()
        until("old workers are gone", lambda: list(
            self.workers(master).values()) == [False, False], 20)
        self.settled()
        print(f"reload: {dict(load.done)}", flush=True)

    def test_another_binary_loses_nothing(self):
        old = self.pid()
        table = self.status_now()["table"]["name"]
        load = Load(self.s, self.awake, self.sleeper)
        talk = Talk(self.s, self.awake)

        def goes_on():
            done = load.done.copy()
            until("it goes on", lambda: all(
                load.done[k] > done[k] + 1
                for k in ("visit", "wake", "api")), 30)
            talk.say()
        try:
            os.kill(old, signal.SIGUSR2)
            until("a new master", lambda: os.path.exists(
                f"{self.home}/nginx.pid.oldbin")
                and os.path.exists(f"{self.home}/nginx.pid"))
            new = self.pid()
            self.assertNotEqual(old, new)
            until("its workers", lambda: len(self.workers(new)) == 2)
            goes_on()                       # both serve, two tables
            os.kill(old, signal.SIGWINCH)
            until("the old workers end but for one", lambda: list(
                self.workers(old).values()) == [True], 30)
            goes_on()
            self.assertNotEqual(table, self.status_now()["table"]["name"])
            os.kill(old, signal.SIGQUIT)
            goes_on()
        finally:
            bad = load.end()
        self.assertEqual([], bad)
        # what the old one still serves counts: its table is asked, too
        self.assertEqual(3, self.gates()["gates"])
        talk.say()
        talk.close()
        until("the old master is gone", lambda: not os.path.exists(
            f"{self.home}/nginx.pid.oldbin"), 20)
        self.settled()
        print(f"upgrade: {dict(load.done)}", flush=True)

    def test_a_killed_worker_costs_its_own_requests_only(self):
        s = self.s
        box = s.create(services=[{
            "name": "late", "port": 3000,
            "cmd": ["sh", "-c", "sleep 3; exec /bin/app serve 3000"]}])
        s.stop_box(box)
        answers = []

        def visit():
            try:
                answers.append(s.preview(box).status)
            except OSError:
                answers.append("lost")
        threads = [threading.Thread(target=visit) for _ in range(20)]
        for t in threads:
            t.start()
        until("all are held",
              lambda: self.status_now()["holding"] == 20)
        master = self.pid()
        victim = min(self.workers(master))
        os.kill(victim, signal.SIGKILL)
        until("another takes its place", lambda: len(
            self.workers(master)) == 2 and victim not in self.workers(master))
        until("it is linked", lambda: self.status_now()["links"] == 2)
        left = self.status_now()["holding"]
        for t in threads:
            t.join()
        self.assertEqual({200: left, "lost": 20 - left},
                         {200: 0, "lost": 0,
                          **collections.Counter(answers)})
        self.status(200, s.preview(box))
        self.settled()
        s.purge(box)

    def test_workers_killed_under_load_leave_nothing(self):
        load = Load(self.s, self.awake, self.sleeper)
        master = self.pid()
        killed = 0
        try:
            for _ in range(6):
                done = load.done["wake"]
                for p in self.workers(master):
                    os.kill(p, signal.SIGKILL)
                    killed += 1
                until("new workers", lambda: len(self.workers(master)) == 2)
                until("it goes on", lambda: load.done["wake"] > done, 30)
        finally:
            bad = load.end()
        # each kill costs at most what was in flight in that worker
        self.assertLess(len(bad), killed * 4, bad)
        wrong = [x for x in bad if "Error" not in x and "Disconnected" not in x
                 and "IncompleteRead" not in x]
        self.assertEqual([], wrong)
        self.settled()
