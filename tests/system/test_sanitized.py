"""The gate's own tests again, its module built with address and
undefined-behaviour checks and loaded into the nginx that is installed."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SLOW = True
LIMIT = 900


class Sanitized(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        subprocess.run(
            ["make", "-s", "BUILD=build/asan", "SANITIZE=address,undefined",
             "build/asan/ngx_http_holdfast_module.so"], cwd=TOP, check=True)
        cls.dir = tempfile.mkdtemp(prefix="holdfast-asan-")
        os.chmod(cls.dir, 0o777)        # workers write there
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.env = {**os.environ, "HOLDFAST_SANITIZED": cls.dir,
                   "HOLDFAST_MODULE":
                   f"{TOP}/build/asan/ngx_http_holdfast_module.so"}

    def test_the_module_is_instrumented(self):
        out = subprocess.run(["nm", "-D", self.env["HOLDFAST_MODULE"]],
                             capture_output=True, text=True).stdout
        self.assertIn("__asan_report_load", out)
        self.assertIn("__ubsan_handle", out)

    def test_gate(self):
        for path in sorted(glob.glob(f"{TOP}/tests/system/test_gate_*.py")):
            with self.subTest(os.path.basename(path)):
                r = subprocess.run(
                    [sys.executable, "-B", path], env=self.env, cwd=TOP,
                    capture_output=True, text=True, timeout=300)
                found = ""
                for name in glob.glob(f"{self.dir}/*san*"):
                    with open(name, errors="replace") as f:
                        found += f.read()[:6000]
                    os.unlink(name)
                self.assertEqual("", found)
                self.assertEqual(0, r.returncode, r.stderr[-4000:])


if __name__ == "__main__":
    unittest.main()
