"""Parks and wakes under a steady load: what each request got, and how long.

The clients keep to a schedule, whatever the answers do, so a slow wake is not
hidden by fewer requests. A third of the requests are POSTs with a body.
"""

import queue
import threading
import time

CLIENTS = 24
# The app has a process for each connection, kept ones too.
ROOMY = {"pids": 4000, "memory_mb": 1024}


class Load:
    def __init__(self, s, box, rate):
        self.s, self.box, self.rate = s, box, rate
        self.times, self.bad = [], []
        self.due = queue.Queue()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.clock)] + [
            threading.Thread(target=self.client) for _ in range(CLIENTS)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *failure):
        self.over.set()
        self.threads[0].join()
        for _ in self.threads[1:]:
            self.due.put(None)
        for t in self.threads[1:]:
            t.join()

    def clock(self):
        n, at = 0, time.monotonic()
        while not self.over.is_set():
            n += 1
            at += 1 / self.rate
            wait = at - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.due.put((n, at))

    def client(self):
        while (job := self.due.get()) is not None:
            n, at = job
            body = f"body {n}".encode() if n % 3 == 0 else None
            try:
                a = self.s.preview(self.box, 3000, f"/{n}",
                                   "POST" if body else "GET", body)
                if a.status != 200 or a.json["path"] != f"/{n}" or \
                        a.json["body_bytes"] != len(body or b""):
                    self.bad.append(repr(a))
            except Exception as e:      # noqa: a client's view: it failed
                self.bad.append(repr(e))
            self.times.append(time.monotonic() - at)


def cycles(s, box, n):
    """Freezes the sandbox until that went well n times; the load wakes it.
    Gives how often it was told that requests are in flight."""
    done = busy = 0
    while done < n:
        a = s.api("POST", f"/v1/sandboxes/{box}/freeze")
        if a.status == 200:
            done += 1
        elif a.status == 409:
            busy += 1
        else:
            raise AssertionError(f"freeze: {a!r}\n{s.logs(40)}")
    return busy
