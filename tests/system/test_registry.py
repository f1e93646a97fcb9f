"""Images of one's own, from a registry (Debian's docker-registry)."""

import shutil
import socket
import subprocess
import tempfile
import unittest

from case import Case, until

PROGRAM = shutil.which("docker-registry")


@unittest.skipUnless(PROGRAM, "docker-registry is not installed")
class Registry(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="holdfast-registry-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            cls.port = free.getsockname()[1]
        with open(f"{cls.folder}/config.yml", "w") as f:
            f.write(f"version: 0.1\nstorage:\n  filesystem:\n"
                    f"    rootdirectory: {cls.folder}/data\n"
                    f"http:\n  addr: 127.0.0.1:{cls.port}\n")
        cls.registry = subprocess.Popen(
            [PROGRAM, "serve", f"{cls.folder}/config.yml"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            until("the registry answers", cls.answers)
            super().setUpClass()
        except BaseException:
            cls.end()
            raise

    @classmethod
    def answers(cls):
        try:
            socket.create_connection(("127.0.0.1", cls.port), 1).close()
            return True
        except OSError:
            return False

    @classmethod
    def end(cls):
        cls.registry.kill()
        cls.registry.wait()
        shutil.rmtree(cls.folder, ignore_errors=True)

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.end()

    def push(self, name, dockerfile_changes=()):
        """An image that only the registry has."""
        image = f"127.0.0.1:{self.port}/{name}"
        c = self.s.docker.create(f"push-{self.s.name}",
                                 Image="holdfast/test:latest", Cmd=["x"])
        run = ["docker", "-H", f"unix://{self.s.docker.path}"]
        try:
            changes = sum((["-c", x] for x in dockerfile_changes), [])
            for args in (["commit", *changes, c, image], ["push", image],
                         ["rmi", image]):
                subprocess.run(run + args, check=True, capture_output=True)
        finally:
            self.s.docker.remove(c)
        return image

    def test_pull_and_run_its_command(self):
        image = self.push("team/own:1", (
            'ENTRYPOINT ["/bin/app"]', 'CMD ["serve","4000"]',
            "ENV FROM_IMAGE=yes", "VOLUME /var/lib/stuff",
            "HEALTHCHECK CMD touch /tmp/health", "USER 1234"))
        box = self.s.create(image=image, ports=[4000])
        self.status(200, self.s.preview(box, 4000))
        self.assertEqual("yes\n", self.s.sh(box, "echo $FROM_IMAGE"))
        self.assertEqual("no\n", self.s.sh(
            box, "[ -e /tmp/health ] && echo yes || echo no"))
        self.assertEqual(image, self.s.get(box)["image"])
        row = self.s.expect(200, "GET", f"/sandbox/{box}").json["row"]
        self.assertEqual(image, row["image"])
        self.s.purge(box)
        volumes = self.s.docker.call("GET", "/volumes")["Volumes"]
        self.assertFalse(volumes)

    def test_image_that_is_nowhere(self):
        for image in (f"127.0.0.1:{self.port}/no/such:1",
                      "127.0.0.1:1/nobody/listens:1"):
            a = self.s.api("POST", "/v1/sandboxes", {"image": image})
            self.assertIn(a.status, (422, 503), repr(a))
            self.assertIn("image", a.json["error"]["message"])
            rows = self.s.expect(200, "GET", "/sandboxes").json
            self.assertEqual([], [r["id"] for r in rows
                                  if r["image"] == image])

    def test_bad_names(self):
        for image in ("", "UPPER/Case", "a b", "-x", "x:tag with space",
                      "../etc", "a" * 600, "x@sha256:123", "http://x/y"):
            a = self.s.api("POST", "/v1/sandboxes", {"image": image})
            self.assertEqual(400, a.status, f"{image!r} {a!r}")
