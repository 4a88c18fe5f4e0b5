"""Platforms, keys and imports, from the shell."""

import json
import subprocess
from pathlib import Path

import pytest

from testum.cli.failures import WrongUse
from testum.cli.importing import read_inventory
from testum.cli.platforms import split_address

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


def test_a_key_and_a_password(cli: Cli, fake: FakeApi, key: Path, tmp_path: Path) -> None:
    ran = cli(
        "platforms", "add", "x", "u@h", "-i", str(key), "--and-password", "--password-stdin", stdin=b"pw\n"
    )
    assert ran.returncode == 0, ran.stderr
    sent = fake.posted[-1]
    assert (sent["auth_method"], sent["password"]) == ("key_and_password", "pw")
    assert sent["private_key"] == key.read_text()
    for wrong in (["--and-password"], ["-i", str(key), "--password-stdin"]):
        assert cli("platforms", "add", "y", "u@h", *wrong, stdin=b"pw\n").returncode == 2
    listed = tmp_path / "hosts.csv"
    listed.write_text(f"name,host,username,auth_method,password,key_file\nz,h,u,key_and_password,pw,{key}\n")
    ran = cli("platforms", "import", str(listed))
    assert ran.returncode == 0, ran.stderr
    sent = fake.posted[-1]
    assert (sent["auth_method"], sent["password"], sent["private_key"]) == (
        "key_and_password",
        "pw",
        key.read_text(),
    )


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


def test_import_csv(cli: Cli, fake: FakeApi, key: Path) -> None:
    fake.add_platforms("old")
    (cli.home / "key").write_text(key.read_text())
    (cli.home / "hosts.csv").write_text(
        "name,host,port,username,password,key_file,tags\n"
        "old,1.1.1.1,,u,p,,\n"
        "one,1.1.1.2,2222,u,p,,a b\n"
        "two,bad host,,u,p,,\n"
        "three,1.1.1.3,99999,u,p,,\n"
        "one,1.1.1.4,,u,p,,\n"
        "four,1.1.1.5,,u,,key,\n"
        "five,1.1.1.6,,u,,missing,\n"
    )
    dry = cli("platforms", "import", "hosts.csv", "--dry-run")
    assert dry.returncode == 1 and len(fake.platforms) == 1
    assert b"3 would be added, 1 already there, 3 with problems." in dry.stdout
    ran = cli("platforms", "import", "hosts.csv")
    assert ran.returncode == 1
    assert ran.stdout.decode().splitlines() == [
        "! line 5: three: port: a number from 1 to 65535",
        "! line 6: one: one is already on line 3",
        "= old is already there",
        "+ one u@1.1.1.2:2222",
        "! line 4: two: The request is not valid.\\n  host: not a host name.",
        "+ four u@1.1.1.5:22",
        "! line 8: five: its key file missing does not exist",
        "2 added, 1 already there, 4 with problems.",
    ]
    assert {row["name"] for row in fake.platforms.values()} == {"old", "one", "four"}


def test_import_ssh_config_with_jumps_and_includes(cli: Cli, fake: FakeApi, key: Path) -> None:
    ssh = cli.home / ".ssh"
    (ssh / "config.d").mkdir(parents=True)
    (ssh / "id_ed25519").write_text(key.read_text())
    (ssh / "config.d" / "more").write_text(
        "Host inner\n  HostName 10.0.0.9\n  ProxyJump middle\nInclude config.d/*\n"
    )
    (ssh / "config").write_text(
        "Include config.d/*\n"
        "Host loop1\n ProxyJump loop2\nHost loop2\n ProxyJump loop1\n"
        "Host lost\n ProxyJump nowhere\n"
        "Host middle\n  ProxyJump outer@gate.example:2200\n"
        "Host gate\n  HostName gate.example\n  Port 2200\n  User outer\n"
        "Match exec true\n  User no\n"
        "Host *\n  User everyone\n"
    )
    ran = cli("platforms", "import", str(ssh / "config"))
    lines = ran.stdout.decode().splitlines()
    about = "inner, loop1, loop2, lost, middle, gate"
    assert lines[0] == f"note: line 14: Match is not used: it depends on the moment. It may be about {about}"
    assert [line for line in lines if line.startswith("+")] == [
        "+ gate outer@gate.example:2200",
        "+ middle everyone@middle:22 via gate",
        "+ inner everyone@10.0.0.9:22 via middle",
    ]
    # What includes itself ssh would not read at all.
    assert sorted(line.split(":")[1].strip() for line in lines if line.startswith("!")) == [
        "Include",
        "loop1",
        "loop2",
        "lost",
    ]
    rows = {row["name"]: row for row in fake.platforms.values()}
    assert rows["inner"]["jump_platform_id"] == rows["middle"]["id"]
    assert rows["middle"]["jump_platform_id"] == rows["gate"]["id"]
    assert ran.returncode == 1


def test_import_ansible_as_json(cli: Cli, fake: FakeApi) -> None:
    text = b"[web]\nweb[01:03] ansible_user=u ansible_password=p\n"
    ran = cli("platforms", "import", "-", "--json", stdin=text)
    answer = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert [(item["name"], item["tags"]) for item in answer["added"]] == [
        (f"web0{n}", ["web"]) for n in (1, 2, 3)
    ]
    again = json.loads(cli("platforms", "import", "-", "--json", stdin=text).stdout)
    assert (again["added"], again["existing"]) == ([], ["web01", "web02", "web03"])


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
