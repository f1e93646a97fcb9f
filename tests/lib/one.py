"""Runs one test file and writes what became of each test to a JSON file.

    one.py FILE RESULT

RESULT is a list of [name, "passed" | "failed" | "skipped", text].
"""

import importlib.util
import json
import os
import sys
import unittest


class Result(unittest.TextTestResult):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.told = []

    def tell(self, test, what, text=""):
        name = test.id() if hasattr(test, "id") else str(test)
        self.told.append([name, what, text])

    def addSuccess(self, test):
        super().addSuccess(test)
        self.tell(test, "passed")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.tell(test, "failed")

    def addError(self, test, err):
        super().addError(test, err)
        self.tell(test, "failed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.tell(test, "skipped", reason)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self.tell(subtest, "failed")


def main(file, out):
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.path.insert(1, os.path.dirname(os.path.abspath(file)))
    name = os.path.basename(file)[:-3]
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    r = unittest.TextTestRunner(resultclass=Result, verbosity=2).run(suite)
    with open(out, "w") as f:
        json.dump(r.told, f)
    return 0 if r.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
