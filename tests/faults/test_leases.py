"""Whose task it is, when workers are paused, die, or have another time: workers of their own zones, so that it is known
who does what."""

import datetime as dt
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ssh.test_terminate import commands
from tests.support.clock import offset
from tests.support.server import Api, Process, Server
from tests.support.sshd import RealSshd
from tests.support.stream import follow, output_of
from tests.support.tools import unique
from tests.support.waiting import until

# Long, and they promise times: `make test-all` runs them with nothing beside.
pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(300)]

LEASE = 6.0
"""Seconds. It must not run out because the machine is busy."""


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """An installation of its own, whose first worker serves the zone `default`. No S3: a server of that kind refuses
    whoever's clock is off by more than a quarter of an hour."""
    with Server(
        env={
            "LEASE_SECONDS": str(LEASE),
            "WORKER_PROCESSES": "1",
            "MINIO_ENDPOINT": "",
            "ACCESS_TOKEN_SECONDS": "7200",
        }
    ) as running:
        yield running


@pytest.fixture(scope="module")
def own_api(own: Server) -> Api:
    return own.client()


class Zone:
    """A zone with one host, and a worker that serves it."""

    def __init__(self, server: Server, api: Api, sshd: RealSshd, env: Mapping[str, str]) -> None:
        self.name = unique("zone")
        self.server, self.api, self.sshd = server, api, sshd
        self.platform = api.add_platform(self.name, sshd, zone=self.name)
        self.worker = Process(
            ["worker", "--queue", self.name], {**server.env, **env}, server.data_dir, server.log
        )
        until(self._announced, 150)

    def _announced(self) -> bool:
        assert self.worker.popen.poll() is None, self.server.log.read_text()[-3000:]
        return any(row[0] == [self.name] for row in self.server.execute("SELECT zones FROM workers"))

    def start(self, command: str) -> Any:
        """The task of a job that runs the command here, under way."""
        job_id = self.api.start_job(command, targets={"platform_ids": [self.platform["id"]]})
        (task,) = self.api.tasks(job_id)
        until(lambda: self.server.sent(job_id))
        return task


@pytest.fixture
def zones(own: Server, own_api: Api, real_sshd: RealSshd) -> Iterator[Callable[..., Zone]]:
    """Makes zones; settings of the worker's own may be given."""
    made: list[Zone] = []

    def make(**env: str) -> Zone:
        made.append(Zone(own, own_api, real_sshd, env))
        return made[-1]

    yield make
    for zone in made:
        zone.worker.kill()
    real_sshd.user.kill_all()


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """SIGSTOP: its connections stay, and it says nothing."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def test_a_worker_that_was_paused_tells_what_it_knows(
    own_api: Api, zones: Callable[..., Zone], tmp_path: Path
) -> None:
    """Its lease ran out and its tasks were closed as lost. When it wakes, one command still runs and is ended, which the
    task says; the others have printed and ended meanwhile: that is how their tasks ended, and their output is whole."""
    zone = zones()
    home = zone.sshd.user.home
    mark = secrets.token_hex(4)
    goes_on = zone.start(
        f"echo $$ > {home}/pid-{mark}; while :; do echo tick; echo >> {home}/ticks-{mark}; sleep 0.1; done"
    )
    wait = f"while [ ! -e {home}/gate-{mark} ]; do sleep 0.1; done"
    ends = zone.start(f"echo begun; {wait}; echo 'the end'; exit 3")
    much = zone.start(f"echo begun; {wait}; seq 20000")
    until(lambda: b"tick" in own_api.output(goes_on["id"]))
    until(lambda: all(own_api.output(task["id"]) == b"begun\n" for task in (ends, much)))
    pid = int((home / f"pid-{mark}").read_text())
    with stopped(zone.worker):
        ticks = len((home / f"ticks-{mark}").read_text())
        (home / f"gate-{mark}").touch()
        for task in (goes_on, ends, much):
            until(lambda task=task: own_api.get(f"/tasks/{task['id']}")["status"] == "lost", 3 * LEASE)
            said = own_api.get(f"/tasks/{task['id']}")
            assert said["error_code"] == "worker_died" and said["exit_code"] is None and said["finished_at"]
            job = own_api.get(f"/jobs/{task['job_id']}")
            assert (job["status"], job["counts"]["lost"]) == ("failed", 1)
        assert psutil.pid_exists(pid), "nobody could end the command on the host"
        assert len((home / f"ticks-{mark}").read_text()) > ticks, "and it went on meanwhile"
    woken = time.monotonic()
    until(lambda: not psutil.pid_exists(pid), 30)
    print(f"the command ended {time.monotonic() - woken:.1f} s after its worker woke up")
    whole = {
        ends["id"]: b"begun\nthe end\n",
        much["id"]: b"begun\n" + b"".join(b"%d\n" % n for n in range(1, 20001)),
    }
    for task, status, code in ((ends, "failed", 3), (much, "success", 0)):
        until(lambda task=task: own_api.get(f"/tasks/{task['id']}")["status"] != "lost", 30)
        said = own_api.get(f"/tasks/{task['id']}")
        assert (said["status"], said["exit_code"]) == (status, code)
        assert own_api.output(task["id"]) == whole[task["id"]]
        assert output_of(follow(own_api, f"jobs/{task['job_id']}"), "stdout") == whole[task["id"]]
        counts = own_api.get(f"/jobs/{task['job_id']}")["counts"]
        assert {status: 1, "total": 1} == {name: count for name, count in counts.items() if count}

    def said_of_it() -> Any:
        said = own_api.get(f"/tasks/{goes_on['id']}")
        return said if not said["may_still_run"] else None

    said = until(said_of_it, 30)
    assert (said["status"], said["metadata"]["termination"]["state"]) == ("lost", "confirmed")
    assert (
        own_api.run("echo works again", targets={"platform_ids": [zone.platform["id"]]})["stdout"]
        == "works again\n"
    )


def test_a_dead_worker_is_noticed_in_time_and_a_living_one_never(
    own_api: Api, zones: Callable[..., Zone]
) -> None:
    dies, lives = zones(), zones()
    lost = dies.start("sleep 600")
    kept = lives.start(f"sleep {4 * LEASE}; echo whole")
    # At the worst moment: when its lease has just been renewed.
    expires = dies.server.execute("SELECT lease_expires_at FROM task_runs WHERE id = :id", {"id": lost["id"]})
    until(
        lambda: (
            dies.server.execute("SELECT lease_expires_at FROM task_runs WHERE id = :id", {"id": lost["id"]})
            != expires
        )
    )
    dies.worker.kill()
    killed = time.monotonic()
    until(lambda: own_api.get(f"/tasks/{lost['id']}")["status"] != "running", 3 * LEASE)
    took = time.monotonic() - killed
    assert LEASE / 2 < took < 2 * LEASE, took
    task = own_api.get(f"/tasks/{lost['id']}")
    assert (task["status"], task["error_code"]) == ("lost", "worker_died")
    print(f"noticed after {took:.1f} s of {2 * LEASE}")
    until(lambda: own_api.get(f"/tasks/{kept['id']}")["status"] != "running", 5 * LEASE)
    task = own_api.get(f"/tasks/{kept['id']}")
    assert (task["status"], task["stdout"]) == ("success", "whole\n")


def test_the_clocks_of_machines_do_not_matter(own: Server, own_api: Api, zones: Callable[..., Zone]) -> None:
    """Workers an hour ahead and an hour behind keep their tasks through many leases, take none from those that live,
    close those of one that died, in time, and all times that are shown are the database's."""

    ahead, behind, right = zones(**offset(1)), zones(**offset(-1)), zones()
    begun = dt.datetime.now(dt.UTC)
    command = f"for n in $(seq {int(3 * LEASE)}); do echo $n; sleep 1; done"
    kept = [zone.start(command) for zone in (ahead, behind, right)]
    dies = zones()
    lost = dies.start("sleep 601")
    until(lambda: commands(dies.sshd, "601"))
    dead = own.execute("SELECT worker_id FROM task_runs WHERE id = :id", {"id": lost["id"]})[0][0]
    os.killpg(os.getpgid(int(dead.split(":")[1])), signal.SIGKILL)
    killed = time.monotonic()
    with ExitStack() as others:
        # Only those whose clocks are off are left to see it.
        assert own.web is not None and own.worker is not None
        for process in (own.web, own.worker, right.worker):
            others.enter_context(stopped(process))
        query = "SELECT status, worker_id FROM task_runs WHERE id = :id"
        # Less than the lease of the one that is stopped, too; it is the most that is promised.
        until(lambda: own.execute(query, {"id": lost["id"]})[0][0] != "running", 2 * LEASE)
        took = time.monotonic() - killed
        status, closer = own.execute(query, {"id": lost["id"]})[0]
    assert status == "lost" and took > LEASE / 3, took
    closers = {process.pid for zone in (ahead, behind) for process in zone.worker.group()}
    assert int(closer.split(":")[1]) in closers
    print(f"closed by a worker whose clock is off, {took:.1f} s after the death")

    for task in kept[:2]:
        job = own_api.wait_job(task["job_id"], 6 * LEASE)
        ended = own_api.get(f"/tasks/{task['id']}")
        assert ended["status"] == job["status"] == "success", ended
        assert ended["stdout"] == "".join(f"{n}\n" for n in range(1, int(3 * LEASE) + 1))
        now = dt.datetime.now(dt.UTC)
        shown = [ended[name] for name in ("created_at", "started_at", "finished_at")]
        shown += [job[name] for name in ("created_at", "started_at", "finished_at")]
        shown += [message["ts"] for message in follow(own_api, f"jobs/{task['job_id']}")]
        for moment in map(dt.datetime.fromisoformat, shown):
            assert begun - dt.timedelta(seconds=5) < moment < now + dt.timedelta(seconds=5), shown
    # The workers are listed as living, whatever they take the time for.
    listed = {zone for row in own_api.get("/workers/") for zone in row["zones"]}
    assert {ahead.name, behind.name} <= listed
