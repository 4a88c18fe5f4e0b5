"""How programs reach the host: whole, with what they were given, and without showing it."""

import shutil
import uuid

import asyncssh
import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker, run
from testum.ssh import Command, Script, Timeouts
from testum.ssh.errors import ProgramInvalid, Unsupported
from testum.ssh.program import Request, encode
from testum.ssh.session import Session

SHELLS = ["sh", "bash", "dash", "busybox sh", *(shell for shell in ("mksh", "zsh") if shutil.which(shell))]
ODD = [
    "",
    "a b",
    "it's",
    '"$(id)"',
    "line\nline\n",
    "\n",
    "\\n\\0",
    "тест ы",
    "\x01\x7f\r\t",
    "*",
    "-e",
    "a;b#c",
    "=ls",
    "=nowhere",
    "a=b",
]


@pytest.mark.parametrize("shell", SHELLS)
async def test_arguments_and_environment_arrive_exactly(pool, endpoint, shell):
    text = 'printf "%s\\037" "$@" "$V" "$W"\n'
    program = Script(text, shell, tuple(ODD), {"V": "x\n\n", "W": "".join(ODD)})
    out, err, ended = await run(pool, endpoint(), program)
    assert (err, ended.status) == (b"", 0)
    assert out.decode().split("\x1f")[:-1] == [*ODD, "x\n\n", "".join(ODD)]


async def test_a_commands_environment_arrives_exactly(pool, endpoint):
    values = {f"V{number}": value for number, value in enumerate(ODD)}
    text = "; ".join(f'printf "%s\\037" "${name}"' for name in values)
    out, _, ended = await run(pool, endpoint(), Command(text + "; cat; exit 4", values))
    assert (out.decode().split("\x1f")[:-1], ended.status) == (ODD, 4)


@pytest.mark.parametrize("shell", SHELLS)
async def test_options_are_in_force_for_the_script_only(pool, endpoint, shell):
    secret = f"geheim{uuid.uuid4().hex}"
    program = Script("echo one\nfalse\necho two\n", f"{shell} -eux", (secret,), {"V": secret})
    out, err, ended = await run(pool, endpoint(), program)
    assert (out, ended.status) == (b"one\n", 1)
    assert b"echo one" in err
    assert secret.encode() not in err
    assert b"TESTUM" not in err.replace(b"unset TESTUM_IN TESTUM_SET TESTUM_TEXT TESTUM_NL", b"")


async def test_o_pipefail(pool, endpoint):
    _, _, ended = await run(pool, endpoint(), Script("false | true", "bash -euo pipefail"))
    assert ended.status == 1


@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_messages_name_the_scripts_lines(pool, endpoint, shell):
    _, err, ended = await run(pool, endpoint(), Script("#!/bin/sh\ntrue\nnosuchcommand\n", shell))
    assert ended.status == 127
    assert b"3" in err.split(b"nosuchcommand")[0]


@pytest.mark.parametrize("shell", SHELLS)
async def test_what_a_script_ends_with(pool, endpoint, shell):
    for text, status in (("exit 255", 255), ("false", 1), ("(exit 42)\n\n", 42), ("# nothing", 0), ("", 0)):
        assert (await run(pool, endpoint(), Script(text, shell)))[2].status == status
    _, _, ended = await run(pool, endpoint(), Script("kill -KILL $$", shell))
    assert (ended.status, ended.signal) == (None, "KILL")


@pytest.mark.parametrize(
    ("interpreter", "text"),
    [
        ("python3 -u", "import sys, os; print('|'.join(sys.argv[1:] + [os.environ['V']])); sys.exit(5)"),
        ("perl", 'print join("|", @ARGV, $ENV{V}), "\\n"; exit 5;'),
        (
            "env LC_ALL=C python3",
            "import sys, os; print(*sys.argv[1:], os.environ['V'], sep='|'); sys.exit(5)",
        ),
        ("nice sh", 'echo "$1|$2|$V"; exit 5'),
    ],
)
async def test_other_interpreters(pool, endpoint, interpreter, text):
    out, err, ended = await run(pool, endpoint(), Script(text, interpreter, ("a b", "-c"), {"V": "v'w"}))
    assert (out, err, ended.status) == (b"a b|-c|v'w\n", b"", 5)


async def test_an_interpreter_that_is_not_there(pool, endpoint):
    _, err, ended = await run(pool, endpoint(), Script("x", "nosuchinterpreter"))
    assert ended.status == 127
    assert b"nosuchinterpreter" in err


@pytest.mark.parametrize("cut_at", ["in the settings", "before the text", "in the text", "in the trailer"])
@pytest.mark.parametrize("interpreter", ["sh", "bash", "python3"])
async def test_half_a_program_is_not_run(pool, endpoint, sshd, key_file, cut_at, interpreter):
    """An upload that breaks off runs nothing, whatever the half would do by itself."""
    text = "print('ran')\n" * 50 if interpreter == "python3" else "echo ran\n" * 50
    request = encode(Script(text, interpreter, (), {"V": "v" * 100}), marker())
    line = request.stdin.index(b"\n") + 1
    length = {
        "in the settings": line - 20,
        "before the text": line,
        "in the text": line + 90,
        "in the trailer": len(request.stdin) - 3,
    }[cut_at]
    async with asyncssh.connect(
        "127.0.0.1",
        sshd.port,
        username=sshd.user.name,
        client_keys=[str(key_file)],
        known_hosts=None,
        config=None,
    ) as connection:
        done = await connection.run(request.line, input=request.stdin[:length], encoding=None)
    assert done.stdout == b""
    assert done.exit_status == 255


@pytest.mark.parametrize(
    "program",
    [
        Command("a\0b"),
        Command(" \n"),
        Command("\ud800"),
        Script("a\0b"),
        Script("x", ""),
        Script("x", "sh 'unclosed"),
        Script("x", arguments=("\0",)),
        Command("x", {"1A": "x"}),
        Command("x", {"A B": "x"}),
        Command("x", {"A": "\0"}),
        Command("x", {"TESTUM_TASK": "x"}),
    ],
)
def test_what_cannot_be_sent_is_refused(program):
    with pytest.raises(ProgramInvalid):
        encode(program, marker())


def test_a_plain_host_takes_no_environment():
    with pytest.raises(Unsupported):
        encode(Command("x", {"A": "b"}, plain=True), marker())


async def test_nothing_is_put_around_a_plain_program(pool, endpoint):
    out, _, _ = await run(pool, endpoint(), Command('echo "[$TESTUM_TASK]"; ps -o args= -p $$', plain=True))
    assert out.startswith(b"[]\n")
    assert b"TESTUM_TASK=" not in out
    out, _, _ = await run(pool, endpoint(), Script('echo "$1 $#"', "sh", ("a b", "c"), plain=True))
    assert out == b"a b 2\n"


def test_secrets_do_not_show_in_a_repr():
    assert "geheim" not in repr(Script("geheim", environment={"A": "geheim"}))
    assert "geheim" not in repr(Command("x", {"A": "geheim"}))


async def test_a_refused_program_starts_nothing(pool, endpoint):
    with pytest.raises(ProgramInvalid):
        await begin(pool, endpoint(port=1), Command(""), marker=marker(), timeouts=Timeouts())


@pytest.mark.parametrize(
    "around", [(b"", b"out"), (b"motd testum-41 \n", b""), (b"testum-41 x", b"testum-41 7\n")]
)
async def test_the_mark_is_found_wherever_the_packets_end(around: tuple[bytes, bytes]) -> None:
    """It goes, with the shell's process id; what stands before it was printed by a start-up file, and what looks like it
    stays."""
    before, after = around
    whole = before + b"testum-41 4711\n" + after
    for first in range(len(whole) + 1):
        for second in range(first, len(whole) + 1):
            session = Session(Request("", mark=b"testum-41 ", nonce=b"n12345678"))
            for part in (whole[:first], whole[first:second], whole[second:]):
                session.data_received(part, None)
            held = list(session._held)
            assert b"".join(each.data for each in held if each.early) == before
            assert b"".join(each.data for each in held if not each.early) == after
            assert session.progress.shell is not None and session.progress.shell.pid == 4711
