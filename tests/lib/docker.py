"""The test engine's API, as far as tests need it: JSON over its socket."""

import http.client
import json
import os
import socket
import subprocess
import urllib.parse


def engine_socket():
    """The socket of the test engine (tests/lib/engine)."""
    tool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "engine")
    out = subprocess.check_output([tool, "env"], text=True)
    return out.strip().removeprefix("DOCKER_HOST=unix://")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Docker:
    def __init__(self, path):
        self.path = path

    def call(self, method, path, body=None, ok=(200, 201, 204, 304)):
        """The parsed answer; a status outside `ok` is an error, None in
        `ok` takes any."""
        c = UnixConnection(self.path, 60)
        try:
            data = json.dumps(body) if body is not None else None
            c.request(method, path, data,
                      {"Content-Type": "application/json"} if data else {})
            r = c.getresponse()
            text = r.read()
        finally:
            c.close()
        if r.status not in ok and None not in ok:
            raise AssertionError(
                f"docker {method} {path}: {r.status} {text.decode()}")
        return json.loads(text) if text.strip() else None

    def list(self, **labels):
        """Containers with these labels, stopped ones too. A dot in a label
        is written as two underscores."""
        want = [f"{k.replace('__', '.')}={v}" for k, v in labels.items()]
        filters = urllib.parse.quote(json.dumps({"label": want}))
        return self.call("GET", f"/containers/json?all=1&filters={filters}")

    def inspect(self, ref):
        return self.call("GET", f"/containers/{ref}/json")

    def kill(self, ref):
        self.call("POST", f"/containers/{ref}/kill")

    def remove(self, ref):
        self.call("DELETE", f"/containers/{ref}?force=1&v=1",
                  ok=(204, 404, 409))

    def create(self, name, **spec):
        return self.call("POST", f"/containers/create?name={name}",
                         spec)["Id"]

    def start(self, ref):
        self.call("POST", f"/containers/{ref}/start")
