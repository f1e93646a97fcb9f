"""exec: timeouts, stdin, streams, limits, and what it leaves behind."""

import json
import time

from case import Case, until
from stack import processes, request


class Exec(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.create(env={"FROM_ENV": "yes"})

    def exec(self, cmd, **more):
        return self.s.exec(self.box, cmd, **more)

    def test_base_shape(self):
        r = self.s.expect(200, "POST", f"/sandbox/{self.box}/exec",
                          {"cmd": ["sh", "-c", "echo o; echo e >&2; exit 7"]}
                          ).json
        self.assertEqual({"stdout": "o\n", "stderr": "e\n", "exit_code": 7},
                         r)

    def test_v1_shape(self):
        r = self.exec(["sh", "-c", "echo o; exit 7"])
        self.assertEqual(("o\n", "", 7, False), (
            r["stdout"], r["stderr"], r["exit_code"], r["timed_out"]))
        self.assertFalse(r["truncated"])
        self.assertGreaterEqual(r["duration_ms"], 0)

    def test_line_cwd_env_stdin(self):
        r = self.s.expect(200, "POST", f"/v1/sandboxes/{self.box}/exec", {
            "cmd": "echo $A $FROM_ENV; pwd; cat", "cwd": "/tmp",
            "env": {"A": "given"}, "stdin": "through\nstdin\n"}).json
        self.assertEqual("given yes\n/tmp\nthrough\nstdin\n", r["stdout"])

    def test_without_stdin_it_is_empty(self):
        self.assertEqual("0\n", self.exec("cat | wc -c")["stdout"])

    def test_signal(self):
        r = self.exec("kill -TERM $$")
        self.assertIn(r.get("signal"), (15, "TERM", "SIGTERM"))

    def test_what_is_not_there(self):
        r = self.exec(["/no/such/program"])
        self.assertIn(r["exit_code"], (126, 127))

    def test_bad_bodies(self):
        for body in ("{", "[]", "{}", '{"cmd":[]}', '{"cmd":5}',
                     '{"cmd":["a",1]}', '{"cmd":["a"],"cdw":"/"}',
                     '{"cmd":["a\\u0000b"]}', '{"cmd":["a"],"timeout_ms":-1}',
                     '{"cmd":["a"],"env":{"A=B":"c"}}', '{"cmd":["a"]} x'):
            a = self.s.api("POST", f"/v1/sandboxes/{self.box}/exec", body,
                           {"Content-Type": "application/json"})
            self.assertEqual(400, a.status, f"{body} {a!r}")
            self.assertIn("error", a.json)
        self.status(404, self.s.api("POST", "/v1/sandboxes/nobody/exec",
                                    {"cmd": ["true"]}))

    def test_timeout_kills_the_whole_tree(self):
        began = time.monotonic()
        r = self.exec("setsid sh -c 'while :; do sleep 0.123; done' & "
                      "(sleep 77 &) ; sleep 77", timeout_ms=500)
        self.assertTrue(r["timed_out"])
        self.assertLess(time.monotonic() - began, 5)
        left = self.exec("ps -o args | grep -E 'sleep (77|0.123)' |"
                         " grep -v grep; true")["stdout"]
        self.assertEqual("", left)

    def test_a_client_that_leaves_ends_it(self):
        body = json.dumps({"cmd": ["sleep", "88"]})
        s = self.s.raw(
            f"POST /v1/sandboxes/{self.box}/exec HTTP/1.1\r\nHost: localhost"
            f"\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}",
            self.s.api_address)
        runs = lambda: "sleep 88" in self.exec("ps -o args")["stdout"]  # noqa
        until("it runs", runs)
        s.close()
        until("it is gone", lambda: not runs())

    def test_background_lives_on(self):
        began = time.monotonic()
        r = self.exec("sleep 99 >/dev/null 2>&1 & echo started")
        self.assertEqual("started\n", r["stdout"])
        self.assertLess(time.monotonic() - began, 5)
        # A pipe that is still held does not hold the answer either.
        r = self.exec("sleep 99 & echo again")
        self.assertEqual("again\n", r["stdout"])
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("sleep 99", self.exec("ps -o args")["stdout"])
        self.exec("killall sleep")

    def test_300_mb_of_output(self):
        def memory():
            total = 0
            for p in sum(self.s.parts().values(), []):
                with open(f"/proc/{p}/smaps_rollup") as f:
                    total += next(int(x.split()[1]) for x in f
                                  if x.startswith("Pss:"))
            return total
        before = memory()
        r = self.exec("head -c 300000000 /dev/zero | tr '\\0' x",
                      timeout_ms=50000)
        self.assertEqual(0, r["exit_code"])
        self.assertTrue(r["truncated"])
        self.assertLessEqual(len(r["stdout"]), 1 << 20)
        self.assertLess(memory() - before, 20000)

    def test_max_output(self):
        r = self.exec("head -c 100000 /dev/zero | tr '\\0' x",
                      max_output=1000)
        self.assertEqual(1000, len(r["stdout"]))
        self.assertTrue(r["truncated"])

    def test_bytes(self):
        r = self.exec("printf '\\377\\376'")
        self.assertEqual({"b64": "//4="}, r["stdout"])
        self.assertEqual("ä€\n", self.exec("printf 'ä€\\n'")["stdout"])

    def test_events_as_they_happen(self):
        body = json.dumps({"cmd": [
            "sh", "-c", "echo one; while [ ! -e /tmp/go ]; do :; done;"
                        "echo two >&2; exit 5"]})
        s = self.s.raw(
            f"POST /v1/sandboxes/{self.box}/exec HTTP/1.1\r\nHost: localhost"
            f"\r\nContent-Type: application/json\r\nAccept: text/event-stream"
            f"\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            f"{body}", self.s.api_address)
        got = b""
        while b"one" not in got:        # before the command has ended
            more = s.recv(65536)
            self.assertTrue(more, got)
            got += more
        self.assertNotIn(b"two", got)
        self.exec("touch /tmp/go")
        while True:
            more = s.recv(65536)
            if not more:
                break
            got += more
        s.close()
        text = got.decode()
        self.assertIn("text/event-stream", text)
        order = [text.index(f"event: {e}") for e in ("start", "stdout",
                                                     "stderr", "exit")]
        self.assertEqual(sorted(order), order)
        self.assertRegex(text.split("event: exit")[1], r'"exit_code": ?5')

    def test_many_at_once(self):
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(20) as pool:
            out = list(pool.map(
                lambda n: self.exec(f"echo {n}")["stdout"], range(100)))
        self.assertEqual([f"{n}\n" for n in range(100)], out)

    def test_no_client_of_docker_is_run(self):
        self.exec("true")
        self.assertFalse([x for _, _, x in processes().values()
                          if x.startswith("docker ") and self.s.dir in x])

    def test_large_stdin_and_too_large_body(self):
        text = "x" * 500000
        r = self.exec("wc -c", stdin=text)
        self.assertEqual("500000", r["stdout"].strip())
        a = self.s.api("POST", f"/v1/sandboxes/{self.box}/exec",
                       {"cmd": ["wc"], "stdin": "x" * 3000000})
        self.status(413, a)
        self.assertIn("error", a.json)

    def test_guest_paths_only(self):
        """Nothing else in the guest is reached from outside."""
        for path in ("/", "/exec", "/v1/sandboxes"):
            a = request(self.s.preview_address, "GET", path, headers={
                "Host": self.s.preview_host(self.box, 49983)})
            self.assertGreaterEqual(a.status, 400, repr(a))
