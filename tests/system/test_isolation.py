"""What code in a sandbox can reach, and what it cannot.

Every "cannot" has its counterpart that can: the same listener is reached
from the host, so a test that is green has seen the wall and not a typo.
"""

import re
import socket
import subprocess

from case import Case, until
from outside import Outside


class Isolation(Case):
    seconds = 90

    @classmethod
    def setUpClass(cls):
        cls.out = Outside()
        cls.out.__enter__()
        cls.settings = {"dns": cls.out.public, "pids_default": 128}
        try:
            super().setUpClass()
            cls.one = cls.s.create_app(3000, ports=[3000])
            cls.two = cls.s.create(services=[{
                "name": "app", "cmd": ["/bin/app", "serve", "3000",
                                       "0.0.0.0"], "port": 3000}])
        except BaseException:
            cls.out.close()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            super().tearDownClass()
        finally:
            cls.out.close()

    def connect(self, box, address, port, ms=1500):
        return self.s.exec(box, ["/bin/app", "connect", address, str(port),
                                 str(ms)])["stdout"].strip()

    def addresses(self, box):
        text = self.s.sh(box, "ip -4 addr")
        return [a for a in re.findall(r"inet ([\d.]+)", text)
                if a != "127.0.0.1"]

    # ---- the network -------------------------------------------------------

    def test_the_way_out(self):
        self.assertEqual("open", self.connect(self.one, self.out.public, 80))
        # busybox' wget looks no names up, its nslookup does.
        self.assertIn(self.out.public, self.s.sh(
            self.one, "nslookup some.name.test").split("some.name.test")[1])
        for scheme in ("http", "https"):
            self.assertEqual("outside\n", self.s.sh(
                self.one, f"wget -q -O - {scheme}://{self.out.public}/"))

    def test_own_loopback(self):
        self.assertEqual("open", self.connect(self.one, "127.0.0.1", 3000))

    def test_neighbours(self):
        [address] = self.addresses(self.two)
        self.assertEqual("open", self.connect(self.two, address, 3000))
        self.assertNotEqual("open", self.connect(self.one, address, 3000))
        names = self.s.sh(self.one, "cat /etc/hosts; hostname")
        self.assertNotIn(self.two, names)
        self.assertNotIn(address, names)
        # UDP and ping neither.
        self.assertNotEqual(0, self.s.exec(
            self.one, f"ping -c 1 -W 1 {address}")["exit_code"])

    def test_private_and_metadata_addresses(self):
        for address in (self.out.private, self.out.metadata):
            socket.create_connection((address, 80), 2).close()
            self.assertNotEqual("open",
                                self.connect(self.one, address, 80), address)

    def test_the_host(self):
        listener = socket.create_server(("0.0.0.0", 0), backlog=50)
        port = listener.getsockname()[1]
        out = subprocess.check_output(["ip", "-4", "-o", "addr"], text=True)
        own = [a for a in re.findall(r"inet ([\d.]+)", out)
               if not a.startswith("127.")]
        gateway = re.findall(r"default via ([\d.]+)",
                             self.s.sh(self.one, "ip route"))
        self.assertTrue(own and gateway)
        with listener:
            for address in own:
                socket.create_connection((address, port), 2).close()
            api = int(self.s.api_address.split(":")[1])
            preview = int(self.s.preview_address.split(":")[1])
            for address in set(own + gateway):
                for p in (port, api, preview, 22):
                    self.assertNotEqual(
                        "open", self.connect(self.one, address, p, 400),
                        f"{address}:{p}")
            self.assertEqual("refused",
                             self.connect(self.one, "127.0.0.1", api))

    def test_ipv6_is_off(self):
        self.assertNotIn("inet6 f", self.s.sh(self.one, "ip addr"))

    # ---- the kernel --------------------------------------------------------

    def test_what_user_code_must_not_do(self):
        lines = self.s.sh(self.one, ["/bin/app", "try"]).splitlines()
        self.assertGreater(len(lines), 45)
        let_through = [line for line in lines if line.split()[1] in (
            "ALLOWED", "EFAULT", "EBADF", "EINVAL")]
        self.assertEqual([], let_through)

    def test_who_it_is(self):
        status = dict(
            line.split(":", 1)
            for line in self.s.sh(self.one, "cat /proc/self/status")
            .splitlines())
        uid = int(status["Uid"].split()[0])
        base = self.s.settings["uid_base"]
        self.assertTrue(base <= uid < base + 20000, uid)
        self.assertEqual({str(uid)}, set(status["Uid"].split()))
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(0, int(status[name], 16), name)
        self.assertEqual("1", status["NoNewPrivs"].strip())
        self.assertEqual("2", status["Seccomp"].strip())
        self.assertEqual("", status["Groups"].strip().replace(str(uid), ""))
        other = self.s.sh(self.two, "id -u").strip()
        self.assertNotEqual(uid, int(other))
        self.assertEqual("sandbox\n", self.s.sh(self.one, "id -un"))

    def test_where_it_can_write(self):
        out = self.s.sh(
            self.one,
            "for d in / /bin /sbin /etc /usr /usr/bin /home /root /var /opt "
            "/srv /dev /sys /proc /.holdfast /.holdfast/logs /run /mnt; do "
            "( : > $d/own ) 2>/dev/null && echo $d; done; true")
        self.assertEqual("", out)
        self.s.sh(self.one, "for d in /tmp /var/tmp $HOME /dev/shm; do "
                            ": > $d/own || exit 1; done")

    def test_program_in_tmp_runs(self):
        self.assertEqual("yes\n", self.s.sh(
            self.one, "printf '#!/bin/sh\\necho yes\\n' > /tmp/p;"
                      "chmod +x /tmp/p; /tmp/p"))

    def test_nothing_of_the_host_is_named(self):
        text = self.s.sh(self.one, "cat /proc/mounts /etc/resolv.conf "
                                   "/etc/hosts; env; hostname")
        self.assertNotIn(socket.gethostname(), text)
        self.assertNotIn("docker.sock", text)

    # ---- neighbours' share -------------------------------------------------

    def starve(self, what):
        """How much a sandbox gets alone, and while another holds all."""
        alone = int(self.s.sh(self.two, ["/bin/app", what]))
        self.s.sh(self.one, f"/bin/app {what} hold > /tmp/{what} & "
                            f"until [ -s /tmp/{what} ]; do :; done")
        taken = int(self.s.sh(self.one, f"cat /tmp/{what}"))
        still = int(self.s.sh(self.two, ["/bin/app", what]))
        self.s.exec(self.one, "killall app; true")
        self.assertGreater(taken, 0)
        return alone, still

    def test_inotify(self):
        alone, still = self.starve("inotify")
        self.assertGreater(alone, 50)
        self.assertEqual(alone, still)

    def test_pipes(self):
        alone, still = self.starve("pipes")
        self.assertGreater(alone, 5)
        self.assertEqual(alone, still)

    def test_signals(self):
        alone, still = self.starve("signals")
        self.assertGreater(alone, 100)
        self.assertEqual(alone, still)

    def test_fork_bomb(self):
        box = self.s.create(pids=64)
        r = self.s.exec(box, "(f() { f | f & }; f) 2>/dev/null &"
                             " while :; do :; done",
                        timeout_ms=3000)
        self.assertTrue(r["timed_out"])
        until("the sandbox can fork again", lambda: self.s.exec(
            box, "true")["exit_code"] == 0)
        self.assertEqual("2\n", self.s.sh(self.two, "echo 2"))
        self.s.purge(box)

    def test_memory_hog(self):
        box = self.s.create(memory_mb=64)
        r = self.s.exec(box, "tail -c 2000000000 /dev/zero", timeout_ms=30000)
        self.assertNotEqual(0, r["exit_code"])
        until("the sandbox answers", lambda: self.s.api(
            "POST", f"/v1/sandboxes/{box}/exec",
            {"cmd": ["true"]}).status == 200)
        self.s.purge(box)

    def test_container(self):
        """What the container is made of: SANDBOX rules, as Docker has it."""
        d = self.s.docker.inspect(self.s.container(self.one)["Id"])
        host, config = d["HostConfig"], d["Config"]
        self.assertEqual("none", host["NetworkMode"])
        self.assertIs(True, host["ReadonlyRootfs"])
        self.assertIs(False, host["Privileged"])
        self.assertEqual(["ALL"], host["CapDrop"])
        self.assertEqual({"KILL", "SETGID", "SETPCAP", "SETUID"},
                         {c.removeprefix("CAP_") for c in host["CapAdd"]})
        self.assertIn("no-new-privileges", host["SecurityOpt"])
        self.assertTrue([o for o in host["SecurityOpt"]
                         if o.startswith("seccomp={")])
        self.assertEqual("private", host["IpcMode"])
        self.assertEqual(2 * host["Memory"], host["MemorySwap"])
        self.assertEqual(["NONE"], config["Healthcheck"]["Test"])
        image = self.s.docker.call("GET", f"/images/{d['Image']}/json")
        self.assertEqual(image["Config"]["Env"], config["Env"])
        self.assertFalse(host["Binds"])
