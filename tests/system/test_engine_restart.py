"""Docker itself restarts, or is killed, under us."""

import shutil
import subprocess

from case import Case, until
from docker import Docker, engine_socket
from stack import IMAGE, TOP, Stack

ALONE = True
LIMIT = 300
DIR = "/var/tmp/holdfast-engine"


def engine(*args):
    subprocess.run([f"{TOP}/tests/lib/engine", *args, DIR], check=True)


class EngineRestart(Case):
    seconds = 120

    @classmethod
    def setUpClass(cls):
        engine("start")
        try:
            with subprocess.Popen(
                    ["docker", "-H", f"unix://{engine_socket()}", "save",
                     IMAGE], stdout=subprocess.PIPE) as save:
                subprocess.run(
                    ["docker", "-H", f"unix://{DIR}/docker.sock", "load"],
                    stdin=save.stdout, check=True, capture_output=True)
            cls.settings = {"docker_socket": f"{DIR}/docker.sock"}
            cls.s = Stack(docker_socket=f"{DIR}/docker.sock")
        except BaseException:
            cls.clean()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.clean()

    @classmethod
    def clean(cls):
        engine("stop")
        shutil.rmtree(DIR, ignore_errors=True)

    def test_restart(self):
        box = self.s.create_app(3000, ports=[3000], env={"COLOUR": "green"})
        asleep = self.s.create_app(3000)
        self.s.stop_box(asleep)
        engine("stop")
        until("readyz says so", lambda: "docker" in self.s.readyz()
              and self.s.api("GET", "/readyz").status == 503)
        # What needs no engine goes on; what needs it says so at once.
        self.assertEqual(200, self.s.api("GET", f"/sandbox/{box}").status)
        a = self.s.api("POST", "/v1/sandboxes", {})
        self.assertEqual(503, a.status, repr(a))
        self.assertIsNotNone(a.headers["Retry-After"])
        engine("start")
        self.s.wait_ready()
        self.status(200, self.s.preview(box, 3000))
        self.assertEqual("green\n", self.s.sh(box, "echo $COLOUR"))
        self.status(200, self.s.preview(asleep, 3000))
        self.s.create()

    def test_a_visit_is_held_until_the_engine_is_back(self):
        box = self.s.create_app(3000, ports=[3000])
        self.s.stop_box(box)
        engine("stop")
        import threading
        got = []
        t = threading.Thread(
            target=lambda: got.append(self.s.preview(box, 3000)))
        t.start()
        engine("start")
        t.join(60)
        self.assertEqual(1, len(got))
        self.assertIn(got[0].status, (200, 503), repr(got[0]))
        self.s.wait_ready()
        self.status(200, self.s.preview(box, 3000))
