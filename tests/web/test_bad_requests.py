"""Requests that are wrong in every way: each is answered by a 4xx problem document, and changes nothing."""

import base64
import itertools
import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.application import Application
from tests.support.server import Api, Installation, Server
from tests.support.sshd import free_port, run
from tests.support.waiting import stays

UNKNOWN = "0197a5a0-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}
PLATFORM = {
    "name": "new",
    "host": "127.0.0.1",
    "port": 2222,
    "username": "someone",
    "auth_method": "password",
    "password": "a-password-nobody-has",
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 alice@laptop"


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    with Application(env={"ACCESS_TOKEN_SECONDS": "7200"}) as application:
        yield furnished(application)


@pytest.fixture(scope="module")
def client(own: Installation) -> Api:
    return own.client()


@pytest.fixture(scope="module")
def process() -> Iterator[Server]:
    """A server with a socket, for what comes over a bare one."""
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}) as server:
        furnished(server)
        yield server


def furnished(own: Installation) -> Installation:
    client = own.client()
    client.post("/platforms/", {**PLATFORM, "name": "there", "port": free_port()})
    client.post("/keys/", {"name": "there", "public_key": KEY})
    return own


def state(own: Installation) -> Any:
    """All that a request could have changed. Refusals leave an entry in the audit log."""
    whole = ("users", "platforms", "platform_tags", "host_keys", "ssh_keys", "jobs", "task_runs")
    done = "SELECT * FROM audit_logs WHERE outcome != 'refused' AND action != 'auth.login'"
    with own.engine.connect() as connection:
        return [
            connection.execute(sa.text(query)).all()
            for query in [*(f"SELECT * FROM {name} ORDER BY 1, 2" for name in whole), done]
        ]


@pytest.fixture(autouse=True)
def unchanged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is lost, nothing is added, testum lives, and its log has no traceback."""
    if "process" in request.fixturenames:
        server: Server = request.getfixturevalue("process")
        before, logged = state(server), server.log.stat().st_size
        yield
        assert state(server) == before
        assert "Traceback" not in server.log.read_text(errors="replace")[logged:]
        return
    own: Installation = request.getfixturevalue("own")
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
    before = state(own)
    yield
    assert state(own) == before
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err + caplog.text


def assert_problem(response: Any, *statuses: int) -> Any:
    assert response.status_code in (statuses or range(400, 500)), (
        f"{response.status_code} {response.text[:500]}"
    )
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-content-type-options"] == "nosniff"
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["error"] == problem["detail"]
    for member in ("type", "title", "detail", "code"):
        assert isinstance(problem[member], str) and problem[member], member
    assert len(response.content) < 20_000, "what was wrong is not sent back in full"
    return problem


def named(values: list[Any]) -> list[Any]:
    """Parameters with short, unique ids, also where a value is long or cannot be printed."""
    return [
        pytest.param(*value, id=f"{number}-{ascii(value)[:40]}".replace("\\", "~"))
        for number, value in enumerate(values)
    ]


BAD_PLATFORM: list[tuple[str, Any]] = [
    *itertools.product(["port"], [70000, 65536, 0, -1, 2**70, "22", 22.0, 22.5, True, None, [], {}]),
    *itertools.product(
        ["name"], ["", " ", "\t", 5, None, [], "a" * 201, "a\0b", "a\nb", "\u202eb", "\u200b", "\ud800", "\x1b[2J"]
    ),
    *itertools.product(
        ["host"],
        [
            "", " ", "a b", "-oProxyCommand=id", "a/../b", "x" * 256, "\0", "a\0", "x" * 64, "http://x", "...", "a..b", "a\nb",
            "ß" * 200, "$(id)", "a;b", "[::1", "fe80::1%a b", "\ud800", 5, None,
        ],
    ),
    *itertools.product(["username"], ["", " ", "a\0", "a\nb", "x" * 151, 5, None]),
    *itertools.product(["auth_method"], ["none", "", "PASSWORD", None, 1]),
    *itertools.product(["password"], ["", None, "a\0b", "x" * 70_000, 5, "\ud800"]),
    *itertools.product(["private_key"], ["x", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", 5, KEY]),
    *itertools.product(["key_id", "jump_platform_id"], ["x", UNKNOWN, 5, "", "\0"]),
    *itertools.product(["known_host_key"], ["x", "ssh-ed25519 AAAA", "", KEY.replace("ed25519", "rsa"), "\0", 5]),
    *itertools.product(
        ["tags"], ["a", [""], ["a b"], ["\0"], [None], [5], {}, [str(n) for n in range(51)], ["x" * 101], ["\u200b"]]
    ),
    *itertools.product(["description"], ["\0", "x" * 4001, 5, None]),
    *itertools.product(["shell", "host_key_policy"], ["x", 5, ""]),
    *itertools.product(["id", "created_by", "__proto__", "unknown", ""], ["x"]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), named(BAD_PLATFORM))
def test_a_platform_with_one_bad_field(client: Api, field: str, value: Any) -> None:
    body = json.dumps({**PLATFORM, field: value})
    problem = assert_problem(client.http.post("/platforms/", content=body, headers=JSON), 422)
    assert problem["code"] == "invalid"
    named_fields = {error["field"].split(".")[0] for error in problem["errors"]}
    assert field in named_fields or not field, problem


@pytest.mark.parametrize("field", ["name", "host", "username", "auth_method", "password"])
def test_a_platform_with_a_field_missing(client: Api, field: str) -> None:
    body = {key: value for key, value in PLATFORM.items() if key != field}
    problem = assert_problem(client.http.post("/platforms/", json=body), 422)
    assert problem["errors"][0]["field"] == field


PATCHES: list[dict[str, Any]] = [
    {"port": 70000}, {"port": 0}, {"name": ""}, {"host": "\0"}, {"password": None}, {"password": ""},
    {"auth_method": "private_key"}, {"auth_method": "private_key", "key_id": UNKNOWN}, {"known_host_key": ""},
    {"jump_platform_id": UNKNOWN}, {"tags": ["a b"]}, {"unknown": 1}, {"id": UNKNOWN}, {"created_at": "x"},
    {"description": "fine", "port": -1}, {"name": "fine", "jump_platform_id": UNKNOWN},
]  # fmt: skip


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_a_change_that_is_wrong_changes_nothing_at_all(client: Api, patch: dict[str, Any]) -> None:
    there = client.get("/platforms/", name="there")[0]
    assert_problem(client.http.patch(f"/platforms/{there['id']}", json=patch), 422)


def test_a_platform_cannot_be_reached_through_itself(client: Api) -> None:
    there = client.get("/platforms/", name="there")[0]["id"]
    assert_problem(client.http.patch(f"/platforms/{there}", json={"jump_platform_id": there}), 422)


def rsa_line() -> str:
    return "ssh-rsa " + KEY.split()[1]


BAD_KEYS: list[dict[str, Any]] = [
    {"public_key": ""},
    {"public_key": "x"},
    {"public_key": "ssh-ed25519"},
    {"public_key": "ssh-ed25519 !!!!"},
    {"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7y"},
    {"public_key": "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20short").decode()},
    {"public_key": "ssh-ed25519 " + base64.b64encode(b"\xff\xff\xff\xffssh-ed25519").decode()},
    {"public_key": rsa_line()},
    {"public_key": "ssh-dss AAAAB3NzaC1kc3MAAACBAP"},
    {"public_key": KEY + "\n" + KEY},
    {"public_key": 'command="id" ' + KEY},
    {"public_key": KEY + "\0"},
    {"public_key": KEY + " " + "c" * 70_000},
    {"public_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"},
    {"public_key": 5},
    {"public_key": None},
    {"public_key": KEY, "private_key": "x"},
    {
        "public_key": KEY,
        "private_key": "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
    },
    {"public_key": KEY, "passphrase": "alone"},
    {"name": "", "public_key": KEY},
    {"name": "x" * 201, "public_key": KEY},
    {"name": "\ud800", "public_key": KEY},
    {"name": None},
    {},
]


@pytest.mark.parametrize("values", BAD_KEYS, ids=lambda values: ascii(values)[:60].replace("\\", "~"))
def test_a_malformed_key(client: Api, values: dict[str, Any]) -> None:
    body = json.dumps({"name": "new", **values})
    assert_problem(client.http.post("/keys/", content=body, headers=JSON), 422)


@pytest.mark.walls
def test_what_is_there_already(client: Api, tmp_path: Any) -> None:
    problem = assert_problem(client.http.post("/platforms/", json={**PLATFORM, "name": " there "}), 409)
    assert problem["code"] == "name_taken"
    problem = assert_problem(client.http.post("/keys/", json={"name": "other", "public_key": KEY}), 409)
    assert problem["code"] == "key_exists"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    other = (tmp_path / "key.pub").read_text()
    problem = assert_problem(client.http.post("/keys/", json={"name": "there", "public_key": other}), 409)
    assert problem["code"] == "name_taken"


BAD_JOBS: list[dict[str, Any]] = [
    {"type": "x"}, {"type": None}, {"type": 5},
    *({"targets": value} for value in (
        None, {}, [], "all", {"all": False}, {"all": "x"}, {"unknown": 1}, {"platform_ids": ["x"]},
        {"platform_ids": [UNKNOWN]}, {"platform_ids": UNKNOWN}, {"all": True, "names": ["a"]}, {"names": [""]},
        {"names": ["nothing*"]}, {"names": ["["]}, {"names": ["[" * 199]}, {"names": ["\0"]}, {"names": ["a"] * 1001},
        {"names": ["x" * 201]}, {"names": ["\ud800"]}, {"tags": [""]}, {"tags": ["\0"]}, {"tags": ["a"] * 51},
        {"platform_ids": [UNKNOWN] * 10_001},
    )),
    *({"command": value} for value in ("", " \n", "\0", "a\0b", 5, None, [], "x" * 131_000, "\ud800")),
    *({"timeout": value} for value in (0, -1, float("nan"), float("inf"), 1e300, 604_801, "x", [])),
    *({"idle_timeout": value} for value in (0, -1, float("nan"))),
    *({"concurrency": value} for value in (0, -1, 1001, 1.5, 2**70, "x")),
    *({"environment": value} for value in (
        {"A B": "x"}, {"": "x"}, {"1A": "x"}, {"A=": "x"}, {"A": "\0"}, {"A": 1}, {"A": None}, {"Ä": "x"}, [], "x",
        {"\ud800": "x"}, {"A": "\ud800"}, {"A" * 201: "x"}, {f"A{n}": "" for n in range(101)}, {"A": "x" * 40_000},
    )),
    {"script": {"text": "x"}}, {"key_ids": [UNKNOWN]}, {"unknown": 1}, {"command": "x", "script": {"text": "y"}},
    *({"type": "run_script", "command": None, "script": value} for value in (
        None, {}, {"text": ""}, {"text": " "}, {"text": "\0"}, {"text": 5}, {"text": "x" * 1_100_000},
        {"text": "x", "interpreter": ""}, {"text": "x", "interpreter": " "}, {"text": "x", "interpreter": "'"},
        {"text": "x", "interpreter": "sh\nid"}, {"text": "x", "interpreter": "\0"}, {"text": "x", "arguments": ["\0"]},
        {"text": "x", "arguments": [1]}, {"text": "x", "arguments": "x"}, {"text": "x", "arguments": ["a"] * 101},
        {"text": "\ud800"}, {"text": "x", "unknown": 1},
    )),
    *({"type": "deploy", "command": None, **more} for more in (
        {"key_ids": []}, {"key_ids": [UNKNOWN]}, {"key_ids": ["x"]}, {"environment": {"A": "x"}},
        {"script": {"text": "x"}},
    )),
    {"type": "deploy"}, {"type": "gather_facts"}, {"type": "test_connection"}, {"type": "run_script"},
]  # fmt: skip


@pytest.mark.parametrize(("values",), named([(values,) for values in BAD_JOBS]))
def test_a_job_that_cannot_be(client: Api, values: dict[str, Any]) -> None:
    targets = {"names": ["there"]}
    body = json.dumps({"type": "run_command", "targets": targets, "command": "true", **values})
    assert_problem(client.http.post("/jobs/", content=body, headers=JSON), 422)


BODIES: list[tuple[int, bytes, dict[str, str]]] = [
    (400, b"{", JSON),
    (400, b"{} x", JSON),
    (400, b"{'name':1}", JSON),
    (400, b'{"name":"a",}', JSON),
    (400, b'{"name":"\xff\xfe"}', JSON),
    (422, b'{"name":"\xed\xa0\x80"}', JSON),
    (400, b'{"name":"a\nb"}', JSON),
    (400, b"[" * 100_000, JSON),
    (400, b'{"name":' * 50_000, JSON),
    (400, b"9" * 5_000, JSON),
    (422, b'{"name":' + b"[" * 900 + b"]" * 900 + b"}", JSON),
    (422, b'{"name":"first","name":"second","public_key":"x"}', JSON),
    (422, b'{"\\ud800":1}', JSON),
    (422, b"", JSON),
    (422, b"null", JSON),
    (422, b"[]", JSON),
    (422, b"5", JSON),
    (422, b"NaN", JSON),
    (422, b'"text"', JSON),
    (422, b'[{"name":"a"}]', JSON),
    (422, "{}".encode("utf-16"), JSON),
    (422, b'{"name":"a"}', {"Content-Type": "text/plain"}),
    (422, b'{"name":"a"}', {"Content-Type": ";;;"}),
    (422, b'{"name":"a"}', {}),
    (422, b"name=a", {"Content-Type": "application/x-www-form-urlencoded"}),
    (422, b"--x", {"Content-Type": "multipart/form-data"}),
    (400, b"\x1f\x8b\x08", {**JSON, "Content-Encoding": "gzip"}),
    (413, b'{"name":"' + b"a" * 10_000_000 + b'"}', JSON),
]


@pytest.mark.parametrize("path", ["/keys/", "/platforms/", "/jobs/", "/auth/login", "/auth/refresh"])
@pytest.mark.parametrize(("status", "body", "headers"), named(BODIES))
def test_a_body_that_is_none(
    client: Api, path: str, status: int, body: bytes, headers: dict[str, str]
) -> None:
    assert_problem(client.http.post(path, content=body, headers=headers), status)


def test_a_body_that_comes_in_pieces_is_bounded_too(client: Api) -> None:
    """Without a length that would say it beforehand."""
    pieces = itertools.repeat(b"a" * 65_536, 160)
    answer = client.http.post("/keys/", content=pieces, headers=JSON)
    assert assert_problem(answer, 413)["code"] == "too_large"


UNKNOWN_OBJECTS = [
    (method, path.format(UNKNOWN))
    for method, path in [
        ("GET", "/platforms/{}"), ("PATCH", "/platforms/{}"), ("DELETE", "/platforms/{}"),
        ("POST", "/platforms/{}/run_command"), ("POST", "/platforms/{}/deploy_keys"), ("GET", "/keys/{}"),
        ("DELETE", "/keys/{}"), ("GET", "/jobs/{}"), ("POST", "/jobs/{}/cancel"), ("POST", "/jobs/{}/rerun"),
        ("GET", "/tasks/{}"), ("GET", "/tasks/{}/output"),
    ]
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), UNKNOWN_OBJECTS)
@pytest.mark.walls
def test_an_object_that_is_not_there(client: Api, method: str, path: str) -> None:
    body = {"command": "true"} if "run_command" in path else {} if method in ("PATCH", "POST") else None
    assert assert_problem(client.http.request(method, path, json=body), 404)["code"] == "not_found"
    for bad in (
        "x",
        "0",
        "-1",
        UNKNOWN + "0",
        UNKNOWN[:-1],
        "%00",
        "%ff",
        "' OR 1=1 --",
        "a" * 5_000,
        "\u0661",
    ):
        odd = path.replace(UNKNOWN, bad)
        assert_problem(client.http.request(method, odd, json=body), 404, 422)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/keys/"), ("DELETE", "/keys/"), ("POST", "/audit/"), ("PATCH", "/settings")]
)
def test_a_method_that_is_not_there(client: Api, own: Installation, method: str, path: str) -> None:
    answer = client.http.request(method, path)
    assert assert_problem(answer, 405)["code"] == "method_not_allowed"
    documented = client.http.get(own.url + "/openapi.json").json()["paths"][f"/api/v1{path}"]
    short = client.http.request(method, own.url + "/api" + path)
    for refused in (answer, short):
        assert set(refused.headers["allow"].split(", ")) == {name.upper() for name in documented}


PATHS = [
    "/nothing", "/api/v2/keys/", "/api/v1", "/api/v1/platforms/..%2f..%2fetc%2fpasswd", "/api/v1/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "/static/swagger/..%2f..%2f..%2f..%2fetc%2fpasswd", "/static/swagger/%2e%2e/",
    "/static/swagger/%00", "/static/swagger/a%00.js", "/static/swagger/" + "a" * 5_000, "/static/swagger//etc/passwd",
    "/static/swagger/", "/static/swagger/%ff", "/%00", "//", "/api/v1/keys/%2e%2e", "/docs/x", "/ws/tasks/" + UNKNOWN,
    "/.env", "/API/V1/KEYS/",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:60])
def test_a_path_that_leads_nowhere(client: Api, own: Installation, path: str) -> None:
    answer = client.http.get(own.url + path)
    assert_problem(answer, 404, 422)
    assert "root:" not in answer.text


LISTS = ["/platforms/", "/keys/", "/jobs/", "/tasks/", "/audit/"]


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


QUERIES = [
    "limit=0", "limit=501", "limit=-1", "limit=1e3", "limit=x", "limit=", "limit=NaN", "limit=" + "9" * 400,
    "limit=1.5", "sort=unknown", "sort=--name", "sort=-", "sort=name;drop", "sort=password_hash", "sort=" + "x" * 51,
    "after=x", "after=%00", "after=%ff", "after=%F0%9F%92%A9", "after=" + "A" * 1001, "q=" + "x" * 201,
    "after=" + base64.urlsafe_b64encode(b"[" * 700).decode(), "after=bnVsbA", "after=WzEsMiwzXQ",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:30])
def test_a_page_that_cannot_be(client: Api, path: str, query: str) -> None:
    assert_problem(client.http.get(f"{path}?{query}"), 422)


ROW = uuid.UUID(UNKNOWN).hex
NAMES: list[Any] = [2**70, 5, True, None, "\ud800", [], {}, 1.5]
TIMES: list[Any] = [*NAMES, "x", "", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"]


@pytest.mark.parametrize(
    ("sort", "value"),
    named([*(("name", value) for value in NAMES), *(("-created_at", value) for value in TIMES)]),
)
@pytest.mark.walls
def test_a_cursor_that_someone_made_up(client: Api, sort: str, value: Any) -> None:
    for parts in ([sort, value, ROW], [sort, "v", value, ROW], [sort, "t", value, ROW]):
        assert_problem(client.http.get("/platforms/", params={"sort": sort, "after": cursor(*parts)}), 422)


def test_a_cursor_of_another_list(client: Api) -> None:
    for parts in (
        ["host", "a", ROW],
        ["name", "a", "x"],
        ["name", "a", 5],
        ["name", "a"],
        ["name"],
        "name",
        {},
    ):
        after = cursor(*parts) if isinstance(parts, list) else cursor(parts)
        assert_problem(client.http.get("/platforms/", params={"after": after}), 422)
    assert client.http.get("/platforms/", params={"after": cursor("name", "a", ROW)}).status_code == 200


FILTERS = [
    ("/tasks/", "status=x"), ("/tasks/", "type=x"), ("/tasks/", "platform_id=x"), ("/tasks/", "job_id=%00"),
    ("/tasks/", "error_code=" + "x" * 51), ("/jobs/", "status=x"), ("/jobs/", "type="), ("/audit/", "outcome=x"),
    ("/audit/", "user=" + "x" * 151), ("/platforms/", "tag=" + "x" * 101), ("/platforms/", "name=" + "x" * 201),
    (f"/tasks/{UNKNOWN}/output", "stream=x"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "query"), FILTERS)
@pytest.mark.walls(slow=True)
def test_a_filter_that_cannot_be(client: Api, path: str, query: str) -> None:
    assert_problem(client.http.get(f"{path}?{query}"), 422)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.walls
def test_odd_filters_that_fit_nothing(client: Api, path: str) -> None:
    for text in ("%00", "%ff%fe", "%25", "_", "%5c", "'%20OR%201=1--", "%F0%9F%92%A9", "%ED%A0%80"):
        found = client.http.get(f"{path}?q=nothing{text}")
        assert (found.status_code, found.json()) == (200, [])


# -- over a bare socket: what no HTTP library sends -------------------------------------------------


@pytest.fixture(scope="module")
def token(process: Server) -> str:
    access: str = process.client().tokens["access_token"]
    return access


def exchange(process: Server, data: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the answer to exactly these bytes."""
    with socket.create_connection(("127.0.0.1", process.port), 20) as connection:
        # A request may be refused before all of it was sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        answer = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 "), answer[:200]
    return int(head.split()[1]), head.lower(), body


GET = b"GET /api/v1/auth/me HTTP/1.1\r\nHost: testum\r\n"
POST = b"POST /api/v1/keys/ HTTP/1.1\r\nHost: testum\r\nContent-Type: application/json\r\n"
RAW = {
    "no http": b"GARBAGE\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown method": b"BREW /api/v1/keys/ HTTP/1.1\r\nHost: testum\r\n\r\n",
    "connect": b"CONNECT other:443 HTTP/1.1\r\nHost: other\r\n\r\n",
    "nul in the path": b"GET /api/v1/auth/me\0 HTTP/1.1\r\nHost: testum\r\n\r\n",
    "bytes in the path": b"GET /api/v1/\xff HTTP/1.1\r\nHost: testum\r\n\r\n",
    "bytes in the query": b"GET /api/v1/keys/?q=\xff HTTP/1.1\r\nHost: testum\r\n\r\n",
    "nul in a header": GET + b"X: a\0b\r\n\r\n",
    "space in a header's name": GET + b"Bad Name: x\r\n\r\n",
    "folded nonsense": GET + b": x\r\n\r\n",
    "length of -5": POST + b"Content-Length: -5\r\n\r\n{}",
    "length that is no number": POST + b"Content-Length: abc\r\n\r\n{}",
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "unknown encoding": POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "path of a megabyte": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: testum\r\n\r\n",
    "header of a megabyte": GET + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "header without an end": GET + b"X: " + b"a" * 200_000,
    "ten thousand headers": GET + b"".join(b"X%d: a\r\n" % number for number in range(10_000)) + b"\r\n",
    "length of 5 MB": POST + b"Connection: close\r\nContent-Length: 5000000\r\n\r\n{}",
    "dots in the path": b"GET /../../etc/passwd HTTP/1.1\r\nHost: testum\r\nConnection: close\r\n\r\n",
    "dots to a file": b"GET /static/swagger/../../../../../etc/passwd HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "a star": b"GET * HTTP/1.1\r\nHost: testum\r\nConnection: close\r\n\r\n",
    "odd cookie": GET + b"Cookie: access_token=\xff\xff; =; ;;=\r\nConnection: close\r\n\r\n",
    "odd token": GET + b"Authorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("kind", RAW)
def test_bytes_that_no_client_sends(process: Server, kind: str) -> None:
    status, head, body = exchange(process, RAW[kind])
    assert 400 <= status < 500, body
    assert b"content-type: application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert all(problem[member] for member in ("type", "title", "detail", "code"))


@pytest.mark.parametrize(
    "host", [b"[::1", b"a b", b"\xff", b"x:99999999", b"x:abc", b"", b"evil.example", b"a" * 5_000]
)
def test_an_odd_host_header(process: Server, host: bytes) -> None:
    for path in (b"/api/v1/auth/me", b"/api/v1/keys/?limit=0", b"/nothing"):
        request = b"GET " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        status, head, _ = exchange(process, request)
        assert status in (400, 401, 404) and b"application/problem+json" in head


@pytest.mark.parametrize(
    "origin", ["http://[", "null", "", "http://", "://", "x", "http://evil.example", "http://[::1]:x"]
)
def test_an_odd_origin_is_another_site(process: Server, token: str, origin: str) -> None:
    cookie = token.encode()
    length = b"Connection: close\r\nContent-Length: 2\r\n"
    headers = b"Cookie: access_token=" + cookie + b"\r\nOrigin: " + origin.encode() + b"\r\n" + length
    status, _, body = exchange(process, POST + headers + b"\r\n{}")
    assert (status, json.loads(body)["code"]) == (403, "cross_site")


def test_a_client_that_leaves_in_the_middle_harms_nobody(process: Server, token: str) -> None:
    for half in (
        b"GET /api",
        GET,
        POST + b"Content-Length: 500\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST /run HTTP/1.1\r\nHost: testum\r\nSec-Fetch-Site: same-origin\r\nCookie: access_token="
        + token.encode()
        + b"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\ncommand=",
    ):
        with socket.create_connection(("127.0.0.1", process.port), 10) as connection:
            connection.sendall(half)
            connection.shutdown(socket.SHUT_WR)
    with process.nobody("/api/v1") as client:
        assert client.get("/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    stays(lambda: "ClientDisconnect" not in process.log.read_text(), 0.3)
