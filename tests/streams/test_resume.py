"""Following a task or a job from any point: no gap, nothing twice, the same told again."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import pytest

from tests.support.server import Api, Server
from tests.support.stream import data_of, follow, messages, output_of, watch
from tests.support.waiting import pause

pytestmark = pytest.mark.walls

TALK = "for i in $(seq 1 30); do echo out$i; sleep 0.02; echo err$i >&2; sleep 0.02; done; exit 3"


def of_tasks(told: list[Any]) -> list[Any]:
    """The messages that belong to a task; what concerns the whole job may be said again."""
    return [message for message in told if message["task_id"] is not None]


def finished(api: Api, tag: str) -> str:
    job_id = api.start_job(TALK, targets={"tags": [tag]})
    api.wait_job(job_id)
    return job_id


@pytest.mark.walls(slow=True)
def test_a_finished_task_from_every_point(api: Api, platform: Any) -> None:
    task = api.run(TALK, targets={"platform_ids": [platform["id"]]})
    path = f"tasks/{task['id']}"
    whole = follow(api, path)
    assert [message["seq"] for message in whole] == list(range(len(whole)))
    assert [message["type"] for message in whole[:2]] == ["status", "status"]
    assert [message["data"]["status"] for message in whole[:2]] == ["pending", "running"]
    assert [message["type"] for message in whole[-2:]] == ["error", "done"]
    assert whole[-2]["data"]["code"] == "exit_status"
    assert (whole[-1]["data"]["status"], whole[-1]["data"]["exit_code"]) == ("failed", 3)
    for after in range(-1, len(whole)):
        assert follow(api, path, after) == whole[after + 1 :]
    assert follow(api, path, len(whole) + 1000) == []


@pytest.mark.walls(slow=True)
def test_a_finished_job_from_every_point(api: Api, tag: str) -> None:
    path = f"jobs/{finished(api, tag)}"
    told = follow(api, path)
    whole = of_tasks(told)
    positions = [message["seq"] for message in whole]
    assert positions == sorted(set(positions))
    assert told[-1]["type"] == "done" and told[-1]["data"]["counts"]["failed"] == 3
    for after in [0, *positions[:: len(positions) // 20], positions[-1]]:
        assert of_tasks(follow(api, path, after)) == [message for message in whole if message["seq"] > after]
    for task_id in {message["task_id"] for message in whole}:
        numbers = [message["task_seq"] for message in whole if message["task_id"] == task_id]
        assert numbers == list(range(1, len(numbers) + 1))


def live(api: Api, path: str, seed: int, kept: list[Any]) -> None:
    """Watch to the end, losing the connection again and again after a random number of messages."""
    chance = random.Random(seed)
    after = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with watch(api, path, after) as watching:
            for left in messages(watching):
                kept.append(left)
                after = left["seq"]
                if left["type"] == "done" and (path.startswith("tasks") or left["task_id"] is None):
                    return
                if chance.random() < 0.15:
                    break
        pause(chance.random() * 0.1)
    raise AssertionError("the stream did not end")


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("of_job", [False, True], ids=["task", "job"])
def test_many_lossy_watchers_of_a_running_job_all_see_the_same(api: Api, tag: str, of_job: bool) -> None:
    job_id = api.start_job(TALK, targets={"tags": [tag]})
    path = f"jobs/{job_id}" if of_job else f"tasks/{api.tasks(job_id)[0]['id']}"
    seen: list[list[Any]] = [[] for _ in range(6)]
    threads = [
        threading.Thread(target=live, args=(api, path, seed, kept)) for seed, kept in enumerate(seen, start=1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = of_tasks(follow(api, path))
    assert len(whole) > 30
    for kept in seen:
        assert of_tasks(kept) == whole
    for task in api.tasks(job_id):
        mine = [message for message in whole if message["task_id"] == task["id"]]
        if mine:
            assert output_of(mine, "stdout", "stderr") == api.output(task["id"], "all")


@pytest.mark.walls(slow=True)
@pytest.mark.alone
def test_output_arrives_while_the_command_runs(api: Api, platform: Any) -> None:
    job_id = api.start_job("date +%s%N; sleep 0.5; date +%s%N", targets={"platform_ids": [platform["id"]]})
    (task,) = api.tasks(job_id)
    with watch(api, f"tasks/{task['id']}") as watching:
        delays = [
            time.time() - int(data_of(message)) / 1e9
            for message in messages(watching)
            if message["type"] == "stdout"
        ]
    assert len(delays) == 2 and max(delays) < 1


def test_a_watcher_from_before_the_start_sees_it_all(api: Api, tag: str) -> None:
    """All but one task wait: nothing is missed of those that had not begun when the watching did."""
    job_id = api.start_job("echo first; sleep 0.3; echo last", targets={"tags": [tag]}, concurrency=1)
    told = follow(api, f"jobs/{job_id}")
    for task in api.tasks(job_id):
        mine = [message for message in told if message["task_id"] == task["id"]]
        # The two lines may come as one: a busy machine gives them to sshd together.
        assert [kind for kind, _ in groupby(message["type"] for message in mine)] == [
            "status",
            "stdout",
            "done",
        ]
        assert output_of(mine, "stdout") == b"first\nlast\n"
    progress = [message["data"]["counts"]["success"] for message in told if message["task_id"] is None]
    assert progress == sorted(progress) and progress[-1] == 3


@pytest.mark.walls(slow=True)
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command",
    [pytest.param("while :; do echo more; sleep 0.001; done", marks=pytest.mark.slow), "seq 1 99999999"],
)
def test_what_was_shown_is_kept_by_a_cancel_at_any_moment(api: Api, platform: Any, command: str) -> None:
    """Ended while its output is on its way to the disk, small enough for the row or not."""

    def round_of(chance: random.Random) -> None:
        job_id = api.start_job(command, targets={"platform_ids": [platform["id"]]})
        (task,) = api.tasks(job_id)
        shown = b""
        with watch(api, f"tasks/{task['id']}") as watching:
            stop_at = time.monotonic() + 0.05 + chance.random() * 0.15
            for message in messages(watching):
                if message["type"] == "stdout":
                    shown += data_of(message)
                if time.monotonic() > stop_at:
                    break
        api.post(f"/jobs/{job_id}/cancel")
        assert api.wait_job(job_id)["status"] == "cancelled"
        kept = api.output(task["id"])
        assert kept.startswith(shown)
        assert api.get(f"/tasks/{task['id']}")["output_bytes"] == len(kept)
        assert output_of(follow(api, f"tasks/{task['id']}"), "stdout") == kept

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(round_of, map(random.Random, range(12))))


@pytest.mark.walls(slow=True)
def test_the_stream_goes_on_after_a_restart(real_sshd: Any) -> None:
    """What was told before the server died is told again the same, and the rest after it."""
    with Server() as server:
        api = server.client()
        api.add_platform("one", real_sshd)
        job_id = api.start_job("for i in $(seq 1 3000); do echo $i; sleep 0.02; done")
        (task,) = api.tasks(job_id)
        path = f"tasks/{task['id']}"
        before = []
        with watch(api, path) as watching:
            for message in messages(watching):
                before.append(message)
                if len(before) == 20:
                    server.kill()
                    break
        server.end_leases()
        server.start()
        api.wait_job(job_id)
        after = follow(api, path, before[-1]["seq"])
        assert before + after == follow(api, path)
        assert after[-1]["data"]["status"] == "lost"
        assert output_of(before + after, "stdout") == api.output(task["id"])
