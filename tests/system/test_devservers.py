"""Dev servers behind the gate, seen by a real browser.

Vite and Next.js run as their users run them, untouched, in sandboxes of
holdfast/base, on a domain that they do not know.
"""

import re
import unittest

import npm
from browsed import Browsed
from case import until

BASE = True
SLOW = True
PACKAGES = "chromium"
LIMIT = 400

# .delay makes a dev server that takes long to start.
START = "sleep $(cat .delay 2>/dev/null || echo 0); exec npm run dev"


# The waits of a dev client, shortened: a minute of its life takes a second.
HURRY = """{const real = setTimeout;
window.setTimeout = (f, ms, ...more) => real(f, ms / 50, ...more)}"""


class DevServers(Browsed):
    settings = {**Browsed.settings, "preview_host_header": "localhost",
                "quiet_s": 5}

    def dev(self, name, port, **body):
        def put(folder, uid):
            npm.install(name, folder, uid, self.s.docker.path)
        return self.sandbox(port, put, services=[{
            "name": "web", "port": port, "cmd": ["sh", "-c", START]}], **body)

    def says(self, box, file, word):
        self.s.sh(box, f"echo \"export const word = '{word}'\" >{file}")

    def connected(self, page):
        until("its dev client is connected", lambda: re.search(
            r"\[(vite|HMR)\] connected", page.console()))

    def subscribed(self, page, box, file):
        """Turbopack misses a change that comes while a client subscribes,
        which is some time after it has connected."""
        self.connected(page)
        for n in range(10):
            self.says(box, file, f"try {n}")
            try:
                return self.shows(page, f"try {n}", 2)
            except AssertionError:
                pass
        self.fail("no change reaches the page")

    def hot(self, page, box, file, word, tries=1):
        """A changed file changes the page, which is not loaded anew."""
        for n in range(tries):
            self.connected(page)
            page.js("window.mark = 'same page'")
            self.says(box, file, word)
            self.shows(page, word, 20)
            if page.js("window.mark") == "same page":
                return
            self.says(box, file, f"not {word}")
            self.shows(page, f"not {word}", 20)
        self.fail("it was loaded anew")

    def sleeps_on(self, box, host, times):
        """A page that was left open calls so many times, for nothing."""
        was, before = self.asleep(box), self.logged(host, 503)
        until(f"the page has tried {times} times", lambda:
              self.logged(host, 503) >= before + times, 30)
        self.assertEqual(was, self.asleep(box))

    def only_on_loopback(self, box, port):
        found = self.s.sh(box, "cat /proc/net/tcp /proc/net/tcp6")
        at = re.findall(rf"(?m)^ *\d+: ([0-9A-F]+):{port:04X} .{{8,32}}"
                        r":0000 0A", found)
        self.assertTrue(at, found)
        for address in at:
            self.assertIn(address, ("0100007F", "0" * 24 + "01000000"))

    def test_vite(self):
        box, host = self.dev("vite", 5173)
        left = self.open(host)
        self.shows(left, "first")
        self.only_on_loopback(box, 5173)
        self.hot(left, box, "word.js", "second")

        self.s.stop_box(box)
        self.sleeps_on(box, host, 3)

        page = self.open(host)
        self.shows(page, "second")
        self.hot(page, box, "word.js", "third")
        left.front()                            # and comes back by itself
        self.shows(left, "third", 20)
        self.hot(left, box, "word.js", "fourth")

        # A start that takes long shows the page that becomes the app.
        self.s.sh(box, "echo 3 >.delay")
        self.close(left)
        self.s.stop_box(box)
        page.go(page.js("location.href"))
        until("it is told what it waits for",
              lambda: page.js("document.title") == "Waking up", 3)
        self.shows(page, "fourth")
        self.hot(page, box, "word.js", "fifth")

    def test_vite_over_tls(self):
        box, host = self.dev("vite", 5173)
        page = self.open(host, tls=True)
        self.shows(page, "first")
        self.assertEqual("h2", page.js(
            "performance.getEntriesByType('navigation')[0].nextHopProtocol"))
        self.hot(page, box, "word.js", "second")

    def test_vite_and_the_host_it_is_asked_for(self):
        box, host = self.dev("vite", 5173, preview_host_header="public")
        headers = {"Host": host, "Accept": "text/html"}
        a = until("Vite answers", lambda: [x for x in [self.s.preview(
            box, 5173, headers=headers)] if x.status != 503])[0]
        self.status(403, a)
        self.assertIn("allowedHosts", a.text)
        self.s.expect(200, "PATCH", f"/v1/sandboxes/{box}",
                      {"preview_host_header": "localhost"})
        a = until("it does not refuse", lambda: [x for x in [self.s.preview(
            box, 5173, headers=headers)] if x.status != 403])[0]
        self.status(200, a)
        self.assertIn("/@vite/client", a.text)

    def test_next(self):
        box, host = self.dev("next", 3000, memory_mb=2048)
        page = self.open(host)
        self.shows(page, "first")
        until("hydrated", lambda: page.js(
            "document.getElementById('word').className") == "hydrated", 60)
        self.subscribed(page, box, "app/word.js")
        # Its client may load the page anew when its server is a new one.
        self.hot(page, box, "app/word.js", "second", 3)
        self.s.stop_box(box)
        self.sleeps_on(box, host, 3)
        new = self.open(host)
        self.shows(new, "second")
        self.subscribed(new, box, "app/word.js")
        self.hot(new, box, "app/word.js", "third", 3)
        page.front()
        self.shows(page, "third")

    def test_next_gives_up_and_loads_itself_anew(self):
        """After a dozen tries its client reloads the page: not a visit."""
        box, host = self.dev("next", 3000, memory_mb=2048)
        page = self.open(host, before=HURRY)
        self.shows(page, "first")
        self.connected(page)
        self.s.stop_box(box)
        was = self.asleep(box)
        until("it has loaded itself", lambda:
              page.js("document.title") == "Asleep", 60)
        self.assertEqual(was, self.asleep(box))
        self.browser.call("Input.dispatchMouseEvent", page.session,
                          type="mouseMoved", x=9, y=9)
        self.shows(page, "first")
        self.assertEqual("running", self.s.state(box))

    def test_hot_reload_across_a_freeze(self):
        features = self.s.expect(200, "GET", "/v1/info").json["features"]
        if not features.get("freeze"):
            raise unittest.SkipTest("/v1/info has no feature \"freeze\"")
        box, host = self.dev("vite", 5173, freeze_s=600)
        page = self.open(host)
        self.shows(page, "first")
        self.hot(page, box, "word.js", "second")
        # The page is left alone: quiet_s later it does not keep it awake.
        until("it is frozen", lambda: self.s.api(
            "POST", f"/v1/sandboxes/{box}/freeze").status == 200, 30, 0.5)
        self.assertEqual("frozen", self.s.state(box))
        new = self.open(host)
        self.shows(new, "second")
        self.assertEqual("running", self.s.state(box))
        # The old page has its socket still, and what changes reaches it.
        self.says(box, "word.js", "third")
        self.shows(page, "third", 20)
        self.assertEqual("same page", page.js("window.mark"))
