"""Who may do what: tokens, tenants, scopes, quotas, browsers."""

import hashlib

from case import Case



class Tenants(Case):
    settings = {
        "auth_tokens": "root:root-secret-1,"
                       "acme/alice:admin=alice-secret-1,"
                       "acme/alice:admin=alice-secret-2,"
                       "acme/reader:ro=reader-secret-1,"
                       "acme/writer:rw=writer-secret-1,"
                       "acme/narrow:only1+only2=narrow-secret-1,"
                       "globex/bob=bob-secret-1,"
                       "globex/hidden=sha256:"
                       + hashlib.sha256(b"hidden-secret-1").hexdigest(),
        "tenant_sandboxes_max": 4,
        "tenant_awake_max": 3,
    }

    def tearDown(self):
        self.s.token = "root-secret-1"
        for token in ("root-secret-1", "alice-secret-1", "bob-secret-1"):
            for row in self.s.api("GET", "/sandboxes", token=token).json:
                self.s.api("POST", f"/sandbox/{row['id']}/purge",
                           token=token)
        self.s.token = None

    def test_no_token_no_entry(self):
        for token in (None, "wrong-secret-1", "alice-secret-1x", "root"):
            for method, path in (("GET", "/sandboxes"),
                                 ("POST", "/sandbox"),
                                 ("GET", "/v1/sandboxes"),
                                 ("GET", "/v1/info"),
                                 ("POST", "/sandbox/x/exec"),
                                 ("POST", "/v1/sandboxes/x/exec"),
                                 ("GET", "/no/such/route"),
                                 ("GET", "/_op/1")):
                a = self.s.api(method, path, token=token)
                want = (401, 404) if path == "/_op/1" else (401,)
                self.assertIn(a.status, want, f"{method} {path} {a!r}")
                if a.status == 401:
                    self.assertIn("Bearer", a.headers["WWW-Authenticate"])
        for path in ("/healthz", "/readyz"):
            self.status(200, self.s.api("GET", path))

    def test_forms_of_the_header(self):
        for value in ("Basic YTpi", "Bearer", "Bearer ", "bearer",
                      "alice-secret-1", "Bearer alice-secret-1 more"):
            a = self.s.api("GET", "/sandboxes",
                           headers={"Authorization": value})
            self.assertEqual(401, a.status, value)
        for token in ("alice-secret-1", "alice-secret-2", "hidden-secret-1"):
            self.status(200, self.s.api("GET", "/sandboxes", token=token))

    def test_params_of_nginx_cannot_be_sent(self):
        """The gate tells the api who calls; a client must not."""
        box = self.s.expect(201, "POST", "/sandbox", {"id": "acmebox"},
                            token="alice-secret-1").json["id"]
        for name in ("Holdfast-Tenant", "HOLDFAST_TENANT", "Holdfast_Tenant",
                     "X-Holdfast-Tenant", "Http-Holdfast-Tenant"):
            a = self.s.api("GET", f"/sandbox/{box}", token="bob-secret-1",
                           headers={name: "acme", "Holdfast-Scope": "admin",
                                    "Holdfast-Op": "1"})
            self.assertEqual(404, a.status, name)

    def test_tenants_do_not_see_each_other(self):
        box = self.s.expect(201, "POST", "/sandbox", {
            "id": "mine", "external": {"user_id": "same"}},
            token="alice-secret-1").json["id"]
        bob = {"token": "bob-secret-1"}
        for method, path, body in (
                ("GET", f"/sandbox/{box}", None),
                ("DELETE", f"/sandbox/{box}", None),
                ("POST", f"/sandbox/{box}/exec", {"cmd": ["true"]}),
                ("POST", f"/sandbox/{box}/keepalive", None),
                ("POST", f"/wake/{box}", None),
                ("GET", f"/v1/sandboxes/{box}", None),
                ("PATCH", f"/v1/sandboxes/{box}", {"idle_s": 60}),
                ("PUT", f"/v1/sandboxes/{box}/env", {"env": {}}),
                ("POST", f"/v1/sandboxes/{box}/stop", None),
                ("POST", f"/v1/sandboxes/{box}/start", None),
                ("POST", f"/v1/sandboxes/{box}/exec", {"cmd": ["true"]})):
            a = self.s.api(method, path, body, **bob)
            self.assertEqual(404, a.status, f"{method} {path} {a!r}")
        self.assertEqual([], self.s.api("GET", "/sandboxes", **bob).json)
        r = self.s.expect(200, "POST", "/external-users/same/purge",
                          **bob).json
        self.assertEqual(0, r["purged_count"])
        self.s.expect(409, "POST", "/sandbox", {"id": box}, **bob)
        # A purge of what is not there and of what is not ours look alike.
        for method, path in (("POST", "/sandbox/{}/purge"),
                             ("DELETE", "/v1/sandboxes/{}")):
            mine = self.s.api(method, path.format(box), **bob)
            none = self.s.api(method, path.format("nobody"), **bob)
            self.assertEqual(none.status, mine.status)
            self.assertEqual(none.text[:60].replace("nobody", box),
                             mine.text[:60])
        self.s.expect(200, "GET", f"/sandbox/{box}", token="alice-secret-1")

        # A kept workspace stays its owner's.
        self.s.expect(204, "DELETE", f"/sandbox/{box}",
                      token="alice-secret-1")
        self.s.expect(409, "POST", "/sandbox", {"id": box}, **bob)
        self.s.expect(201, "POST", "/sandbox", {"id": box},
                      token="alice-secret-2")

    def test_idempotency_is_per_tenant(self):
        key = {"Idempotency-Key": "the-same-for-both"}
        a = self.s.expect(201, "POST", "/v1/sandboxes", {}, key,
                          token="alice-secret-1")
        b = self.s.expect(201, "POST", "/v1/sandboxes", {}, key,
                          token="bob-secret-1")
        self.assertNotEqual(a.json["id"], b.json["id"])

    def test_scopes(self):
        for n in (1, 2, 3):
            self.s.expect(201, "POST", "/sandbox", {"id": f"only{n}"},
                          token="alice-secret-1")
        ro, rw, ids = "reader-secret-1", "writer-secret-1", "narrow-secret-1"
        self.s.expect(200, "GET", "/sandbox/only1", token=ro)
        for method, path, body in (
                ("POST", "/sandbox", {}),
                ("POST", "/sandbox/only1/exec", {"cmd": ["true"]}),
                ("POST", "/v1/sandboxes/only1/exec", {"cmd": ["true"]}),
                ("POST", "/wake/only1", None),
                ("PATCH", "/v1/sandboxes/only1", {"idle_s": 60}),
                ("DELETE", "/sandbox/only1", None)):
            a = self.s.api(method, path, body, token=ro)
            self.assertEqual(403, a.status, f"{method} {path} {a!r}")
        self.s.expect(200, "POST", "/sandbox/only1/exec", {"cmd": ["true"]},
                      token=rw)
        self.s.expect(200, "GET", "/sandbox/only1", token=ids)
        self.s.expect(200, "POST", "/v1/sandboxes/only2/exec",
                      {"cmd": ["true"]}, token=ids)
        for method, path in (("GET", "/sandbox/only3"),
                             ("POST", "/v1/sandboxes/only3/exec"),
                             ("POST", "/sandbox/only3/exec")):
            a = self.s.api(method, path, {"cmd": ["true"]}
                           if method == "POST" else None, token=ids)
            self.assertIn(a.status, (403, 404), repr(a))
        self.assertEqual({"only1", "only2"}, {
            r["id"] for r in self.s.api("GET", "/sandboxes",
                                        token=ids).json})

    def test_quota(self):
        alice = {"token": "alice-secret-1"}
        made = [self.s.expect(201, "POST", "/v1/sandboxes", {},
                              **alice).json["id"] for _ in range(3)]
        e = self.error(429, "quota_exceeded",
                       self.s.api("POST", "/v1/sandboxes", {}, **alice))
        self.assertIn("3", e["message"])
        self.s.expect(200, "POST", f"/v1/sandboxes/{made[0]}/stop", **alice)
        self.s.expect(201, "POST", "/v1/sandboxes", {}, **alice)
        self.status(429, self.s.api("POST", f"/v1/sandboxes/{made[0]}/start",
                                    **alice))
        self.s.expect(200, "POST", f"/v1/sandboxes/{made[1]}/stop", **alice)
        self.error(429, "quota_exceeded",
                   self.s.api("POST", "/v1/sandboxes", {}, **alice))
        self.s.expect(201, "POST", "/v1/sandboxes", {}, token="bob-secret-1")

    def test_browsers(self):
        alice = {"token": "alice-secret-1"}
        for headers in ({"Origin": "http://evil.example"},
                        {"Origin": "null"},
                        {"Origin": "http://s-x-3000.preview.localhost"},
                        {"Sec-Fetch-Site": "cross-site"},
                        {"Sec-Fetch-Site": "same-site"}):
            a = self.s.api("GET", "/sandboxes", headers=headers, **alice)
            self.assertEqual(403, a.status, f"{headers} {a!r}")
        for headers in ({"Sec-Fetch-Site": "none"},
                        {"Sec-Fetch-Site": "same-origin"}):
            self.status(200, self.s.api("GET", "/sandboxes",
                                        headers=headers, **alice))
        for host in ("evil.example", "s-x-3000.preview.localhost", "a:b:c"):
            a = self.s.api("GET", "/sandboxes", headers={"Host": host},
                           **alice)
            self.assertIn(a.status, (400, 403, 421), f"{host} {a!r}")


class Open(Case):
    """Without tokens: loopback only, and still not for web pages."""

    def test_everybody_is_default(self):
        self.s.expect(200, "GET", "/sandboxes")
        self.status(403, self.s.api("GET", "/sandboxes", headers={
            "Origin": "http://evil.example"}))

    def test_start_without_tokens_on_all_addresses_is_refused(self):
        import subprocess
        self.s.configure(api_listen="0.0.0.0:" +
                         self.s.api_address.split(":")[1])
        try:
            r = subprocess.run(self.s.command("-c", self.s.conf, "check"),
                               capture_output=True, text=True)
        finally:
            self.s.configure(api_listen=self.s.api_address)
        self.assertNotEqual(0, r.returncode)
        self.assertIn("auth_tokens", r.stderr + r.stdout)
