"""A client that was written for the first API: no browser, a cookie, the short addresses, payloads that are text."""

import json
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import make_key, unique
from tests.support.waiting import until


class Client:
    """Python's own HTTP, which keeps cookies and sends neither Origin nor what browsers say of themselves."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = CookieJar()
        self._http = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies), _NoRedirect()
        )

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
        """Status, headers and what the answer's JSON says."""
        request = urllib.request.Request(self.url + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            answer = self._http.open(request, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = answer.read()
            return answer.status, answer.headers, json.loads(text) if text else None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the answer's JSON says of a call that is in order."""
        status, _, said = self.send(method, path, body)
        assert status < 300, (method, path, status, said)
        return said

    def listen(self, path: str) -> list[dict[str, Any]]:
        """Every message of a stream."""
        cookie = "; ".join(f"{each.name}={each.value}" for each in self.cookies)
        with connect(self.url.replace("http", "ws") + path, additional_headers={"Cookie": cookie}) as stream:
            return [json.loads(text) for text in stream]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


@pytest.mark.walls
def test_its_whole_day(server: Server, api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    account = server.account("admin")
    client = Client(server.url)
    assert client.call("GET", "/health")["status"] == "healthy"
    said = client.call(
        "POST", "/api/auth/login", {"username": account.username, "password": account.password}
    )
    assert said["user"]["username"] == account.username

    _, public = make_key(tmp_path)
    key = client.call("POST", "/api/keys/", {"name": unique("k"), "public_key": public})
    assert key["id"] in [each["id"] for each in client.call("GET", "/api/keys/?limit=500&offset=0")]
    platform = client.call(
        "POST",
        "/api/platforms/",
        {
            "name": unique(),
            "host": "127.0.0.1",
            "port": real_sshd.port,
            "username": real_sshd.user.name,
            "auth_method": "password",
            "password": real_sshd.user.password,
        },
    )

    def ended(accepted: Any) -> Any:
        """The task of what was accepted, asked for again and again until it is over."""
        path = f"/api/tasks/{accepted['task_id']}"
        until(lambda: client.call("GET", path)["status"] not in ("pending", "running"))
        return client.call("GET", path)

    # No body: all keys.
    task = ended(client.call("POST", f"/api/platforms/{platform['id']}/deploy_keys"))
    assert (task["type"], task["status"]) == ("deploy", "success"), task
    assert public.split()[1] in (real_sshd.user.home / ".ssh" / "authorized_keys").read_text()
    run = f"/api/platforms/{platform['id']}/run_command"
    accepted = client.call("POST", run, {"command": "echo out; echo err >&2; exit 3"})
    told = client.listen(f"/ws/tasks/{accepted['task_id']}")
    assert all(isinstance(message["payload"], str) for message in told)
    assert [
        (message["type"], message["payload"]) for message in told if message["type"] in ("status", "done")
    ] == [
        ("status", "pending"),
        ("status", "running"),
        ("done", "failed"),
    ]
    assert {("stdout", "out\n"), ("stderr", "err\n")} <= {
        (message["type"], message["payload"]) for message in told
    }
    assert told[-1]["data"]["exit_code"] == 3 and told[-2]["type"] == "error" and told[-2]["payload"]
    assert client.listen(f"/ws/jobs/{accepted['job_id']}")[-1]["payload"] == "failed"
    task = ended(accepted)
    assert (task["stdout"], task["stderr"], task["exit_code"]) == ("out\n", "err\n", 3)
    assert task["celery_task_id"] if server.servers else task["celery_task_id"] == task["id"]
    (newest,) = client.call("GET", "/api/tasks/?limit=1&offset=0&sort=-id")
    assert newest["id"] == task["id"]

    status, _, problem = client.send("POST", run, {"commandd": "x"})
    assert status == 422 and problem["error"] == problem["detail"]
    assert client.call("GET", "/api/settings")["data_dir"]
    assert client.call("GET", f"/api/audit/?user={account.username}&limit=5")[0]["action"].startswith("job.")
    new = {"current_password": account.password, "new_password": "kettle-orbit-plum"}
    assert client.call("POST", "/api/auth/change-password", new)["message"]
    assert client.call("DELETE", f"/api/platforms/{platform['id']}")["message"]
    status, headers, _ = client.send("GET", "/api/auth/logout")
    assert (status, headers["Location"]) == (302, "/login")
    assert client.send("GET", "/api/auth/me")[0] == 401
