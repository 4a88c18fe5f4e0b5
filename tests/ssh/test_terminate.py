"""Ending programs: `confirmed` only when a look at the host agrees."""

import os
import signal
import time
import uuid
from pathlib import Path

import pytest

from tests.ssh.conftest import begin
from tests.support.sshd import LoginUser
from tests.support.waiting import eventually
from testum.ssh import Command, Endpoint, Output, Script, Timeouts
from testum.ssh.termination import terminate


async def start(pool, endpoint, text, wait_for=b"go\n"):
    marker = str(uuid.uuid4())
    execution = await begin(pool, endpoint, Command(text), marker=marker, timeouts=Timeouts())
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
    """Command lines of the user's processes that hold one of the parts."""
    lines = map(_line, sshd.user.processes())
    return [line for line in lines if any(part in line for part in parts)]


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
        ended = await pool.terminate(target, later, grace=1, sent_at=sent_at)
        assert ended.state == "confirmed" and commands(sshd, "3977") and not commands(sshd, "3978"), ended
        assert (await pool.terminate(target, other, grace=1, sent_at=sent_at)).state == "confirmed"
        for each in (execution, second, third):
            await each.aclose()
    finally:
        for pid in sshd.user.processes():
            if "3976" in _line(pid):
                os.kill(pid, signal.SIGKILL)


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
