"""Watchers: who may, those who read slowly, not at all, or go away; and much output in flat memory."""

import datetime as dt
import hashlib
import time
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.application import Listening
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.stream import data_of, follow, messages, output_of, watch
from tests.support.waiting import until
from testum.web import streams

pytestmark = pytest.mark.walls

MEGABYTE = 1_000_000
BLOCK = 1 << 20


def memory(server: Server) -> int:
    assert server.process is not None
    resident: int = psutil.Process(server.process.pid).memory_info().rss
    return resident


def start_printing(api: Api, platform: Any, blocks: int) -> tuple[str, Any]:
    """A job that prints as many different blocks of 1 MiB of text as fast as it can, and their sha256 to
    stderr."""
    text = (
        "import base64, os, hashlib\n"
        "base, digest = base64.encodebytes(os.urandom(1 << 20)), hashlib.sha256()\n"
        f"for n in range({blocks}):\n"
        "    data = b'%08d' % n + base[8 : 1 << 20]\n"
        "    digest.update(data)\n"
        "    view = memoryview(data)\n"
        "    while view: view = view[os.write(1, view):]\n"
        "os.write(2, digest.hexdigest().encode())\n"
    )
    job_id = api.start_job(
        type="run_script",
        script={"text": text, "interpreter": "python3"},
        targets={"platform_ids": [platform["id"]]},
    )
    return job_id, api.tasks(job_id)[0]


def print_much(server: Server, api: Api, platform: Any, blocks: int) -> float:
    """Print, while one watches eagerly and one not at all; the rate in MB/s. All is checked but the rate."""
    api.run("true", targets={"platform_ids": [platform["id"]]})
    before = most = memory(server)
    job_id, task = start_printing(api, platform, blocks)
    size = blocks * BLOCK
    seen, printed = hashlib.sha256(), b""
    got, number = 0, -1
    with watch(api, f"tasks/{task['id']}"), watch(api, f"tasks/{task['id']}") as eager:
        for message in messages(eager):
            assert message["seq"] == number + 1
            number += 1
            if message["type"] == "stdout":
                data = data_of(message)
                seen.update(data)
                got += len(data)
                if number % 50 == 0:
                    most = max(most, memory(server))
            elif message["type"] == "stderr":
                printed += data_of(message)
    most = max(most, memory(server))
    job = api.wait_job(job_id)
    assert job["status"] == "success"
    assert got == size and seen.hexdigest().encode() == printed
    stored = hashlib.sha256()
    with api.http.stream("GET", f"/tasks/{task['id']}/output", params={"stream": "stdout"}) as answer:
        for piece in answer.iter_bytes():
            stored.update(piece)
    assert stored.digest() == seen.digest()
    most = max(most, memory(server))
    assert most - before < 64 * MEGABYTE, f"grew by {(most - before) / MEGABYTE:.0f} MB"
    task = api.get(f"/tasks/{task['id']}")
    took = dt.datetime.fromisoformat(task["finished_at"]) - dt.datetime.fromisoformat(task["started_at"])
    return size / MEGABYTE / took.total_seconds()


@pytest.mark.walls(slow=True)
def test_100_megabytes_are_stored_and_streamed_in_flat_memory(
    server: Server, api: Api, platform: Any
) -> None:
    print_much(server, api, platform, 100)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(300)
def test_a_gigabyte_is_stored_and_streamed_at_60_megabytes_per_second(
    server: Server, api: Api, platform: Any
) -> None:
    """On one machine. With servers all that is printed goes through PostgreSQL first: 19 to 25 MB/s here, with all of them, the
    host and the watchers on two processors."""
    rates = [print_much(server, api, platform, 1024) for _ in range(3)]
    print(f"1 GiB at {', '.join(f'{rate:.0f}' for rate in rates)} MB/s")
    assert max(rates) >= 60


def test_a_slow_watcher_gets_everything_long_after_the_task(api: Api, platform: Any) -> None:
    job_id, task = start_printing(api, platform, 30)
    with watch(api, f"tasks/{task['id']}", max_queue=1) as slow:
        reading = messages(slow)
        got = sum(len(output_of([next(reading)], "stdout")) for _ in range(4))
        # It has read next to nothing, and the task has ended nevertheless.
        assert api.wait_job(job_id, 60)["status"] == "success"
        got += sum(len(output_of([message], "stdout")) for message in reading)
    assert got == 30 * BLOCK


@pytest.mark.walls(slow=True)
def test_watchers_that_go_away_leave_nothing_behind(server: Server, api: Api, platform: Any) -> None:
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    job_id = api.start_job(
        "while :; do echo more; sleep 0.01; done", targets={"platform_ids": [platform["id"]]}
    )
    (task,) = api.tasks(job_id)

    for number in range(80):
        path = f"tasks/{task['id']}" if number % 2 else f"jobs/{job_id}"
        with watch(api, path) as watching:
            next(messages(watching))

    def clean() -> bool:
        """Whether only the recorder has the output open, and the watchers' connections are gone."""
        files = [file.path for file in process.open_files() if task["id"] in file.path]
        # Those to hosts are kept for other tests' next commands.
        mine = [
            connection
            for connection in process.net_connections("tcp")
            if connection.status == "ESTABLISHED" and connection.laddr.port == server.port
        ]
        seen[:] = [len(files), len(mine)]
        return len(files) == (0 if server.servers else 1) and len(mine) < 40

    seen: list[int] = []
    until(clean, 60, otherwise=lambda: seen)
    api.post(f"/jobs/{job_id}/cancel")
    assert api.wait_job(job_id)["status"] == "cancelled"


def test_a_stream_ends_with_the_login(real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams._RECHECK_SECONDS < 15 / 2
    monkeypatch.setattr(streams, "_RECHECK_SECONDS", 0.3)
    with Listening() as site:
        api, viewer = site.client(), site.account("viewer")
        api.add_platform("on", real_sshd)
        job_id = api.start_job("while :; do echo on; sleep 0.1; done")
        with watch(viewer, f"jobs/{job_id}") as watching:
            watching.recv(timeout=30)
            viewer.post("/auth/logout")
            begun = time.monotonic()
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    watching.recv(timeout=30)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
        assert time.monotonic() - begun < 15
        api.post(f"/jobs/{job_id}/cancel")
        api.wait_job(job_id)


@pytest.mark.walls(slow=True)
def test_a_viewer_may_watch(server: Server, api: Api, platform: Any) -> None:
    task = api.run("echo seen", targets={"platform_ids": [platform["id"]]})
    told = follow(server.account("viewer"), f"tasks/{task['id']}")
    assert [message["payload"] for message in told if message["type"] == "stdout"] == ["seen\n"]


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("of", ["tasks", "jobs"])
def test_refusals_have_their_close_code(api: Api, of: str) -> None:
    def refusal(path: str, authorization: str | None = None) -> int:
        with (
            watch(api, path, authorization=authorization) as watching,
            pytest.raises(ConnectionClosed) as closed,
        ):
            watching.recv(timeout=30)
        assert closed.value.rcvd is not None and closed.value.rcvd.reason
        return closed.value.rcvd.code

    unknown = f"{of}/00000000-0000-4000-8000-000000000000"
    assert refusal(unknown) == 4404
    assert refusal(f"{of}/a/b") == 4404
    assert refusal(f"{of}/nonsense") == 4404
    assert refusal(f"{unknown}?after=nonsense") == 4422
    assert refusal(f"{unknown}?afterwards=1") == 4422
    assert refusal(f"{unknown}?output=no") == 4422
    assert refusal(unknown, authorization="Bearer nonsense") == 4401
    assert refusal(unknown, authorization="") == 4401
