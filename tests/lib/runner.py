"""Runs test programs two at a time and counts.

    runner.py [--jobs N] [--slow] [--fuzz-seconds N] FILE...

A FILE is a program (a unit test or fuzz target: one test, its exit status
counts), or a Python file of unittest classes. A Python file may say
    ALONE = True        nothing else runs meanwhile
    SLOW = True         only with --slow
    LIMIT = 300         seconds for the whole file (default 180)
    BASE = True         needs holdfast/base
    PACKAGES = "name"   Debian packages, installed when it runs
images/build among the files makes that image: beside everything else, for it
takes minutes the first time.
The output of what fails is printed in full. Last line: the counts.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from docker import Docker, engine_socket
from traces import sweep_all

HERE = os.path.dirname(os.path.abspath(__file__))


class Job:
    def __init__(self, path, options):
        self.path = path
        self.name = os.path.basename(path)
        self.alone = self.slow = self.base = False
        self.limit = 60
        self.argv = [os.path.abspath(path)]
        self.python = path.endswith(".py")
        self.fuzz = self.name.startswith("fuzz_")
        self.image = path == "images/build"
        if self.python:
            with open(path) as f:
                text = f.read()
            self.alone = bool(re.search(r"^ALONE = True", text, re.M))
            self.slow = bool(re.search(r"^SLOW = True", text, re.M))
            self.base = bool(re.search(r"^BASE = True", text, re.M))
            limit = re.search(r"^LIMIT = (\d+)", text, re.M)
            self.limit = int(limit.group(1)) if limit else 180
        if self.image:
            self.name, self.limit = path, 1500
        if self.fuzz:
            seeds = f"{HERE}/../fuzz/seeds/{self.name[5:]}"
            new = tempfile.mkdtemp(prefix="holdfast-fuzz-")
            self.argv += [f"-max_total_time={options.fuzz_seconds}",
                          "-print_final_stats=0", "-verbosity=0",
                          f"-artifact_prefix={new}/", new]
            self.argv += [seeds] if os.path.isdir(seeds) else []
            self.limit = options.fuzz_seconds + 60

    def start(self):
        self.log = tempfile.TemporaryFile()
        self.result = tempfile.NamedTemporaryFile("r", suffix=".json")
        argv = self.argv
        if self.python:
            argv = [sys.executable, "-B", f"{HERE}/one.py", self.path,
                    self.result.name]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True)

    def over(self):
        if self.process.poll() is not None:
            return True
        if time.monotonic() - self.began < self.limit:
            return False
        self.end()
        self.log.write(f"\nended: it ran longer than {self.limit} s\n"
                       .encode())
        return True

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def told(self):
        """[name, what, text] of each test that ran."""
        if not self.python:
            ok = self.process.returncode == 0
            return [[self.name, "passed" if ok else "failed", ""]]
        try:
            told = json.load(self.result)
        except ValueError:
            told = []
        if self.process.returncode != 0 and not any(
                t[1] == "failed" for t in told):
            told.append([self.name, "failed", "did not finish"])
        elif not told:
            told.append([self.name, "failed", "has no test"])
        return told


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, job):
        told = job.told()
        n = {w: sum(1 for t in told if t[1] == w)
             for w in ("passed", "failed", "skipped")}
        self.passed += n["passed"]
        self.failed += n["failed"]
        self.skipped += n["skipped"]
        seconds = time.monotonic() - job.began
        what = ", ".join(f"{k} {w}" for w, k in n.items() if k)
        print(f"{'FAIL' if n['failed'] else 'ok  '} {job.name:28} "
              f"{seconds:6.1f} s  {what}", flush=True)
        for name, what, text in told:
            if what == "skipped":
                print(f"     skipped {name.split('.', 1)[-1]}: {text}")
        if n["failed"]:
            job.log.seek(0)
            for line in job.log.read().decode("utf-8", "replace").split("\n"):
                print(f"     | {line}")
            sys.stdout.flush()

    def skip(self, job, reason):
        self.skipped += 1
        print(f"     skipped {job.name}: {reason}")


def may_start(job, running, width):
    tests = [j for j in running if not j.image]
    if job.image:
        return True
    if job.base and len(tests) < len(running):
        return False
    if job.alone:
        return not running
    return len(tests) < width and not any(j.alone for j in tests)


def run(jobs, width, count):
    waiting, running = list(jobs), []
    try:
        while waiting or running:
            for job in [j for j in running if j.over()]:
                running.remove(job)
                count.add(job)
            while waiting and may_start(waiting[0], running, width):
                job = waiting.pop(0)
                job.start()
                running.append(job)
            time.sleep(0.02)
    finally:
        for job in running:
            job.end()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    p.add_argument("--slow", action="store_true")
    p.add_argument("--fuzz-seconds", type=int, default=2)
    p.add_argument("files", nargs="*")
    options = p.parse_args()
    count = Count()
    jobs = []
    for path in options.files:
        job = Job(path, options)
        if job.slow and not options.slow:
            count.skip(job, "slow; tests/run full runs it")
        else:
            jobs.append(job)
    # The image first, then long files, then what waits: for the image, alone.
    jobs.sort(key=lambda j: (not j.image, j.alone, j.base, -j.limit))

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    stopped = False
    try:
        run(jobs, options.jobs, count)
    except KeyboardInterrupt:
        stopped = True
    finally:
        try:
            sweep_all(Docker(engine_socket()))
        except OSError as e:
            print(f"sweeping: {e}", file=sys.stderr)
    if stopped:
        print("interrupted", file=sys.stderr)
    if count.passed + count.failed == 0 and not stopped:
        print("no test ran", file=sys.stderr)
        count.failed = 1
    print(f"{count.passed} passed, {count.failed} failed, "
          f"{count.skipped} skipped")
    return 1 if count.failed or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
