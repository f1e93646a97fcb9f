"""npm packages of a fixture, fetched once.

They lie in /var/cache/holdfast/npm/<hash>, where the hash is that of
package-lock.json: its versions and checksums say what is in there. npm runs in
holdfast/base, so it is the Node that will use the packages; no package's
script runs.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile

CACHE = os.environ.get("HOLDFAST_IMAGE_CACHE", "/var/cache/holdfast") + "/npm"
FIXTURES = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "fixtures")
CA = "/etc/ssl/certs/ca-certificates.crt"
PASSED = ("NPM_CONFIG_REGISTRY", "http_proxy", "https_proxy", "no_proxy")


def fetch(folder, docker):
    """`npm ci` in folder, with the host's network, names and certificates."""
    command = ["docker", "-H", f"unix://{docker}", "run", "--rm",
               "--network", "host", "-v", f"{folder}:/app", "-w", "/app",
               "-e", "HOME=/tmp"]
    for name in PASSED:
        if name in os.environ:
            command += ["-e", name]
    if os.path.exists(CA):
        command += ["-v", f"{CA}:/ca.crt:ro",
                    "-e", "NODE_EXTRA_CA_CERTS=/ca.crt"]
    run = subprocess.run(
        [*command, "holdfast/base:latest", "npm", "ci", "--ignore-scripts",
         "--no-audit", "--no-fund", "--loglevel=error"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300)
    if run.returncode != 0:
        raise AssertionError(f"npm ci: {run.stdout.decode()}")


def modules(name, docker):
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
        fetch(new, docker)
        os.chmod(new, 0o755)
        os.rename(new, cached)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return f"{cached}/node_modules"


def install(name, folder, uid, docker):
    """Puts a fixture and its packages into folder, as uid's."""
    shutil.copytree(f"{FIXTURES}/{name}", folder, dirs_exist_ok=True)
    subprocess.run(["cp", "-a", "--reflink=auto", modules(name, docker),
                    folder], check=True)
    subprocess.run(["chown", "-R", f"{uid}:{uid}", folder], check=True)
