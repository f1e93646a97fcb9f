"""The frame of a test of the gate alone: see linkpeer.py."""

import hashlib
import socket
import sys
import unittest

from linkpeer import (Api, App, Door, Keeper, Later, Namespace, Nginx, tag,
                      until)

__all__ = ["Api", "App", "Door", "GateCase", "Keeper", "Later", "Namespace",
           "Nginx", "raw", "sha1", "tag", "until"]


def sha1(data):
    return hashlib.sha1(data).hexdigest()


def raw(port, text, read=True, timeout=20):
    """Bytes to a port; what came back until the other end closed."""
    s = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    s.sendall(text.encode() if isinstance(text, str) else text)
    if not read:
        return s
    out = b""
    while True:
        data = s.recv(65536)
        if not data:
            s.close()
            return out
        out += data


class GateCase(unittest.TestCase):
    """Nginx .n, keeper .k, door .d; one namespace per sandbox in .spaces."""

    options = {}
    workers = 2
    main = ""
    settings = ""
    wrap = ()

    @classmethod
    def before(cls):
        """Files that the configuration names."""

    @classmethod
    def api_answer(cls, params, body):
        return "Content-Type: text/plain", b"ok"

    @classmethod
    def setUpClass(cls):
        cls.spaces, cls.apps = {}, []
        cls.n = Nginx(workers=cls.workers, settings=cls.settings,
                      main=cls.main, wrap=cls.wrap, **cls.options)
        cls.before()
        cls.n.write()
        cls.k = Keeper(cls.n.keeper)
        cls.d = Door(cls.n.door, cls.spaces)
        cls.a = Api(cls.n.api, lambda p, b: cls.api_answer(p, b))
        cls.n.start()
        until(lambda: len(cls.k.links) >= cls.workers)

    @classmethod
    def tearDownClass(cls):
        cls.n.stop()
        for app in cls.apps:
            app.stop()
        cls.k.stop()
        cls.d.stop()
        cls.a.stop()
        for space in cls.spaces.values():
            space.close()
        log = cls.n.log()
        cls.n.clean()
        bad = [x for x in log.splitlines()
               if "[alert]" in x or "[crit]" in x or "[emerg]" in x
               or "exited on signal" in x]
        bad = [x for x in bad if not any(y in x for y in cls.expected)]
        if bad:
            raise AssertionError("\n".join(bad[:20]))

    expected = ()

    def box(self, id, port=3000, family=4, **known):
        """A sandbox with an app, known to the keeper. Returns the app."""
        cls = type(self)
        if id not in cls.spaces:
            cls.spaces[id] = Namespace()
        app = App(cls.spaces[id], port, family, name=id)
        cls.apps.append(app)
        known.setdefault("open", {} if port is None
                         else {port: "open%d" % family})
        self.k.add(id, **known)
        return app

    def preview(self, id, path="/", port=3000, **kw):
        return self.n.get("s-%s-%d.preview.localhost" % (id, port), path, **kw)

    def idle(self, id):
        """Nothing of id is in flight."""
        until(lambda: self.k.request("I %%d %s" % id)[2] == "0")


if __name__ == "__main__":
    sys.exit("this is a library")
