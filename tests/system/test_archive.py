"""The last rung: a workspace becomes one file, and comes back whole."""

import glob
import hashlib
import os
import signal
import stat
import subprocess
import threading
import time

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
        return sorted(os.listdir(f"{self.s.dir}/data/archives"))

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
                    st.st_mode, st.st_uid, st.st_gid, st.st_size,
                    st.st_mtime_ns, st.st_nlink, what,
                    [(a, os.getxattr(p, a, follow_symlinks=False))
                     for a in os.listxattr(p, follow_symlinks=False)])
        twins = {}
        for path in seen:
            twins.setdefault(os.lstat(top + path).st_ino, set()).add(path)
        return seen, sorted(sorted(t) for t in twins.values() if len(t) > 1)


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
        self.archive(box)
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

    def test_not_found_and_info(self):
        self.error(404, "not_found",
                   self.s.api("POST", "/v1/sandboxes/none/archive"))
        info = self.s.expect(200, "GET", "/v1/info").json
        self.assertTrue(info["features"]["archive"])
        self.assertEqual(0, info["limits"]["archive_s"])
