"""Platforms through the REST API: every way to log in against the real sshd, changes, deletion, lists."""

import json
import secrets
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.application import Application
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, free_port, run
from tests.support.tools import make_key, unique
from tests.support.waiting import until

pytestmark = pytest.mark.walls


def outcome(api: Api, platform: Any, command: str = "echo it is $((40 + 2))") -> Any:
    """The task of a command on this platform, when it is over."""
    return api.run(command, targets={"platform_ids": [platform["id"]]}, timeout=30)


def assert_works(api: Api, platform: Any) -> None:
    task = outcome(api, platform)
    assert (task["status"], task["stdout"], task["error_message"]) == ("success", "it is 42\n", None)


@pytest.fixture(scope="module")
def pam_sshd(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """An sshd that asks for the password by keyboard-interactive alone."""
    sshd = RealSshd(user=real_sshd.user, pam=True)
    yield sshd
    sshd.close()


@pytest.fixture
def own_sshd(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """An sshd whose host key the test may change."""
    sshd = RealSshd(user=real_sshd.user)
    yield sshd
    sshd.close()


# -- logging in --------------------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_by_password(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd)
    assert (platform["has_password"], platform["has_private_key"]) == (True, False)
    assert_works(api, platform)


@pytest.mark.walls(slow=True)
def test_by_keyboard_interactive(api: Api, pam_sshd: RealSshd) -> None:
    assert_works(api, api.add_platform(unique(), pam_sshd))
    wrong = api.add_platform(unique(), pam_sshd, password="not this one")
    assert outcome(api, wrong)["error_code"] == "auth_failed"


KINDS = [
    ("-t", "ed25519"),
    ("-t", "rsa", "-b", "2048"),
    ("-t", "ecdsa", "-b", "256"),
    ("-t", "ecdsa", "-b", "384"),
    ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ("-t", "ecdsa", "-b", "521", "-m", "PEM"),
    ("-t", "rsa", "-b", "2048", "-m", "PKCS8"),
]


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("passphrase", ["", "open sesame é"])
@pytest.mark.parametrize("kind", KINDS, ids="".join)
def test_by_private_key(
    api: Api, real_sshd: RealSshd, tmp_path: Path, kind: tuple[str, ...], passphrase: str
) -> None:
    private, public = make_key(tmp_path, *kind, passphrase=passphrase)
    real_sshd.add_key(public)
    login = {"auth_method": "private_key", "private_key": private}
    if passphrase:
        login["passphrase"] = passphrase
    platform = api.add_platform(unique(), real_sshd, **login)
    assert (platform["has_private_key"], platform["has_passphrase"]) == (True, bool(passphrase))
    assert_works(api, platform)


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_by_a_kept_key(api: Api, real_sshd: RealSshd, tmp_path: Path, passphrase: str) -> None:
    private, public = make_key(tmp_path, passphrase=passphrase)
    real_sshd.add_key(public)
    body = {"name": unique("k"), "public_key": public, "private_key": private}
    key = api.post("/keys/", {**body, "passphrase": passphrase} if passphrase else body)
    platform = api.add_platform(unique(), real_sshd, auth_method="private_key", key_id=key["id"])
    assert (platform["key_id"], platform["has_private_key"]) == (key["id"], True)
    assert_works(api, platform)
    refused = api.http.delete(f"/keys/{key['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert platform["name"] in refused.json()["detail"]


@pytest.mark.walls(slow=True)
def test_what_cannot_log_in_says_why(api: Api, real_sshd: RealSshd, tmp_path: Path) -> None:
    stranger, _ = make_key(tmp_path)
    locked, _ = make_key(tmp_path, passphrase="a passphrase")
    cases = {
        "auth_failed": {"password": "wrong"},
        "key_rejected": {"auth_method": "private_key", "private_key": stranger},
        "passphrase_required": {"auth_method": "private_key", "private_key": locked},
        "connection_refused": {"port": free_port()},
        "host_not_found": {"host": "no-such-host.invalid"},
    }
    for code, values in cases.items():
        task = outcome(api, api.add_platform(unique(), real_sshd, **values))
        assert (task["status"], task["error_code"], task["stdout"]) == ("failed", code, ""), task
        assert task["error_message"] and "wrong" not in task["error_message"]
    body = {"name": unique(), "host": "127.0.0.1", "username": "x", "auth_method": "private_key"}
    answer = api.http.post("/platforms/", json={**body, "private_key": locked, "passphrase": "not it"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "passphrase")


# -- jump hosts and host keys --------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_through_two_jump_hosts(
    api: Api, real_sshd: RealSshd, pam_sshd: RealSshd, own_sshd: RealSshd
) -> None:
    first = api.add_platform(unique(), own_sshd)
    second = api.add_platform(unique(), pam_sshd, jump_platform_id=first["id"])
    last = api.add_platform(unique(), real_sshd, jump_platform_id=second["id"])
    assert_works(api, last)
    known = {
        key: api.get(f"/platforms/{key}")["known_host_fingerprint"]
        for key in (first["id"], second["id"], last["id"])
    }
    assert len(set(known.values())) == 3, "each hop's own host key was checked and kept"
    assert own_sshd.sessions(), "the connection goes through the first"
    own_sshd.stop()
    task = outcome(api, api.add_platform(unique(), real_sshd, jump_platform_id=second["id"]))
    assert (task["status"], task["error_code"]) == ("failed", "connection_refused")
    assert "jump host" in task["error_message"] and str(own_sshd.port) in task["error_message"]

    for key in (first["id"], second["id"]):
        refused = api.http.delete(f"/platforms/{key}")
        assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    loop = api.http.patch(f"/platforms/{first['id']}", json={"jump_platform_id": last["id"]})
    assert (loop.status_code, loop.json()["errors"][0]["field"]) == (422, "jump_platform_id")


def alarms(api: Api, platform: Any) -> list[Any]:
    return api.all("/audit/", action="host_key.changed", object_id=platform["id"])


@pytest.mark.parametrize("job", ["run_command", "test_connection"])
def test_a_changed_host_key_is_refused_and_raises_an_alarm(api: Api, own_sshd: RealSshd, job: str) -> None:
    platform = api.add_platform(unique(), own_sshd)
    assert_works(api, platform)
    trusted = api.get(f"/platforms/{platform['id']}")
    assert alarms(api, platform) == []
    own_sshd.stop()
    own_sshd.new_host_key()
    own_sshd.start()
    shown = run("ssh-keygen", "-lf", str(own_sshd.folder / "host_key.pub")).split()[1]

    values = {"command": "echo ran"} if job == "run_command" else {}
    job_id = api.start_job(type=job, targets={"platform_ids": [platform["id"]]}, **values)
    api.wait_job(job_id)
    (task,) = api.tasks(job_id)
    assert (task["status"], task["error_code"], task["stdout"]) == ("failed", "host_key_changed", "")
    assert task["metadata"]["presented_host_key"]["fingerprint"] == shown
    (entry,) = alarms(api, platform)
    assert (entry["user"], entry["outcome"], entry["object_type"]) == ("testum", "refused", "platform")
    assert entry["meta"]["name"] == platform["name"]
    assert entry["meta"]["stored"] == [trusted["known_host_fingerprint"]]
    assert entry["meta"]["presented"] == shown
    assert api.get(f"/platforms/{platform['id']}")["known_host_keys"] == trusted["known_host_keys"]

    accepted = {"known_host_key": own_sshd.host_key_line, "password": own_sshd.user.password}
    api.ok(api.http.patch(f"/platforms/{platform['id']}", json=accepted))
    assert_works(api, platform)
    assert len(alarms(api, platform)) == 1


@pytest.mark.walls(slow=True)
def test_the_alarm_of_a_jump_host_names_the_jump_host(
    api: Api, real_sshd: RealSshd, own_sshd: RealSshd
) -> None:
    jump = api.add_platform(unique(), own_sshd)
    assert_works(api, jump)
    own_sshd.stop()
    own_sshd.new_host_key()
    own_sshd.start()
    behind = api.add_platform(unique(), real_sshd, jump_platform_id=jump["id"])
    assert outcome(api, behind)["error_code"] == "host_key_changed"
    assert (len(alarms(api, jump)), len(alarms(api, behind))) == (1, 0)


@pytest.mark.walls(slow=True)
def test_strict_refuses_until_someone_accepts_the_key(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd, host_key_policy="strict")
    assert outcome(api, platform)["error_code"] == "host_key_unknown"
    assert api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"] is None
    accepted = {"known_host_key": real_sshd.host_key_line, "password": real_sshd.user.password}
    api.ok(api.http.patch(f"/platforms/{platform['id']}", json=accepted))
    assert_works(api, platform)


@pytest.mark.walls(slow=True)
def test_first_use_is_noted(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd)
    assert_works(api, platform)
    (entry,) = api.all("/audit/", action="host_key.trust", object_id=platform["id"])
    fingerprint = api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"]
    assert entry["meta"]["fingerprint"] == fingerprint
    forgotten = {"known_host_key": None, "password": real_sshd.user.password}
    api.ok(api.http.patch(f"/platforms/{platform['id']}", json=forgotten))
    assert api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"] is None
    assert_works(api, platform)


def test_how_a_test_stands_is_told_of_tests_only(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd)
    on_it = {"platform_ids": [platform["id"]]}
    of_type = {"run_command": 404, "test_connection": 200, "gather_facts": 200}
    for kind, status in of_type.items():
        job_id = api.start_job("true" if kind == "run_command" else None, type=kind, targets=on_it)
        api.wait_job(job_id)
        (task,) = api.tasks(job_id)
        answer = api.http.get(f"{api.url}/platforms/{platform['id']}/tests/{task['id']}")
        assert answer.status_code == status, (kind, answer.text[-300:])


# -- what is kept ----------------------------------------------------------------------------------------


@pytest.mark.walls(slow=True)
def test_what_was_sent_comes_back_without_secrets(api: Api) -> None:
    body = {
        "name": unique(), "host": "[2001:DB8::1]", "port": 22022, "username": "deploy", "auth_method": "password",
        "password": "s3cret", "tags": ["web", "prod", "web"], "description": "das Web: \u0434\u0430", "shell": "plain",
        "host_key_policy": "strict",
    }  # fmt: skip
    made = api.post("/platforms/", body)
    assert api.get(f"/platforms/{made['id']}") == made
    assert uuid.UUID(made["id"]).version == 7
    expected = {**body, "host": "2001:db8::1", "tags": ["prod", "web"], "created_by": "admin"}
    del expected["password"]
    assert expected.items() <= made.items()
    assert not {"password", "private_key", "passphrase"} & made.keys() and "s3cret" not in json.dumps(made)
    assert made["created_at"].endswith(("Z", "+00:00"))


@pytest.mark.walls(slow=True)
def test_the_port_is_22_unless_said_otherwise(api: Api) -> None:
    body = {
        "name": unique(),
        "host": "a.example",
        "username": "x",
        "auth_method": "password",
        "password": "y",
    }
    assert api.post("/platforms/", body)["port"] == 22


@pytest.mark.parametrize("name", ["web*", "web[1]", "w?b", "a,b", "a]"])
def test_a_name_is_no_selector(api: Api, name: str) -> None:
    body = {"name": name, "host": "h", "username": "u", "auth_method": "password", "password": "p"}
    answer = api.http.post("/platforms/", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")


def test_a_change_changes_what_is_named_and_is_used_at_once(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd, password="wrong", description="kept", tags=["a"])
    assert outcome(api, platform)["error_code"] == "auth_failed"
    url = f"/platforms/{platform['id']}"
    changed = api.ok(api.http.patch(url, json={"password": real_sshd.user.password, "tags": ["b"]}))
    assert (changed["description"], changed["tags"], changed["name"]) == ("kept", ["b"], platform["name"])
    assert changed["updated_at"] > platform["updated_at"]
    assert_works(api, platform)
    # The pooled connection is of the old password: it must not serve the new one.
    api.ok(api.http.patch(url, json={"password": "wrong again"}))
    assert outcome(api, platform)["error_code"] == "auth_failed"
    entries = api.all("/audit/", action="platform.update", object_id=platform["id"])
    assert [entry["meta"]["fields"] for entry in entries] == [["password"], ["password", "tags"]]


def test_two_people_change_one_platform_at_once(server: Server, api: Api, real_sshd: RealSshd) -> None:
    """Neither loses what the other changed; of one field, the last one stands."""
    platform = api.add_platform(unique(), real_sshd, known_host_key=real_sshd.host_key_line)
    url = f"/platforms/{platform['id']}"
    for turn in range(10):
        bodies = [
            {"description": f"d{turn}"},
            {"port": 1000 + turn},
            {"tags": [f"t{turn}"]},
            {"username": f"u{turn}"},
        ]
        with ThreadPoolExecutor(len(bodies)) as people:
            answers = list(people.map(lambda body: api.http.patch(url, json=body), bodies))
        assert [answer.status_code for answer in answers] == [200] * len(bodies)
        now = api.get(url)
        assert {**bodies[0], **bodies[1], **bodies[2], **bodies[3]}.items() <= now.items()
    assert len(api.all("/audit/", action="platform.update", object_id=platform["id"])) == 40


def test_one_name_at_once_is_taken_once(api: Api) -> None:
    body = {
        "name": unique(),
        "host": "a.example",
        "username": "x",
        "auth_method": "password",
        "password": "y",
    }
    with ThreadPoolExecutor(8) as people:
        codes = sorted(people.map(lambda _: api.http.post("/platforms/", json=body).status_code, range(8)))
    assert codes == [201] + [409] * 7


def test_deleting_keeps_the_history(api: Api, real_sshd: RealSshd) -> None:
    platform = api.add_platform(unique(), real_sshd)
    task = outcome(api, platform)
    answer = api.ok(api.http.delete(f"/platforms/{platform['id']}"))
    assert set(answer) == {"message"} and platform["name"] in answer["message"]
    assert api.http.get(f"/platforms/{platform['id']}").status_code == 404
    assert api.http.delete(f"/platforms/{platform['id']}").status_code == 404
    assert api.get(f"/tasks/{task['id']}") == task
    assert api.output(task["id"]) == b"it is 42\n"
    assert [row["id"] for row in api.get("/tasks/", platform_id=platform["id"])] == [task["id"]]
    rerun = api.http.post(f"/jobs/{task['job_id']}/rerun")
    assert (rerun.status_code, rerun.json()["code"]) == (422, "no_targets")
    again = api.add_platform(platform["name"], real_sshd)
    assert again["id"] != platform["id"] and again["known_host_fingerprint"] is None


# -- lists -----------------------------------------------------------------------------------------------


def test_lists_are_paged_sorted_and_filtered(api: Api) -> None:
    mark = unique("list")
    for number in range(7):
        body = {
            "name": f"{mark}-{number}",
            "host": f"h{6 - number}.{mark}.example",
            "tags": [f"{mark}-{number % 2}"],
        }
        api.post("/platforms/", {**body, "username": "x", "auth_method": "password", "password": "y"})
    page = api.http.get("/platforms/", params={"q": mark, "limit": 3, "sort": "-name"})
    assert page.headers["x-total-count"] == "7"
    assert [row["name"][-1] for row in page.json()] == ["6", "5", "4"]
    following = page.links["next"]["url"]
    assert "limit=3" in following and "sort=-name" in following and mark in following
    # What is added meanwhile neither hides a row nor shows one twice.
    late = {
        "name": f"{mark}-9",
        "host": "late.example",
        "username": "x",
        "auth_method": "password",
        "password": "y",
    }
    api.post("/platforms/", late)
    seen = []
    while True:
        page = api.http.get(f"{api.url}{following}")
        seen += [row["name"][-1] for row in page.json()]
        if "next" not in page.links:
            break
        following = page.links["next"]["url"]
    assert seen == ["3", "2", "1", "0"] and "link" not in page.headers
    assert [
        row["host"][1] for row in api.all("/platforms/", q=f"{mark}.example", sort="host", limit=2)
    ] == list("0123456")
    made = [row["name"][-1] for row in api.all("/platforms/", q=f"{mark}-", sort="-created_at", limit=3)]
    assert made == list("96543210")
    assert [row["name"][-1] for row in api.get("/platforms/", tag=f"{mark}-1")] == ["1", "3", "5"]
    assert [row["name"] for row in api.get("/platforms/", name=f"{mark}-3")] == [f"{mark}-3"]
    assert api.get("/platforms/", name=mark) == [] and api.get("/platforms/", q=f"{mark}%") == []
    assert len(api.get("/platforms/", q=mark.upper())) == 8
    short = Api.ok(api.http.get(f"{api.url}/api/platforms/", params={"q": mark}))
    assert len(short) == 8


@pytest.mark.walls(slow=True)
@pytest.mark.alone
def test_ten_thousand_platforms_are_listed_quickly() -> None:
    with Application(env={"ACCESS_TOKEN_SECONDS": "7200"}) as site:
        api = site.client()
        first = {
            "name": "host-00000",
            "host": "h0.example",
            "username": "x",
            "auth_method": "password",
            "password": "y",
        }
        api.post("/platforms/", {**first, "tags": ["all", "odd"]})
        (row,) = site.execute("SELECT * FROM platforms")
        rows = [
            {
                **row._mapping,
                "id": uuid.uuid4().hex,
                "name": f"host-{number:05}",
                "host": f"h{number % 100}.example",
            }
            for number in range(1, 10_000)
        ]
        columns = row._mapping.keys()
        places = ", ".join(f":{column}" for column in columns)
        site.execute(f"INSERT INTO platforms ({', '.join(columns)}) VALUES ({places})", *rows)
        tags = [
            {"platform": each["id"], "tag": tag} for each in rows for tag in ("all", f"t{each['name'][-2:]}")
        ]
        site.execute("INSERT INTO platform_tags (platform_id, tag) VALUES (:platform, :tag)", *tags)

        def quickest(**params: Any) -> tuple[float, Any]:
            taken = []
            for _ in range(5):
                begun = time.perf_counter()
                answer = api.http.get("/platforms/", params=params)
                taken.append(time.perf_counter() - begun)
                assert answer.status_code == 200
            return min(taken), answer

        seconds: dict[str, float] = {}
        for name, params, total in (
            ("first", {}, 10_000),
            ("by host", {"sort": "-host"}, 10_000),
            ("search", {"q": "09999"}, 1),
            ("tag", {"tag": "t42"}, 100),
            ("name", {"name": "host-04321"}, 1),
        ):
            seconds[name], answer = quickest(**params)
            assert answer.headers["x-total-count"] == str(total), name
        _, last = quickest(sort="name", limit=500)
        names = [platform["name"] for platform in api.all("/platforms/", sort="host")]
        assert len(names) == len(set(names)) == 10_000
        assert len(last.json()) == 500
        # A list without an index or with a query for each row takes many times as long.
        assert max(seconds.values()) < 0.25, seconds


# -- secrets -----------------------------------------------------------------------------------------------


def test_secrets_are_in_no_answer_no_file_and_no_log(real_sshd: RealSshd, tmp_path: Path) -> None:
    passphrase = f"passphrase-{secrets.token_hex(8)}"
    private, public = make_key(tmp_path, passphrase=passphrase)
    real_sshd.add_key(public)
    variable = f"variable-{secrets.token_hex(8)}"
    wrong = f"wrong-{secrets.token_hex(8)}"
    with Server() as server:
        api = server.client()
        kept = {"name": "k", "public_key": public, "private_key": private, "passphrase": passphrase}
        key = api.post("/keys/", kept)
        platforms = [
            api.add_platform("one", real_sshd),
            api.add_platform("two", real_sshd, auth_method="private_key", key_id=key["id"]),
            api.add_platform(
                "three", real_sshd, auth_method="private_key", private_key=private, passphrase=passphrase
            ),
            api.add_platform("four", real_sshd, password=wrong),
        ]
        for values in (
            {"command": 'test -n "$TOKEN" && echo done', "environment": {"TOKEN": variable}},
            {"type": "run_script", "script": {"text": "echo ${#TOKEN}"}, "environment": {"TOKEN": variable}},
            {"type": "deploy"},
            {"type": "gather_facts"},
            {"type": "test_connection"},
        ):
            job = api.wait_job(api.start_job(**values))
            assert job["counts"]["success"] == 3, job
        # Refused requests with secrets in them.
        api.http.post("/platforms/", json={"name": "x", "password": wrong, "port": 0})
        api.http.post("/keys/", json={**kept, "name": "again"})
        api.http.post("/auth/login", json={"username": "admin", "password": wrong})
        answers = [
            api.http.get(path, params={"limit": 500}).text
            for path in ("/platforms/", "/keys/", "/jobs/", "/tasks/", "/audit/")
        ]
        answers += [
            api.http.get("/settings").text,
            *(api.http.get(f"/platforms/{row['id']}").text for row in platforms),
        ]
        tokens = [api.tokens["refresh_token"], api.tokens["access_token"]]
        server.stop()
        files = {
            path: path.read_bytes()
            for path in server.data_dir.rglob("*")
            if path.is_file() and path.name not in ("fernet_key", "secret_key")
        }
        keys = [server.fernet_key, server.secret_key]
        hidden = [
            real_sshd.user.password,
            passphrase,
            variable,
            wrong,
            private.splitlines()[3],
            "correct-horse-battery",
        ]
        for secret in [*hidden, *tokens, *keys]:
            for answer in answers:
                assert secret not in answer
            for path, content in files.items():
                assert secret.encode() not in content, path
        if server.servers:
            return
        assert any(path.name == "testum.db" for path in files)
        for name in ("fernet_key", "secret_key"):
            assert (server.data_dir / name).stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_a_process_list(api: Api, real_sshd: RealSshd) -> None:
    """On the host that runs the command, where others may look."""
    variable = f"variable-{secrets.token_hex(8)}"
    platform = api.add_platform(unique(), real_sshd)
    job_id = api.start_job(
        "sleep 20; echo $TOKEN", environment={"TOKEN": variable}, targets={"platform_ids": [platform["id"]]}
    )

    def shown() -> str:
        return subprocess.run(
            ["ps", "-ww", "-u", real_sshd.user.name, "-o", "args"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    until(lambda: "sleep 20" in shown())
    assert (
        variable
        not in subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    )
    api.post(f"/jobs/{job_id}/cancel")
    assert api.wait_job(job_id)["status"] == "cancelled"
