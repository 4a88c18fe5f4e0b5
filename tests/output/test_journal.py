"""The journal: who may write, what moves when, and servers that are away meanwhile."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from tests.output.conftest import ERR, OUT, Rig
from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Server
from tests.support.waiting import eventually, lag, remains
from testum.core.frames import MAX_FRAME, FrameDecoder, decode_all
from testum.core.states import TaskStatus
from testum.db.segments import OutputSegment
from testum.errors import OutputDamaged, StorageUnavailable
from testum.output import journal as module
from testum.output.base import Owner, TakenOver
from testum.output.journal import MOVED_SIZE, JournalOutputs

BLOCK = [(OUT, b"x" * MAX_FRAME)]


async def in_rows(rig: Rig, owner: Owner) -> int:
    """How many bytes of the task's output are in rows."""
    size = func.coalesce(func.sum(OutputSegment.size), 0)
    async with rig.database.read() as session:
        return int(
            await session.scalar(
                select(size).where(OutputSegment.task_id == owner.task_id, OutputSegment.data.is_not(None))
            )
            or 0
        )


async def test_who_lost_the_task_writes_nothing(journal: Rig) -> None:
    owner = await journal.task()
    writer = await journal.outputs.writer(owner)
    kept = await writer.append([(OUT, b"ours")])
    await journal.change(owner, fence=2, worker_id="another")
    with pytest.raises(TakenOver):
        await writer.append([(OUT, b"too late")])
    assert await journal.stored(owner) == kept
    await journal.change(owner, status=TaskStatus.LOST)
    heir = await journal.another().writer(Owner(owner.task_id, owner.job_id, 2))
    with pytest.raises(TakenOver):
        await heir.append([(OUT, b"after its end")])
    assert await journal.stored(owner) == kept


async def test_one_that_lost_its_task_hinders_no_other(journal: Rig) -> None:
    """They are written in one group all the same."""
    job_id = await journal.job()
    owners = [await journal.task(job_id) for _ in range(6)]
    await journal.change(owners[2], fence=7)
    writers = [await journal.outputs.writer(owner) for owner in owners]
    done = await asyncio.gather(*(writer.append([(OUT, b"x")]) for writer in writers), return_exceptions=True)
    assert [isinstance(result, TakenOver) for result in done] == [False, False, True, False, False, False]
    for owner, result in zip(owners, done, strict=True):
        assert await journal.stored(owner) == (b"" if isinstance(result, TakenOver) else result)


async def test_large_output_moves_while_it_grows(journal: Rig) -> None:
    owner = await journal.task()
    writer = await journal.outputs.writer(owner)
    written = 0
    for _ in range(2 * MOVED_SIZE // MAX_FRAME + 4):
        written += len(await writer.append(BLOCK))

    async def moved() -> bool:
        return await in_rows(journal, owner) < MOVED_SIZE

    await eventually(moved)
    assert len(await journal.stored(owner)) == written
    await writer.close()


async def test_two_that_tidy_at_once(journal: Rig) -> None:
    """The same bytes get the same key, and one row takes the place of many once."""
    owner = await journal.task()
    encoded = await journal.write(owner, *([(OUT, b"%06d" % n * 20), (ERR, b"e")] for n in range(60)))
    await journal.end(owner, large=True)
    await asyncio.gather(*(journal.another().tidy() for _ in range(4)))
    assert await in_rows(journal, owner) == 0
    assert await journal.stored(owner) == encoded
    assert journal.artifacts is not None
    assert len([found async for found in journal.artifacts.list("tasks")]) == 1


async def test_an_artifact_that_is_missing_is_told(journal: Rig) -> None:
    """Not taken for an empty output."""
    owner = await journal.task()
    await journal.write(owner, *[BLOCK] * 3)
    await journal.end(owner, large=True)
    await journal.outputs.tidy()
    assert journal.artifacts is not None
    await journal.artifacts.delete([found.key async for found in journal.artifacts.list("tasks")])
    with pytest.raises(OutputDamaged, match="is missing") as raised:
        await journal.stored(owner)
    assert raised.value.code == "output_missing"
    found = await journal.outputs.salvage(owner.task_id, tail=100, small=100)
    assert (found.frames, found.payload) == (3, 3 * MAX_FRAME), "how much there was is known all the same"


@pytest.mark.parametrize("change", ["cut", "changed"])
async def test_an_artifact_that_is_not_what_was_stored_is_told(journal: Rig, change: str) -> None:
    owner = await journal.task()
    await journal.write(owner, *[BLOCK] * 3)
    await journal.end(owner, large=True)
    await journal.outputs.tidy()
    assert journal.artifacts is not None
    (key,) = [found.key async for found in journal.artifacts.list("tasks")]
    data = await journal.artifacts.get(key)
    assert data is not None
    middle = len(data) // 2
    await journal.artifacts.delete([key])
    await journal.artifacts.put(
        key, data[:middle] if change == "cut" else data[:middle] + b"?" + data[middle + 1 :]
    )
    decoder = FrameDecoder()
    got: list[bytes] = []
    reader = await journal.outputs.reader(owner.task_id)
    assert reader is not None
    offset = 0
    with pytest.raises(OutputDamaged) as raised:
        while more := await reader.read(offset, len(data)):
            offset += len(more)
            got.extend(frame.data for frame in decoder.feed(more))
    await reader.close()
    assert raised.value.code == "output_damaged" and len(got) == 1, "what stands before it is read"


async def test_a_database_that_is_away_is_waited_for(
    on_servers: Rig, postgres_server: PostgresServer
) -> None:
    """The hosts wait meanwhile; then all is there, once and in order."""
    job_id = await on_servers.job()
    owners = [await on_servers.task(job_id) for _ in range(4)]
    lines: Counter[UUID] = Counter()

    async def write(owner: Owner) -> bytes:
        writer = await on_servers.outputs.writer(owner)
        encoded = b""
        for line in range(60):
            encoded += await writer.append([(OUT, b"%d\n" % line)])
            lines[owner.task_id] += 1
            await lag(0.02)
        return encoded

    writing = [asyncio.create_task(write(owner)) for owner in owners]
    for number, end in enumerate(
        (
            postgres_server.restart,
            lambda: postgres_server.restart(immediate=True),
            lambda: (postgres_server.kill(), postgres_server.start()),
        ),
        start=1,
    ):
        before = 15 * number
        await eventually(lambda before=before: all(lines[owner.task_id] >= before for owner in owners))
        assert not any(task.done() for task in writing)
        await asyncio.to_thread(end)
    for owner, encoded in zip(owners, await asyncio.gather(*writing), strict=True):
        assert b"".join(frame.data for frame in decode_all(encoded)) == b"".join(
            b"%d\n" % line for line in range(60)
        )
        assert await on_servers.stored(owner) == encoded, "what was told is what is stored"


async def test_one_that_closes_does_not_wait(on_servers: Rig, postgres_server: PostgresServer) -> None:
    owner = await on_servers.task()
    writer = await on_servers.outputs.writer(owner)
    await writer.append([(OUT, b"before")])
    postgres_server.stop()
    try:
        appending = asyncio.create_task(writer.append([(OUT, b"never")]))
        await remains(lambda: not appending.done(), 0.2)
        await asyncio.wait_for(on_servers.outputs.close(), 30)
        with pytest.raises(StorageUnavailable):
            await appending
    finally:
        postgres_server.start()


async def test_artifacts_that_are_away_fill_the_journal_to_its_limit(
    on_servers: Rig, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its writer waits, and with it the command; readers have all of it, and it goes on when they are back."""
    monkeypatch.setattr(module, "_MOST_IN_ROWS", 2 * MOVED_SIZE)
    owner = await on_servers.task()
    writer = await on_servers.outputs.writer(owner)
    s3_server.stop()
    encoded = b""
    try:
        async with asyncio.timeout(60):
            while len(encoded) < 2 * MOVED_SIZE:
                encoded += await writer.append(BLOCK)
        waiting = asyncio.create_task(writer.append(BLOCK))
        await remains(lambda: not waiting.done(), 0.3)
        assert await in_rows(on_servers, owner) == len(encoded)
        assert await on_servers.stored(owner) == encoded
    finally:
        s3_server.start()
    encoded += await asyncio.wait_for(waiting, 60)
    assert await in_rows(on_servers, owner) < len(encoded)
    assert await on_servers.stored(owner) == encoded
    await writer.close()


async def test_one_task_that_waits_for_artifacts_does_not_hold_up_others(
    on_servers: Rig, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_IN_ROWS", MOVED_SIZE)
    large, small = await on_servers.task(), await on_servers.task()
    writer = await on_servers.outputs.writer(large)
    s3_server.stop()
    try:
        written = 0
        while written < MOVED_SIZE:
            written += len(await writer.append(BLOCK))
        waiting = asyncio.create_task(writer.append(BLOCK))
        encoded = await asyncio.wait_for(on_servers.write(small, *[[(OUT, b"quick")]] * 20), 20)
        assert not waiting.done() and await on_servers.stored(small) == encoded
    finally:
        s3_server.start()
    await asyncio.wait_for(waiting, 60)
    await writer.close()


async def test_a_commit_whose_answer_got_lost_is_written_once(
    journal: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can know whether it was committed: so that is looked up, and not written a second time."""
    owner = await journal.task()
    outputs = journal.outputs
    assert isinstance(outputs, JournalOutputs)
    write, calls = outputs._write, 0

    async def lose_the_answer(requests: Any, *, again: bool) -> Any:
        nonlocal calls
        calls += 1
        answer = await write(requests, again=again)
        if calls == 1:
            raise StorageUnavailable("The answer got lost.")
        return answer

    monkeypatch.setattr(outputs, "_write", lose_the_answer)
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    writer = await outputs.writer(owner)
    first = await writer.append([(OUT, b"one")])
    second = await writer.append([(OUT, b"two")])
    assert calls == 3 and await journal.stored(owner) == first + second
    assert [frame.data for frame in decode_all(first + second)] == [b"one", b"two"]
