"""Parks under load: our own sleeping never costs a request."""

import sys

from case import Case
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
