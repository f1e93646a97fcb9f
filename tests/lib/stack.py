"""A private Holdfast: its own ports, folders, network names and containers.

    with Stack() as s:
        box = s.create(ports=[3000])
        s.exec(box, "echo hello")

Everything in it is real: nginx with our module, Redis, SQLite, a Docker
Engine. Several stacks live side by side, each in a numbered slot that is
locked for as long as the test runs; what a killed test left in its slot is
swept by the next one that takes it. stop() says what Holdfast left behind.
"""

import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from docker import Docker, engine_socket
from traces import Slot, Traces, processes, until

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
IMAGE = "holdfast/test:latest"


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"not JSON: {self!r}") from None

    def __repr__(self):
        return f"{self.status} {self.text[:2000]}"


def request(address, method, path, body=None, headers=None, timeout=70):
    """One HTTP request on a connection of its own."""
    host, port = address.rsplit(":", 1)
    c = http.client.HTTPConnection(host, int(port), timeout=timeout)
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
        headers.setdefault("Content-Type", "application/json")
    try:
        c.putrequest(method, path, skip_host="Host" in headers,
                     skip_accept_encoding=True)
        for name, value in headers.items():
            c.putheader(name, value)
        if isinstance(body, str):
            body = body.encode()
        if body is not None or method in ("POST", "PUT", "PATCH"):
            c.putheader("Content-Length", str(len(body or b"")))
        c.endheaders(body)
        r = c.getresponse()
        return Answer(r, r.read())
    finally:
        c.close()


class Stack(Traces):
    def __init__(self, docker_socket=None, start=True, **settings):
        self.slot = Slot()
        n = self.slot.n
        super().__init__(n, Docker(docker_socket or engine_socket()))
        self.api_address = f"127.0.0.1:{17000 + 10 * n}"
        self.preview_address = f"127.0.0.1:{17001 + 10 * n}"
        self.metrics_address = f"127.0.0.1:{17002 + 10 * n}"
        self.token = None
        self.process = None
        self.settings = {
            "api_listen": self.api_address,
            "preview_listen": self.preview_address,
            "metrics_listen": self.metrics_address,
            "stack": self.name,
            "data_dir": f"{self.dir}/data",
            "run_dir": f"{self.dir}/run",
            "log_dir": f"{self.dir}/log",
            "lib_dir": f"{self.dir}/lib",
            "api_user": "nobody",
            "gate_user": "www-data",
            "docker_socket": self.docker.path,
            "image": IMAGE,
            "addr_range": f"198.18.{4 * n}.0/22",
            "uid_base": 3000000 + 20000 * n,
            "nginx_workers": 2,
            "memory_default": "128M",
            "memory_reserve": "0",
            "disk_reserve_percent": 0,
            "drain_s": 1,
            **settings,
        }
        try:
            self.sweep()
            self.lay_out()
            if start:
                self.start()
        except BaseException:
            self.stop(check=False)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.stop(check=failure[0] is None)

    # ---- life --------------------------------------------------------------

    def lay_out(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        for name in ("data", "run", "log"):
            os.makedirs(f"{self.dir}/{name}", 0o755)
        subprocess.run([f"{TOP}/install.sh", "--stage", f"{self.dir}/lib"],
                       check=True, stdout=subprocess.DEVNULL)
        self.conf = f"{self.dir}/holdfast.conf"
        self.configure()

    def configure(self, **changes):
        """Writes the settings file; it counts from the next start."""
        self.settings.update(changes)
        with open(self.conf, "w") as f:
            os.fchmod(f.fileno(), 0o600)
            for name, value in self.settings.items():
                f.write(f"{name}={value}\n")

    def command(self, *args):
        return [f"{self.dir}/lib/holdfastd", *args]

    def start(self, ready=True):
        self.output = open(f"{self.dir}/log/holdfastd.out", "ab")
        self.process = subprocess.Popen(
            self.command("-c", self.conf, "run"), stdin=subprocess.DEVNULL,
            stdout=self.output, stderr=self.output, start_new_session=True)
        if ready:
            self.wait_ready()

    def wait_ready(self, seconds=30):
        def check():
            if self.process.poll() is not None:
                raise AssertionError(
                    f"holdfastd ended with {self.process.returncode}\n"
                    + self.logs())
            try:
                return request(self.api_address, "GET", "/readyz",
                               timeout=5).status == 200
            except OSError:
                return False
        try:
            until("/readyz answers 200", check, seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.readyz()}\n{self.logs()}") \
                from None

    def readyz(self):
        try:
            return repr(request(self.api_address, "GET", "/readyz",
                                timeout=5))
        except OSError as e:
            return f"/readyz: {e}"

    def small_disk(self, mb):
        """Its data will be on a file system of its own, now empty."""
        image = f"{self.dir}/disk.img"
        with open(image, "wb") as f:
            f.truncate(mb << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, f"{self.dir}/data"],
                       check=True)

    def halt(self, how=signal.SIGTERM, seconds=30):
        """Ends the daemons; containers and data stay."""
        if self.process is None:
            return
        below = self.pids()
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"holdfastd did not end in {seconds} s\n"
                                 + self.logs()) from None
        finally:
            self.process = None
            self.output.close()
            self.left_running = [p for p in below if self.is_ours(p)]

    def restart(self):
        self.halt()
        self.start()

    def stop(self, check=True):
        """Ends everything and removes it; what Holdfast should have taken
        away itself and did not is an error."""
        left = []
        try:
            if self.process:
                self.halt()
                left = [f"process {p}: {processes().get(p, ('', '', ''))[2]}"
                        for p in self.left_running]
            self.sweep()
            left += [f"after cleaning: {x}" for x in self.leftovers()]
            shutil.rmtree(self.dir, ignore_errors=True)
        finally:
            self.slot.free()
        if check and left:
            raise AssertionError("left behind: " + "; ".join(left))

    # ---- parts -------------------------------------------------------------

    def parts(self):
        """role -> pids. nginx' workers are nginx-worker."""
        found = {}
        every = processes()
        ours = {self.process.pid} if self.process else set()
        while True:             # descendants
            more = {p for p, (parent, state, _) in every.items()
                    if parent in ours and state != "Z"} - ours
            if not more:
                break
            ours |= more
        for p in ours:
            line = every[p][2] if p in every else ""
            m = re.search(r"(nginx): (\w+)|(redis-server)|"
                          r"(?:holdfastd|holdfast)[: ].*?\b(keeper|api|door|net|tasks|files)\b", line)
            if not m:
                role = "parent" if p == self.process.pid else "?"
            elif m.group(1):
                role = "nginx" if m.group(2) == "master" else "nginx-worker"
            else:
                role = "redis" if m.group(3) else m.group(4)
            found.setdefault(role, []).append(p)
        return found

    def kill(self, role, how=signal.SIGKILL):
        """Kills every process of a role, and says which."""
        pids = self.parts().get(role)
        if not pids:
            raise AssertionError(f"no {role} runs: {self.parts()}")
        for p in pids:
            try:
                os.kill(p, how)
            except ProcessLookupError:  # a child of one that was killed
                pass
        return pids

    def logs(self, lines=60):
        text = []
        paths = sorted(glob.glob(f"{self.dir}/log/*.log"))
        for path in paths or [f"{self.dir}/log/holdfastd.out"]:
            with open(path, errors="replace") as f:
                tail = f.readlines()[-lines:]
            if tail:
                text.append(f"--- {os.path.basename(path)}\n"
                            + "".join(tail).rstrip())
        return "\n".join(text)

    # ---- the API -----------------------------------------------------------

    def api(self, method, path, body=None, headers=None, timeout=70,
            token=None):
        headers = dict(headers or {})
        token = token or self.token
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        return request(self.api_address, method, path, body, headers, timeout)

    def expect(self, status, method, path, body=None, headers=None, **more):
        a = self.api(method, path, body, headers, **more)
        if a.status not in (status if isinstance(status, tuple)
                            else (status,)):
            raise AssertionError(f"{method} {path}: expected {status}, "
                                 f"got {a!r}")
        return a

    def create(self, **body):
        """A sandbox made on /v1; gives its id."""
        return self.expect(201, "POST", "/v1/sandboxes", body).json["id"]

    def create_app(self, port=3000, **body):
        """A sandbox whose service answers on `port`."""
        return self.create(services=[{
            "name": "app", "cmd": ["/bin/app", "serve", str(port)],
            "port": port}], **body)

    def get(self, box):
        return self.expect(200, "GET", f"/v1/sandboxes/{box}").json

    def state(self, box):
        return self.get(box)["state"]

    def stop_box(self, box):
        return self.expect(200, "POST", f"/v1/sandboxes/{box}/stop").json

    def purge(self, box):
        self.expect(200, "POST", f"/sandbox/{box}/purge")

    def exec(self, box, cmd, **more):
        """What a command in a sandbox says; a string goes to its shell."""
        if isinstance(cmd, str):
            cmd = ["sh", "-c", cmd]
        return self.expect(200, "POST", f"/v1/sandboxes/{box}/exec",
                           {"cmd": cmd, **more}).json

    def sh(self, box, cmd, **more):
        """The output of a command that must succeed."""
        r = self.exec(box, cmd, **more)
        if r["exit_code"] != 0:
            raise AssertionError(f"{cmd}: {r}")
        return r["stdout"]

    # ---- previews ----------------------------------------------------------

    def preview_host(self, box, port=3000):
        return f"s-{box}-{port}.preview.localhost"

    def cgroup(self, box, v1, v2):
        """What a file of the sandbox's memory group says."""
        pid = self.docker.inspect(self.container(box)["Id"])["State"]["Pid"]
        with open(f"/proc/{pid}/cgroup") as f:
            groups = dict(line.strip().split(":", 2)[1:] for line in f)
        path = f"/sys/fs/cgroup/memory{groups['memory']}/{v1}" \
            if "memory" in groups else f"/sys/fs/cgroup{groups['']}/{v2}"
        with open(path) as f:
            return int(f.read())

    def memory(self, box):
        return self.cgroup(box, "memory.usage_in_bytes", "memory.current")

    def preview(self, box, port=3000, path="/", method="GET", body=None,
                headers=None, timeout=70):
        headers = {"Host": self.preview_host(box, port), **(headers or {})}
        return request(self.preview_address, method, path, body, headers,
                       timeout)

    def raw(self, data, address=None, timeout=70):
        """A connected socket on which `data` has been sent."""
        host, port = (address or self.preview_address).rsplit(":", 1)
        s = socket.create_connection((host, int(port)), timeout)
        s.sendall(data if isinstance(data, bytes) else data.encode())
        return s
