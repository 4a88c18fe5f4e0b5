"""What becomes of the commands of a server that is killed: nothing of them is forgotten, and nothing is done twice."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.ssh.test_terminate import commands
from tests.support.proxy import Proxies
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.waiting import until

pytestmark = pytest.mark.walls


@pytest.fixture
def host() -> Iterator[RealSshd]:
    sshd = RealSshd()
    yield sshd
    sshd.close()


def only_task(api: Api, job_id: str) -> Any:
    (task,) = api.tasks(job_id)
    return api.get(f"/tasks/{task['id']}")


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

        until(lambda: "may be its" in only_task(api, leaves)["metadata"]["termination"]["detail"])
        task = only_task(api, leaves)
        (left,) = task["metadata"]["termination"]["strays"]
        assert task["may_still_run"] and commands(other, "3978")
        os.kill(int(left), signal.SIGTERM)
        until(lambda: not only_task(api, leaves)["may_still_run"])

        assert api.get(f"/jobs/{lasts}")["may_still_run"] == 1 and commands(host, "3977")
        assert api.http.post(f"/jobs/{lasts}/cancel").status_code == 202
        until(lambda: not api.get(f"/jobs/{lasts}")["may_still_run"])
        assert not commands(host, "3977")
        task, job = only_task(api, lasts), api.get(f"/jobs/{lasts}")
        assert (task["status"], job["status"], job["counts"]["cancelled"]) == ("cancelled", "cancelled", 1)
        assert re.match("Sent TERM", task["metadata"]["termination"]["detail"])
