"""The life of a sandbox through both families of routes."""

import re
import time

from case import Case, until

ULID = re.compile(r"[0-9a-z]{26}")


class BaseRoutes(Case):
    """What clients of the base routes rely on."""

    def test_create_with_nothing(self):
        row = self.s.expect(201, "POST", "/sandbox").json
        self.assertRegex(row["id"], ULID)
        self.assertEqual("running", row["status"])
        for field in ("image", "memory_high", "ports", "created_at",
                      "updated_at", "last_active_at", "visibility",
                      "idle_policy", "container_id", "state",
                      "preview_urls"):
            self.assertIn(field, row)
        self.assertEqual("public", row["visibility"])
        self.assertEqual("sleep", row["idle_policy"])
        self.assertEqual("running", row["state"])
        self.assertRegex(row["created_at"],
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")

        got = self.s.expect(200, "GET", f"/sandbox/{row['id']}").json
        self.assertEqual(row["id"], got["row"]["id"])
        self.assertTrue(got["live_state"]["State"]["Running"])
        self.assertEqual("running", got["live_state"]["State"]["Status"])
        for field in ("Id", "Config", "NetworkSettings"):
            self.assertIn(field, got["live_state"])
        self.assertIn("runtime", got)

    def test_create_with_everything(self):
        row = self.s.expect(201, "POST", "/sandbox", {
            "id": "everything", "ports": [3000, 8080, 3000],
            "env": {"A": "1"}, "memory_high": "256M",
            "visibility": "private", "idle_policy": "always_on",
            "external": {"user_id": "u1", "project_id": "p1",
                         "workspace_id": "w1"},
            "a_field_of_tomorrow": 1}).json
        self.assertEqual("everything", row["id"])
        self.assertEqual([3000, 8080], row["ports"])    # folded
        self.assertEqual("private", row["visibility"])
        self.assertEqual("always_on", row["idle_policy"])
        self.assertEqual(("u1", "p1", "w1"), (
            row["external_user_id"], row["external_project_id"],
            row["external_workspace_id"]))
        self.assertEqual({"3000", "8080"}, set(row["preview_urls"]))
        self.assertIn("s-everything-3000.preview.localhost",
                      row["preview_urls"]["3000"])

        docker = self.s.docker.inspect(self.s.container("everything")["Id"])
        self.assertEqual(256 << 20, docker["HostConfig"]["Memory"])

        self.assertIn("error", self.s.expect(
            409, "POST", "/sandbox", {"id": "everything"}).json)
        mine = self.s.expect(
            200, "GET", "/sandboxes?external_user_id=u1").json
        self.assertEqual(["everything"], [r["id"] for r in mine])
        self.assertEqual([], self.s.expect(
            200, "GET", "/sandboxes?external_user_id=nobody").json)

    def test_ids_are_folded_and_checked(self):
        row = self.s.expect(201, "POST", "/sandbox", {"id": "FoldMe"}).json
        self.assertEqual("foldme", row["id"])
        self.s.expect(200, "GET", "/sandbox/FOLDME")
        before = len(self.s.expect(200, "GET", "/sandboxes").json)
        for bad in ("", "a-b", "../x", "a" * 41, "ä", "a b", "a/b", "a.b",
                    5, None, ["x"]):
            a = self.s.api("POST", "/sandbox", {"id": bad})
            if bad is None and a.status == 201:
                self.s.purge(a.json["id"])      # null is "not given"
                continue
            self.status(400, a)
            self.assertIn("id", a.json["error"])
        for path in ("/sandbox/%2e%2e", "/sandbox/a%2fb", "/sandbox/a-b",
                     "/sandbox/" + "a" * 41, "/sandbox/a%00b",
                     "/sandbox/..%2f..%2fetc"):
            for method in ("GET", "DELETE"):
                a = self.s.api(method, path)
                self.assertIn(a.status, (400, 404), f"{path} {a!r}")
        self.assertEqual(before,
                         len(self.s.expect(200, "GET", "/sandboxes").json))

    def test_bad_bodies_leave_nothing(self):
        before = {r["id"] for r in self.s.expect(200, "GET",
                                                 "/sandboxes").json}
        for body in ('{', '[]', '"x"', '', '{"ports":[0]}',
                     '{"ports":[70000]}', '{"ports":"3000"}',
                     '{"ports":[3000.5]}', '{"env":{"A=B":"1"}}',
                     '{"env":{"A":1}}', '{"env":{"":"x"}}', '{"env":[]}',
                     '{"memory_high":"lots"}', '{"memory_high":"-1G"}',
                     '{"memory_high":"999T"}', '{"visibility":"secret"}',
                     '{"idle_policy":"never"}', '{"external":"x"}',
                     '{"env":{"A":"a\\u0000b"}}', '{"id":"a"} {"id":"b"}',
                     '{"template":"no-such-template"}'):
            a = self.s.api("POST", "/sandbox", body,
                           {"Content-Type": "application/json"})
            if body == "" and a.status == 201:
                self.s.purge(a.json["id"])      # no body is all defaults
                continue
            self.assertEqual(400, a.status, f"{body} {a!r}")
            self.assertIsInstance(a.json["error"], str)
        self.assertEqual(before, {r["id"] for r in self.s.expect(
            200, "GET", "/sandboxes").json})

    def test_delete_keeps_and_purge_does_not(self):
        self.s.expect(201, "POST", "/sandbox", {"id": "phoenix"})
        self.s.expect(200, "POST", "/sandbox/phoenix/exec",
                      {"cmd": ["sh", "-c", "echo kept > $HOME/a"]})
        self.s.expect(204, "DELETE", "/sandbox/phoenix")
        self.s.expect(404, "GET", "/sandbox/phoenix")
        self.assertIsNone(self.s.container("phoenix"))
        self.s.expect(201, "POST", "/sandbox", {"id": "phoenix"})
        r = self.s.expect(200, "POST", "/sandbox/phoenix/exec",
                          {"cmd": ["sh", "-c", "cat $HOME/a"]}).json
        self.assertEqual({"stdout": "kept\n", "stderr": "", "exit_code": 0},
                         {k: r[k] for k in ("stdout", "stderr",
                                            "exit_code")})
        r = self.s.expect(200, "POST", "/sandbox/phoenix/purge").json
        self.assertIs(True, r["purged"])
        self.assertGreater(r["freed_bytes"], 0)
        r = self.s.expect(200, "POST", "/sandbox/phoenix/purge").json
        self.assertEqual(0, r["freed_bytes"])
        self.s.expect(201, "POST", "/sandbox", {"id": "phoenix"})
        r = self.s.expect(200, "POST", "/sandbox/phoenix/exec",
                          {"cmd": ["sh", "-c", "cat $HOME/a"]}).json
        self.assertNotEqual(0, r["exit_code"])

    def test_purge_of_what_code_has_locked(self):
        """Folders without any right, deep trees, links, FIFOs: all gone."""
        box = self.s.create()
        self.s.sh(box, "cd; mkdir -p a/b/c; echo x > a/b/c/f; mkfifo a/p;"
                       "ln -s / a/root; ln -s /etc/passwd a/pw; d=deep;"
                       "for i in $(seq 200); do d=$d/x; done; mkdir -p $d;"
                       "chmod 0 a/b/c a/b a")
        r = self.s.expect(200, "POST", f"/sandbox/{box}/purge").json
        self.assertGreater(r["freed_bytes"], 0)
        with open("/etc/passwd") as f:
            self.assertTrue(f.read(1))

    def test_keepalive(self):
        box = self.s.create()
        now = int(time.time())
        r = self.s.expect(200, "POST", f"/sandbox/{box}/keepalive").json
        self.assertEqual(box, r["id"])
        self.assertGreater(r["keepalive_until"], now + 60)
        r = self.s.expect(200, "POST", f"/sandbox/{box}/keepalive",
                          {"until": now + 500}).json
        self.assertEqual(now + 500, r["keepalive_until"])
        row = self.s.expect(200, "GET", f"/sandbox/{box}").json["row"]
        self.assertEqual(now + 500, row["keepalive_until"])
        self.s.expect(400, "POST", f"/sandbox/{box}/keepalive",
                      {"until": "soon and more"})
        self.s.expect(404, "POST", "/sandbox/nobody/keepalive")

    def test_wake(self):
        box = self.s.create()
        self.s.stop_box(box)
        row = self.s.expect(200, "GET", f"/sandbox/{box}").json
        self.assertEqual("stopped", row["row"]["status"])
        r = self.s.expect(200, "POST", f"/wake/{box}").json
        self.assertEqual((box, "running"), (r["id"], r["status"]))
        self.assertGreater(r["wake_duration_ms"], 0)
        self.s.expect(200, "POST", f"/wake/{box}")
        self.assertEqual("running", self.s.state(box))
        self.s.expect(404, "POST", "/wake/nobody")

    def test_exec_wakes(self):
        box = self.s.create()
        self.s.stop_box(box)
        r = self.s.expect(200, "POST", f"/sandbox/{box}/exec",
                          {"cmd": ["echo", "awake"]}).json
        self.assertEqual("awake\n", r["stdout"])
        self.s.expect(404, "POST", "/sandbox/nobody/exec", {"cmd": ["true"]})

    def test_purge_by_external(self):
        for n in range(3):
            self.s.expect(201, "POST", "/sandbox", {
                "id": f"ext{n}", "external": {
                    "user_id": "one" if n < 2 else "two",
                    "project_id": "shared"}})
        r = self.s.expect(200, "POST", "/external-users/one/purge").json
        self.assertEqual(2, r["purged_count"])
        self.assertIn("freed_bytes", r)
        self.s.expect(404, "GET", "/sandbox/ext0")
        self.s.expect(200, "GET", "/sandbox/ext2")
        r = self.s.expect(200, "POST", "/external-projects/shared/purge").json
        self.assertEqual(1, r["purged_count"])
        r = self.s.expect(200, "POST", "/external-users/one/purge").json
        self.assertEqual(0, r["purged_count"])

    def test_methods_and_paths(self):
        a = self.s.api("PUT", "/sandboxes")
        self.status(405, a)
        self.assertIn("GET", a.headers["Allow"])
        self.status(404, self.s.api("GET", "/no/such/route"))
        self.status(404, self.s.api("GET", "/v1/no-such-route"))
        self.assertEqual("ok", self.s.api("GET", "/healthz").text.strip())
        self.assertEqual("ready", self.s.api("GET", "/readyz").text.strip())


class V1Routes(Case):
    def test_object(self):
        box = self.s.expect(201, "POST", "/v1/sandboxes", {
            "labels": {"team": "a"}, "memory_mb": 200, "cpus": 0.5,
            "pids": 77, "ports": [3000]}).json
        for field in ("id", "state", "labels", "limits", "preview", "engine",
                      "node", "image", "services", "root", "created_at"):
            self.assertIn(field, box)
        self.assertEqual({"team": "a"}, box["labels"])
        self.assertEqual((200, 0.5, 77), tuple(
            box["limits"][k] for k in ("memory_mb", "cpus", "pids")))
        self.assertEqual("readonly", box["root"])
        docker = self.s.docker.inspect(self.s.container(box["id"])["Id"])
        host = docker["HostConfig"]
        self.assertEqual((200 << 20, 500000000, 77), (
            host["Memory"], host["NanoCpus"], host["PidsLimit"]))
        self.assertEqual(box["id"], self.s.get(box["id"])["id"])

    def test_unknown_fields_are_refused(self):
        a = self.s.api("POST", "/v1/sandboxes", {"prots": [3000]})
        e = self.status(400, a).json["error"]
        self.assertIn("prots", e["message"])
        self.assertIn("ports", e["message"] + e.get("hint", ""))
        self.assertEqual("prots", e.get("field"))
        self.assertEqual(a.headers["X-Request-Id"], e["request_id"])

    def test_not_both_kinds_of_memory(self):
        self.status(400, self.s.api("POST", "/v1/sandboxes", {
            "memory_mb": 200, "memory_high": "1G"}))

    def test_writable_root_is_not_yet(self):
        self.status(501, self.s.api("POST", "/v1/sandboxes",
                                    {"root": "writable"}))

    def test_stop_start_restart(self):
        box = self.s.create()
        self.assertEqual("stopped", self.s.stop_box(box)["state"])
        self.assertEqual("stopped", self.s.stop_box(box)["state"])
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        self.assertEqual("running", self.s.state(box))
        before = self.s.sh(box, "cat /proc/sys/kernel/random/boot_id; "
                                "stat -c %Y /proc/1")
        self.s.sh(box, "echo x > /tmp/gone; echo x > $HOME/kept")
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/restart")
        self.assertEqual("running", self.s.state(box))
        self.assertEqual("kept\n", self.s.sh(
            box, "[ ! -e /tmp/gone ] && [ -e $HOME/kept ] && echo kept"))
        self.assertTrue(before)

    def test_delete_purges_unless_told(self):
        box = self.s.create(id="todelete")
        self.s.sh(box, "echo kept > $HOME/a")
        self.s.expect(204, "DELETE",
                      f"/v1/sandboxes/{box}?keep_workspace=true")
        self.s.expect(404, "GET", f"/v1/sandboxes/{box}")
        self.s.create(id="todelete")
        self.assertEqual("kept\n", self.s.sh(box, "cat $HOME/a"))
        self.s.expect(204, "DELETE", f"/v1/sandboxes/{box}")
        self.s.create(id="todelete")
        self.assertEqual("no\n", self.s.sh(box, "ls $HOME/a || echo no"))

    def test_patch(self):
        box = self.s.create(labels={"a": "1", "b": "2"}, memory_mb=128)
        a = self.s.expect(200, "GET", f"/v1/sandboxes/{box}")
        tag = a.headers["ETag"]
        a = self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                          {"labels": {"a": None, "c": "3"},
                           "memory_mb": 192, "idle_s": 77},
                          {"If-Match": tag})
        self.assertEqual({"b": "2", "c": "3"}, a.json["labels"])
        self.assertEqual(192, a.json["limits"]["memory_mb"])
        self.assertNotEqual(tag, a.headers["ETag"])
        docker = self.s.docker.inspect(self.s.container(box)["Id"])
        self.assertEqual(192 << 20, docker["HostConfig"]["Memory"])
        self.s.expect(412, "PATCH", f"/v1/sandboxes/{box}",
                      {"idle_s": 78}, {"If-Match": tag})
        self.s.expect(400, "PATCH", f"/v1/sandboxes/{box}", {"id": "other"})
        self.s.expect(404, "PATCH", "/v1/sandboxes/nobody", {"idle_s": 78})

    def test_limit_below_use(self):
        box = self.s.create(memory_mb=256)
        self.s.sh(box, "dd if=/dev/zero of=/tmp/f bs=1M count=150 2>&1")
        a = self.s.api("PATCH", f"/v1/sandboxes/{box}", {"memory_mb": 64})
        self.error(409, "limit_below_use", a)
        self.assertEqual(256, self.s.get(box)["limits"]["memory_mb"])

    def test_env_is_write_only(self):
        box = self.s.create(env={"OLD": "old", "SAME": "1"})
        self.s.expect((200, 204), "PUT", f"/v1/sandboxes/{box}/env",
                      {"env": {"NEW": "new value", "SAME": "2"}})
        out = self.s.sh(box, "echo $OLD:$NEW:$SAME")    # new processes
        self.assertEqual(":new value:2\n", out)
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/restart")
        self.assertEqual(":new value:2\n",
                         self.s.sh(box, "echo $OLD:$NEW:$SAME"))
        self.status(405, self.s.api("GET", f"/v1/sandboxes/{box}/env"))
        self.assertNotIn("new value",
                         self.s.api("GET", f"/v1/sandboxes/{box}").text)

    def test_by_key(self):
        a = self.s.api("PUT", "/v1/sandboxes/by-key/user-1:main", {})
        self.assertEqual(201, a.status, repr(a))
        b = self.s.expect(200, "PUT", "/v1/sandboxes/by-key/user-1:main", {})
        self.assertEqual(a.json["id"], b.json["id"])
        self.s.stop_box(a.json["id"])
        b = self.s.expect(200, "PUT", "/v1/sandboxes/by-key/user-1:main", {})
        self.assertEqual("running", b.json["state"])

    def test_by_project(self):
        body = {"project": {"id": "p9", "user_id": "u9"}}
        a = self.s.expect(201, "POST", "/v1/sandboxes", body).json
        b = self.s.expect(200, "POST", "/v1/sandboxes", body).json
        self.assertEqual(a["id"], b["id"])
        other = self.s.expect(201, "POST", "/v1/sandboxes", {
            "project": {"id": "p9", "user_id": "u10"}}).json
        self.assertNotEqual(a["id"], other["id"])

    def test_list(self):
        made = [self.s.create(labels={"list": "yes", "n": str(i)})
                for i in range(5)]
        seen, after = [], ""
        while True:
            page = self.s.expect(
                200, "GET", "/v1/sandboxes?label.list=yes&limit=2"
                + (f"&after={after}" if after else "")).json
            self.assertLessEqual(len(page["sandboxes"]), 2)
            seen += [r["id"] for r in page["sandboxes"]]
            after = page["after"]
            if not after:
                break
        self.assertEqual(made, seen)
        self.s.stop_box(made[0])
        page = self.s.expect(200, "GET", "/v1/sandboxes?label.list=yes"
                                         "&state=stopped").json
        self.assertEqual([made[0]], [r["id"] for r in page["sandboxes"]])
        for bad in ("limit=0", "limit=1001", "limit=x", "after=%ff",
                    "state=asleep"):
            self.assertEqual(400, self.s.api(
                "GET", f"/v1/sandboxes?{bad}").status, bad)

    def test_idempotency(self):
        key = {"Idempotency-Key": "one-and-only"}
        body = {"labels": {"x": "1"}}
        a = self.s.expect(201, "POST", "/v1/sandboxes", body, key)
        b = self.s.expect(201, "POST", "/v1/sandboxes", body, key)
        self.assertEqual(a.json["id"], b.json["id"])
        self.assertIsNone(a.headers["Idempotency-Replayed"])
        self.assertEqual("true", b.headers["Idempotency-Replayed"])
        self.status(422, self.s.api("POST", "/v1/sandboxes",
                                    {"labels": {"x": "2"}}, key))
        c = self.s.expect(201, "POST", "/sandbox", {}, key)     # another path
        self.assertNotEqual(a.json["id"], c.json["id"])

    def test_respond_async(self):
        a = self.s.expect(202, "POST", "/v1/sandboxes", {"id": "async"},
                          {"Prefer": "respond-async"})
        place = a.headers["Location"]
        self.assertRegex(place, r"^/v1/operations/\d+$")
        until("the operation has ended",
              lambda: self.s.api("GET", place).status != 202)
        self.assertEqual("running", self.s.state("async"))

    def test_failed_service_and_missing_image(self):
        a = self.s.api("POST", "/v1/sandboxes",
                       {"image": "holdfast/no-such-image:1"})
        self.assertGreaterEqual(a.status, 400, repr(a))
        e = a.json["error"]
        self.assertIn("image", e["message"])
        self.assertEqual([], [
            r for r in self.s.expect(200, "GET", "/sandboxes").json
            if r["image"] == "holdfast/no-such-image:1"
            and r["state"] == "creating"])
