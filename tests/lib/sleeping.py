"""Cases of sandboxes that go to sleep."""

import datetime
import unittest

from case import Case


def stamp(text):
    return datetime.datetime.fromisoformat(
        text.replace("Z", "+00:00")).timestamp()


class Sleeping(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not cls.s.api("GET", "/v1/info").json["features"]["idle"]:
            super().tearDownClass()
            raise unittest.SkipTest("/v1/info has idle: false, not yet there")
