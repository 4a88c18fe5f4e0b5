"""A task's stream without its output: that there may be more is told soon, not too often, and again and again."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.support import late
from tests.support.application import Listening
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.stream import messages, watch
from tests.support.waiting import until
from testum.services import streams

pytestmark = pytest.mark.walls


def test_that_there_is_more_is_told_and_no_output(api: Api, platform: Any) -> None:
    job_id = api.start_job(
        "for i in $(seq 1 50); do echo line $i; sleep 0.02; done; exit 3",
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
    assert all(message["data"]["status"] in ("pending", "running") for message in hints)
    # To go on from a hint tells the end, whatever came between.
    with watch(api, f"tasks/{task['id']}?output=0&after={hints[-1]['seq']}") as watching:
        assert [message["type"] for message in messages(watching)] == ["error", "done"]
    with watch(api, f"tasks/{task['id']}?output=0&after={told[-1]['seq']}") as watching:
        assert list(messages(watching)) == []


def test_a_silent_task_is_told_of_all_the_same(real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears nothing for 15 seconds takes the connection for lost."""
    assert streams._POLL_SECONDS + streams._TOGETHER_SECONDS < 15 / 2
    every = 0.3
    monkeypatch.setattr(streams, "_POLL_SECONDS", every)
    with Listening() as site, ThreadPoolExecutor() as threads:
        api = site.client()
        api.add_platform("silent", real_sshd)
        job_id = api.start_job("sleep 60")
        until(lambda: api.get(f"/jobs/{job_id}")["counts"]["running"])
        (task,) = api.tasks(job_id)

        def moments(path: str) -> list[float]:
            """When it was asked for, and when each message came."""
            begun = time.monotonic()
            with watch(api, f"{path}?output=0&after=1") as watching:
                return [begun, *(time.monotonic() for _ in range(4) if watching.recv(timeout=30))]

        paths = (f"tasks/{task['id']}", f"jobs/{job_id}")
        for came in threads.map(moments, paths):
            assert all(later - one < 15 for one, later in pairwise(came))
            assert came[-1] - came[0] > 2 * every, "not the crowd of the beginning"
        api.post(f"/jobs/{job_id}/cancel")
        api.wait_job(job_id)


def test_another_end_of_a_lost_task_is_told(real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its job goes on, to those who were told that it is lost, with the output that came to light; the counts
    follow."""
    monkeypatch.setattr(streams, "_POLL_SECONDS", 0.3)
    with Listening() as site:
        api = site.client()
        for name in ("soon", "twin", "long"):
            api.add_platform(name, real_sshd)
        job_id = api.start_job("sleep 600", targets={"names": ["long"]})
        until(lambda: api.get(f"/jobs/{job_id}")["counts"]["running"])
        done = api.start_job("echo before", targets={"names": ["soon", "twin"]})
        api.wait_job(done)
        ended, twin = api.tasks(done)
        # As a worker leaves it that was taken for dead; in the job that still runs.
        late.move(site, ended, job_id, ordinal=1, status="lost")
        late.move(site, twin, job_id, ordinal=2, status="success")
        with watch(api, f"jobs/{job_id}") as watching:
            told = messages(watching)
            succeeded = 0

            def heard() -> Any:
                """The next message. How the job stands may be told before the task's end or after it."""
                nonlocal succeeded
                message = next(told)
                if message["type"] == "progress" and not message["task_id"]:
                    succeeded = message["data"]["counts"]["success"]
                return message

            def end() -> tuple[str, str]:
                """What the task printed up to its next end, and that."""
                printed = ""
                while (message := heard())["type"] != "done" or message["task_id"] != ended["id"]:
                    if (message["type"], message["task_id"]) == ("stdout", ended["id"]):
                        printed += message["payload"]
                return printed, message["data"]["status"]

            def alike() -> int:
                """How many groups the ended tasks make."""
                return api.get(f"/jobs/{job_id}/outputs")["total"]

            def lines() -> tuple[list[str], int]:
                """What is shown of it, and in how many lines an `e` is found."""
                found = api.get(f"/tasks/{ended['id']}/lines/search", q="e")
                shown = api.get(f"/tasks/{ended['id']}/lines")["lines"]
                return [line["text"] for line in shown], found["count"]

            assert end() == ("before\n", "lost")
            assert alike() == 2
            assert lines() == (["before"], 1)
            late.settle(site, ended, job_id, b"after\n")
            assert end() == ("after\n", "success")
            assert alike() == 2, "the output differs now, and no more how it ended"
            assert lines() == (["before", "after"], 2)
            while succeeded != 2:
                heard()
        api.post(f"/jobs/{job_id}/cancel")
        api.wait_job(job_id)
