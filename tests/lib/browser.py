"""A headless Chromium, driven over its DevTools pipe.

    with Browser(ports=[7080]) as b:
        page = b.open("http://s-hello-3000.preview.localhost:7080/")
        page.js("document.title")

Its commands and answers are JSON, each ended by a NUL, on descriptors 3 and 4;
when the pipe closes, the browser ends. Names below localhost are loopback to
it, so previews need no DNS. Nothing of it outlives stop(): its profile is a
new folder, its processes are one group.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

from away import Away

PROGRAM = "/usr/bin/chromium"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--no-proxy-server",
         "--remote-debugging-pipe")


class Browser:
    def __init__(self, *flags, ports=()):
        """`ports` of 127.0.0.1 are what it can reach."""
        self.away = Away(*ports)
        self.profile = tempfile.mkdtemp(prefix="holdfast-chromium-")
        down, self.out = os.pipe()
        self.inp, up = os.pipe()
        # The numbers are the browser's choice: 3 it reads, 4 it writes. The
        # shell puts the pipe there, whatever its ends are called here.
        self.process = subprocess.Popen(
            [*self.away.enter, "/bin/sh", "-c",
             'exec "$@" 3</proc/self/fd/%d 4>/proc/self/fd/%d' % (down, up),
             "sh",
             PROGRAM, *FLAGS, *flags, f"--user-data-dir={self.profile}",
             "about:blank"],
            pass_fds=(down, up, self.away.fd), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True)
        os.close(down)
        os.close(up)
        self.buffer = b""
        self.number = 0
        self.events = []            # (session, method, params), as they came

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop()

    def stop(self):
        os.close(self.out)
        os.close(self.inp)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.away.stop()
        shutil.rmtree(self.profile, ignore_errors=True)

    def receive(self, end):
        """The next message, or None at the end of the time."""
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.inp], [], [], left)[0]:
                return None
            got = os.read(self.inp, 1 << 20)
            if not got:
                raise AssertionError("the browser has ended")
            self.buffer += got
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, seconds=70, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        end = time.monotonic() + seconds
        while True:
            m = self.receive(end)
            if m is None:
                raise AssertionError(f"no answer to {method} {params}")
            if "method" in m:
                self.events.append((m.get("sessionId"), m["method"],
                                    m["params"]))
            elif m.get("id") == self.number:
                if "error" in m:
                    raise AssertionError(f"{method}: {m['error']}")
                return m["result"]

    def open(self, url, before=None):
        """A new tab that shows url; `before` is a script that runs first in
        each page of it."""
        target = self.call("Target.createTarget",
                           url="about:blank")["targetId"]
        page = Page(self, target, self.call(
            "Target.attachToTarget", targetId=target,
            flatten=True)["sessionId"])
        page.call("Page.enable")
        page.call("Runtime.enable")
        page.call("Log.enable")
        if before:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        page.go(url)
        return page


class Page:
    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def go(self, url):
        """As if the address had been typed; ends when an answer begins."""
        answer = self.call("Page.navigate", url=url, transitionType="typed")
        if answer.get("errorText"):
            raise AssertionError(f"{url}: {answer['errorText']}")

    def front(self):
        """Makes it the tab that is seen; the others are hidden."""
        self.call("Page.bringToFront")

    def js(self, expression):
        """The value of an expression; None while a page is being loaded."""
        try:
            answer = self.call("Runtime.evaluate", expression=expression,
                               returnByValue=True, awaitPromise=True)
        except AssertionError as e:
            if "context" in str(e) or "navigated" in str(e):
                return None
            raise
        if "exceptionDetails" in answer:
            return None
        return answer["result"].get("value")

    def console(self):
        """What the page has said since it was loaded."""
        self.js("0")                # reads what has come
        told = []
        for session, method, p in self.browser.events:
            if session != self.session:
                continue
            if method == "Runtime.executionContextsCleared":
                told = []
            elif method == "Runtime.consoleAPICalled":
                told.append(" ".join(str(a.get("value", a.get("description")))
                                     for a in p["args"]))
            elif method == "Runtime.exceptionThrown":
                told.append(p["exceptionDetails"].get("exception", {})
                            .get("description", ""))
            elif method == "Log.entryAdded":
                told.append(p["entry"]["text"] + " "
                            + p["entry"].get("url", ""))
        return "\n".join(told[-40:])

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
