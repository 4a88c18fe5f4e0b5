"""What is taken of the pool is given back, whatever is raised or cancelled, and whoever waits is served."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.ssh.conftest import begin
from tests.ssh.test_run import marker, run
from tests.support.mishaps import Mishap, Mishaps
from tests.support.sshd import RealSshd
from tests.support.waiting import eventually, turns
from testum.ssh import Command, Pool, PoolLimits, SSHError, Timeouts, connection, dialer, fifo_slots, link
from testum.ssh import pool as pool_module

_GIVES_BACK = frozenset(
    (
        "_enter",
        "_ended",
        "_give_place",
        "_leave",
        "__exit__",
        "leave",
        "_rest",
        "_stir",
        "_wake",
        "stir",
        "give",
        "take",
        "_queue",
        "_hang_up",
        "close",
    )
)
"""Nothing in them waits or can fail."""


@pytest.fixture(scope="module")
def own(key_file):
    """An sshd that is this module's alone, and takes all that come."""
    server = RealSshd(options=["MaxStartups 1000"])
    server.add_key(Path(f"{key_file}.pub").read_text())
    yield server
    server.close()


@pytest.fixture
def to(own, endpoint):
    return lambda **changes: endpoint(port=own.port, username=own.user.name, **changes)


@pytest.fixture
async def closing_port():
    """Where something accepts connections and closes them."""

    accepted = []

    async def accept(reader, writer):
        accepted.append(writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    # What was accepted last is closed at the loop's next turns.
    await turns(5)
    for writer in accepted:
        writer.transport.abort()
    await turns(5)


async def test_hosts_that_close_the_connection_hold_up_nobody(endpoint, to, closing_port):
    """At the limit of connections, whose places are all wanted by hosts with which none is made."""
    pool = Pool(PoolLimits(max_connections=2))
    hosts = [endpoint(port=closing_port) for _ in range(6)]
    failing = [run(pool, host, Command("true"), connect=1) for host in hosts]
    async with asyncio.timeout(30):
        ended = await asyncio.gather(
            *failing, *(run(pool, to(), Command("echo in")) for _ in range(6)), return_exceptions=True
        )
    assert [getattr(error, "code", error) for error in ended[:6]] == ["handshake_failed"] * 6
    assert [result[0] for result in ended[6:]] == [b"in\n"] * 6
    await pool.close()


async def test_a_place_that_becomes_free_while_nobody_listens_is_not_lost(to, own):
    """Those who wait for a place are cancelled at the moment it becomes free."""
    pool = Pool(PoolLimits(max_connections=1))
    for _ in range(10):
        target = to()
        first = await begin(pool, target, Command("cat"), marker=marker(), timeouts=Timeouts())
        waiting = [asyncio.create_task(run(pool, to(), Command("true"))) for _ in range(3)]
        await turns(5)
        await first.aclose()
        waiting[0].cancel()
        await turns(1)
        waiting[1].cancel()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[2].exception() is None
    await pool.close()


async def test_a_seat_on_a_connection_that_stands_is_as_good_as_another_connection(to):
    """The ninth program to a host waits for a second connection, whose place somebody else keeps."""
    pool = Pool(PoolLimits(max_connections=2, channels_per_connection=2))
    target = to()
    elsewhere = await begin(pool, to(), Command("sleep 60"), marker=marker(), timeouts=Timeouts())
    here = [
        await begin(pool, target, Command("sleep 60"), marker=marker(), timeouts=Timeouts()) for _ in range(2)
    ]
    third = asyncio.create_task(run(pool, target, Command("echo third")))
    await turns(5)
    await here[0].aclose()
    async with asyncio.timeout(20):
        assert (await third)[0] == b"third\n"
    for one in (here[1], elsewhere):
        await one.aclose()
    await pool.close()


async def _round(seed, to, endpoint, closing_port):
    """One pool, whose programs meet mishaps; it must work afterwards as if there had been none."""
    mishaps = Mishaps(
        seed, pool_module, dialer, link, connection, fifo_slots, closing=_GIVES_BACK, chance_in=60
    )
    pool = Pool(PoolLimits(max_connections=2, channels_per_connection=2))
    same, jump = to(), to()
    hosts = [same, same, same, to(), to(jump=jump), to(jump=jump), endpoint(port=closing_port), to()]
    with mishaps.happening():
        tasks = [asyncio.create_task(run(pool, host, Command("true"), connect=1, total=5)) for host in hosts]
        for _ in range(3):
            await asyncio.wait(tasks, timeout=0.02 * (seed % 7))
            mishaps.cancel_one(tasks)
        done, late = await asyncio.wait(tasks, timeout=30)
    assert not late, (seed, late)
    for task in done:
        if not task.cancelled() and task.exception() is not None:
            assert isinstance(task.exception(), Mishap | SSHError), (seed, task.exception())
    # All seats, and all places.
    assert not any(sum(one.users.values()) for one in pool._keepers), _state(pool, hosts)
    try:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            for host in (same, hosts[3]):
                started = pool.run(host, Command("sleep 5"), marker=marker(), timeouts=Timeouts())
                await stack.enter_async_context(started)
    except TimeoutError:
        raise AssertionError(f"seed {seed}: {_state(pool, hosts)}") from None
    async with asyncio.timeout(20):
        await pool.close()
    return mishaps.raised


def _state(pool, hosts):
    """What the pool has, for whoever looks for a mistake."""
    numbers = {host.id: number for number, host in enumerate(hosts)}
    told = [f"places {len(pool._places._taken)}, waiting {len(pool._places._waiting)}"]
    for one, keeper in pool._keepers.items():
        what = "opening" if one.opening else "alive" if one.alive else "closing"
        used = f"users {list(one.users.values())} of {one.capacity}"
        told.append(f"{numbers.get(one.endpoint_id, 'jump')}: {what}, {used}, {keeper.get_stack()}")
    return "; ".join(told)


def _rounds(number):
    return pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, number, 20)])


async def _all(seeds, own, to, endpoint, closing_port):
    descriptors = _descriptors()
    raised = 0
    for seed in seeds:
        raised += await _round(seed, to, endpoint, closing_port)
    assert raised > len(seeds) / 2
    await eventually(lambda: _descriptors() <= descriptors)
    await eventually(lambda: not own.sessions())


def _descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@_rounds(20)
async def test_mishaps_leave_nothing_taken(seeds, own, to, endpoint, closing_port):
    await _all(seeds, own, to, endpoint, closing_port)


@pytest.mark.slow
@_rounds(500)
async def test_five_hundred_mishaps_leave_nothing_taken(seeds, own, to, endpoint, closing_port):
    await _all(seeds, own, to, endpoint, closing_port)
