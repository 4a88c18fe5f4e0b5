"""How a program is sent: the request starts a shell, and what is to be run follows when it may. What did not follow was not
run, and the host says so for a while."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import asyncssh
import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_accounts import SHELLS, path_of
from tests.ssh.test_run import marker
from tests.ssh.test_terminate import commands
from tests.support.waiting import eventually, until
from testum.ssh import Command, Exit, Progress, Script, Sought, SSHError, Timeouts
from testum.ssh.boot import HEADER
from testum.ssh.program import encode

PROGRAMS = {
    "command": Command("touch ran", {"V": "v"}),
    "script": Script("touch ran\n" * 2000),
    "other interpreter": Script("open('ran', 'w')\n" * 2000, "python3", ("a",)),
}
ATTEMPT = "12"


class Gate:
    """What has to be waited for before a program is sent."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> None:
        self.asked.set()
        await self.open


def words(name: str) -> list[int]:
    """The processes that say of this marker that nothing was run."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"TESTUM_NOT_RUN={ATTEMPT}-{name}".encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
    return found


async def test_the_shell_starts_while_the_program_may_not_go_out_yet(pool, endpoint, sshd):
    gate, name = Gate(), marker()
    progress = Progress(gate, ATTEMPT)
    program = Command("echo $((1 + 1)); cat", {"V": "v"})
    running = asyncio.ensure_future(
        begin(pool, endpoint(), program, marker=name, timeouts=Timeouts(total=20), progress=progress)
    )
    await eventually(lambda: commands(sshd, f"TESTUM_TASK={name}"))
    assert gate.asked.is_set() and not progress.sent and not running.done()
    gate.open.set_result(None)
    execution = await running
    events = [event async for event in execution]
    await execution.aclose()
    assert b"".join(event.data for event in events[:-1]) == b"2\n"
    assert events[-1] == Exit(0, None, False) and progress.sent


@pytest.mark.parametrize("how", ["cancelled", "refused"])
@pytest.mark.parametrize("kind", ["command", "script"])
async def test_what_may_not_go_out_after_all_leaves_nothing(pool, endpoint, sshd, how, kind):
    gate, name, host = Gate(), marker(), endpoint()
    progress = Progress(gate, ATTEMPT)
    running = asyncio.ensure_future(
        begin(pool, host, PROGRAMS[kind], marker=name, timeouts=Timeouts(), progress=progress)
    )
    await eventually(lambda: commands(sshd, f"TESTUM_TASK={name}"))
    if how == "cancelled":
        running.cancel()
    else:
        gate.open.set_exception(LookupError())
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else LookupError):
        await running
    assert not progress.sent
    await eventually(lambda: not commands(sshd, name))
    # One to which nothing comes would have left word.
    assert not words(name) and not (sshd.user.home / "ran").exists()
    found = await pool.look(host, [Sought(name, end=False, since=30, attempt=ATTEMPT)], grace=1)
    assert (found.of_each[0].state, found.of_each[0].never_ran) == ("confirmed", False)


async def test_a_connection_that_breaks_before_the_program_goes_out(pool, endpoint, sshd):
    """It is not sent again: one attempt has one shell, whose word is its own."""
    gate, name = Gate(), marker()
    progress = Progress(gate, ATTEMPT)
    running = asyncio.ensure_future(
        begin(pool, endpoint(), PROGRAMS["command"], marker=name, timeouts=Timeouts(), progress=progress)
    )
    await eventually(lambda: commands(sshd, f"TESTUM_TASK={name}"))
    sshd.cut()
    await eventually(lambda: words(name))
    gate.open.set_result(None)
    with pytest.raises(SSHError, match="Nothing of it was run"):
        await running
    assert not progress.sent and not (sshd.user.home / "ran").exists()
    os.kill(words(name)[0], signal.SIGTERM)


async def test_a_shell_that_ends_before_the_program_may_go_out(pool, endpoint, sshd):
    """Its end is told as ever."""
    gate, name = Gate(), marker()
    running = asyncio.ensure_future(
        begin(pool, endpoint(), Command("true"), marker=name, timeouts=Timeouts(), progress=Progress(gate))
    )
    await eventually(lambda: commands(sshd, f"TESTUM_TASK={name}"))
    for pid in sshd.user.processes():
        with suppress(OSError):
            if f"TESTUM_TASK={name}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)
    await eventually(lambda: not commands(sshd, f"TESTUM_TASK={name}"))
    gate.open.set_result(None)
    execution = await running
    with pytest.raises(SSHError, match="by signal TERM without having shown"):
        await anext(execution)
    await execution.aclose()


@pytest.mark.parametrize("kind", ["command", "other interpreter"])
async def test_the_host_says_of_what_did_not_arrive_that_it_never_ran(pool, endpoint, sshd, key_file, kind):
    """Nothing came, or not all: the attempt that was cut off is known by its name, and by no other."""
    whole = encode(PROGRAMS[kind], marker(), ATTEMPT).stdin
    cuts = [0, 20, len(whole) // 2 + 20, len(whole) - 3]
    names = [marker() for _ in cuts]
    for name, cut in zip(names, cuts, strict=True):
        request = encode(PROGRAMS[kind], name, ATTEMPT)
        connection = await asyncssh.connect(
            "127.0.0.1",
            sshd.port,
            username=sshd.user.name,
            client_keys=[str(key_file)],
            known_hosts=None,
            config=None,
        )
        process = await connection.create_process(request.line, encoding=None)
        process.stdin.write(request.stdin[:cut])
        await eventually(lambda name=name: commands(sshd, f"TESTUM_TASK={name}"))
        connection.abort()
    said: list[bool] = []

    def all_say() -> bool:
        said[:] = [bool(words(name)) for name in names]
        return all(said)

    await eventually(all_say, otherwise=lambda: f"{said} of {commands(sshd, '')}")
    sought = [
        Sought(name, end=end, since=30, attempt=attempt)
        for attempt in (ATTEMPT, "1", "")
        for name, end in zip(names, (False, True, False, True), strict=True)
    ]
    found = (await pool.look(endpoint(), sought, grace=1)).of_each
    assert [(one.state, one.never_ran, one.strays) for one in found] == [
        *[("confirmed", True, ())] * 4,
        *[("confirmed", False, ())] * 8,
    ]
    assert not (sshd.user.home / "ran").exists()
    for name in names:
        for pid in words(name):
            os.kill(pid, signal.SIGTERM)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path("/tmp") / f"testum-t-{marker()}"
    made.mkdir()
    yield made
    shutil.rmtree(made)


def unread(pipe: IO[bytes]) -> int:
    """How many bytes in a pipe nobody has taken (ioctl_tty(2), FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(pipe.fileno(), termios.FIONREAD, b"\0" * 4), sys.byteorder)


def test_programs_end_by_a_broken_pipe_as_ever(folder):
    """That nobody is told is ignored only where the beginning says that it begins."""
    ended = []
    for shell in (path_of(shell, folder) for shell in SHELLS if shell == "busybox" or shutil.which(shell)):
        for program in (Command("kill -PIPE $$"), Script("kill -PIPE $$"), Script("kill -PIPE $$", "sh -x")):
            request = encode(program, marker(), ATTEMPT)
            done = subprocess.run(
                [shell, "-c", request.line],
                input=request.stdin,
                capture_output=True,
                check=False,
                cwd=folder,
                env={"SHELL": shell, "PATH": os.environ["PATH"], "HOME": str(folder)},
            )
            ended.append(
                (
                    Path(shell).name,
                    program.text,
                    abs(done.returncode) in (signal.SIGPIPE, 128 + signal.SIGPIPE),
                )
            )
    assert all(fine for *_, fine in ended), ended


def test_in_every_shell(folder):
    """With the connection gone, word stays that nothing was run; while somebody listens, that is told, and nothing stays."""
    shells = [path_of(shell, folder) for shell in SHELLS if shell == "busybox" or shutil.which(shell)]
    started: dict[tuple[str, str, str], tuple[subprocess.Popen[bytes], str]] = {}
    later: dict[subprocess.Popen[bytes], bytes] = {}
    for shell in shells:
        for kind, program in PROGRAMS.items():
            # "late": all of it arrives, and nobody is there any more to be told that it begins.
            for gone in ("", "gone", "late"):
                name = marker()
                request = encode(program, name, ATTEMPT)
                process = subprocess.Popen(
                    [shell, "-c", request.line],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=folder,
                    env={"SHELL": shell, "PATH": os.environ["PATH"], "HOME": str(folder)},
                )
                assert process.stdin
                part = len(HEADER) if kind == "command" else len(request.stdin) // 2
                process.stdin.write(request.stdin[:part])
                process.stdin.flush()
                rest = request.stdin[part:] if gone == "late" else b""
                started[Path(shell).name, kind, gone] = process, name
                later[process] = rest
    for case, (process, _) in started.items():
        gone = case[2]
        assert process.stdin and process.stdout and process.stderr
        # Our shell has begun by then. An account's own may complain while it starts, and ends where nobody listens.
        until(
            lambda process=process: process.poll() is not None or not unread(process.stdin),
            otherwise=lambda case=case, process=process: f"{case} has not read {unread(process.stdin)} bytes",
        )
        if gone:
            # Before stdin ends: a second after that, the shell complains.
            process.stdout.close()
            process.stderr.close()
        process.stdin.write(later[process])
        process.stdin.close()
    wrong = []
    for case, (process, name) in started.items():
        status = process.wait(20)
        told = b""
        if not case[2]:
            assert process.stdout and process.stderr
            told = process.stderr.read()
            process.stdout.close()
            process.stderr.close()
        until(
            lambda name=name, case=case: not case[2] or words(name),
            otherwise=lambda case=case, status=status: f"{case} ended with {status}",
        )
        if (status, b"was run" in told, len(words(name))) != (255, not case[2], int(bool(case[2]))):
            wrong.append((case, status, told, words(name)))
        for pid in words(name):
            os.kill(pid, signal.SIGTERM)
    assert not wrong and not (folder / "ran").exists()
