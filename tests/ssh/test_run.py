"""Running programs on a real OpenSSH server."""

import asyncio
import hashlib
import uuid

import pytest

from tests.ssh.conftest import begin
from tests.support.waiting import eventually, remains
from testum.ssh import Command, Exit, Output, Script, Timeouts
from testum.ssh.session import Session


def marker() -> str:
    return str(uuid.uuid4())


async def run(pool, endpoint, program, **timeouts):
    execution = await begin(pool, endpoint, program, marker=marker(), timeouts=Timeouts(**timeouts))
    got = {"stdout": b"", "stderr": b""}
    ended = None
    try:
        async for event in execution:
            if isinstance(event, Output):
                got[event.stream] += event.data
            else:
                ended = event
    finally:
        await execution.aclose()
    return got["stdout"], got["stderr"], ended


async def test_a_command(pool, endpoint):
    out, err, ended = await run(pool, endpoint(), Command("echo out; echo err >&2; exit 3"))
    assert (out, err, ended) == (b"out\n", b"err\n", Exit(3, None, False))


async def test_password(pool, by_password):
    assert (await run(pool, by_password, Command("id -un")))[2] == Exit(0, None, False)


async def test_stdin_of_a_command_is_empty(pool, endpoint):
    assert (await run(pool, endpoint(), Command("cat; echo done")))[0] == b"done\n"


async def test_a_signal(pool, endpoint):
    _, _, ended = await run(pool, endpoint(), Command("kill -9 $$"))
    assert ended == Exit(None, "KILL", False)


async def test_environment_does_not_show_in_the_process_list(pool, endpoint):
    secret = "geheim-" + uuid.uuid4().hex
    program = Command('printf %s "$SECRET"; ps axww', {"SECRET": secret, "ODD": "a'b\"c\n$d\\e\n"})
    out, _, ended = await run(pool, endpoint(), program)
    assert ended.status == 0
    assert out.startswith(secret.encode())
    assert secret.encode() not in out[len(secret) :]


@pytest.mark.parametrize("interpreter", ["/bin/sh", "bash", "/usr/bin/env bash", "bash -e"])
async def test_a_shell_script(pool, endpoint, interpreter):
    argument, value = f'it\'s {uuid.uuid4().hex}\n \\ "$x"', "välue\n\n"
    text = 'printf "%s|%s|%s" "$#" "$1" "$V"\ncat\nps axww\n# a comment at the end, with \\n and %s\n'
    out, err, ended = await run(pool, endpoint(), Script(text, interpreter, (argument, ""), {"V": value}))
    assert (ended.status, err) == (0, b"")
    assert out.startswith(f"2|{argument}|{value}".encode())
    shown = out[len(f"2|{argument}|{value}".encode()) :]
    assert b"ps axww" in shown
    assert b"comment at the end" not in shown
    assert argument.split()[1].encode() not in shown


async def test_a_python_script(pool, endpoint):
    text = "import os, sys\nprint(sys.argv[1:], os.environ['V'], sys.stdin.read() == '')\nsys.exit(7)\n"
    out, err, ended = await run(pool, endpoint(), Script(text, "python3 -u", ("a b", "c'd"), {"V": "x y"}))
    assert (out, err, ended.status) == (b"['a b', \"c'd\"] x y True\n", b"", 7)


async def test_a_large_script_arrives_whole(pool, endpoint):
    text = "\n".join(f"# {'x' * 90} {number}" for number in range(8000)) + "\necho whole\n"
    assert (await run(pool, endpoint(), Script(text)))[0] == b"whole\n"


async def test_many_commands_share_a_connection(pool, endpoint, sshd):
    target = endpoint()
    before = len(sshd.sessions())
    results = await asyncio.gather(*(run(pool, target, Command(f"echo {n}")) for n in range(20)))
    assert [out for out, _, _ in results] == [b"%d\n" % n for n in range(20)]
    assert len(sshd.sessions()) - before <= 3 * 3


async def test_bytes_come_exactly(pool, endpoint):
    text = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 40000)\n"
    out, _, _ = await run(pool, endpoint(), Script(text, "python3"))
    assert out == bytes(range(256)) * 40000


async def test_a_slow_reader_holds_the_sender_back(pool, endpoint):
    execution = await begin(
        pool,
        endpoint(),
        Command("head -c 50000000 /dev/zero; echo sent >&2"),
        marker=marker(),
        timeouts=Timeouts(),
    )
    await eventually(lambda: execution.execution._session.held_back)
    # All of it would come within a part of a second.
    await remains(lambda: execution.execution._session._held_bytes < 8 * 1024 * 1024, 0.5)
    digest, size = hashlib.sha256(), 0
    async for event in execution:
        if isinstance(event, Output) and event.stream == "stdout":
            assert len(event.data) <= 256 * 1024
            size += len(event.data)
            digest.update(event.data)
    await execution.aclose()
    assert size == 50_000_000
    assert digest.digest() == hashlib.sha256(bytes(50_000_000)).digest()


async def test_a_signal_with_a_name_of_the_servers_own():
    """It is kept as far as there is room for it."""
    session = Session()
    session.exit_signal_received("SIG" + "X" * 100, False, "", "")
    assert session.exit is not None
    assert session.exit.signal == "X" * 32
