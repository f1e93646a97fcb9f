"""Figures for Prometheus, and the board that shows them."""

import json
import re

from case import Case, until
from stack import TOP, request
from test_preview import UPGRADE, head

BOARD = f"{TOP}/docs/grafana/holdfast.json"
LINE = re.compile(r'([a-z_]+)(?:\{([^{}]*)\})? (-?[0-9.]+)$')
LABEL = re.compile(r'([a-z_]+)="([^"]*)"(?:,|$)')


class Metrics(Case):
    def read(self):
        """{name: {labels: value}}; every line is checked."""
        found, kinds, helps = {}, {}, set()
        for path in ("/metrics", "/gate/metrics"):
            a = self.status(200, request(self.s.metrics_address, "GET", path))
            self.assertIn("version=0.0.4", a.headers["Content-Type"])
            for line in a.text.splitlines():
                if line.startswith("# TYPE "):
                    _, _, name, kind = line.split(" ")
                    self.assertNotIn(name, kinds, "twice")
                    self.assertIn(kind, ("counter", "gauge", "histogram"))
                    kinds[name] = kind
                elif line.startswith("# HELP "):
                    helps.add(line.split(" ")[2])
                else:
                    m = LINE.match(line)
                    self.assertTrue(m, line)
                    labels = tuple(LABEL.findall(m[2] or ""))
                    base = re.sub("_(bucket|sum|count)$", "", m[1])
                    kind = kinds.get(m[1]) or kinds.get(base)
                    self.assertTrue(kind, f"no TYPE before {line}")
                    self.assertEqual(m[1].endswith("_total"),
                                     kind == "counter", line)
                    self.assertNotIn(labels, found.get(m[1], {}), line)
                    found.setdefault(m[1], {})[labels] = float(m[3])
        self.assertEqual(set(kinds), helps)
        for name, kind in kinds.items():
            if kind == "histogram":
                self.histogram(found, name)
        return found

    def histogram(self, found, name):
        counts = found[f"{name}_count"]
        for labels, total in counts.items():
            rest = dict(labels)
            last = 0
            for key, value in found[f"{name}_bucket"].items():
                one = dict(key)
                le = one.pop("le")
                if one == rest:
                    self.assertGreaterEqual(value, last)
                    last = value
            self.assertEqual((le, last), ("+Inf", last))
            self.assertEqual(total, max(
                v for k, v in found[f"{name}_bucket"].items()
                if dict(k)["le"] == "+Inf"
                and {a: b for a, b in k if a != "le"} == rest))

    def sum(self, found, name, **labels):
        return sum(v for k, v in found[name].items()
                   if labels.items() <= dict(k).items())

    def test_what_happens_is_counted(self):
        s = self.s
        before = self.read()
        box = s.create_app(3000)
        s.stop_box(box)
        self.status(200, s.preview(box))                # held
        s.preview("nobody")
        w = s.raw(UPGRADE.format(host=s.preview_host(box), more=""))
        head(w)
        now = self.read()

        def more(name, **labels):
            return self.sum(now, name, **labels) \
                - self.sum(before, name, **labels)
        self.assertEqual(1, more("holdfast_wakes_total", way="create",
                                 result="done"))
        self.assertEqual(1, more("holdfast_wakes_total", way="start",
                                 result="done"))
        self.assertEqual(0, more("holdfast_wakes_total", result="failed"))
        self.assertEqual(1, more("holdfast_ready_seconds_count",
                                 way="start"))
        self.assertGreater(more("holdfast_ready_seconds_sum", way="start"), 0)
        self.assertLess(more("holdfast_ready_seconds_sum", way="start"), 30)
        self.assertEqual(1, more("holdfast_moves_total", rung="stopped"))
        self.assertEqual(1, self.sum(now, "holdfast_sandboxes",
                                     rung="running"))
        self.assertGreaterEqual(more("holdfast_gate_held_seconds_count"), 1)
        kinds = "holdfast_gate_requests_total"
        self.assertEqual(1, more(kinds, **{"for": "preview",
                                           "class": "2xx"}))
        self.assertEqual(1, more(kinds, **{"for": "preview",
                                           "class": "4xx"}))
        self.assertGreaterEqual(more(kinds, **{"for": "api",
                                               "class": "2xx"}), 2)
        self.assertEqual(1, self.sum(now, "holdfast_gate_inside"))
        self.assertEqual(0, self.sum(now, "holdfast_gate_holding"))
        s.stop_box(box)
        w.close()
        now = self.read()
        self.assertEqual(1, more("holdfast_gate_goodbyes_total"))
        self.assertEqual(1, more(kinds, **{"for": "preview",
                                           "class": "1xx"}))
        until("nobody is inside",
              lambda: self.sum(self.read(), "holdfast_gate_inside") == 0)
        s.purge(box)

    def test_a_wake_that_fails(self):
        s = self.s
        box = s.create_app(3000)
        s.stop_box(box)
        before = self.read()
        s.halt()
        s.configure(memory_reserve="900G")
        s.start()
        self.status(503, s.preview(box))
        now = self.read()       # counts begin anew with the keeper
        self.assertEqual(1, self.sum(now, "holdfast_wakes_total",
                                     way="start", result="refused"))
        self.assertEqual(0, self.sum(now, "holdfast_wakes_total",
                                     result="done"))
        self.assertLess(0, self.sum(before, "holdfast_wakes_total"))
        s.configure(memory_reserve="0")
        s.restart()
        s.purge(box)

    def test_every_query_of_the_board_names_what_there_is(self):
        with open(BOARD) as f:
            board = json.load(f)
        box = self.s.create()
        found = self.read()
        self.s.purge(box)
        names = set(found)
        queries = [t["expr"] for p in board["panels"]
                   for t in p.get("targets", [])]
        self.assertGreater(len(queries), 20)
        ids = [p["id"] for p in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for q in queries:
            self.assertEqual(q.count("("), q.count(")"), q)
            used = re.findall(r"\bholdfast_[a-z_]+", q)
            self.assertTrue(used, q)
            for name in used:
                self.assertIn(name, names, q)
            for name, labels in re.findall(
                    r"by \(([a-z, ]+)\) \((?:rate\()?(holdfast_[a-z_]+)", q):
                have = {k for l in found[labels] for k, _ in l}
                self.assertLessEqual(set(name.split(", ")), have, q)
