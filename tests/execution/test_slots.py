"""How many tasks of a loop run at once."""

import asyncio

from tests.support.waiting import turns
from testum.execution.slots import UnderWay

_SOON = 5.0


def _begin(under_way: UnderWay, number: int) -> list[asyncio.Event]:
    """So many tasks, each of which ends when its event is set."""
    ends = [asyncio.Event() for _ in range(number)]
    for end in ends:
        under_way.add(asyncio.create_task(_until(end)))
    return ends


async def _until(end: asyncio.Event) -> None:
    await end.wait()


async def test_another_shard_widens_the_loop() -> None:
    """A loop that is full goes on at once with what another message allows, but not beyond the job's concurrency."""
    under_way = UnderWay(2, 5)
    ends = _begin(under_way, 2)
    waiting = asyncio.create_task(under_way.room())
    await turns(5)
    assert not waiting.done()
    under_way.widen(2)
    await asyncio.wait_for(waiting, _SOON)
    assert under_way.free == 2
    under_way.widen(100)
    assert under_way.free == 3
    for end in ends:
        end.set()
    await asyncio.wait_for(under_way.drain(), _SOON)
    assert under_way.free == 5


async def test_no_wider_than_the_job() -> None:
    """What a message allows ends where the job's own concurrency does."""
    assert UnderWay(100, 5).free == 5


async def test_drain_waits_for_the_last() -> None:
    """Until then it does not return, however wide the loop became meanwhile."""
    under_way = UnderWay(2, 9)
    ends = _begin(under_way, 2)
    waiting = asyncio.create_task(under_way.drain())
    ends[0].set()
    under_way.widen(7)
    await turns(5)
    assert not waiting.done()
    ends[1].set()
    await asyncio.wait_for(waiting, _SOON)
    assert under_way.idle
