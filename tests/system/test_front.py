"""What stands in front: load balancers, the PROXY protocol, TLS."""

import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile

from case import Case, until

TRUSTED = "127.0.0.7"


class Front(Case):
    """A balancer at 127.0.0.7 that ends TLS and sends X-Forwarded-For."""

    settings = {"trusted_proxies": f"{TRUSTED},10.0.0.0/8,fd00::/8",
                "preview_scheme": "https", "preview_public_port": 443}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.box = cls.s.create_app(3000, ports=[3000])

    def talk(self, text, source="127.0.0.1", address=None, before=b""):
        """One request from `source`: the whole answer as text."""
        host, port = (address or self.s.preview_address).rsplit(":", 1)
        c = socket.create_connection((host, int(port)), 30, (source, 0))
        try:
            c.sendall(before + text.encode())
            got = b""
            while True:
                try:
                    more = c.recv(65536)
                except ConnectionResetError:
                    break
                if not more:
                    break
                got += more
        finally:
            c.close()
        return got.decode("latin-1")

    def seen(self, source, before=b"", **headers):
        """The headers that the app saw."""
        text = f"GET /{source} HTTP/1.1\r\nHost: " \
            f"{self.s.preview_host(self.box)}\r\nConnection: close\r\n"
        for name, value in headers.items():
            text += f"{name.replace('_', '-')}: {value}\r\n"
        answer = self.talk(text + "\r\n", source, before=before)
        self.assertIn(" 200 ", answer.split("\r\n")[0], answer)
        return dict(re.findall(r'"([a-z-]+)":\s*"([^"]*)"', answer))

    def test_a_trusted_proxy_is_believed(self):
        for sent, want in (("9.9.9.9", "9.9.9.9"),
                           ("6.6.6.6, 9.9.9.9", "9.9.9.9"),
                           ("6.6.6.6, 9.9.9.9, 10.1.2.3", "9.9.9.9"),
                           ("127.0.0.1, 9.9.9.9", "9.9.9.9"),
                           ("2001:db8::1, fd00::5", "2001:db8::1"),
                           ("nonsense", TRUSTED)):
            h = self.seen(TRUSTED, X_Forwarded_For=sent,
                          X_Forwarded_Proto="gopher", X_Forwarded_Port="1",
                          X_Forwarded_Host="evil", X_Real_IP="6.6.6.6",
                          Forwarded="for=6.6.6.6")
            self.assertEqual(want, h["x-forwarded-for"], sent)
            self.assertEqual(want, h["x-real-ip"])
            self.assertEqual("https", h["x-forwarded-proto"])
            self.assertEqual("443", h["x-forwarded-port"])
            self.assertEqual(self.s.preview_host(self.box),
                             h["x-forwarded-host"])
            self.assertNotIn("forwarded", h)

    def test_nobody_else_is(self):
        h = self.seen("127.0.0.1", X_Forwarded_For="9.9.9.9",
                      X_Real_IP="9.9.9.9", Forwarded="for=9.9.9.9",
                      X_Forwarded_Proto="gopher")
        self.assertEqual("127.0.0.1", h["x-forwarded-for"])
        self.assertEqual("127.0.0.1", h["x-real-ip"])
        self.assertEqual("https", h["x-forwarded-proto"])
        self.assertNotIn("9.9.9.9", repr(h))

    def logged(self, mark):
        with open(f"{self.s.dir}/log/access.log") as f:
            return next((x for x in f if mark in x), None)

    def test_log_and_audit_have_the_client(self):
        body = '{"id":"front7"}'
        answer = self.talk(
            "POST /v1/sandboxes HTTP/1.1\r\nHost: localhost\r\nX-Request-Id:"
            " front-audit-1\r\nConnection: close\r\nX-Forwarded-For: 9.9.9.8"
            "\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}", TRUSTED,
            self.s.api_address)
        self.assertIn(" 201 ", answer.split("\r\n")[0], answer)
        rows = self.s.expect(200, "GET", "/v1/audit").text
        self.assertIn("9.9.9.8", rows)
        line = until("the call is in the log",
                     lambda: self.logged("front-audit-1"))
        self.assertEqual("9.9.9.8", line.split(" ")[1])
        self.assertIn('"POST localhost/v1/sandboxes"', line)
        self.assertIn(" sandbox=front7 ", line)
        self.s.purge("front7")


class Protocol(Front):
    """A balancer that speaks the PROXY protocol to preview_listen."""

    settings = {"trusted_proxies": TRUSTED, "proxy_protocol": "previews"}

    def v2(self, address):
        return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(
            "!BBH4s4sHH", 0x21, 0x11, 12, socket.inet_aton(address),
            socket.inet_aton("10.0.0.1"), 4242, 80)

    def test_a_trusted_proxy_is_believed(self):
        for before in (b"PROXY TCP4 9.9.9.9 10.0.0.1 4242 80\r\n",
                       self.v2("9.9.9.9")):
            h = self.seen(TRUSTED, before, X_Forwarded_For="6.6.6.6")
            self.assertEqual("9.9.9.9", h["x-forwarded-for"])
            self.assertEqual("9.9.9.9", h["x-real-ip"])

    def test_nobody_else_is(self):
        for before in (b"PROXY TCP4 9.9.9.9 10.0.0.1 4242 80\r\n",
                       self.v2("9.9.9.9")):
            h = self.seen("127.0.0.1", before, X_Forwarded_For="6.6.6.6")
            self.assertEqual("127.0.0.1", h["x-forwarded-for"])

    def test_without_it_there_is_no_answer(self):
        answer = self.talk("GET / HTTP/1.1\r\nHost: "
                           f"{self.s.preview_host(self.box)}\r\n\r\n", TRUSTED)
        self.assertNotIn("x-forwarded-for", answer)

    def test_log_and_audit_have_the_client(self):
        """The API is called as before."""
        self.s.expect(200, "GET", "/v1/info")


class Tls(Case):
    """A wildcard certificate of a CA of our own."""

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="holdfast-tls-")
        os.chmod(cls.dir, 0o755)
        cls.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
                    "2", "-subj", "/CN=Test CA", "-keyout", "ca.key",
                    "-out", "ca.pem")
        cls.issue(1001)
        cls.settings = {"tls_certificate": f"{cls.dir}/chain.pem",
                        "tls_key": f"{cls.dir}/key.pem",
                        "tls_listen": "127.0.0.1:1",
                        "preview_scheme": "https", "domain": "test.example"}
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        from stack import Stack
        cls.s = Stack(start=False, **cls.settings)
        cls.addClassCleanup(lambda: cls.s.stop())
        port = int(cls.s.preview_address.split(":")[1]) + 2
        cls.tls = ("127.0.0.1", port)
        cls.s.configure(tls_listen=f"127.0.0.1:{port}",
                        preview_public_port=port)
        cls.s.start()
        cls.box = cls.s.create_app(3000, ports=[3000])

    @classmethod
    def tearDownClass(cls):
        pass

    @classmethod
    def openssl(cls, *args):
        subprocess.run(["openssl", *args], cwd=cls.dir, check=True,
                       capture_output=True)

    @classmethod
    def issue(cls, serial):
        """What lego or certbot would put there."""
        with open(f"{cls.dir}/ext", "w") as f:
            f.write("subjectAltName=DNS:*.preview.test.example,"
                    "DNS:*.test.example\n")
        cls.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=*.test.example", "-keyout", "new.key", "-out",
                    "new.csr")
        cls.openssl("x509", "-req", "-in", "new.csr", "-CA", "ca.pem",
                    "-CAkey", "ca.key", "-set_serial", str(serial), "-days",
                    "2", "-extfile", "ext", "-out", "new.pem")
        os.replace(f"{cls.dir}/new.key", f"{cls.dir}/key.pem")
        os.replace(f"{cls.dir}/new.pem", f"{cls.dir}/chain.pem")

    def connect(self, host):
        trust = ssl.create_default_context(cafile=f"{self.dir}/ca.pem")
        return trust.wrap_socket(socket.create_connection(self.tls, 20),
                                 server_hostname=host)

    def serial(self):
        with self.connect(f"3000-{self.box}.test.example") as c:
            return int(c.getpeercert()["serialNumber"], 16)

    def test_both_forms_of_the_host_and_the_link(self):
        url = self.s.get(self.box)["preview_urls"]["3000"]
        self.assertEqual(f"https://s-{self.box}-3000.preview.test.example:"
                         f"{self.tls[1]}", url)
        for host in (f"s-{self.box}-3000.preview.test.example",
                     f"3000-{self.box}.test.example"):
            with self.connect(host) as c:
                c.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n"
                          "Connection: close\r\n\r\n".encode())
                got = b""
                while more := c.recv(65536):
                    got += more
            self.assertIn(b" 200 ", got.split(b"\r\n")[0], got)
            self.assertRegex(got, rb'"x-forwarded-proto":\s*"https"')
            self.assertRegex(got, rb'"x-forwarded-port":\s*"%d"'
                             % self.tls[1])

    def test_http2(self):
        host = f"3000-{self.box}.test.example"
        r = subprocess.run(
            ["curl", "-s", "--cacert", f"{self.dir}/ca.pem", "--resolve",
             f"{host}:{self.tls[1]}:127.0.0.1", "-w",
             " %{http_code} %{http_version}",
             f"https://{host}:{self.tls[1]}/x"],
            capture_output=True, timeout=30)
        self.assertTrue(r.stdout.endswith(b" 200 2"), r)

    def test_old_protocols_are_refused(self):
        r = subprocess.run(["openssl", "s_client", "-tls1_1", "-cipher",
                            "ALL@SECLEVEL=0", "-connect",
                            "%s:%d" % self.tls], stdin=subprocess.DEVNULL,
                           capture_output=True, timeout=30)
        self.assertNotEqual(0, r.returncode)

    def test_renewed_by_reload_and_never_broken_by_it(self):
        self.assertEqual(1001, self.serial())
        held = self.connect(f"3000-{self.box}.test.example")
        type(self).issue(1002)
        reload = self.s.command("-c", self.s.conf, "reload")
        subprocess.run(reload, check=True, timeout=30)
        until("the new certificate is served",
              lambda: self.serial() == 1002)
        # the connection of before goes on
        held.sendall(f"GET / HTTP/1.1\r\nHost: 3000-{self.box}.test.example"
                     "\r\nConnection: close\r\n\r\n".encode())
        self.assertIn(b" 200 ", held.recv(65536))
        held.close()
        # a key that is none of this certificate's
        key = f"{self.dir}/key.pem"
        os.rename(key, key + ".well")
        shutil.copy(f"{self.dir}/ca.key", key)
        r = subprocess.run(reload, capture_output=True, text=True, timeout=30)
        self.assertNotEqual(0, r.returncode)
        self.assertIn("key values mismatch", r.stderr + r.stdout
                      + self.s.logs())
        os.rename(key + ".well", key)
        self.assertEqual(1002, self.serial())
        self.status(200, self.s.preview(self.box, headers={
            "Host": f"3000-{self.box}.test.example"}))
