"""`testum exec` as seen from the shell: streams, order, folding, exit status."""

import json
import os
import re
import subprocess

import pytest

from .conftest import TESTUM, Cli
from .fake_api import FakeApi

WEB = [f"web{number:02d}" for number in range(1, 13)]


def hello(name: str) -> list[tuple[object, ...]]:
    return [("stdout", f"hello from {name}\n".encode()), ("stderr", b"careful\n"), ("exit", 0)]


def test_lines_bear_the_name_and_keep_their_stream(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("web1", "db1")
    fake.commands["hi"] = hello
    ran = cli("exec", "hi", "--all")
    assert ran.returncode == 0
    assert sorted(ran.stdout.splitlines()) == [b"db1: hello from db1", b"web1: hello from web1"]
    errors = ran.stderr.decode()
    assert "web1: careful\n" in errors and "db1: careful\n" in errors
    assert re.search(r"^2 of 2 succeeded in [0-9.]+ s\.$", errors, re.MULTILINE)


def test_hosts_do_not_mix_within_a_line(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms(*WEB)
    fake.commands["slow"] = lambda name: [("stdout", piece) for piece in (b"one ", b"two ", b"three\nlast")]
    ran = cli("exec", "slow", "--all")
    expected = sorted(f"{name}: {text}" for name in WEB for text in ("one two three", "last"))
    assert sorted(ran.stdout.decode().splitlines()) == expected


def test_bytes_are_exact_in_a_pipe(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")
    bites = b"\x00\x1b[31m\xff\xfe\r\xc2\x9b\n\xf0\x9f\x98\x80\r\n"
    fake.commands["bite"] = lambda name: [("stdout", bites)]
    lines = bites.split(b"\n")[:-1]
    assert cli("exec", "bite", "--all").stdout == b"".join(b"h: " + line + b"\n" for line in lines)


def test_a_line_longer_than_memory_stays_whole(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a", "b")
    piece = b"x" * 100_000
    fake.commands["long"] = lambda name: [("stdout", piece)] * 12 + [("stdout", b"end\n")]
    ran = cli("exec", "long", "--all")
    assert sorted(ran.stdout.splitlines()) == [b"a: " + piece * 12 + b"end", b"b: " + piece * 12 + b"end"]


def test_failures_are_named_with_their_reason(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms(*WEB)
    fake.commands["false"] = lambda name: (
        [("exit", 3)] if name in ("web03", "web04") else
        [("fail", "auth_failed", "The password was not accepted.")] if name == "web07" else [("exit", 0)]
    )  # fmt: skip
    ran = cli("exec", "false", "--all")
    assert ran.returncode == 1
    errors = ran.stderr.decode()
    assert re.search(r"^9 of 12 succeeded in .* s; testum jobs show [0-9a-f-]{36}$", errors, re.MULTILINE)
    assert "  web[03-04] (2): exit_status 3\n" in errors
    assert "  web07: auth_failed: The password was not accepted.\n" in errors


def test_group_folds_the_same_output(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms(*WEB)
    fake.commands["v"] = lambda name: (
        [("stdout", b"new\n")] if name == "web05" else
        [("stdout", b"ol"), ("sleep", 0.01), ("stdout", b"d\n")] if name != "web06" else
        [("stdout", b"old\n"), ("exit", 2)]
    )  # fmt: skip
    ran = cli("exec", "v", "--all", "-b")
    rule = "-" * 15
    assert ran.stdout.decode() == (
        f"{rule}\nweb[01-04,07-12] (10)\n{rule}\nold\n"
        f"{rule}\nweb05\n{rule}\nnew\n"
        f"{rule}\nweb06 exit 2\n{rule}\nold\n"
    )
    assert ran.returncode == 1


def test_group_keeps_stdout_and_stderr_apart(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("a", "b", "c")
    fake.commands["v"] = lambda name: [("stderr" if name == "b" else "stdout", b"x")]
    assert b"a,c (2)" in cli("exec", "v", "--all", "--group").stdout


def test_json_is_one_document_and_follows_pages(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms(*WEB)
    fake.page_size = 5
    fake.commands["hi"] = hello
    ran = cli("exec", "hi", "--all", "--json")
    answer = json.loads(ran.stdout)
    assert answer["job"]["counts"]["success"] == 12
    assert {task["stdout"] for task in answer["tasks"]} == {f"hello from {name}\n" for name in WEB}
    assert ran.returncode == 0


def test_a_cut_stream_goes_on_without_gap_or_duplicate(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")
    fake.commands["count"] = lambda name: [("stdout", f"{number}\n".encode()) for number in range(50)]
    fake.cuts = [5, 20, 1]
    ran = cli("exec", "count", "--all")
    assert ran.stdout.decode().split() == [word for number in range(50) for word in ("h:", str(number))]
    assert len(fake.connects) == 4 and fake.connects[0] == 0 < fake.connects[1] < fake.connects[2]
    assert ran.returncode == 0


def test_a_token_that_ends_during_the_job_is_renewed(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")

    def steps(name: str):  # type: ignore[no-untyped-def]
        yield ("stdout", b"before\n")
        fake.access.clear()
        yield ("stdout", b"after\n")

    fake.commands["x"] = steps
    fake.cuts = [2]
    ran = cli("exec", "x", "--all")
    assert ran.stdout == b"h: before\nh: after\n"
    assert (ran.returncode, fake.refreshes, fake.reused) == (0, 1, 0)


@pytest.mark.parametrize(("code", "text"), [(4403, b"may not watch"), (4404, b"no such job")])
def test_a_stream_that_is_refused_ends_with_3(cli: Cli, fake: FakeApi, code: int, text: bytes) -> None:
    fake.add_platforms("h")
    fake.stream_code = code
    ran = cli("exec", "x", "--all")
    assert ran.returncode == 3
    assert text in ran.stderr and b"Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("exec", "id", "--on", "nope*"), b"No platform matches names nope*."),
        (("exec", "id"), b"--on, --tag, --selection or --all"),
        (("exec", "id", "--on", "web[9-2]"), b"runs backwards"),
        (("exec", "id", "--all", "--bogus"), b"No such option"),
        (("exec", "--all", "--env", "NOT_SET_HERE", "id"), b"--env NOT_SET_HERE: has no value here."),
        (("exec", "echo", "-b", "hi", "--all"), b"Where? Name platforms"),
        (("exec", "--all", "--idle-timeout", "inf", "id"), b"--idle-timeout: a number of seconds, please."),
        (("exec", "--all"), b"What is to run?"),
    ],
)
def test_wrong_use_is_2(cli: Cli, args: tuple[str, ...], text: bytes) -> None:
    ran = cli(*args)
    assert ran.returncode == 2
    assert text in ran.stderr and ran.stdout == b"" and b"Traceback" not in ran.stderr


def test_selectors_and_limits_reach_the_server(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("web01", "web02", "db1", tags=("prod",))
    options = ("--tag", "prod", "--timeout", "5", "--concurrency", "7")
    assert cli("exec", "--on", "web[01-03],db*", *options, "--", "ls", "-l").returncode == 0
    body = fake.posted[-1]
    assert body["targets"] == {"names": ["web01", "web02", "web03", "db*"], "tags": ["prod"]}
    assert (body["type"], body["command"], body["timeout"], body["concurrency"]) == (
        "run_command",
        "ls -l",
        5,
        7,
    )


def test_a_script_goes_with_its_arguments(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")
    text = "#!/usr/bin/env python3\nprint(1)\n"
    (cli.home / "s.py").write_text(text)
    assert cli("exec", "--all", "--script", "s.py", "--", "-v", "two words").returncode == 0
    assert fake.posted[-1]["script"] == {
        "text": text, "arguments": ["-v", "two words"], "interpreter": "/usr/bin/env python3",
    }  # fmt: skip
    assert cli("exec", "--all", "--script", "-", "--interpreter", "sh", stdin=b"id\n").returncode == 0
    assert fake.posted[-1]["script"] == {"text": "id\n", "arguments": [], "interpreter": "sh"}
    done = cli("exec", "--all", "--script", "-", stdin=b"\xef\xbb\xbf#!/bin/bash\r\nid\r\n")
    assert b"it is sent with LF" in done.stderr and fake.posted[-1]["script"]["interpreter"] == "/bin/bash"


def test_a_reader_that_leaves_is_no_traceback(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("h")
    fake.commands["many"] = lambda name: [("stdout", b"line\n" * 1000)] * 30
    process = cli.start("exec", "many", "--all")
    assert process.stdout and process.stderr
    os.read(process.stdout.fileno(), 10)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(10) == 141
    assert b"Traceback" not in errors and b"BrokenPipe" not in errors


WORDS = {
    "echo -b hi": ("--all", "echo", "-b", "hi"),
    "ls --all --help": ("--on", "w1", "ls", "--all", "--help"),
    "-x": ("--all", "--", "-x"),
    "ls -la": ("ls -la", "--all"),
    "id --json": ("-b", "--tag", "t", "id", "--json"),
}


@pytest.mark.parametrize("command", WORDS)
def test_options_end_at_the_first_word(cli: Cli, fake: FakeApi, command: str) -> None:
    fake.add_platforms("w1", tags=("t",))
    assert cli("exec", *WORDS[command]).returncode == 0
    assert fake.posted[-1]["command"] == command


def test_what_a_command_is_given(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("w1")
    cli.extra["TOKEN"] = "kept"
    values = ("--env", "A=b=c", "--env", "TOKEN", "--env", "EMPTY=")
    assert cli("exec", "--all", *values, "--idle-timeout", "2.5", "env").returncode == 0
    assert fake.posted[-1]["environment"] == {"A": "b=c", "TOKEN": "kept", "EMPTY": ""}
    assert fake.posted[-1]["idle_timeout"] == 2.5
    assert cli("exec", "--all", "--interpreter", "python3 -u", "print(1)").returncode == 0
    assert fake.posted[-1]["type"] == "run_script"
    assert fake.posted[-1]["script"] == {"text": "print(1)", "interpreter": "python3 -u"}


def test_what_is_piped_is_not_dropped_in_silence(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("w1")
    ran = cli("exec", "--all", "cat", stdin=b"x")
    assert ran.returncode == 2 and b"The command would get nothing of what is piped" in ran.stderr
    assert not fake.posted
    names = cli.home / "names"
    names.write_text("one\ntwo\n")
    loop = f"while read name; do {TESTUM} exec --all true || exit 9; done < {names}"
    ran = subprocess.run(["sh", "-c", loop], env=cli.env, capture_output=True, check=False)
    assert ran.returncode == 9 and b"or add </dev/null" in ran.stderr
    # A pipe into which nobody writes, as of a program that starts others, is no input.
    with subprocess.Popen([TESTUM, "exec", "--all", "true"], stdin=subprocess.PIPE, env=cli.env) as process:
        assert process.wait(30) == 0


def test_what_is_piped_while_it_runs_is_told_at_the_end(cli: Cli, fake: FakeApi) -> None:
    fake.add_platforms("w1")
    fake.commands["slow"] = lambda name: [("stdout", b"begun\n"), ("sleep", 1.0)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [TESTUM, "exec", "--all", "slow"], stdin=pipe, stdout=pipe, stderr=pipe, env=cli.env
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"w1: begun\n"
        process.stdin.write(b"late\n")
        process.stdin.flush()
        assert process.wait(30) == 2
        assert b"got nothing of what was piped to testum meanwhile" in process.stderr.read()
