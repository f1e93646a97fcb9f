"""The api workers alone: operations, scopes, tenants, lists, and what happens
when the keeper or the database is away, slow, or another one.
"""

import json
import os
import re
import signal
import socket
import sqlite3
import threading
import time
import unittest

from fcgi import Api


def until(what, test, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = test()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not in {seconds} s: {what}")


class One(unittest.TestCase):
    """Each test has workers of its own."""
    settings = {}

    def setUp(self):
        self.api = Api(**self.settings)
        self.addCleanup(self.api.stop)
        self.keeper = self.api.keeper

    def says(self, reply):
        self.keeper.say = lambda q: reply

    def error(self, a, status, code):
        self.assertEqual(status, a.status, repr(a))
        self.assertEqual(code, a.json["error"]["code"], repr(a))
        return a.json["error"]


class Operations(One):
    def test_what_the_keeper_is_asked(self):
        self.says({"op": 17})
        self.api.insert(id="a")
        self.api.ask("POST", "/v1/sandboxes", {"id": "ABC"}, tenant="acme",
                     key="ci", headers={"Idempotency-Key": "k 1",
                                        "X-Request-Id": "request-1"})
        q = self.keeper.asked[-1]
        self.assertEqual(
            ("create", "acme", "ci", "request-1", "127.0.0.1", "abc", "v1",
             "POST /v1/sandboxes k 1"),
            tuple(q[k] for k in ("kind", "tenant", "actor", "request_id",
                                 "remote", "sandbox", "shape", "idem")))
        self.assertRegex(q["idem_hash"], r"^[0-9a-f]{64}$")
        for method, path, body, kind, args in (
                ("DELETE", "/sandbox/a", b"", "delete", {}),
                ("POST", "/sandbox/a/purge", b"", "purge", {}),
                ("POST", "/wake/A", b"", "wake", {}),
                ("POST", "/sandbox/a/keepalive", b"", "keepalive", {}),
                ("POST", "/sandbox/a/keepalive", {"until": 1767323045},
                 "keepalive", {"until_ms": 1767323045000}),
                ("DELETE", "/v1/sandboxes/a", b"", "purge", {}),
                ("DELETE", "/v1/sandboxes/a?keep_workspace=true", b"",
                 "delete", {}),
                ("DELETE", "/v1/sandboxes/a?keep_workspace=false", b"",
                 "purge", {}),
                ("POST", "/v1/sandboxes/a/start", b"", "start", {}),
                ("POST", "/v1/sandboxes/a/stop", b"", "stop", {}),
                ("POST", "/v1/sandboxes/a/restart", b"", "restart", {}),
                ("GET", "/v1/sandboxes/a/ports", b"", "ports", {}),
                ("GET", "/v1/sandboxes/a/metrics", b"", "metrics", {}),
                ("PUT", "/v1/sandboxes/a/env", {"env": {"A": "b"}}, "env",
                 {"env": {"A": "b"}}),
                ("POST", "/external-users/u%20%C3%A4/purge", b"",
                 "purge_external", {"user": "u ä"}),
                ("POST", "/external-projects/p/purge", b"",
                 "purge_external", {"project": "p"})):
            a = self.api.ask(method, path, body)
            q = self.keeper.asked[-1]
            self.assertEqual((kind, args), (q["kind"], q["args"]), path)
            self.assertEqual("/_op/17", a.headers["x-accel-redirect"])
            if "external" not in path:
                self.assertEqual("a", q["sandbox"])
            self.assertEqual("v1" if path.startswith("/v1") else "base",
                             q["shape"])

    def test_by_key(self):
        self.says({"op": 1})
        self.api.ask("PUT", "/v1/sandboxes/by-key/user-1:main", {})
        args = self.keeper.asked[-1]["args"]
        self.assertEqual(("user-1:main", True), (args["key"], args["by_key"]))
        for body in ({"key": "other"}, {"project": {"id": "p"}}):
            self.error(self.api.ask("PUT", "/v1/sandboxes/by-key/k", body),
                       400, "invalid_field")

    def test_held_then_answered(self):
        self.says({"status": 201, "answer": {"id": "a", "version": 2},
                   "headers": {"X-Extra": "yes"}, "replayed": True})
        a = self.api.ask("GET", "/v1/sandboxes", HOLDFAST_OP="17")
        self.assertEqual({"kind": "answer", "op": 17, "tenant": "default"},
                         self.keeper.asked[-1])
        self.assertEqual(
            (201, "/v1/sandboxes/a", '"2"', "yes", "true"),
            (a.status, a.headers["location"], a.headers["etag"],
             a.headers["x-extra"], a.headers["idempotency-replayed"]))
        self.assertEqual({"id": "a", "version": 2}, a.json)

    def test_answers_without_a_body(self):
        self.says({"status": 204})
        a = self.api.ask("GET", "/sandbox/a", HOLDFAST_OP="3")
        self.assertEqual((204, b""), (a.status, a.body))
        self.says({"status": 200, "answer": {"purged": True,
                                             "freed_bytes": 1}})
        a = self.api.ask("GET", "/v1/sandboxes/a", HOLDFAST_OP="3")
        self.assertEqual((204, b""), (a.status, a.body))
        a = self.api.ask("GET", "/sandbox/a/purge", HOLDFAST_OP="3")
        self.assertEqual((200, 1), (a.status, a.json["freed_bytes"]))

    def test_still_going_on(self):
        self.says({"pending": True, "sandbox": "a"})
        a = self.api.ask("GET", "/v1/sandboxes", HOLDFAST_OP="9")
        self.assertEqual((202, "/v1/operations/9"),
                         (a.status, a.headers["location"]))
        self.says({"op": 9})
        self.api.sql("INSERT INTO ops(number,tenant,kind,sandbox,shape,state,"
                     "created_ms) VALUES(9,'default','create','a','base',0,1)")
        a = self.api.ask("POST", "/sandbox", {}, headers={
            "Prefer": "respond-async"})
        self.assertEqual("a", a.json["id"])
        self.assertEqual((202, "/v1/operations/9", "respond-async"), (
            a.status, a.headers["location"], a.headers["preference-applied"]))
        self.says({"op": 1 << 52})      # it has no row: nothing to look at
        self.api.insert(id="a")
        a = self.api.ask("PATCH", "/v1/sandboxes/a", {"idle_s": 60}, headers={
            "Prefer": "respond-async"})
        self.assertEqual(f"/_op/{1 << 52}", a.headers["x-accel-redirect"])
        self.assertNotIn("preference-applied", a.headers)

    def test_errors_of_the_keeper(self):
        error = {"status": 503, "code": "low_memory", "message": "no \"mem\"",
                 "hint": "wait", "retry_after": 30}
        self.says({"error": error})
        a = self.api.ask("POST", "/sandbox", {})
        self.assertEqual((503, "30", 'no "mem"'), (
            a.status, a.headers["retry-after"], a.json["error"]))
        a = self.api.ask("POST", "/v1/sandboxes", {})
        e = self.error(a, 503, "low_memory")
        self.assertEqual((True, "wait"), (e["retryable"], e["hint"]))
        # An answer that was stored is an error in the same words.
        self.says({"status": 503, "answer": error})
        a = self.api.ask("GET", "/v1/sandboxes", HOLDFAST_OP="9")
        self.error(a, 503, "low_memory")
        self.says({"error": {"code": "made_up"}})
        self.error(self.api.ask("POST", "/v1/sandboxes", {}), 500,
                   "internal")
        for nonsense in (b"[]", b"{}", b"x", b'{"status":99}',
                         b'{"status":"200"}', b'{"op":-1}', b"{"):
            self.says(nonsense)
            self.error(self.api.ask("POST", "/v1/sandboxes", {}), 500,
                       "internal")

    def test_headers_cannot_be_forged(self):
        self.says({"status": 200, "answer": {}, "headers": {
            "X-A": "b\r\nX-Evil: 1", "X\r\nY": "1", "X:Z": "1"}})
        a = self.api.ask("POST", "/v1/sandboxes", {})
        self.assertNotIn(b"Evil", a.raw)
        self.assertNotIn("x", a.headers)

    def test_large_bodies_travel(self):
        self.says({"op": 1})
        env = {"BIG": "x" * 200000, "ä": "x"}
        a = self.api.ask("POST", "/v1/sandboxes", {"env": {
            "BIG": env["BIG"]}})
        self.assertIn("x-accel-redirect", a.headers, repr(a))
        self.assertEqual(env["BIG"],
                         self.keeper.asked[-1]["args"]["env"]["BIG"])

    def test_operations_are_read_from_the_database(self):
        now = int(time.time() * 1000)
        for n, state, status, answer in (
                (1, 0, None, None), (2, 2, 201, '{"id":"a"}'),
                (3, 2, 503, '{"status":503,"code":"low_memory"}')):
            self.api.sql("INSERT INTO ops(number,tenant,kind,sandbox,shape,"
                         "state,http_status,answer,created_ms,ended_ms)"
                         "VALUES(?,'default','create','a','v1',?,?,?,?,?)",
                         n, state, status, answer, now, now if state else
                         None)
        a = self.api.get("/v1/operations/1")
        self.assertEqual((202, "running", "1"), (
            a.status, a.json["status"], a.headers["retry-after"]))
        a = self.api.get("/v1/operations/2")
        self.assertEqual((200, "succeeded", "a", 201), (
            a.status, a.json["status"], a.json["answer"]["id"],
            a.json["http_status"]))
        a = self.api.get("/v1/operations/3")
        self.assertEqual(("failed", "low_memory"), (
            a.json["status"], a.json["error"]["code"]))
        for options in ({"tenant": "other"}, {"scope": "ids:b"}):
            self.assertEqual(404, self.api.get("/v1/operations/2",
                                               **options).status)
        self.assertEqual(200, self.api.get("/v1/operations/2",
                                           scope="ids:a").status)


class Patch(One):
    def patch(self, body, **headers):
        return self.api.ask("PATCH", "/v1/sandboxes/a", body,
                            headers=headers)

    def test_labels_are_merged_for_the_version_that_was_read(self):
        self.api.insert(id="a", labels='{"x":"1","y":"2"}', version=4)
        self.says({"op": 1})
        self.patch({"labels": {"x": None, "z": "3"}, "idle_s": 60})
        self.assertEqual({"labels": {"y": "2", "z": "3"}, "idle_s": 60,
                          "if_match": 4}, self.keeper.asked[-1]["args"])
        self.patch({"labels": {"x": None}}, **{"If-Match": '"3"'})
        self.assertEqual(3, self.keeper.asked[-1]["args"]["if_match"])
        self.patch({"idle_s": None})
        self.assertEqual({"idle_s": 900}, self.keeper.asked[-1]["args"])

    def test_a_change_in_between_is_read_again(self):
        self.api.insert(id="a", labels='{"x":"1"}', version=1)

        def say(q):
            if q["args"]["if_match"] == 3:
                return {"op": 1}
            self.api.sql("UPDATE sandboxes SET version=version+1, labels=?",
                         json.dumps({"n": str(q["args"]["if_match"])}))
            return {"error": {"code": "precondition_failed", "status": 412}}
        self.keeper.say = say
        a = self.patch({"labels": {"z": "3"}})
        self.assertIn("x-accel-redirect", a.headers, repr(a))
        self.assertEqual({"n": "2", "z": "3"},
                         self.keeper.asked[-1]["args"]["labels"])

    def test_it_does_not_read_again_for_a_caller_with_a_condition(self):
        self.api.insert(id="a")
        self.says({"error": {"code": "precondition_failed", "status": 412}})
        a = self.patch({"labels": {"z": "3"}}, **{"If-Match": '"1"'})
        self.error(a, 412, "precondition_failed")
        self.assertEqual(1, len(self.keeper.asked))

    def test_too_many_labels(self):
        self.api.insert(id="a", labels=json.dumps(
            {f"a{i}": "" for i in range(60)}))
        self.error(self.patch({"labels": {f"b{i}": "" for i in range(5)}}),
                   400, "invalid_field")
        self.assertEqual([], self.keeper.asked)


class Access(One):
    def test_tenants(self):
        self.api.insert(id="a", tenant="acme")
        for path in ("/sandbox/a", "/v1/sandboxes/a"):
            self.assertEqual(200, self.api.get(path, tenant="acme").status)
            self.assertEqual(404, self.api.get(path, tenant="bob").status)
        self.error(self.api.ask("DELETE", "/v1/sandboxes/a", tenant="bob"),
                   404, "not_found")
        self.assertEqual([], self.keeper.asked)
        self.assertEqual([], self.api.get("/sandboxes", tenant="bob").json)
        self.api.sql("INSERT INTO audit(at_ms,tenant,action) "
                     "VALUES(1,'acme','create')")
        self.assertEqual([], self.api.get(
            "/v1/audit", tenant="bob").json["entries"])
        self.assertEqual(1, len(self.api.get(
            "/v1/audit", tenant="acme").json["entries"]))

    def test_without_a_tenant_nothing_is_served(self):
        self.api.insert(id="a")
        for path in ("/sandbox/a", "/sandboxes", "/v1/info", "/v1/audit"):
            self.assertEqual(500, self.api.get(path, tenant=None).status)
        for scope in ("", "x", "ADMIN", "ids", "rwx"):
            self.assertEqual(500, self.api.get("/sandboxes",
                                               scope=scope).status, scope)
        for path in ("/healthz", "/readyz", "/metrics"):
            self.assertEqual(200, self.api.get(path, tenant=None).status)

    def test_scopes(self):
        self.says({"op": 1})
        for i in "abc":
            self.api.insert(id=i)

        def status(scope, method, path, body=b""):
            return self.api.ask(method, path, body, scope=scope).status
        writes = (("POST", "/sandbox"), ("POST", "/wake/a"),
                  ("DELETE", "/sandbox/a"), ("POST", "/v1/sandboxes/a/stop"),
                  ("POST", "/external-users/u/purge"),
                  ("PUT", "/v1/sandboxes/by-key/k"))
        for method, path in writes:
            self.assertEqual(403, status("ro", method, path), path)
            self.assertEqual(200, status("rw", method, path), path)
        self.assertEqual(200, status("ro", "GET", "/sandbox/a"))
        self.assertEqual(403, status("rw", "GET", "/v1/audit"))
        ids = "ids:a+b"
        self.assertEqual(200, status(ids, "GET", "/sandbox/A"))
        self.assertEqual(404, status(ids, "GET", "/sandbox/c"))
        self.assertEqual(200, status(ids, "POST", "/wake/b"))
        self.assertEqual(404, status(ids, "POST", "/wake/c"))
        for method, path in writes[0], writes[4], writes[5]:
            self.assertEqual(403, status(ids, method, path), path)
        for path in ("/sandboxes", "/v1/sandboxes"):
            rows = self.api.get(path, scope=ids).json
            rows = rows if isinstance(rows, list) else rows["sandboxes"]
            self.assertEqual({"a", "b"}, {r["id"] for r in rows})

    def test_metrics_elsewhere_are_for_admins_on_loopback(self):
        self.assertEqual(200, self.api.get("/metrics").status)
        self.assertEqual(403, self.api.get("/metrics", scope="rw").status)
        self.assertEqual(403, self.api.get(
            "/metrics", REMOTE_ADDR="10.0.0.1").status)


class Lists(One):
    def setUp(self):
        super().setUp()
        for n, rung in enumerate((2, 4, 7, 1, 1, 0, 11, 13, 12, 14)):
            self.api.insert(
                id=f"b{n}", rung=rung, created_ms=1000 + n // 2,
                started_ms=None if n in (4, 5) else 5, ext_user=f"u{n % 2}",
                labels=json.dumps({"n": str(n), "a/b": "x y"}))

    def ids(self, path):
        rows = self.api.get(path).json
        rows = rows if isinstance(rows, list) else rows["sandboxes"]
        return [r["id"] for r in rows]

    def test_order_and_filters(self):
        up = [f"b{n}" for n in range(7)]
        self.assertEqual(up[::-1], self.ids("/sandboxes"))
        self.assertEqual(up, self.ids("/v1/sandboxes"))
        for state, want in (("running", ["b0"]), ("frozen", ["b1"]),
                            ("stopped", ["b2", "b3"]),
                            ("creating", ["b4", "b5"]), ("error", ["b6"]),
                            ("archived", [])):
            self.assertEqual(want, self.ids(f"/v1/sandboxes?state={state}"))
        self.assertEqual(["b7"], self.ids("/v1/sandboxes?deleted=true"))
        self.assertEqual(["b5", "b3", "b1"],
                         self.ids("/sandboxes?external_user_id=u1"))
        self.assertEqual(["b2"], self.ids("/v1/sandboxes?label.n=2"))
        self.assertEqual(["b2"], self.ids(
            "/v1/sandboxes?label.n=2&label.a%2Fb=x+y"))
        self.assertEqual([], self.ids("/v1/sandboxes?label.n=2'--"))
        self.assertEqual([], self.ids("/sandboxes?external_user_id='"))

    def test_pages(self):
        for path, want in (("/v1/sandboxes", [f"b{n}" for n in range(7)]),
                           ("/sandboxes", [f"b{6 - n}" for n in range(7)])):
            for limit in (1, 2, 3, 7, 8):
                seen, after = [], ""
                for _ in range(9):
                    a = self.api.get(f"{path}?limit={limit}{after}")
                    rows = a.json if path == "/sandboxes" \
                        else a.json["sandboxes"]
                    seen += [r["id"] for r in rows]
                    after = a.headers.get("x-after") \
                        if path == "/sandboxes" else a.json["after"]
                    if not after:
                        break
                    after = f"&after={after}"
                self.assertEqual(want, seen, f"{path} {limit}")

    def test_a_long_list_is_streamed(self):
        c = sqlite3.connect(self.api.db)
        with c:
            for n in range(3000):
                c.execute("INSERT INTO sandboxes SELECT 'c'||?1, tenant, "
                          "rung, ?1, 1, key, project_id, project_user, "
                          "ext_user, ext_project, ext_workspace, image, "
                          "template_name, git_remote_url, ports, labels, "
                          "services, setup, env, visibility, idle_policy, "
                          "wake_on, ports_policy, host_header, memory_mb, "
                          "cpus_milli, pids, disk_mb, idle_s, freeze_s, "
                          "ttl_s, node, engine, engine_ref, pid, ?1+9000000,"
                          "?1+90000, isolation, spec_hash, last_status, "
                          "error_message, stopped_by, share_epoch, root, "
                          "runtime, subid, ws_epoch, arch, archive_ref, "
                          "created_ms, updated_ms, active_ms, started_ms, "
                          "stopped_ms, keepalive_ms, expires_ms "
                          "FROM sandboxes WHERE id='b0'", (n,))
        c.close()
        a = self.api.get("/sandboxes")
        self.assertNotIn("content-length", a.headers)
        self.assertEqual(3007, len(a.json))
        a = self.api.ask("HEAD", "/sandboxes")
        self.assertEqual((200, b""), (a.status, a.body))

    def test_damaged_rows_do_not_take_the_list_with_them(self):
        self.api.sql("UPDATE sandboxes SET rung=2, ports='[[', labels='x', "
                     "error_message=? WHERE id='b2'", "a\x01\"")
        a = self.api.get("/sandboxes")
        self.assertEqual(7, len(a.json))


class Away(One):
    settings = {"api_workers": 1}

    def test_the_keeper_is_away(self):
        self.api.insert(id="a")
        self.assertEqual(200, self.api.get("/readyz").status)
        self.keeper.stop()
        a = self.api.ask("POST", "/v1/sandboxes", {})
        self.error(a, 503, "unavailable")
        self.assertEqual("1", a.headers["retry-after"])
        for path in ("/sandbox/a", "/sandboxes", "/v1/info", "/healthz",
                     "/metrics"):
            self.assertEqual(200, self.api.get(path).status, path)
        a = self.api.get("/readyz")
        self.assertEqual((503, "not ready: keeper"),
                         (a.status, a.text.strip()))

    def test_it_comes_back(self):
        self.says({"op": 1})
        for _ in range(4):
            self.assertIn("x-accel-redirect",
                          self.api.ask("POST", "/wake/a").headers)
        self.keeper.stop()
        self.assertEqual(503, self.api.ask("POST", "/wake/a").status)
        self.keeper = self.api.keeper = type(self.keeper)(self.keeper.path)
        self.says({"op": 2})
        for _ in range(4):      # whichever worker: old lines are dropped
            a = self.api.ask("POST", "/wake/a")
            self.assertEqual("/_op/2", a.headers["x-accel-redirect"])

    def test_a_slow_keeper(self):
        """One second, then 503; its late reply answers nobody else."""
        late = threading.Event()

        def say(q):
            if q.get("sandbox") == "slow":
                late.wait(10)
                return {"op": 666}
            return {"op": 7}
        self.keeper.say = say
        began = time.monotonic()
        a = self.api.ask("POST", "/v1/sandboxes/slow/start")
        self.error(a, 503, "unavailable")
        self.assertLess(time.monotonic() - began, 3)
        late.set()
        for _ in range(6):
            a = self.api.ask("POST", "/v1/sandboxes/quick/start")
            self.assertEqual("/_op/7", a.headers["x-accel-redirect"])

    def test_parts_that_are_not_ready(self):
        self.says({"status": 200, "answer": {
            "docker": False, "redis": True, "disk": "full", "queue": 3}})
        a = self.api.get("/readyz")
        self.assertEqual((503, "not ready: docker disk"),
                         (a.status, a.text.strip()))
        text = self.api.get("/metrics").text
        self.assertIn('holdfast_part_up{node="here",part="docker"} 0', text)
        self.assertIn('holdfast_keeper_queue{node="here"} 3', text)
        self.assertIn('holdfast_sandboxes', text)
        for line in text.strip().split("\n"):
            self.assertRegex(line, r"^(# (HELP|TYPE) |[a-z_]+(\{[^}]*\})? "
                                   r"[0-9.e+-]+$)")


class Database(unittest.TestCase):
    def test_not_there_yet_then_there(self):
        with Api(database=False) as api:
            a = api.get("/v1/sandboxes/a")
            self.assertEqual((503, "1"), (a.status, a.headers["retry-after"]))
            self.assertEqual(200, api.get("/healthz").status)
            self.assertEqual("not ready: database",
                             api.get("/readyz").text.strip())
            api.make_database()
            api.insert(id="a")
            self.assertEqual(200, api.get("/v1/sandboxes/a").status)

    def test_another_one_is_put_in_its_place(self):
        with Api() as api:
            api.insert(id="old")
            for _ in range(4):
                self.assertEqual(200, api.get("/sandbox/old").status)
            other = f"{api.dir}/other.db"
            api.make_database(other)
            api.insert(path=other, id="restored")
            for suffix in ("-wal", "-shm"):
                if os.path.exists(api.db + suffix):
                    os.unlink(api.db + suffix)
            os.rename(other, api.db)
            for _ in range(4):
                self.assertEqual(404, api.get("/sandbox/old").status)
                self.assertEqual(200, api.get("/sandbox/restored").status)

    def test_one_of_a_newer_version(self):
        with Api() as api:
            api.sql("PRAGMA user_version=99")
            self.assertEqual(503, api.get("/sandboxes").status)
            self.assertIn("99", api.logs())

    def test_no_statement_is_left_open(self):
        """An open one would keep the log from being emptied."""
        with Api(api_workers=1) as api:
            api.insert(id="a")
            for path in ("/sandboxes", "/v1/sandboxes?limit=1", "/sandbox/a",
                         "/sandbox/b", "/v1/operations/1", "/v1/audit",
                         "/metrics", "/v1/sandboxes?state=running"):
                api.get(path)
                api.insert()
                got = api.sql("PRAGMA wal_checkpoint(TRUNCATE)")[0]
                self.assertEqual(0, got[0], path)


class Processes(One):
    settings = {"api_workers": 2}

    def test_a_killed_worker_is_replaced(self):
        before = until("two workers", lambda: len(self.api.workers()) == 2
                       and self.api.workers())
        os.kill(before[0], signal.SIGKILL)
        until("a new one", lambda: len(self.api.workers()) == 2
              and before[0] not in self.api.workers())
        for _ in range(4):
            self.assertEqual(200, self.api.get("/healthz").status)
        self.assertIn("workers_died_total{node=\"here\"} 1",
                      self.api.get("/metrics").text)

    def test_term_ends_the_request_first(self):
        going = threading.Event()

        def say(q):
            going.set()
            time.sleep(0.5)
            return {"op": 5}
        self.keeper.say = say
        got = []
        t = threading.Thread(target=lambda: got.append(
            self.api.ask("POST", "/wake/a")))
        t.start()
        self.assertTrue(going.wait(5))
        self.api.process.send_signal(signal.SIGTERM)
        t.join(10)
        self.assertEqual("/_op/5", got[0].headers["x-accel-redirect"])
        self.assertEqual(0, self.api.process.wait(10))

    def test_workers_do_not_outlive_their_parent(self):
        workers = until("two workers", lambda: len(self.api.workers()) == 2
                        and self.api.workers())
        self.api.process.kill()
        self.api.process.wait()

        def gone(pid):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    return f.read().rsplit(")", 1)[1].split()[0] == "Z"
            except FileNotFoundError:
                return True
        until("they have gone", lambda: all(map(gone, workers)))


class Renewed(One):
    settings = {"api_workers": 1, "api_requests_max": 100,
                "api_request_s": 1}

    def another(self, first):
        until("there is another", lambda: self.api.workers()
              and self.api.workers() != first)
        self.assertEqual(200, self.api.get("/sandboxes").status)

    def test_after_so_many_requests(self):
        first = self.api.workers()
        for _ in range(130):
            self.assertEqual(200, self.api.get("/sandboxes").status)
        self.another(first)

    def test_after_a_request_that_hangs(self):
        first = self.api.workers()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.api.socket)
            s.send(b"\1")
            self.another(first)
        self.assertIn("did not arrive whole in 1 s", self.api.logs())


class Alone(One):
    settings = {"api_workers": 1}

    def test_memory_and_descriptors_stay(self):
        def size(pid):
            with open(f"/proc/{pid}/status") as f:
                rss = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
            return rss, len(os.listdir(f"/proc/{pid}/fd"))

        def some(n):
            for i in range(n):
                self.api.get("/sandboxes")
                self.api.get(f"/v1/sandboxes?label.a{i}=x")
                self.api.ask("POST", "/v1/sandboxes", {"env": {
                    "A": "x" * 100000}, "nope": i})
                self.api.ask("POST", "/v1/sandboxes", {"labels": {
                    "a": str(i)}})
        self.says({"op": 1})
        for _ in range(50):
            self.api.insert()
        some(150)
        pid, = self.api.workers()
        rss = size(pid)[0]
        some(300)
        self.assertLess(size(pid)[0], rss + 1024, "KiB")
        # standard ones, listener, epoll, database with log and index, keeper
        until("the last connection is closed", lambda: size(pid)[1] <= 9)
