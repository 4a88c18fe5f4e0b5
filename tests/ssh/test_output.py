"""Output under stress: slow readers, endless printers, cut connections, odd bytes; and the timeouts."""

import time

import psutil
import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker, run
from tests.support.waiting import eventually, lag, remains
from testum.ssh import Command, ConnectionLost, Exit, Output, Script, SSHError, Timeouts
from testum.ssh.session import WINDOW


async def collect(execution, pause=0.0):
    """What came, and the Exit or the error it ended with."""
    got = bytearray()
    ended: object = None
    try:
        async for event in execution:
            if isinstance(event, Output):
                got += event.data
                if pause:
                    await lag(pause)
            else:
                ended = event
    except SSHError as error:
        ended = error
    finally:
        await execution.aclose()
    return bytes(got), ended


async def started(pool, endpoint, program, **timeouts):
    return await begin(pool, endpoint, program, marker=marker(), timeouts=Timeouts(**timeouts))


@pytest.mark.parametrize("pause", [0, 0.01], ids=["fast reader", "slow reader"])
async def test_the_total_timeout_stops_an_endless_printer(pool, endpoint, pause):
    begun = time.monotonic()
    _, ended = await collect(await started(pool, endpoint(), Command("yes"), total=0.7), pause)
    assert getattr(ended, "code", None) == "timeout"
    assert time.monotonic() - begun < 30


async def test_the_total_timeout_of_a_silent_command(pool, endpoint):
    begun = time.monotonic()
    got, ended = await collect(await started(pool, endpoint(), Command("echo a; sleep 60"), total=3))
    assert (got, ended.code) == (b"a\n", "timeout")
    assert time.monotonic() - begun < 30


async def test_the_idle_timeout(pool, endpoint):
    # In all it lasts longer than it may be silent.
    text = "for i in 1 2 3 4 5; do echo $i; sleep 0.5; done; sleep 60"
    got, ended = await collect(await started(pool, endpoint(), Command(text), idle=2))
    assert (got, ended.code) == (b"1\n2\n3\n4\n5\n", "idle_timeout")


async def test_a_slow_reader_does_not_make_a_command_idle(pool, endpoint):
    execution = await started(pool, endpoint(), Command("head -c 8000000 /dev/zero"), idle=2)
    # For longer than it may be idle.
    await eventually(lambda: execution.execution._session.held_back)
    await remains(lambda: execution.execution._session.failure is None, 2.5)
    got, ended = await collect(execution, pause=0.02)
    assert (len(got), ended) == (8_000_000, Exit(0, None, False))


async def test_a_command_that_ended_in_time_is_no_timeout(pool, endpoint):
    execution = await started(pool, endpoint(), Command("echo in time"), total=60, idle=60)
    await eventually(lambda: execution.execution._session.closed)
    # The limits come while nobody reads.
    execution.execution._total_over()
    execution.execution._check_idle(0.0)
    assert await collect(execution) == (b"in time\n", Exit(0, None, False))


async def test_a_cut_connection_keeps_what_had_come(pool, endpoint, sshd):
    text = "head -c 1500000 /dev/zero; sleep 60"
    execution = await started(pool, endpoint(), Command(text))
    await eventually(lambda: execution.execution._session._held_bytes >= 1_500_000)
    sshd.cut()
    await eventually(lambda: execution.execution._session.closed)
    got, ended = await collect(execution)
    assert isinstance(ended, ConnectionLost)
    assert len(got) == 1_500_000


async def test_a_status_without_the_end_of_output_is_not_an_end(pool, endpoint, sshd):
    """The shell has ended, but something still prints into the channel as the connection breaks."""
    text = "(while :; do echo more; sleep 0.1; done) & exit 0"
    execution = await started(pool, endpoint(), Command(text))
    await eventually(lambda: execution.execution._session.exit)
    sshd.cut()
    _, ended = await collect(execution)
    assert isinstance(ended, ConnectionLost)


async def test_odd_bytes(pool, endpoint):
    text = r"printf '\377\376\000\033[31m\303\050\r\n'; printf '\000' >&2"
    out, err, _ = await run(pool, endpoint(), Command(text))
    assert (out, err) == (b"\xff\xfe\0\x1b[31m\xc3(\r\n", b"\0")


async def test_the_order_of_the_streams_is_kept(pool, endpoint, sshd):
    """Each line waits until the one before has come: sshd keeps no order among what waits for it together."""
    gate = sshd.user.home / f"gate-{marker()}"
    text = (
        f"come() {{ until [ -e {gate}-$1 ]; do sleep 0.02; done; }}\n"
        "for i in 1 2 3 4 5; do echo o$i; come o$i; echo e$i >&2; come e$i; done"
    )
    execution = await started(pool, endpoint(), Command(text))
    got = b""
    async for event in execution:
        if isinstance(event, Output):
            got += event.data
            gate.with_name(f"{gate.name}-{event.data.decode().strip()}").touch()
    await execution.aclose()
    assert got == b"".join(b"o%d\ne%d\n" % (n, n) for n in range(1, 6))


async def test_much_output_in_flat_memory(pool, endpoint):
    size = 200_000_000
    text = f"import os\nb = os.urandom(1 << 20)\nfor _ in range({size} >> 20): os.write(1, b)\n"
    execution = await started(pool, endpoint(), Script(text, "python3"))
    process = psutil.Process()
    before, most, got, pieces = process.memory_info().rss, 0, 0, 0
    async for event in execution:
        if isinstance(event, Output):
            got += len(event.data)
            pieces += 1
            if pieces % 100 == 0:
                most = max(most, process.memory_info().rss)
    await execution.aclose()
    assert got == size >> 20 << 20
    assert most - before < 32_000_000


async def test_a_slow_reader_slows_the_program_down(pool, endpoint, sshd):
    """What was printed and not read yet stays bounded: it waits on the host, not in our memory."""
    told = sshd.user.home / "told"
    text = f"""
import os
told = open("{told}", "w")
for n in range(1, 2000):
    os.write(1, bytes(1 << 16))
    told.seek(0)
    told.write(str(n << 16))
    told.flush()
"""
    execution = await started(pool, endpoint(), Script(text, "python3"))
    got, most = 0, 0
    async for event in execution:
        if isinstance(event, Output):
            got += len(event.data)
            if got < 30_000_000:
                await lag(0.02)
                most = max(most, int(told.read_text() or 0) - got)
    await execution.aclose()
    assert got == 1999 << 16
    # Our window, sshd's own buffers and the pipe.
    assert WINDOW // 2 < most < 3 * WINDOW


async def test_a_background_process_does_not_hide_the_status(pool, endpoint):
    out, _, ended = await run(pool, endpoint(), Command("sleep 30 >/dev/null 2>&1 & echo ok; exit 9"))
    assert (out, ended.status) == (b"ok\n", 9)


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 128, 255])
async def test_every_status(pool, endpoint, status):
    assert (await run(pool, endpoint(), Command(f"exit {status}")))[2] == Exit(status, None, False)


@pytest.mark.parametrize("name", ["HUP", "TERM", "SEGV", "USR1"])
async def test_every_signal(pool, endpoint, name):
    _, _, ended = await run(pool, endpoint(), Command(f"kill -{name} $$; sleep 9"))
    assert (ended.status, ended.signal) == (None, name)
