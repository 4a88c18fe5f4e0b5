"""Rounds of random faults in an installation of two web processes and three workers, on servers of its own.

`python -m tests.faults.rounds --rounds 50 --seed 1` runs them in a network namespace of their own and prints each
round's seed; `--rounds 1 --seed N` runs one again. Needs root.

A round starts a job on 300 platforms (`--platforms`), watches it, makes one fault in its midst, goes on asking for things meanwhile,
and ends the fault. Then it checks:

- every task that a fault caught ends within two lease periods of the fault's end, and so does the job once what it
  has left to do is done;
- no command ran twice, and each that is called a success ran: by counter files on the host;
- every message that a watcher was shown is there later, the same, and every frame of the output once;
- every request that was acknowledged has been done.
"""

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from websockets.exceptions import WebSocketException

from tests.ssh.test_terminate import commands
from tests.support.postgres import PostgresServer
from tests.support.proxy import Proxies, Proxy
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server
from tests.support.server import ADMIN, Api, Process, Walls, missing
from tests.support.sshd import RealSshd, free_port
from tests.support.stream import follow, output_of, watch
from tests.support.tools import healthy
from tests.support.waiting import pause, until
from testum.core.states import FINAL

LEASE_SECONDS = 10.0
ADDRESSES = 16
WORKERS = 3
WEBS = 2
_DONE_SECONDS = 120.0
"""For what a job has left to do when the fault is over, on two busy cores."""


@dataclass
class Part:
    """A web process or a worker, with its own ways to the servers."""

    name: str
    arguments: list[str]
    env: dict[str, str]
    folder: Path
    ways: dict[str, Proxy]
    process: Process | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start; the supervisor's part, also after a crash."""
        self.folder.mkdir(exist_ok=True)
        self.process = Process(self.arguments, self.env, self.folder, self.log)

    @property
    def running(self) -> Process:
        assert self.process is not None
        return self.process


class Fleet:
    """All of it: servers, parts, hosts, and a client that goes to whichever web process answers."""

    def __init__(self, platforms: int) -> None:
        self.platforms = platforms
        self.folder = Path(tempfile.mkdtemp(prefix="testum-faults-"))
        self.walls = Walls(PostgresServer(), RedisServer(), S3Server())
        self.proxies = Proxies()
        self.host = RealSshd(addresses=ADDRESSES)
        # All parts share the installation's settings, but each has its own ways.
        common = {
            **os.environ,
            **self.walls.environment(),
            "ADMIN_USERNAME": ADMIN[0],
            "ADMIN_PASSWORD": ADMIN[1],
            "ACCESS_TOKEN_SECONDS": "86400",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "WORKER_PROCESSES": "1",
            "WORKER_DRAIN_SECONDS": "20",
        }
        self.webs = [self._part(f"web{number}", common, web=True) for number in range(WEBS)]
        self.workers = [self._part(f"worker{number}", common, web=False) for number in range(WORKERS)]
        self.parts = [*self.webs, *self.workers]
        self.token = ""

    def _part(self, name: str, common: Mapping[str, str], *, web: bool) -> Part:
        s3_port = int(self.walls.s3.endpoint.partition(":")[2])
        targets = {"postgres": self.walls.postgres.port, "redis": self.walls.redis.port, "s3": s3_port}
        ways = {wall: self.proxies.add(port) for wall, port in targets.items()}
        env = {**common, "DATA_DIR": str(self.folder / name)}
        for setting, wall in (
            ("DATABASE_URL", "postgres"),
            ("REDIS_URL", "redis"),
            ("CELERY_BROKER_URL", "redis"),
            ("MINIO_ENDPOINT", "s3"),
        ):
            env[setting] = env[setting].replace(f":{targets[wall]}", f":{ways[wall].port}")
        port = free_port()
        arguments = ["serve", "--port", str(port)] if web else ["worker"]
        env["TESTUM_ADDRESS"] = f"http://127.0.0.1:{port}"
        return Part(name, arguments, env, self.folder / name, ways)

    def start(self) -> None:
        """Start all, and add the platforms."""
        for part in self.parts:
            part.start()
        for web in self.webs:
            self.wait_healthy(web)
        api = Api(self.address(self.webs[0]))
        self.token = api.http.headers["Authorization"]
        for number in range(self.platforms):
            api.add_platform(
                f"p{number}", self.host, host=self.host.address(number % ADDRESSES), tags=["fleet"]
            )
        api.http.close()

    @staticmethod
    def address(web: Part) -> str:
        return web.env["TESTUM_ADDRESS"]

    def wait_healthy(self, web: Part, seconds: float = 60) -> None:
        """Wait for the process's answer."""

        def said() -> str:
            return f"{web.name} is not healthy:\n{web.log.read_text()[-2000:]}"

        def well() -> bool:
            assert web.running.popen.poll() is None, said()
            return healthy(self.address(web))

        until(well, seconds, otherwise=said)

    def request(self, method: str, path: str, *, seconds: float = 60, **options: Any) -> Any:
        """Ask any web process, again and again, until one answers; for requests that may be repeated."""
        said = ""

        def answer() -> tuple[Any] | None:
            nonlocal said
            for web in self.webs:
                status, body = self.try_request(web, method, path, **options)
                if status is not None and status < 400:
                    return (body,)
                said = f"{method} {path} at {web.name}: {status} {body}"
            return None

        found = until(answer, seconds, otherwise=lambda: said)
        assert found is not None
        return found[0]

    def try_request(self, web: Part, method: str, path: str, **options: Any) -> tuple[int | None, Any]:
        """Ask one web process once: the status (None: no answer) and the body."""
        try:
            answer = httpx2.request(
                method,
                f"{self.address(web)}/api/v1{path}",
                headers={"Authorization": self.token},
                timeout=10,
                **options,
            )
            return answer.status_code, answer.json()
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            return None, repr(error)

    def tasks(self, job_id: str) -> list[Any]:
        """All tasks of a job."""
        found: list[Any] = self.request("GET", "/tasks/", params={"job_id": job_id, "limit": 500})
        return found

    def api(self, web: Part) -> Api:
        """For `watch`: an Api without a login of its own."""
        api = Api.__new__(Api)
        api.url = self.address(web)
        api.http = httpx2.Client(
            base_url=f"{api.url}/api/v1", headers={"Authorization": self.token}, timeout=60
        )
        return api

    def close(self) -> None:
        """Leave nothing behind."""
        for part in self.parts:
            if part.process is not None:
                part.running.signal(signal.SIGCONT)
                part.running.kill()
        self.proxies.close()
        self.host.close()
        for wall in (self.walls.s3, self.walls.redis, self.walls.postgres):
            wall.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# -- faults ------------------------------------------------------------------------------------------------


@contextmanager
def killed(part: Part) -> Iterator[None]:
    """kill -9 of all its processes; its supervisor starts it again."""
    part.running.kill()
    yield
    part.start()


@contextmanager
def child_killed(part: Part) -> Iterator[None]:
    """kill -9 of a worker's working process alone; its main process makes another."""
    for child in part.running.group()[1:]:
        with suppress(Exception):
            child.kill()
    yield


@contextmanager
def parent_killed(part: Part) -> Iterator[None]:
    """kill -9 of a worker's main process: what works must end by itself."""
    orphans = part.running.group()[1:]
    part.running.popen.kill()
    part.running.popen.wait(10)
    yield
    until(
        lambda: not any(orphan.is_running() and orphan.status() != "zombie" for orphan in orphans),
        60,
        otherwise=lambda: "a worker's process outlives its main process",
    )
    part.start()


@contextmanager
def stopped(part: Part) -> Iterator[None]:
    """SIGSTOP: its connections stay, and it says nothing."""
    part.running.signal(signal.SIGSTOP)
    yield
    part.running.signal(signal.SIGCONT)


@contextmanager
def wall_away(leave: Callable[[], object], back: Callable[[], object]) -> Iterator[None]:
    leave()
    yield
    back()


@contextmanager
def cut(ways: list[Proxy]) -> Iterator[None]:
    """No packet goes either way, and nobody is told."""
    rules = "".join(
        f"add rule inet testum input tcp {end} {way.port} drop\n"
        for way in ways
        for end in ("dport", "sport")
    )
    table = "add table inet testum\nadd chain inet testum input { type filter hook input priority 0; }\n"
    subprocess.run(["nft", "-f", "-"], input=table + rules, text=True, check=True)
    yield
    subprocess.run(["nft", "delete", "table", "inet", "testum"], check=True)


@contextmanager
def slow(ways: list[Proxy]) -> Iterator[None]:
    for way in ways:
        way.delay = 0.3
    yield
    for way in ways:
        way.delay = 0.0


@dataclass
class Fault:
    """What happens, for how many seconds."""

    name: str
    seconds: float
    make: Callable[[], Any]


def choose(fleet: Fleet, chance: random.Random) -> Fault:
    """One of all kinds."""
    worker, web, part = chance.choice(fleet.workers), chance.choice(fleet.webs), chance.choice(fleet.parts)
    wall = chance.choice(["postgres", "redis", "s3"])
    brief, long = chance.uniform(0.1, 5), chance.uniform(1.1, 1.8) * LEASE_SECONDS
    redis, postgres, s3 = fleet.walls.redis, fleet.walls.postgres, fleet.walls.s3
    return chance.choice(
        [
            Fault(f"kill -9 {worker.name}", brief, lambda: killed(worker)),
            Fault(f"kill -9 the process of {worker.name}", brief, lambda: child_killed(worker)),
            Fault(f"kill -9 the main process of {worker.name}", brief, lambda: parent_killed(worker)),
            Fault(f"SIGSTOP {worker.name}, short", brief, lambda: stopped(worker)),
            Fault(f"SIGSTOP {worker.name}, long", long, lambda: stopped(worker)),
            Fault(f"kill -9 {web.name}", brief, lambda: killed(web)),
            Fault(f"SIGSTOP {web.name}", long, lambda: stopped(web)),
            Fault("kill -9 redis", brief, lambda: wall_away(redis.kill, redis.start)),
            Fault("SIGSTOP redis", long, lambda: wall_away(redis.pause, redis.resume)),
            Fault("restart postgres", brief, lambda: wall_away(lambda: postgres.stop(immediate=True), postgres.start)),
            Fault("s3 away", 20, lambda: wall_away(s3.stop, s3.start)),
            Fault(f"cut {part.name} from {wall}", long, lambda: cut([part.ways[wall]])),
            Fault(f"cut {worker.name} from all", long, lambda: cut(list(worker.ways.values()))),
            Fault(f"cut everyone from {wall}", brief, lambda: cut([one.ways[wall] for one in fleet.parts])),
            Fault("300 ms to all servers", 20, lambda: slow([way for one in fleet.parts for way in one.ways.values()])),
        ]
    )  # fmt: skip


# -- a round -----------------------------------------------------------------------------------------------


class Watcher:
    """Somebody who watches the job, at one web process or the other, and notes what is shown."""

    def __init__(self, fleet: Fleet, job_id: str, chance: random.Random) -> None:
        self._fleet = fleet
        self._job_id = job_id
        self._chance = chance
        self.shown: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        after: int | None = None
        while not self._over.is_set():
            api = self._fleet.api(self._chance.choice(self._fleet.webs))
            try:
                with watch(api, f"jobs/{self._job_id}", after, open_timeout=5) as watching:
                    while not self._over.is_set():
                        # A web process that was stopped, or cut, breaks no connection.
                        message = json.loads(watching.recv(timeout=10))
                        self.shown.append(message)
                        after = message["seq"]
                        if message["task_id"] is None and message["payload"]["status"] in (
                            "success",
                            "failed",
                        ):
                            return
            except (OSError, WebSocketException, TimeoutError, EOFError):
                self._over.wait(0.3)
            finally:
                api.http.close()

    def end(self) -> list[Any]:
        """Watch no more; all that was shown."""
        self._over.set()
        self._thread.join(20)
        return self.shown


class Requests:
    """Somebody who goes on asking for things, and notes what was acknowledged."""

    def __init__(self, fleet: Fleet, chance: random.Random) -> None:
        self._fleet = fleet
        self._chance = chance
        self.platforms: list[str] = []
        self.jobs: list[str] = []
        self.refused: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        target: Any = None
        while not self._over.wait(0.5):
            web = self._chance.choice(self._fleet.webs)
            name = f"r-{secrets.token_hex(6)}"
            values = {"name": name, "host": "127.0.0.1", "port": self._fleet.host.port, "auth_method": "password",
                      "username": self._fleet.host.user.name, "password": self._fleet.host.user.password}  # fmt: skip
            status, body = self._fleet.try_request(web, "POST", "/platforms/", json=values)
            if status == 201:
                self.platforms.append(body["id"])
                target = target or body["id"]
            else:
                self._refused(status, body)
            if target is not None and self._chance.random() < 0.3:
                job = {"type": "run_command", "command": "true", "targets": {"platform_ids": [target]}}
                status, body = self._fleet.try_request(web, "POST", "/jobs/", json=job)
                if status == 202:
                    self.jobs.append(body["job_id"])
                else:
                    self._refused(status, body)

    def _refused(self, status: int | None, body: Any) -> None:
        """An error is an answer, but it must be one that says so."""
        self.refused[f"{status} {body.get('code') if isinstance(body, dict) else ''}"] += 1

    def end(self) -> None:
        self._over.set()
        self._thread.join(40)


@dataclass
class Told:
    """What a round came to."""

    seed: int
    fault: str
    ends: Counter[str] = field(default_factory=Counter)
    recovered: float = 0.0
    shown: int = 0
    acknowledged: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.fault}; {dict(self.ends)}; the last task it caught ended {self.recovered:.1f} s "
            f"after it; {self.shown} messages shown, {self.acknowledged} requests acknowledged, "
            f"refused {dict(self.refused)}"
        )


def one_round(fleet: Fleet, seed: int) -> Told:
    """See the module. Raises AssertionError."""
    chance = random.Random(seed)
    counter = fleet.host.user.home / f"counter-{seed}"
    length = chance.choice([0.2, 1.0, 3.0])
    command = f"echo $TESTUM_TASK >> {counter}; for i in 1 2 3 4 5; do echo line $i of $TESTUM_TASK; sleep {length / 5}; done"
    body = {
        "type": "run_command",
        "command": command,
        "concurrency": chance.choice([20, 60, 150]),
        "targets": {"tags": ["fleet"]},
        "timeout": 60,
    }
    job_id: str = fleet.request("POST", "/jobs/", json=body)["job_id"]
    watcher = Watcher(fleet, job_id, random.Random(seed + 1))
    requests = Requests(fleet, random.Random(seed + 2))
    share = chance.randrange(fleet.platforms * 3 // 4)
    until(
        lambda: sum(task["status"] in FINAL for task in fleet.tasks(job_id)) >= share,
        60,
        otherwise=lambda: "the job does not get anywhere before any fault",
    )
    fault = choose(fleet, chance)
    told = Told(seed, f"{fault.name} for {fault.seconds:.1f} s at {share}")
    print(f"seed {seed}: {told.fault} ...", flush=True)
    with fault.make():
        pause(fault.seconds)
    over = time.monotonic()
    for web in fleet.webs:
        fleet.wait_healthy(web)

    caught = {task["id"] for task in fleet.tasks(job_id) if task["status"] == "running"}

    def left() -> list[Any]:
        return [task for task in fleet.tasks(job_id) if task["id"] in caught and task["status"] not in FINAL]

    def ended(job: str) -> bool:
        return fleet.request("GET", f"/jobs/{job}")["status"] not in ("pending", "running")

    rest = over + 2 * LEASE_SECONDS + length - time.monotonic()
    until(lambda: not left(), rest, otherwise=lambda: f"tasks do not end: {left()[:1]}")
    told.recovered = time.monotonic() - over
    deadline = over + _DONE_SECONDS
    until(lambda: ended(job_id), deadline - time.monotonic(), otherwise=lambda: f"job {job_id} does not end")
    requests.end()
    for small in requests.jobs:
        until(
            lambda small=small: ended(small),
            deadline - time.monotonic(),
            otherwise=lambda small=small: f"an acknowledged job does not end: {small}",
        )
    for platform in requests.platforms:
        fleet.request("DELETE", f"/platforms/{platform}")
    told.acknowledged, told.refused = len(requests.jobs) + len(requests.platforms), requests.refused
    shown = watcher.end()
    told.shown = len(shown)

    tasks = {task["id"]: task for task in fleet.tasks(job_id)}
    told.ends = Counter(f"{task['status']} {task['error_code'] or ''}".strip() for task in tasks.values())
    assert len(tasks) == fleet.platforms and all(task["status"] in FINAL for task in tasks.values())
    allowed = {"success", "lost worker_died", "lost worker_stopped", "lost lease_lost", "failed not_sent"}
    assert set(told.ends) <= allowed, told.ends
    # What was lost may run on on its host for a moment.
    until(lambda: not commands(fleet.host, "TESTUM_TASK="))
    ran = Counter(counter.read_text().split()) if counter.exists() else Counter()
    assert max(ran.values(), default=0) <= 1, f"ran twice: {[key for key in ran if ran[key] > 1]}"
    done = {key for key, task in tasks.items() if task["status"] == "success"}
    assert done <= set(ran), "a success that never ran"
    never = {key for key, task in tasks.items() if task["error_code"] == "not_sent"}
    assert not never & set(ran), "what ran is said to have never run"
    check_shown(fleet, job_id, shown, tasks)
    counter.unlink(missing_ok=True)
    return told


def check_shown(fleet: Fleet, job_id: str, shown: list[Any], tasks: Mapping[str, Any]) -> None:
    """Nothing that was shown is missing later, or another; what is there later is whole."""
    api = fleet.api(fleet.webs[0])
    try:
        later = follow(api, f"jobs/{job_id}")
    finally:
        api.http.close()
    of_tasks = {json.dumps(message, sort_keys=True) for message in later if message["task_id"] is not None}
    for message in shown:
        if message["task_id"] is not None:
            if message["type"] in ("error", "done") and tasks[message["task_id"]]["error_code"] == "not_sent":
                # It was shown as lost.
                continue
            assert json.dumps(message, sort_keys=True) in of_tasks, (
                f"was shown and is missing later: {message}"
            )
    seen = [message["seq"] for message in shown if message["task_id"] is not None]
    assert seen == sorted(seen) and len(seen) == len(set(seen)), "shown twice, or out of order"
    for key, task in tasks.items():
        text = output_of([message for message in later if message["task_id"] == key], "stdout").decode()
        whole = "".join(f"line {number} of {key}\n" for number in range(1, 6))
        if task["status"] == "success":
            assert text == whole, f"{key}: {text!r}"
        else:
            assert whole.startswith(text), f"{key}: {text!r}"


def main() -> int:
    """Run the rounds; 1 where one failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--platforms", type=int, default=300)
    parser.add_argument("--inside", action="store_true", help="this is the namespace of its own already")
    given = parser.parse_args()
    if reason := missing():
        print(f"NOT RUN, the rounds of faults: {reason}.")
        return int(os.environ.get("TESTUM_TESTS") == "complete")
    if not given.inside:
        # Loopback, in a namespace that nobody else is in.
        os.execvp(
            "unshare",
            ["unshare", "--net", sys.executable, "-m", "tests.faults.rounds", *sys.argv[1:], "--inside"],
        )
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Also where they were ignored (in the background): what was started must be ended.
        signal.signal(number, lambda *_: sys.exit(130))
    fleet = Fleet(given.platforms)
    try:
        fleet.start()
        for seed in range(given.seed, given.seed + given.rounds):
            begun = time.monotonic()
            try:
                print(f"{one_round(fleet, seed)} ({time.monotonic() - begun:.0f} s)", flush=True)
            except BaseException:
                print(f"seed {seed} FAILED; logs:", flush=True)
                for part in fleet.parts:
                    print(f"--- {part.name}\n{part.log.read_text(errors='replace')[-3000:]}", flush=True)
                raise
    finally:
        fleet.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
