"""Which of a job's tasks printed the same, and how the others differ."""

import secrets
from typing import Any

import psutil
import pytest

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.waiting import until
from testum.core.frames import Frame, Stream, encode

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def tag(api: Api, real_sshd: RealSshd) -> str:
    """The tag of six platforms."""
    name = f"like-{secrets.token_hex(4)}-"
    for number in range(1, 7):
        api.add_platform(f"{name}{number:02}", real_sshd, tags=[name], host=f"127.0.0.{(number - 1) % 4 + 1}")
    return name


def run(api: Api, tag: str, command: str) -> str:
    job_id = api.start_job(command, targets={"tags": [tag]})
    api.wait_job(job_id)
    return job_id


def groups(api: Api, job_id: str, **params: Any) -> Any:
    def complete() -> Any:
        answer = api.get(f"/jobs/{job_id}/outputs", **params)
        return answer if answer["complete"] else None

    return until(complete)


def test_the_same_output_is_one_group(api: Api, tag: str) -> None:
    answer = groups(api, run(api, tag, "echo same; echo error >&2"))
    (group,) = answer["groups"]
    assert (group["names"], group["count"]) == (f"{tag}[01-06]", 6)
    assert (group["status"], group["exit_code"], group["output_bytes"]) == ("success", 0, 11)
    assert (answer["total"], answer["pending"], answer["compared"]) == (1, 0, 6)


def test_what_was_removed_is_like_nothing(server: Server, api: Api, tag: str) -> None:
    """Not like what printed nothing: nobody knows any more what it was."""
    job_id = run(api, tag, "true")
    first = api.tasks(job_id)[0]["id"]
    owner = first if server.servers else first.replace("-", "")
    server.execute(
        "UPDATE task_runs SET output_expired_at = '2026-01-01 00:00:00.000000' WHERE id = :id", {"id": owner}
    )
    (group,) = groups(api, job_id)["groups"]
    assert group["count"] == 5


def test_each_difference_makes_a_group(api: Api, tag: str) -> None:
    # The server's address is what the six have not in common: four addresses, two of them twice.
    job_id = run(
        api,
        tag,
        "set -- $SSH_CONNECTION; echo start; case $3 in *.1) echo one;; *.2) echo one >&2;; *.3) exit 3;; *) echo four;; esac",
    )
    answer = groups(api, job_id)
    shown = [(group["names"].removeprefix(tag), group["status"]) for group in answer["groups"]]
    assert sorted(shown) == [
        ("03", "failed"),
        ("04", "success"),
        ("[01,05]", "success"),
        ("[02,06]", "success"),
    ]
    assert [group["count"] for group in answer["groups"]] == [2, 2, 1, 1]
    assert len(groups(api, job_id, limit=1)["groups"]) == 1
    assert answer["largest"] == answer["groups"][0]["task_id"]
    failed = groups(api, job_id, status="failed")
    assert [group["names"].removeprefix(tag) for group in failed["groups"]] == ["03"]
    assert (failed["total"], failed["largest"]) == (1, answer["largest"]), (
        "the largest of all, not of the failed"
    )
    # The second of two that are alike, and one that is beyond the limit.
    for name, shown in (("05", ["[01,05]"]), ("03", ["[01,05]", "03"])):
        (asked,) = (task["id"] for task in api.tasks(job_id) if task["platform_name"] == tag + name)
        found = groups(api, job_id, limit=1, task=asked)
        assert [group["names"].removeprefix(tag) for group in found["groups"]] == shown
        assert (found["groups"][-1]["task_id"], found["total"]) == (asked, 4)
    by_name = {group["names"].removeprefix(tag): group["task_id"] for group in answer["groups"]}
    same = api.get(f"/tasks/{by_name['04']}/compare/{by_name['04']}")
    assert same == {"streams": []}
    difference = api.get(f"/tasks/{by_name['[01,05]']}/compare/{by_name['[02,06]']}")
    stdout, stderr = difference["streams"]
    assert [(line["change"], line["text"]) for line in stdout["lines"]] == [
        ("same", "start"),
        ("removed", "one"),
    ]
    assert [(line["change"], line["text"], line["new"]) for line in stderr["lines"]] == [("added", "one", 1)]
    assert stdout["whole"] and stderr["whole"]


def test_tasks_that_never_ran_come_last(api: Api, tag: str) -> None:
    """However many they are: the others differ from one that ran."""
    job_id = api.start_job(
        "echo ran; until false; do sleep 0.1; done", targets={"tags": [tag]}, concurrency=1
    )
    until(lambda: [task for task in api.tasks(job_id) if task["status"] == "running"])
    (first,) = (task for task in api.tasks(job_id) if task["status"] == "running")
    until(lambda: api.output(first["id"]))
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)
    answer = groups(api, job_id)
    assert [group["count"] for group in answer["groups"]] == [1, 5]
    assert answer["largest"] == first["id"]


def test_large_outputs_are_compared_too(api: Api, tag: str) -> None:
    job_id = run(
        api,
        tag,
        "set -- $SSH_CONNECTION; seq 1 20000; case $3 in *.1) echo x;; *) echo y;; esac; seq 1 200000",
    )
    answer = groups(api, job_id)
    assert [group["names"].removeprefix(tag) for group in answer["groups"]] == ["[02-04,06]", "[01,05]"]
    first, second = (group["task_id"] for group in answer["groups"])
    (stdout,) = api.get(f"/tasks/{first}/compare/{second}")["streams"]
    changed = [line for line in stdout["lines"] if line["change"] in ("added", "removed")]
    assert [(line["text"], line["old"], line["new"]) for line in changed] == [
        ("y", 20001, None),
        ("x", None, 20001),
    ]
    assert not stdout["whole"], "only its beginning was compared"


@pytest.mark.walls(slow=True)
def test_those_that_run_are_told_as_pending(api: Api, tag: str) -> None:
    job_id = api.start_job("sleep 60", targets={"tags": [tag]})
    answer = api.get(f"/jobs/{job_id}/outputs")
    assert (answer["groups"], answer["pending"], answer["complete"]) == ([], 6, True)
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)
    assert groups(api, job_id)["pending"] == 0


def test_nothing_there(api: Api, tag: str) -> None:
    unknown = "0197b1c6-0000-7000-8000-000000000000"
    assert api.http.get(f"/jobs/{unknown}/outputs").status_code == 404
    task_id = api.tasks(run(api, tag, "true"))[0]["id"]
    assert api.http.get(f"/tasks/{task_id}/compare/{unknown}").status_code == 404
    assert api.http.get(f"/tasks/{unknown}/compare/{task_id}").status_code == 404


@pytest.mark.walls(slow=True)
def test_ten_thousand_tasks(api: Api, server: Server, tag: str) -> None:
    """Their rows are written past testum: to run them would take minutes."""
    job_id = run(api, tag, "true")
    (template, *_) = api.tasks(job_id)
    rows, outputs = [], []
    for number in range(10_000):
        new = secrets.token_hex(16)
        data = b"the same for all\n" if number % 100 else b"host %d differs\n" % number
        encoded = encode(Frame(1, Stream.STDOUT, data * 20))
        rows.append(
            {
                "id": new,
                "ordinal": 100 + number,
                "name": f"web{number:05}",
                "of": template["id"].replace("-", ""),
            }
        )
        outputs.append({"id": new, "frames": encoded})
    server.execute(
        "INSERT INTO task_runs (id, job_id, ordinal, type, platform_id, platform_name, platform_address, zone, status,"
        " exit_code, output_frames, output_bytes, metadata, fence, finished_position, created_at) SELECT :id, job_id,"
        " :ordinal, type, platform_id, :name, platform_address, zone, 'success', 0, 1, 1, metadata, 0,"
        " finished_position, created_at FROM task_runs WHERE id = :of",
        *rows,
    )
    server.execute("INSERT INTO task_outputs (task_id, frames) VALUES (:id, :frames)", *outputs)
    process = psutil.Process(server.process.pid)
    before = sum(process.cpu_times()[:2])
    answer = groups(api, job_id)
    first = sum(process.cpu_times()[:2])
    groups(api, job_id)
    took, again = first - before, sum(process.cpu_times()[:2]) - first
    print(f"10,000 outputs compared in {took:.2f} s of the processor, again in {again:.2f} s")
    assert answer["total"] == 102 and answer["groups"][0]["count"] == 9_900
    assert answer["groups"][0]["names"].startswith("web[00001-00099,00101-00199")
    assert took < 10 and again < 3
