"""Parks under load: our own sleeping never costs a request."""

import sys
import time

from case import Case, until
from parks import ROOMY, Load, cycles


class Parks(Case):
    seconds = 120
    settings = {"idle_s": 6000, "freeze_s": 3000}

    def test_parks_under_load(self):
        """tests/bench/parks does it 2,000 times."""
        box = self.s.create_app(3000, **ROOMY)
        with Load(self.s, box, 100) as load:
            busy = cycles(self.s, box, 40)
        self.assertEqual([], load.bad[:5])
        self.assertGreater(len(load.times), 40)
        print(f"{len(load.times)} requests, slowest "
              f"{1000 * max(load.times):.0f} ms, {busy} parks refused",
              file=sys.stderr)
        self.s.purge(box)

    def test_the_keeper_dies_in_the_middle(self):
        """Whatever a freeze or wake was at: visitors wait a little longer."""
        s = self.s
        box = s.create_app(3000, **ROOMY)
        answers = []
        with Load(s, box, 50) as load:
            for n in range(4):
                s.kill("keeper")
                until("a keeper is back", lambda: s.parts().get("keeper"))
                # Freezes are refused for a while: a gate may be unknown yet.
                frozen, end = 0, time.monotonic() + 20
                while frozen <= n and time.monotonic() < end:
                    try:
                        a = s.api("POST", f"/v1/sandboxes/{box}/freeze")
                        answers.append(a.status)
                        frozen += a.status == 200
                    except OSError as e:
                        answers.append(repr(e))
                self.assertEqual(n + 1, frozen, answers)
        self.assertEqual([], load.bad[:5])
        self.status(200, s.preview(box))
        s.purge(box)
