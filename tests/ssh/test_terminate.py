"""Ending programs: `confirmed` only when a look at the host agrees."""

import asyncio
import os
import re
import shutil
import signal
import time
import uuid
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.ssh.conftest import begin
from tests.support.sshd import LoginUser, RealSshd
from tests.support.waiting import eventually
from testum.ssh import Command, Endpoint, Output, Progress, Script, Sought, Timeouts, termination
from testum.ssh.execution import Shell
from testum.ssh.termination import terminate


async def start(pool, endpoint, text, wait_for=b"go\n", progress=None):
    marker = str(uuid.uuid4())
    execution = await begin(
        pool, endpoint, Command(text), marker=marker, timeouts=Timeouts(), progress=progress
    )
    got = b""
    while wait_for not in got:
        event = await anext(execution)
        assert isinstance(event, Output)
        got += event.data
    return marker, execution


def _line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def commands(sshd, *parts):
    """Command lines of the user's processes that hold one of the parts. A number stands by itself: the beginning of each
    program holds made-up ones, and so does its mark."""
    wanted = [rf"(?<![\w-]){part}(?![\w-])" if part.isdigit() else re.escape(part) for part in parts]
    lines = map(_line, sshd.user.processes())
    return [line for line in lines if any(re.search(part, line) for part in wanted)]


CASES = {
    "sleep": "echo go; sleep 3971",
    "only a sleep": "echo go; exec sleep 3971",
    "a shell with children": "(sleep 3971 & sleep 3971 & echo go; wait); echo after",
    "a pipeline": "echo go >&2; sleep 3971 | cat | cat",
    "ignores TERM": "trap '' TERM; echo go; sleep 3971; sleep 3971",
    "forks away twice": "setsid sh -c '(sleep 3971 >/dev/null 2>&1 &)'; echo go; sleep 3971",
    "forked away, and the leader is gone": "setsid sh -c '(sleep 3971 &)'; echo go",
    "cleared environment": "env -i sleep 3971 & echo go; wait",
    "stopped": "sh -c 'echo go; kill -STOP $$'; sleep 3971",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [False, True], ids=["same connection", "connection cut"])
async def test_everything_is_ended_and_confirmed(pool, endpoint, sshd, case, cut):
    target: Endpoint = endpoint()
    marker, execution = await start(pool, target, CASES[case])
    if cut:
        sshd.cut()
        await eventually(lambda: execution.execution._session.closed)
    begun = time.monotonic()
    ended = await pool.terminate(target, marker, grace=1)
    taken = time.monotonic() - begun
    assert ended.state == "confirmed", ended
    assert not commands(sshd, "3971", marker)
    assert taken < 1 + 10
    if "TERM" in case:
        assert "KILL" in ended.detail
    await execution.aclose()


async def test_others_are_left_alone(pool, endpoint, sshd):
    target = endpoint()
    mine, first = await start(pool, target, "echo go; sleep 3972")
    other, second = await start(pool, target, "echo go; sleep 3973")
    assert (await pool.terminate(target, mine, grace=1)).state == "confirmed"
    assert not commands(sshd, "3972")
    assert commands(sshd, "3973")
    assert (await pool.terminate(target, other, grace=1)).state == "confirmed"
    await first.aclose()
    await second.aclose()


async def test_what_had_ended_is_confirmed_as_such(pool, endpoint):
    ended = await pool.terminate(endpoint(), str(uuid.uuid4()), grace=1)
    assert (ended.state, "already" in ended.detail) == ("confirmed", True)


ESCAPES = {
    "left": "env -i setsid -f sleep 3976 >/dev/null 2>&1 </dev/null; echo go; sleep 3971",
    "left, and the leader is gone": "env -i setsid -f sleep 3976 >/dev/null 2>&1 </dev/null; echo go",
    "left with a child": "env -i setsid -f sh -c 'sleep 3976; :' >/dev/null 2>&1 </dev/null; echo go; sleep 3971",
}


@pytest.mark.parametrize("case", ESCAPES)
async def test_what_left_session_and_environment_is_told(pool, endpoint, sshd, case):
    """It bears nothing to find it by: it is left, and nothing is confirmed."""
    sent_at = time.monotonic()
    target = endpoint()
    marker, execution = await start(pool, target, ESCAPES[case])
    await eventually(lambda: commands(sshd, "3976"))
    try:
        ended = await pool.terminate(target, marker, grace=1, sent_at=sent_at)
        assert ended.state == "unconfirmed" and not commands(sshd, "3971"), ended
        left = [pid for pid in sshd.user.processes() if "3976" in _line(pid)]
        assert any(str(pid) in ended.detail for pid in left), ended
        # What was there before is nobody's who comes later; what bears another task's mark is that one's.
        other, second = await start(pool, target, "setsid -f sleep 3977 >/dev/null 2>&1 </dev/null; echo go")
        sent_at = time.monotonic()
        later, third = await start(
            pool, target, "setsid -f sleep 3978 >/dev/null 2>&1 </dev/null; echo go; sleep 3971"
        )
        await eventually(lambda: commands(sshd, "3977") and commands(sshd, "3978"))

        async def confirmed(marker):
            """An answer that comes late makes older processes look younger, which is the safe side: then it is looked again."""
            for _ in range(5):
                ended = await pool.terminate(target, marker, grace=1, sent_at=sent_at)
                if ended.state == "confirmed":
                    return ended
            return ended

        ended = await confirmed(later)
        assert ended.state == "confirmed" and commands(sshd, "3977") and not commands(sshd, "3978"), ended
        ended = await confirmed(other)
        assert ended.state == "confirmed", ended
        for each in (execution, second, third):
            await each.aclose()
    finally:
        for pid in sshd.user.processes():
            if "3976" in _line(pid):
                os.kill(pid, signal.SIGKILL)


async def test_what_may_be_of_it_stays_that_with_what_it_has_begun(pool, endpoint, sshd):
    """Also when it has ended itself, before a look has seen both or between two looks."""
    flag = sshd.user.home / "flag"
    for text in ("sleep 3976; :", f"until [ -e {flag} ]; do sleep 0.1; done; setsid -f sleep 3976"):
        sent_at = time.monotonic()
        target = endpoint()
        marker, execution = await start(
            pool, target, f"env -i setsid -f sh -c '{text}' >/dev/null 2>&1 </dev/null; echo go"
        )
        try:
            known = (await pool.terminate(target, marker, grace=1, sent_at=sent_at)).strays
            (first,) = known
            if text.startswith("sleep"):
                sought = Sought(marker, end=False, strays=known)
                known = (await pool.look(target, [sought], grace=1)).of_each[0].strays
                os.kill(int(first.partition(":")[0]), signal.SIGKILL)
            flag.touch()
            await eventually(lambda: commands(sshd, "3976") == ["sleep 3976 "])
            sought = Sought(marker, end=False, strays=known, since=time.monotonic() - sent_at)
            (found,) = (await pool.look(target, [sought], grace=1)).of_each
            (left,) = [pid for pid in sshd.user.processes() if _line(pid) == "sleep 3976 "]
            assert found.state == "unconfirmed" and found.strays == (starts(left),), found
            await execution.aclose()
        finally:
            for pid in sshd.user.processes():
                if "3976" in _line(pid):
                    os.kill(pid, signal.SIGKILL)
    sought = Sought(marker, end=False, strays=found.strays, since=time.monotonic() - sent_at)
    await eventually(lambda: not commands(sshd, "3976"))
    assert (await pool.look(target, [sought], grace=1)).of_each[0].state == "confirmed"


def _has_login(pid):
    return b"SSH_CONNECTION=" in Path(f"/proc/{pid}/environ").read_bytes()


def starts(pid):
    """A process as a look names it."""
    return f"{pid}:{Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2].split()[19]}"


async def test_others_logins_are_no_strays(pool, endpoint, sshd):
    """Looks while many log in with the account: a process of the SSH server that is about to become another's shell, and
    one that serves another's connection, are not of a program that did not prove its beginning."""
    sought = [Sought(str(uuid.uuid4()), end=False, since=60.0, begun=False) for _ in range(5)]

    looked = asyncio.Event()

    async def log_in(number):
        while not looked.is_set():
            _, execution = await start(pool, endpoint(host=sshd.address(number)), "echo go")
            await execution.aclose()

    others = [asyncio.create_task(log_in(number)) for number in range(4)]
    for _ in range(2):
        found = await pool.look(endpoint(), sought, grace=1)
        assert {one.state for one in found.of_each} == {"confirmed"}, found
    looked.set()
    await asyncio.gather(*others)
    servers = tuple(starts(pid) for pid in sshd.user.processes() if _line(pid).startswith("sshd"))
    assert servers
    (still,) = (
        await pool.look(endpoint(), [Sought(sought[0].marker, end=False, strays=servers)], grace=1)
    ).of_each
    assert still.state == "confirmed", still


async def test_what_each_login_leaves_is_no_stray(pool, endpoint, key_file):
    """Start-up files that leave a daemon at each login, one of which lets nobody read its environment."""
    with closing(RealSshd(user=LoginUser(shell="/bin/bash"))) as host:
        host.add_key(Path(f"{key_file}.pub").read_text())
        (host.user.home / ".bashrc").write_text(
            "ssh-agent >/dev/null; (sleep 3979 >/dev/null 2>&1 </dev/null &)\n"
        )
        target = endpoint(port=host.port, username=host.user.name)
        sent_at = time.monotonic()
        marker, execution = await start(pool, target, "echo go; sleep 3971")
        ended = await pool.terminate(target, marker, grace=1, sent_at=sent_at)
        assert ended.state == "confirmed" and len(commands(host, "ssh-agent")) == 2, ended
        await execution.aclose()
        # More of them than a login leaves may be the program's, whose mark nobody may read there.
        sent_at = time.monotonic()
        marker, execution = await start(pool, target, "ssh-agent >/dev/null; echo go; sleep 3971")
        ended = await pool.terminate(target, marker, grace=1, sent_at=sent_at)
        assert ended.state == "unconfirmed" and not commands(host, "3971"), ended
        (agent,) = ended.strays
        assert "ssh-agent" in _line(int(agent.partition(":")[0]))
        await execution.aclose()
        # Without the environment of a login it is none's.
        sent_at = time.monotonic()
        marker, execution = await start(
            pool, target, "env -i setsid -f sleep 3979 >/dev/null; echo go; sleep 3971"
        )

        def without_login():
            return [
                pid for pid in host.user.processes() if _line(pid) == "sleep 3979 " and not _has_login(pid)
            ]

        await eventually(without_login)
        (left,) = without_login()
        ended = await pool.terminate(target, marker, grace=1, sent_at=sent_at)
        assert (ended.state, ended.strays) == ("unconfirmed", (starts(left),)), ended
        await execution.aclose()


REPLACED = {
    "by a program without environment": "echo go; exec env -i sleep 3971",
    "by a shell without environment": "echo go; exec env -i sh -c 'sleep 3971; sleep 3971'",
    "by a program without our mark": "echo go; unset TESTUM_TASK; exec sleep 3971",
    "and gone, with its session left": "env -i sleep 3971 >/dev/null & sleep 0.3; echo go; kill -KILL $$",
}


@pytest.mark.parametrize("case", REPLACED)
@pytest.mark.parametrize("cut", [False, True], ids=["same connection", "connection cut"])
async def test_a_shell_that_was_replaced_is_ended(pool, endpoint, sshd, case, cut):
    """Nothing bears the mark then: the shell said at the beginning which process it is."""
    target, progress = endpoint(), Progress()
    marker, execution = await start(pool, target, REPLACED[case], progress=progress)
    await eventually(lambda: commands(sshd, "3971") and not commands(sshd, marker))
    assert progress.shell is not None
    if cut:
        sshd.cut()
        await eventually(lambda: execution.execution._session.closed)
    # A younger process that got the number is another's.
    younger = Shell(progress.shell.pid, progress.shell.by - 3600)
    if "gone" not in case:
        await pool.terminate(target, marker, grace=1, shell=younger)
        assert commands(sshd, "3971")
    ended = await pool.terminate(target, marker, grace=1, shell=progress.shell)
    assert ended.state == "confirmed" and ended.signalled, ended
    assert not commands(sshd, "3971")
    await execution.aclose()


async def test_what_was_found_stays_found(pool, endpoint, sshd):
    """Whatever becomes of its mark and its parents; and another process with its number is not it."""
    target = endpoint()
    text = "env -i setsid sh -c 'trap \"\" TERM; echo go; while :; do sleep 0.3979; done'"
    marker, execution = await start(pool, target, text)
    (seen,) = (await pool.look(target, [Sought(marker, end=False)], grace=1)).of_each
    pids = {name.partition(":")[0] for name in seen.left}
    lasting = [
        str(pid) for pid in sshd.user.processes() if "while" in _line(pid) and marker not in _line(pid)
    ]
    assert len(lasting) == 1 and pids.issuperset(lasting), seen
    for pid in pids.difference(lasting):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    (again,) = (await pool.look(target, [Sought(marker, end=False, left=seen.left)], grace=1)).of_each
    assert again.state == "unconfirmed" and {name.partition(":")[0] for name in again.left} >= set(lasting)
    other = tuple(f"{pid}:1" for pid in lasting)
    (gone,) = (await pool.look(target, [Sought(marker, end=True, left=other)], grace=1)).of_each
    assert gone.state == "confirmed" and commands(sshd, "3979")
    (ended,) = (await pool.look(target, [Sought(marker, end=True, left=again.left)], grace=1)).of_each
    assert ended.state == "confirmed" and not commands(sshd, "3979"), ended
    await execution.aclose()


GREPS = {
    "finds nothing": "exit 1",
    "colours": "exec /bin/grep --color=always",
    "is not there": None,
}


@pytest.mark.parametrize("name", ["grep", "cat"])
@pytest.mark.parametrize("case", GREPS)
async def test_a_look_that_cannot_see_confirms_nothing(pool, endpoint, sshd, case, name):
    """The account's own programs may stand before the host's."""
    folder = sshd.user.home / "bin"
    folder.mkdir(exist_ok=True)
    text = GREPS[case]
    tool = folder / name
    if text is not None:
        shown = "exec /bin/cat -n" if name == "cat" and "exec" in text else text
        tool.write_text(f'#!/bin/sh\n{shown} "$@"\n')
        tool.chmod(0o755)
    marker, execution = await start(pool, endpoint(), "echo go; sleep 3971")
    found = f"PATH={folder}:$PATH" if text is not None else f"{name}() {{ exit 127; }}"
    script = termination._script([Sought(marker, end=True)], "testum-tag", 0.2, "/proc")
    done = await begin(
        pool, endpoint(), Script(f"{found}\n{script}"), marker="testum-look", timeouts=Timeouts()
    )
    answer = b"".join([event.data async for event in done if isinstance(event, Output)]).decode()
    await done.aclose()
    verdict = termination._verdict(answer, "testum-tag-0", "testum-tag", begun=True, sent_at=0)
    assert verdict.state == "unconfirmed" and commands(sshd, "3971"), answer
    shutil.rmtree(folder)
    assert (await pool.terminate(endpoint(), marker, grace=1)).state == "confirmed"
    await execution.aclose()


async def test_a_process_of_another_user_is_named(pool, endpoint, sshd):
    """As after su or sudo: it is in the task's session and cannot be signalled by the task's user."""
    other = LoginUser()
    try:
        target = endpoint()
        text = f"echo {other.password} | su {other.name} -c 'trap \"\" TERM; echo go; sleep 3974; sleep 3974'"
        marker, execution = await start(pool, target, text)
        ended = await pool.terminate(target, marker, grace=0.5)
        assert ended.state == "unconfirmed", ended
        left = [pid for pid in other.processes() if "3974" in _line(pid)]
        assert left
        assert any(str(pid) in ended.detail for pid in left)
        # Its shell was ended, and with it all that bore the mark.
        for _ in range(2):
            sought = Sought(marker, end=True, left=ended.left)
            (ended,) = (await pool.look(target, [sought], grace=0.2)).of_each
            assert ended.state == "unconfirmed" and any(str(pid) in ended.detail for pid in left), ended
        other.kill_all()
        (ended,) = (await pool.look(target, [Sought(marker, end=True, left=ended.left)], grace=0.2)).of_each
        assert ended.state == "confirmed", ended
        await execution.aclose()
    finally:
        other.remove()


async def test_a_host_that_cannot_be_reached_confirms_nothing(pool, endpoint):
    ended = await pool.terminate(endpoint(port=1), str(uuid.uuid4()), grace=0.2, connect_timeout=2)
    assert ended.state == "unconfirmed"
    assert "refused" in ended.detail


async def test_a_host_without_proc_confirms_nothing(pool, endpoint):
    ended = await terminate(
        pool, endpoint(), str(uuid.uuid4()), grace=0.2, connect_timeout=5, proc="/nonexistent"
    )
    assert (ended.state, "/proc" in ended.detail) == ("unconfirmed", True)


async def test_scripts_are_found_too(pool, endpoint, sshd):
    target = endpoint()
    for interpreter, text in (
        ("/bin/sh", "echo go; sleep 3975; sleep 3975"),
        ("python3 -u", "import time\nprint('go')\ntime.sleep(3975)"),
    ):
        marker = str(uuid.uuid4())
        execution = await begin(pool, target, Script(text, interpreter), marker=marker, timeouts=Timeouts())
        assert (await anext(execution)).data.startswith(b"go")
        ended = await pool.terminate(target, marker, grace=1)
        assert ended.state == "confirmed", ended
        assert not commands(sshd, "3975", marker)
        await execution.aclose()
