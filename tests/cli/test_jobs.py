"""`testum jobs` and `testum tasks`."""

import json
import re

from .conftest import Cli
from .fake_api import FakeApi

BYTES = b"\x00\xffraw\r\n"


def test_after_the_fact(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("good", "bad")
    fake.commands["x"] = lambda name: [("stdout", BYTES), ("exit", int(name == "bad"))]
    cli("exec", "x", "--all")
    job_id = next(iter(fake.jobs))
    assert [job_id, "failed", "2/2", "admin", "x"] == cli("jobs", "list").stdout.decode().splitlines()[
        1
    ].split()
    shown = cli("jobs", "show", job_id).stdout.decode()
    assert re.search("^status: +failed$", shown, re.MULTILINE)
    assert any(line.split()[:4] == ["bad", "failed", "1", "exit_status:"] for line in shown.splitlines())
    document = json.loads(cli("jobs", "show", job_id, "--json").stdout)
    task = document["tasks"][0]
    fields = dict(
        line.split(":", 1) for line in cli("tasks", "show", task["id"]).stdout.decode().splitlines()
    )
    assert fields["platform_name"].strip() == task["platform_name"]
    assert cli("tasks", "output", task["id"]).stdout == BYTES
    watched = cli("jobs", "watch", job_id)
    assert watched.returncode == 1 and sorted(watched.stdout.split(b": ")) == sorted(
        (b"good: " + BYTES + b"bad: " + BYTES).split(b": ")
    )
    assert cli("jobs", "cancel", job_id).returncode == 0


def test_rerun_takes_those_that_failed(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("good", "bad")
    fake.commands["x"] = lambda name: [("exit", int(name == "bad"))]
    cli("exec", "x", "--all")
    ran = cli("jobs", "rerun", next(iter(fake.jobs)), "--only", "failed")
    assert b"on 1 platform" in ran.stdout
    assert [task["platform_name"] for task in list(fake.jobs.values())[1].tasks] == ["bad"]


def test_unknown_and_impossible_ids(cli: Cli) -> None:
    assert cli("jobs", "show", "00000000-0000-0000-0000-000000000000").returncode == 3
    assert cli("jobs", "show", "../auth/me").returncode == 2
