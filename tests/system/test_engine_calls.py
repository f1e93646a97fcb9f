"""The keeper's engine against a real Docker, and against one that is slow,
gone, or says strange things (a proxy before the real one)."""

import os
import select
import shutil
import socket
import tempfile
import threading
import time
import unittest
import urllib.parse

from docker import Docker, engine_socket
from roles import Engine, Failed
from traces import until

IMAGE = "holdfast/small:latest"
STACK = "zeng"
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


class Proxy:
    """Before the engine's socket: can hold requests, and cut everything."""

    def __init__(self, path, real):
        self.path, self.real, self.hold, self.open = path, real, None, True
        self.pairs, self.held, self.go = [], 0, threading.Event()
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(64)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                a, _ = self.server.accept()
            except OSError:
                return
            if not self.open:
                a.close()
                continue
            b = socket.socket(socket.AF_UNIX)
            b.connect(self.real)
            self.pairs += [a, b]
            threading.Thread(target=self.pump, args=(a, b),
                             daemon=True).start()

    def pump(self, a, b):
        try:
            while True:
                for s in select.select([a, b], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    if s is a and self.hold and self.hold in data:
                        self.held += 1
                        self.go.wait(60)
                    # A client that has gone does not stop the request.
                    try:
                        (b if s is a else a).sendall(data)
                    except OSError:
                        if s is a:
                            return
        except (OSError, ValueError):
            pass
        finally:
            time.sleep(0.5)
            a.close()
            b.close()

    def cut(self):
        self.open = False
        pairs, self.pairs = self.pairs, []
        for s in pairs:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.go.set()
        self.cut()
        self.server.close()


class EngineCalls(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="holdfast-engine-")
        cls.docker = Docker(engine_socket())
        os.chmod(cls.dir, 0o755)
        for name in ("home", "logs"):
            os.mkdir(f"{cls.dir}/{name}")
        shutil.copy(f"{TOP}/build/guest", cls.dir)
        shutil.copy(f"{TOP}/lua-free-config/seccomp.json", cls.dir)
        with open(f"{cls.dir}/passwd", "w") as f:
            f.write("root:x:0:0::/:/bin/sh\n"
                    "sandbox:x:3900001:3900001::/home/sandbox:/bin/sh\n")
        for name in ("group", "resolv"):
            open(f"{cls.dir}/{name}", "w").close()
        os.chown(f"{cls.dir}/home", 3900001, 3900001)
        cls.proxy = Proxy(f"{cls.dir}/docker.sock", engine_socket())
        with open(f"{cls.dir}/conf", "w") as f:
            f.write(f"stack={STACK}\ndocker_socket={cls.dir}/docker.sock\n"
                    "start_timeout_s=2\n")
        cls.en = Engine(f"{cls.dir}/conf")
        cls.en.expect("BACK")

    @classmethod
    def tearDownClass(cls):
        try:
            cls.proxy.open = True
            cls.proxy.hold = None
            assert cls.en.close() == 0
        finally:
            for c in cls.ours():
                cls.docker.remove(c["Id"])
            cls.proxy.close()
            shutil.rmtree(cls.dir)

    @classmethod
    def ours(cls):
        return cls.docker.list(holdfast__stack=STACK)

    def create(self, box):
        self.en("ensure", IMAGE)
        ref = self.en("create", box, IMAGE, 128, self.dir)["ref"]
        self.addCleanup(self.docker.remove, ref)
        return ref

    def start(self, box):
        ref = self.create(box)
        return ref, self.en("start", ref)

    def refused(self, code, *words):
        with self.assertRaises(Failed) as f:
            self.en(*words)
        self.assertEqual(code, f.exception.code, str(f.exception))
        return str(f.exception)

    # ---- one container -----------------------------------------------------

    def test_life(self):
        ref, state = self.start("life")
        self.assertEqual("running", state["status"])
        self.assertGreater(int(state["pid"]), 1)
        self.assertEqual(state, self.en("start", ref))      # once more
        stats = self.en("stats", ref)
        self.assertEqual(128 << 20, int(stats["limit"]))
        self.assertGreater(int(stats["memory"]), 0)
        self.en("freeze", ref)
        self.en("freeze", ref)
        self.assertEqual("paused", self.en("inspect", ref)["status"])
        self.en("thaw", ref)
        self.en("thaw", ref)
        self.en("update", ref, 64)
        self.assertEqual(64 << 20, int(self.en("stats", ref)["limit"]))
        self.en("stop", ref, 0)
        self.en("stop", ref, 0)
        self.assertEqual("exited", self.en("inspect", ref)["status"])
        self.en("remove", ref)
        self.en("remove", ref)
        self.refused("not_found", "inspect", ref)
        self.refused("not_found", "start", ref)

    def test_events(self):
        ref, _ = self.start("events")
        self.en.expect(f"STARTED events {ref}")
        self.en("freeze", ref)
        self.en.expect(f"PAUSED events {ref}")
        self.en("thaw", ref)
        self.en.expect(f"UNPAUSED events {ref}")
        self.docker.kill(ref)
        self.assertTrue(self.en.expect("DIED events").endswith(" 137"))
        self.docker.remove(ref)
        self.en.expect(f"REMOVED events {ref}")

    def test_made_again_under_the_same_name(self):
        first = self.create("again")
        second = self.create("again")
        self.assertNotEqual(first, second)
        self.refused("not_found", "inspect", first)

    def test_a_stranger_of_that_name_is_not_touched(self):
        ref = self.docker.create(f"hf{STACK}-stranger", Image=IMAGE,
                                 Cmd=["x"])
        self.addCleanup(self.docker.remove, ref)
        self.en("ensure", IMAGE)
        self.refused("conflict", "create", "stranger", IMAGE, 128, self.dir)
        self.docker.inspect(ref)
        self.refused("not_found", "inspect", ref)
        self.assertNotIn(ref, self.list())

    def list(self):
        self.en("list")
        return self.en.last

    def test_list(self):
        a, b = self.create("lista"), self.create("listb")
        text = self.list()
        self.assertIn(f"id=lista ref={a}", text)
        self.assertIn(f"id=listb ref={b}", text)

    def test_side_by_side(self):
        self.en("ensure", IMAGE)
        tags = [self.en.send("create", f"many{i}", IMAGE, 64, self.dir)
                for i in range(12)]
        refs = [self.en.wait(t)["ref"] for t in tags]
        self.assertEqual(12, len(set(refs)))
        for t in [self.en.send("remove", r) for r in refs]:
            self.en.wait(t)

    def test_what_it_is_made_from(self):
        c = self.docker.inspect(self.create("made"))
        host = c["HostConfig"]
        self.assertEqual(["ALL"], host["CapDrop"])
        self.assertTrue(host["ReadonlyRootfs"])
        self.assertEqual("none", host["NetworkMode"])
        self.assertEqual("host", host["UsernsMode"])
        self.assertEqual(2 * host["Memory"], host["MemorySwap"])
        self.assertEqual("local", host["LogConfig"]["Type"])
        self.assertIsNone(host["Binds"])
        self.assertEqual({"Test": ["NONE"]}, c["Config"]["Healthcheck"])
        self.assertEqual(["/.holdfast/guest"], c["Config"]["Entrypoint"])

    def test_hostile_refs(self):
        for ref in ("../../info", "x%2f..", "UPPER", "a" * 200):
            self.refused("not_found", "inspect", ref)

    # ---- images ------------------------------------------------------------

    def image(self, name, script, changes=()):
        """An image made by running a script in IMAGE."""
        c = self.docker.create(f"hf{STACK}-make", Image=IMAGE,
                               Cmd=["/bin/sh", "-c", script], Entrypoint=[],
                               NetworkDisabled=True)
        try:
            self.docker.start(c)
            self.docker.call("POST", f"/containers/{c}/wait")
            q = "".join("&changes=" + urllib.parse.quote(x) for x in changes)
            self.docker.call("POST", f"/commit?container={c}&repo={name}"
                                     f"&tag=1{q}", {})
        finally:
            self.docker.remove(c)
        self.addCleanup(self.docker.call, "DELETE",
                        f"/images/{name}:1?force=1", ok=(200, 404))
        return f"{name}:1"

    def test_texts(self):
        got = self.en("texts", IMAGE)
        self.assertTrue(got["passwd"].split(":", 1)[1], got)
        image = self.image(f"hf{STACK}/links", (
            "rm -f /etc/passwd /etc/group; ln -s /etc/shadow /etc/passwd;"
            "echo secret >/etc/shadow; mkdir /etc/group"))
        got = self.en("texts", image)
        self.assertEqual(("0:", "0"), (got["passwd"], got["group"]))
        until("no probe is left", lambda: not self.docker.list(
            holdfast__probe="true", holdfast__stack=STACK))

    def test_volumes_are_covered(self):
        image = self.image(f"hf{STACK}/volumes", "true", (
            "VOLUME /data", "VOLUME /home/sandbox", "VOLUME /srv/x/y"))
        before = self.docker.call("GET", "/volumes")["Volumes"] or []
        self.en("ensure", image)
        ref = self.en("create", "vols", image, 128, self.dir)["ref"]
        self.addCleanup(self.docker.remove, ref)
        pid = self.en("start", ref)["pid"]
        with open(f"/proc/{pid}/mountinfo") as f:
            mounts = {x.split()[4]: x.split(" - ")[1].split()[0]
                      for x in f}
        self.assertEqual("tmpfs", mounts["/data"])
        self.assertEqual("tmpfs", mounts["/srv/x/y"])
        self.assertNotEqual("tmpfs", mounts["/home/sandbox"])
        self.en("remove", ref)
        after = self.docker.call("GET", "/volumes")["Volumes"] or []
        self.assertEqual(len(before), len(after))

    def test_no_such_image(self):
        self.refused("image_failed", "ensure", "127.0.0.1:1/nothing:1")
        for name in ("../x", "-x", "a//b", "a b".replace(" ", "%20")):
            self.refused("image_not_found", "ensure", name)

    def test_one_pull_for_many(self):
        """A registry that knows nothing, slowly."""
        with socket.create_server(("127.0.0.1", 0)) as registry:
            port = registry.getsockname()[1]
            count = []

            def serve():
                while True:
                    try:
                        s, _ = registry.accept()
                    except OSError:
                        return
                    s.settimeout(5)
                    try:
                        s.recv(4096)
                        count.append(1)
                        time.sleep(1)
                        s.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length:"
                                  b" 0\r\nConnection: close\r\n\r\n")
                    except OSError:
                        pass
                    s.close()
            threading.Thread(target=serve, daemon=True).start()
            tags = [self.en.send("ensure", f"127.0.0.1:{port}/x/y:1")
                    for _ in range(5)]
            codes = []
            for t in tags:
                with self.assertRaises(Failed) as f:
                    self.en.wait(t)
                codes.append(f.exception.code)
            self.assertEqual(1, len(set(codes)), codes)
            self.assertTrue(codes[0].startswith("image_"), codes)
            # Docker asks /v2/ once per pull (and once more without TLS).
            self.assertLessEqual(len(count), 4)

    # ---- an engine in trouble ----------------------------------------------

    def hold(self, what):
        self.proxy.go.clear()
        self.proxy.held = 0
        self.proxy.hold = what
        self.addCleanup(self.release)

    def release(self):
        self.proxy.hold = None
        self.proxy.go.set()

    def test_a_start_that_is_late_is_undone(self):
        ref = self.create("late")
        self.hold(b"/start")
        began = time.monotonic()
        self.refused("timeout", "start", ref)
        self.assertLess(time.monotonic() - began, 5)
        self.release()
        until("it is removed", lambda: not any(
            c["Id"] == ref for c in self.ours()))

    def test_a_create_that_is_late_is_undone(self):
        self.en("ensure", IMAGE)
        self.hold(b"/containers/create")
        tag = self.en.send("create", "tardy", IMAGE, 64, self.dir)
        until("it is on its way", lambda: self.proxy.held)
        with self.assertRaises(Failed) as f:
            self.en.wait(tag, 60)
        self.assertEqual("timeout", f.exception.code)
        self.release()
        until("it was made and is gone", self.gone("tardy"), 40)

    def gone(self, box):
        """A check: the sandbox's container was there and is no more."""
        seen = []

        def look():
            there = [c for c in self.ours()
                     if c["Labels"].get("holdfast.id") == box]
            seen.append(bool(there))
            return not there and any(seen)
        return look

    def test_lost_and_back(self):
        ref, _ = self.start("lost")
        while not self.en.news.empty():
            self.en.news.get()
        self.proxy.cut()
        self.assertTrue(self.en.expect("LOST"))
        self.refused("engine_unavailable", "inspect", ref)
        self.docker.kill(ref)           # while nobody listens
        self.proxy.open = True
        self.en.expect("BACK")
        self.assertTrue(self.en.expect("DIED lost").endswith(" 137"))
        self.assertEqual("exited", self.en("inspect", ref)["status"])
