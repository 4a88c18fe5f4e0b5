"""The pool: connections are shared, bounded, replaced when dead before a command was sent, and never after."""

import asyncio
import errno
import os
import resource
import signal
import socket
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker, run
from tests.support.sshd import RealSshd
from tests.support.waiting import eventually, lag, remains
from testum.ssh import (
    Command,
    ConnectionLost,
    Output,
    Pool,
    PoolLimits,
    Progress,
    SSHError,
    Timeouts,
    connection,
    dialer,
)


@pytest.fixture
def own():
    """An sshd that is this test's alone."""
    server = RealSshd()
    yield server
    server.close()


@pytest.fixture
def to(endpoint, key_file):
    def make(server, **changes):
        server.add_key(Path(f"{key_file}.pub").read_text())
        return endpoint(port=server.port, username=server.user.name, **changes)

    return make


def connections(server):
    """How many connections the server has: each has one process that belongs to root."""
    return len(server.sessions()) / 2


def connected(server):
    """Our own ends of connections to it."""
    ours = psutil.Process().net_connections("tcp")
    return [
        one for one in ours if one.raddr and one.raddr.port == server.port and one.status == "ESTABLISHED"
    ]


async def test_one_connection_serves_one_command_after_the_other(own, to):
    pool, target = Pool(), to(own)
    for number in range(5):
        assert (await run(pool, target, Command(f"echo {number}")))[0] == b"%d\n" % number
    assert connections(own) == 1
    await pool.close()
    await eventually(lambda: connections(own) == 0)


async def test_an_idle_connection_is_closed(own, to):
    pool = Pool(PoolLimits(idle_seconds=0.3))
    await run(pool, to(own), Command("true"))
    assert connections(own) == 1
    await eventually(lambda: connections(own) == 0)
    await pool.close()


async def test_more_commands_than_channels_take_more_connections(own, to):
    pool, target = Pool(PoolLimits(channels_per_connection=3)), to(own)
    begun, go_on = own.user.home / "begun", own.user.home / "go-on"
    command = Command(f"echo >> {begun}; while [ ! -e {go_on} ]; do sleep 0.05; done; echo x")
    running = [asyncio.create_task(run(pool, target, command)) for _ in range(7)]
    await eventually(lambda: begun.exists() and begun.stat().st_size == 7)
    # No more than are needed. One that has just come may show a process more or less for a moment.
    await eventually(lambda: connections(own) == 3)
    go_on.touch()
    assert [out for out, _, _ in await asyncio.gather(*running)] == [b"x\n"] * 7
    await pool.close()


@pytest.mark.parametrize("sessions", [1, 2])
async def test_a_server_that_allows_few_sessions(to, sessions):
    server = RealSshd(options=[f"MaxSessions {sessions}"])
    try:
        pool, target = Pool(), to(server)
        await run(pool, target, Command("true"))
        results = await asyncio.gather(
            *(run(pool, target, Command(f"sleep 0.2; echo {n}")) for n in range(6))
        )
        assert [out for out, _, _ in results] == [b"%d\n" % n for n in range(6)]
        await pool.close()
    finally:
        server.close()


async def test_the_limit_of_connections_holds_and_nobody_waits_for_ever(own, to):
    pool = Pool(PoolLimits(max_connections=3))
    most = 0

    def look():
        nonlocal most
        most = max(most, len(connected(own)))
        return True

    watching = asyncio.create_task(remains(look, 60))
    async with asyncio.timeout(30):
        results = await asyncio.gather(
            *(run(pool, to(own), Command(f"sleep 0.1; echo {n}")) for n in range(12))
        )
    watching.cancel()
    assert [out for out, _, _ in results] == [b"%d\n" % n for n in range(12)]
    # Without the limit there would be twelve. Beside those that are open there may be as many that are being closed.
    assert 1 <= most <= 6
    await pool.close()


async def test_jump_hosts_do_not_wait_for_those_who_wait_for_them(own, to):
    """With every place taken by connections that need a jump host, the jump hosts get one beyond."""
    pool = Pool(PoolLimits(max_connections=1))
    jump = to(own)
    targets = [to(own, jump=to(own, jump=jump)) for _ in range(3)]
    async with asyncio.timeout(30):
        results = await asyncio.gather(
            run(pool, jump, Command("echo jump")),
            *(run(pool, target, Command("echo in")) for target in targets),
        )
    assert [out for out, _, _ in results] == [b"jump\n"] + [b"in\n"] * 3
    await pool.close()


async def test_a_connection_that_died_while_idle_is_replaced(own, to):
    pool, target = Pool(), to(own)
    counter = own.user.home / "counter"
    command = Command(f"echo once >> {counter}; echo done")
    assert (await run(pool, target, command))[0] == b"done\n"
    for _ in range(5):
        own.cut()
        assert (await run(pool, target, command))[0] == b"done\n"
    assert counter.read_text() == "once\n" * 6
    await pool.close()


async def test_a_server_that_was_restarted_is_found_again(own, to):
    pool, target = Pool(), to(own)
    await run(pool, target, Command("true"))
    own.stop()
    with pytest.raises(SSHError) as refused:
        await run(pool, target, Command("true"))
    assert refused.value.code == "connection_refused"
    own.start()
    assert (await run(pool, target, Command("echo back")))[0] == b"back\n"
    await pool.close()


async def test_a_command_that_was_sent_is_never_sent_again(own, to):
    """Cut at every moment around the start: as often as the command ran it ran once."""
    pool, target = Pool(), to(own)
    counter = own.user.home / "counter"
    sent = [Progress() for _ in range(20)]
    for number in range(20):
        await run(pool, target, Command("true"))

        async def cut(after=number * 0.003):
            await lag(after)
            await asyncio.to_thread(own.cut)

        cutting = asyncio.create_task(cut())
        try:
            execution = await begin(
                pool,
                target,
                Command(f"echo {number} >> {counter}; sleep 0.3"),
                marker=marker(),
                timeouts=Timeouts(),
                progress=sent[number],
            )
            async for event in execution:
                assert not isinstance(event, Output)
            await execution.aclose()
        except ConnectionLost:
            pass
        await cutting
    await pool.close()
    await eventually(lambda: not own.user.processes())
    ran = counter.read_text().split() if counter.exists() else []
    assert len(ran) == len(set(ran)), ran
    assert all(sent[int(number)].sent for number in ran)


async def test_a_connection_that_stops_answering_is_noticed(own, to):
    """No packet comes any more, and none says so: keepalives find out."""
    pool = Pool(PoolLimits(keepalive_interval=2, keepalive_count_max=2))
    execution = await begin(pool, to(own), Command("echo go; sleep 60"), marker=marker(), timeouts=Timeouts())
    assert (await anext(execution)).data == b"go\n"
    stopped = own.sessions()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(ConnectionLost):
            async with asyncio.timeout(60):
                await anext(execution)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    await execution.aclose()
    await pool.close()


async def test_a_server_that_is_full_of_logins_is_asked_again(to):
    """sshd drops connections before the handshake while so many log in (MaxStartups)."""
    server = RealSshd(options=["MaxStartups 2:100:2"])
    try:
        pool = Pool()
        async with asyncio.timeout(60):
            results = await asyncio.gather(
                *(run(pool, to(server), Command(f"echo {n}"), connect=30) for n in range(20))
            )
        assert [out for out, _, _ in results] == [b"%d\n" % n for n in range(20)]
        await pool.close()
    finally:
        server.close()


@pytest.mark.parametrize("at_once", [2, 4])
async def test_who_goes_round_more_hosts_than_there_are_places_finds_some_of_them_warm(own, to, at_once):
    pool = Pool(PoolLimits(max_connections=12))
    hosts = [to(own) for _ in range(24)]

    async def round_of_all():
        """The ports of our ends: the same ones where the connections are."""
        turn = asyncio.Semaphore(at_once)

        async def one(host):
            async with turn:
                return (await run(pool, host, Command("echo $SSH_CONNECTION")))[0].split()[1]

        return await asyncio.gather(*map(one, hosts))

    first, second = await round_of_all(), await round_of_all()
    warm = sum(before == after for before, after in zip(first, second, strict=True))
    assert warm >= len(hosts) / 3, warm
    await pool.close()


@contextmanager
def few_files():
    """This process may have twenty more files open than it has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_name_does_not_resolve_while_few_files_are_free():
    """Though there is one again: of those that failed together, each gives back what it had."""
    with ExitStack() as stack, few_files():
        for _ in range(16):
            stack.enter_context(socket.socket())
        assert connection._out_of_descriptors(socket.gaierror())
    assert not connection._out_of_descriptors(socket.gaierror())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_files_that_are_short_are_no_hosts_fault(own, to, host):
    pool = Pool()
    hosts = [to(own, host=host) for _ in range(60)]
    with few_files():
        # One after the other they are served: what is idle gives way.
        for one in hosts[:30]:
            assert (await run(pool, one, Command("echo in")))[0] == b"in\n"
        gate = own.user.home / marker()
        held = Command(f"while [ ! -e {gate} ]; do sleep 0.1; done")
        running = [asyncio.create_task(run(pool, one, held)) for one in hosts[30:]]
        await asyncio.wait(running, timeout=60, return_when=asyncio.FIRST_EXCEPTION)
    gate.touch()
    ended = await asyncio.gather(*running, return_exceptions=True)
    codes = {getattr(error, "code", error) for error in ended if isinstance(error, Exception)}
    assert codes == {"out_of_descriptors"}
    await pool.close()


async def test_what_could_not_be_read_is_read_again(own, to, monkeypatch):
    """All that connections need is imported with the first: where that fails, the next tries again."""
    load = dialer._load

    def fail():
        monkeypatch.setattr(dialer, "_load", load)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(dialer, "_load", fail)
    pool = Pool()
    with pytest.raises(OSError, match="Too many open files"):
        await run(pool, to(own), Command("true"))
    assert (await run(pool, to(own), Command("echo in")))[0] == b"in\n"
    await pool.close()
