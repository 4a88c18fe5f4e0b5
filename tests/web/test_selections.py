"""Saved selections through the REST API: what they keep, what they select, what is gone, and two people at once."""

import os
import subprocess
from typing import Any

import httpx2
import pytest

from tests.support import forkserver
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from testum.core.states import PlatformState, StateFilter

pytestmark = pytest.mark.walls


def save(api: Api, name: str, **targets: Any) -> dict[str, Any]:
    return api.post("/selections/", {"name": name, "targets": targets})


def now(api: Api, selection: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/selections/{selection['id']}")
    return found


@pytest.fixture
def mark() -> str:
    return unique().lower()


@pytest.fixture
def three(api: Api, real_sshd: RealSshd, mark: str) -> list[dict[str, Any]]:
    """Platforms that all have the tag `mark` and, each, a tag of its own."""
    return [
        api.add_platform(
            f"{mark}-{number}", real_sshd, host=real_sshd.address(number), tags=[mark, f"{mark}{number}"]
        )
        for number in range(3)
    ]


def test_a_tag_is_kept_as_a_tag(
    api: Api, real_sshd: RealSshd, three: list[dict[str, Any]], mark: str
) -> None:
    made = save(api, f"  {mark} ", tags=[mark])
    assert (made["name"], made["created_by"], made["picked"], made["revision"]) == (mark, "admin", 0, 1)
    assert made["criteria"] == {"names": [], "tags": [mark], "q": "", "state": None, "all": False}
    assert now(api, made)["platform_ids"] == [each["id"] for each in three]
    later = api.add_platform(f"{mark}-0a", real_sshd, tags=[mark])
    assert later["id"] in now(api, made)["platform_ids"]
    api.ok(api.http.delete(f"/platforms/{three[0]['id']}"))
    left = now(api, made)
    assert left["platform_ids"] == [later["id"], three[1]["id"], three[2]["id"]]
    assert left["gone"] == {"platforms": [], "names": [], "tags": []}


def test_text_patterns_and_states_narrow(api: Api, three: list[dict[str, Any]], mark: str) -> None:
    ids = [each["id"] for each in three]
    # Upper and lower case alike, as in the list; a pattern fits the whole.
    assert now(api, save(api, f"{mark} q", q=f"{mark.upper()}-?"))["platform_ids"] == ids
    assert now(api, save(api, f"{mark} q2", q=f"{mark}-"))["platform_ids"] == ids
    assert now(api, save(api, f"{mark} q3", q=f"{mark}?"))["platform_ids"] == []
    assert now(api, save(api, f"{mark} n", names=[f"{mark}-[01]"]))["platform_ids"] == ids[:2]
    assert now(api, save(api, f"{mark} t", tags=[f"{mark}1", mark]))["platform_ids"] == [ids[1]]
    assert now(api, save(api, f"{mark} s", tags=[mark], state="ok"))["platform_ids"] == []
    assert now(api, save(api, f"{mark} u", tags=[mark], state="unknown"))["platform_ids"] == ids
    assert set(ids) <= set(now(api, save(api, f"{mark} all", all=True))["platform_ids"])
    assert [each["name"] for each in api.get("/platforms/", q=f"{mark}-*")] == [
        each["name"] for each in three
    ]
    assert api.get("/platforms/", q=f"{mark}_?") == [], "what LIKE would take for a place is none"


def test_what_needs_attention_is_asked_for_together(
    api: Api, server: Server, three: list[dict[str, Any]], mark: str
) -> None:
    assert set(StateFilter) == {*PlatformState, "attention"}
    for platform, state in zip(three, ("unreachable", "ok", "host_key_changed"), strict=True):
        server.execute(
            "UPDATE platforms SET state = :state WHERE name = :name",
            {"state": state, "name": platform["name"]},
        )
    wanted = [three[0]["id"], three[2]["id"]]
    assert [each["id"] for each in api.get("/platforms/", tag=mark, state="attention")] == wanted
    saved = save(api, f"{mark} a", tags=[mark], state="attention")
    assert saved["criteria"]["state"] == "attention"
    assert now(api, saved)["platform_ids"] == wanted
    wrong = api.http.get("/platforms/", params={"state": "asleep"})
    assert [problem["field"] for problem in wrong.json()["errors"]] == ["state"]


def test_what_is_gone_is_told(api: Api, three: list[dict[str, Any]], mark: str) -> None:
    ids = [each["id"] for each in three]
    picked = save(api, f"{mark} picked", platform_ids=[ids[2], ids[0], ids[0]])
    named = save(api, f"{mark} named", names=[f"{mark}-0", f"{mark}-1"])
    tagged = save(api, f"{mark} tagged", tags=[mark, f"{mark}0"])
    assert picked["picked"] == 2 and now(api, picked)["platform_ids"] == [ids[0], ids[2]]
    api.ok(api.http.delete(f"/platforms/{ids[0]}"))
    left = now(api, picked)
    assert left["platform_ids"] == [ids[2]]
    assert left["gone"] == {"platforms": [f"{mark}-0"], "names": [], "tags": []}
    assert left["picked"] == 2, "it is still what was saved"
    assert now(api, named)["gone"] == {"platforms": [], "names": [f"{mark}-0"], "tags": []}
    assert now(api, tagged)["gone"] == {"platforms": [], "names": [], "tags": [f"{mark}0"]}


@pytest.mark.parametrize(
    ("targets", "field"),
    [
        ({}, "targets"),
        ({"tags": ["a b"]}, "targets.tags"),
        ({"names": ["a\u202eb"]}, "targets.names"),
        ({"q": "a\nb"}, "targets.q"),
        ({"q": "x" * 201}, "targets.q"),
        ({"state": "asleep"}, "targets.state"),
        ({"all": True, "names": ["a"]}, "targets.all"),
        ({"platform_ids": ["00000000-0000-7000-8000-000000000000"]}, "targets.platform_ids"),
        ({"platform_ids": ["00000000-0000-7000-8000-000000000000"], "q": "a"}, "targets.platform_ids"),
    ],
)
def test_what_cannot_be_kept(api: Api, mark: str, targets: dict[str, Any], field: str) -> None:
    answer = api.http.post("/selections/", json={"name": mark, "targets": targets})
    assert answer.status_code == 422, answer.text
    assert {problem["field"] for problem in answer.json()["errors"]} == {field}
    assert api.get("/selections/", name=mark) == []


def test_a_name_is_one_selections(api: Api, mark: str) -> None:
    made = save(api, mark, all=True)
    taken = api.http.post("/selections/", json={"name": mark, "targets": {"all": True}})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    other = save(api, f"{mark} other", all=True)
    taken = api.http.patch(f"/selections/{other['id']}", json={"name": mark})
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    assert [each["id"] for each in api.get("/selections/", q=mark.upper())] == [made["id"], other["id"]]
    for bad in (" ", "a\u202eb", "x" * 201):
        assert api.http.patch(f"/selections/{made['id']}", json={"name": bad}).status_code == 422


def test_two_people_at_once(api: Api, three: list[dict[str, Any]], mark: str) -> None:
    made = save(api, mark, platform_ids=[three[0]["id"]])
    path = f"/selections/{made['id']}"
    renamed = api.ok(api.http.patch(path, json={"name": f"{mark}!", "revision": 1}))
    assert (renamed["name"], renamed["revision"], renamed["picked"]) == (f"{mark}!", 2, 1)
    for answer in (
        api.http.patch(path, json={"targets": {"tags": [mark]}, "revision": 1}),
        api.http.delete(path, params={"revision": 1}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "changed")
        assert answer.json()["detail"] == f"admin has changed {mark}! meanwhile. Look at it again."
    changed = api.ok(api.http.patch(path, json={"targets": {"tags": [mark]}, "revision": 2}))
    assert changed["picked"] == 0 and changed["criteria"]["tags"] == [mark] and changed["revision"] == 3
    assert now(api, made)["platform_ids"] == [each["id"] for each in three]
    api.ok(api.http.delete(path, params={"revision": 3}))
    for answer in (api.http.patch(path, json={"name": "x"}), api.http.delete(path), api.http.get(path)):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no such selection: somebody may have deleted it."
    entries = [
        (entry["action"], entry["meta"])
        for entry in api.get("/audit/", object_type="selection", object_id=made["id"])
    ]
    assert entries == [
        ("selection.delete", {"name": f"{mark}!", "tags": [mark]}),
        ("selection.update", {"name": f"{mark}!", "tags": [mark]}),
        ("selection.update", {"name": f"{mark}!", "before": mark, "platforms": 1}),
        ("selection.create", {"name": mark, "platforms": 1}),
    ]


def test_a_job_by_a_selection(api: Api, three: list[dict[str, Any]], mark: str) -> None:
    tagged = save(api, f"{mark} tagged", tags=[mark], q="*-[01]", state="unknown")
    assert now(api, tagged)["platform_ids"] == [], "[ is no wildcard of a text"
    api.ok(
        api.http.patch(f"/selections/{tagged['id']}", json={"targets": {"tags": [mark], "q": f"{mark}-*"}})
    )
    job = api.wait_job(api.start_job("true", targets={"selection_id": tagged["id"]}))
    assert job["counts"]["success"] == 3 and job["targets"] == {"tags": [mark], "q": f"{mark}-*"}
    picked = save(api, f"{mark} picked", platform_ids=[three[0]["id"], three[1]["id"]])
    job = api.wait_job(api.start_job("true", targets={"selection_id": picked["id"]}))
    assert job["task_count"] == 2

    both = api.http.post(
        "/jobs/",
        json={
            "type": "run_command",
            "command": "true",
            "targets": {"selection_id": picked["id"], "all": True},
        },
    )
    assert both.status_code == 422 and both.json()["errors"][0]["field"] == "targets.selection_id"
    api.ok(api.http.delete(f"/platforms/{three[0]['id']}"))
    short = api.http.post(
        "/jobs/", json={"type": "run_command", "command": "true", "targets": {"selection_id": picked["id"]}}
    )
    assert short.status_code == 422 and f"{mark}-0" in short.json()["detail"], "nothing is left out silently"
    api.ok(api.http.delete(f"/selections/{picked['id']}"))
    none = api.http.post(
        "/jobs/", json={"type": "run_command", "command": "true", "targets": {"selection_id": picked["id"]}}
    )
    assert none.status_code == 404


def test_selections_are_paged(api: Api, mark: str) -> None:
    for number in (2, 0, 1):
        save(api, f"{mark} {number}", all=True)
    first = api.http.get("/selections/", params={"q": mark, "limit": 2})
    assert [each["name"] for each in first.json()] == [f"{mark} 0", f"{mark} 1"]
    assert first.headers["x-total-count"] == "3" and 'rel="next"' in first.headers["link"]
    # By numbers, as other clients go through a list; what follows goes on behind it.
    second = api.http.get("/selections/", params={"q": mark, "limit": 1, "offset": 1})
    assert [each["name"] for each in second.json()] == [f"{mark} 1"]
    assert second.headers["x-total-count"] == "3" and "offset" not in second.headers["link"]
    rest = api.http.get(f"{api.url}{second.links['next']['url']}").json()
    assert [each["name"] for each in rest] == [f"{mark} 2"]
    assert api.get("/selections/", q=mark, offset=3) == []
    cursor = httpx2.URL(second.links["next"]["url"]).params["after"]
    both = api.http.get("/selections/", params={"after": cursor, "offset": 1})
    assert (both.status_code, both.json()["errors"][0]["field"]) == (422, "offset")
    assert [each["name"] for each in api.get("/selections/", q=mark, sort="-created_at")] == [
        f"{mark} 1", f"{mark} 0", f"{mark} 2",
    ]  # fmt: skip


def test_the_command_line_runs_on_a_selection(
    api: Api, server: Server, three: list[dict[str, Any]], mark: str
) -> None:
    save(api, mark, tags=[mark], q="*-2")

    def testum(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "TESTUM_URL": server.url, "TESTUM_TOKEN": api.tokens["access_token"]}
        return forkserver.run_text("exec", "echo ran", *arguments, env=env)

    done = testum("--selection", mark)
    assert (done.returncode, done.stdout) == (0, f"{mark}-2: ran\n"), done.stderr
    for arguments, said in (
        (("--selection", f"{mark}-no"), f"There is no saved selection named {mark}-no."),
        (("--selection", mark, "--all"), "--selection stands alone"),
    ):
        done = testum(*arguments)
        assert done.returncode == 2 and said in done.stderr, done.stderr
