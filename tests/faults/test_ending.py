"""Cancel and timeout through the API: `confirmed` only if a look at the host agrees, and in time."""

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.ssh.test_terminate import CASES, commands
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import stays, until

pytestmark = pytest.mark.walls

GRACE = 5
"""What the server gives a command after TERM (ARCHITECTURE, "Cancel")."""


@pytest.fixture
def host() -> Iterator[RealSshd]:
    """Its own login user, so that what is left on it is this test's."""
    sshd = RealSshd()
    yield sshd
    sshd.close()


@pytest.fixture
def platform(api: Api, host: RealSshd) -> Any:
    return api.add_platform(unique("end"), host)


def begun(api: Api, platform: Any, command: str, **values: Any) -> tuple[str, str]:
    """Start the command and wait for its `go`; the job's and the task's id."""
    job_id = api.start_job(command, targets={"platform_ids": [platform["id"]]}, **values)
    (task,) = api.tasks(job_id)
    until(lambda: b"go\n" in api.output(task["id"], "all"))
    return job_id, task["id"]


def check(api: Api, host: RealSshd, task_id: str, case: str) -> None:
    task = api.get(f"/tasks/{task_id}")
    ended = task["metadata"]["termination"]
    assert ended["state"] == "confirmed", ended
    assert not commands(host, "3971", task_id)
    assert task["stdout"].startswith("go\n") or task["stderr"].startswith("go\n")
    if case == STUBBORN:
        assert "KILL" in ended["detail"]


STUBBORN = "ignores TERM"
LASTING = [case for case in CASES if case not in (STUBBORN, "forked away, and the leader is gone")]


def cancel(api: Api, job_id: str, task_id: str, cut: bool) -> None:
    """Cancel the job and wait for its end, in time."""
    asked = time.monotonic()
    assert api.http.post(f"/jobs/{job_id}/cancel").status_code in (200, 202)
    job = api.wait_job(job_id)
    assert time.monotonic() - asked < GRACE + 2
    task = api.get(f"/tasks/{task_id}")
    # The server may hear of the cut first or of the cancel: the processes are gone either way.
    assert (task["status"], task["error_code"]) in (
        ("cancelled", "cancelled"),
        *([("failed", "connection_lost")] if cut else []),
    )
    assert job["status"] in ("cancelled", "failed")


def run_out(api: Api, job_id: str, task_id: str) -> None:
    """Wait until the job, which has three seconds, is ended for it, in time."""
    job = api.wait_job(job_id)
    task = api.get(f"/tasks/{task_id}")
    took = dt.datetime.fromisoformat(task["finished_at"]) - dt.datetime.fromisoformat(task["started_at"])
    assert took.total_seconds() < 3 + GRACE + 2
    assert (job["status"], task["error_code"]) == ("failed", "timeout")


@pytest.mark.parametrize(
    "cut", [False, pytest.param(True, marks=pytest.mark.walls(slow=True))], ids=["", "cut"]
)
@pytest.mark.parametrize("case", LASTING)
def test_cancel(api: Api, platform: Any, host: RealSshd, case: str, cut: bool) -> None:
    job_id, task_id = begun(api, platform, CASES[case])
    if cut:
        host.cut()
    cancel(api, job_id, task_id, cut)
    check(api, host, task_id, case)


@pytest.mark.walls(slow=True)
def test_timeout(api: Api, platform: Any, host: RealSshd) -> None:
    """All of them side by side: they wait for the same seconds."""
    jobs = {case: begun(api, platform, CASES[case], timeout=3) for case in LASTING}
    for job_id, task_id in jobs.values():
        run_out(api, job_id, task_id)
    for case, (_, task_id) in jobs.items():
        check(api, host, task_id, case)


@pytest.mark.alone
@pytest.mark.embedded
def test_what_ignores_term(api: Api) -> None:
    """A stop has few seconds more than it is given. Cancelled, cut off and cancelled, and out of time side by side."""
    what_ignores_term(api)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.servers
def test_what_ignores_term_with_servers(api: Api) -> None:
    what_ignores_term(api)


def what_ignores_term(api: Api) -> None:

    def seen(cut: bool | None) -> None:
        with closing(RealSshd()) as host:
            platform = api.add_platform(unique("stubborn"), host)
            job_id, task_id = begun(api, platform, CASES[STUBBORN], timeout=3 if cut is None else 60)
            if cut:
                host.cut()
            if cut is None:
                run_out(api, job_id, task_id)
            else:
                cancel(api, job_id, task_id, cut)
            check(api, host, task_id, STUBBORN)

    with ThreadPoolExecutor() as threads:
        list(threads.map(seen, (False, True, None)))


def test_what_cannot_be_looked_at_is_unconfirmed(api: Api, platform: Any, host: RealSshd) -> None:
    job_id, task_id = begun(api, platform, "echo go; sleep 3971")
    host.stop()
    api.wait_job(job_id)
    task = api.get(f"/tasks/{task_id}")
    assert task["error_code"] == "connection_lost"
    ended = task["metadata"]["termination"]
    assert ended["state"] == "unconfirmed" and "refused" in ended["detail"], ended
    assert task["may_still_run"] and commands(host, "3971", task_id)
    host.start()
    until(lambda: not api.get(f"/tasks/{task_id}")["may_still_run"])
    task = api.get(f"/tasks/{task_id}")
    assert (task["status"], task["metadata"]["termination"]["state"]) == ("failed", "confirmed")
    assert not commands(host, "3971", task_id)


@pytest.mark.walls(slow=True)
def test_a_job_that_waits_for_a_slot_is_cancelled_at_once(host: RealSshd) -> None:
    with Server(env={"WORKER_CONCURRENCY": "1", "WORKER_PROCESSES": "1"}) as server:
        api = server.client()
        platform = api.add_platform("one", host)
        first, _ = begun(api, platform, "echo go; sleep 3971")
        second = api.start_job("echo never > ~/second")
        stays(lambda: api.get(f"/jobs/{second}")["status"] == "pending", 0.3)
        asked = time.monotonic()
        api.post(f"/jobs/{second}/cancel")
        assert api.wait_job(second)["status"] == "cancelled"
        assert time.monotonic() - asked < GRACE
        api.post(f"/jobs/{first}/cancel")
        assert api.wait_job(first)["status"] == "cancelled"
        assert not (host.user.home / "second").exists()
