"""The first rung: frozen, and back within milliseconds."""

import threading
import time

from case import until
from sleeping import Sleeping

LIMIT = 300


class Freeze(Sleeping):
    seconds = 90
    settings = {"idle_s": 600, "freeze_s": 2, "quiet_s": 5}

    def frozen(self, box):
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)

    def test_frozen_and_back(self):
        box = self.s.create_app(3000)
        pid = self.status(200, self.s.preview(box)).json["pid"]
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        docker = self.s.docker.inspect(self.s.container(box)["Id"])["State"]
        self.assertIs(True, docker["Paused"])
        row = self.s.expect(200, "GET", f"/sandbox/{box}").json["row"]
        self.assertEqual(("stopped", "frozen"), (row["status"],
                                                 row["state"]))
        began = time.monotonic()
        self.status(200, self.s.preview(box))
        self.assertLess(time.monotonic() - began, 1)
        self.assertEqual("running", self.s.state(box))
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        self.assertEqual("x\n", self.s.sh(box, "echo x"))
        self.s.stop_box(box)
        self.assertEqual("stopped", self.s.state(box))
        self.status(200, self.s.preview(box))
        self.assertTrue(pid)
        self.s.purge(box)

    def test_frozen_killed_behind_our_back(self):
        box = self.s.create_app(3000)
        until("it is frozen", lambda: self.s.state(box) == "frozen", 30)
        self.s.docker.remove(self.s.container(box)["Id"])
        self.status(200, self.s.preview(box))
        self.s.purge(box)

    def test_paused_and_unpaused_behind_our_back(self):
        box = self.s.create_app(3000, freeze_s=3000)
        ref = self.s.container(box)["Id"]
        self.s.docker.call("POST", f"/containers/{ref}/pause")
        self.frozen(box)
        self.status(200, self.s.preview(box))
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        self.s.docker.call("POST", f"/containers/{ref}/unpause")
        until("it runs", lambda: self.s.state(box) == "running")
        self.status(200, self.s.preview(box))
        self.s.purge(box)

    def test_visits_while_it_freezes_again_and_again(self):
        """Our own sleeping never costs a request."""
        box = self.s.create_app(3000)
        end = time.monotonic() + 20
        n = 0
        while time.monotonic() < end:
            n += 1
            self.status(200, self.s.preview(box, 3000, f"/{n}", "POST",
                                            b"x"))
            # Just about the moment at which it is frozen.
            time.sleep((1.9, 2.0, 2.1, 2.2, 2.5)[n % 5])
        self.s.purge(box)

    def test_memory_of_the_frozen_goes_back(self):
        box = self.s.create_app(3000)
        self.s.sh(box, "head -c 40000000 /dev/zero > big; sync; cat big big "
                  "> /dev/null")
        self.assertGreater(self.s.memory(box), 35 << 20)
        self.frozen(box)
        until("its memory is given back",
              lambda: self.s.memory(box) < 20 << 20, 20)
        self.assertEqual("40000000\n", self.s.sh(box, "wc -c < big"))
        self.s.purge(box)

    def test_a_message_on_an_open_socket_wakes(self):
        """It is silent for longer than quiet_s, then it speaks."""
        box = self.s.create_app(3000)
        ws = self.s.raw(
            "GET /ws HTTP/1.1\r\nHost: " + self.s.preview_host(box)
            + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += ws.recv(4096)
        self.assertIn(b" 101 ", head)
        for i in range(3):
            idle = self.idle(box)
            self.assertEqual("busy", idle["state"], idle)
            self.frozen(box)
            self.assertEqual([], self.idle(box)["because"])
            # Of another length each time: else it were a heartbeat.
            text = b"hello" * (i + 1)
            message = bytes((0x82, 0x80 + len(text))) + bytes(4) + text
            ws.sendall(message)
            got = b""
            while len(got) < len(message):
                more = ws.recv(4096)
                self.assertTrue(more, "the socket ended")
                got += more
            self.assertEqual(message, got)
            until("it runs", lambda: self.s.state(box) == "running", 5,
                  every=0.02)
        ws.close()
        self.s.purge(box)

    def test_an_open_socket_is_told_before_the_stop(self):
        """Frozen with it, stopped without it: 1001, not a reset."""
        box = self.s.create_app(3000, idle_s=12)
        ws = self.s.raw(
            "GET /ws HTTP/1.1\r\nHost: " + self.s.preview_host(box)
            + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        got = b""
        while b"\r\n\r\n" not in got:
            got += ws.recv(4096)
        self.assertIn(b" 101 ", got)
        self.frozen(box)
        until("it is stopped",
              lambda: self.s.state(box) == "stopped", 40, every=0.1)
        got = b""
        while more := ws.recv(4096):
            got += more
        ws.close()
        self.assertEqual(b"\x88\x02\x03\xe9", got)
        self.s.purge(box)

    def idle(self, box):
        return self.s.expect(200, "GET", f"/v1/sandboxes/{box}/idle").json

    def test_a_caller_freezes(self):
        box = self.s.create_app(3000, freeze_s=3000, idle_s=6000)
        row = self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze").json
        self.assertEqual("frozen", row["state"])
        # again is as well, and so is one that is stopped
        self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze")
        self.status(200, self.s.preview(box))
        self.assertEqual("running", self.s.state(box))
        slow = threading.Thread(
            target=lambda: self.s.preview(box, 3000, "/slow?3000"))
        slow.start()
        until("it is in flight", lambda: any(
            r["class"] == "http_inflight" for r in self.idle(box)["because"]))
        self.error(409, "conflict", self.s.api(
            "POST", f"/v1/sandboxes/{box}/freeze"))
        slow.join()
        self.s.stop_box(box)
        row = self.s.expect(200, "POST", f"/v1/sandboxes/{box}/freeze").json
        self.assertEqual("stopped", row["state"])
        self.s.purge(box)
