"""The network of a sandbox by its two roles alone, net and door, around real
containers: what reaches what, and what happens when somebody meddles."""

import ctypes
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

from docker import Docker, engine_socket
from outside import NAME as OUTSIDE, Outside
from roles import TOP, Door, Engine, Net
from traces import until

ALONE = True                    # the outside has fixed addresses

IMAGE = "holdfast/test:latest"
STACK = "znet"
ONE, TWO = "198.19.240.2", "198.19.240.3"
UID = 3900002
EPERM, ENOENT, EINVAL, ENETDOWN = 1, 2, 22, 100


def run(*args, **more):
    return subprocess.run(args, text=True, capture_output=True, **more)


class NetDoor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = []
        try:
            cls.open()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def later(cls, function, *args):
        cls.stack.append((function, args))

    @classmethod
    def tearDownClass(cls):
        while cls.stack:
            function, args = cls.stack.pop()
            function(*args)

    @classmethod
    def open(cls):
        cls.dir = tempfile.mkdtemp(prefix="holdfast-net-")
        cls.later(shutil.rmtree, cls.dir)
        os.chmod(cls.dir, 0o755)
        cls.docker = Docker(engine_socket())
        cls.out = Outside()
        cls.out.__enter__()
        cls.later(cls.out.close)
        conf = f"{cls.dir}/conf"
        with open(conf, "w") as f:
            f.write(f"stack={STACK}\ndocker_socket={engine_socket()}\n"
                    f"addr_range=198.19.240.0/24\ndns={cls.out.public}\n"
                    "conns_max=40\nnofile=4096\n")
        cls.later(cls.sweep)
        cls.net = Net(conf, cls.dir)
        cls.later(cls.net.close)
        cls.door = Door(conf, cls.dir)
        cls.later(cls.door.close)
        assert cls.net.check() == (0, "", None)
        cls.engine = Engine(conf)
        cls.later(cls.engine.close)
        cls.one = cls.box("one", 1, ONE)
        cls.two = cls.box("two", 2, TWO)

    @classmethod
    def sweep(cls):
        for c in cls.docker.list(holdfast__stack=STACK):
            cls.docker.remove(c["Id"])
        for name in os.listdir("/sys/class/net"):
            if name.startswith(f"hf{STACK}-"):
                run("ip", "link", "delete", name)
        run("nft", "delete", "table", "inet", f"holdfast_{STACK}")

    @classmethod
    def box(cls, name, number, addr):
        folder = f"{cls.dir}/{name}"
        for part in ("", "/home", "/logs"):
            os.mkdir(folder + part)
        shutil.copy(f"{TOP}/build/guest", folder)
        shutil.copy(f"{TOP}/lua-free-config/seccomp.json", folder)
        with open(f"{folder}/passwd", "w") as f:
            f.write(f"root:x:0:0::/:/bin/sh\nsandbox:x:{UID}:{UID}::"
                    "/home/sandbox:/bin/sh\n")
        open(f"{folder}/group", "w").close()
        with open(f"{folder}/resolv", "w") as f:
            f.write(f"nameserver {cls.out.public}\n")
        os.chown(f"{folder}/home", UID, UID)
        cls.engine("ensure", IMAGE)
        ref = cls.engine("create", name, IMAGE, 128, folder)["ref"]
        pid = int(cls.engine("start", ref)["pid"])
        error, text, ns = cls.net.make(pid, number, addr)
        assert error == 0, text
        assert cls.door.add(name, 1, ns) == 0
        os.close(ns)
        return {"name": name, "ref": ref, "pid": pid, "addr": addr,
                "number": number}

    def user(self, box, *command):
        """Runs as user code does: the sandbox's uid, no capability."""
        return run("docker", "-H", f"unix://{engine_socket()}", "exec", "-u",
                   f"{UID}:{UID}", box["ref"], *command).stdout

    def connect(self, box, address, port, ms=700):
        return self.user(box, "/bin/app", "connect", address, str(port),
                         str(ms)).strip()

    def inside(self, box, *command):
        """As root in the sandbox's network, with the host's programs."""
        return run("nsenter", "-t", str(box["pid"]), "-n", *command)

    def serve(self, box, port, address="127.0.0.1"):
        p = subprocess.Popen(
            ["docker", "-H", f"unix://{engine_socket()}", "exec", "-u",
             f"{UID}:{UID}", box["ref"], "/bin/app", "serve", str(port),
             address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        until("the app listens", lambda: f":{port} " in self.inside(
            box, "ss", "-ltn").stdout)

    # ---- the way out, and what is no way ------------------------------------

    def test_the_way_out(self):
        self.assertEqual("open", self.connect(self.one, self.out.public, 80))
        self.assertIn("outside", self.user(
            self.one, "wget", "-q", "-O", "-", "http://some.name.test/"))

    def test_walls(self):
        self.assertEqual("open", self.connect(self.one, self.out.public, 80))
        # Not those of other stacks, which come and go.
        host = {a for i, a in re.findall(
            r"^\d+: (\S+) +inet ([\d.]+)", run("ip", "-4", "-o",
                                               "addr").stdout, re.M)
            if i == f"hf{STACK}-1" or not i.startswith("hf")}
        host -= {"127.0.0.1", "203.0.113.1"}
        self.assertGreaterEqual(len(host), 2)
        listener = socket.create_server(("0.0.0.0", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        for address in host | {"203.0.113.1"}:
            socket.create_connection((address, port), 1).close()
            self.assertNotEqual("open", self.connect(self.one, address,
                                                     port), address)
        self.serve(self.two, 4000, "0.0.0.0")
        self.assertIn("200", self.inside(
            self.two, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
            f"http://{TWO}:4000/").stdout)
        self.assertNotEqual("open", self.connect(self.one, TWO, 4000))
        for address in (self.out.private, self.out.metadata):
            socket.create_connection((address, 80), 1).close()
            self.assertNotEqual("open", self.connect(self.one, address, 80))

    def test_mail_is_shut(self):
        mail = subprocess.Popen(
            ["ip", "netns", "exec", OUTSIDE, "/usr/bin/python3", "-c",
             "import socket\ns = socket.create_server(('', 25))\n"
             "while 1: s.accept()[0].close()"])
        self.addCleanup(mail.wait)
        self.addCleanup(mail.kill)

        def up():
            try:
                socket.create_connection((self.out.public, 25), 1).close()
                return True
            except OSError:
                return False
        until("the mail server listens", up)
        self.assertNotEqual("open", self.connect(self.one, self.out.public,
                                                 25))

    def test_a_false_source_address(self):
        """Even root in there, which nobody is, cannot be somebody else."""
        self.inside(self.one, "ip", "addr", "add", f"{TWO}/32", "dev", "eth0")
        try:
            r = self.inside(self.one, "curl", "-s", "--interface", TWO, "-m",
                            "1", f"http://{self.out.public}/")
            self.assertNotIn("outside", r.stdout)
            r = self.inside(self.one, "curl", "-s", "--interface", ONE, "-m",
                            "5", f"http://{self.out.public}/")
            self.assertIn("outside", r.stdout)
        finally:
            self.inside(self.one, "ip", "addr", "del", f"{TWO}/32", "dev",
                        "eth0")

    def test_connections_have_a_limit(self):
        code = ("import socket,sys\nheld=[]\n"
                "for i in range(60):\n"
                " s=socket.socket(); s.settimeout(0.15)\n"
                " try: s.connect((sys.argv[1],80)); held.append(s)\n"
                " except OSError: pass\nprint(len(held))")
        n = int(self.inside(self.two, "python3", "-c", code,
                            self.out.public).stdout)
        self.assertLessEqual(n, 41)
        self.assertGreater(n, 20)
        self.assertEqual("open", self.connect(self.one, self.out.public, 80))

    def test_ipv6_is_loopback_only(self):
        text = self.inside(self.one, "ip", "-6", "addr").stdout
        self.assertEqual(["::1/128"], re.findall(r"inet6 (\S+)", text))
        host = run("ip", "-6", "addr", "show", f"hf{STACK}-1").stdout
        self.assertNotIn("inet6", host)

    def test_user_code_is_refused(self):
        text = self.user(self.one, "/bin/app", "try")
        got = dict(x.split(" ", 1) for x in text.splitlines())
        self.assertEqual([], [k for k, v in got.items() if v == "ALLOWED"])
        for name, error in (("io-uring", "ENOSYS"), ("keyctl", "ENOSYS"),
                            ("add-key", "ENOSYS"), ("vsock", "EPERM"),
                            ("alg", "EPERM"), ("raw-packet", "EPERM"),
                            ("unshare-user", "EPERM"), ("bpf", "EPERM"),
                            ("userfaultfd", "EPERM"), ("perf", "EPERM"),
                            ("handle", "EPERM"), ("fanotify", "EPERM")):
            self.assertEqual(error, got[name], name)

    # ---- make and drop ------------------------------------------------------

    def test_make_again_keeps_connections(self):
        code = ("import socket,sys\n"
                "s=socket.create_connection((sys.argv[1],80),5)\n"
                "print('in',flush=True)\nsys.stdin.readline()\n"
                "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
                "print(s.recv(100)[:15].decode(),flush=True)")
        p = subprocess.Popen(
            ["nsenter", "-t", str(self.one["pid"]), "-n", "/usr/bin/python3", "-c",
             code, self.out.public], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        self.assertEqual("in\n", p.stdout.readline())
        error, text, ns = self.net.make(self.one["pid"], 1, ONE)
        self.assertEqual((0, ""), (error, text))
        os.close(ns)
        out, _ = p.communicate("\n", timeout=10)
        self.assertEqual("HTTP/1.0 200 OK\n", out)

    def test_half_made_is_completed(self):
        self.inside(self.two, "ip", "route", "flush", "default")
        run("ip", "addr", "flush", "dev", f"hf{STACK}-2")
        self.assertNotEqual("open", self.connect(self.two, self.out.public,
                                                 80))
        error, text, ns = self.net.make(self.two["pid"], 2, TWO)
        os.close(ns)
        self.assertEqual("open", self.connect(self.two, self.out.public, 80))

    def test_drop_and_make(self):
        self.assertEqual(0, self.net.drop(2)[0])
        self.assertEqual(0, self.net.drop(2)[0])
        self.assertFalse(os.path.exists(f"/sys/class/net/hf{STACK}-2"))
        began = time.monotonic()
        error, text, ns = self.net.make(self.two["pid"], 2, TWO)
        print(f"make: {(time.monotonic() - began) * 1000:.1f} ms")
        self.assertEqual((0, ""), (error, text))
        os.close(ns)
        self.assertEqual("open", self.connect(self.two, self.out.public, 80))

    def test_refused(self):
        self.assertEqual(EPERM, self.net.make(os.getpid(), 9,
                                              "198.19.240.9")[0])
        child = subprocess.Popen(["unshare", "-n", "sleep", "60"])
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        until("it has a network of its own", lambda: os.readlink(
            f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
        self.assertEqual(EPERM, self.net.make(child.pid, 9,
                                              "198.19.240.9")[0])
        for pid in (0, 1, -5, 999999999):
            self.assertNotEqual(0, self.net.make(pid, 9, "198.19.240.9")[0])
        for addr in ("198.19.240.0", "198.19.240.255", "8.8.8.8"):
            self.assertNotEqual(0, self.net.make(self.one["pid"], 9, addr)[0])
        self.assertEqual(EINVAL, self.net.call(77)[0])
        self.assertFalse(os.path.exists(f"/sys/class/net/hf{STACK}-9"))

    # ---- meddling -----------------------------------------------------------

    def table(self):
        return run("nft", "list", "table", "inet", f"holdfast_{STACK}").stdout

    def test_rules_are_put_back(self):
        good = self.table()
        self.assertIn("@private4 drop", good)
        for what in (["delete", "table", "inet", f"holdfast_{STACK}"],
                     ["flush", "chain", "inet", f"holdfast_{STACK}",
                      "forward"],
                     ["delete", "element", "inet", f"holdfast_{STACK}",
                      "private4", "{ 10.0.0.0/8 }"],
                     ["add", "element", "inet", f"holdfast_{STACK}",
                      "resolvers4", "{ 10.9.9.9 }"],
                     ["insert", "rule", "inet", f"holdfast_{STACK}",
                      "forward", "accept"]):
            self.assertEqual(0, run("nft", *what).returncode, what)
            self.assertNotEqual(good, self.table())
            self.assertEqual(0, self.net.check()[0])
            self.assertEqual(good, self.table(), what)

    def test_no_rules_no_sandbox(self):
        """A table that somebody else owns: not proven, so nothing starts."""
        table = f"holdfast_{STACK}"
        run("nft", "delete", "table", "inet", table)
        owner = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE,
                                 stdout=subprocess.DEVNULL, text=True)
        try:
            owner.stdin.write(f"add table inet {table} {{ flags owner; }}\n")
            owner.stdin.flush()
            until("it has the table", lambda: "owner" in self.table())
            error, text, _ = self.net.check()
            self.assertEqual(ENETDOWN, error)
            self.assertTrue(text)
            error, text, _ = self.net.make(self.one["pid"], 1, ONE)
            self.assertEqual(ENETDOWN, error)
        finally:
            owner.stdin.close()
            owner.wait()
        self.assertEqual(0, self.net.check()[0])
        error, text, ns = self.net.make(self.one["pid"], 1, ONE)
        self.assertEqual((0, ""), (error, text))
        os.close(ns)

    def test_wrong_packets(self):
        for role, name in ((self.net, "net.sock"), (self.door, "door.sock"),
                           (self.door, "doorctl.sock")):
            for packet in (b"x", b"x" * 500):
                s = role.connect(name)
                s.send(packet)
                self.assertEqual(b"", s.recv(100), name)
                s.close()

    # ---- the door -----------------------------------------------------------

    def test_door_reaches_the_app(self):
        self.serve(self.one, 3000)
        error, socks = self.door.sockets("one", 1, Door.INET, 8)
        self.assertEqual((0, 8), (error, len(socks)))
        for s in socks:
            s.settimeout(5)
            s.bind(("127.0.0.2", 0))
            s.connect(("127.0.0.1", 3000))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertTrue(s.recv(100).startswith(b"HTTP/1."))
            s.close()
        _, (s,) = self.door.sockets("two", 1)
        s.settimeout(5)
        with self.assertRaises(ConnectionRefusedError):
            s.connect(("127.0.0.1", 3000))
        s.close()

    def test_door_reaches_the_guest(self):
        _, (s,) = self.door.sockets("one", 1, Door.UNIX)
        s.settimeout(5)
        s.connect(b"\0holdfast")
        s.close()

    def test_door_refuses(self):
        self.assertEqual(ENOENT, self.door.sockets("one", 2)[0])
        self.assertEqual(ENOENT, self.door.sockets("nobody", 1)[0])
        self.assertEqual(EINVAL, self.door.sockets("one", 1, 17)[0])
        self.assertEqual(EINVAL, self.door.sockets("one", 1, 4, 0)[0])
        self.assertEqual(EINVAL, self.door.sockets("one", 1, 4, 9)[0])
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        mnt = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        null = os.open("/dev/null", os.O_RDONLY)
        self.assertEqual(EPERM, self.door.add("x", 1, home))
        self.assertEqual(EINVAL, self.door.add("x", 1, mnt))
        self.assertEqual(EINVAL, self.door.add("x", 1, null))
        self.assertEqual(EINVAL, self.door.order(1, "x", 1))
        for fd in (home, mnt, null):
            os.close(fd)
        self.assertEqual(ENOENT, self.door.drop("x"))

    def test_door_generations(self):
        ns = os.open(f"/proc/{self.one['pid']}/ns/net", os.O_RDONLY)
        for g in (5, 6):
            self.assertEqual(0, self.door.add("gen", g, ns))
        os.close(ns)
        self.assertEqual(0, self.sockets_errno("gen", 5))
        self.assertEqual(0, self.door.drop("gen", 5))
        self.assertEqual(ENOENT, self.door.sockets("gen", 5)[0])
        self.assertEqual(0, self.sockets_errno("gen", 6))
        self.assertEqual(0, self.door.drop("gen"))
        self.assertEqual(ENOENT, self.door.sockets("gen", 6)[0])

    def sockets_errno(self, box, generation):
        error, socks = self.door.sockets(box, generation)
        for s in socks:
            s.close()
        return error

    def fds(self, role):
        return len(os.listdir(f"/proc/{role.process.pid}/fd"))

    def test_flat_descriptors(self):
        """Many sockets and a peer that never reads: nothing piles up."""
        before = self.fds(self.door)
        for _ in range(500):
            _, socks = self.door.sockets("one", 1, 4, 8)
            for s in socks:
                s.close()
        deaf = self.door.connect("door.sock")
        deaf.setblocking(False)
        ask = struct.pack("=IBB2xQ48s", 1, 4, 8, 1, b"one")
        sent = 0
        try:
            while sent < 5000:
                deaf.send(ask)
                sent += 1
        except BlockingIOError:
            pass
        self.assertLess(sent, 5000)
        self.assertEqual(0, self.sockets_errno("one", 1))   # still there
        deaf.close()
        until("all is closed", lambda: self.fds(self.door) <= before)


class OtherFirewalls(unittest.TestCase):
    """A FORWARD chain that drops, in a network namespace of its own."""
    NAME = "hfzfw"

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="holdfast-fw-")
        self.addCleanup(shutil.rmtree, self.dir)
        run("ip", "netns", "delete", self.NAME)
        run("ip", "netns", "add", self.NAME)
        self.addCleanup(run, "ip", "netns", "delete", self.NAME)
        with open(f"{self.dir}/conf", "w") as f:
            f.write("stack=zfw\ndns=9.9.9.9\n")

    def rules(self, program, *setup):
        for line in setup:
            r = self.there(program, *line.split())
            self.assertEqual(0, r.returncode, r.stderr)

        def begin():
            fd = os.open(f"/run/netns/{self.NAME}", os.O_RDONLY)
            assert ctypes.CDLL(None).setns(fd, 0x40000000) == 0
            os.close(fd)
        # The role's own namespace is its host: started from a thread in it.
        out = []

        def work():
            begin()
            net = Net(f"{self.dir}/conf", self.dir)
            out.append(net.check())
            out.append(net.check())
            out.append(net.close())
        t = threading.Thread(target=work)
        t.start()
        t.join(60)
        self.assertEqual([(0, "", None), (0, "", None), 0], out)
        return self.there(program, "-S").stdout

    def there(self, *command):
        return run("ip", "netns", "exec", self.NAME, *command)

    def both(self, text, chain):
        self.assertEqual(1, text.count(f"-A {chain} -i hfzfw-+ -j ACCEPT"),
                         text)
        self.assertEqual(1, len(re.findall(
            rf"-A {chain} -o hfzfw-\+ -m conntrack --ctstate "
            r"RELATED,ESTABLISHED -j ACCEPT", text)), text)

    def test_docker(self):
        for program in ("iptables-nft", "iptables-legacy"):
            with self.subTest(program):
                self.both(self.rules(
                    program, "-P FORWARD DROP", "-N DOCKER-USER",
                    "-A FORWARD -j DOCKER-USER"), "DOCKER-USER")
                self.there(program, "-P", "FORWARD", "ACCEPT")

    def test_another(self):
        self.both(self.rules("iptables-nft", "-P FORWARD DROP"), "FORWARD")

    def test_none(self):
        self.assertNotIn("hfzfw", self.rules("iptables-nft",
                                             "-P FORWARD ACCEPT"))
