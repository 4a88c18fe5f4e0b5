"""How many tasks of a process and of a loop run at once."""

import asyncio

from tests.support.waiting import turns
from testum.execution.slots import Slots, UnderWay

_SOON = 5.0


async def test_another_shard_widens_the_loop() -> None:
    """A loop that is full goes on at once with what another message allows, but not beyond the job's concurrency."""
    under_way = UnderWay(2, 5)
    for slot in (1, 2):
        under_way.add(slot)
    waiting = asyncio.create_task(under_way.room())
    await turns(5)
    assert not waiting.done()
    under_way.widen(2)
    await asyncio.wait_for(waiting, _SOON)
    assert under_way.free == 2
    under_way.widen(100)
    assert under_way.free == 3
    for slot in (1, 2, 2):
        under_way.remove(slot)
    assert under_way.free == 5 and under_way.idle


async def test_a_loop_that_could_claim_nothing_waits_until_a_task_has_ended() -> None:
    """Also where it has room, else it would ask the database again and again."""
    under_way = UnderWay(3, 5)
    for slot in (1, 2):
        under_way.add(slot)
    waiting = asyncio.create_task(under_way.one_more())
    await turns(5)
    assert not waiting.done()
    under_way.remove(1)
    await asyncio.wait_for(waiting, _SOON)


async def test_no_wider_than_the_job() -> None:
    """What a message allows ends where the job's own concurrency does."""
    assert UnderWay(100, 5).free == 5


async def test_slots_that_were_not_taken_out_are_given_back() -> None:
    """Those that were are given back by whoever took them."""
    slots = Slots(3)
    async with slots.take(9) as taken:
        assert len(taken) == 3 and slots.taken_all
        kept = taken.pop()
    assert not slots.taken_all
    async with slots.take(9) as taken:
        assert len(taken) == 2 and slots.taken_all
        waiting = asyncio.create_task(_take_one(slots))
        await turns(3)
        assert not waiting.done()
        slots.give(kept)
        await asyncio.wait_for(waiting, _SOON)


async def _take_one(slots: Slots) -> None:
    async with slots.take(1):
        pass
