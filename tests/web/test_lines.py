"""A task's output by lines: pages, the last ones, pieces of long ones, search, and times before them."""

import base64
import re
import secrets
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from tests.support.application import Listening
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.waiting import until
from testum.services import lines as services

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def platform(api: Api, real_sshd: RealSshd) -> str:
    made: str = api.add_platform(f"lines-{secrets.token_hex(4)}", real_sshd)["id"]
    return made


@pytest.fixture(scope="module")
def run(api: Api, platform: str) -> Callable[[str], str]:
    """Runs a command to its end; the task's id."""
    return lambda command: api.run(command, targets={"platform_ids": [platform]})["id"]


@pytest.fixture(scope="module")
def in_turn(api: Api, platform: str, real_sshd: RealSshd) -> Callable[..., str]:
    """Runs commands, each of which begins when the output of the one before has come; the task's id. sshd keeps no
    order among what waits for it together."""

    def run(*commands: str) -> str:
        gate = real_sshd.user.home / f"gate-{secrets.token_hex(4)}"
        text = "; ".join(
            f"until [ -e {gate}-{number} ]; do sleep 0.05; done; {command}"
            for number, command in enumerate(commands)
        )
        job = api.start_job(text, targets={"platform_ids": [platform]})
        (task,) = api.tasks(job)
        came = b""
        for number in range(len(commands)):
            gate.with_name(f"{gate.name}-{number}").touch()
            until(lambda came=came: len(api.output(task["id"], "all")) > len(came))
            came = api.output(task["id"], "all")
        api.wait_job(job)
        return str(task["id"])

    return run


@pytest.fixture(scope="module")
def long(run: Callable[[str], str]) -> str:
    """A task with 200,000 lines."""
    return run("seq -f 'line %.0f of many' 1 200000")


def lines(api: Api, task_id: str, **params: Any) -> Any:
    return api.get(f"/tasks/{task_id}/lines", **params)


def search(api: Api, task_id: str, q: str, **params: Any) -> Any:
    """A search's answer when it is complete."""

    def found() -> Any:
        answer = api.get(f"/tasks/{task_id}/lines/search", q=q, **params)
        return answer if answer["complete"] else None

    return until(found)


def texts(page: Any) -> list[str]:
    return [line["text"] for line in page["lines"]]


def test_a_small_output(api: Api, run: Callable[[str], str], in_turn: Callable[..., str]) -> None:
    task_id = in_turn("echo one", "echo two >&2", "printf 'no end'")
    page = lines(api, task_id)
    assert [(line["number"], line["stream"], line["text"]) for line in page["lines"]] == [
        (1, "stdout", "one"),
        (2, "stderr", "two"),
        (3, "stdout", "no end"),
    ]
    assert (page["total"], page["complete"], page["ended"], page["progress"]) == (3, True, True, 1.0)
    assert not any(line["open"] or line["cut"] or line["overwritten"] for line in page["lines"])
    assert [line["length"] for line in page["lines"]] == [4, 4, 6]
    stamps = [line["ts"] for line in page["lines"]]
    assert stamps == sorted(stamps) and len(set(stamps)) == 3
    assert texts(lines(api, task_id, tail=True, limit=2)) == ["two", "no end"]


def test_no_output(api: Api, run: Callable[[str], str]) -> None:
    task_id = run("true")
    assert lines(api, task_id) == {
        "lines": [], "total": 0, "complete": True, "ended": True, "progress": 1.0,
            "error_code": None, "error_message": None,
    }  # fmt: skip
    assert lines(api, task_id, tail=True)["lines"] == []
    assert search(api, task_id, "x")["count"] == 0
    assert api.http.get(f"/tasks/{task_id}/lines/1").status_code == 404
    assert api.http.get(f"/tasks/{task_id}/output", params={"timestamps": True}).content == b""


def test_pages_of_a_large_output(api: Api, long: str) -> None:
    until(lambda: lines(api, long, limit=1)["complete"])
    for first in (1, 2, 777, 99_999, 199_990, 200_000):
        page = lines(api, long, limit=10, **{"from": first})
        numbers = [line["number"] for line in page["lines"]]
        assert numbers == list(range(first, min(first + 10, 200_001)))
        assert texts(page) == [f"line {number} of many" for number in numbers]
        assert page["total"] == 200_000 and page["complete"] and page["ended"]
    beyond = lines(api, long, **{"from": 200_001})
    assert beyond["lines"] == [] and beyond["total"] == 200_000
    last = lines(api, long, tail=True, limit=3)
    assert [line["number"] for line in last["lines"]] == [199_998, 199_999, 200_000]
    assert len(lines(api, long, limit=1000)["lines"]) == 1000


def test_search_finds_what_a_plain_look_finds(api: Api, long: str) -> None:
    for q, options, pattern in [
        ("77", {}, "77"),
        ("LINE 1", {}, "line 1"),
        ("LINE 1", {"case": True}, "LINE 1"),
        ("^line 1+ of", {"regex": True}, "^line 1+ of"),
        ("1.1", {}, "1\\.1"),
    ]:
        expected = [n for n in range(1, 200_001) if re.search(pattern, f"line {n} of many")]
        found = search(api, long, q, limit=1000, **options)
        assert found["count"] == len(expected) and found["searched"] == 200_000
        assert found["hits"] == expected[:1000]
        assert found["ordinal"] == (1 if expected else None)
        if not expected:
            continue
        for start in (1, 150, 100_000, expected[-1], 200_000):
            after = search(api, long, q, limit=2, **options, **{"from": start})
            wanted = [n for n in expected if n >= start][:2]
            assert after["hits"] == wanted
            assert after["ordinal"] == (expected.index(wanted[0]) + 1 if wanted else None)
            before = search(api, long, q, limit=2, direction="previous", **options, **{"from": start})
            wanted = [n for n in expected if n < start][-2:]
            assert before["hits"] == wanted
            assert before["ordinal"] == (expected.index(wanted[0]) + 1 if wanted else None)


@pytest.mark.walls(slow=True)
def test_matches_are_marked_in_what_is_shown(api: Api, run: Callable[[str], str]) -> None:
    task_id = run(r"printf 'an \033[1;31merr\033[0mor\nprogress 1\rprogress 2\n\302\251 Error error\n'")
    page = lines(api, task_id, q="error")
    assert texts(page) == ["an error", "progress 2", "© Error error"]
    assert [line["matches"] for line in page["lines"]] == [[[3, 8]], [], [[2, 7], [8, 13]]]
    assert page["lines"][0]["styles"] == [[3, 6, "1;31"]]
    assert [line["overwritten"] for line in page["lines"]] == [False, True, False]
    assert search(api, task_id, "error")["hits"] == [1, 3]
    assert search(api, task_id, "progress 1")["count"] == 0
    piece = api.get(f"/tasks/{task_id}/lines/2")
    assert piece == {
        "number": 2, "offset": 0, "size": 22, "text": "progress 1\rprogress 2\n", "data": None,
    }  # fmt: skip


@pytest.mark.walls(slow=True)
def test_a_line_of_ten_million_bytes(api: Api, run: Callable[[str], str]) -> None:
    task_id = run("echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo END; echo last")
    page = lines(api, task_id)
    assert [line["length"] for line in page["lines"]] == [6, 10_000_004, 5]
    assert page["lines"][1]["cut"] and page["lines"][1]["text"] == "x" * 8192
    piece = api.get(f"/tasks/{task_id}/lines/2", offset=9_999_995, size=1000)
    assert (piece["text"], piece["size"]) == ("xxxxxEND\n", 9)
    assert api.get(f"/tasks/{task_id}/lines/2", offset=10_000_004)["text"] == ""
    assert len(api.get(f"/tasks/{task_id}/lines/2", offset=5_000_000, size=1_000_000)["text"]) == 1_000_000
    assert search(api, task_id, "xEND")["hits"] == [2]
    assert api.http.get(f"/tasks/{task_id}/lines/4").status_code == 404


@pytest.mark.embedded
def test_a_search_is_complete_when_the_lines_that_it_found_are_known(real_sshd: RealSshd) -> None:
    """On a busy machine one may wait for the other."""
    with patch.object(services, "_WAIT_SECONDS", 0), Listening() as site:
        api = site.client()
        platform = api.add_platform("long", real_sshd)["id"]
        command = "echo first; head -c 10000000 /dev/zero | tr '\\0' x; echo END; echo last"
        task_id = api.run(command, targets={"platform_ids": [platform]})["id"]
        assert search(api, task_id, "xEND")["hits"] == [2]


@pytest.mark.walls(slow=True)
def test_what_is_no_text(api: Api, run: Callable[[str], str]) -> None:
    task_id = run(r"printf 'a\377b\n\0\n'; printf '\001\377%.0s' $(seq 400)")
    first, second, third = lines(api, task_id)["lines"][:3]
    assert first["text"] == "a\ufffdb" and second["text"] == "\0"
    assert third["text"] == "." * 800
    piece = api.get(f"/tasks/{task_id}/lines/1")
    assert base64.b64decode(piece["data"]) == b"a\xffb\n"


def test_a_running_task_grows(api: Api, platform: str) -> None:
    job_id = api.start_job(
        "echo early; printf open; while ! [ -e /tmp/$PPID.go ]; do sleep 0.1; echo tick; done",
        targets={"platform_ids": [platform]},
    )
    (task,) = api.tasks(job_id)
    until(lambda: lines(api, task["id"])["total"] > 3)
    page = until(lambda: found if (found := lines(api, task["id"]))["complete"] else None)
    assert texts(page)[:2] == ["early", "opentick"] and not page["ended"] and page["complete"]
    before = api.get(f"/tasks/{task['id']}/lines/search", q="tick")["count"]
    assert before >= 1
    until(lambda: api.get(f"/tasks/{task['id']}/lines/search", q="tick")["count"] > before + 3)
    assert lines(api, task["id"], tail=True, limit=1)["lines"][0]["number"] >= page["total"]
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)
    ended = until(lambda: found if (found := lines(api, task["id"], tail=True))["ended"] else None)
    whole = api.output(task["id"], "all").decode().splitlines()
    assert ended["total"] == len(whole)
    assert search(api, task["id"], "tick")["count"] == len([row for row in whole if "tick" in row])


def test_an_open_line_may_grow(api: Api, platform: str) -> None:
    job_id = api.start_job("printf start; sleep 60", targets={"platform_ids": [platform]})
    (task,) = api.tasks(job_id)
    page = until(lambda: found if (found := lines(api, task["id"]))["lines"] else None)
    assert [(line["text"], line["open"]) for line in page["lines"]] == [("start", True)]
    assert api.get(f"/tasks/{task['id']}/lines/1")["text"] == "start"
    api.post(f"/jobs/{job_id}/cancel")
    api.wait_job(job_id)
    assert [line["open"] for line in lines(api, task["id"])["lines"]] == [False]


@pytest.mark.walls(slow=True)
def test_times_before_the_lines(api: Api, in_turn: Callable[..., str]) -> None:
    task_id = in_turn("echo one", "echo two >&2", "printf three")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 "
    answer = api.http.get(f"/tasks/{task_id}/output", params={"timestamps": True})
    assert re.fullmatch(f"{stamp}one\n{stamp}two\n{stamp}three", answer.text)
    only = api.http.get(f"/tasks/{task_id}/output", params={"timestamps": True, "stream": "stdout"})
    assert re.fullmatch(f"{stamp}one\n{stamp}three", only.text)
    first = lines(api, task_id)["lines"][0]["ts"]
    assert answer.text.startswith(first[:19])


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize(
    "query",
    [
        "lines?from=0", "lines?limit=0", "lines?limit=1001", "lines?from=x", "lines?from=99999999999999999999",
        "lines?q=(&regex=true", "lines/search", "lines/search?q=", "lines/search?q=[&regex=1", "lines/search?q=a%0Ab",
        "lines/search?q=x&direction=up", "lines/0", "lines/x", "lines/1?size=9999999", "lines/1?offset=-1",
    ],
)  # fmt: skip
def test_bad_questions(api: Api, long: str, query: str) -> None:
    answer = api.http.get(f"/tasks/{long}/{query}")
    assert answer.status_code == 422
    code = "bad_expression" if "regex" in query else "invalid"
    assert answer.json()["code"] == code and answer.json()["errors"]


def test_no_such_task(api: Api) -> None:
    unknown = "0197b1c6-0000-7000-8000-000000000000"
    for path in ("lines", "lines?tail=true", "lines/search?q=x", "lines/1"):
        answer = api.http.get(f"/tasks/{unknown}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
