"""HTTP/2 by hand: frames that no library would send.

    c = H2(port)
    c.send(HEADERS, END, 1, block([(":method", "GET"), ...]))
    for kind, flags, stream, body in c.frames(seconds): ...
"""

import socket
import ssl
import struct
import time

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = \
    range(10)
END_STREAM, END_HEADERS = 1, 4
END = END_STREAM | END_HEADERS


def text(s):
    s = s if isinstance(s, bytes) else s.encode("latin-1")
    if len(s) < 127:
        return bytes([len(s)]) + s
    n, out = len(s) - 127, bytes([127])
    while n >= 128:
        out += bytes([n % 128 + 128])
        n //= 128
    return out + bytes([n]) + s


def block(headers):
    """HPACK: literals, not indexed, not compressed."""
    return b"".join(b"\0" + text(k) + text(v) for k, v in headers)


def get(host, path="/", method="GET", more=()):
    return block([(":method", method), (":scheme", "https"),
                  (":authority", host), (":path", path), *more])


class H2:
    def __init__(self, port, timeout=10):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock = context.wrap_socket(plain)
        assert self.sock.selected_alpn_protocol() == "h2"
        self.buffer = b""
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                          + self.frame(SETTINGS, 0, 0, b""))

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.sock.close()

    @staticmethod
    def frame(kind, flags, stream, body):
        return (struct.pack("!I", len(body))[1:]
                + struct.pack("!BBI", kind, flags, stream) + body)

    def send(self, kind, flags, stream, body=b""):
        self.sock.sendall(self.frame(kind, flags, stream, body))

    def frames(self, seconds=5):
        """What comes, until the other end closes or the time is over."""
        end = time.monotonic() + seconds
        while True:
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                kind, flags, stream = struct.unpack("!BBI", self.buffer[3:9])
                body = self.buffer[9:9 + size]
                self.buffer = self.buffer[9 + size:]
                yield kind, flags, stream, body
            left = end - time.monotonic()
            if left <= 0:
                return
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except (TimeoutError, ssl.SSLError, OSError):
                return
            if not data:
                return
            self.buffer += data

    def status(self, stream, seconds=10):
        """The status of a stream: a number, "reset", "goaway" or None.
        nginx sends it as an index of the static table, or as a literal."""
        known = {0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400,
                 0x8d: 404, 0x8e: 500}
        for kind, flags, at, body in self.frames(seconds):
            if kind == GOAWAY:
                return "goaway"
            if at != stream:
                continue
            if kind == RST:
                return "reset"
            if kind == HEADERS:
                if body[0] & 0xe0 == 0x20:      # a new table size first
                    body = body[1:]
                if body[0] in known:
                    return known[body[0]]
                size = body[1] & 0x7f
                if body[1] & 0x80:              # Huffman: digits of 5, 6 bits
                    return huffman(body[2:2 + size])
                return int(body[2:2 + size])
        return None


def huffman(data):
    """Digits as in appendix B of RFC 7541."""
    codes = {"00000": "0", "00001": "1", "00010": "2", "011001": "3",
             "011010": "4", "011011": "5", "011100": "6", "011101": "7",
             "011110": "8", "011111": "9"}
    bits = "".join(f"{b:08b}" for b in data)
    out = ""
    while len(out) < 3:
        for size in (5, 6):
            if bits[:size] in codes:
                out, bits = out + codes[bits[:size]], bits[size:]
                break
        else:
            raise ValueError(data)
    return int(out)
