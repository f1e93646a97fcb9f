"""What a stack leaves on a machine, and how it is taken away.

A stack lives in a numbered slot. Its name, folder, ports, addresses and uids
come from the number, so all it makes can be found again, also after a kill.
Whoever holds the slot's lock is the only one who may sweep it.
"""

import fcntl
import glob
import os
import re
import shutil
import signal
import subprocess
import time

SLOTS = "/var/tmp/holdfast-tests"
SLOTS_MAX = 60


def until(what, check, seconds=20, every=0.02):
    """Polls check() until it gives something true, and gives that back."""
    end = time.monotonic() + seconds
    while True:
        got = check()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what}; "
                                 f"the last answer was {got!r}")
        time.sleep(every)


def processes():
    """pid -> (parent, state, command line) of everything that runs."""
    found = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                stat = f.read()
            with open(path[:-4] + "cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2:].split()
        name = stat[stat.index("(") + 1:stat.rindex(")")]
        found[int(path.split("/")[2])] = (int(fields[1]), fields[0],
                                          line.strip() or name)
    return found


class Slot:
    """A number nobody else has. The lock ends with its process."""

    def __init__(self, numbers=range(1, SLOTS_MAX)):
        os.makedirs(SLOTS, exist_ok=True)
        for n in numbers:
            f = open(f"{SLOTS}/{n}.lock", "w")
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                f.close()
                continue
            self.n, self.lock = n, f
            return
        raise BlockingIOError("all test slots are taken")

    def free(self):
        self.lock.close()


class Traces:
    def __init__(self, n, docker):
        self.name = f"t{n}"
        self.dir = f"{SLOTS}/{n}"
        self.docker = docker

    def is_ours(self, pid):
        """Started with a file of this stack: its program, an argument, or
        descriptor 10, the mark that every part of a parent inherits."""
        if pid == os.getpid():
            return False
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read()
        except OSError:
            return False
        if f"{self.dir}/".encode() in line:
            return True
        for link, start in (("exe", f"{self.dir}/"),
                            ("fd/10", f"/memfd:holdfast:{self.dir}/")):
            try:
                if os.readlink(f"/proc/{pid}/{link}").startswith(start):
                    return True
            except OSError:
                pass
        return False

    def containers(self):
        """This stack's containers, as Docker lists them."""
        return [c for c in self.docker.call("GET", "/containers/json?all=1")
                if c["Labels"].get("holdfast.stack") == self.name]

    def container(self, box):
        """The container of a sandbox, or None."""
        for c in self.containers():
            if c["Labels"].get("holdfast.id") == box:
                return c
        return None

    def interfaces(self):
        return [i for i in os.listdir("/sys/class/net")
                if re.fullmatch(f"hf{self.name}-[0-9]+", i)]

    def tables(self):
        out = subprocess.run(["nft", "list", "tables"], text=True,
                             capture_output=True).stdout
        return re.findall(rf"table (\w+ holdfast_{self.name})\b", out)

    def mounts(self):
        with open("/proc/self/mountinfo") as f:
            found = [line.split()[4] for line in f]
        return sorted((m for m in found if m.startswith(self.dir + "/")),
                      reverse=True)

    def pids(self):
        return [p for p in processes() if self.is_ours(p)]

    def rules(self):
        """Rules in the machine's own firewall, by `iptables -S`."""
        out = subprocess.run(["iptables", "-S"], text=True,
                             capture_output=True).stdout
        return [line for line in out.splitlines()
                if f" hf{self.name}-" in line]

    def leftovers(self):
        return ([f"container {c['Names']}" for c in self.containers()]
                + [f"interface {i}" for i in self.interfaces()]
                + [f"table {t}" for t in self.tables()]
                + [f"rule {r}" for r in self.rules()]
                + [f"mount {m}" for m in self.mounts()]
                + [f"process {p}" for p in self.pids()])

    def sweep(self):
        """Takes everything away; leftovers() says what would not go."""
        for p in self.pids():
            try:
                os.kill(p, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for c in self.containers():
            self.docker.remove(c["Id"])
        for i in self.interfaces():
            subprocess.run(["ip", "link", "delete", i], capture_output=True)
        for t in self.tables():
            subprocess.run(["nft", "delete", "table", *t.split()],
                           capture_output=True)
        for r in self.rules():
            subprocess.run(["iptables", *r.replace("-A", "-D", 1).split()],
                           capture_output=True)
        for m in self.mounts():
            subprocess.run(["umount", "-l", m], capture_output=True)
        try:
            until("nothing is left", lambda: not self.leftovers(), 5)
        except AssertionError:
            pass


def sweep_all(docker):
    """Empties every slot that nobody holds: what killed tests left."""
    for path in glob.glob(f"{SLOTS}/*.lock"):
        n = int(os.path.basename(path)[:-5])
        try:
            slot = Slot([n])
        except BlockingIOError:
            continue
        if os.path.isdir(f"{SLOTS}/{n}"):
            Traces(n, docker).sweep()
            shutil.rmtree(f"{SLOTS}/{n}", ignore_errors=True)
        slot.free()
