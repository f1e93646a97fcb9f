"""The frame of a test file: one stack for all its tests, a limit for each.

    from case import Case

    class Line(Case):
        def test_something(self):
            box = self.s.create()
"""

import os
import signal
import subprocess
import sys
import unittest

from stack import Stack, until  # noqa: F401  (until is for the tests)


class TooLong(Exception):
    pass


def ring(signum, frame):
    raise TooLong("this test takes too long")


class Case(unittest.TestCase):
    settings = {}               # of the shared stack
    seconds = 60                # for one test
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        signal.signal(signal.SIGALRM, ring)
        signal.alarm(60)
        try:
            cls.s = cls.make_stack()
        finally:
            signal.alarm(0)

    @classmethod
    def make_stack(cls):
        return Stack(**cls.settings)

    @classmethod
    def tearDownClass(cls):
        signal.alarm(90)
        try:
            cls.s.stop()
        finally:
            signal.alarm(0)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        signal.alarm(self.seconds)
        try:
            super().run(result)
        finally:
            signal.alarm(0)
        if len(result.failures) + len(result.errors) > before:
            print(f"\n--- logs after {self.id()}\n{self.s.logs()}",
                  file=sys.stderr)

    def status(self, want, answer):
        """The answer, if it has the status that is wanted."""
        self.assertEqual(want, answer.status, repr(answer))
        return answer

    def error(self, want, code, answer):
        """An error of /v1 with this status and code."""
        self.status(want, answer)
        e = answer.json["error"]
        self.assertEqual(code, e["code"], repr(answer))
        self.assertTrue(e["message"])
        self.assertIn("retryable", e)
        return e
