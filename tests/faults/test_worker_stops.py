"""A worker is told to stop while it has all it can do and more is waiting."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.server import Server
from tests.support.sshd import RealSshd
from tests.support.tools import all_taken, unique
from tests.support.waiting import until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

_DRAIN = 3


@pytest.fixture
def own() -> Iterator[Server]:
    """One worker of one process that has two slots. The sweep has been and does not come again: it sends a job once
    more, and the worker holds one message."""
    with Server(
        env={
            "LEASE_SECONDS": "600",
            "WORKER_PROCESSES": "1",
            "WORKER_CONCURRENCY": "2",
            "WORKER_DRAIN_SECONDS": str(_DRAIN),
        }
    ) as running:
        until(lambda: running.execute("SELECT name FROM duties WHERE name = 'resume jobs'"))
        yield running


def test_a_full_worker_stops_and_claims_no_more(own: Server, real_sshd: RealSshd) -> None:
    api = own.client()
    mark = unique("tag")
    for number in range(4):
        api.add_platform(f"{mark}-{number}", real_sshd, tags=[mark])
    under_way = api.start_job("sleep 70", targets={"tags": [mark]})
    until(lambda: own.sent(under_way) == 2)
    waiting = api.start_job("true", targets={"tags": [mark]})
    # The message waits within the worker for room.
    until(lambda: all_taken(own.env["CELERY_BROKER_URL"]))
    assert own.worker is not None
    own.worker.popen.send_signal(signal.SIGTERM)
    # What it drains, twenty seconds to end all else, and as many for the main process on a busy machine.
    own.worker.end(_DRAIN + 40)
    assert "ended before its time" not in own.log.read_text()
    counts = api.get(f"/jobs/{under_way}")["counts"]
    assert (counts["lost"], counts["pending"], counts["running"]) == (2, 2, 0), counts
    assert {task["error_code"] for task in api.tasks(under_way)} == {"worker_stopped", None}
    assert api.get(f"/jobs/{waiting}")["counts"]["pending"] == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_second_signal_ends_what_is_under_way(real_sshd: RealSshd, number: signal.Signals) -> None:
    with Server(env={"WORKER_DRAIN_SECONDS": "600"}) as server:
        api = server.client()
        api.add_platform("p", real_sshd)
        job_id = api.start_job("exec sleep 4300")
        until(lambda: server.sent(job_id), otherwise=server.log.read_text)
        assert server.worker is not None
        for _ in range(2):
            before = len(server.log.read_text())
            # To all of the terminal's processes, as Ctrl-C.
            os.killpg(
                server.worker.popen.pid, number
            ) if number == signal.SIGINT else server.worker.popen.send_signal(number)
            until(lambda before=before: len(server.log.read_text()) > before)
        # Celery's status of a worker that Ctrl-C ended is either.
        assert server.worker.end(60) in (0, 1)
        (task,) = api.tasks(job_id)
        assert (task["status"], task["error_code"]) == ("lost", "worker_stopped")
        assert task["metadata"]["termination"]["state"] == "confirmed"
