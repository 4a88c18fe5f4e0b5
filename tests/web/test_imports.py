"""Importing lists of hosts: the API, and the command line that gathers what is on the person's machine for it. The page is
looked at in tests/pages."""

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.inventories import ini, yaml
from tests.core.test_ssh_config import configuration
from tests.support import forkserver
from tests.support.application import Listening
from tests.support.server import Api
from tests.support.tools import make_key
from testum.cli.importing import Rows
from testum.core.lists import read_list

Testum = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site() -> Iterator[Listening]:
    with Listening() as application:
        yield application


@pytest.fixture
def api(site: Listening) -> Api:
    return site.client()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def testum(api: Api, home: Path) -> Testum:
    """`testum platforms import`, as the admin."""
    env = {
        **os.environ,
        "HOME": str(home),
        "TESTUM_URL": api.url,
        "TESTUM_TOKEN": api.tokens["access_token"],
        "USER": "me",
    }

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return forkserver.run_text("platforms", "import", *words, env=env, folder=home, stdin=stdin)

    return run


def there(api: Api) -> dict[str, Any]:
    """All platforms, by name."""
    return {row["name"]: row for row in api.all("/platforms/")}


def imported(api: Api, **body: Any) -> Any:
    return api.post("/platforms/import", {"username": "u", "password": "p", **body})


CSV = """name,host,port,username,password,tags
old,192.0.2.1,,u,p,
one,192.0.2.2,2222,u,p,a b
two,bad host,,u,p,
three,192.0.2.3,99999,u,p,
one,192.0.2.4,,u,p,
"""


@pytest.mark.walls
def test_a_list_as_text(api: Api) -> None:
    body = {"host": "192.0.2.99", "username": "x", "auth_method": "password", "password": "x"}
    api.post("/platforms/", {"name": "old", **body})
    dry = imported(api, text=CSV, tags=["new"], dry_run=True)
    assert [(step["name"], step["kind"], step["line"]) for step in dry["steps"]] == [
        ("old", "change", 2), ("one", "add", 3), ("two", "problem", 4),
    ]  # fmt: skip
    assert {(each["line"], each["name"]) for each in dry["problems"]} == {(5, "three"), (6, "one")}
    assert (dry["dry_run"], dry["add"], dry["change"], dry["same"], dry["problem"]) == (True, 1, 1, 0, 1)
    assert set(there(api)) == {"old"}
    done = imported(api, text=CSV, tags=["new"])
    assert done == {**dry, "dry_run": False}, "what was promised is what was done"
    rows = there(api)
    assert set(rows) == {"old", "one"} and rows["one"]["tags"] == ["a", "b", "new"]
    assert rows["old"]["host"] == "192.0.2.99", "what is there stays"
    imported(api, text=CSV, update=True)
    assert there(api)["old"]["host"] == "192.0.2.1"
    assert {step["kind"] for step in imported(api, text=CSV)["steps"]} == {"same", "problem"}
    (entry, *_) = api.all("/audit/", action="platform.create")
    assert entry["meta"]["name"] == "one"


def test_rows_and_the_keys_that_they_share(api: Api, tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    locked, _ = make_key(tmp_path, passphrase="sesame")
    hosts = [
        {"name": "a", "host": "192.0.2.1", "key": "k", "jumps": ["me@gate:2200"]},
        {"name": "b", "host": "192.0.2.2", "key": "locked", "port": 2222},
        {"name": "c", "host": "192.0.2.3", "key": "wrong"},
        {"name": "d", "host": "192.0.2.4", "key": "none"},
        {"name": "e", "host": "192.0.2.5", "problem": "its key file x does not exist"},
    ]
    keys = {
        "k": {"private_key": private},
        "locked": {"private_key": locked, "passphrase": "sesame"},
        "wrong": {"private_key": locked, "passphrase": "other"},
    }
    done = imported(api, hosts=hosts, keys=keys)
    assert {step["name"]: step["kind"] for step in done["steps"]} == {
        "a": "add", "b": "add", "c": "problem", "e": "problem", "gate": "add",
    }  # fmt: skip
    assert [each["name"] for each in done["problems"]] == ["d"]
    assert "sesame" not in json.dumps(done) and private not in json.dumps(done)
    rows = there(api)
    gate = rows["gate"]
    assert (gate["username"], gate["port"], gate["host"]) == ("me", 2200, "gate")
    assert rows["a"]["jump_platform_id"] == gate["id"] and rows["a"]["auth_method"] == "private_key"
    assert rows["b"]["has_passphrase"] is True


HOPS = {
    # How a hop is written, what is there already, and the user, host and port that it leads to.
    "gate": ([], ("u", "gate", 22)),
    "me@gate": ([], ("me", "gate", 22)),
    "me@gate:2200": ([], ("me", "gate", 2200)),
    "gate ": ([("gate", "192.0.2.9", "op", 2200)], ("op", "192.0.2.9", 2200)),
    "op@gate": ([("gate", "192.0.2.9", "op", 2200)], ("op", "192.0.2.9", 2200)),
    "me@gate ": ([("gate", "192.0.2.9", "op", 2200)], ("me", "gate", 22)),
    "gate:23": ([("gate", "192.0.2.9", "op", 2200)], ("u", "gate", 23)),
    "op@192.0.2.9:2200": ([("other", "192.0.2.9", "op", 2200)], ("op", "192.0.2.9", 2200)),
    "op@192.0.2.9": ([("other", "192.0.2.9", "op", 2200)], ("op", "192.0.2.9", 22)),
    "[2001:db8::1]:2200": ([], ("u", "2001:db8::1", 2200)),
}


@pytest.mark.parametrize("hop", HOPS)
def test_a_hop_is_never_another_user_or_port_than_written(api: Api, hop: str) -> None:
    present, (user, host, port) = HOPS[hop]
    for name, address, username, number in present:
        body = {
            "host": address,
            "username": username,
            "port": number,
            "auth_method": "password",
            "password": "p",
        }
        api.post("/platforms/", {"name": name, **body})
    list_ = {"hosts": [{"name": "far", "host": "192.0.2.1", "jumps": [hop.strip()]}]}
    dry = imported(api, **list_, dry_run=True)
    assert imported(api, **list_) == {**dry, "dry_run": False}
    rows = there(api)
    via = next(row for row in rows.values() if row["id"] == rows["far"]["jump_platform_id"])
    assert (via["username"], via["host"], via["port"]) == (user, host, port)
    promised = next(step for step in dry["steps"] if step["name"] == "far")["via"]
    assert via["name"] == promised
    again = imported(api, **list_)
    assert (again["add"], again["problem"]) == (0, 0) and len(there(api)) == len(rows)


@pytest.mark.parametrize("hop", ["x:²", "x:99999", "x" * 255, "@", ":22", "a@b@c:1"])
def test_odd_hops_fail_no_request(api: Api, hop: str) -> None:
    hosts = [
        {"name": "a", "host": "192.0.2.1", "jumps": [hop]},
        {"name": "b", "host": "192.0.2.2", "hop": hop},
    ]
    imported(api, hosts=hosts)
    answer = api.http.post(
        "/platforms/import", json={"text": f"Host a\n ProxyJump {hop}\n", "format": "ssh-config"}
    )
    assert answer.status_code == 200


def test_rings_and_what_leads_to_them(api: Api) -> None:
    number = 30
    ring = [{"name": f"r{each}", "host": "h", "jumps": [f"r{(each + 1) % number}"]} for each in range(number)]
    tail = [
        {"name": f"t{each}", "host": "h", "jumps": [f"t{each - 1}" if each else "r0"]}
        for each in range(number)
    ]
    dry = imported(api, hosts=[*ring, *tail], dry_run=True)
    told = {step["name"]: step["message"] for step in dry["steps"]}
    assert told["r5"] == "the jump hosts would form a loop."
    assert told["t9"] == "its jump host t8 could not be added" and dry["problem"] == 2 * number


def test_a_dry_run_needs_no_secrets(api: Api) -> None:
    hosts = [{"name": "a", "host": "192.0.2.1", "key": "k"}]
    assert imported(api, hosts=hosts, keys={"k": {}}, dry_run=True)["add"] == 1
    refused = imported(api, hosts=hosts, keys={"k": {}})
    assert refused["add"] == 0 and not there(api), (
        "nor with a key that is nobody's, nor by another login than was asked for"
    )


def test_who_may_not(site: Listening, api: Api) -> None:
    viewer = site.account("viewer")
    answer = viewer.http.post("/platforms/import", json={"text": CSV})
    assert answer.status_code == 403
    for body in ({}, {"text": CSV, "hosts": []}, {"text": CSV, "nonsense": 1}, {"hosts": [{"host": "x"}]}):
        assert api.http.post("/platforms/import", json=body).status_code == 422
    assert not there(api)


# -- the command line --------------------------------------------------------------------------------------


def test_a_table_from_the_command_line(api: Api, testum: Testum, home: Path) -> None:
    private, _ = make_key(home)
    (home / "key").write_text(private)
    (home / "hosts.csv").write_text(
        "name,host,port,username,password,key_file,tags\n"
        "one,192.0.2.2,2222,u,p,,a b\n"
        "two,bad host,,u,p,,\n"
        "three,192.0.2.3,99999,u,p,,\n"
        "one,192.0.2.4,,u,p,,\n"
        "four,192.0.2.5,,u,,key,\n"
        "five,192.0.2.6,,u,,missing,\n"
    )
    dry = testum("hosts.csv", "--dry-run", "--tag", "new")
    assert dry.returncode == 1 and not there(api)
    assert dry.stdout.splitlines() == [
        "! line 4: three: port: a number from 1 to 65535",
        "! line 5: one: one is already on line 2",
        "+ one u@192.0.2.2:2222",
        "! line 3: two: host: must be a host name or an IP address.",
        "+ four u@192.0.2.5:22",
        "! line 7: five: its key file missing does not exist",
        "2 would be added, 0 already there, 4 with problems.",
    ], dry.stderr
    ran = testum("hosts.csv", "--tag", "new")
    assert ran.stdout.replace("2 added", "2 would be added") == dry.stdout
    rows = there(api)
    assert {name: row["tags"] for name, row in rows.items()} == {"one": ["a", "b", "new"], "four": ["new"]}
    (home / "hosts.csv").write_text("name,host,username,password\none,192.0.2.3,u,p\n")
    assert "= one is already there, and differs: host 192.0.2.2 -> 192.0.2.3" in testum("hosts.csv").stdout
    assert testum("hosts.csv", "--update").stdout.startswith("~ one: host 192.0.2.2 -> 192.0.2.3")
    assert there(api)["one"]["host"] == "192.0.2.3"


def test_an_ssh_configuration_with_jumps_and_includes(api: Api, testum: Testum, home: Path) -> None:
    ssh = home / ".ssh"
    (ssh / "config.d").mkdir(parents=True)
    private, _ = make_key(home)
    (ssh / "id_ed25519").write_text(private)
    (ssh / "config.d" / "more").write_text(
        "Host inner\n  HostName 192.0.2.9\n  ProxyJump middle\nInclude config.d/*\n"
    )
    (ssh / "config").write_text(
        "Include config.d/*\n"
        "Host loop1\n ProxyJump loop2\nHost loop2\n ProxyJump loop1\n"
        "Host astray\n ProxyCommand ssh -W %h:%p ssh.example\n"
        "Host middle\n  ProxyJump outer@gate.example:2200\n"
        "Host gate\n  HostName gate.example\n  Port 2200\n  User outer\n"
        "Match exec true\n  User no\n"
        "Host *\n  User everyone\n"
    )
    dry = testum(str(ssh / "config"), "--dry-run").stdout
    assert f"note: hosts of which nothing is said log in with {ssh}/id_ed25519, which is uploaded" in dry
    ran = testum(str(ssh / "config"))
    assert ran.stdout.replace(" added,", " would be added,") == dry
    lines = ran.stdout.splitlines()
    # Of gate the user stands before it.
    about = "inner, loop1, loop2, astray, middle"
    assert f"note: line 14: Match is not used: it depends on the moment. It may be about {about}" in lines
    assert "note: line 6: ssh.example is a jump host: it becomes a platform" in lines
    assert {line for line in lines if line.startswith("+")} == {
        "+ gate outer@gate.example:2200",
        "+ middle everyone@middle:22 via gate",
        "+ inner everyone@192.0.2.9:22 via middle",
        "+ astray everyone@astray:22 via ssh.example",
        "+ ssh.example everyone@ssh.example:22",
    }
    # What includes itself ssh would not read at all.
    assert sorted(line.split(":")[1].strip() for line in lines if line.startswith("!")) == [
        "Include",
        "loop1",
        "loop2",
    ]
    rows = there(api)
    assert rows["inner"]["jump_platform_id"] == rows["middle"]["id"]
    assert rows["middle"]["jump_platform_id"] == rows["gate"]["id"]
    assert ran.returncode == 1 and rows["gate"]["has_private_key"]


def test_an_inventory_as_json(api: Api, testum: Testum) -> None:
    text = "[web]\nweb[01:03] ansible_user=u ansible_password=p\n"
    ran = testum("-", "--json", stdin=text)
    answer = json.loads(ran.stdout)
    assert (ran.returncode, answer["add"]) == (0, 3)
    assert [(step["name"], step["tags"]) for step in answer["steps"]] == [
        (f"web0{n}", ["web"]) for n in (1, 2, 3)
    ]
    again = json.loads(testum("-", "--json", stdin=text).stdout)
    assert (again["add"], again["same"]) == (0, 3)


TABLE = (
    "name;host;port;user;tags\nweb;10.0.0.1;22;deploy;a b\nbad host;x y;;;\ndb;10.0.0.2;70000;;\nweb;twice;;;\n"
    "Datenbank;fe80::1;2222;;c\n"
)


@pytest.mark.parametrize("kind", ["csv", "ansible", "ssh-config"])
def test_page_and_command_line_plan_alike(api: Api, tmp_path: Path, kind: str) -> None:
    """The page sends the text; the command line reads it and sends rows, with what is on the person's machine."""
    api.post(
        "/platforms/",
        {"name": "h1", "host": "10.9.9.9", "username": "u", "auth_method": "password", "password": "p"},
    )
    texts = {
        "csv": [TABLE, TABLE.replace(";", ","), TABLE.replace(";", "\t")],
        "ansible": [make(seed) for make in (ini, yaml) for seed in range(6)],
        "ssh-config": [configuration(random.Random(seed), tmp_path) for seed in range(12)],
    }[kind]
    seen: set[str] = set()
    for text in texts:
        common = {"username": "u", "password": "p", "dry_run": True}
        by_page = api.post("/platforms/import", {"text": text, "format": kind, **common})
        inventory = read_list(text, kind)
        rows = Rows(tmp_path, by_default=False, dry_run=True)
        for draft in inventory.drafts:
            # Key files are read by the command line alone.
            rows.add(replace(draft, key_files=()), known=False)
        by_rows = api.post("/platforms/import", {"hosts": rows.hosts, "keys": rows.keys, **common})
        assert by_rows["steps"] == by_page["steps"], text
        assert by_page["problems"] == [asdict(each) for each in inventory.problems], text
        seen.update(step["kind"] for step in by_page["steps"])
    assert seen >= {"csv": {"add", "problem"}, "ansible": {"add", "change"}, "ssh-config": {"add"}}[kind]


def test_tags_for_all_hosts_of_a_list_on_the_page(api: Api) -> None:
    form = {"text": "name,host,tags\nt1,h,a\nt2,h,\n", "format": "csv", "username": "u", "password": "p"}
    page = f"{api.url}/platforms/import"
    headers = {"Origin": api.url}
    refused = api.http.post(page, data={**form, "tags": "ok -no"}, headers=headers)
    assert refused.status_code == 422 and 'value="ok -no"' in refused.text
    shown = api.http.post(page, data={**form, "tags": "b c"}, headers=headers)
    assert shown.status_code == 200 and 'name="tags" value="b c"' in shown.text
    api.http.post(page, data={**form, "tags": "b c", "really": "1"}, headers=headers)
    assert {name: api.all("/platforms/", name=name)[0]["tags"] for name in ("t1", "t2")} == {
        "t1": ["a", "b", "c"],
        "t2": ["b", "c"],
    }
