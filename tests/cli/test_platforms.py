"""Platforms, keys and imports, from the shell."""

import json
import subprocess
from pathlib import Path

import pytest

from testum.cli.addresses import split_address
from testum.cli.failures import WrongUse
from testum.cli.importing import read_inventory

from .conftest import Cli
from .fake_api import FakeApi


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "sesame", "-f", f"{path}-locked"], check=True)
    return path


@pytest.mark.parametrize("options", [["-u", "other"], ["-p", "23"]])
def test_an_address_and_options_that_contradict_each_other(
    cli: Cli, fake: FakeApi, options: list[str]
) -> None:
    ran = cli("platforms", "add", "p", "me@h:22", "--password-stdin", *options, stdin=b"pw\n")
    assert ran.returncode == 2 and b"contradict" in ran.stderr and not fake.posted


def test_a_platform_from_birth_to_removal(cli: Cli, fake: FakeApi) -> None:
    ran = cli(
        "platforms", "add", "web1", "root@10.0.0.1:2222", "--password-stdin", "--tag", "a", stdin=b"pw\n"
    )
    assert ran.returncode == 0
    assert fake.posted[-1] == {
        "name": "web1", "host": "10.0.0.1", "port": 2222, "username": "root", "tags": ["a"],
        "description": "", "auth_method": "password", "password": "pw",
    }  # fmt: skip
    assert (
        cli(
            "platforms", "add", "in", "::1", "-u", "me", "--password-stdin", "--jump", "web1", stdin=b"pw\n"
        ).returncode
        == 0
    )
    assert (fake.posted[-1]["host"], fake.posted[-1]["port"]) == ("::1", 22)
    assert fake.posted[-1]["jump_platform_id"] in fake.platforms
    assert cli("platforms", "list").stdout.decode().splitlines()[1].split() == [
        "web1",
        "root@10.0.0.1:2222",
        "password",
        "a",
    ]
    assert json.loads(cli("platforms", "show", "web1", "--json").stdout)["host"] == "10.0.0.1"
    assert cli("platforms", "remove", "web1").stdout == b"Removed web1.\n"
    gone = cli("platforms", "remove", "web1")
    assert gone.returncode == 3 and b"no platform named 'web1'" in gone.stderr


def test_a_key_and_a_password(cli: Cli, fake: FakeApi, key: Path) -> None:
    ran = cli(
        "platforms", "add", "x", "u@h", "-i", str(key), "--and-password", "--password-stdin", stdin=b"pw\n"
    )
    assert ran.returncode == 0, ran.stderr
    sent = fake.posted[-1]
    assert (sent["auth_method"], sent["password"]) == ("key_and_password", "pw")
    assert sent["private_key"] == key.read_text()
    for wrong in (["--and-password"], ["-i", str(key), "--password-stdin"]):
        assert cli("platforms", "add", "y", "u@h", *wrong, stdin=b"pw\n").returncode == 2


def test_field_errors_are_shown(cli: Cli) -> None:
    ran = cli("platforms", "add", "x", "u@a b", "--password-stdin", stdin=b"pw\n")
    assert ran.returncode == 3
    assert ran.stderr == b"testum: The request is not valid.\n  host: not a host name.\n"


def test_a_role_that_may_not(cli: Cli, fake: FakeApi) -> None:
    fake.forbid_writes = True
    ran = cli("platforms", "add", "x", "u@h", "--password-stdin", stdin=b"pw\n")
    assert (ran.returncode, ran.stderr) == (3, b"testum: A viewer may not do this.\n")


def test_a_private_key_with_a_passphrase(cli: Cli, fake: FakeApi, key: Path) -> None:
    ran = cli("platforms", "add", "x", "u@h", "-i", f"{key}-locked")
    assert ran.returncode == 2 and b"has a passphrase" in ran.stderr
    terminal = cli.terminal("platforms", "add", "x", "u@h", "-i", f"{key}-locked")
    terminal.read_until("Passphrase of")
    terminal.press(b"sesame\n")
    assert terminal.finish() == 0
    assert fake.posted[-1]["passphrase"] == "sesame" and "sesame" not in terminal.text


def test_keys(cli: Cli, fake: FakeApi, key: Path) -> None:
    assert (
        cli("keys", "add", "mine", f"{key}.pub", "--private-key", str(key)).stdout
        == b"Added key mine (SHA256:x).\n"
    )
    assert "PRIVATE KEY" in fake.posted[-1]["private_key"]
    assert b"mine  SHA256:x" in cli("keys", "list").stdout
    assert cli("platforms", "add", "x", "u@h", "--key", "mine").returncode == 0
    assert fake.posted[-1]["key_id"] in fake.keys
    assert cli("keys", "remove", "mine").returncode == 0 and not fake.keys
    assert cli("keys", "add", "bad", "missing.pub").returncode == 2


def test_a_list_longer_than_a_page(cli: Cli, fake: FakeApi) -> None:
    fake.page_size = 7
    fake.add_platforms(*(f"h{number}" for number in range(30)))
    assert len(cli("platforms", "list").stdout.splitlines()) == 31


def test_import_of_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for file, format in (("missing", None), (".", None), ("binary", None), ("binary", "yaml")):
        with pytest.raises(WrongUse):
            read_inventory(str(tmp_path / file), format)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("h", ("", "h", None)),
        ("u@h:22", ("u", "h", 22)),
        ("u@corp@h", ("u@corp", "h", None)),
        ("[::1]:2222", ("", "::1", 2222)),
        ("2001:db8::1", ("", "2001:db8::1", None)),
        ("[::1]", ("", "::1", None)),
    ],
)
def test_split_address(text: str, parts: tuple[str, str, int | None]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize(
    "pattern",
    [
        "{folder}/*",
        "{folder}/*.conf",
        "{folder}/*/x.conf",
        "{folder}/**/x.conf",
        "{folder}/[ab].conf",
        "{folder}/b.conf {folder}/a.conf",
        "~nosuchuser/x",
        "{folder}/a**",
        ".",
        "{folder}",
    ],
)
def test_the_files_of_an_include_are_those_of_ssh(tmp_path: Path, pattern: str) -> None:
    folder = tmp_path / "parts"
    for number, name in enumerate(
        ("b.conf", "a.conf", ".hid.conf", "a/x.conf", "a.b/x.conf", "a/deep/x.conf", ".h/x.conf"), 1
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"Host a\n  Port {number}\n")
    config = tmp_path / "config"
    config.write_text(f"Include {pattern.format(folder=folder)}\nHost a\n  Port 22\n")
    told = subprocess.run(["ssh", "-G", "-F", config, "a"], capture_output=True, text=True, check=True).stdout
    found, _ = read_inventory(str(config), "ssh-config")
    assert [f"port {draft.port}" for draft in found.drafts] == [
        line for line in told.splitlines() if line.startswith("port ")
    ]
    assert found.problems == []
