"""A task's stream without its output: that there may be more is told soon, not too often, and again and again."""

import itertools
import time
from typing import Any

import pytest

from tests.support.server import Api
from tests.support.stream import messages, watch

pytestmark = pytest.mark.walls


def test_that_there_is_more_is_told_and_no_output(api: Api, platform: Any) -> None:
    job_id = api.start_job(
        "for i in $(seq 1 100); do echo line $i; sleep 0.05; done; exit 3",
        targets={"platform_ids": [platform["id"]]},
    )
    (task,) = api.tasks(job_id)
    began = time.monotonic()
    with watch(api, f"tasks/{task['id']}?output=0") as watching:
        told = list(messages(watching))
    took = time.monotonic() - began
    kinds = [message["type"] for message in told]
    assert "stdout" not in kinds and kinds[-2:] == ["error", "done"]
    hints = [message for message in told if message["type"] == "progress"]
    assert 2 <= len(hints) <= 5 * took + 5
    assert all(message["payload"]["status"] in ("pending", "running") for message in hints)
    # To go on from a hint tells the end, whatever came between.
    with watch(api, f"tasks/{task['id']}?output=0&after={hints[-1]['seq']}") as watching:
        assert [message["type"] for message in messages(watching)] == ["error", "done"]
    with watch(api, f"tasks/{task['id']}?output=0&after={told[-1]['seq']}") as watching:
        assert list(messages(watching)) == []


def test_a_silent_task_is_told_of_all_the_same(api: Api, platform: Any) -> None:
    """Who hears nothing for long may take the connection for lost."""
    job_id = api.start_job("sleep 60", targets={"platform_ids": [platform["id"]]})
    (task,) = api.tasks(job_id)
    with watch(api, f"tasks/{task['id']}?output=0&after=1") as watching:
        came = [time.monotonic() for _ in range(3) if watching.recv(timeout=30)]
    assert all(later - one < 15 for one, later in itertools.pairwise(came))
    with watch(api, f"jobs/{job_id}?output=0&after=1") as watching:
        came = [time.monotonic() for _ in range(4) if watching.recv(timeout=30)]
    assert came[-1] - came[0] > 4, "not the crowd of the beginning"
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)
