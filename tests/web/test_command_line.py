"""What the command line does with platforms, keys, selections and the audit log, against the real server and hosts."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import forkserver
from tests.support.application import Listening
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.tools import make_key, unique

Testum = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def testum(api: Api, tmp_path: Path) -> Testum:
    """The command, as the admin."""
    return command_of(api, tmp_path)


def command_of(api: Api, home: Path) -> Testum:
    env = {
        **os.environ,
        "HOME": str(home),
        "TESTUM_URL": api.url,
        "TESTUM_TOKEN": api.tokens["access_token"],
    }

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return forkserver.run_text(*words, env=env, stdin=stdin)

    return run


@pytest.fixture
def own_sshd(real_sshd: RealSshd) -> Iterator[RealSshd]:
    """An sshd whose host key the test may change."""
    sshd = RealSshd(user=real_sshd.user)
    yield sshd
    sshd.close()


def fine(ran: subprocess.CompletedProcess[str]) -> str:
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    return ran.stdout


def wrong(ran: subprocess.CompletedProcess[str], status: int, said: str) -> None:
    assert ran.returncode == status and said in ran.stderr and "Traceback" not in ran.stderr, ran


def test_keys_are_deployed(api: Api, testum: Testum, real_sshd: RealSshd, tmp_path: Path) -> None:
    platform = api.add_platform(unique(), real_sshd)["name"]
    mine, other = unique("k"), unique("k")
    for name in (mine, other):
        _, public = make_key(tmp_path)
        (tmp_path / f"{name}.pub").write_text(public)
        fine(testum("keys", "add", name, str(tmp_path / f"{name}.pub")))
    ran = testum("keys", "deploy", mine, "--on", platform)
    assert ran.returncode == 0 and "1 of 1 succeeded" in ran.stderr, ran
    kept = (real_sshd.user.home / ".ssh" / "authorized_keys").read_text()
    assert (tmp_path / f"{mine}.pub").read_text().split()[1] in kept
    assert (tmp_path / f"{other}.pub").read_text().split()[1] not in kept
    wrong(testum("keys", "deploy", "--on", platform), 2, "Which keys? Name some, or give --every-key.")
    wrong(testum("keys", "deploy", mine, "--every-key", "--on", platform), 2, "Which keys?")
    wrong(testum("keys", "deploy", mine), 2, "Where? Name platforms")
    wrong(
        testum("keys", "deploy", "no-such-key", "--on", platform), 3, "There is no key named 'no-such-key'."
    )


def test_a_platform_is_changed_and_tested(api: Api, testum: Testum, real_sshd: RealSshd) -> None:
    item = api.add_platform(unique(), real_sshd, tags=["a", "b"])
    name, place = item["name"], f"/platforms/{item['id']}"
    said = fine(testum("platforms", "test", name))
    assert said.startswith(f"{name}: logged in as {real_sshd.user.name}@127.0.0.1:{real_sshd.port} in ")
    assert "Host key: ssh-" in said and "(no key is trusted yet)" in said
    fine(
        testum(
            "platforms",
            "edit",
            name,
            "--tag",
            "c",
            "--untag",
            "a",
            "--description",
            "mail",
            "--name",
            f"{name}-x",
        )
    )
    changed = api.get(place)
    assert (changed["name"], changed["tags"], changed["description"]) == (f"{name}-x", ["b", "c"], "mail")
    # The stored password stays with the host that it is for.
    wrong(testum("platforms", "edit", item["id"], "--host", "root@127.0.0.9:2222"), 3, "password")
    assert api.get(place)["host"] == "127.0.0.1"
    fine(testum("platforms", "edit", item["id"], "--password-stdin", stdin="wrong\n"))
    ran = testum("platforms", "test", item["id"])
    assert ran.returncode == 1 and "password" in ran.stdout, ran
    wrong(testum("platforms", "edit", name), 3, "There is no platform named")
    warned = testum("platforms", "edit", item["id"], "--old-algorithm", "3des-cbc")
    assert warned.returncode == 0 and "who listens may break this" in warned.stderr
    assert api.get(f"/platforms/{item['id']}")["old_algorithms"] == ["3des-cbc"]
    fine(testum("platforms", "edit", item["id"], "--old-algorithm", ""))
    assert api.get(f"/platforms/{item['id']}")["old_algorithms"] == []
    wrong(testum("platforms", "edit", item["id"]), 2, "What is to be changed?")
    wrong(
        testum("platforms", "edit", item["id"], "--host", "a:70000"), 2, "a port is a number from 1 to 65535"
    )


def test_a_host_key_is_accepted(own_sshd: RealSshd, tmp_path: Path) -> None:
    # A server of its own: of refusals not more are written down one by one than forty a minute.
    with Listening() as own:
        api = own.client()
        testum = command_of(api, tmp_path)
        item = api.add_platform(unique(), own_sshd)
        job_id = api.start_job("true", targets={"platform_ids": [item["id"]]})
        assert api.wait_job(job_id)["status"] == "success"
        own_sshd.stop()
        own_sshd.new_host_key()
        own_sshd.start()
        ran = testum("platforms", "test", item["name"])
        assert ran.returncode == 1 and "(not the one that is trusted)" in ran.stdout, ran
        trusted = api.get(f"/platforms/{item['id']}")["known_host_fingerprint"]
        accept = ("platforms", "accept-key", item["name"])
        wrong(testum(*accept), 2, "nobody can be asked here. Give --fingerprint.")
        wrong(testum(*accept, "--fingerprint", trusted), 1, "shows another key, which is not accepted: ssh-")
        assert api.get(f"/platforms/{item['id']}")["known_host_fingerprint"] == trusted
        shown = [word for word in ran.stdout.split() if word.startswith("SHA256:")][-1]
        wrong(testum(*accept, "--fingerprint", shown), 3, "password: type it again")
        given = ("--fingerprint", shown, "--password-stdin")
        said = fine(testum(*accept, *given, stdin=f"{own_sshd.user.password}\n"))
        assert f"is trusted by ssh-ed25519 {shown} (trusted)." in said
        assert fine(testum("platforms", "test", item["name"])).endswith("(trusted)\n")
        told = json.loads(
            fine(testum("audit", "--object", item["id"], "--action", "platform.update", "--json"))
        )
        assert [entry["outcome"] for entry in told] == ["allowed", "refused"]
        assert shown in json.dumps(told[0]["meta"])
        own_sshd.stop()
        wrong(testum(*accept), 1, "showed no host key")


def test_selections_are_kept(api: Api, testum: Testum, real_sshd: RealSshd) -> None:
    tag, name = unique("t"), unique("s")
    for number in (1, 2, 3):
        api.add_platform(f"{tag}-{number}", real_sshd, tags=[tag])
    fine(testum("selections", "add", name, "--on", f"{tag}-*", "--tag", tag))
    assert f"{name}" in fine(testum("selections", "list"))
    shown = fine(testum("selections", "show", name))
    assert f"{tag}-[1-3]" in shown and f"tag {tag}" in shown, shown
    wrong(testum("selections", "add", name, "--all"), 3, "is there already")
    wrong(testum("selections", "add", unique()), 2, "Where? Name platforms")
    ran = testum("exec", "--selection", name, "echo", "-n", "ran")
    assert sorted(ran.stdout.split("\n"))[1:] == [f"{tag}-{number}: ran" for number in (1, 2, 3)], ran
    fine(testum("selections", "remove", name))
    wrong(testum("selections", "show", name), 3, f"There is no selection named '{name}'.")


def test_the_audit_log_is_read(api: Api, testum: Testum, real_sshd: RealSshd) -> None:
    item: Any = api.add_platform(unique(), real_sshd)
    api.http.patch(f"/platforms/{item['id']}", json={"description": "x"})
    lines = fine(testum("audit", "--object", item["id"])).splitlines()
    assert lines[0].split() == ["WHEN", "WHO", "WHAT", "OBJECT", "OUTCOME", "FROM"]
    assert [line.split()[2:4] for line in lines[1:]] == [
        ["platform.update", item["name"]],
        ["platform.create", item["name"]],
    ]
    assert len(fine(testum("audit", "--limit", "2")).splitlines()) == 3
    wrong(testum("audit", "--outcome", "maybe"), 2, "maybe")
