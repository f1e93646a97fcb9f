"""npm packages of a fixture, fetched once.

They lie in /var/cache/holdfast/npm/<hash>, where the hash is that of
package-lock.json: its versions and checksums say what is in there. npm runs in
holdfast/base, so by the same Node that will use the packages; no package's
script runs.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile

CACHE = "/var/cache/holdfast/npm"
FIXTURES = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "fixtures")


def modules(name):
    """The folder with the packages of tests/fixtures/<name>."""
    with open(f"{FIXTURES}/{name}/package-lock.json", "rb") as f:
        cached = f"{CACHE}/{hashlib.sha256(f.read()).hexdigest()[:16]}"
    if os.path.isdir(cached):
        return f"{cached}/node_modules"
    os.makedirs(CACHE, exist_ok=True)
    new = tempfile.mkdtemp(dir=CACHE, prefix="new.")
    try:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(f"{FIXTURES}/{name}/{file}", new)
        run = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund",
             "--loglevel=error"], cwd=new, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=300)
        if run.returncode != 0:
            raise AssertionError(f"npm ci for {name}: {run.stdout.decode()}")
        os.chmod(new, 0o755)
        os.rename(new, cached)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return f"{cached}/node_modules"


def install(name, folder, uid):
    """Puts a fixture and its packages into folder, as uid's."""
    shutil.copytree(f"{FIXTURES}/{name}", folder, dirs_exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", modules(name), folder],
                   check=True)
    subprocess.run(["chown", "-R", f"{uid}:{uid}", folder], check=True)
