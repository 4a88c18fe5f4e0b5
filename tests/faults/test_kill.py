"""kill -9 in the middle of a job, and a new start: nothing runs for ever, nothing runs twice, nothing told is
taken back. Every round prints its seed; `TESTUM_SEED` replays one."""

import json
import os
import random
import shutil
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import httpx2
import pytest
import sqlalchemy as sa

from tests.ssh.test_terminate import commands
from tests.support.server import LEASE_SECONDS, Api, Server
from tests.support.sshd import RealSshd
from tests.support.waiting import LIMIT_SECONDS, pause, until
from testum.core.states import FINAL

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def host() -> Iterator[RealSshd]:
    sshd = RealSshd(addresses=16)
    yield sshd
    sshd.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # Tokens live long, because the login must outlive the server; and so must the port.
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}) as running:
        yield running


def stored(server: Server, job_id: str) -> dict[str, bool]:
    """The tasks that run in the database, as the dead server left it, and whether anything of each may have been sent."""
    query = "SELECT id, NOT unsent FROM task_runs WHERE status = 'running' AND job_id = "
    if server.servers:
        rows = server.execute(query + ":job", {"job": job_id})
        return {str(row[0]).replace("-", ""): bool(row[1]) for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        for file in server.data_dir.glob("testum.db*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(f"{folder}/testum.db")) as database:
            found = database.execute(query + "?", (job_id.replace("-", ""),))
            return {row[0]: bool(row[1]) for row in found}


class Reports:
    """What the API says about a job's tasks while it runs: the last word on each that was over."""

    def __init__(self, api: Api, job_id: str) -> None:
        self._api = api
        self._job_id = job_id
        self.of: dict[str, Any] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                answer = self._api.http.get("/tasks/", params={"job_id": self._job_id, "limit": 500})
                for task in answer.json():
                    if task["status"] in FINAL:
                        self.of[task["id"]] = (
                            self._api.get(f"/tasks/{task['id']}") if len(self.of) < 20 else task
                        )
            except (httpx2.HTTPError, json.JSONDecodeError):
                pass
            self._over.wait(0.05)

    def end(self) -> dict[str, Any]:
        self._over.set()
        self._thread.join()
        return self.of


def crash(server: Server, host: RealSshd, seed: int, number: int, *, timed: bool = True) -> Counter[str]:
    """One round: a job on `number` platforms, a kill at a random moment, a new start; `timed`: which is in time."""
    chance = random.Random(seed)
    api = server.client()
    counter = host.user.home / f"counter-{seed}"
    job_id = api.start_job(
        f"echo $TESTUM_TASK >> {counter}; sleep 0.{chance.randrange(5)}; echo done; echo $TESTUM_TASK >&2",
        concurrency=chance.choice((number // 20, number // 10, number // 4)),
        targets={"tags": [f"of-{number}"]},
    )
    reports = Reports(api, job_id)
    # A random share of it has been reported, and then some: so that it is always in the middle of the job.
    share, rest = chance.randrange(number * 9 // 10), chance.random() * 0.05
    until(lambda: len(reports.of) >= share)
    pause(rest)
    server.kill()
    reported = reports.end()
    left = stored(server, job_id)
    running = {key for key, sent in left.items() if sent}
    begun = time.monotonic()
    server.start()
    now = {task["id"].replace("-", ""): task for task in api.tasks(job_id)}
    took = time.monotonic() - begun
    if server.servers:
        # Others may be at work: that these are dead shows when their leases have run out.
        until(
            lambda: not (left.keys() & under_way(api, job_id)), 2 * LEASE_SECONDS if timed else LIMIT_SECONDS
        )
        now = {task["id"].replace("-", ""): task for task in api.tasks(job_id)}
    elif timed:
        assert took < 5, took
    for key in running:
        assert never_ran(now[key]) or now[key]["status"] == "lost", now[key]
        assert "not run again" in now[key]["error_message"] or never_ran(now[key])
    assert not [key for key in left.keys() - running if now[key]["status"] == "lost"], (
        "nothing of it was sent"
    )
    job = api.wait_job(job_id, 60)
    after = {task["id"]: task for task in api.tasks(job_id)}
    assert len(after) == number
    ends = Counter(task["status"] for task in after.values())
    assert {key for key, task in after.items() if task["status"] != "success"} == {
        str(UUID(key)) for key in running
    }
    assert job["status"] == ("success" if not running else "failed"), job
    for task_id, task in reported.items():
        same = api.get(f"/tasks/{task_id}") if "stdout" in task else after[task_id]
        assert same == task, "what was reported has changed"
    # The killed server's commands may still run on the host.
    until(lambda: not commands(host, "TESTUM_TASK="))
    ran = Counter(counter.read_text().split()) if counter.exists() else Counter()
    assert not [key for key, times in ran.items() if times > 1], "a command ran twice"
    assert {key for key, task in after.items() if task["status"] == "success"} <= set(ran)
    assert not [key for key, task in after.items() if never_ran(task) and key in ran]
    print(f"seed {seed}: killed at {share} + {rest:.2f} s, {len(reported)} reported, {len(running)} of {len(left)} sent, "
          f"back within {took:.1f} s")  # fmt: skip
    return ends


def crash_at_once(server: Server, host: RealSshd, seed: int) -> int:
    """One round: a job on 40 platforms, a kill within half a second of its start, a new start. How many of the tasks
    had been claimed and not sent. Of those that had been, a look at the host tells which never ran."""
    chance = random.Random(seed)
    api = server.client()
    counter = host.user.home / f"at-once-{seed}"
    job_id = api.start_job(
        f"echo $TESTUM_TASK >> {counter}; sleep 1", concurrency=40, targets={"tags": ["of-40"]}
    )
    # At any time, as they are claimed, and when so many are written as sent that what was to be sent has not reached all.
    moment, share = seed % 3, chance.randrange(1, 40)
    if moment:
        query = "SELECT count(*) FROM task_runs WHERE status = 'running'" + " AND NOT unsent" * (moment - 1)
        with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as reader:
            until(lambda: reader.scalar(sa.text(query)) >= share)
    pause(chance.random() * (0.5, 0.1, 0.0)[moment])
    server.kill()
    left = stored(server, job_id)
    server.start()
    api.wait_job(job_id, 60)
    until(lambda: not api.get(f"/jobs/{job_id}")["may_still_run"], 60)
    after = api.tasks(job_id)
    ran = Counter(counter.read_text().split()) if counter.exists() else Counter()
    assert not [key for key, times in ran.items() if times > 1], "a command ran twice"
    lost = {task["id"] for task in after if task["status"] == "lost"}
    never = {task["id"] for task in after if never_ran(task)}
    assert {task["id"] for task in after if task["status"] != "success"} == lost | never
    assert lost | never == {str(UUID(key)) for key, sent in left.items() if sent}
    unsent = sum(not sent for sent in left.values())
    print(
        f"seed {seed}: {unsent} of {len(left)} not sent, {len(never)} never ran, {len(lost)} lost, of which "
        f"{len(lost - set(ran))} never ran"
    )
    assert lost <= set(ran) and not never & set(ran)
    return unsent


def never_ran(task: Any) -> bool:
    """Whether it is told of the task that nothing of it was run."""
    return bool(task["status"] == "failed" and task["error_code"] == "not_sent")


def under_way(api: Api, job_id: str) -> set[str]:
    """The ids of the job's tasks that run."""
    return {task["id"].replace("-", "") for task in api.tasks(job_id) if task["status"] == "running"}


def add_platforms(api: Api, host: RealSshd, number: int) -> None:
    if not api.get("/platforms/", tag=f"of-{number}", limit=1):
        for index in range(number):
            api.add_platform(
                f"of-{number}-{index}", host, host=f"127.0.0.{index % 16 + 1}", tags=[f"of-{number}"]
            )


SEED = int(os.environ.get("TESTUM_SEED", "1"))


@pytest.mark.walls(slow=True)
@pytest.mark.alone
def test_a_killed_server_comes_back_in_time(server: Server, host: RealSshd) -> None:
    add_platforms(server.client(), host, 40)
    crash(server, host, SEED, 40)


def test_a_killed_server_comes_back(server: Server, host: RealSshd) -> None:
    add_platforms(server.client(), host, 40)
    crash(server, host, SEED + 1, 40, timed=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_in_jobs_on_200_platforms(server: Server, host: RealSshd) -> None:
    add_platforms(server.client(), host, 200)
    ends: Counter[str] = Counter()
    for seed in range(SEED * 1000, SEED * 1000 + 20):
        ends += crash(server, host, seed, 200, timed=False)
    print(dict(ends))
    assert ends["lost"] + ends["failed"] > 100 and ends["success"] > 1000, (
        "the kills came at moments that prove nothing"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_within_half_a_second_of_the_claim(server: Server, host: RealSshd) -> None:
    add_platforms(server.client(), host, 40)
    with slow_sending(server):
        assert sum(crash_at_once(server, host, seed) for seed in range(SEED * 1000, SEED * 1000 + 20)) > 40


@contextmanager
def slow_sending(server: Server) -> Iterator[None]:
    """PostgreSQL takes its time to write that tasks are sent. Else it is done before a kill can come, for all of them at
    once: a worker claims and sends forty in one go."""
    if not server.servers:
        yield
        return
    server.execute(
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.005); RETURN NEW; END'"
    )
    server.execute(
        "CREATE TRIGGER take_time BEFORE UPDATE ON task_runs FOR EACH ROW"
        " WHEN (OLD.unsent AND NOT NEW.unsent AND NEW.status = 'running') EXECUTE FUNCTION take_time()"
    )
    try:
        yield
    finally:
        server.execute("DROP TRIGGER take_time ON task_runs")
        server.execute("DROP FUNCTION take_time()")


@pytest.mark.walls(slow=True)
def test_what_was_being_cancelled_and_what_was_shown_stay_so(host: RealSshd) -> None:
    """One kill amid two jobs: one has been told to end, of the other output has been shown."""
    with Server() as server:
        api = server.client()
        add_platforms(api, host, 40)
        counter = host.user.home / "counter-cancelled"
        cancelled = api.start_job(
            f"echo $TESTUM_TASK >> {counter}; trap '' TERM; while :; do sleep 0.1; done",
            concurrency=5,
            targets={"tags": ["of-40"]},
        )
        prints = api.start_job(
            "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done", targets={"names": ["of-40-0"]}
        )
        (task,) = api.tasks(prints)
        until(lambda: counter.exists() and len(counter.read_text().split()) >= 5)

        def much() -> bytes:
            came = api.output(task["id"])
            return came if came.count(b"\n") >= 50 else b""

        shown = until(much)
        assert api.http.post(f"/jobs/{cancelled}/cancel").status_code == 202
        server.kill()
        # That they run out by themselves is for others to show (`crash`).
        server.end_leases()
        server.start()
        job = api.wait_job(cancelled, 30)
        assert job["status"] == "cancelled"
        assert (job["counts"]["lost"], job["counts"]["cancelled"]) == (5, 35)
        assert len(counter.read_text().split()) == 5
        api.wait_job(prints)
        kept = api.output(task["id"])
        assert kept.startswith(shown)
        assert api.get(f"/tasks/{task['id']}")["stdout"].encode() == kept
        host.user.kill_all()


@pytest.mark.walls(slow=True)
def test_a_request_that_is_sent_again_after_a_kill_starts_no_second_job(server: Server) -> None:
    api = server.client()
    platform = {"name": "nobody", "host": "127.0.0.1", "port": 1, "username": "x"}
    on = api.post("/platforms/", {**platform, "auth_method": "password", "password": "x"})["id"]
    body = {"type": "run_command", "command": "true # once", "targets": {"platform_ids": [on]}}
    send = partial(api.http.post, "/jobs/", json=body, headers={"Idempotency-Key": "k"})
    answer = send()
    server.kill()
    server.start()
    again = send()
    assert (again.status_code, again.content) == (202, answer.content)
    assert [job["id"] for job in api.get("/jobs/", q="true # once")] == [answer.json()["id"]]
    assert api.wait_job(answer.json()["id"])["status"] == "failed"
