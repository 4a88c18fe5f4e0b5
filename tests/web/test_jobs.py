"""Jobs through the REST API against the real sshd: all five types, all ways to name platforms, cancel, rerun."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.application import doing_work
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, free_port, run
from tests.support.tools import unique
from tests.support.waiting import until

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def platform(api: Api, real_sshd: RealSshd) -> Any:
    return api.add_platform(unique(), real_sshd)


def on(*platforms: Any) -> dict[str, Any]:
    return {"platform_ids": [platform["id"] for platform in platforms]}


def one(api: Api, **values: Any) -> Any:
    """The only task of a job, when it is over."""
    job_id = api.start_job(**values)
    api.wait_job(job_id)
    (task,) = api.tasks(job_id)
    return task


# -- what can be done ----------------------------------------------------------------------------------


def test_a_command(api: Api, platform: Any) -> None:
    accepted = api.post(
        "/jobs/",
        {
            "type": "run_command",
            "targets": on(platform),
            "command": "echo é; echo e >&2; exit 7",
            "timeout": 30,
        },
    )
    assert (accepted["status"], accepted["task_count"], accepted["id"]) == ("pending", 1, accepted["job_id"])
    job = api.wait_job(accepted["job_id"])
    assert (job["status"], job["command"], job["timeout"]) == ("failed", "echo é; echo e >&2; exit 7", 30)
    assert job["counts"] == {
        "total": 1, "pending": 0, "running": 0, "success": 0, "failed": 1, "cancelled": 0, "lost": 0,
    }  # fmt: skip
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]
    task = api.get(f"/tasks/{accepted['task_id']}")
    assert 0 < task["duration_seconds"] < 60 and task["started_at"] <= task["finished_at"]
    assert (task["exit_code"], task["error_code"], task["stdout"], task["stderr"]) == (
        7,
        "exit_status",
        "é\n",
        "e\n",
    )
    assert (task["type"], task["platform_id"], task["platform_name"], task["job_id"]) == (
        "run_command", platform["id"], platform["name"], job["id"],
    )  # fmt: skip
    assert {
        "id", "celery_task_id", "job_id", "type", "platform_id", "status", "exit_code", "result_location", "stdout",
        "stderr", "error_message", "error_code", "metadata", "started_at", "finished_at", "created_at",
    } <= task.keys()  # fmt: skip


def test_a_command_ended_by_a_signal_and_one_that_is_too_slow(api: Api, platform: Any) -> None:
    slow_id = api.start_job("echo before; sleep 60", targets=on(platform), timeout=2)
    killed = one(api, command="kill -9 $$", targets=on(platform))
    assert (killed["error_code"], killed["exit_signal"], killed["exit_code"]) == ("signal", "KILL", None)
    api.wait_job(slow_id)
    (slow,) = api.tasks(slow_id)
    assert (slow["status"], slow["error_code"], slow["stdout"]) == ("failed", "timeout", "before\n")
    assert slow["metadata"]["termination"]["state"] == "confirmed"


@pytest.mark.walls(slow=True)
def test_the_environment_arrives_and_only_its_names_are_shown(api: Api, platform: Any) -> None:
    value = 'it\'s a "value" with\nlines é $HOME'
    task = one(api, command='printf %s "$GREETING"', environment={"GREETING": value}, targets=on(platform))
    assert task["stdout"] == value
    job = api.get(f"/jobs/{task['job_id']}")
    assert job["parameters"]["environment_names"] == ["GREETING"] and "lines" not in str(job)


SCRIPTS = {
    "sh": {"text": 'echo "$0 $# $2"\ncat\n', "arguments": ["one", "two words"]},
    "bash": {"text": "a=(1 2 3); echo ${#a[@]}\n", "interpreter": "/bin/bash"},
    "python": {
        "text": "import sys\nprint(sys.argv[1:], 'é')\n",
        "interpreter": "python3 -u",
        "arguments": ["it's"],
    },
}
PRINTED = {"bash": "3\n", "python": '["it\'s"] é\n'}


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script(api: Api, platform: Any, kind: str) -> None:
    task = one(api, type="run_script", script=SCRIPTS[kind], targets=on(platform))
    assert (task["status"], task["exit_code"]) == ("success", 0), task
    if kind in PRINTED:
        assert task["stdout"] == PRINTED[kind]
    else:
        assert task["stdout"].endswith(" 2 two words\n")
    job = api.get(f"/jobs/{task['job_id']}")
    assert job["parameters"]["script"]["text"] == SCRIPTS[kind]["text"] and job["command"] is None


@pytest.mark.walls(slow=True)
def test_a_shells_script_from_windows_is_sent_with_lf(api: Api, platform: Any) -> None:
    script = {"text": "\ufeffif true\r\nthen echo yes\r\nfi\r\n"}
    task = one(api, type="run_script", script=script, targets=on(platform))
    assert (task["status"], task["stdout"], task["stderr"]) == ("success", "yes\n", "")
    sent = api.get(f"/jobs/{task['job_id']}")["parameters"]["script"]
    assert (sent["text"], sent["converted"]) == ("if true\nthen echo yes\nfi\n", True)
    python = {"text": "import sys\r\nprint(repr(sys.stdin.read()))\r\n", "interpreter": "python3"}
    task = one(api, type="run_script", script=python, targets=on(platform))
    assert task["status"] == "success"
    assert not api.get(f"/jobs/{task['job_id']}")["parameters"]["script"]["converted"]


@pytest.mark.walls(slow=True)
def test_a_script_that_fails_and_one_without_an_interpreter(api: Api, platform: Any) -> None:
    failed = one(api, type="run_script", script={"text": "echo x\nexit 255\n"}, targets=on(platform))
    assert (failed["error_code"], failed["exit_code"], failed["stdout"]) == ("exit_status", 255, "x\n")
    missing = one(
        api, type="run_script", script={"text": "x", "interpreter": "/no/such"}, targets=on(platform)
    )
    assert (missing["status"], missing["exit_code"]) == ("failed", 127)


def test_facts_are_gathered_and_kept_with_the_platform(api: Api, platform: Any) -> None:
    task = one(api, type="gather_facts", targets=on(platform))
    assert task["status"] == "success", task
    facts = task["metadata"]["facts"]
    assert facts["hostname"] == run("uname", "-n").strip() and facts["kernel"] == "Linux"
    assert facts["cpus"] >= 1 and facts["memory_total_kib"] > 1000 and facts["disk_total_kib"] > 1000
    kept = api.get(f"/platforms/{platform['id']}")
    assert kept["facts"] == facts and kept["facts_at"] >= task["started_at"]


@pytest.mark.walls(slow=True)
def test_a_connection_test_runs_nothing(api: Api, platform: Any, real_sshd: RealSshd) -> None:
    task = one(api, type="test_connection", targets=on(platform))
    assert (task["status"], task["exit_code"]) == ("success", 0)
    fingerprint = api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"]
    assert task["metadata"]["fingerprint"] == fingerprint and fingerprint in task["stdout"]
    assert "OpenSSH" in task["metadata"]["server_version"] and task["metadata"]["latency_ms"] > 0
    nowhere = api.add_platform(unique(), real_sshd, port=free_port())
    assert one(api, type="test_connection", targets=on(nowhere))["error_code"] == "connection_refused"


# -- where -----------------------------------------------------------------------------------------------


@dataclass
class Fleet:
    """Four platforms on an installation of their own: web-1, web-2 and db-1 are `prod`, web-2 and db-2 are `old`."""

    api: Api

    def names(self, targets: dict[str, Any]) -> list[str]:
        """Where a job with these targets runs, in its order."""
        job_id = self.api.start_job("true", targets=targets)
        assert self.api.wait_job(job_id)["status"] == "success"
        return [task["platform_name"] for task in self.api.tasks(job_id)]

    def id(self, name: str) -> str:
        key: str = self.api.get("/platforms/", name=name)[0]["id"]
        return key


@pytest.fixture(scope="module")
def fleet(real_sshd: RealSshd) -> Iterator[Fleet]:
    with doing_work({"ACCESS_TOKEN_SECONDS": "7200"}) as installation:
        api = installation.client()
        for name, tags in (
            ("web-1", ["prod"]), ("web-2", ["prod", "old"]), ("db-1", ["prod"]), ("db-2", ["old"]),
        ):  # fmt: skip
            api.add_platform(name, real_sshd, tags=tags)
        yield Fleet(api)


TARGETS: list[tuple[dict[str, Any], list[str]]] = [
    ({"all": True}, ["db-1", "db-2", "web-1", "web-2"]),
    ({"all": True, "tags": ["old"]}, ["db-2", "web-2"]),
    ({"tags": ["prod"]}, ["db-1", "web-1", "web-2"]),
    ({"tags": ["prod", "old"]}, ["web-2"]),
    ({"names": ["web-1"]}, ["web-1"]),
    ({"names": ["web*"]}, ["web-1", "web-2"]),
    ({"names": ["?b-1", "web-2", "web-?"]}, ["db-1", "web-1", "web-2"]),
    ({"names": ["*-[13]"]}, ["db-1", "web-1"]),
    ({"names": ["*-[!1]"]}, ["db-2", "web-2"]),
    ({"names": ["db[2]", "db-[2]"]}, ["db-2"]),
    ({"names": ["web*"], "tags": ["old"]}, ["web-2"]),
    ({"names": ["*"]}, ["db-1", "db-2", "web-1", "web-2"]),
]


@pytest.mark.parametrize(("targets", "expected"), TARGETS, ids=str)
@pytest.mark.walls(slow=True)
def test_platforms_are_named_in_many_ways(fleet: Fleet, targets: dict[str, Any], expected: list[str]) -> None:
    assert fleet.names(targets) == expected


def test_platforms_are_named_by_their_ids(fleet: Fleet) -> None:
    ids = [fleet.id(name) for name in ("web-2", "db-1", "web-2")]
    assert fleet.names({"platform_ids": ids}) == ["db-1", "web-2"], "each once"
    assert fleet.names({"platform_ids": ids, "tags": ["old"]}) == ["web-2"]


@pytest.mark.walls(slow=True)
def test_very_many_patterns(fleet: Fleet) -> None:
    assert fleet.names({"names": [f"x{number}*" for number in range(999)] + ["web*"]}) == ["web-1", "web-2"]


NOWHERE: list[dict[str, Any]] = [
    {"tags": ["none"]}, {"names": ["WEB-1"]}, {"names": ["web"]}, {"names": ["%"]}, {"names": ["web_1"]}, {},
    {"names": ["web-1"], "tags": ["old"]}, {"names": ["web-1", "web-3"]}, {"names": ["db-*", "typo"]},
]  # fmt: skip


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("targets", NOWHERE, ids=str)
def test_a_job_on_nothing_is_refused(fleet: Fleet, targets: dict[str, Any]) -> None:
    answer = fleet.api.http.post(
        "/jobs/", json={"type": "run_command", "command": "true", "targets": targets}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "no_targets")


def test_one_failure_does_not_stop_the_others(fleet: Fleet, real_sshd: RealSshd) -> None:
    mark = unique("tag")
    for number in range(3):
        fleet.api.add_platform(f"{mark}-{number}", real_sshd, tags=[mark])
    broken = fleet.api.add_platform(f"{mark}-x", real_sshd, tags=[mark], port=free_port())
    job_id = fleet.api.start_job("true", targets={"tags": [mark]}, concurrency=1)
    job = fleet.api.wait_job(job_id)
    assert (job["status"], job["counts"]["success"], job["counts"]["failed"]) == ("failed", 3, 1)
    assert job["concurrency"] == 1

    mended = {"port": real_sshd.port, "password": real_sshd.user.password}
    fleet.api.ok(fleet.api.http.patch(f"/platforms/{broken['id']}", json=mended))
    again = fleet.api.post(f"/jobs/{job_id}/rerun", {"only": "failed"})
    assert again["task_count"] == 1
    rerun = fleet.api.wait_job(again["job_id"])
    assert (rerun["status"], rerun["rerun_of"], rerun["command"]) == ("success", job_id, "true")
    nothing = fleet.api.http.post(f"/jobs/{again['job_id']}/rerun", json={"only": "failed"})
    assert (nothing.status_code, nothing.json()["code"]) == (422, "no_targets")
    whole = fleet.api.wait_job(fleet.api.post(f"/jobs/{job_id}/rerun")["job_id"])
    assert (whole["status"], whole["task_count"]) == ("success", 4)
    for row in fleet.api.get("/platforms/", tag=mark):
        fleet.api.ok(fleet.api.http.delete(f"/platforms/{row['id']}"))


@pytest.mark.walls(slow=True)
def test_as_many_at_once_as_the_job_may(api: Api, real_sshd: RealSshd) -> None:
    """All of them also where several messages bring the job to one worker, and never more."""
    mark = unique("tag")
    for number in range(101):
        api.add_platform(f"{mark}-{number}", real_sshd, tags=[mark])
    job_id = api.start_job("sleep 4", targets={"tags": [mark]}, concurrency=12)
    seen: set[int] = set()

    def look() -> bool:
        seen.add(api.get(f"/jobs/{job_id}")["counts"]["running"])
        return 12 in seen

    until(look)
    for _ in range(20):
        look()
    assert max(seen) == 12
    api.ok(api.http.post(f"/jobs/{job_id}/cancel"))
    api.wait_job(job_id)


def test_a_rerun_has_the_first_ones_environment(api: Api, platform: Any) -> None:
    first = one(api, command="echo $A", environment={"A": "kept"}, targets=on(platform))
    second = api.post(f"/jobs/{first['job_id']}/rerun")
    api.wait_job(second["job_id"])
    third = api.post(f"/jobs/{second['job_id']}/rerun")
    for accepted in (second, third):
        api.wait_job(accepted["job_id"])
        assert api.get(f"/tasks/{accepted['task_id']}")["stdout"] == "kept\n"


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "nonsense", "command": "true"}, "type"),
        ({"command": "true"}, "type"),
        ({"type": "run_command"}, "command"),
        ({"type": "run_command", "command": 1}, "command"),
        ({"type": "run_command", "command": "true", "key_ids": []}, "key_ids"),
        ({"type": "gather_facts", "command": "true"}, "command"),
        ({"type": "run_script", "script": {"text": "true", "arguments": [1]}}, "script.arguments.0"),
        ({"type": "run_script", "script": {"text": "true", "converted": True}}, "script.converted"),
        ({"type": "deploy", "key_ids": ["x"]}, "key_ids.0"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_sent(api: Api, body: Any, field: str) -> None:
    answer = api.http.post("/jobs/", json={"targets": {"all": True}, **body})
    assert (answer.status_code, [each["field"] for each in answer.json()["errors"]]) == (422, [field])


@pytest.mark.embedded
def test_jobs_of_a_feature_that_was_removed_are_shown_and_not_run_again(
    server: Server, api: Api, platform: Any
) -> None:
    task = one(api, command="echo kept", targets=on(platform))
    job_id = task["job_id"]
    for table, column in (("jobs", "id"), ("task_runs", "job_id")):
        server.execute(
            f"UPDATE {table} SET type = 'gone' WHERE {column} = :job",
            {"job": job_id if server.servers else job_id.replace("-", "")},
        )
    assert api.get(f"/jobs/{job_id}")["type"] == api.get(f"/tasks/{task['id']}")["type"] == "gone"
    answer = api.http.post(f"/jobs/{job_id}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_type")
    answer = api.http.get("/jobs/", params={"type": "gone"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "type")
    assert "run_command" in answer.json()["detail"]


# -- ending ------------------------------------------------------------------------------------------------


def processes(sshd: RealSshd) -> str:
    return run("ps", "-ww", "-u", sshd.user.name, "-o", "args", check=False)


def test_cancelling(api: Api, platform: Any, real_sshd: RealSshd) -> None:
    others = [api.add_platform(unique(), real_sshd) for _ in range(3)]
    job_id = api.start_job("echo begun; sleep 321", targets=on(platform, *others), concurrency=1)
    until(lambda: "sleep 321" in processes(real_sshd))
    until(lambda: any(api.output(task["id"]) == b"begun\n" for task in api.tasks(job_id)))
    answer = api.http.post(f"/jobs/{job_id}/cancel")
    assert answer.status_code == 202
    assert answer.json()["cancel_requested_by"] == "admin"
    job = api.wait_job(job_id)
    assert (job["status"], job["counts"]["cancelled"]) == ("cancelled", 4)
    tasks = api.tasks(job_id)
    (ran,) = [task for task in tasks if task["started_at"]]
    assert ran["metadata"]["termination"]["state"] == "confirmed" and ran["stdout"] == "begun\n"
    assert {task["error_code"] for task in tasks} == {"cancelled"}
    assert "sleep 321" not in processes(real_sshd)
    again = api.post(f"/jobs/{job_id}/cancel")
    assert (again["status"], again["cancel_requested_at"]) == ("cancelled", job["cancel_requested_at"])
    (entry,) = api.all("/audit/", action="job.cancel", object_id=job_id)
    assert (entry["user"], entry["meta"]["not_begun"]) == ("admin", 3)
    rerun = api.post(f"/jobs/{job_id}/rerun", {"only": "unfinished"})
    assert rerun["task_count"] == 4
    api.post(f"/jobs/{rerun['job_id']}/cancel")
    api.wait_job(rerun["job_id"])


def test_what_is_under_way_is_not_run_again(api: Api, platform: Any) -> None:
    job_id = api.start_job("sleep 60", targets=on(platform))
    answer = api.http.post(f"/jobs/{job_id}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_running")
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)


def test_cancelling_what_is_over_changes_nothing(api: Api, platform: Any) -> None:
    job_id = api.start_job("true", targets=on(platform))
    before = api.wait_job(job_id)
    assert api.post(f"/jobs/{job_id}/cancel") == before
    assert api.all("/audit/", action="job.cancel", object_id=job_id) == []


# -- lists -------------------------------------------------------------------------------------------------


def test_jobs_are_paged_and_filtered(fleet: Fleet) -> None:
    mark = unique("mark")
    ids = []
    for number in range(4):
        ids.append(fleet.api.start_job(f"exit {number % 2} # {mark}", targets={"names": ["web-1"]}))
        fleet.api.wait_job(ids[-1])
    page = fleet.api.http.get("/jobs/", params={"q": mark, "limit": 3})
    assert page.headers["x-total-count"] == "4"
    assert [job["id"] for job in page.json()] == ids[:0:-1], "newest first"
    rest = fleet.api.http.get(f"{fleet.api.url}{page.links['next']['url']}")
    assert [job["id"] for job in rest.json()] == ids[:1] and "link" not in rest.headers
    assert [job["id"] for job in fleet.api.all("/jobs/", q=mark, sort="created_at", limit=1)] == ids
    failed = fleet.api.all("/jobs/", q=mark, status="failed")
    assert [job["id"] for job in failed] == [ids[3], ids[1]]
    assert fleet.api.all("/jobs/", q=mark, type="deploy") == []
    assert len(fleet.api.all("/jobs/", q=mark, type="run_command")) == 4
