"""Events are hints: while none is carried, nothing of what they hint at is lost."""

import threading
from typing import Any

import pytest

from tests.support.server import Api, walls
from tests.support.sshd import RealSshd
from tests.support.stream import messages, output_of, watch
from tests.support.tools import unique
from tests.support.waiting import until

pytestmark = pytest.mark.servers


def test_output_is_told_while_redis_is_gone(api: Api, real_sshd: RealSshd) -> None:
    """The job's work, its watchers and its end go on without a Redis, in order, with no gap and nothing twice."""
    platform = api.add_platform(unique(), real_sshd)
    gate = real_sshd.user.home / unique("gate")
    job_id = api.start_job(
        f"for n in $(seq 40); do echo $n; sleep 0.05; done; echo all; while [ ! -e {gate} ]; do sleep 0.1; done; echo end",
        targets={"platform_ids": [platform["id"]]},
    )
    (task,) = api.tasks(job_id)
    told: dict[str, list[Any]] = {path: [] for path in (f"tasks/{task['id']}", f"jobs/{job_id}")}

    def listen(path: str) -> None:
        with watch(api, path) as watching:
            told[path].extend(messages(watching))

    with watch(api, f"tasks/{task['id']}") as first:
        seen = messages(first)
        while b"1\n" not in output_of([next(seen)], "stdout"):
            pass
    redis = walls().redis
    redis.kill()
    try:
        watchers = [threading.Thread(target=listen, args=(path,)) for path in told]
        for watcher in watchers:
            watcher.start()
        until(lambda: api.output(task["id"]).endswith(b"all\n"))
        gate.touch()
        for watcher in watchers:
            watcher.join(30)
            assert not watcher.is_alive(), "a watcher waits for an event that nobody carries"
        assert api.http.get(f"{api.url}/health/ready").json()["walls"]["events"] == "unavailable"
    finally:
        redis.start()
    expected = "".join(f"{n}\n" for n in range(1, 41)).encode() + b"all\nend\n"
    for path, heard in told.items():
        assert output_of(heard, "stdout") == expected, path
        assert heard[-1]["type"] == "done", path
    assert api.run("echo again", targets={"platform_ids": [platform["id"]]})["stdout"] == "again\n"
