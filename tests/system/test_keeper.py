"""The keeper by itself, on its own sockets: operations, gates' lines, and what
is left when it, a container, a role or the disk dies at any moment. Roles are
run by hand (opsclient.Stack), so that each can be killed alone."""

import os
import random
import shutil
import socket
import struct
import subprocess
import tempfile
import unittest

from docker import engine_socket
from opsclient import OpError, Stack
from traces import until

LIMIT = 300
STACK = "zkp"


def docker(*argv):
    done = subprocess.run(["docker", "-H", "unix://" + engine_socket(),
                           *argv], capture_output=True, text=True)
    return done.stdout.strip()


def container(box):
    return docker("ps", "-aq", "--filter", "label=holdfast.stack=" + STACK,
                  "--filter", "label=holdfast.id=" + box)


class Base(unittest.TestCase):
    settings = {}

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="holdfast-keeper.", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.s = Stack(self.folder, {
            "docker_socket": engine_socket(), "stack": STACK,
            "addr_range": "198.19.224.0/20", "uid_base": "3100000",
            **self.settings})
        self.s.__enter__()
        self.addCleanup(self.s.__exit__)
        self.addCleanup(self.leave_nothing)
        self.s.ready()
        self.o = self.s.ops()

    def leave_nothing(self):
        left = docker("ps", "-aq", "--filter",
                      "label=holdfast.stack=" + STACK).split()
        if left:
            docker("rm", "-f", *left)

    def again(self):
        """kill -9 of the keeper, and a new one."""
        self.s.kill("keeper")
        self.s.start("keeper")
        self.o = self.s.ops()

    def fails(self, code, kind, **more):
        with self.assertRaises(OpError) as caught:
            self.o.do(kind, **more)
        self.assertEqual(caught.exception.code, code,
                         caught.exception.error)
        return caught.exception.error

    def rung(self, box):
        return self.o.do("status", sandbox=box)["answer"]["rung"]

    def home(self, box):
        return "%s/data/sandboxes/%s/home" % (self.folder, box)


class Operations(Base):
    def test_create_that_fails_leaves_nothing(self):
        self.fails("image_failed", "create",
                   args={"id": "kpno", "image": "holdfast/none:0"})
        self.fails("not_found", "wake", sandbox="kpno")
        self.assertEqual(os.listdir(self.folder + "/data/sandboxes"), [])
        self.assertEqual(container("kpno"), "")

    def test_idempotency(self):
        first = self.o.ask("create", args={"id": "kpi"}, idem="POST a",
                           idem_hash="1")
        self.fails("idempotency_in_progress", "create", args={"id": "kpi"},
                   idem="POST a", idem_hash="1")
        answer = self.o.answer(first)
        replay = self.o.do("create", args={"id": "kpi"}, idem="POST a",
                           idem_hash="1")
        self.assertTrue(replay["replayed"])
        self.assertEqual(replay["answer"], answer["answer"])
        self.fails("idempotency_mismatch", "create", args={"id": "kpi"},
                   idem="POST a", idem_hash="2")

    def test_kept_workspace_is_its_owners(self):
        self.o.do("create", args={"id": "kpw"})
        self.fails("exists", "create", args={"id": "kpw"})
        self.fails("not_found", "wake", sandbox="kpw", tenant="other")
        with open(self.home("kpw") + "/mine", "w") as f:
            f.write("kept")
        self.o.do("delete", sandbox="kpw")
        self.fails("workspace_owner_mismatch", "create", tenant="other",
                   args={"id": "kpw"})
        self.fails("image_failed", "create",
                   args={"id": "kpw", "image": "holdfast/none:0"})
        self.assertEqual(
            self.o.do("create", args={"id": "kpw"})["status"], 201)
        self.assertTrue(os.path.exists(self.home("kpw") + "/mine"))
        gone = self.o.do("purge", sandbox="kpw")["answer"]
        self.assertGreater(gone["freed_bytes"], 0)
        self.assertEqual(
            self.o.do("purge", sandbox="kpw")["answer"],
            {"purged": True, "freed_bytes": 0})

    def test_one_per_key(self):
        many = [self.s.ops() for _ in range(10)]
        for o in many:
            o.send("create", args={"key": "k", "by_key": True})
        got = [o.answer(o.recv()) for o in many]
        self.assertEqual(sorted(g["status"] for g in got), [200] * 9 + [201])
        self.assertEqual(len({g["answer"]["id"] for g in got}), 1)

    def test_told_to_stop_while_starting(self):
        self.o.do("create", args={"id": "kps"})
        self.o.do("stop", sandbox="kps")
        wake = self.o.ask("wake", sandbox="kps")
        stop = self.o.ask("stop", sandbox="kps")
        with self.assertRaises(OpError):
            self.o.answer(wake)
        self.assertEqual(self.o.answer(stop)["answer"]["state"], "stopped")

    def test_purge_of_a_hostile_tree(self):
        self.o.do("create", args={"id": "kph"})
        self.o.do("stop", sandbox="kph")
        home, uid = self.home("kph"), os.stat(self.home("kph")).st_uid
        secret = self.folder + "/secret"
        with open(secret, "w") as f:
            f.write("stays")
        made = subprocess.run(["setpriv", "--reuid", str(uid), "--regid",
                               str(uid), "--clear-groups", "/usr/bin/python3", "-c", """
import os, socket
for i in range(1500):
    os.mkdir("d"); os.chdir("d")
os.fchdir(top)
""".replace("for i", "top = os.open('.', 0)\nfor i") + """
os.symlink("/", "root"); os.symlink("%s", "link"); os.mkfifo("fifo")
os.mkdir("locked"); open("locked/f", "w").close(); os.chmod("locked", 0)
open(b"\\xff\\n", "w").close(); socket.socket(1).bind("sock")
""" % secret], cwd=home, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.o.do("purge", sandbox="kph")
        self.assertEqual(os.listdir(self.folder + "/data/sandboxes"), [])
        self.assertTrue(os.path.exists(secret))


class Gates(Base):
    def test_lines(self):
        self.o.do("create", args={
            "id": "kpg", "image": "holdfast/test:latest", "ports": [3000],
            "services": [{"name": "web", "port": 3000,
                          "cmd": ["/bin/app", "serve", "3000"]}]})
        g = self.s.gate()
        self.assertEqual(g.ask("kpg", 3000)[3:6], ["awake", "3000", "open4"])
        self.assertEqual(g.ask("kpg", 5999)[3:6], ["awake", "5999", "closed"])
        self.assertEqual(g.ask("nothere")[2:], ["0", "gone"])
        self.o.do("stop", sandbox="kpg")
        asleep = g.until("R kpg").split()
        self.assertEqual(asleep[3], "asleep")
        self.assertEqual(g.ask("kpg", 3000, "look")[3], "asleep")
        awake = g.ask("kpg", 3000, gen=int(asleep[2]))
        self.assertEqual(awake[3:6], ["awake", "3000", "open4"])
        self.assertGreater(int(awake[2]), int(asleep[2]))
        # It has forgotten the route and holds only a floor: a newer one.
        newer = g.ask("kpg", 3000, gen=int(awake[2]))
        self.assertGreater(int(newer[2]), int(awake[2]))

    def test_one_start_for_many(self):
        self.o.do("create", args={"id": "kpm"})
        self.o.do("stop", sandbox="kpm")
        gates = [self.s.gate(slot=i) for i in range(20)]
        for g in gates:
            g.say("W kpm 0 wake 0")
        for g in gates:
            self.assertIn(" awake ", g.until("A kpm"))
        self.assertEqual(self.s.log().count("kpm want: stopped -> starting"),
                         1)

    def test_higher_generation_is_a_new_epoch(self):
        first = self.s.gate()
        epoch = int(first.hello.split()[3])
        second = self.s.gate(gen=5000, epoch=epoch)
        self.assertGreater(int(second.hello.split()[3]), epoch)
        self.assertEqual(int(second.hello.split()[4]), 5000)
        with self.assertRaises(ConnectionError):
            first.line()

    def test_nonsense(self):
        x = socket.socket(socket.AF_UNIX)
        x.connect(self.s.run + "/keeper.sock")
        x.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(x.recv(1), b"")
        self.assertEqual(self.o.ask("nokind")["error"]["status"], 400)


class Deaths(Base):
    def test_container_killed_removed_pruned(self):
        self.o.do("create", args={"id": "kpd"})
        g = self.s.gate()
        for way in (["kill"], ["rm", "-f"]):
            self.assertEqual(g.ask("kpd")[3], "awake")
            docker(*way, container("kpd"))
            self.assertIn("asleep", g.until("R kpd"))
        self.assertEqual(g.ask("kpd")[3], "awake")
        self.o.do("stop", sandbox="kpd")
        docker("rm", container("kpd"))
        self.assertEqual(g.ask("kpd")[3], "awake")

    def test_always_on_comes_back(self):
        self.o.do("create", args={"id": "kpo", "idle_policy": "always_on"})
        was = container("kpo"), self.o.do("status",
                                          sandbox="kpo")["answer"]["pid"]
        docker("kill", was[0])
        until("running again", lambda: self.rung("kpo") == "running" and
              self.o.do("status", sandbox="kpo")["answer"]["pid"] != was[1],
              20)

    def test_keeper_restarts_beside_running_ones(self):
        self.o.do("create", args={"id": "kpr"})
        before = self.s.gate().ask("kpr")
        pid = self.o.do("status", sandbox="kpr")["answer"]["pid"]
        self.again()
        self.assertEqual(self.s.gate().ask("kpr"), before)
        self.assertEqual(
            self.o.do("status", sandbox="kpr")["answer"]["pid"], pid)
        # All containers died while no keeper was there, as in a reboot.
        self.s.kill("keeper")
        docker("kill", container("kpr"))
        self.s.start("keeper")
        self.assertEqual(self.s.gate().ask("kpr")[3], "awake")

    def test_kill_in_the_middle(self):
        for i in range(8):
            op = self.o.ask("create", args={"id": "kpk%d" % i})
            subprocess.run(["sleep", "%.3f" % (random.random() * 0.25)])
            self.again()
            self.assertEqual(self.o.answer(op)["status"], 201)
        for kind, status in (("stop", 200), ("wake", 200), ("delete", 204),
                             ("purge", 200)):
            for i in range(3):
                op = self.o.ask(kind, sandbox="kpk%d" % i)
                subprocess.run(["sleep", "%.3f" % (random.random() * 0.1)])
                self.again()
                self.assertEqual(self.o.answer(op)["status"], status)
        left = sorted(os.listdir(self.folder + "/data/sandboxes"))
        self.assertEqual(left, ["kpk%d" % i for i in range(3, 8)])

    def test_door_and_net_restart(self):
        self.o.do("create", args={"id": "kpn"})
        g = self.s.gate()
        gen = int(g.ask("kpn")[2])
        self.s.kill("net")
        self.s.start("net")
        self.s.kill("door")
        self.s.start("door")

        def sockets():
            d = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            d.connect(self.s.run + "/door.sock")
            d.send(struct.pack("IBBxxQ48s", 1, 1, 1, gen, b"kpn"))
            _, fds, _, _ = socket.recv_fds(d, 64, 2)
            for fd in fds:
                os.close(fd)
            d.close()
            return len(fds)
        until("the door knows it again", lambda: sockets() == 1, 10)
        self.o.do("stop", sandbox="kpn")
        self.assertEqual(g.ask("kpn")[3], "awake")


class FullDisk(Base):
    def setUp(self):
        self.disk = tempfile.mkdtemp(prefix="holdfast-disk.", dir="/tmp")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs",
                        self.disk], check=True)
        self.addCleanup(os.rmdir, self.disk)
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk])
        self.settings = {"data_dir": self.disk}
        super().setUp()

    def test_full(self):
        self.o.do("create", args={"id": "kpf"})
        self.o.do("stop", sandbox="kpf")
        fill = open(self.disk + "/fill", "wb", buffering=0)
        with self.assertRaises(OSError):
            while True:
                fill.write(b"x" * 65536)
        self.fails("disk_full", "create", args={"id": "kpf2"})
        self.fails("disk_full", "keepalive", sandbox="kpf")
        g = self.s.gate()           # what is there works on
        self.assertEqual(g.ask("kpf")[3], "awake")
        self.assertEqual(
            self.o.do("stop", sandbox="kpf")["answer"]["state"], "stopped")
        fill.close()
        os.unlink(self.disk + "/fill")
        self.assertEqual(
            self.o.do("create", args={"id": "kpf2"})["status"], 201)


if __name__ == "__main__":
    unittest.main()
