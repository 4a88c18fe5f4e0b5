"""SSH keys through the REST API: keeping, showing, deploying, deleting."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Api
from tests.support.sshd import RealSshd, run
from tests.support.tools import make_key, unique

pytestmark = pytest.mark.walls


@pytest.fixture
def host(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """The sshd, with its user's own `authorized_keys` empty."""
    folder = real_sshd.user.home / ".ssh"
    run("rm", "-rf", str(folder))
    yield real_sshd
    run("rm", "-rf", str(folder))


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_key_is_kept_as_it_was_sent(api: Api, tmp_path: Path, kind: str) -> None:
    _, public = make_key(tmp_path, "-t", kind)
    name = unique()
    made = api.post("/keys/", {"name": f"  {name} ", "public_key": f"\n{public}\r\n"})
    (tmp_path / "key").write_text(public)
    assert made["fingerprint"] == run("ssh-keygen", "-lf", str(tmp_path / "key")).split()[1]
    assert (made["name"], made["public_key"], made["created_by"]) == (name, public, "admin")
    assert made["has_private_key"] is False and uuid.UUID(made["id"]).version == 7
    assert api.get(f"/keys/{made['id']}") == made
    assert [key["id"] for key in api.get("/keys/", q=name.upper())] == [made["id"]]
    assert [key["id"] for key in api.get("/keys/", q=made["fingerprint"][7:30])] == [made["id"]]


@pytest.mark.walls(slow=True)
def test_a_private_half_is_kept_but_never_shown(api: Api, tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    _, other = make_key(tmp_path)
    foreign = api.http.post("/keys/", json={"name": unique(), "public_key": other, "private_key": private})
    assert (foreign.status_code, foreign.json()["errors"][0]["field"]) == (422, "private_key")
    answer = api.http.post("/keys/", json={"name": " ", "public_key": "no key", "passphrase": "alone"})
    assert answer.status_code == 422, "and all that is wrong is said at once"
    assert [item["field"] for item in answer.json()["errors"]] == ["name", "passphrase", "public_key"]
    made = api.post("/keys/", {"name": unique(), "public_key": public, "private_key": private})
    assert made["has_private_key"] is True
    assert "private_key" not in made and private.splitlines()[2] not in api.http.get("/keys/?limit=500").text


def test_deleting(api: Api, tmp_path: Path) -> None:
    made = api.post("/keys/", {"name": unique(), "public_key": make_key(tmp_path)[1]})
    answer = api.ok(api.http.delete(f"/keys/{made['id']}"))
    assert set(answer) == {"message"} and made["name"] in answer["message"]
    assert api.http.get(f"/keys/{made['id']}").status_code == 404
    assert api.http.delete(f"/keys/{made['id']}").status_code == 404
    again = api.post("/keys/", {"name": made["name"], "public_key": made["public_key"]})
    assert again["id"] != made["id"]


def test_keys_are_paged_and_sorted(api: Api, tmp_path: Path) -> None:
    mark = unique()
    for number in (2, 0, 3, 1):
        api.post("/keys/", {"name": f"{mark}-{number}", "public_key": make_key(tmp_path)[1]})
    page = api.http.get("/keys/", params={"q": mark, "limit": 3})
    assert (page.headers["x-total-count"], len(page.json())) == ("4", 3)
    assert [key["name"][-1] for key in api.all("/keys/", q=mark, limit=1)] == list("0123")
    assert [key["name"][-1] for key in api.all("/keys/", q=mark, limit=1, sort="-created_at")] == list("1302")


def deploy(api: Api, platform: Any, body: dict[str, Any]) -> Any:
    accepted = api.post(f"/platforms/{platform['id']}/deploy_keys", body)
    assert (accepted["status"], bool(accepted["message"])) == ("pending", True)
    api.wait_job(accepted["job_id"])
    return api.get(f"/tasks/{accepted['task_id']}")


def test_deploying_lets_the_key_in_once(api: Api, host: RealSshd, tmp_path: Path) -> None:
    private, public = make_key(tmp_path)
    key = api.post("/keys/", {"name": unique(), "public_key": public})
    platform = api.add_platform(unique("p"), host)
    first = deploy(api, platform, {"key_ids": [key["id"]]})
    assert (first["type"], first["status"]) == ("deploy", "success"), first
    assert (first["metadata"]["added"], first["metadata"]["changed"]) == ([key["name"]], True)
    file = host.user.home / ".ssh" / "authorized_keys"
    assert file.read_text() == public + "\n"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert file.stat().st_uid == host.user.uid
    second = deploy(api, platform, {"key_ids": [key["id"]]})
    assert (second["metadata"]["present"], second["metadata"]["changed"]) == ([key["name"]], False)
    assert file.read_text() == public + "\n"
    by_key = api.add_platform(unique("p"), host, auth_method="private_key", private_key=private)
    assert api.run("echo in", targets={"platform_ids": [by_key["id"]]})["stdout"] == "in\n"


def test_deploying_all_keys_keeps_what_others_wrote(api: Api, host: RealSshd, tmp_path: Path) -> None:
    folder = host.user.home / ".ssh"
    folder.mkdir(mode=0o700)
    _, present = make_key(tmp_path)
    before = f'# by hand\n\nfrom="10.0.0.0/8",no-pty {present}\nnot a key at all\r\n{present} again'
    (folder / "authorized_keys").write_text(before)
    run("chown", "-R", f"{host.user.uid}:{host.user.gid}", str(folder))
    mine = [api.post("/keys/", {"name": unique(), "public_key": make_key(tmp_path)[1]}) for _ in range(2)]
    there = api.post("/keys/", {"name": unique(), "public_key": present})
    task = deploy(api, api.add_platform(unique("p"), host), {})
    assert task["status"] == "success", task
    after = (folder / "authorized_keys").read_bytes().decode()
    assert after.startswith(before + "\n")
    new = after[len(before) + 1 :].splitlines()
    assert {key["public_key"] for key in mine} <= set(new)
    assert sorted(new) == sorted(set(new)) and present not in after[len(before) + 1 :]
    assert there["name"] in task["metadata"]["present"]
    assert {entry["public_key"] for entry in api.all("/keys/")} >= set(new)


@pytest.mark.walls(slow=True)
@pytest.mark.parametrize("rounds", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_many_platforms_with_one_home(api: Api, host: RealSshd, tmp_path: Path, rounds: int) -> None:
    """Deploy a key in each round to all of them at once; each task that said success has its key there."""
    mark = unique("shared")
    for number in range(30):
        # Under several names, as far as testum can know.
        api.add_platform(f"{mark}-{number}", host, host=host.address(number % 4), tags=[mark])
    lines = []
    for _ in range(rounds):
        public = make_key(tmp_path)[1]
        key = api.post("/keys/", {"name": unique(), "public_key": public})
        targets = {"tags": [mark]}
        job = api.post(
            "/jobs/",
            {"type": "deploy", "key_ids": [key["id"]], "targets": targets, "concurrency": 30},
        )
        assert api.wait_job(job["job_id"])["counts"]["success"] == 30
        lines.append(public)
        assert (host.user.home / ".ssh" / "authorized_keys").read_text().splitlines() == lines


def test_a_deployment_by_a_job_takes_the_keys_it_names(api: Api, host: RealSshd, tmp_path: Path) -> None:
    keys = [api.post("/keys/", {"name": unique(), "public_key": make_key(tmp_path)[1]}) for _ in range(2)]
    platform = api.add_platform(unique("p"), host)
    job_id = api.start_job(type="deploy", targets={"platform_ids": [platform["id"]]}, key_ids=[keys[1]["id"]])
    assert api.wait_job(job_id)["status"] == "success"
    assert (host.user.home / ".ssh" / "authorized_keys").read_text() == keys[1]["public_key"] + "\n"
    (entry,) = api.all("/audit/", action="job.deploy", object_id=job_id)
    assert entry["meta"]["key_ids"] == [keys[1]["id"]] and entry["meta"]["names"] == [platform["name"]]
