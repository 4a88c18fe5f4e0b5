"""Time in which this process did not run (it was stopped, its machine slept) is not the host's silence."""

import asyncio
import time

import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker, run
from tests.support.waiting import lag, pause, remains, turns
from testum.ssh import Command, Exit, Output, Progress, Timeouts
from testum.ssh.time_limits import TimeLimit


def freeze(seconds: float, *, after: float = 0.0) -> None:
    """Stop the whole loop, as SIGSTOP would."""
    asyncio.get_running_loop().call_later(after, pause, seconds)


async def test_while_it_connects(pool, endpoint):
    """Three connections, which the freeze meets on their way."""

    async def connect(begun_before):
        await lag(0.03 - begun_before)
        return await run(pool, endpoint(), Command("echo out"), connect=5)

    freeze(6.0, after=0.03)
    for out, _, _ in await asyncio.gather(*map(connect, (0.03, 0.02, 0.0))):
        assert out == b"out\n"


async def test_as_the_command_is_sent(pool, endpoint):
    host = endpoint()
    await run(pool, host, Command("true"))
    sent = []

    class Paused(Progress):
        def sending(self):
            sent.append(True)
            pause(3)

    execution = await begin(
        pool, host, Command("echo out"), marker=marker(), timeouts=Timeouts(connect=2), progress=Paused()
    )
    events = [event async for event in execution]
    await execution.aclose()
    assert events == [Output("stdout", b"out\n"), Exit(0, None, False)] and sent == [True]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.3])
async def test_a_limit_is_a_limit(seconds):
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(seconds) as clock:
            await asyncio.Event().wait()
    assert clock.expired() and seconds <= time.monotonic() - begun < seconds + 5


async def test_after_a_freeze_the_limit_still_comes():
    freeze(3.0)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with TimeLimit(1.5):
            await asyncio.Event().wait()
    assert time.monotonic() - begun < 3.0 + 1.5 + 5


async def test_what_ends_in_time_is_left_alone():
    async with TimeLimit(0.2) as clock:
        await turns()
    await remains(lambda: not clock.expired(), 0.3)
