"""The guest, run for real: under unshare, and as PID 1 of containers.

`Unshared` is the fast one, for whoever works on images/guest: a pid and a
network namespace around it, the host's files. The others are containers made
exactly as the engine makes them.
"""

import base64
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

from docker import Docker, engine_socket  # noqa: E402
from guestclient import Http, Keeper  # noqa: E402

LIMIT = 300
BASE = True
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
GUEST = f"{ROOT}/build/guest"
PROBE = f"{ROOT}/build/tests/probe"
UID = 654321

SSE = [("Accept", "text/event-stream")]
V1, BASE_PATH = "/v1/sandboxes/x/exec", "/sandbox/x/exec"


def setUpModule():
    os.makedirs(os.path.dirname(PROBE), exist_ok=True)
    subprocess.check_call(["make", "-s", "-C", ROOT, "build/guest"])
    subprocess.check_call(["musl-gcc", "-static", "-O1", "-D_GNU_SOURCE",
                           "-o", PROBE, f"{HERE}/../fixtures/probe.c"])


def until(what, timeout=5):
    end = time.monotonic() + timeout
    while True:
        got = what()
        if got:
            return got
        if time.monotonic() > end:
            raise TimeoutError("never so")
        time.sleep(0.01)


def rss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return int(next(x for x in f if x.startswith("Rss:")).split()[1])


class UnshareBox:
    """The guest in new pid and network namespaces, on the host's files."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="hf-guest-")
        os.chown(self.home, UID, UID)
        # UID cannot reach it where the sources may be, such as /root.
        self.bin = tempfile.mkdtemp(prefix="hf-guest-")
        os.chmod(self.bin, 0o755)
        self.probe = shutil.copy(PROBE, self.bin)
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--net", "--mount", "--mount-proc", "--fork",
             "--kill-child", "sh", "-c",
             f"ip link set lo up; exec {GUEST}"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "FROM_IMAGE": "yes"})
        self.pid = until(self.find)

    def find(self):
        p = self.process.pid
        try:
            with open(f"/proc/{p}/task/{p}/children") as f:
                child = int(f.read().split()[0])
            with open(f"/proc/{child}/comm") as f:
                return child if f.read().strip() == "guest" else None
        except (IndexError, FileNotFoundError):
            return None

    def ended(self, timeout=10):
        return self.process.wait(timeout)

    def close(self):
        os.kill(self.pid, signal.SIGKILL)   # its pid namespace goes with it
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.bin, ignore_errors=True)


class ContainerBox:
    """The guest in a container of the form that the engine gives it."""

    number = 0

    def __init__(self, image, home=True, pids=256):
        ContainerBox.number += 1
        self.docker = Docker(engine_socket())
        self.dir = tempfile.mkdtemp(prefix="hf-guest-")
        os.chmod(self.dir, 0o755)
        self.probe = "/probe"
        self.home = "/home/sandbox"
        self.logs = f"{self.dir}/logs"
        os.makedirs(self.logs, mode=0o700)
        os.makedirs(f"{self.dir}/home", mode=0o700)
        os.chown(f"{self.dir}/home", UID, UID)
        spec = self.spec(image, pids)
        if not home:            # an image with nothing in it
            spec["HostConfig"]["Mounts"] = [
                m for m in spec["HostConfig"]["Mounts"]
                if m["Target"] != self.home]
            self.home = "/"
        self.id = None
        try:
            self.id = self.docker.create(
                f"hf-guest-{os.getpid()}-{self.number}", **spec)
            self.docker.start(self.id)
        except BaseException:
            self.close()
            raise
        self.pid = self.docker.inspect(self.id)["State"]["Pid"]
        # The net role does this; Docker without IPv6 does not.
        subprocess.check_call(
            ["nsenter", "-t", str(self.pid), "-n", "sh", "-c",
             "echo 0 > /proc/sys/net/ipv6/conf/lo/disable_ipv6"])

    def spec(self, image, pids):
        def mount(source, target, ro=True):
            return {"Type": "bind", "Source": source, "Target": target,
                    "ReadOnly": ro}
        security = ["no-new-privileges"]
        profile = f"{ROOT}/lua-free-config/seccomp.json"
        if os.path.exists(profile):
            with open(profile) as f:
                security.append("seccomp=" + f.read())
        tmp = "rw,exec,nosuid,nodev,mode=1777,size=64m"
        return {
            "Image": image, "User": "0:0", "Cmd": [], "Env": [],
            "Entrypoint": ["/.holdfast/guest"],
            "Healthcheck": {"Test": ["NONE"]},
            "StopSignal": "SIGTERM", "StopTimeout": 10,
            "Labels": {"holdfast.test": "guest"},
            "HostConfig": {
                "Init": False, "NetworkMode": "none", "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "CapAdd": ["KILL", "SETGID", "SETPCAP", "SETUID"],
                "SecurityOpt": security, "IpcMode": "private",
                "CgroupnsMode": "private",
                "RestartPolicy": {"Name": "no"},
                "Memory": 256 << 20, "MemorySwap": 512 << 20,
                "UsernsMode": "host", "PidsLimit": pids, "OomScoreAdj": 0,
                "Ulimits": [
                    {"Name": "nofile", "Soft": 20000, "Hard": 20000},
                    {"Name": "core", "Soft": 0, "Hard": 0}],
                "ShmSize": 64 << 20,
                "Tmpfs": {"/tmp": tmp, "/var/tmp": tmp,
                          "/run": "rw,noexec,nosuid,nodev,mode=755,size=16m"},
                "Mounts": [mount(GUEST, "/.holdfast/guest"),
                           mount(self.logs, "/.holdfast/logs", False),
                           mount(PROBE, "/probe"),
                           mount(f"{self.dir}/home", "/home/sandbox", False)],
            }}

    def log(self, name):
        try:
            with open(f"{self.logs}/{name}.log") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def pause(self):
        self.docker.call("POST", f"/containers/{self.id}/pause")

    def unpause(self):
        self.docker.call("POST", f"/containers/{self.id}/unpause")

    def ended(self, timeout=10):
        def code():
            s = self.docker.inspect(self.id)["State"]
            return None if s["Running"] else (s["ExitCode"],)
        return until(code, timeout)[0]

    def close(self):
        if self.id:
            self.docker.remove(self.id)
        shutil.rmtree(self.dir, ignore_errors=True)


class Frame(unittest.TestCase):
    """One booted guest for all tests of a class."""

    services = ()

    @classmethod
    def make(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.box = cls.make()
        cls.k = Keeper(cls.box.pid)
        error = cls.k.boot(uid=UID, gid=UID, home=cls.box.home,
                           env=["FROM_BOOT=boot"], services=cls.services)
        assert error is None, error

    @classmethod
    def tearDownClass(cls):
        cls.k.close()
        cls.box.close()

    def http(self):
        h = Http(self.box.pid)
        self.addCleanup(h.close)
        return h

    def exec(self, cmd, **args):
        h = Http(self.box.pid)
        try:
            r = h.exec(cmd, **args)
        finally:
            h.close()
        self.assertEqual(200, r["status"], r)
        return r

    def refused(self, status, code, body, path=V1, headers=()):
        h = self.http()
        h.request(path, body, headers)
        a = h.answer()
        self.assertEqual(status, a.status, a.body)
        e = a.json()["error"]
        if path == V1:
            self.assertEqual(code, e["code"], e)
            self.assertTrue(e["message"])
            return e
        self.assertIsInstance(e, str)
        return a

    def quiet(self):
        """Nothing runs but PID 1 (and what `ps` would be)."""
        def only():
            return self.others() == []
        until(only, 10)

    def others(self):
        """Pids of everything in the sandbox but PID 1, seen from outside."""
        ns = os.readlink(f"/proc/{self.box.pid}/ns/pid")
        found = []
        for p in os.listdir("/proc"):
            if not p.isdigit() or int(p) == self.box.pid:
                continue
            try:
                if os.readlink(f"/proc/{p}/ns/pid") == ns:
                    with open(f"/proc/{p}/stat") as f:
                        if f.read().rsplit(")", 1)[1].split()[0] != "Z":
                            found.append(int(p))
            except OSError:
                pass
        return found


class Execs:
    """What exec promises. For every box with a shell."""

    # ---- answers -----------------------------------------------------------

    def test_base_form(self):
        h = self.http()
        h.request(BASE_PATH, {"cmd": ["sh", "-c", "echo o; echo e >&2; exit 7"],
                              "unknown": [1, {"a": None}]})
        a = h.answer()
        self.assertEqual(200, a.status)
        self.assertEqual({"stdout": "o\n", "stderr": "e\n", "exit_code": 7},
                         a.json())
        a = self.refused(400, None, {}, BASE_PATH)
        self.assertEqual("cmd is missing", a.json()["error"])

    def test_v1_form(self):
        r = self.exec("printf out; printf err >&2; exit 3")
        self.assertEqual(
            ("out", "err", 3, False, False),
            (r["stdout"], r["stderr"], r["exit_code"], r["timed_out"],
             r["truncated"]))
        self.assertNotIn("signal", r)
        self.assertLess(r["duration_ms"], 1000)

    def test_signal(self):
        r = self.exec("kill -TERM $$")
        self.assertEqual((143, "SIGTERM"), (r["exit_code"], r["signal"]))

    def test_not_there(self):
        r = self.exec(["/no/such/program"])
        self.assertEqual(127, r["exit_code"])
        self.assertIn("No such file", r["stderr"])
        self.assertEqual(126, self.exec(["/etc/passwd"])["exit_code"])

    def test_environment(self):
        r = self.exec(["env"], env={"FROM_EXEC": "x=y", "HOME": "/tmp"})
        env = dict(x.split("=", 1) for x in r["stdout"].splitlines())
        self.assertEqual("boot", env["FROM_BOOT"])
        self.assertEqual("x=y", env["FROM_EXEC"])
        self.assertEqual("/tmp", env["HOME"])
        self.assertEqual(("sandbox", "sandbox"), (env["USER"], env["LOGNAME"]))
        self.assertIn("/bin", env["PATH"])
        self.assertEqual(self.box.home, self.exec("echo -n $HOME")["stdout"])

    def test_env_frame(self):
        k = self.k
        k.env("FROM_BOOT=changed", "NEW=1")
        try:
            until(lambda: self.exec("echo $NEW$FROM_BOOT")["stdout"]
                  == "1changed\n")
        finally:
            k.env("FROM_BOOT=boot")
        until(lambda: self.exec("echo $NEW$FROM_BOOT")["stdout"] == "boot\n")

    def test_cwd(self):
        self.assertEqual("/proc\n", self.exec("pwd", cwd="/proc")["stdout"])
        self.assertEqual(self.box.home + "\n", self.exec("pwd")["stdout"])
        e = self.refused(400, "invalid_field", {"cmd": "pwd", "cwd": "/no"})
        self.assertEqual("cwd", e["field"])
        self.refused(400, "invalid_field", {"cmd": "pwd", "cwd": "tmp"})

    def test_stdin(self):
        text = "line of text\n" * 70000
        self.assertEqual(text, self.exec(["cat"], stdin=text)["stdout"])
        raw = bytes(range(256)) * 3000
        b64 = base64.b64encode(raw).decode()
        r = self.exec("wc -c", stdin={"b64": b64[:900000]})
        self.assertEqual("675000", r["stdout"].strip())
        self.assertEqual(0, self.exec(["true"], stdin=text)["exit_code"])
        self.assertEqual("", self.exec(["cat"], stdin="")["stdout"])
        self.assertEqual("", self.exec(["cat"])["stdout"])

    def test_bytes(self):
        r = self.exec("printf '\\377\\000'; printf '\\303\\251' >&2")
        self.assertEqual({"b64": "/wA="}, r["stdout"])
        self.assertEqual("é", r["stderr"])
        r = self.exec("printf 'a\\000b\\001\"\\\\'")
        self.assertEqual("a\0b\1\"\\", r["stdout"])
        r = self.exec("printf '\\377' >&2")
        self.assertEqual(("", {"b64": "/w=="}), (r["stdout"], r["stderr"]))
        h = self.http()
        h.request(BASE_PATH, {"cmd": ["printf", "a\\377b"]})
        self.assertEqual("a\ufffdb", h.answer().json()["stdout"])

    def test_large_output_is_whole(self):
        r = self.exec([self.box.probe, "flood", "4000000"])
        self.assertEqual("x" * 4000000, r["stdout"])
        self.assertFalse(r["truncated"])

    def test_cut(self):
        r = self.exec("printf 'ab\\303\\251cd'", max_output=3)
        self.assertEqual(("ab", True), (r["stdout"], r["truncated"]))
        r = self.exec("printf 'abc'", max_output=3)
        self.assertEqual(("abc", False), (r["stdout"], r["truncated"]))

    # ---- refusals ----------------------------------------------------------

    def test_refusals(self):
        ok = ["true"]
        for body, field in (
                ({"cmd": []}, "cmd"), ({"cmd": [1]}, "cmd"),
                ({"cmd": ""}, "cmd"), ({"cmd": [""]}, "cmd"),
                ({"cmd": {"a": 1}}, "cmd"), ({"cmd": ["a\0b"]}, "cmd"),
                ({"cmd": ok, "env": []}, "env"),
                ({"cmd": ok, "env": {"A": 1}}, "env"),
                ({"cmd": ok, "env": {"A=B": "1"}}, "env"),
                ({"cmd": ok, "env": {"": "1"}}, "env"),
                ({"cmd": ok, "cwd": 7}, "cwd"),
                ({"cmd": ok, "stdin": 7}, "stdin"),
                ({"cmd": ok, "stdin": {"b64": "!"}}, "stdin"),
                ({"cmd": ok, "stdin": {"text": "x"}}, "stdin"),
                ({"cmd": ok, "timeout_ms": "9"}, "timeout_ms"),
                ({"cmd": ok, "timeout_ms": 0}, "timeout_ms"),
                ({"cmd": ok, "timeout_ms": 1.5}, "timeout_ms"),
                ({"cmd": ok, "max_output": 1 << 30}, "max_output"),
                ({"env": {}}, "cmd"),
                (b'{"cmd":["a"],"cmd":["b"]}', "cmd")):
            with self.subTest(body=body):
                e = self.refused(400, "invalid_field", body)
                self.assertEqual(field, e["field"])
                self.assertIn(field, e["message"] + " cmd")
        e = self.refused(400, "unknown_field", {"cmd": ok, "timeout": 5})
        self.assertEqual("timeout", e["field"])
        for body in (b"", b"[]", b"{", b'{"cmd":["a"]}x', b'{"cmd":["\xff"]}',
                     b'{"cmd":["\\ud800"]}', b"[" * 5000):
            with self.subTest(body=body[:20]):
                self.refused(400, "bad_request", body)

    def test_routes(self):
        h = self.http()
        for path, method, status in (
                ("/", "POST", 404), ("/v1/sandboxes/x/exec/", "POST", 404),
                ("/sandbox/x/exec", "GET", 405),
                ("/sandbox/../exec", "POST", 404),
                ("/sandbox/" + "x" * 41 + "/exec", "POST", 404)):
            h = self.http()
            h.request(path, {}, method=method)
            a = h.answer()
            self.assertEqual(status, a.status, path)
            if status == 405:
                self.assertEqual("post", a.headers["allow"])

    def test_request_id(self):
        e = self.refused(400, "invalid_field", {"cmd": []},
                         headers=[("X-Request-Id", "0123-abcdef")])
        self.assertEqual("0123-abcdef", e["request_id"])

    def test_body_too_large(self):
        h = self.http()
        h.raw(b"POST /sandbox/x/exec HTTP/1.1\r\n"
              b"Content-Length: 99999999\r\n\r\n")
        self.assertEqual(413, h.answer().status)
        h = self.http()
        h.raw(b"POST /sandbox/x/exec HTTP/1.1\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(40):
                h.raw(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.assertEqual(413, h.answer().status)

    def test_chunked_body_in_bits_and_keepalive(self):
        h = self.http()
        body = json.dumps({"cmd": ["echo", "hi"]}).encode()
        text = (b"POST /v1/sandboxes/x/exec HTTP/1.1\r\nHost: x\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 5):
            part = body[i:i + 5]
            text += b"%x;a=b\r\n%s\r\n" % (len(part), part)
        text += b"0\r\nTrailer: x\r\n\r\n"
        for _ in range(2):
            for i in range(0, len(text), 7):
                h.raw(text[i:i + 7])
            self.assertEqual("hi\n", h.answer().json()["stdout"])
        h.raw(text + text)      # two at once: answered one after the other
        self.assertEqual("hi\n", h.answer().json()["stdout"])
        self.assertEqual("hi\n", h.answer().json()["stdout"])

    def test_http10(self):
        h = self.http()
        body = b'{"cmd":["echo","hi"]}'
        h.raw(b"POST /sandbox/x/exec HTTP/1.0\r\nContent-Length: %d\r\n\r\n"
              % len(body) + body)
        a = h.answer()
        self.assertEqual(("hi\n", "close"),
                         (a.json()["stdout"], a.headers["connection"]))

    # ---- events ------------------------------------------------------------

    def test_events(self):
        h = self.http()
        h.request(V1, {"cmd": "echo one; sleep 0.3; echo two >&2; exit 4"},
                  SSE)
        began, at, seen = time.monotonic(), {}, []
        for name, data in h.events():
            at[name] = time.monotonic() - began
            seen.append((name, data))
        self.assertEqual(["start", "stdout", "stderr", "exit"],
                         [n for n, _ in seen])
        self.assertGreater(seen[0][1]["pid"], 1)
        self.assertEqual({"data": "one\n"}, seen[1][1])
        self.assertEqual({"data": "two\n"}, seen[2][1])
        self.assertEqual(4, seen[3][1]["exit_code"])
        self.assertLess(at["stdout"], 0.25)
        self.assertGreater(at["stderr"], 0.25)

    def test_events_cut_characters(self):
        h = self.http()
        h.request(V1, {"cmd": "printf '\\303'; sleep 0.1; printf '\\251'; "
                              "sleep 0.1; printf '\\377x'"}, SSE)
        out = [d["data"] for n, d in h.events() if n == "stdout"]
        self.assertEqual(["é", {"b64": "/3g="}], out)

    def test_events_refusal_is_json(self):
        self.refused(400, "invalid_field", {"cmd": []}, headers=SSE)

    def test_events_back_pressure(self):
        """A client that does not read stops the command, not the guest."""
        h = self.http()
        h.request(V1, {"cmd": [self.box.probe, "flood", "50000000"]}, SSE)
        until(lambda: self.k.wait(lambda s: True)["execs"] or self.others())
        before = rss_kb(self.box.pid)
        self.assertEqual("x\n", self.exec("echo x")["stdout"])
        time.sleep(0.3)
        self.assertLess(rss_kb(self.box.pid), before + 512)
        got = sum(len(d["data"]) for n, d in h.events() if n == "stdout")
        self.assertEqual(50000000, got)

    # ---- trees -------------------------------------------------------------

    def test_timeout_kills_the_tree(self):
        began = time.monotonic()
        r = self.exec([self.box.probe, "daemons", "5"], timeout_ms=400)
        self.assertEqual((True, "SIGKILL", 137),
                         (r["timed_out"], r["signal"], r["exit_code"]))
        self.assertEqual("started\n", r["stdout"])
        self.assertLess(time.monotonic() - began, 2)
        self.assertGreaterEqual(r["duration_ms"], 390)
        self.quiet()

    def test_client_gone_kills_the_tree(self):
        for headers in ((), SSE):
            h = Http(self.box.pid)
            h.request(V1, {"cmd": [self.box.probe, "daemons", "5"]}, headers)
            until(lambda: len(self.others()) >= 7)
            self.k.wait(lambda s: s["execs"] == 1)
            h.close()
            self.quiet()
            self.k.wait(lambda s: s["execs"] == 0)

    def test_background_lives_on(self):
        began = time.monotonic()
        r = self.exec("(while sleep 0.02; do echo x; done) & "
                      "echo $! > /tmp/pid; echo ended")
        self.assertLess(time.monotonic() - began, 1)
        self.assertTrue(r["stdout"].startswith("ended\n"), r)
        # It goes on writing to a pipe that nobody is interested in.
        time.sleep(0.3)
        self.assertEqual(0, self.exec("kill -0 $(cat /tmp/pid)")["exit_code"])
        # More than a pipe holds: neither blocked nor killed by SIGPIPE.
        r = self.exec("(sleep 0.2; %s flood 1000000 && echo > /tmp/flooded) & "
                      "rm -f /tmp/flooded" % self.box.probe)
        until(lambda: self.exec("test -e /tmp/flooded")["exit_code"] == 0)
        self.exec("kill $(cat /tmp/pid); rm -f /tmp/flooded")
        self.quiet()
        fds = len(os.listdir(f"/proc/{self.box.pid}/fd"))
        self.assertLess(fds, 20)

    # ---- many, much --------------------------------------------------------

    def test_output_at_flat_memory(self):
        self.exec([self.box.probe, "flood", "300000000"], max_output=65536)
        before = rss_kb(self.box.pid)
        r = self.exec([self.box.probe, "flood", "300000000"], max_output=65536)
        self.assertTrue(r["truncated"])
        self.assertEqual(65536, len(r["stdout"]))
        self.assertLess(rss_kb(self.box.pid), before + 256)

    def test_fifty_at_once(self):
        answers = []

        def one(i):
            answers.append(self.exec(f"sleep 0.2; echo {i}")["stdout"])
        threads = [threading.Thread(target=one, args=(i,)) for i in range(50)]
        began = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(sorted(f"{i}\n" for i in range(50)), sorted(answers))
        self.assertLess(time.monotonic() - began, 4)

    def test_too_many(self):
        busy = []
        for _ in range(64):
            h = Http(self.box.pid)
            self.addCleanup(h.close)
            h.request(V1, {"cmd": ["sleep", "30"]})
            busy.append(h)
        self.k.wait(lambda s: s["execs"] in (64, 63, 62))
        status = set()
        for _ in range(3):
            h = self.http()
            h.request(V1, {"cmd": ["true"]})
            a = h.answer()
            status.add(a.status)
        for h in busy:
            h.close()
        self.quiet()
        self.assertIn(503, status)
        self.assertEqual(0, self.exec(["true"])["exit_code"])

    def test_flat_over_two_thousand(self):
        h = self.http()
        self.k.watch(1)         # opens the netlink socket
        for _ in range(200):
            h.exec(["true"])

        def fds():
            return len(os.listdir(f"/proc/{self.box.pid}/fd"))
        rss, nfds, times = rss_kb(self.box.pid), fds(), []
        for i in range(2000):
            began = time.monotonic()
            if i % 10 == 0:
                h.close()
                h = self.http()
            h.exec(["true"])
            times.append(time.monotonic() - began)
        self.assertLessEqual(rss_kb(self.box.pid), rss + 8)
        self.assertEqual(nfds, fds())
        times.sort()
        print(f"{type(self).__name__}: exec of true: median "
              f"{statistics.median(times) * 1000:.2f} ms, p99 "
              f"{times[1980] * 1000:.2f} ms; guest {rss} KB", flush=True)
        self.assertLess(statistics.median(times), 0.005 * 4)
        self.assertLess(rss, 400)
        self.quiet()

    # ---- walls -------------------------------------------------------------

    def test_inside_peers_are_refused(self):
        for name in ("holdfast", "holdfast.keeper"):
            r = self.exec([self.box.probe, "connect", name])
            self.assertEqual("closed\n", r["stdout"])

    def test_attacks(self):
        r = self.exec([self.box.probe, "attack"])
        told = dict(x.split(" ", 1) for x in r["stdout"].splitlines())
        self.assertGreaterEqual(len(told), 23)
        self.assertEqual([], [k for k, v in told.items() if v == "ok"])
        self.assertEqual(0, self.exec(["true"])["exit_code"])

    def test_no_rights_left(self):
        text = self.exec(["cat", "/proc/self/status"])["stdout"]
        s = dict(x.split(":\t", 1) for x in text.splitlines() if ":\t" in x)
        for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(0, int(s[cap], 16), cap)
        self.assertEqual("1", s["NoNewPrivs"])
        self.assertEqual({str(UID)}, set(s["Uid"].split()))
        self.assertEqual({str(UID)}, set(s["Gid"].split()))
        self.assertEqual("", s["Groups"].strip())
        self.assertEqual(0, int(s["SigIgn"], 16))
        self.assertEqual(0, int(s["SigBlk"], 16))
        self.assertEqual("500\n", self.exec(
            ["cat", "/proc/self/oom_score_adj"])["stdout"])
        self.assertEqual(["0", "1", "2"], self.exec(
            "for f in /proc/$$/fd/*; do basename $f; done")
            ["stdout"].split()[:3])
        self.assertEqual("0\n", self.exec("ulimit -c")["stdout"])
        self.assertEqual(0, self.exec(
            "test $(ps -o sid= -p $$ 2>/dev/null || echo $$) = $$")
            ["exit_code"])

    # ---- keeper ------------------------------------------------------------

    def test_keeper_comes_and_goes(self):
        other = Keeper(self.box.pid)    # replaces the old one
        self.assertTrue(other.booted)
        with self.assertRaises(ConnectionError):
            while True:
                self.k.frame()
        self.assertEqual("already booted", other.boot(uid=UID, gid=UID))
        other.sock.sendall(b"\xff\xff\xff\xff")     # too long a frame
        with self.assertRaises(ConnectionError):
            while True:
                other.frame()
        other.close()
        self.k.close()
        type(self).k = Keeper(self.box.pid)
        self.k.wait(lambda s: True)
        self.assertEqual(0, self.exec(["true"])["exit_code"])

    def test_ports(self):
        k = self.k
        k.watch(20000)
        cases = ((4, "127.0.0.1", 4001, (), 1), (4, "0.0.0.0", 4002, (), 1),
                 (6, "::1", 4003, (), 2), (6, "::", 4004, (), 3),
                 (6, "::", 4005, ("only6",), 2),
                 (4, "127.0.0.2", 4006, (), None))
        for family, addr, port, more, want in cases:
            with self.subTest(port=port):
                h = self.http()
                h.request(V1, {"cmd": [self.box.probe, "listen", str(family),
                                       addr, str(port), *more]}, SSE)
                events = h.events()
                self.assertEqual("start", next(events)[0])
                name, data = next(events)
                began = time.monotonic()
                self.assertEqual("listening\n", data["data"], (name, data))
                if want is None:
                    with self.assertRaises(TimeoutError):
                        k.wait(lambda s: port in s["ports"], 0.3)
                    h.close()
                    continue
                s = k.wait(lambda s: port in s["ports"])
                took = time.monotonic() - began
                self.assertEqual(want, s["ports"][port])
                self.assertLess(took, 0.15)     # 50 ms, and a busy machine
                h.close()
                k.wait(lambda s: port not in s["ports"])


class Unshared(Execs, Frame):
    @classmethod
    def make(cls):
        return UnshareBox()

    def test_image_env_is_inherited(self):
        self.assertEqual("yes\n", self.exec("echo $FROM_IMAGE")["stdout"])

    def test_only_as_pid_1(self):
        p = subprocess.run([GUEST], capture_output=True, timeout=5)
        self.assertEqual(100, p.returncode)

    def test_size(self):
        self.assertLess(os.path.getsize(GUEST), 150 * 1024)


class Small(Execs, Frame):
    @classmethod
    def make(cls):
        return ContainerBox("holdfast/small")

    def test_fork_bomb(self):
        began = time.monotonic()
        h = Http(self.box.pid)
        h.request(V1, {"cmd": [self.box.probe, "bomb"], "timeout_ms": 1000})
        a = h.answer()
        self.assertTrue(a.json()["timed_out"], a.body)
        self.assertLess(time.monotonic() - began, 5)
        h.close()
        self.quiet()
        self.assertEqual(0, self.exec(["true"])["exit_code"])

    def test_no_process_left(self):
        h = self.http()
        h.request(V1, {"cmd": [self.box.probe, "bomb"]})
        until(lambda: len(self.others()) > 240)
        e = self.refused(503, "queue_full", {"cmd": ["true"]})
        self.assertTrue(e["retryable"])
        h.close()
        self.quiet()

    def test_frozen_time_does_not_count(self):
        h = self.http()
        h.request(V1, {"cmd": ["sleep", "1"], "timeout_ms": 1500})
        self.k.wait(lambda s: s["execs"] == 1)
        self.box.pause()
        try:
            time.sleep(2.5)
        finally:
            self.box.unpause()
        r = h.answer().json()
        self.assertEqual((0, False), (r["exit_code"], r["timed_out"]), r)
        self.assertLess(r["duration_ms"], 1500)


class Base(Execs, Frame):
    @classmethod
    def make(cls):
        return ContainerBox("holdfast/base")

    def test_bash_is_the_shell(self):
        self.assertEqual("/bin/bash\n", self.exec("echo $0")["stdout"])
        self.assertEqual("/bin/bash\n", self.exec("echo $SHELL")["stdout"])

    def test_python_runs(self):
        self.assertEqual("3\n", self.exec(
            ["python3", "-c", "print(1 + 2)"])["stdout"])

    def test_node_runs(self):
        image = Docker(engine_socket()).call(
            "GET", "/images/holdfast/base:latest/json")
        lacks = image["Config"]["Labels"]["holdfast.skipped"].split(",")
        if "node" in lacks:
            self.skipTest("the image was built without: " + ", ".join(lacks))
        self.assertEqual("3\n", self.exec(
            ["node", "-e", "console.log(1 + 2)"])["stdout"])


class Single(unittest.TestCase):
    """Tests that need a guest of their own."""

    def box(self, image="holdfast/small", **args):
        b = ContainerBox(image, **args)
        self.addCleanup(b.close)
        k = Keeper(b.pid)
        self.addCleanup(k.close)
        return b, k

    def exec(self, b, cmd, **args):
        h = Http(b.pid)
        try:
            return h.exec(cmd, **args)
        finally:
            h.close()

    def service(self, k, i=0):
        return k.status["services"][i]

    def test_before_boot(self):
        b, k = self.box()
        self.assertFalse(k.booted)
        r = self.exec(b, ["true"])
        self.assertEqual((503, True), (r["status"], r["error"]["retryable"]))
        self.assertEqual("uid and gid must be given and not be 0",
                         k.boot(uid=0, gid=0))
        self.assertIn("service", k.boot(
            uid=UID, gid=UID, services=[{"name": "../x", "cmd": ["true"]}]))
        self.assertIsNone(k.boot(uid=UID, gid=UID))
        self.assertEqual(0, self.exec(b, ["true"])["exit_code"])

    def test_services(self):
        b, k = self.box()
        self.assertIsNone(k.boot(uid=UID, gid=UID, home="/home/sandbox",
                                 env=["A=boot"], services=[
            {"name": "web", "port": 4000, "restart": 2, "env": ["B=svc"],
             "cmd": ["sh", "-c", "echo $A $B; pwd; id -u; sleep 0.2;"
                     "exec /probe listen 4 127.0.0.1 4000"]},
            {"name": "job", "cmd": ["sh", "-c", "echo done"], "cwd": "/tmp"},
            {"name": "bad", "cmd": ["sh", "-c", "exit 3"], "restart": 1},
            {"name": "none", "cmd": ["/no/such"]}]))
        s = k.wait(lambda s: s["services"][0]["state"] == "ready")
        self.assertEqual({4000: 1}, s["ports"])
        self.assertEqual(f"boot svc\n/home/sandbox\n{UID}\nlistening\n",
                         b.log("web"))
        k.wait(lambda s: s["services"][1]["state"] == "exited")
        self.assertEqual("done\n", b.log("job"))
        s = k.wait(lambda s: s["services"][2]["starts"] >= 4)
        self.assertEqual(3, s["services"][2]["code"])
        s = k.wait(lambda s: s["services"][3]["state"] == "failed")
        self.assertEqual(127, s["services"][3]["code"])
        self.assertIn("cannot execute", b.log("none"))

        # Killed: its whole tree goes, it comes back, and is ready again.
        self.exec(b, "kill -9 $(pidof probe)")
        s = k.wait(lambda s: s["services"][0]["starts"] == 2
                   and s["services"][0]["state"] == "ready")
        self.assertEqual(9, s["services"][0]["signal"])

    def test_setup_runs_before_services(self):
        b, k = self.box()
        self.assertIsNone(k.boot(
            uid=UID, gid=UID, home="/home/sandbox",
            setup={"cmd": ["sh", "-c", "echo setting up; sleep 0.3; "
                           "touch $HOME/ready"], "timeout_s": 30},
            services=[{"name": "a", "cmd": ["ls", "/home/sandbox"]}]))
        s = k.wait(lambda s: s["setup"]["starts"] == 1)
        self.assertEqual(0, s["services"][0]["starts"])
        s = k.wait(lambda s: s["services"][0]["state"] == "exited")
        self.assertEqual(("exited", 0),
                         (s["setup"]["state"], s["setup"]["code"]))
        self.assertEqual(("setting up\n", "ready\n"),
                         (b.log("setup"), b.log("a")))

    def test_setup_has_a_time_limit(self):
        b, k = self.box()
        self.assertIsNone(k.boot(
            uid=UID, gid=UID, setup={"cmd": ["sleep", "60"], "timeout_s": 1},
            services=[{"name": "a", "cmd": ["true"]}]))
        s = k.wait(lambda s: s["services"][0]["state"] == "exited")
        self.assertEqual(("failed", 9),
                         (s["setup"]["state"], s["setup"]["signal"]))

    def test_image_service(self):
        b, k = self.box()
        self.assertIsNone(k.boot(uid=UID, gid=UID, image=["sh"]))
        s = k.wait(lambda s: s["services"][0]["state"] == "exited")
        self.assertEqual((0, 1), (s["services"][0]["code"],
                                  s["services"][0]["starts"]))
        self.assertEqual("", b.log("image"))

    def test_log_is_kept_small(self):
        b, k = self.box()
        self.assertIsNone(k.boot(uid=UID, gid=UID, services=[
            {"name": "loud", "cmd": [
                "sh", "-c", "/probe flood 9000000; sleep 0.5; echo >&2 x; "
                "echo again >> /dev/stdout; exec sleep 60"]}]))
        k.watch(10000)

        def small():
            return os.path.getsize(f"{b.logs}/loud.log.1") > 0 and \
                os.path.getsize(f"{b.logs}/loud.log") < 100
        until(small)
        self.assertEqual(4 << 20, os.path.getsize(f"{b.logs}/loud.log.1"))
        until(lambda: b.log("loud") == "x\nagain\n")

    def test_scratch(self):
        """An image with nothing in it: no shell, no /tmp, no libc."""
        image = self.scratch_image()
        b, k = self.box(image, home=False)
        self.assertIsNone(k.boot(uid=UID, gid=UID, home="/"))
        r = self.exec(b, "echo hi")
        self.assertEqual((422, "no_shell"), (r["status"], r["error"]["code"]))
        self.assertEqual(0, self.exec(
            b, ["/probe", "flood", "10"])["exit_code"])
        self.assertEqual(127, self.exec(b, ["ls"])["exit_code"])
        r = self.exec(b, ["/probe", "daemons", "5"], timeout_ms=300)
        self.assertTrue(r["timed_out"])

    def scratch_image(self):
        d = Docker(engine_socket())
        import http.client
        import io
        import tarfile
        from docker import UnixConnection
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as t:
            t.addfile(tarfile.TarInfo("empty"))
        c = UnixConnection(d.path, 30)
        c.request("POST", "/images/create?fromSrc=-&repo=holdfast/test-scratch"
                  "&tag=latest", data.getvalue(),
                  {"Content-Type": "application/x-tar"})
        r = c.getresponse()
        self.assertEqual(200, r.status, r.read())
        c.close()
        return "holdfast/test-scratch:latest"

    def stop(self, how):
        b, k = self.box()
        self.assertIsNone(k.boot(uid=UID, gid=UID, services=[
            {"name": "soft", "restart": 2, "cmd": [
                "sh", "-c", "trap 'echo bye; exit 0' TERM; "
                "while :; do sleep 0.05; done"]}]))
        k.wait(lambda s: s["services"][0]["state"] == "ready")
        until(lambda: self.exec(b, "pidof sleep")["exit_code"] == 0)
        began = time.monotonic()
        how(b, k)
        self.assertEqual(0, b.ended())
        self.assertLess(time.monotonic() - began, 3)
        self.assertIn("bye\n", b.log("soft"))

    def test_stop_frame(self):
        self.stop(lambda b, k: k.stop(5000))

    def test_sigterm(self):
        self.stop(lambda b, k: b.docker.call(
            "POST", f"/containers/{b.id}/kill?signal=SIGTERM"))

    def test_stop_kills_what_does_not_listen(self):
        b, k = self.box()
        self.assertIsNone(k.boot(uid=UID, gid=UID, services=[
            {"name": "deaf", "cmd": ["sh", "-c", "trap '' TERM; "
                                     "while :; do sleep 0.05; done"]}]))
        k.wait(lambda s: s["services"][0]["state"] == "ready")
        time.sleep(0.1)
        h = Http(b.pid)
        self.addCleanup(h.close)
        h.request(V1, {"cmd": "trap '' TERM; sleep 60; sleep 60"})
        k.wait(lambda s: s["execs"] == 1)
        began = time.monotonic()
        k.stop(300)
        self.assertEqual(0, b.ended())
        self.assertLess(time.monotonic() - began, 3)


if __name__ == "__main__":
    unittest.main()
