"""Dev servers behind the gate, seen by a real browser.

Vite and Next.js run as their users run them, untouched, in sandboxes of
holdfast/base. The domain is not localhost: dev servers trust that name
whatever else they refuse.
"""

import hashlib
import http.client
import json
import os
import re
import shutil
import threading
import time
import unittest

import npm
from browser import Browser
from case import Case, until

BASE = True
SLOW = True
LIMIT = 400

DOMAIN = "hf.example"
MB = 1000000

# Services begin when setup has ended, setup when the files are there.
SETUP = {"cmd": ["sh", "-c", "until [ -e .here ]; do sleep 0.05; done"]}
# .delay makes a dev server that takes long to start.
START = "sleep $(cat .delay 2>/dev/null || echo 0); exec npm run dev"

# The waits of a dev client, shortened: a minute of its life takes a second.
HURRY = """{const real = setTimeout;
window.setTimeout = (f, ms, ...more) => real(f, ms / 50, ...more)}"""


class Browsed(Case):
    """A stack of holdfast/base, and one browser for all tests."""

    settings = {"image": "holdfast/base:latest", "memory_default": "1G",
                "domain": DOMAIN}
    seconds = 120

    @classmethod
    def setUpClass(cls):
        if not shutil.which("chromium"):
            raise unittest.SkipTest("chromium is not installed")
        super().setUpClass()
        try:
            cls.browser = Browser(
                f"--host-resolver-rules=MAP *.{DOMAIN} 127.0.0.1")
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

    def sandbox(self, port, put, **body):
        """A sandbox with files that put(folder, uid) has made, and its
        host."""
        box = self.s.create(freeze_s=0, setup=SETUP, **body)
        self.addCleanup(self.s.purge, box)
        home = f"{self.s.dir}/data/sandboxes/{box}/home"
        put(f"{home}/workspace/app", os.stat(home).st_uid)
        with open(f"{home}/workspace/app/.here", "w"):
            pass
        return box, f"s-{box}-{port}.preview.{DOMAIN}"

    def dev(self, name, port, host_header="localhost", **body):
        def put(folder, uid):
            npm.install(name, folder, uid, self.s.docker.path)
        return self.sandbox(port, put, preview_host_header=host_header,
                            services=[{"name": "web", "port": port,
                                       "cmd": ["sh", "-c", START]}], **body)

    def open(self, host, path="/", before=None):
        port = self.s.preview_address.split(":")[1]
        page = self.browser.open(f"http://{host}:{port}{path}", before)
        self.pages.append(page)
        return page

    def shows(self, page, word, seconds=60):
        try:
            until(f"the page shows {word!r}", lambda: page.js(
                "document.getElementById('word')?.textContent") == word,
                seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{page.js('document.title')}\n"
                                 f"{page.console()}") from None

    def logged(self, host, status):
        """How many requests for a host were answered with status."""
        with open(f"{self.s.dir}/log/access.log") as f:
            return len(re.findall(rf" {status} \"GET {host}/", f.read()))

    def says(self, box, file, word):
        self.s.sh(box, f"echo \"export const word = '{word}'\" >{file}")

    def only_on_loopback(self, box, port):
        found = self.s.sh(box, "cat /proc/net/tcp /proc/net/tcp6")
        at = re.findall(rf"(?m)^ *\d+: ([0-9A-F]+):{port:04X} .{{8,32}}"
                        r":0000 0A", found)
        self.assertTrue(at, found)
        for address in at:
            self.assertIn(address, ("0100007F", "0" * 24 + "01000000"))


class DevServers(Browsed):
    def hot(self, page, box, file, word):
        """A changed file changes the page, which is not loaded anew."""
        until("its dev client is connected", lambda: re.search(
            r"\[(vite|HMR)\] connected", page.console()))
        page.js("window.mark = 'same page'")
        self.says(box, file, word)
        self.shows(page, word, 20)
        self.assertEqual("same page", page.js("window.mark"))

    def sleeps_on(self, box, host, times):
        """A page that was left open calls so many times, for nothing."""
        before = self.logged(host, 503)
        until(f"the page has tried {times} times", lambda:
              self.logged(host, 503) >= before + times, 30)
        self.assertEqual("stopped", self.s.state(box))
        pass

    def test_vite(self):
        box, host = self.dev("vite", 5173)
        left = self.open(host)
        self.shows(left, "first")
        self.only_on_loopback(box, 5173)
        self.hot(left, box, "word.js", "second")

        self.s.stop_box(box)
        self.sleeps_on(box, host, 4)

        page = self.open(host)
        self.shows(page, "second")
        self.hot(page, box, "word.js", "third")
        left.front()                            # and comes back by itself
        self.shows(left, "third", 20)
        self.hot(left, box, "word.js", "fourth")

        # A start that takes long shows the page that becomes the app.
        self.s.sh(box, "echo 3 >.delay")
        left.close()
        self.pages.remove(left)
        self.s.stop_box(box)
        page.go(page.js("location.href"))
        self.assertEqual("Waking up", page.js("document.title"))
        self.shows(page, "fourth")
        self.hot(page, box, "word.js", "fifth")

    def test_vite_and_the_host_it_is_asked_for(self):
        box, host = self.dev("vite", 5173, "public")
        headers = {"Host": host, "Accept": "text/html"}
        a = until("Vite answers", lambda: [x for x in [self.s.preview(
            box, 5173, headers=headers)] if x.status != 503])[0]
        self.status(403, a)
        self.assertIn("allowedHosts", a.text)
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                      {"preview_host_header": "localhost"})
        a = self.status(200, self.s.preview(box, 5173, headers=headers))
        self.assertIn("/@vite/client", a.text)

    def test_next(self):
        box, host = self.dev("next", 3000, "public", memory_mb=2048)
        page = self.open(host)
        self.shows(page, "first")
        until("hydrated", lambda: page.js(
            "document.getElementById('word').className") == "hydrated")
        self.hot(page, box, "app/word.js", "second")
        self.s.stop_box(box)
        self.sleeps_on(box, host, 4)
        new = self.open(host)
        self.shows(new, "second")
        self.hot(new, box, "app/word.js", "third")
        page.front()
        self.shows(page, "third")


class Streams(Browsed):
    pass
