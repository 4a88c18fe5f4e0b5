"""Output that a worker still held when its task was taken from it, because it was taken for dead: its late result brings
it, and what the task says is whole."""

import datetime as dt
import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from tests.db.conftest import add_job
from tests.output.conftest import OUT, Rig
from tests.support.waiting import eventually
from testum.core.frames import HEADER_SIZE, decode_all
from testum.core.positions import Sequencer
from testum.core.states import TaskStatus
from testum.db import tasks
from testum.db.base import utc_now
from testum.db.claims import Claim
from testum.db.positions import Positions, ProcessPositions, StoredPositions
from testum.db.results import Result
from testum.db.tasks import Task
from testum.dispatch.local import LocalDispatcher
from testum.events.memory import MemoryEvents
from testum.execution.ledger import Ledger, Wanted
from testum.execution.recorder import Recorder
from testum.execution.recovery import Recovery
from testum.output.base import OutputStore, Owner, TakenOver
from testum.output.files import FileOutputs
from testum.services.output import OutputCursor, Outputs, Source
from testum.services.streams import Streams

SMALL, LARGE = b"small ", b"0123456789abcdef" * 5000


async def never(about: object) -> Any:
    """Nothing is dispatched here, nor asked."""
    raise AssertionError(about)


async def claimed(rig: Rig) -> tuple[Ledger, Claim, Recorder]:
    """A task that is sent."""
    ledger = Ledger(rig.database, rig.positions, MemoryEvents(), worker="here", lease_seconds=30)
    (claim,) = (await ledger.claim(Wanted(await add_job(rig.database, 1), 1))).claims
    await ledger.sending(claim, "root@there:22")
    owner = Owner(claim.id, claim.job_id, claim.fence)
    return ledger, claim, Recorder(owner, outputs=rig.outputs, events=MemoryEvents(), limit=1 << 30)


def recovery(rig: Rig, positions: Positions, outputs: OutputStore) -> Recovery:
    """Another process's."""
    return Recovery(
        database=rig.database,
        positions=positions,
        outputs=outputs,
        events=MemoryEvents(),
        dispatcher=LocalDispatcher(never, never),
        worker="another",
        lease_seconds=30,
        held=lambda task_id: False,
    )


async def close_as_lost(rig: Rig) -> None:
    """What another process does with all tasks that are not its own, as if their leases had run out."""
    await recovery(rig, rig.positions, rig.another()).at_start()


async def finish(ledger: Ledger, claim: Claim, recorder: Recorder) -> None:
    """The command has ended well; its worker writes that now."""
    recorded = await recorder.finish()
    result = Result(claim.id, claim.job_id, claim.fence, TaskStatus.SUCCESS, exit_code=0)
    result.stdout, result.stderr = recorded.stdout, recorded.stderr
    result.output_frames, result.output_bytes = recorded.output_frames, recorded.output_bytes
    result.result_location = recorded.result_location
    result.shown, result.rest = recorded.frames, recorded.rest
    await ledger.finish(result)


async def told(rig: Rig, claim: Claim, task: Task | None = None) -> tuple[Task, bytes]:
    """The task, and all that is read of its output; raises where that is not what the row says, which may be read before."""
    if task is None:
        async with rig.database.read() as session:
            task = await session.get_one(Task, claim.id)
    cursor = OutputCursor(rig.database, rig.outputs, claim.id)
    frames = [frame async for frame in cursor.read(task)]
    await cursor.close()
    positions = [frame.position for frame in frames]
    assert positions == sorted(set(positions))
    data = b"".join(frame.data for frame in frames)
    assert task.output_bytes == len(data)
    return task, data


async def read_as(rig: Rig, task: Task) -> bytes:
    """What is read of the task's stored output by offsets, as lines and searches do, where this is its row."""
    reader = await rig.outputs.reader(task.id)
    source = Source(task, task.output_bytes + HEADER_SIZE * task.output_frames, None, reader, None)
    stored = b""
    while data := await source.read(len(stored), 1 << 20):
        stored += data
    if reader is not None:
        await reader.close()
    return b"".join(frame.data for frame in decode_all(stored))


@pytest.mark.parametrize(
    ("before", "after", "seen"),
    [
        (b"", SMALL, True),
        (b"", LARGE, False),
        (SMALL, b"", False),
        (SMALL, SMALL, True),
        (SMALL, LARGE, True),
        (LARGE, SMALL, False),
        (LARGE, LARGE, True),
    ],
    ids=lambda value: (
        str(len(value)) if isinstance(value, bytes) else "as it comes" if value else "at the end"
    ),
)
async def test_a_late_result_brings_its_output(journal: Rig, before: bytes, after: bytes, seen: bool) -> None:
    """`seen`: that the task is another's was noticed as the output came, and not when the command had ended."""
    ledger, claim, recorder = await claimed(journal)
    owner = Owner(claim.id, claim.job_id, claim.fence)
    if before:
        await recorder.write(OUT, before)
        await eventually(lambda: holds(journal, owner, before))
    await close_as_lost(journal)
    task, data = await told(journal, claim)
    assert (task.status, data) == (TaskStatus.LOST, before)
    if after:
        await recorder.write(OUT, after)
        if seen:
            await eventually(lambda: is_refused(recorder))
    await finish(ledger, claim, recorder)
    assert await told(journal, claim, task) == (task, before), "as the row said that was read before"
    assert await read_as(journal, task) == before
    task, data = await told(journal, claim)
    assert (task.status, data) == (TaskStatus.SUCCESS, before + after)
    assert task.stdout is not None and (before + after).endswith(task.stdout.encode())
    assert (task.result_location is None) == (len(before + after) < len(LARGE))
    if task.result_location is None:
        assert task.stdout.encode() == before + after


@pytest.mark.parametrize("after", [SMALL, LARGE], ids=["small", "large"])
async def test_who_follows_is_told_the_end_that_came_to_light(journal: Rig, after: bytes) -> None:
    """The task is lost as its row is read, and has its late end before the lost one was told."""
    ledger, claim, recorder = await claimed(journal)
    await recorder.write(OUT, SMALL)
    await eventually(lambda: holds(journal, Owner(claim.id, claim.job_id, claim.fence), SMALL))

    class Marks(StoredPositions):
        asked = 0

        async def mark(self, job_id: UUID) -> int:
            self.asked += 1
            if self.asked == 1:
                mark = await super().mark(job_id)
                await close_as_lost(journal)
                return mark
            if self.asked == 2:
                await recorder.write(OUT, after)
                await finish(ledger, claim, recorder)
            return await super().mark(job_id)

    gate: Any = None
    outputs = Outputs(journal.database, gate, journal.outputs)
    streams = Streams(journal.database, gate, outputs, MemoryEvents(), Marks(journal.database))
    heard = [message async for message in streams.follow_job(claim.job_id, -1)]
    of_task = [message.to_json() for message in heard if message.task_id == claim.id]
    assert (
        "".join(each["payload"] for each in of_task if each["type"] == "stdout") == (SMALL + after).decode()
    )
    (done,) = (each for each in of_task if each["type"] == "done")
    assert (done["data"]["status"], "output_error" in done["data"]) == ("success", False)


async def holds(rig: Rig, owner: Owner, data: bytes) -> bool:
    return b"".join(frame.data for frame in await rig.frames(owner)) == data


async def is_refused(recorder: Recorder) -> bool:
    return isinstance(recorder.failure, TakenOver)


@pytest.mark.parametrize("before", [SMALL, LARGE], ids=["small", "large"])
async def test_it_may_come_when_the_journal_was_tidied(journal: Rig, before: bytes) -> None:
    """The rows of a small output are dropped then, those of a large one are in an artifact."""
    ledger, claim, recorder = await claimed(journal)
    await recorder.write(OUT, before)
    await eventually(lambda: holds(journal, Owner(claim.id, claim.job_id, claim.fence), before))
    await close_as_lost(journal)
    async with journal.database.write() as session:
        await session.execute(update(Task).values(finished_at=utc_now() - dt.timedelta(hours=1)))
    await journal.outputs.tidy()
    await recorder.write(OUT, LARGE)
    await finish(ledger, claim, recorder)
    for _ in range(2):
        task, data = await told(journal, claim)
        assert (task.status, data) == (TaskStatus.SUCCESS, before + LARGE)
        await journal.outputs.tidy()


@pytest.mark.parametrize("rig", ["files"], indirect=True)
async def test_a_start_with_an_earlier_clock_keeps_the_order(rig: Rig) -> None:
    """The only process there is dies, and the clock is set back before the next one starts."""
    root = rig.root / "artifacts"
    ahead = Sequencer(lambda: time.time_ns() // 1000 + 3_600_000_000)
    rig.outputs, rig.positions = FileOutputs(root, ahead, rig.database), ProcessPositions(ahead)
    _, claim, recorder = await claimed(rig)
    owner = Owner(claim.id, claim.job_id, claim.fence)
    await recorder.write(OUT, SMALL)
    await eventually(lambda: holds(rig, owner, SMALL))
    right = Sequencer()
    await recovery(rig, ProcessPositions(right), FileOutputs(root, right, rig.database)).at_start()
    task, data = await told(rig, claim)
    assert (task.status, data) == (TaskStatus.LOST, SMALL)
    async with rig.database.read() as session:
        (frame,) = decode_all(await tasks.frames_of(session, claim.id) or b"")
    assert task.started_position is not None and task.finished_position is not None
    assert task.started_position < frame.position < task.finished_position
