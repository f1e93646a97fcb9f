"""npm packages of a fixture, fetched once.

They lie in /var/cache/holdfast/npm/<hash>, where the hash is that of
package-lock.json: its versions and checksums say what is in there. npm runs in
holdfast/base, so it is the Node that will use the packages; no package's
script runs. Where the registry cannot be reached, tests that need it skip.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

CACHE = os.environ.get("HOLDFAST_IMAGE_CACHE", "/var/cache/holdfast") + "/npm"
FIXTURES = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "fixtures")
CA = "/etc/ssl/certs/ca-certificates.crt"
AWAY = re.compile("ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|"
                  "ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT")
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
         "--no-audit", "--no-fund", "--loglevel=error",
         "--fetch-retries=1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300)
    if run.returncode != 0:
        text = run.stdout.decode("utf-8", "replace")
        if AWAY.search(text):
            raise unittest.SkipTest("npm's registry cannot be reached: "
                                    + AWAY.search(text).group())
        raise AssertionError(f"npm ci: {text}")


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
    """Puts a fixture and its packages into folder. Files of packages are
    links to the cache, which their user can read; folders are the user's."""
    shutil.copytree(f"{FIXTURES}/{name}", folder, dirs_exist_ok=True)
    subprocess.run(["chown", "-R", f"{uid}:{uid}", folder], check=True)
    cached = modules(name, docker)
    if subprocess.run(["cp", "-al", cached, folder],
                      stderr=subprocess.DEVNULL).returncode == 0:
        subprocess.run(["find", f"{folder}/node_modules", "-type", "d",
                        "-exec", "chown", f"{uid}:{uid}", "{}", "+"],
                       check=True)
        return
    shutil.rmtree(f"{folder}/node_modules", ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", cached, folder], check=True)
    subprocess.run(["chown", "-R", f"{uid}:{uid}", folder], check=True)
