"""What every store of output does: files of one process, and the journal of many, embedded and on servers."""

import asyncio
import random
import resource
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.output.conftest import ERR, OUT, Rig
from tests.support.waiting import lag
from testum.core.frames import HEADER_SIZE, MAX_FRAME, Frame, Piece, decode_all, encode
from testum.errors import StorageFull
from testum.output.files import FileOutputs

MEGABYTE = 1024 * 1024


def pieces_of(frames: list[Frame]) -> list[Piece]:
    return [(frame.stream, frame.data) for frame in frames]


async def test_what_is_appended_is_read_back(rig: Rig) -> None:
    owner = await rig.task()
    batches: list[list[Piece]] = [
        [(OUT, b"first\n")],
        [(ERR, bytes(range(256)) * 3), (OUT, b"\0"), (OUT, "ключ\n".encode())],
        [(OUT, secrets.token_bytes(MAX_FRAME))],
    ]
    encoded = await rig.write(owner, *batches)
    assert await rig.stored(owner) == encoded
    frames = decode_all(encoded)
    assert pieces_of(frames) == [piece for batch in batches for piece in batch]
    positions = [frame.position for frame in frames]
    assert positions == sorted(set(positions)), "each frame has a place of its own, in order"


async def test_readers_see_what_is_stored_so_far(rig: Rig) -> None:
    owner = await rig.task()
    writer = await rig.outputs.writer(owner)
    first = await writer.append([(OUT, b"one")])
    reader, elsewhere = await rig.outputs.reader(owner.task_id), await rig.another().reader(owner.task_id)
    assert reader is not None and elsewhere is not None
    for each in (reader, elsewhere):
        assert await each.read(0, 1000) == first
        assert await each.read(len(first), 1000) == b"", "the present end"
    second = await writer.append([(ERR, b"two"), (OUT, b"three")])
    for each in (reader, elsewhere):
        assert await each.read(len(first), 1000) == second
        assert await each.read(0, 1000) in (first + second, first), "the beginning is still there"
        await each.close()
    await writer.close()


async def test_reading_anywhere(rig: Rig) -> None:
    chance = random.Random(7)
    owner = await rig.task()
    encoded = await rig.write(
        owner,
        *([(chance.choice((OUT, ERR)), chance.randbytes(chance.randrange(1, 5000)))] for _ in range(60)),
    )
    reader = await rig.outputs.reader(owner.task_id)
    assert reader is not None
    for _ in range(150):
        offset, size = chance.randrange(len(encoded) + 100), chance.randrange(1, 20_000)
        found = await reader.read(offset, size)
        assert encoded[offset : offset + size].startswith(found)
        assert found or offset >= len(encoded), "there is more"
    await reader.close()


async def test_a_task_without_output(rig: Rig) -> None:
    owner = await rig.task()
    assert await rig.stored(owner) == b""
    found = await rig.outputs.salvage(owner.task_id, tail=100, small=100)
    assert (found.frames, found.payload, found.encoded) == (0, 0, b"")
    await rig.outputs.discard(owner.task_id)
    await rig.outputs.tidy()


async def test_tasks_do_not_mix(rig: Rig) -> None:
    """Many at once of one job and of another: each has its own output, whole and in order."""
    job_id = await rig.job()
    owners = [await rig.task(job_id) for _ in range(8)] + [await rig.task() for _ in range(4)]

    async def write(number: int) -> bytes:
        writer = await rig.outputs.writer(owners[number])
        encoded = b""
        for line in range(30):
            encoded += await writer.append([(OUT, b"%d:%d\n" % (number, line)), (ERR, b"e%d" % number)])
        await writer.close()
        return encoded

    written = await asyncio.gather(*(write(number) for number in range(len(owners))))
    places = set()
    for number, (owner, encoded) in enumerate(zip(owners, written, strict=True)):
        assert await rig.stored(owner) == encoded
        assert b"".join(frame.data for frame in decode_all(encoded) if frame.stream is OUT) == b"".join(
            b"%d:%d\n" % (number, line) for line in range(30)
        )
        if owner.job_id == job_id:
            places.update(frame.position for frame in decode_all(encoded))
    assert len(places) == 8 * 60, "a place in the job's order is given once"


async def test_nothing_appears_below_the_mark(rig: Rig) -> None:
    """A reader that has read up to the job's mark has all that stands below it: nothing is added there later."""
    job_id = await rig.job()
    owners = [await rig.task(job_id) for _ in range(6)]

    async def write(number: int) -> None:
        writer = await rig.outputs.writer(owners[number])
        for line in range(40):
            await writer.append([(OUT, b"%d" % line)] * (1 + line % 3))
            await lag(0.002)
        await writer.close()

    async def all_frames() -> set[int]:
        return {frame.position for owner in owners for frame in await rig.frames(owner)}

    writing = [asyncio.create_task(write(number)) for number in range(len(owners))]
    below: list[tuple[int, set[int]]] = []
    while not all(task.done() for task in writing):
        mark = await rig.positions.mark(job_id)
        below.append((mark, {position for position in await all_frames() if position <= mark}))
    await asyncio.gather(*writing)
    whole = await all_frames()
    for mark, seen in below:
        assert {position for position in whole if position <= mark} == seen
    mark = await rig.positions.mark(job_id)
    assert max(whole) <= mark and len(below) > 1


async def test_who_has_written_since(rig: Rig) -> None:
    """It names all that have something new, though it may not know."""
    job_id = await rig.job()
    first, second = await rig.task(job_id), await rig.task(job_id)
    await rig.write(first, [(OUT, b"early")])
    between = await rig.positions.mark(job_id)
    await rig.write(second, [(OUT, b"late")])
    found = await rig.outputs.written_after(job_id, between)
    assert found is None or set(found) == {second.task_id}
    found = await rig.outputs.written_after(job_id, 0)
    assert found is None or set(found) == {first.task_id, second.task_id}
    found = await rig.outputs.written_after(job_id, await rig.positions.mark(job_id))
    assert not found


async def test_large_output(rig: Rig) -> None:
    """What is more than a row should hold moves away underneath: to readers nothing changes."""
    owner = await rig.task()
    chance = random.Random(3)
    batches = [[(OUT, chance.randbytes(MAX_FRAME)), (ERR, b"x")] for _ in range(40)]
    writer = await rig.outputs.writer(owner)
    encoded = b""
    for batch in batches[:20]:
        encoded += await writer.append(batch)
    reader = await rig.outputs.reader(owner.task_id)
    assert reader is not None
    half = await reader.read(0, len(encoded) // 3)
    for batch in batches[20:]:
        encoded += await writer.append(batch)
    await writer.close()
    await rig.end(owner, large=True)
    assert await rig.stored(owner) == encoded
    await rig.outputs.tidy()
    await rig.another().tidy()
    while piece := await reader.read(len(half), MEGABYTE):
        half += piece
    assert half == encoded, "a reader that was in the midst of it"
    await reader.close()
    assert await rig.stored(owner, rig.another()) == encoded
    if rig.artifacts is not None:
        kept = [found async for found in rig.artifacts.list(rig.outputs.location(owner.task_id))]
        assert sum(found.size for found in kept) == len(encoded)


@pytest.mark.parametrize("small", [True, False])
async def test_salvage(rig: Rig, small: bool) -> None:
    """What a dead writer left: counted, the last of each stream, and all of it where it is small."""
    owner = await rig.task()
    batches: list[list[Piece]] = [[(OUT, b"o%04d\n" % n), (ERR, b"e%04d\n" % n)] for n in range(50)]
    writer = await rig.outputs.writer(owner)
    encoded = b"".join([await writer.append(batch) for batch in batches])
    salvager = rig.another()
    for _ in range(2):
        found = await salvager.salvage(owner.task_id, tail=13, small=len(encoded) - (0 if small else 1))
        assert (found.frames, found.payload) == (100, 600)
        assert found.tails == {OUT: b"\no0048\no0049\n"[-13:], ERR: b"\ne0048\ne0049\n"[-13:]}
        assert found.encoded == (encoded if small else None)
    await writer.close()


async def test_salvage_cuts_off_what_a_crash_left_torn(rig: Rig) -> None:
    owner = await rig.task()
    encoded = await rig.write(owner, [(OUT, b"whole")])
    if isinstance(rig.outputs, FileOutputs):
        path = rig.root / "files" / rig.outputs.location(owner.task_id)
        with path.open("ab") as file:
            file.write(encode(Frame(2**50, OUT, b"torn"))[: HEADER_SIZE + 2])
        assert len(await rig.stored(owner)) > len(encoded)
    found = await rig.another().salvage(owner.task_id, tail=100, small=1000)
    assert (found.frames, found.encoded) == (1, encoded)
    assert await rig.stored(owner) == encoded


async def test_discarding(rig: Rig) -> None:
    """Whoever reads goes on; and it may be done again."""
    owner = await rig.task()
    encoded = await rig.write(owner, [(OUT, b"small")])
    reader = await rig.outputs.reader(owner.task_id)
    assert reader is not None
    await rig.end(owner, large=False, ago=30)
    for _ in range(2):
        await rig.outputs.discard(owner.task_id)
        await rig.outputs.tidy()
    assert await reader.read(0, 1000) == encoded
    await reader.close()
    assert await rig.stored(owner) in (b"", encoded)
    if rig.artifacts is not None:
        # Copies of what the task's row holds go when nobody can be reading them any more.
        await rig.end(owner, large=False, ago=3600)
        await rig.outputs.tidy()
    assert await rig.stored(owner) == b""


async def test_locations(rig: Rig) -> None:
    owners = [await rig.task() for _ in range(300)]
    places = [rig.outputs.location(owner.task_id) for owner in owners]
    assert len(set(places)) == 300 and max(map(len, places)) <= 300
    assert all(str(owner.task_id) in place for owner, place in zip(owners, places, strict=True))
    # Spread over folders, though the ids begin alike.
    assert len({place.rpartition("/")[0].split("/")[1] for place in places}) > 100


@contextmanager
def no_room(rig: Rig, after: int) -> Iterator[None]:
    """Files may not grow beyond so many bytes, as on a disk that fills up in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_keeps_what_was_there(rig: Rig) -> None:
    """All of an append or none: what failed has left nothing, and what comes once there is room stands behind."""
    owner = await rig.task()
    writer = await rig.outputs.writer(owner)
    first = await writer.append([(OUT, b"a" * 3000)])
    if isinstance(rig.outputs, FileOutputs):
        with no_room(rig, len(first) + 1500), pytest.raises(StorageFull):
            await writer.append([(OUT, b"b" * 3000)])
    elif rig.database.url.startswith("sqlite"):
        await _limit_pages(rig, now=True)
        with pytest.raises(StorageFull):
            await writer.append([(OUT, b"b" * 3_000_000)])
        await _limit_pages(rig, now=False)
    assert await rig.stored(owner) == first
    second = await writer.append([(ERR, b"c" * 3000)])
    assert await rig.stored(owner) == first + second
    await writer.close()


async def _limit_pages(rig: Rig, *, now: bool) -> None:
    from sqlalchemy import text

    async with rig.database.write() as session:
        pages = 0 if now else 1_000_000_000
        await session.execute(text(f"PRAGMA max_page_count = {max(pages, 1)}"))
