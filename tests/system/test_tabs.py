"""A page that is kept open overnight, and a visitor who opens the link."""

import shutil

import npm
from browsed import Browsed
from case import until

BASE = True
SLOW = True
PACKAGES = "chromium"

START = "sleep $(cat .delay 2>/dev/null || echo 0); exec node streams.mjs"


class Tabs(Browsed):
    def test_left_open_and_visited(self):
        def put(folder, uid):
            shutil.copy(f"{npm.FIXTURES}/streams.mjs", folder)
        box, host = self.sandbox(3000, put, services=[{
            "name": "app", "cmd": ["sh", "-c", START], "port": 3000}])
        a = self.open(host)
        for what in ("ticks > 20", "polls > 0", "echoed == 5"):
            until(what, lambda: a.js(what))

        # Evening: another tab is in front, and the sandbox is stopped.
        b = self.browser.open("about:blank")
        self.pages.append(b)
        b.front()
        until("the page is hidden", lambda: a.js("document.hidden"))
        self.s.sh(box, "echo 3 >.delay")
        self.s.stop_box(box)
        was = self.asleep(box)
        tried = a.js("tried")
        until("its socket was tried 8 times",
              lambda: a.js("tried") >= tried + 8, 60)
        until("its stream came back, empty",
              lambda: a.js("source.readyState") == 1)
        self.assertEqual(was, self.asleep(box))
        ticks, opened, polls = a.js("ticks"), a.js("opened"), a.js("polls")

        # Morning: the link is opened in the other tab.
        b.go(self.address(host))
        until("it is told what it waits for",
              lambda: b.js("document.title") == "Waking up", 3)
        until("the page became the app", lambda:
              b.js("document.title") == "streams", 30)
        until("which is alive", lambda: b.js("ticks > 5 && echoed == 5"))

        # And the first one lives again, by itself: it was not loaded anew.
        until("its stream goes on", lambda: a.js("ticks") > ticks + 5, 30)
        until("its socket is open", lambda: a.js("opened") > opened, 30)
        a.front()
        until("it polls again", lambda: a.js("polls") > polls)

    def test_a_tab_that_polls_keeps_awake(self):
        """As docs/previews.md says: who asks by fetch means it."""
        def put(folder, uid):
            shutil.copy(f"{npm.FIXTURES}/streams.mjs", folder)
        box, host = self.sandbox(3000, put, services=[{
            "name": "app", "cmd": ["sh", "-c", START], "port": 3000}])
        page = self.open(host)
        until("it polls", lambda: page.js("polls"))
        page.front()
        self.s.stop_box(box)
        until("a poll has woken it", lambda: self.s.state(box) == "running")
