"""What becomes of the commands of a server that is killed: nothing of them is forgotten, and nothing is done twice."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from tests.ssh.test_terminate import commands
from tests.support.proxy import Proxies
from tests.support.server import Api, Server
from tests.support.sshd import LoginUser, RealSshd
from tests.support.waiting import until

pytestmark = pytest.mark.walls


@pytest.fixture
def host() -> Iterator[RealSshd]:
    sshd = RealSshd()
    yield sshd
    sshd.close()


@pytest.fixture
def bash_host() -> Iterator[RealSshd]:
    """Its account's start-up file is read for each program."""
    user = LoginUser(shell="/bin/bash")
    sshd = RealSshd(user=user)
    yield sshd
    sshd.close()
    user.remove()


def only_task(api: Api, job_id: str) -> Any:
    (task,) = api.tasks(job_id)
    return api.get(f"/tasks/{task['id']}")


@pytest.mark.walls(slow=True)
def test_a_killed_servers_commands_are_found_again(host: RealSshd) -> None:
    with closing(RealSshd()) as other, closing(Proxies()) as proxies, Server() as server:
        api = server.client()
        api.add_platform("here", host)
        api.add_platform("other", other)
        way = proxies.add(host.port)
        api.add_platform("waits", host, port=way.port)
        home = host.user.home
        lasts = api.start_job(f"echo go >{home}/lasts; sleep 3977", targets={"names": ["here"]})
        ends = api.start_job(
            f"echo go >{home}/ends; until [ -e {home}/end ]; do sleep 0.1; done", targets={"names": ["here"]}
        )
        # What it leaves there bears no mark, is in another session, and lives on.
        leaves = api.start_job(
            "env -i setsid -f sleep 3978; echo go >leaves; until [ -e end ]; do sleep 0.1; done",
            targets={"names": ["other"]},
        )
        until(lambda: (home / "lasts").exists() and (home / "ends").exists())
        until((other.user.home / "leaves").exists)
        way.hold()
        never = api.start_job(f"echo $TESTUM_TASK >>{home}/never", targets={"names": ["waits"]})
        until(lambda: only_task(api, never)["status"] == "running" and way.holding)
        server.kill()
        way.release()
        server.end_leases()
        server.start()

        assert api.wait_job(never)["status"] == "success", "nothing of it had been sent"
        assert len((home / "never").read_text().split()) == 1

        until(lambda: api.get(f"/jobs/{ends}")["status"] == "failed")
        until(
            lambda: (
                "still running" in only_task(api, ends)["metadata"].get("termination", {}).get("detail", "")
            )
        )
        task = only_task(api, ends)
        assert (task["status"], task["may_still_run"]) == ("lost", True)
        again = api.http.post(f"/jobs/{ends}/rerun", json={})
        assert (again.status_code, again.json()["code"]) == (409, "may_still_run")
        assert [left["task_id"] for left in again.json()["tasks"]] == [task["id"]]
        for folder in (home, other.user.home):
            (folder / "end").touch()
        until(lambda: not only_task(api, ends)["may_still_run"])
        task = only_task(api, ends)
        assert (task["status"], task["metadata"]["termination"]["state"]) == ("lost", "confirmed")
        assert api.get(f"/jobs/{ends}")["may_still_run"] == 0
        assert api.http.post(f"/jobs/{ends}/rerun", json={}).status_code == 202

        until(
            lambda: "may be its" in only_task(api, leaves)["metadata"]["termination"]["detail"],
            otherwise=lambda: f"{only_task(api, leaves)}\n{server.log.read_text()[-5000:]}",
        )
        task = only_task(api, leaves)
        (left,) = task["metadata"]["termination"]["strays"]
        assert task["may_still_run"] and commands(other, "3978")
        os.kill(int(left.partition(":")[0]), signal.SIGTERM)
        until(lambda: not only_task(api, leaves)["may_still_run"])

        assert api.get(f"/jobs/{lasts}")["may_still_run"] == 1 and commands(host, "3977")
        assert api.http.post(f"/jobs/{lasts}/cancel").status_code == 202
        until(lambda: not api.get(f"/jobs/{lasts}")["may_still_run"])
        assert not commands(host, "3977")
        task, job = only_task(api, lasts), api.get(f"/jobs/{lasts}")
        assert (task["status"], job["status"], job["counts"]["cancelled"]) == ("cancelled", "cancelled", 1)
        assert re.match("Sent TERM", task["metadata"]["termination"]["detail"])


@pytest.mark.walls(slow=True)
def test_what_was_about_to_be_sent_is_found_not_to_have_run(host: RealSshd) -> None:
    """The server is killed when it is written that a command is sent, and nothing of it has gone out."""
    with closing(Proxies()) as proxies, Server() as server:
        api = server.client()
        way = proxies.add(host.port)
        api.add_platform("here", host, port=way.port)
        before = api.wait_job(api.start_job("true"))
        way.hold()
        counter = host.user.home / "counter"
        going_on, cancelled = (api.start_job(f"echo $TESTUM_TASK >>{counter}") for _ in range(2))
        ids = [only_task(api, job_id)["id"] for job_id in (going_on, cancelled)]
        until(lambda: all(api.get(f"/tasks/{task_id}")["status"] == "running" for task_id in ids))
        with server.engine.connect() as writer:
            # Nobody else writes of these tasks, so that what they wait for does not come.
            locked = {"postgresql": "BEGIN; SELECT 1 FROM task_runs FOR UPDATE", "sqlite": "BEGIN IMMEDIATE"}
            writer.exec_driver_sql(locked[writer.dialect.name])
            way.release()
            until(lambda: all(commands(host, f"TESTUM_TASK={task_id}") for task_id in ids))
            server.kill()
            sent = (
                "UPDATE task_runs SET unsent = false, platform_address = "
                "(SELECT max(platform_address) FROM task_runs WHERE job_id = :before) WHERE status = 'running'"
            )
            job_id = before["id"] if server.servers else before["id"].replace("-", "")
            writer.execute(sa.text(sent), {"before": job_id})
            writer.commit()
        server.end_leases()
        server.start()
        until(lambda: all(api.get(f"/tasks/{task_id}")["status"] == "lost" for task_id in ids))
        assert api.http.post(f"/jobs/{cancelled}/cancel").status_code == 202
        server.execute("UPDATE task_runs SET look_at = finished_at WHERE look_at IS NOT NULL")
        until(lambda: all(api.get(f"/tasks/{task_id}")["status"] != "lost" for task_id in ids))
        task, job = only_task(api, going_on), api.get(f"/jobs/{going_on}")
        assert (task["status"], task["error_code"], task["may_still_run"]) == ("failed", "not_sent", False)
        assert task["metadata"]["termination"]["state"] == "confirmed"
        assert (job["status"], job["counts"]["failed"], job["counts"]["lost"]) == ("failed", 1, 0)
        task, job = only_task(api, cancelled), api.get(f"/jobs/{cancelled}")
        assert (task["status"], job["status"]) == ("cancelled", "cancelled")
        assert "nothing was run" in task["error_message"]
        settled = [
            entry["object_id"] for entry in api.get("/audit/", limit=50) if entry["action"] == "task.settle"
        ]
        assert sorted(settled) == sorted(ids)
        assert not counter.exists()
        again = api.post(f"/jobs/{going_on}/rerun", {})["id"]
        assert api.wait_job(again)["status"] == "success" and len(counter.read_text().split()) == 1


@pytest.mark.slow
def test_what_never_proved_its_beginning_becomes_known(bash_host: RealSshd) -> None:
    """A shell that a start-up file puts in place bears no mark; it is found below the SSH server, or when its connection is
    gone."""
    host, home = bash_host, bash_host.user.home
    with Server() as server:
        (home / ".bashrc").write_text('rm "$HOME/replace" 2>/dev/null && exec sleep 3973\n')
        api = server.client()
        on = {"platform_ids": [api.add_platform("replaces", host)["id"]]}
        (home / "replace").touch()
        job_id = api.start_job("true", targets=on, timeout=2)
        api.wait_job(job_id)
        until(lambda: only_task(api, job_id)["metadata"]["termination"].get("strays"))
        task = only_task(api, job_id)
        assert (task["error_code"], task["may_still_run"]) == ("timeout", True)
        (pid,) = task["metadata"]["termination"]["strays"]
        assert commands(host, "3973")
        host.cut()
        before = task["metadata"]["termination"]["looked_at"]
        until(lambda: only_task(api, job_id)["metadata"]["termination"]["looked_at"] != before)
        assert only_task(api, job_id)["may_still_run"]
        os.kill(int(pid.partition(":")[0]), signal.SIGTERM)
        until(lambda: not only_task(api, job_id)["may_still_run"], 60)
        assert only_task(api, job_id)["metadata"]["termination"]["state"] == "confirmed"


@pytest.mark.embedded
def test_a_connection_that_was_cut_before_the_proof_arrived(bash_host: RealSshd) -> None:
    """The program ran and ended, and nobody heard of it: its host shows that nothing is at work."""
    home = bash_host.user.home
    # The program goes out when the host has answered that the shell starts: not before it is here may answers be held.
    (home / ".bashrc").write_text(
        "until read -t 0; do sleep 0.1; done; echo >>~/begins; until [ -e ~/go ]; do sleep 0.1; done\n"
    )
    with closing(Proxies()) as proxies, Server() as server:
        api = server.client()
        way = proxies.add(bash_host.port)
        api.add_platform("cut", bash_host, port=way.port)
        job_id = api.start_job("echo go >ran")
        until((home / "begins").exists)
        way.hold_answers()
        (home / "go").touch()
        until((home / "ran").exists)
        way.cut()
        way.release()
        api.wait_job(job_id)
        until(lambda: not only_task(api, job_id)["may_still_run"])
        task = only_task(api, job_id)
        assert task["metadata"]["termination"]["begun"] is False, task
        assert (task["status"], task["metadata"]["termination"]["state"]) == ("failed", "confirmed")
