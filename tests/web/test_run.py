"""The main road: platforms, jobs and tasks through the REST API, against the real OpenSSH server."""

import uuid

import pytest

from tests.support.server import Api
from tests.support.sshd import RealSshd

pytestmark = pytest.mark.walls


def test_a_command_runs_and_its_output_is_kept(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(f"p-{uuid.uuid4().hex[:8]}", real_sshd)
    accepted = api.post(
        f"/platforms/{platform['id']}/run_command", {"command": "echo out; echo err >&2; exit 3"}
    )
    assert accepted["status"] == "pending"
    job = api.wait_job(accepted["job_id"])
    assert (job["status"], job["counts"]["failed"]) == ("failed", 1)
    task = api.get(f"/tasks/{accepted['task_id']}")
    assert (task["stdout"], task["stderr"], task["exit_code"], task["error_code"]) == (
        "out\n",
        "err\n",
        3,
        "exit_status",
    )
    assert api.output(task["id"], "all") in (b"out\nerr\n", b"err\nout\n")
    assert api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"].startswith("SHA256:")
