"""Testing a connection before a platform is saved: what is told, what is kept (nothing), and where secrets never go."""

import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.application import Application, doing_work
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, free_port, run
from tests.support.tools import ask, make_key, unique
from testum.services import probes

pytestmark = pytest.mark.walls


def fields(sshd: RealSshd, **values: Any) -> dict[str, Any]:
    """How the sshd is reached by password."""
    return {
        "host": "127.0.0.1",
        "port": sshd.port,
        "username": sshd.user.name,
        "auth_method": "password",
        "password": sshd.user.password,
        **values,
    }


def attempt(api: Api, platform: str = "new", **values: Any) -> Any:
    return api.post(f"/platforms/{platform}/test", values)


def refusal(api: Api, status: int, platform: str = "new", **values: Any) -> Any:
    answer = api.http.post(f"/platforms/{platform}/test", json=values)
    assert answer.status_code == status, answer.text
    return answer.json()


def fingerprint(sshd: RealSshd) -> str:
    return run("ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")).split()[1]


@pytest.fixture
def own_sshd(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """An sshd that the test may stop, and whose host key it may change."""
    sshd = RealSshd(user=real_sshd.user)
    yield sshd
    sshd.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taking:
        taking.settimeout(10)
        yield taking


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def nobody_came(listener: socket.socket) -> bool:
    listener.settimeout(0.5)
    try:
        listener.accept()
    except TimeoutError:
        return True
    return False


def test_it_tells_the_key_and_the_time_and_keeps_nothing(api: Api, real_sshd: RealSshd) -> None:
    before = {what: len(api.all(f"/{what}/")) for what in ("platforms", "jobs", "tasks")}
    told = attempt(api, **fields(real_sshd))
    assert told["success"] and told["error_code"] is None and told["error_message"] is None
    assert 0 < told["latency_ms"] < 10_000
    assert "OpenSSH" in told["server_version"]
    key = told["host_key"]
    assert (key["fingerprint"], key["trust"]) == (fingerprint(real_sshd), "new")
    assert key["public_key"] == real_sshd.host_key_line and key["algorithm"] == "ssh-ed25519"
    assert {what: len(api.all(f"/{what}/")) for what in before} == before
    (entry,) = api.get("/audit/", action="platform.test", limit=1)
    assert (entry["user"], entry["outcome"], entry["object_id"]) == (api.username, "allowed", "")
    assert entry["meta"]["address"] == f"{real_sshd.user.name}@127.0.0.1:{real_sshd.port}"
    assert entry["meta"]["stored_secret"] is False
    assert real_sshd.user.password not in str(api.all("/audit/"))


def test_every_way_to_log_in(api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, passphrase="open sesame")
    real_sshd.add_key(public)
    by_key = fields(real_sshd, auth_method="private_key", password=None)
    assert attempt(api, **by_key, private_key=private, passphrase="open sesame")["success"]
    kept = api.post(
        "/keys/",
        {"name": unique("k"), "public_key": public, "private_key": private, "passphrase": "open sesame"},
    )
    assert attempt(api, **by_key, key_id=kept["id"])["success"]


def test_what_goes_wrong_is_the_answer(api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    stranger, _ = make_key(tmp_path)
    cases: dict[str, dict[str, Any]] = {
        "auth_failed": {"password": "wrong"},
        "key_rejected": {"auth_method": "private_key", "private_key": stranger, "password": None},
        "connection_refused": {"port": free_port()},
        "host_not_found": {"host": "no-such-host.invalid"},
        "host_key_unknown": {"host_key_policy": "strict"},
    }
    for code, values in cases.items():
        told = attempt(api, **fields(real_sshd, **values))
        assert (told["success"], told["error_code"], told["latency_ms"]) == (False, code, None), told
        assert told["error_message"] and "wrong" not in told["error_message"]
    assert told["host_key"] == {
        "algorithm": "ssh-ed25519",
        "public_key": real_sshd.host_key_line,
        "fingerprint": fingerprint(real_sshd),
        "trust": "new",
    }, "who is to accept a key must see it"


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"host": None}, "host"),
        ({"username": None}, "username"),
        ({"auth_method": None}, "auth_method"),
        ({"host": "not a host"}, "host"),
        ({"password": None}, "password"),
        ({"jump_platform_id": "00000000-0000-4000-8000-000000000000"}, "jump_platform_id"),
        ({"known_host_key": "nonsense"}, "known_host_key"),
        ({"auth_method": "private_key", "private_key": "nonsense"}, "private_key"),
    ],
)
def test_bad_fields_are_named(api: Api, real_sshd: RealSshd, change: dict[str, Any], field: str) -> None:
    problem = refusal(api, 422, **fields(real_sshd, **change))
    assert field in [error["field"] for error in problem["errors"]]


@pytest.mark.walls(slow=True)
def test_through_a_jump_host(api: Api, real_sshd: RealSshd, own_sshd: RealSshd) -> None:
    jump = api.add_platform(unique(), own_sshd)
    told = attempt(api, **fields(real_sshd, jump_platform_id=jump["id"]))
    assert told["success"] and told["host_key"]["fingerprint"] == fingerprint(real_sshd)
    assert own_sshd.sessions(), "it went through the jump host"
    own_sshd.stop()
    other = api.add_platform(unique(), own_sshd)
    told = attempt(api, **fields(real_sshd, jump_platform_id=other["id"]))
    assert (told["error_code"], told["host_key"]) == ("connection_refused", None)
    assert "jump host" in told["error_message"]


@pytest.mark.walls(slow=True)
def test_the_key_of_a_jump_host_is_not_told_as_the_hosts(
    api: Api, real_sshd: RealSshd, own_sshd: RealSshd
) -> None:
    jump = api.add_platform(unique(), own_sshd, known_host_key=real_sshd.host_key_line)
    told = attempt(api, **fields(real_sshd, jump_platform_id=jump["id"]))
    assert (told["error_code"], told["host_key"]) == ("host_key_changed", None)


# -- platforms that there are ---------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_a_stored_secret_is_used_where_it_belongs(api: Api, own_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), own_sshd)
    told = attempt(api, platform=platform["id"])
    assert told["success"] and told["host_key"]["trust"] == "new"
    now = api.get(f"/platforms/{platform['id']}")
    assert now == platform, "no key is trusted and no state is kept by a test"
    (entry,) = api.get("/audit/", action="platform.test", object_id=platform["id"])
    assert entry["meta"]["stored_secret"] is True
    trusted = {"known_host_key": own_sshd.host_key_line, "password": own_sshd.user.password}
    api.ok(api.http.patch(f"/platforms/{platform['id']}", json=trusted))
    told = attempt(api, platform=platform["id"], name="another", tags=["x"], description="y")
    assert told["success"] and told["host_key"]["trust"] == "trusted"


@pytest.mark.walls(slow=True)
def test_another_key_than_the_trusted_one_is_told_and_refused(api: Api, own_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), own_sshd, known_host_key=own_sshd.host_key_line)
    own_sshd.stop()
    own_sshd.new_host_key()
    own_sshd.start()
    told = attempt(api, platform=platform["id"])
    assert (told["error_code"], told["host_key"]["trust"]) == ("host_key_changed", "other")
    assert told["host_key"]["fingerprint"] == fingerprint(own_sshd)
    assert api.all("/audit/", action="host_key.changed", object_id=platform["id"]) == []
    assert api.get(f"/platforms/{platform['id']}")["state"] == "unknown"


MOVED = ["host", "port", "username", "zone", "host_key_policy", "jump_platform_id"]


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize(
    ("secret", "field"),
    [
        *((secret, field) for secret in ("password", "private_key") for field in MOVED),
        ("password", "known_host_key"),
    ],
)
def test_a_stored_secret_goes_nowhere_else(
    api: Api,
    real_sshd: RealSshd,
    listener: socket.socket,
    tmp_path: Path,
    secret: str,
    field: str,
) -> None:
    """Whoever may write platforms must not read their secrets by pointing them at a host of their own."""
    private, public = make_key(tmp_path)
    real_sshd.add_key(public)
    login: dict[str, Any] = {"auth_method": secret, secret: private}
    if secret == "password":
        login["password"] = real_sshd.user.password
    policy = {"host_key_policy": "strict"} if field == "host_key_policy" else {}
    known = {"known_host_key": real_sshd.host_key_line} if field == "known_host_key" else {}
    platform = api.add_platform(unique(), real_sshd, **login, **policy, **known)
    other = api.add_platform(unique(), real_sshd) if field == "jump_platform_id" else {"id": None}
    moved = {
        "host": {"host": "127.0.0.2"},
        "port": {"port": port_of(listener)},
        "username": {"username": "somebody"},
        "zone": {"zone": "elsewhere"},
        "known_host_key": {"known_host_key": public},
        "host_key_policy": {"host_key_policy": None},
        "jump_platform_id": {"jump_platform_id": other["id"]},
    }[field]
    problem = refusal(api, 422, platform=platform["id"], **moved)
    assert [error["field"] for error in problem["errors"]] == [secret]
    assert api.all("/audit/", action="platform.test", object_id=platform["id"], outcome="allowed") == []
    if field == "port":
        assert nobody_came(listener)


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("where", ["platform", "settings"])
def test_naming_a_key_opens_nothing_where_none_would_be_taken(
    api: Api, real_sshd: RealSshd, where: str
) -> None:
    """Under `strict` a stored secret goes nowhere until a key is accepted; a test is no way to accept one."""
    body = {"known_host_key": real_sshd.host_key_line}
    if where == "platform":
        platform = api.add_platform(unique(), real_sshd, host_key_policy="strict")
        assert refusal(api, 422, platform["id"], **body)["errors"][0]["field"] == "password"
        return
    with Application(env={"SSH_HOST_KEY_POLICY": "strict"}) as strict:
        client = strict.client()
        platform = client.add_platform(unique(), real_sshd)
        assert refusal(client, 422, platform["id"], **body)["errors"][0]["field"] == "password"


@pytest.mark.walls(slow=True)
def test_a_key_that_was_just_shown_is_named_with_the_password(
    api: Api, real_sshd: RealSshd, tmp_path: Path
) -> None:
    platform = api.add_platform(unique(), real_sshd)
    key = attempt(api, platform["id"])["host_key"]["public_key"]
    refused = refusal(api, 422, platform["id"], known_host_key=key)
    assert [error["field"] for error in refused["errors"]] == ["password"]
    typed = {"password": real_sshd.user.password}
    assert attempt(api, platform["id"], known_host_key=key, **typed)["host_key"]["trust"] == "trusted"
    _, other = make_key(tmp_path)
    assert attempt(api, platform["id"], known_host_key=other, **typed)["error_code"] == "host_key_changed"


@pytest.mark.walls(slow=True)
def test_a_secret_that_is_typed_again_may_go_elsewhere(
    api: Api, real_sshd: RealSshd, own_sshd: RealSshd
) -> None:
    platform = api.add_platform(unique(), own_sshd)
    told = attempt(api, platform=platform["id"], port=real_sshd.port, password=real_sshd.user.password)
    assert told["success"] and told["host_key"]["fingerprint"] == fingerprint(real_sshd)
    assert api.get(f"/platforms/{platform['id']}")["port"] == own_sshd.port


@pytest.mark.walls(slow=True)
def test_a_key_and_a_password_for_two_steps(api: Api, listener: socket.socket, tmp_path: Path) -> None:
    """A platform has both; neither that is stored goes elsewhere, and one that is typed does not let the other go."""
    private, public = make_key(tmp_path)
    sshd = RealSshd(options=["AuthenticationMethods publickey,password"])
    try:
        sshd.add_key(public)
        secrets = {"private_key": private, "password": sshd.user.password}
        lacking = {"auth_method": "key_and_password", "password": None}
        refused = api.http.post("/platforms/", json=fields(sshd, **lacking) | {"name": unique()})
        assert {error["field"] for error in refused.json()["errors"]} == {"password", "private_key"}
        assert attempt(api, **fields(sshd, auth_method="key_and_password", **secrets))["success"]
        by_key = fields(sshd, auth_method="private_key", private_key=private, password=None)
        assert attempt(api, **by_key)["error_code"] == "auth_incomplete"
        platform = api.add_platform(unique(), sshd, auth_method="key_and_password", **secrets)
        assert (platform["auth_method"], platform["has_password"], platform["has_private_key"]) == (
            "key_and_password",
            True,
            True,
        )
        assert attempt(api, platform["id"])["success"]
        targets = {"platform_ids": [platform["id"]]}
        task = api.run("echo in", targets=targets)
        assert (task["status"], task["stdout"]) == ("success", "in\n")
        port = port_of(listener)
        for typed, left in (({}, ["password", "private_key"]), ({"password": "x"}, ["private_key"])):
            problem = refusal(api, 422, platform["id"], port=port, known_host_key=None, **typed)
            assert [error["field"] for error in problem["errors"]] == left
        kept = api.post("/keys/", {"name": unique("k"), "public_key": public, "private_key": private})
        answer = api.http.patch(
            f"/platforms/{platform['id']}", json={"private_key": None, "key_id": kept["id"]}
        )
        assert answer.status_code == 200, answer.text
        assert attempt(api, platform["id"])["success"]
        refused = refusal(api, 422, platform["id"], port=port, known_host_key=None)
        assert refused["errors"][0]["field"] == "password"
        assert nobody_came(listener)
    finally:
        sshd.close()


@pytest.mark.walls(slow=True)
def test_a_host_that_knows_only_old_algorithms(api: Api) -> None:
    """What is allowed by name counts for the test of what is typed and for what is stored, and stands in the audit log."""
    name = "diffie-hellman-group1-sha1"
    with closing(RealSshd(options=[f"KexAlgorithms {name}"])) as old:
        values = fields(old, name=unique())
        refused = attempt(api, **values)
        assert refused["error_code"] == "handshake_failed" and name in refused["error_message"]
        assert attempt(api, **values, old_algorithms=[name])["success"]
        platform = api.post("/platforms/", values)
        assert platform["old_algorithms"] == []
        path = f"/platforms/{platform['id']}"
        wrong = api.http.patch(path, json={"old_algorithms": ["rot13"]})
        assert wrong.status_code == 422 and name in wrong.text
        changed = api.http.patch(path, json={"old_algorithms": [name, name]})
        assert changed.json()["old_algorithms"] == [name]
        job = api.start_job("echo here", targets={"platform_ids": [platform["id"]]})
        assert api.wait_job(job)["status"] == "success"
        (entry,) = api.all("/audit/", action="platform.update", object_id=platform["id"])
        assert entry["meta"]["changes"]["old_algorithms"] == {"old": "", "new": name}
        assert api.http.patch(path, json={"old_algorithms": []}).json()["old_algorithms"] == []


def test_a_platform_that_is_not_there(api: Api) -> None:
    missing = "00000000-0000-4000-8000-000000000000"
    assert refusal(api, 404, platform=missing)["code"] == "not_found"


@pytest.mark.parametrize("role", ["operator", "viewer"])
def test_only_who_may_write_platforms_may_test_what_is_typed(
    server: Server, listener: socket.socket, real_sshd: RealSshd, role: str
) -> None:
    answer = server.account(role).http.post(
        "/platforms/new/test", json=fields(real_sshd, port=port_of(listener))
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert nobody_came(listener)


# -- bounds ---------------------------------------------------------------------------------------------


@pytest.mark.embedded
def test_hanging_up_ends_the_connection(api: Api, real_sshd: RealSshd, listener: socket.socket) -> None:
    body = fields(real_sshd, port=port_of(listener))
    with pytest.raises(httpx2.ReadTimeout):
        ask(
            "POST",
            f"{api.url}/api/v1/platforms/new/test",
            json=body,
            headers={"Authorization": api.http.headers["Authorization"]},
            timeout=1,
        )
    taken, _ = listener.accept()
    with taken:
        taken.settimeout(5)
        begun = time.monotonic()
        while taken.recv(4096):
            pass
    assert time.monotonic() - begun < 8, "well before the host would have been given up"


@pytest.mark.walls(slow=True)
def test_it_takes_no_longer_than_connecting_may(listener: socket.socket, real_sshd: RealSshd) -> None:
    with doing_work({"CONNECT_TIMEOUT_SECONDS": "1"}) as impatient:
        told = attempt(impatient.client(), **fields(real_sshd, port=port_of(listener)))
    assert told["error_code"] == "connect_timeout" and "within 1 seconds" in told["error_message"]


def test_one_account_cannot_have_many_at_once(server: Server, real_sshd: RealSshd) -> None:
    api = server.client()
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(6) as threads:
        body = fields(real_sshd, port=port_of(silent), username=f"u{secrets.token_hex(3)}")
        posts = [threads.submit(api.http.post, "/platforms/new/test", json=body) for _ in range(6)]
        # Those with a place wait for the host: the first two answers are refusals.
        first = list(islice(as_completed(posts), 2))
        under_way = [post for post in posts if not post.done()]
        silent.close()
        answers = [post.result() for post in posts]
    assert len(under_way) == 4 and {post.result().status_code for post in first} == {429}
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 4 + [429] * 2
    refused = first[0].result()
    assert refused.json()["code"] == "throttled" and int(refused.headers["retry-after"]) > 0
    assert attempt(api, **fields(real_sshd))["success"], "there is room again"


@pytest.mark.servers
def test_a_zone_that_no_worker_serves(
    server: Server, real_sshd: RealSshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked of another web process of the same installation, which waits a shorter time for a worker."""
    hasty = {"DATA_DIR": str(tmp_path), "CONNECT_TIMEOUT_SECONDS": "0.5"}
    with Application(tmp_path, server.env | hasty) as site:
        api = site.client()
        with monkeypatch.context() as patched:
            patched.setattr(probes, "_SLACK_SECONDS", 0.0)
            told = attempt(api, **fields(real_sshd, zone="nobody-there"))
        assert (told["error_code"], told["success"]) == ("no_answer", False)
        assert "nobody-there" in told["error_message"]
        assert attempt(api, **fields(real_sshd))["success"]
