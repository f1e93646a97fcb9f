"""The last rung: a workspace becomes one file, and comes back whole."""

import glob
import hashlib
import os
import signal
import sqlite3
import stat
import subprocess
import threading

from case import Case, until

LIMIT = 420

TREE = r"""
cd $HOME && mkdir t && cd t
printf 'hello\n' > plain; chmod 640 plain; touch -d @1000000000.123456789 plain
ln plain hard; ln -s ../../../etc/passwd out; ln -s nowhere broken
truncate -s 2G sparse; printf x | dd of=sparse bs=1 seek=1073741824 \
    conv=notrunc 2>/dev/null; truncate -s 3G sparse
truncate -s 1M hole
mkfifo fifo
mkdir -p 'ü ñ 漢字 😀/deeper'; printf 1 > "$(printf 'ü ñ 漢字 😀/deeper/a\nb')"
printf 2 > "$(printf 'bad\377name')"
mkdir shut; printf 3 > shut/in; printf 4 > mode0; chmod 0 mode0
printf 5 > suid; chmod 6755 suid
mkdir sticky; chmod 1777 sticky; touch -d @1100000000 sticky
head -c 3000000 /dev/urandom > random
d=deep; mkdir deep; for i in $(seq 60); do d=$d/$(printf 'x%.0s' $(seq 40))
mkdir $d; done; printf 6 > $d/bottom
: > empty; chmod 0 shut
"""


class Archives(Case):
    seconds = 100

    def home(self, box):
        return f"{self.s.dir}/data/sandboxes/{box}/home"

    def file(self, box):
        return f"{self.s.dir}/data/archives/{box}.tar.zst"

    def files(self):
        names = os.listdir(f"{self.s.dir}/data/archives")
        self.assertEqual([], os.listdir(f"{self.s.dir}/data/archives/empty"))
        return sorted(set(names) - {"empty"})

    def archive(self, box, status=200):
        return self.s.expect(status, "POST", f"/v1/sandboxes/{box}/archive")

    def look(self, box):
        """All that can be seen of a tree, by path."""
        seen, links = {}, {}
        top = os.fsencode(self.home(box))
        for folder, dirs, files in os.walk(top):
            for n in dirs + files:
                p = os.path.join(folder, n)
                st = os.lstat(p)
                what = None
                if stat.S_ISLNK(st.st_mode):
                    what = os.readlink(p)
                elif stat.S_ISREG(st.st_mode) and st.st_size < 1 << 25:
                    with open(p, "rb") as f:
                        what = hashlib.sha256(f.read()).hexdigest()
                links.setdefault(st.st_ino, len(links))
                seen[p[len(top):]] = (
                    st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns,
                    st.st_nlink, what,
                    0 if stat.S_ISDIR(st.st_mode) else st.st_size,
                    [(a, os.getxattr(p, a, follow_symlinks=False))
                     for a in os.listxattr(p, follow_symlinks=False)])
        twins = {}
        for path in seen:
            twins.setdefault(os.lstat(top + path).st_ino, set()).add(path)
        return seen, sorted(sorted(t) for t in twins.values() if len(t) > 1)


    def children(self):
        """Pids of the keeper's that have a sandbox's uid."""
        keepers = {str(p) for p in self.s.parts()["keeper"]}
        found = []
        for path in glob.glob("/proc/[0-9]*/status"):
            try:
                with open(path) as f:
                    fields = dict(line.split(":\t", 1) for line in f
                                  if ":\t" in line)
            except OSError:
                continue
            if fields["PPid"].strip() in keepers and int(
                    fields["Uid"].split()[0]) >= int(
                    self.s.settings["uid_base"]):
                found.append(int(path.split("/")[2]))
        return found

    def held_child(self, seconds=20):
        """One in the middle of its work, and there it stays."""
        until("a child works", self.children, seconds, every=0.002)
        [pid] = self.children()
        os.kill(pid, signal.SIGSTOP)
        return pid

    def later(self, *call):
        """A call in a thread; its answer when it is asked for."""
        answers = []
        t = threading.Thread(
            target=lambda: answers.append(self.s.api(*call)))
        t.start()

        def answer():
            t.join(60)
            return answers[0]
        return answer


class RoundTrip(Archives):
    def test_everything_comes_back(self):
        s = self.s
        box = s.create()
        s.sh(box, TREE)
        os.setxattr(f"{self.home(box)}/t/plain", "user.note", b"\0kept")
        before = self.look(box)
        self.assertIn(b"/t/bad\xffname", before[0])
        row = self.archive(box).json
        self.assertEqual("archived", row["state"])
        self.assertEqual("archived", s.state(box))
        self.assertFalse(os.path.exists(self.home(box)))
        self.assertEqual([], [c for c in s.containers()
                              if c["Labels"]["holdfast.id"] == box])
        self.assertEqual([f"{box}.tar.zst"], self.files())
        self.assertLess(os.path.getsize(self.file(box)), 4 << 20)
        self.assertEqual("archived", self.archive(box).json["state"])
        # Anybody's tools read it.
        names = subprocess.run(["tar", "--zstd", "-tf", self.file(box)],
                               check=True, capture_output=True).stdout
        self.assertIn(b"./t/plain\n", names)

        s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        self.assertEqual(before, self.look(box))
        self.assertEqual([], self.files())
        st = os.stat(f"{self.home(box)}/t/sparse")
        self.assertLess(st.st_blocks * 512, 1 << 20)
        with open(f"{self.home(box)}/t/sparse", "rb") as f:
            f.seek(1 << 30)
            self.assertEqual(b"x\0", f.read(2))
        self.assertEqual("hello\n", s.sh(box, "cat $HOME/t/hard"))
        s.purge(box)

    def test_exec_and_visit_wake(self):
        s = self.s
        box = s.create_app(3000, ports=[3000])
        s.sh(box, "echo kept > $HOME/f")
        self.archive(box)
        self.status(200, s.preview(box, 3000))
        self.assertEqual("running", s.state(box))
        until("no visit is in the way", lambda: s.api(
            "POST", f"/v1/sandboxes/{box}/archive").status == 200, every=1)
        self.assertEqual("kept\n", s.sh(box, "cat $HOME/f"))
        s.stop_box(box)
        self.archive(box)
        self.assertEqual("archived", s.state(box))
        s.expect(200, "POST", f"/wake/{box}")
        s.purge(box)

    def test_delete_keeps_it_and_purge_removes_it(self):
        s = self.s
        box = s.create(id="kept1")
        s.sh(box, "echo kept > $HOME/f")
        self.archive(box)
        s.expect(204, "DELETE", f"/v1/sandboxes/{box}?keep_workspace=true")
        self.assertEqual([f"{box}.tar.zst"], self.files())
        s.create(id="kept1")
        self.assertEqual("kept\n", s.sh(box, "cat $HOME/f"))
        self.assertEqual([], self.files())
        self.archive(box)
        a = s.expect(200, "POST", f"/sandbox/{box}/purge").json
        self.assertGreater(a["freed_bytes"], 0)
        self.assertEqual([], self.files())
        self.assertFalse(os.path.exists(os.path.dirname(self.home(box))))

    def test_damage_is_seen(self):
        """A bad archive is not made into a sandbox with half its files."""
        s = self.s
        box = s.create()
        s.sh(box, "head -c 1000000 /dev/urandom > $HOME/f")
        self.archive(box)
        with open(self.file(box), "r+b") as f:
            f.seek(500000)
            byte = f.read(1)
            f.seek(500000)
            f.write(bytes([byte[0] ^ 1]))
        a = s.api("POST", f"/v1/sandboxes/{box}/start")
        self.error(503, "wake_failed", a)
        self.assertIn("archive", a.json["error"]["message"])
        self.assertEqual("archived", s.state(box))
        self.assertFalse(os.path.exists(self.home(box)))
        self.assertFalse(os.path.exists(self.home(box) + ".unpack"))
        self.status(503, s.preview(box, 3000))
        with open(self.file(box), "r+b") as f:
            f.seek(500000)
            f.write(byte)
        s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        s.purge(box)

    def test_too_deep(self):
        """What could not come back is not packed."""
        s = self.s
        box = s.create()
        s.sh(box, "cd $HOME; n=$(printf 'x%.0s' $(seq 200));"
             "for i in $(seq 25); do mkdir $n; cd $n; done; echo 1 > f")
        a = s.api("POST", f"/v1/sandboxes/{box}/archive")
        self.assertIn("too long", self.error(409, "conflict", a)["message"])
        self.assertEqual("stopped", s.state(box))
        self.assertEqual([], self.files())
        s.purge(box)

    def test_links_are_not_followed(self):
        """Neither on the way down nor on the way up; nor is a file of the
        home taken for one of the machine's."""
        s = self.s
        box = s.create()
        secret = f"{s.dir}/secret"
        with open(secret, "w") as f:
            f.write("of the machine")
        s.sh(box, f"cd $HOME; ln -s {secret} one; ln -s {s.dir} folder;"
             "ln -s / top; mkdir -p usr/lib/ssl etc;"
             "echo 'openssl_conf = x' > usr/lib/ssl/openssl.cnf")
        before = self.look(box)
        self.archive(box)
        packed = subprocess.run(["zstd", "-dc", self.file(box)], check=True,
                                capture_output=True).stdout
        self.assertNotIn(b"of the machine", packed)
        s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        self.assertEqual(before, self.look(box))
        s.purge(box)

    def test_not_found_and_info(self):
        self.error(404, "not_found",
                   self.s.api("POST", "/v1/sandboxes/none/archive"))
        info = self.s.expect(200, "GET", "/v1/info").json
        self.assertTrue(info["features"]["archive"])
        self.assertEqual(0, info["limits"]["archive_s"])


class Killed(Archives):
    """At every moment there is one whole workspace."""
    settings = {"archive_level": 15}

    def setUp(self):
        self.box = self.s.create_app(3000, ports=[3000])
        self.s.sh(self.box, "head -c 16000000 /dev/urandom > $HOME/random;"
                  "mkdir $HOME/m; cd $HOME/m; for i in $(seq 2000); do"
                  " echo $i > $i; done")
        self.before = self.look(self.box)
        self.call = f"/v1/sandboxes/{self.box}/"

    def tearDown(self):
        self.s.purge(self.box)
        self.assertEqual([], self.files())

    def whole(self):
        now = self.look(self.box)
        self.assertEqual(set(self.before[0]), set(now[0]))
        for path, what in self.before[0].items():
            self.assertEqual(what, now[0][path], path)
        self.assertEqual(self.before[1], now[1])

    def kill_keeper(self):
        gone = self.s.kill("keeper")
        until("the keeper is back", lambda: not set(
            self.s.parts().get("keeper", gone)) & set(gone), 30)

    def test_keeper(self):
        answer = self.later("POST", self.call + "archive")
        self.held_child()
        self.assertEqual([f"{self.box}.tmp"], self.files())
        self.kill_keeper()
        self.assertEqual(200, answer().status, answer())
        self.assertEqual("archived", self.s.state(self.box))
        answer = self.later("POST", self.call + "start")
        self.held_child()
        self.assertFalse(os.path.exists(self.home(self.box)))
        self.kill_keeper()
        self.assertEqual(200, answer().status, answer())
        self.whole()
        self.assertEqual([], self.files())

    def test_child(self):
        answer = self.later("POST", self.call + "archive")
        os.kill(self.held_child(), signal.SIGKILL)
        self.error(503, "unavailable", answer())
        self.assertEqual("stopped", self.s.state(self.box))
        self.assertIn("archive", self.s.get(self.box)["error_message"])
        self.whole()
        self.assertEqual([], self.files())
        self.archive(self.box)
        answer = self.later("POST", self.call + "start")
        os.kill(self.held_child(), signal.SIGKILL)
        self.error(503, "wake_failed", answer())
        self.assertEqual("archived", self.s.state(self.box))
        self.assertEqual([f"{self.box}.tar.zst"], self.files())
        self.status(200, self.s.preview(self.box, 3000))
        self.whole()

    def test_somebody_comes(self):
        """A visit does not wait for a pack that has just begun."""
        answer = self.later("POST", self.call + "archive")
        self.held_child()
        self.status(200, self.s.preview(self.box, 3000))
        self.error(409, "conflict", answer())
        self.whole()
        self.assertEqual([], self.files())
        # And nobody unpacks what is about to be purged.
        until("no visit is in the way", lambda: self.s.api(
            "POST", self.call + "archive").status == 200, every=1)
        answer = self.later("POST", self.call + "start")
        self.held_child()
        self.s.purge(self.box)
        self.error(409, "conflict", answer())

    def test_between_the_steps(self):
        """What is on disk when power fails between two of them."""
        s, box = self.s, self.box
        archived, stopped, archiving, unpacking = 9, 7, 8, 10
        home, file = self.home(box), self.file(box)
        tree = f"{s.dir}/tree"
        s.stop_box(box)
        subprocess.run(["cp", "-a", home, tree], check=True)

        def unpacked():
            subprocess.run(["cp", "-a", tree, home], check=True)

        def half_removed():
            subprocess.run(["cp", "-a", tree, home + ".packed"], check=True)
            os.unlink(home + ".packed/random")

        def half_unpacked():
            subprocess.run(["cp", "-a", tree, home + ".unpack"], check=True)
            os.unlink(home + ".unpack/random")

        for rung, keep_ref, prepare, then in (
                (archiving, False, unpacked, "archived"),
                (archiving, True, unpacked, "archived"),
                (archiving, True, half_removed, "archived"),
                (unpacking, True, half_unpacked, "stopped"),
                (unpacking, True, unpacked, "stopped"),
                (archived, True, half_removed, "archived"),
                (stopped, False, unpacked, "stopped"),
                (stopped, False, lambda: None, "archived")):
            with self.subTest(rung=rung, ref=keep_ref, disk=prepare.__name__):
                self.archive(box)
                s.halt()
                prepare()
                with sqlite3.connect(f"{s.dir}/data/db/holdfast.db") as db:
                    db.execute("UPDATE sandboxes SET rung=? WHERE id=?",
                               (rung, box))
                    if not keep_ref:
                        db.execute("UPDATE sandboxes SET archive_ref=NULL")
                db.close()
                s.start()
                until("it has settled", lambda: s.state(box) == then, 20)
                s.expect(200, "POST", self.call + "start")
                self.whole()
                self.assertEqual([], self.files())
                self.assertEqual([], glob.glob(home + ".*"))
                s.stop_box(box)


class Idle(Archives):
    settings = {"archive_s": 1}

    def test_by_itself(self):
        s = self.s
        box = s.create_app(3000, ports=[3000])
        kept = s.create()
        s.expect(201, "POST", f"/v1/sandboxes/{kept}/leases",
                 {"ttl_s": 300, "reason": "not now"})
        s.stop_box(kept)
        s.stop_box(box)
        until("it is archived", lambda: s.state(box) == "archived", 20)
        self.assertEqual([f"{box}.tar.zst"], self.files())
        self.assertEqual("stopped", s.state(kept))
        self.status(200, s.preview(box, 3000))
        self.assertEqual([], self.files())

        def again():
            if s.state(box) == "running":
                s.stop_box(box)     # what the visit asked for may undo it
            return s.state(box) == "archived"
        until("it is archived again", again, 20, every=1)
        for b in (box, kept):
            s.purge(b)


class FullDisk(Archives):
    """A data folder of 64 MB."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s.halt()
        cls.s.small_disk(64)
        cls.s.start()

    def fill(self, leave):
        """Takes what is free but `leave` bytes."""
        v = os.statvfs(f"{self.s.dir}/data")
        with open(f"{self.s.dir}/data/fill", "wb") as f:
            os.posix_fallocate(f.fileno(), 0,
                               v.f_bavail * v.f_frsize - leave)

    def free(self):
        os.unlink(f"{self.s.dir}/data/fill")

    def test_full_disk(self):
        s = self.s
        box = s.create()
        s.sh(box, "head -c 16000000 /dev/urandom > $HOME/f")
        before = self.look(box)
        self.fill(4 << 20)
        a = s.api("POST", f"/v1/sandboxes/{box}/archive")
        self.error(507, "disk_full", a)
        self.assertEqual("stopped", s.state(box))
        self.assertIn("disk", s.get(box)["error_message"])
        self.assertEqual([], self.files())
        self.assertEqual(before, self.look(box))
        self.free()
        self.archive(box)
        self.fill(4 << 20)
        a = s.api("POST", f"/v1/sandboxes/{box}/start")
        self.error(507, "disk_full", a)
        self.assertIn(s.preview(box, 3000).status, (503, 507))
        self.assertEqual("archived", s.state(box))
        self.assertEqual([f"{box}.tar.zst"], self.files())
        self.assertFalse(os.path.exists(self.home(box) + ".unpack"))
        self.free()
        s.expect(200, "POST", f"/v1/sandboxes/{box}/start")
        self.assertEqual(before, self.look(box))
        s.purge(box)
