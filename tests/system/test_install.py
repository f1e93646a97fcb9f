"""install.sh and uninstall.sh on a bare Debian 12.

The machine is a fresh root of Debian's smallest set of packages, in mount,
process and network namespaces of its own: nothing of it can be left behind.
Only apt runs on the host's network.
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from stack import IMAGE, TOP
from docker import engine_socket

SLOW = True
LIMIT = 900

ENTER = r"""
root=$1 net=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
touch "$root/etc/resolv.conf"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
[ "$net" = host ] || ip link set lo up
exec chroot "$root" /usr/bin/env -i HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""

# Everything after the packages, in one life of the namespaces.
SCRIPT = r"""
set -eux
say() { echo "@@ $*"; }
cd /src

./install.sh --yes --no-image
say installed
[ "$(curl -s http://127.0.0.1:7070/readyz | head -n 1)" = ready ]
[ "$(stat -c %a /etc/holdfast/holdfast.conf)" = 600 ]
getent passwd holdfast
! pgrep -x apache2

# The lines that install.sh prints, with an image that is there.
docker -H unix:///run/holdfast/docker.sock load </src/image.tar
curl -sf http://127.0.0.1:7070/v1/sandboxes \
    -H 'Content-Type: application/json' \
    -d '{"id":"hello","image":"holdfast/test:latest","ports":[3000],
         "services":[{"name":"web","port":3000,
         "cmd":["/bin/app","serve","3000"]}]}'
curl -sf --resolve s-hello-3000.preview.localhost:7080:127.0.0.1 \
    http://s-hello-3000.preview.localhost:7080/first | grep '"/first"'
say used

echo 'idle_s=777' >>/etc/holdfast/holdfast.conf
before=$(sha256sum /etc/holdfast/holdfast.conf)
SECONDS=0
./install.sh --yes --no-image
say again $SECONDS
[ "$before" = "$(sha256sum /etc/holdfast/holdfast.conf)" ]
curl -sf --resolve s-hello-3000.preview.localhost:7080:127.0.0.1 \
    http://s-hello-3000.preview.localhost:7080/second | grep '"/second"'
say kept

# A setting that is wrong: a sentence, not a half-started Holdfast.
echo 'idle_s=soon' >>/etc/holdfast/holdfast.conf
! ./install.sh --yes --no-image >/tmp/wrong 2>&1
cat /tmp/wrong
grep 'idle_s' /tmp/wrong
sed -i '/soon/d' /etc/holdfast/holdfast.conf
say told

./uninstall.sh >/tmp/uninstalled
cat /tmp/uninstalled
grep 'container' /tmp/uninstalled
[ -d /var/lib/holdfast ]
[ -e /etc/holdfast/holdfast.conf ]
[ ! -e /usr/lib/holdfast ]
[ ! -e /run/holdfast ]
[ ! -e /etc/sysctl.d/60-holdfast.conf ]
! nft list tables | grep holdfast
! ip link | grep ' hf-'
! iptables-save | grep -- '-i hf-\|holdfast'
! ps -eo args | grep -v grep | grep -E 'holdfast|dockerd|nginx|redis'
say removed

./install.sh --yes --no-image
docker -H unix:///run/holdfast/docker.sock load </src/image.tar
curl -sf --resolve s-hello-3000.preview.localhost:7080:127.0.0.1 \
    http://s-hello-3000.preview.localhost:7080/third | grep '"/third"'
say back

./uninstall.sh --all --yes
for f in /var/lib/holdfast /var/lib/holdfast-docker /etc/holdfast \
    /var/log/holdfast /var/log/holdfast-install.log /usr/lib/holdfast; do
    [ ! -e $f ]
done
! getent passwd holdfast
! ps -eo args | grep -v grep | grep -E 'holdfast|dockerd|nginx|redis'
say gone
"""


SYSCTLS = ("fs.inotify.max_user_instances", "fs.inotify.max_user_watches",
           "fs.epoll.max_user_watches")


class Install(unittest.TestCase):
    def put_back(self):
        """The one thing that namespaces do not keep apart."""
        for line in self.sysctls:
            subprocess.run(["sysctl", "-q", "-w", line], check=True)
        for controller in glob.glob("/sys/fs/cgroup/*/holdfast"):
            for folder, _, _ in os.walk(controller, topdown=False):
                os.rmdir(folder)

    def setUp(self):
        self.sysctls = [line.replace(" ", "") for line in
                        subprocess.check_output(
                            ["sysctl", *SYSCTLS], text=True).splitlines()]
        self.addCleanup(self.put_back)
        self.root = tempfile.mkdtemp(prefix="holdfast-bare-", dir="/var/tmp")
        os.chmod(self.root, 0o755)
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        debian = "http://deb.debian.org/debian"
        self.check(["mmdebstrap", "--quiet", "--variant=minbase", "bookworm",
                    self.root, f"deb {debian} bookworm main",
                    f"deb {debian} bookworm-updates main",
                    f"deb {debian}-security bookworm-security main"])
        self.src = f"{self.root}/src"
        shutil.copytree(
            TOP, self.src, symlinks=True, ignore=lambda folder, names:
            {"build", ".git"} if folder == TOP else {"__pycache__"})
        with open(f"{self.src}/image.tar", "wb") as f:
            subprocess.run(["docker", "-H", f"unix://{engine_socket()}",
                            "save", IMAGE], check=True, stdout=f)

    def check(self, argv):
        r = subprocess.run(argv, stdin=subprocess.DEVNULL, text=True,
                           errors="replace", stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)
        self.assertEqual(0, r.returncode, r.stdout[-8000:])
        return r.stdout

    def inside(self, net, *argv):
        more = [] if net == "host" else ["--net"]
        return self.check(["unshare", "--mount", "--pid", "--fork",
                           "--kill-child", *more, "--", "bash", "-euc",
                           ENTER, "enter", self.root, net, *argv])

    def test_bare_machine(self):
        self.inside("host", "/src/install.sh", "--packages")
        self.assertFalse(os.path.exists(f"{self.root}/usr/sbin/policy-rc.d"))
        with open(f"{self.src}/script", "w") as f:
            f.write(SCRIPT)
        out = self.inside("own", "bash", "/src/script")
        seconds = int(re.search(r"^@@ again (\d+)", out, re.M).group(1))
        self.assertLess(seconds, 30)
        self.assertIn("@@ gone", out)
        after = subprocess.check_output(["sysctl", *SYSCTLS], text=True)
        self.assertEqual(self.sysctls,
                         after.replace(" ", "").splitlines())
