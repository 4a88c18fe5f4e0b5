"""Looking at what happened: tasks, their output, settings, health, and the document itself."""

import datetime as dt
import hashlib
import re
import secrets
import time
from typing import Any

import pytest

from tests.support.server import ADMIN, Api, Server
from tests.support.sshd import RealSshd, free_port
from tests.support.tools import ask
from tests.support.waiting import until
from testum import __version__

pytestmark = pytest.mark.walls


@pytest.fixture(scope="module")
def mark() -> str:
    return f"h-{secrets.token_hex(5)}"


@pytest.fixture(scope="module")
def platforms(api: Api, real_sshd: RealSshd, mark: str) -> list[Any]:
    """Three that work, one that does not."""
    made = [api.add_platform(f"{mark}-{number}", real_sshd, tags=[mark]) for number in range(3)]
    return [*made, api.add_platform(f"{mark}-x", real_sshd, tags=[mark], port=free_port())]


@pytest.fixture(scope="module")
def job_id(api: Api, platforms: list[Any], mark: str) -> str:
    started = api.start_job("echo out; exit 3", targets={"tags": [mark]})
    api.wait_job(started)
    return started


def test_a_jobs_tasks_come_in_the_order_of_their_platforms(api: Api, job_id: str, mark: str) -> None:
    page = api.http.get("/tasks/", params={"job_id": job_id, "limit": 3})
    assert page.headers["x-total-count"] == "4"
    assert [task["platform_name"] for task in page.json()] == [f"{mark}-{number}" for number in range(3)]
    following = page.links["next"]["url"]
    assert f"job_id={job_id}" in following and "limit=3" in following
    rest = api.http.get(f"{api.url}{following}")
    assert [task["platform_name"] for task in rest.json()] == [f"{mark}-x"] and "link" not in rest.headers
    names = [
        task["platform_name"][-1]
        for task in api.all("/tasks/", job_id=job_id, sort="-platform_name", limit=1)
    ]
    assert names == list("x210")


def test_tasks_are_filtered(api: Api, job_id: str, platforms: list[Any], mark: str) -> None:
    def found(**filters: Any) -> set[str]:
        return {task["platform_name"][-1] for task in api.all("/tasks/", job_id=job_id, limit=2, **filters)}

    assert found(status="failed") == set("012x") and found(status="success") == set()
    assert found(error_code="exit_status") == set("012")
    assert found(error_code="connection_refused") == {"x"}
    assert found(type="run_command") == set("012x") and found(type="deploy") == set()
    assert found(platform_id=platforms[1]["id"]) == {"1"}
    assert found(q=f"{mark}-x".upper()) == {"x"}


def test_tasks_of_all_jobs_come_newest_first(api: Api, platforms: list[Any]) -> None:
    ids = []
    for _ in range(3):
        task = api.run("true", targets={"platform_ids": [platforms[0]["id"]]})
        ids.append(task["id"])
    found = [task["id"] for task in api.all("/tasks/", platform_id=platforms[0]["id"], limit=1)]
    assert found[:3] == ids[::-1]


def test_output_is_given_byte_for_byte(api: Api, platforms: list[Any]) -> None:
    task = api.run(
        "printf 'a\\000\\377\\n'; printf 'é\\303' >&2; printf '\\033[2J'",
        targets={"platform_ids": [platforms[0]["id"]]},
    )
    assert api.output(task["id"]) == b"a\0\xff\n\x1b[2J"
    assert api.output(task["id"], "stderr") == "é".encode() + b"\xc3"
    whole = api.output(task["id"], "all")
    assert sorted(whole) == sorted(b"a\0\xff\n\x1b[2J" + "é".encode() + b"\xc3")
    assert task["output_bytes"] == len(whole)
    answer = api.http.get(f"/tasks/{task['id']}/output")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert re.fullmatch(
        rf"attachment; filename=\"{platforms[0]['name']}-\d{{8}}-\d{{6}}-all\.log\"; filename\*=UTF-8''.+",
        answer.headers["content-disposition"],
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "�" in task["stdout"] and "\0" not in task["stdout"]


def test_large_output_is_an_artifact_and_the_row_has_its_end(api: Api, platforms: list[Any]) -> None:
    task = api.run("seq 1 300000", targets={"platform_ids": [platforms[0]["id"]]})
    expected = "".join(f"{number}\n" for number in range(1, 300_001)).encode()
    assert task["output_bytes"] == len(expected) and task["result_location"]
    assert hashlib.sha256(api.output(task["id"])).digest() == hashlib.sha256(expected).digest()
    assert task["stdout"].endswith("\n299999\n300000\n") and len(task["stdout"]) < len(expected) / 4
    assert task["metadata"]["output_truncated"] is True


def test_output_can_be_read_while_the_command_runs(api: Api, platforms: list[Any]) -> None:
    job_id = api.start_job("echo early; sleep 60", targets={"platform_ids": [platforms[0]["id"]]})
    (task,) = api.tasks(job_id)
    until(lambda: api.output(task["id"]) == b"early\n")
    assert api.get(f"/tasks/{task['id']}")["status"] == "running"
    api.post(f"/jobs/{job_id}/cancel")
    assert api.wait_job(job_id)["status"] == "cancelled"
    assert api.output(task["id"]) == b"early\n"


def test_settings_show_no_secret(api: Api, server: Server) -> None:
    shown = api.get("/settings")
    assert {name: shown[name.lower()] for name in shown if name.isupper()} == {
        name: value for name, value in shown.items() if name.isupper()
    }
    assert shown["version"] == __version__
    assert shown["ADMIN_USERNAME"] == ADMIN[0]
    assert {shown[name] for name in ("SECRET_KEY", "FERNET_KEY", "ADMIN_PASSWORD")} == {"********"}
    assert server.fernet_key not in str(shown)
    assert shown["SSH_HOST_KEY_POLICY"] == "auto_add"


def test_health_tells_that_it_lives_and_nothing_else(server: Server) -> None:
    answer = ask("GET", f"{server.url}/health", timeout=60)
    told = answer.json()
    assert abs(dt.datetime.fromisoformat(told.pop("timestamp")).timestamp() - time.time()) < 60
    assert (answer.status_code, told) == (
        200,
        {"status": "healthy", "version": __version__, "database": "ok"},
    )


def test_the_documentation_needs_no_internet(server: Server) -> None:
    page = ask("GET", f"{server.url}/docs", timeout=60)
    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert addresses and not [
        address for address in addresses if not address.startswith(("/static/", "data:"))
    ]
    for address in addresses:
        if address.startswith("/"):
            asset = ask("GET", f"{server.url}{address}", timeout=60)
            assert asset.status_code == 200 and len(asset.content) > 10_000
    assert "http://" not in page.text.replace(server.url, "") and "https://" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_the_document_has_an_example_of_every_body(server: Server) -> None:
    document = ask("GET", f"{server.url}/openapi.json", timeout=60).json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"] and operation["description"], (method, path)
            for status, answer in operation["responses"].items():
                if status >= "400" and not path.startswith("/health"):
                    assert "application/problem+json" in answer["content"], (method, path, status)


def test_both_prefixes_answer_alike(api: Api) -> None:
    for path in ("/auth/me", "/platforms/?limit=1", "/settings"):
        short = api.http.get(f"{api.url}/api{path}")
        assert short.json() == Api.ok(api.http.get(path))
