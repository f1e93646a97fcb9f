"""Parts are killed, containers vanish: nothing acknowledged is lost."""

import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

from case import Case, until

LIMIT = 420


class Traffic:
    """Creates and visits that go on while something is killed."""

    def __init__(self, s, box):
        self.s, self.box = s, box
        self.made, self.odd = [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=t)
                        for t in (self.create, self.visit)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *failure):
        self.over.set()
        for t in self.threads:
            t.join()

    def create(self):
        n = 0
        while not self.over.is_set():
            n += 1
            try:
                a = self.s.api("POST", "/v1/sandboxes",
                               {"labels": {"traffic": "1"}})
            except OSError:
                continue        # its nginx worker was killed
            except Exception:   # half an answer
                continue
            if a.status == 201:
                self.made.append(a.json["id"])
            elif a.status not in (502, 503, 504, 507):
                self.odd.append(repr(a))

    def visit(self):
        while not self.over.is_set():
            try:
                a = self.s.preview(self.box, 3000)
            except Exception:
                continue
            if a.status not in (200, 502, 503, 504):
                self.odd.append(repr(a))


class Killed(Case):
    seconds = 120

    def hit(self, role):
        box = self.s.create_app(3000, ports=[3000])
        with Traffic(self.s, box) as t:
            until("a sandbox was made", lambda: t.made, 30)
            for _ in range(3):
                before = len(t.made)
                gone = self.s.kill(role)
                until(f"{role} is back", lambda: not set(
                    self.s.parts().get(role, gone)) & set(gone), 30)
                until("creates go on", lambda: len(t.made) > before, 60)
        self.assertEqual([], t.odd[:3])
        self.s.wait_ready()
        self.status(200, self.s.preview(box, 3000))
        self.assertEqual("here\n", self.s.sh(box, "echo here"))
        rows = {r["id"]: r for r in self.s.expect(200, "GET",
                                                  "/sandboxes").json}
        for made in t.made:
            self.assertIn(made, rows)
        until("nothing is half made", lambda: not [
            r for r in self.s.expect(200, "GET", "/sandboxes").json
            if r["state"] == "creating"])
        # One container for each sandbox at most, and none for nobody.
        rows = {r["id"] for r in self.s.expect(200, "GET", "/sandboxes").json}
        ids = [c["Labels"]["holdfast.id"] for c in self.s.containers()]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(set(ids), rows)
        for made in rows:
            self.s.purge(made)

    def test_keeper(self):
        self.hit("keeper")

    def test_keeper_while_an_app_begins(self):
        """The next keeper knows that the port may still open."""
        box = self.s.create(services=[{
            "name": "app", "port": 3000,
            "cmd": ["sh", "-c", "sleep 2; exec /bin/app serve 3000"]}])
        self.s.stop_box(box)
        with ThreadPoolExecutor(1) as pool:
            visit = pool.submit(self.s.preview, box, 3000)
            until("it is awake", lambda: self.s.state(box) == "running")
            self.s.kill("keeper")
            self.status(200, visit.result())
        self.s.purge(box)

    def test_api(self):
        self.hit("api")

    def test_door(self):
        self.hit("door")

    def test_net(self):
        self.hit("net")

    def test_redis(self):
        self.hit("redis")

    def test_nginx(self):
        self.hit("nginx")

    def test_nginx_workers(self):
        self.hit("nginx-worker")

    def test_everything(self):
        """As when the machine's power goes: the whole stack at once."""
        box = self.s.create_app(3000, ports=[3000])
        self.s.sh(box, "echo kept > $HOME/f; sync")
        made = [self.s.create() for _ in range(3)]
        for p in sum(self.s.parts().values(), []):
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.s.process.wait()
        self.s.process = None
        self.s.start()
        for b in made + [box]:
            self.s.get(b)
        self.assertEqual("kept\n", self.s.sh(box, "cat $HOME/f"))
        self.status(200, self.s.preview(box, 3000))
        for b in made + [box]:
            self.s.purge(b)

    def test_restart_keeps_sandboxes_running(self):
        """An update of Holdfast does not touch what users run."""
        box = self.s.create_app(3000, ports=[3000])
        before = self.s.container(box)["Id"]
        pid = self.status(200, self.s.preview(box)).json["pid"]
        started = self.s.docker.inspect(before)["State"]["StartedAt"]
        self.s.restart()
        self.status(200, self.s.preview(box))
        self.assertEqual(started, self.s.docker.inspect(
            before)["State"]["StartedAt"])
        self.assertTrue(pid)
        self.s.purge(box)


class BehindOurBack(Case):
    """Somebody uses Docker while we do, too."""

    def made_again(self, how):
        box = self.s.create_app(3000, ports=[3000], env={"COLOUR": "green"},
                                memory_mb=100, pids=99)
        self.s.sh(box, "echo kept > $HOME/f")
        c = self.s.container(box)["Id"]
        how(c)
        until("it is seen", lambda: self.s.state(box) != "running", 1.0)
        self.status(200, self.s.preview(box, 3000))
        self.assertEqual("green kept\n", self.s.sh(
            box, "echo $COLOUR $(cat $HOME/f)"))
        host = self.s.docker.inspect(
            self.s.container(box)["Id"])["HostConfig"]
        self.assertEqual((100 << 20, 99), (host["Memory"], host["PidsLimit"]))
        self.assertEqual([3000], self.s.get(box)["ports"])
        self.s.purge(box)

    def test_killed(self):
        self.made_again(self.s.docker.kill)

    def test_removed(self):
        self.made_again(self.s.docker.remove)

    def test_stopped(self):
        self.made_again(lambda c: self.s.docker.call(
            "POST", f"/containers/{c}/stop?t=0"))

    def test_removed_while_asleep(self):
        box = self.s.create_app(3000, ports=[3000], env={"COLOUR": "green"})
        self.s.stop_box(box)
        c = self.s.container(box)
        if c:
            self.s.docker.remove(c["Id"])
        self.status(200, self.s.preview(box, 3000))
        self.assertEqual("green\n", self.s.sh(box, "echo $COLOUR"))
        self.s.purge(box)

    def test_removed_while_holdfast_is_down(self):
        one, two = self.s.create_app(3000), self.s.create_app(3000)
        self.s.halt()
        self.s.docker.remove(self.s.container(one)["Id"])
        self.s.docker.kill(self.s.container(two)["Id"])
        self.s.start()
        for box in (one, two):
            self.status(200, self.s.preview(box, 3000))
            self.s.purge(box)

    def test_paused_by_somebody(self):
        box = self.s.create_app(3000)
        self.s.docker.call("POST",
                           f"/containers/{self.s.container(box)['Id']}/pause")
        self.status(200, self.s.preview(box, 3000))

        # The same while a request is inside.
        with ThreadPoolExecutor(1) as one:
            slow = one.submit(self.s.preview, box, 3000, "/slow?1500")
            until("it is inside", lambda: any(
                r["class"] == "http_inflight" for r in self.s.expect(
                    200, "GET", f"/v1/sandboxes/{box}/idle").json["because"]))
            self.s.docker.call("POST", f"/containers/"
                               f"{self.s.container(box)['Id']}/pause")
            self.status(200, slow.result())
        self.s.purge(box)

    def test_out_of_memory_does_not_lose_it(self):
        box = self.s.create_app(3000, memory_mb=64)
        self.s.exec(box, "tail -c 2000000000 /dev/zero", timeout_ms=30000)
        self.status(200, self.s.preview(box, 3000))
        self.s.purge(box)

    def test_containers_of_others_are_not_touched(self):
        mine = self.s.docker.create(
            f"foreign-{self.s.name}", Image="holdfast/test:latest",
            Cmd=["sleep", "1000"], HostConfig={"NetworkMode": "none"},
            Labels={"holdfast.id": "notyours", "holdfast.managed": "true",
                    "holdfast.stack": "else"})
        # The name that our container of this id would like to have.
        taken = self.s.docker.create(
            f"hf-{self.s.name}-squatter", Image="holdfast/test:latest",
            Cmd=["sleep", "1000"], HostConfig={"NetworkMode": "none"})
        try:
            self.s.docker.start(mine)
            self.s.docker.start(taken)
            self.s.restart()
            box = self.s.create(id="squatter")
            self.s.expect(404, "GET", "/sandbox/notyours")
            self.s.api("POST", "/sandbox/notyours/purge")
            self.s.purge(box)
            for c in (mine, taken):
                self.assertTrue(
                    self.s.docker.inspect(c)["State"]["Running"])
        finally:
            self.s.docker.remove(mine)
            self.s.docker.remove(taken)


class Disk(Case):
    """A data folder of 64 MB, that fills up."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s.halt()
        cls.s.small_disk(64)
        cls.s.configure(disk_reserve_percent=10)
        cls.s.start()

    def test_full_disk(self):
        box = self.s.create_app(3000)
        fill = f"{self.s.dir}/data/fill"
        with open(fill, "wb") as f:
            try:
                while True:
                    f.write(b"\0" * 65536)
                    f.flush()
            except OSError:
                pass
        def refused():
            return self.s.api("POST", "/v1/sandboxes", {})
        a = refused()
        self.assertIn(a.status, (503, 507), repr(a))
        self.assertIn("disk", a.json["error"]["message"])
        self.status(200, self.s.preview(box, 3000))
        self.status(200, self.s.api("GET", "/sandboxes"))
        ready = self.s.api("GET", "/readyz")
        self.status(503, ready)
        self.assertIn("disk", ready.text)
        os.unlink(fill)
        until("creates work again", lambda: refused().status == 201, 15)
        self.assertEqual(1, len([r for r in self.s.api(
            "GET", "/sandboxes").json if r["id"] == box]))
        self.s.wait_ready()


class Database(Case):
    def test_newer_database_is_refused(self):
        self.s.create(id="stays")
        self.s.halt()
        [path] = [f"{folder}/{n}" for folder, _, names in
                  os.walk(f"{self.s.dir}/data") for n in names
                  if n.endswith((".db", ".sqlite", ".sqlite3"))]
        with sqlite3.connect(path) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            db.execute("PRAGMA user_version = 999")
        db.close()
        self.s.start(ready=False)
        try:
            def told():
                return self.s.process.poll() is not None \
                    or "999" in self.s.logs()
            until("the start is refused", told)
            self.assertIn("999", self.s.logs())
            self.assertNotEqual(200, self.readyz())
        finally:
            self.s.halt()
        with sqlite3.connect(path) as db:
            self.assertEqual(999, db.execute(
                "PRAGMA user_version").fetchone()[0])
            db.execute(f"PRAGMA user_version = {version}")
        db.close()
        self.s.start()
        self.assertEqual("running", self.s.state("stays"))

    def readyz(self):
        try:
            return self.s.api("GET", "/readyz").status
        except OSError:
            return None
