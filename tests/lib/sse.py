"""A client of event streams, on a plain socket.

    with Sse(stack, "/v1/events") as events:
        first = events.next()

It reads nothing that it is not asked for, so it can be a slow one, too.
"""

import json
import socket
import time


class Event:
    def __init__(self, lines):
        self.id = None
        self.type = "message"
        data = []
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.id = int(value)
            elif name == "event":
                self.type = value
            elif name == "data":
                data.append(value)
            else:
                raise AssertionError(f"a line of an event: {line!r}")
        self.data = json.loads("\n".join(data))

    def __repr__(self):
        return f"{self.id} {self.type} {self.data}"


class Sse:
    """The response's head is read at once; .status, .headers."""

    def __init__(self, stack, path, last=None, token=None, rcvbuf=None,
                 timeout=20, method="GET"):
        host, port = stack.api_address.rsplit(":", 1)
        self.s = socket.socket()
        if rcvbuf:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.s.settimeout(timeout)
        self.s.connect((host, int(port)))
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n" \
               "Accept: text/event-stream\r\n"
        if last is not None:
            head += f"Last-Event-ID: {last}\r\n"
        token = stack.token if token is None else token
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        self.s.sendall(head.encode() + b"\r\n")
        self.raw = b""          # of the connection
        self.text = b""         # of the body
        self.ended = False      # the body has ended as it should
        self.cut = False        # the connection has ended
        self.comments = 0
        self.retry = None
        while b"\r\n\r\n" not in self.raw:
            if not self.fill(timeout):
                raise AssertionError(f"no answer: {self.raw!r}")
        lines, _, self.raw = self.raw.partition(b"\r\n\r\n")
        lines = lines.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v for k, v in
                        (line.split(": ", 1) for line in lines[1:])}
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        if self.status == 204 or method == "HEAD":
            self.ended = True

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.close()

    def close(self):
        self.s.close()

    def fill(self, seconds):
        """More bytes; False: none came in time, or the end did."""
        self.s.settimeout(max(seconds, 0.001))
        try:
            data = self.s.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        self.cut = not data
        self.raw += data
        return bool(data)

    def unchunk(self):
        while self.chunked and b"\r\n" in self.raw:
            size, _, rest = self.raw.partition(b"\r\n")
            n = int(size, 16)
            if len(rest) < n + 2:
                return
            assert rest[n:n + 2] == b"\r\n", self.raw
            self.text += rest[:n]
            self.raw = rest[n + 2:]
            self.ended |= n == 0

    def take(self):
        """The next event that is here already, or None."""
        self.unchunk()
        while b"\n\n" in self.text:
            block, _, self.text = self.text.partition(b"\n\n")
            lines = block.decode().split("\n")
            if lines[0].startswith("retry: "):
                self.retry = int(lines[0][7:])
            elif lines[0].startswith(":"):
                self.comments += 1
            else:
                return Event(lines)
        return None

    def next(self, seconds=20):
        """The next event; None: the stream ended, or none came in time."""
        end = time.monotonic() + seconds
        while True:
            event = self.take()
            if event or self.ended or self.cut:
                return event
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.fill(left)

    def until(self, type_, seconds=20):
        """All events up to one of this type."""
        end = time.monotonic() + seconds
        got = []
        while not got or got[-1].type != type_:
            event = self.next(end - time.monotonic())
            if event is None:
                raise AssertionError(f"no {type_} in {seconds} s: {got}")
            got.append(event)
        return got

    def rest(self, seconds=20):
        """All events up to the end of the stream."""
        end = time.monotonic() + seconds
        got = []
        while True:
            event = self.next(end - time.monotonic())
            if event:
                got.append(event)
            elif self.ended:
                return got
            else:
                raise AssertionError(f"the stream did not end: {got}")


class Follower:
    """What EventSource does: comes back with the last id, for ever."""

    def __init__(self, stack, path, token=None):
        self.stack, self.path, self.token = stack, path, token
        self.events = []
        self.last = None
        self.connects = 0
        self.sse = None

    def follow(self, check, seconds=30):
        """Reads until check(events) says so."""
        end = time.monotonic() + seconds
        while not check(self.events):
            if time.monotonic() > end:
                raise AssertionError(f"not in {seconds} s: {self.events}")
            if self.sse is None:
                self.connect()
                continue
            event = self.sse.next(min(0.5, end - time.monotonic()))
            if event is None:
                if self.sse.ended or self.sse.cut:
                    self.close()
                continue
            self.events.append(event)
            if event.id is not None:
                self.last = event.id
        return self.events

    def connect(self):
        try:
            sse = Sse(self.stack, self.path, self.last, self.token)
        except (OSError, AssertionError):
            time.sleep(0.05)    # nginx is not there for a moment
            return
        self.connects += 1
        if sse.status == 200:
            self.sse = sse
            return
        sse.close()
        if sse.status < 500:
            raise AssertionError(f"{self.path}: {sse.status}")
        time.sleep(0.05)

    def close(self):
        if self.sse:
            self.sse.close()
        self.sse = None
