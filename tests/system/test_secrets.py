"""A sandbox's env is nowhere in plain but in the sandbox."""

import glob
import os
import subprocess

from case import Case
from stack import processes

SECRET = "s3cr3t-value-nobody-may-see"
TOKEN = "token-that-nobody-may-see-1"


class Secrets(Case):
    settings = {"auth_tokens": f"root:{TOKEN}"}

    def files_with(self, text):
        """Files below the stack's folder that hold `text`."""
        found = []
        for folder, _, names in os.walk(self.s.dir):
            if f"{self.s.dir}/lib" in folder:
                continue
            for name in names:
                path = f"{folder}/{name}"
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                with open(path, "rb") as f:
                    if text.encode() in f.read():
                        found.append(path)
        return found

    def test_env(self):
        self.s.token = TOKEN
        argv = []
        box = self.s.create_app(env={"SECRET": SECRET})
        argv += [line for _, _, line in processes().values()]
        self.assertEqual(SECRET + "\n", self.s.sh(box, "echo $SECRET"))
        self.s.expect((200, 204), "PUT", f"/v1/sandboxes/{box}/env",
                      {"env": {"SECRET": SECRET, "OTHER": "1"}})
        argv += [line for _, _, line in processes().values()]
        self.assertFalse([a for a in argv if SECRET in a])

        docker = self.s.docker.inspect(self.s.container(box)["Id"])
        self.assertNotIn(SECRET, repr(docker))
        self.assertNotIn(SECRET, self.s.api("GET", f"/sandbox/{box}").text)
        self.assertNotIn(SECRET,
                         self.s.api("GET", f"/v1/sandboxes/{box}").text)
        self.assertNotIn(SECRET, self.s.api("GET", "/sandboxes").text)

        # In memory of processes that are ours it must be; environ is not it.
        for path in glob.glob("/proc/[0-9]*/environ"):
            pid = int(path.split("/")[2])
            try:
                with open(path, "rb") as f:
                    has = SECRET.encode() in f.read()
                cgroup = open(f"/proc/{pid}/cgroup").read()
            except OSError:
                continue
            self.assertTrue(not has or docker["Id"] in cgroup, path)

        self.s.stop_box(box)
        self.s.halt()
        self.assertEqual([], self.files_with(SECRET))
        self.s.start()
        self.assertEqual(SECRET + "\n", self.s.sh(box, "echo $SECRET"))

    def test_bad_env_is_not_repeated_in_errors_or_logs(self):
        self.s.token = TOKEN
        a = self.s.api("POST", "/v1/sandboxes",
                       {"env": {"A=B": SECRET}})
        self.status(400, a)
        self.assertNotIn(SECRET, a.text)
        self.assertEqual([], self.files_with(SECRET))

    def test_tokens(self):
        self.s.token = TOKEN
        self.s.api("GET", f"/sandboxes?token={TOKEN}x")
        self.s.api("GET", "/sandboxes", token=TOKEN + "-wrong")
        self.assertFalse([line for _, _, line in processes().values()
                          if TOKEN in line])
        self.assertEqual([self.s.conf], self.files_with(TOKEN + "\n"))
        mode = os.stat(f"{self.s.dir}/run/nginx/tokens").st_mode
        self.assertEqual(0o600, mode & 0o777)

    def test_other_users_of_the_host_see_no_data(self):
        self.s.token = TOKEN
        box = self.s.create()
        self.s.sh(box, "echo private > $HOME/f; chmod 777 $HOME $HOME/f")
        r = subprocess.run(
            ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups",
             "cat", f"{self.s.dir}/data/sandboxes/{box}/home/f"],
            capture_output=True)
        self.assertNotEqual(0, r.returncode)
        self.assertTrue(os.path.exists(
            f"{self.s.dir}/data/sandboxes/{box}/home/f"))
        for path in glob.glob(f"{self.s.dir}/data/**/*key*", recursive=True):
            self.assertEqual(0, os.stat(path).st_mode & 0o077, path)
