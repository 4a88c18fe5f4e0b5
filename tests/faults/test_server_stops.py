"""A server that does the work itself is told to stop: it lets what is under way come to its end before."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.stream import messages, watch
from tests.support.tools import unique
from tests.support.waiting import until
from testum.web.streams import MOST_OF_ONE

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]


@pytest.fixture
def own() -> Iterator[Server]:
    with Server(env={"WORKER_CONCURRENCY": "2", "WORKER_DRAIN_SECONDS": "50"}) as running:
        yield running


def started(api: Api, sshd: RealSshd, mark: str) -> str:
    """A job of three tasks, two of which are under way until `let_end`."""
    for number in range(3):
        api.add_platform(f"{mark}-{number}", sshd, tags=[mark])
    begun = sshd.user.home / f"{mark}-begun"
    command = f"echo >>{begun}; until test -e ~/{mark}; do sleep 0.1; done; echo finished"
    job_id = api.start_job(command, targets={"tags": [mark]})
    # Running is said of what is not yet sent, too, which a stop gives back.
    until(lambda: begun.exists() and len(begun.read_bytes()) == 2)
    return job_id


def let_end(sshd: RealSshd, mark: str) -> None:
    (sshd.user.home / mark).touch()


def test_what_is_under_way_comes_to_its_end(own: Server, real_sshd: RealSshd, tmp_path: Path) -> None:
    api, mark = own.client(), unique("drain")
    job_id = started(api, real_sshd, mark)
    running = next(task["id"] for task in api.tasks(job_id) if task["status"] == "running")
    with watch(api, f"tasks/{running}") as watching:
        own.process.send_signal(signal.SIGTERM)
        until(lambda: "Stopping. " in own.log.read_text())
        said = own.log.read_text()
        assert f"2 tasks of job {job_id} (2) are under way" in said, said
        assert re.search(r"for at most (49|50) seconds\. Ctrl-C again ends", said), said
        # Pages, API and streams are up; what would begin something on a host is refused.
        ready = own.nobody().get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "stopping")
        targets = {"tags": [mark]}
        address = {"host": "127.0.0.1", "port": real_sshd.port, "username": "x", "password": "y"}
        for path, body in (
            ("/jobs/", {"type": "run_command", "command": "true", "targets": targets}),
            ("/jobs/", {"type": "test_connection", "targets": targets}),
            ("/platforms/new/test", {"name": "new", "auth_method": "password", **address}),
        ):
            refused = api.http.post(path, json=body)
            assert (refused.status_code, refused.json().get("code")) == (503, "stopping"), refused.text
        origin = {"Origin": own.url}
        form = {"command": "true", "platform": api.tasks(job_id)[0]["platform_id"]}
        page = api.http.post(f"{own.url}/run", data=form, headers=origin)
        assert page.status_code == 503 and "testum is stopping" in page.text, page.text
        token = api.http.headers["Authorization"].removeprefix("Bearer ")
        client = subprocess.run(
            [sys.executable, "-m", "testum", "exec", "true", "--on", f"tag:{mark}"],
            env={**os.environ, "HOME": str(tmp_path), "TESTUM_URL": own.url, "TESTUM_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert client.returncode != 0 and "testum is stopping" in client.stderr, client
        with watch(api, f"jobs/{job_id}") as later:
            assert next(messages(later))["type"]
        let_end(real_sshd, mark)
        told = list(messages(watching))
    assert told[-1]["type"] == "done", told[-1]
    own.web.end(20)
    assert "All that was under way has ended." in own.log.read_text()
    own.start()
    # What had not begun is done after the next start.
    api = own.client()
    assert api.wait_job(job_id)["counts"]["success"] == 3
    own.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    own.web.end(20)
    assert time.monotonic() - began < 5
    assert own.log.read_text().count("Stopping. ") == 1


def test_all_who_follow_hear_of_the_end(own: Server, real_sshd: RealSshd) -> None:
    """Also where they are many: the server goes when the last one has heard."""
    api, mark = own.client(), unique("heard")
    job_id = started(api, real_sshd, mark)
    running = [task["id"] for task in api.tasks(job_id) if task["status"] == "running"]
    with ExitStack() as stack:
        watching = [
            stack.enter_context(watch(api, f"tasks/{task}"))
            for task in running
            for _ in range(MOST_OF_ONE // 2)
        ]
        own.process.send_signal(signal.SIGTERM)
        until(lambda: "Stopping. " in own.log.read_text())
        let_end(real_sshd, mark)
        for each in watching:
            *_, last = messages(each)
            assert last["type"] == "done", last
    own.web.end(20)


def test_a_second_signal_ends_it_now(own: Server, real_sshd: RealSshd) -> None:
    api, mark = own.client(), unique("drain")
    job_id = started(api, real_sshd, mark)
    own.process.send_signal(signal.SIGINT)
    until(lambda: "Stopping. " in own.log.read_text())
    own.process.send_signal(signal.SIGINT)
    own.web.end(20)
    assert f"2 tasks of job {job_id} (2) are ended on the hosts now." in own.log.read_text()
    ended = own.execute("SELECT status, error_code, metadata FROM task_runs ORDER BY status")
    assert [(row[0], row[1]) for row in ended] == [("lost", "worker_stopped")] * 2 + [("pending", None)]
    assert all('"confirmed"' in str(row[2]) for row in ended[:2]), ended
