"""Who may do what, over HTTP: generated from the OpenAPI document, so that an operation without a rule fails."""

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import OctKey
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.application import Application
from tests.support.server import Api, Installation, Server
from tests.support.sshd import free_port
from testum.core.permissions import Role
from testum.installed import INSTALLED
from testum.services import refusals
from testum.settings import Settings
from testum.web.factory import build

RULES: dict[str, str | None] = {
    "login": None,
    "refresh": None,
    "health": None,
    "live": None,
    "ready": None,
    "logout": "account:own",
    "leave": None,
    "me": "account:own",
    "changeUsername": "account:own",
    "changePassword": "account:own",
    "listPlatforms": "platforms:read",
    "addPlatform": "platforms:write",
    "testNewPlatform": "platforms:write",
    "importPlatforms": "platforms:write",
    "testChangedPlatform": "platforms:write",
    "getPlatform": "platforms:read",
    "changePlatform": "platforms:write",
    "deletePlatform": "platforms:write",
    "runCommand": "jobs:run",
    "deployKeys": "keys:deploy",
    "listSelections": "selections:read",
    "addSelection": "selections:write",
    "getSelection": "selections:read",
    "changeSelection": "selections:write",
    "deleteSelection": "selections:write",
    "listKeys": "keys:read",
    "addKey": "keys:write",
    "getKey": "keys:read",
    "deleteKey": "keys:write",
    "startJob": "jobs:run",
    "listJobs": "jobs:read",
    "getJob": "jobs:read",
    "cancelJob": "jobs:cancel",
    "rerunJob": "jobs:run",
    "listTasks": "jobs:read",
    "getTask": "jobs:read",
    "getTaskOutput": "jobs:read",
    "getTaskLines": "jobs:read",
    "searchTaskLines": "jobs:read",
    "getTaskLine": "jobs:read",
    "getJobOutputs": "jobs:read",
    "compareTasks": "jobs:read",
    "listWorkers": "jobs:read",
    "listAudit": "audit:read",
    "getSettings": "settings:read",
}
"""Every operation, and what it needs; None: no login either."""

MAY: dict[Role, set[str]] = {
    Role.VIEWER: {"platforms:read", "keys:read", "selections:read", "jobs:read", "account:own"},
    Role.OPERATOR: {
        "platforms:read", "keys:read", "selections:read", "selections:write", "jobs:read", "account:own",
        "jobs:run", "jobs:cancel",
    },
    Role.ADMIN: set(INSTALLED.permissions),
}  # fmt: skip
"""What each role was meant to do, written down a second time: a slip in the table shows."""

PROTECTED = [name for name, rule in RULES.items() if rule is not None]
OBJECTS = ("platform_id", "selection_id", "key_id", "job_id", "task_id", "other_id", "number")
"""What the addresses of operations name."""
SOCKETS = {"/ws/tasks/{task_id}", "/ws/jobs/{job_id}"}
HIDDEN = {"/openapi.json", "/docs", "/platforms/import"}
"""The last is refused (405) for all that is not in the document. Beside them there are the pages, whose permissions tests/pages looks at."""


@dataclass
class Site:
    """An installation with an account of each role, a platform that refuses connections, and an ended job on it."""

    server: Installation
    bare: httpx2.Client
    clients: dict[str, Api]
    operations: dict[str, tuple[str, str]]
    port: int
    platform_id: str
    job_id: str
    task_id: str

    @property
    def admin(self) -> Api:
        return self.clients[Role.ADMIN]

    def request(self, operation: str) -> tuple[str, str, Any]:
        """Method, path and body of a call that is in order, on objects that are there."""
        method, path = self.operations[operation]
        ids = {
            "platform_id": self.platform_id,
            "job_id": self.job_id,
            "task_id": self.task_id,
            "other_id": self.task_id,
            "number": "1",
        }
        if operation == "searchTaskLines":
            path += "?q=anything"
        if "{key_id}" in path:
            ids["key_id"] = self.admin.post("/keys/", new_key())["id"]
        if "{selection_id}" in path:
            ids["selection_id"] = self.admin.post("/selections/", new_selection())["id"]
        if operation == "deletePlatform":
            ids["platform_id"] = self.admin.post("/platforms/", self.new_platform())["id"]
        bodies: dict[str, Any] = {
            "changeUsername": {"current_password": "wrong", "new_username": "another"},
            "changePassword": {"current_password": "wrong", "new_password": "another-one-1"},
            "addPlatform": self.new_platform(),
            "testNewPlatform": self.new_platform(),
            "importPlatforms": {"text": "name,host\nx,192.0.2.1\n"},
            "testChangedPlatform": {},
            "changePlatform": {"description": "changed"},
            "runCommand": {"command": "true"},
            "deployKeys": {},
            "addSelection": new_selection(),
            "changeSelection": {"targets": {"tags": ["other"]}},
            "addKey": new_key(),
            "startJob": {"type": "run_command", "targets": {"all": True}, "command": "true"},
            "rerunJob": {},
        }
        return method, path.format(**ids), bodies.get(operation)

    def new_platform(self) -> dict[str, Any]:
        return {
            "name": f"p-{secrets.token_hex(4)}",
            "host": "127.0.0.1",
            "port": self.port,
            "username": "nobody",
            "auth_method": "password",
            "password": "unused",
        }

    def refusals(self) -> dict[str, Any]:
        """The audit entries of refusals, by id."""
        found = self.admin.get("/audit/", outcome="refused", limit=100)
        return {entry["id"]: entry for entry in found}


def new_selection() -> dict[str, Any]:
    return {"name": f"s-{secrets.token_hex(4)}", "targets": {"all": True}}


def new_key() -> dict[str, str]:
    public = Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return {"name": f"k-{secrets.token_hex(4)}", "public_key": line}


def send(site: Site, operation: str, headers: dict[str, str]) -> Any:
    return transmit(site, site.request(operation), headers)


def transmit(site: Site, request: tuple[str, str, Any], headers: dict[str, str]) -> Any:
    method, path, body = request
    return site.bare.request(method, path, json=body, headers=headers)


def assert_problem(response: Any, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] and body["title"] and body["detail"]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    env = {"ACCESS_TOKEN_SECONDS": "7200", "TRUSTED_PROXIES": "127.0.0.1"}
    with patch.multiple(refusals, OF_ONE=100_000, OF_ALL=100_000), Application(env=env) as application:
        yield furnished(application, application.client())


@pytest.fixture(scope="module")
def live(server: Server, api: Api) -> Site:
    """The same on the shared server, for WebSockets."""
    return furnished(server, api)


def furnished(server: Installation, admin: Api) -> Site:
    bare = server.nobody()
    operations = {
        operation["operationId"]: (method.upper(), path)
        for path, methods in bare.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    }
    clients = {
        Role.ADMIN: admin,
        **{role: server.account(role) for role in (Role.OPERATOR, Role.VIEWER)},
    }
    made = Site(server, bare, clients, operations, free_port(), "", "", "")
    made.platform_id = admin.post("/platforms/", made.new_platform())["id"]
    job = admin.post(f"/platforms/{made.platform_id}/run_command", {"command": "true"})
    made.job_id, made.task_id = job["job_id"], job["task_id"]
    admin.wait_job(made.job_id)
    return made


def test_every_operation_of_the_document_has_a_rule(site: Site) -> None:
    assert set(site.operations) == set(RULES), "add the new operation to RULES"
    having = {
        role: {name for name, permission in INSTALLED.permissions.items() if permission.is_of(role)}
        for role in Role
    }
    assert having == MAY


def test_nothing_is_served_beside_the_document() -> None:
    """A route left out of the document would be left out of these tests too."""
    hidden, sockets = set(), set()
    waiting = list(build(Settings(_env_file=None), INSTALLED).routes)  # type: ignore[call-arg]
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        elif type(route).__name__ == "APIWebSocketRoute":
            sockets.add(route.path)
        elif not getattr(route, "include_in_schema", True) and type(route).__name__ != "PageRoute":
            hidden.add(route.path)
    assert (hidden, sockets) == (HIDDEN, SOCKETS | {"/{path:path}"})


@pytest.mark.parametrize("operation", PROTECTED)
def test_without_a_login_it_is_refused_and_noted(site: Site, operation: str) -> None:
    before = site.refusals()
    request = site.request(operation)
    address = f"192.0.2.{PROTECTED.index(operation) + 1}"
    assert_problem(transmit(site, request, {"X-Forwarded-For": address}), 401, "unauthenticated")
    new = [entry for key, entry in site.refusals().items() if key not in before]
    assert len(new) == 1
    assert new[0]["action"] == f"{request[0]} {request[1].partition('?')[0]}"[:100]
    assert (new[0]["user"], new[0]["meta"], new[0]["address"]) == (
        "",
        {"reason": "unauthenticated"},
        address,
    )


@pytest.mark.parametrize("operation", PROTECTED)
def test_a_stranger_is_told_nothing_else_that_is_wrong(site: Site, operation: str) -> None:
    method, path, _ = site.request(operation)
    template = site.operations[operation][1]
    nonsense = template.format_map(dict.fromkeys(OBJECTS, "nonsense"))
    as_json = {"Content-Type": "application/json"}
    wrong: list[dict[str, Any]] = [
        {"url": f"{path}{'&' if '?' in path else '?'}a=1"},
        {"url": template.format_map(dict.fromkeys(OBJECTS, "1")) + "?" + "&".join(map(str, range(10_000)))},
        {"url": f"{nonsense}?limit=x&sort={'x' * 60}&from=-1&status=x&state=x"},
        *(
            {"url": path, "content": body, "headers": {**as_json, "Idempotency-Key": "k" * 300}}
            for body in (b"{", b'{"name":"\xff"}', b"[" * 10_000, b"[]", b'{"a":1}', b"")
        ),
        {"url": path, "content": b"a", "headers": {"Content-Type": ";;;"}},
        {"url": path, "content": b" " * 20_000, "headers": as_json},
        {"url": path, "headers": {"Content-Length": "9" * 30}},
    ]
    for asked in wrong:
        assert_problem(site.bare.request(method, **asked), 401, "unauthenticated")


@pytest.mark.parametrize("operation", [name for name, rule in RULES.items() if rule is None])
def test_what_needs_no_login(site: Site, operation: str) -> None:
    answer = send(site, operation, {})
    wanted = (302,) if operation == "leave" else (200, 422)
    assert answer.status_code in wanted, "a login is not what it asks for"


def forged(site: Site, kind: str) -> str:
    """A token that must not be taken."""
    now = int(time.time())
    good = site.admin.tokens["access_token"]
    header, payload, signature = good.split(".")
    secret = site.server.secret_key
    claims = jwt.decode(good, OctKey.import_key(secret), algorithms=["HS256"]).claims
    ours, foreign = OctKey.import_key(secret), OctKey.import_key(secrets.token_urlsafe(48))
    fresh = {**claims, "exp": now + 600}
    head = {"alg": "HS256"}
    match kind:
        case "expired":
            return jwt.encode(head, {**claims, "exp": now - 1}, ours)
        case "without an end":
            return jwt.encode(head, {key: claims[key] for key in ("sub", "sid")}, ours)
        case "foreign":
            return jwt.encode(head, fresh, foreign)
        case "unsigned":
            return f"eyJhbGciOiJub25lIn0.{payload}."
        case "altered":
            return f"{header}.{payload[:-4]}AAAA.{signature}"
        case "unknown login":
            return jwt.encode(head, {**fresh, "sid": str(uuid.uuid4())}, ours)
        case "odd login":
            return jwt.encode(head, {**fresh, "sid": 5}, ours)
        case "nested":
            return base64.urlsafe_b64encode(b"[" * 20_000).decode().rstrip("=") + f".{payload}.{signature}"
    return kind


FORGED = [
    "expired", "without an end", "foreign", "unsigned", "altered", "unknown login", "odd login", "nested",
    "garbage", "a.b.c", "....", "eyJ.eyJ.AAAA", "\u00e4\u00f6\u00fc",
]  # fmt: skip


@pytest.mark.parametrize("kind", FORGED)
def test_a_token_that_is_not_ours_is_refused(site: Site, kind: str) -> None:
    token = forged(site, kind)
    code = "session_ended" if kind == "unknown login" else "token_invalid"
    for headers in (
        {"Authorization": f"Bearer {token}".encode()},
        {"Cookie": f"access_token={token}".encode()},
    ):
        assert_problem(site.bare.get("/api/v1/auth/me", headers=headers), 401, code)


def test_a_token_of_a_clock_that_was_ahead_is_good(site: Site) -> None:
    """Another process's clock may be so, and this one's may have been set back since."""
    ours = OctKey.import_key(site.server.secret_key)
    claims = jwt.decode(site.admin.tokens["access_token"], ours).claims
    ahead = jwt.encode({"alg": "HS256"}, {**claims, "iat": claims["iat"] + 600}, ours)
    answer = site.bare.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {ahead}"})
    assert (answer.status_code, answer.json()["username"]) == (200, site.admin.username)


@pytest.mark.parametrize("operation", PROTECTED)
def test_every_operation_refuses_tokens_that_are_not_ours(site: Site, operation: str) -> None:
    for kind in ("garbage", "expired", "foreign"):
        assert_problem(
            send(site, operation, {"Authorization": f"Bearer {forged(site, kind)}"}), 401, "token_invalid"
        )


@pytest.mark.parametrize(
    "scheme", ["Basic YWRtaW46YWRtaW4=", "Bearer", "Token {}", "bearer{}", "{}", "Digest a"]
)
def test_other_schemes_are_no_login(site: Site, scheme: str) -> None:
    header = scheme.format(site.admin.tokens["access_token"])
    answer = site.bare.get("/api/v1/auth/me", headers={"Authorization": header})
    assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")


def test_a_bad_header_is_not_healed_by_a_good_cookie(site: Site) -> None:
    token = site.admin.tokens["access_token"]
    answer = send(site, "me", {"Authorization": "Bearer garbage", "Cookie": f"access_token={token}"})
    assert_problem(answer, 401, "token_invalid")


@pytest.mark.parametrize("operation", PROTECTED)
def test_the_short_form_is_guarded_as_well(site: Site, operation: str) -> None:
    method, path, body = site.request(operation)
    short = path.replace("/api/v1/", "/api/")
    assert short != path
    assert_problem(site.bare.request(method, short, json=body), 401, "unauthenticated")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("operation", PROTECTED)
def test_a_role_may_what_its_rule_says_and_no_more(site: Site, operation: str, role: Role) -> None:
    client = site.server.client() if operation == "logout" else site.clients[role]
    headers = {"Authorization": f"Bearer {client.tokens['access_token']}"}
    before = site.refusals()
    answer = send(site, operation, headers)
    new = [entry for key, entry in site.refusals().items() if key not in before]
    if RULES[operation] in MAY[role]:
        # The task there is printed nothing: it has no line that could be given.
        expected = {"getTaskLine": "not_found"}.get(operation, "bad_credentials")
        assert answer.status_code < 400 or answer.json()["code"] == expected, answer.text
    else:
        assert_problem(answer, 403, "forbidden")
        assert [(entry["user"], entry["meta"]) for entry in new] == [
            (client.username, {"reason": "forbidden"})
        ]


def test_no_call_takes_a_parameter_that_it_does_not_have(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.clients[Role.ADMIN].tokens['access_token']}"}
    for operation in site.operations:
        if operation in ("health", "live", "ready"):
            # Of no version: what watches over a server may add what it likes.
            continue
        method, path, body = site.request(operation)
        address = f"{path}{'&' if '?' in path else '?'}limitt=1&limitt=2&x"
        for prefix in ("/api/v1/", "/api/"):
            answer = transmit(site, (method, address.replace("/api/v1/", prefix), body), headers)
            assert_problem(answer, 422, "invalid")
            assert [each["field"] for each in answer.json()["errors"]] == ["limitt", "x"], operation


def test_of_the_parameters_that_a_call_does_not_have_it_names_a_few(site: Site) -> None:
    names = [f"{number}{'x' * 200}" for number in range(200)]
    answer = site.clients[Role.VIEWER].http.get("/platforms/?" + "&".join(names))
    assert_problem(answer, 422, "invalid")
    assert [each["field"] for each in answer.json()["errors"]] == [name[:100] for name in names[:20]]


def deploy_job(site: Site) -> str:
    site.admin.post("/keys/", new_key())
    # No body: all keys.
    answer = site.admin.http.post(f"/platforms/{site.platform_id}/deploy_keys")
    job_id: str = site.admin.ok(answer)["job_id"]
    site.admin.wait_job(job_id)
    return job_id


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
def test_keys_are_deployed_by_admins_alone_whatever_the_way(site: Site, role: Role) -> None:
    http = site.clients[role].http
    targets = {"platform_ids": [site.platform_id]}
    before = len(site.admin.all("/jobs/"))
    old = deploy_job(site)
    assert_problem(http.post("/jobs/", json={"type": "deploy", "targets": targets}), 403, "forbidden")
    assert_problem(http.post(f"/jobs/{old}/rerun"), 403, "forbidden")
    assert_problem(http.post(f"/platforms/{site.platform_id}/deploy_keys", json={}), 403, "forbidden")
    assert len(site.admin.all("/jobs/")) == before + 1


@pytest.mark.parametrize(
    "operation",
    [
        "deletePlatform",
        "changePlatform",
        "deleteSelection",
        "changeSelection",
        "deleteKey",
        "cancelJob",
        "rerunJob",
    ],
)
def test_a_refusal_does_not_tell_whether_the_object_is_there(site: Site, operation: str) -> None:
    method, path = site.operations[operation]
    unknown = str(uuid.uuid4())
    path = path.format(platform_id=unknown, selection_id=unknown, key_id=unknown, job_id=unknown)
    body = {"changePlatform": {"description": "x"}, "changeSelection": {"name": "x"}}.get(operation)
    headers = {"Authorization": f"Bearer {site.clients[Role.VIEWER].tokens['access_token']}"}
    assert_problem(site.bare.request(method, path, json=body, headers=headers), 403, "forbidden")


def close_of(site: Site, path: str, headers: dict[str, str]) -> tuple[int, list[Any]]:
    """The close code of a WebSocket, and the messages that came before."""
    got = []
    url = site.server.url.replace("http", "ws", 1) + path
    with connect(url, additional_headers=headers, proxy=None) as socket:
        try:
            while True:
                got.append(json.loads(socket.recv(10)))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code, got


@pytest.mark.parametrize("kind", ["", "garbage", "expired", "foreign"])
@pytest.mark.parametrize("path", sorted(SOCKETS))
def test_a_websocket_wants_a_login(live: Site, path: str, kind: str) -> None:
    headers = {"Authorization": f"Bearer {forged(live, kind)}"} if kind else {}
    assert close_of(live, path.format(task_id=live.task_id, job_id=live.job_id), headers) == (4401, [])


@pytest.mark.parametrize("path", sorted(SOCKETS))
def test_a_websocket_tells_a_stranger_nothing_else_that_is_wrong(live: Site, path: str) -> None:
    right = path.format(task_id=live.task_id, job_id=live.job_id)
    for wrong in (f"{right}?a=1", f"{right}?after=x&output=9", path.format(task_id="nonsense", job_id="%00")):
        assert close_of(live, wrong, {}) == (4401, [])


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", sorted(SOCKETS))
@pytest.mark.walls
def test_every_role_may_follow(live: Site, path: str, role: Role) -> None:
    token = live.clients[role].tokens["access_token"]
    path = path.format(task_id=live.task_id, job_id=live.job_id)
    code, messages = close_of(live, path, {"Authorization": f"Bearer {token}"})
    assert (code, messages[-1]["type"]) == (1000, "done")


@pytest.mark.parametrize("path", ["/ws/tasks/{}", "/ws/jobs/{}"])
def test_a_websocket_of_nothing(live: Site, path: str) -> None:
    headers = {"Authorization": f"Bearer {live.admin.tokens['access_token']}"}
    for unknown in (str(uuid.uuid4()), "nonsense", "%00"):
        assert close_of(live, path.format(unknown), headers) == (4404, [])
    for after in ("x", "1e3", "9" * 30, "--1", "%00"):
        assert close_of(live, path.format(live.task_id) + f"?after={after}", headers)[0] == 4422


@pytest.mark.parametrize("path", sorted(SOCKETS))
def test_a_websocket_by_cookie_is_for_our_own_pages(live: Site, path: str) -> None:
    cookie = {"Cookie": f"access_token={live.admin.tokens['access_token']}"}
    path = path.format(task_id=live.task_id, job_id=live.job_id)
    before = live.refusals()
    assert close_of(live, path, {**cookie, "Origin": "http://evil.example"}) == (4403, [])
    assert close_of(live, path, {**cookie, "Sec-Fetch-Site": "cross-live"}) == (4403, [])
    new = [entry for key, entry in live.refusals().items() if key not in before]
    assert [entry["meta"]["reason"] for entry in new] == ["cross_site", "cross_site"]
    assert close_of(live, path, {**cookie, "Origin": live.server.url})[0] == 1000


def test_an_account_that_must_change_its_password_may_do_nothing_else() -> None:
    with Application(env={"ADMIN_PASSWORD": "admin123"}) as application:
        api = application.client("admin", "admin123")
        assert api.tokens["user"]["must_change_password"] is True
        for path in ("/platforms/", "/keys/", "/jobs/", "/tasks/", "/audit/", "/settings"):
            assert_problem(api.http.get(path), 403, "password_change_required")
        api.get("/auth/me")
        change = {"current_password": "admin123", "new_password": "a-better-password"}
        assert api.post("/auth/change-password", change)["must_change_password"] is False
        refused = api.get("/audit/", outcome="refused")
        assert {entry["meta"]["reason"] for entry in refused} == {"password_change_required"}
        assert len(refused) == 6


def test_a_refusal_does_not_depend_on_what_there_is(server: Server, api: Api) -> None:
    """Who may not run is told so, and noted, also for a platform that is not there."""
    viewer = server.account("viewer")
    path = f"/platforms/{uuid.uuid4()}"
    for call, body in (("run_command", {"command": "true"}), ("deploy_keys", {})):
        assert viewer.http.post(f"{path}/{call}", json=body).status_code == 403
        assert api.http.post(f"{path}/{call}", json=body).status_code == 404
    refused = [entry["action"] for entry in api.all("/audit/", user=viewer.username, outcome="refused")]
    assert sorted(refused) == ["job.deploy", "job.run_command"]
