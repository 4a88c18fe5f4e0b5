"""Old output, as clients see that it is gone: API, streams and command line."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import forkserver
from tests.support.application import Listening
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.stream import follow, output_of
from tests.support.waiting import until
from testum.app import composition
from testum.execution import watch

pytestmark = pytest.mark.walls

LARGE = "seq 30000; echo end >&2; exit 4"


@pytest.fixture
def keeps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listening]:
    """One that keeps output for a week, and soon sees that it is older."""
    assert composition.EXPIRE_SECONDS < 60 / 2
    monkeypatch.setattr(composition, "EXPIRE_SECONDS", 0.5)
    monkeypatch.setattr(watch, "_TICK_SECONDS", 0.2)
    with Listening(env={"OUTPUT_RETENTION_DAYS": "7", "ACCESS_TOKEN_SECONDS": "7200"}) as running:
        yield running


def command_line(api: Api, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TESTUM_URL": api.url,
        "TESTUM_TOKEN": api.tokens["access_token"],
        "TESTUM_CONFIG": str(folder / "config"),
    }
    return forkserver.run_text(*arguments, env=environment)


def without(told: list[Any], *types: str) -> list[Any]:
    return [message for message in told if message["type"] not in types]


@pytest.mark.walls(slow=True)
def test_output_that_is_older_than_it_is_kept(keeps: Listening, real_sshd: RealSshd, tmp_path: Path) -> None:
    api = keeps.client()
    one, two = (api.add_platform(f"old-{number}", real_sshd) for number in range(2))
    large, small, young = (
        api.run(command, targets={"platform_ids": [platform["id"]]})
        for command, platform in ((LARGE, one), ("echo a secret word", two), ("echo young", two))
    )
    paths = [
        f"{kind}/{task[key]}"
        for task in (large, small)
        for kind, key in (("tasks", "id"), ("jobs", "job_id"))
    ]
    before = {path: follow(api, path) for path in paths}
    assert large["metadata"]["output_truncated"] and large["output_expired_at"] is None
    for task in (large, small):
        keeps.execute(
            "UPDATE task_runs SET finished_at = '2026-01-01 00:00:00.000000' WHERE id = :id",
            {"id": task["id"] if keeps.servers else task["id"].replace("-", "")},
        )
    until(lambda: api.get(f"/tasks/{small['id']}")["output_expired_at"], 60)
    until(lambda: api.get(f"/tasks/{large['id']}")["output_expired_at"], 60)

    for task in (large, small):
        now = api.get(f"/tasks/{task['id']}")
        assert (now["stdout"], now["stderr"], now["result_location"]) == (None, None, None)
        changed = {"stdout", "stderr", "result_location", "output_expired_at", "finished_at"}
        assert {key: now[key] for key in now.keys() - changed} == {
            key: task[key] for key in now.keys() - changed
        }
        listed = next(row for row in api.tasks(task["job_id"]) if row["id"] == task["id"])
        assert listed == now
        for stream in ("all", "stdout", "stderr"):
            answer = api.http.get(f"/tasks/{task['id']}/output", params={"stream": stream})
            problem = answer.json()
            assert answer.status_code == problem["status"] == 410, answer.text
            assert (problem["code"], problem["title"]) == ("output_expired", "Gone")
            assert (
                "removed" in problem["detail"]
                and answer.headers["content-type"] == "application/problem+json"
            )
    assert api.get(f"/tasks/{young['id']}")["stdout"] == "young\n" == api.output(young["id"]).decode()

    # What a stream told before it tells again, without the output and with the same numbers.
    for path, told in before.items():
        again = follow(api, path)
        assert output_of(again, "stdout", "stderr") == b"" != output_of(told, "stdout", "stderr")
        expected = without(told, "stdout", "stderr")
        assert [(m["type"], m["seq"], m["task_id"]) for m in again if m["type"] != "progress"] == [
            (m["type"], m["seq"], m["task_id"]) for m in expected if m["type"] != "progress"
        ]
        done = next(m for m in again if m["type"] == "done" and m["task_id"])
        old = next(m for m in expected if m["type"] == "done" and m["task_id"])
        assert done["data"].pop("output_expired_at") and done["data"] == old["data"]
        # Who had seen some of it hears the end, and nothing twice.
        middle = next(m for m in told if m["type"] == "stdout")["seq"]
        assert [m["seq"] for m in follow(api, path, middle) if m["type"] != "progress"] == [
            m["seq"] for m in again if m["type"] != "progress" and (m["seq"] > middle or m["task_id"] is None)
        ]

    words = command_line(api, tmp_path, "tasks", "output", small["id"])
    assert (words.returncode, words.stdout) == (3, "") and "has been removed" in words.stderr, words
    words = command_line(api, tmp_path, "tasks", "show", small["id"])
    assert words.returncode == 0 and "removed at 20" in words.stdout and "14 bytes" in words.stdout, words
    for options in ((), ("--group",)):
        words = command_line(api, tmp_path, "jobs", "watch", *options, small["job_id"])
        assert words.returncode == 0 and words.stdout.strip() == "", words
        assert "removed, because it was older than output is kept: the output of old-1" in words.stderr, words
        assert "1 of 1 succeeded" in words.stderr, words

    # A job is run again from what is known of it, and not from its output.
    job_id = api.post(f"/jobs/{small['job_id']}/rerun", {})["id"]
    api.wait_job(job_id)
    assert api.tasks(job_id)[0]["stdout"] == "a secret word\n"
    kept = " ".join(str(path) for path in keeps.data_dir.rglob("*"))
    assert large["id"] not in kept
