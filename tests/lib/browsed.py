"""Cases that need what users have: Node in holdfast/base, and a browser.

    from browsed import Boxed, Browsed

The domain is not localhost: dev servers trust that name whatever else they
refuse. A file with Browsed says PACKAGES = "chromium".
"""

import os
import re
import shutil
import sqlite3
import subprocess
import unittest

from browser import Browser
from case import Case, until
from stack import Stack

DOMAIN = "hf.example"

# Services begin when setup has ended, setup when the files are there.
SETUP = {"cmd": ["sh", "-c", "until [ -e .here ]; do sleep 0.05; done"]}


class Boxed(Case):
    """A stack of holdfast/base whose sandboxes begin with files. It has TLS
    and HTTP/2, too."""

    settings = {"image": "holdfast/base:latest", "memory_default": "1G",
                "domain": DOMAIN}
    seconds = 120

    @classmethod
    def make_stack(cls):
        s = Stack(start=False, **cls.settings)
        try:
            cls.tls_port = int(s.api_address.split(":")[1]) + 3
            cls.tls(s)
            s.start()
        except BaseException:
            s.stop(check=False)
            raise
        return s

    @classmethod
    def tls(cls, s):
        key, cert = f"{s.dir}/key.pem", f"{s.dir}/cert.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
             "-days", "2", "-subj", f"/CN={DOMAIN}", "-keyout", key,
             "-out", cert], check=True, capture_output=True)
        s.configure(tls_listen=f"127.0.0.1:{cls.tls_port}",
                    tls_certificate=cert, tls_key=key)

    def sandbox(self, port, put, **body):
        """A sandbox with files that put(folder, uid) has made, and its
        host."""
        box = self.s.create(setup=SETUP, **{"freeze_s": 0, **body})
        self.addCleanup(self.s.purge, box)
        home = f"{self.s.dir}/data/sandboxes/{box}/home"
        put(f"{home}/workspace/app", os.stat(home).st_uid)
        with open(f"{home}/workspace/app/.here", "w"):
            pass
        return box, f"s-{box}-{port}.preview.{DOMAIN}"

    def asleep(self, box):
        """The generation of a sandbox that is stopped."""
        self.assertEqual("stopped", self.s.state(box))
        db = sqlite3.connect(f"file:{self.s.dir}/data/db/holdfast.db?mode=ro",
                             uri=True)
        try:
            return db.execute("SELECT generation FROM sandboxes WHERE id = ?",
                              (box,)).fetchone()[0]
        finally:
            db.close()

    def logged(self, host, status):
        """How many requests for a host were answered with status."""
        with open(f"{self.s.dir}/log/access.log") as f:
            return len(re.findall(rf" {status} \"GET {host}/", f.read()))


class Browsed(Boxed):
    """One browser for all tests; each has its own tabs."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("chromium"):
            raise unittest.SkipTest("chromium is not installed")
        super().setUpClass()
        try:
            cls.browser = Browser(
                f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1",
                "--ignore-certificate-errors",
                f"--unsafely-treat-insecure-origin-as-secure=*.{DOMAIN}",
                ports=[int(cls.s.preview_address.split(":")[1]),
                       cls.tls_port])
        except BaseException:
            super().tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.browser.stop()
        finally:
            super().tearDownClass()

    def setUp(self):
        self.pages = []
        self.addCleanup(lambda: [p.close() for p in self.pages])

    def address(self, host, path="/", tls=False):
        port = self.tls_port if tls else self.s.preview_address.split(":")[1]
        return f"http{'s' if tls else ''}://{host}:{port}{path}"

    def open(self, host, path="/", before=None, tls=False):
        page = self.browser.open(self.address(host, path, tls), before)
        self.pages.append(page)
        return page

    def close(self, page):
        page.close()
        self.pages.remove(page)

    def shows(self, page, word, seconds=60):
        try:
            until(f"the page shows {word!r}", lambda: page.js(
                "document.getElementById('word')?.textContent") == word,
                seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{page.js('document.title')}\n"
                                 f"{page.console()}") from None
