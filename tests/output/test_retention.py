"""Old output is removed, and nothing else; what a crash left at any step goes with the next sweep."""

import asyncio
import datetime as dt
import os
import re
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update

from tests.output.conftest import ERR, OUT, Rig
from testum.core.frames import MAX_FRAME, Piece
from testum.db.segments import OutputSegment
from testum.db.tasks import Task, TaskOutput
from testum.errors import StorageUnavailable
from testum.execution import retention
from testum.execution.retention import Retention
from testum.output.base import SWEEP_PARTS, Owner
from testum.output.files import FileOutputs

DAY = 86_400.0
LARGE: list[list[Piece]] = [[(OUT, b"x" * MAX_FRAME), (ERR, b"e")]] * 3


def keeper(rig: Rig, days: float = 7) -> Retention:
    return Retention(rig.database, rig.another(), dt.timedelta(days=days))


async def ended(rig: Rig, days: float, *, large: bool) -> Owner:
    """A task with output that ended so many days ago."""
    owner = await rig.task()
    batches: list[list[Piece]] = LARGE if large else [[(OUT, b"small\n")]]
    encoded = await rig.write(owner, *batches)
    pieces = [piece for batch in batches for piece in batch]
    await rig.end(owner, large=large, ago=days * DAY)
    await rig.change(
        owner,
        stdout="the end",
        stderr="",
        output_frames=len(pieces),
        output_bytes=sum(len(data) for _, data in pieces),
    )
    if large:
        await rig.outputs.tidy()
    else:
        async with rig.database.write() as session:
            session.add(TaskOutput(task_id=owner.task_id, frames=encoded))
        await rig.outputs.discard(owner.task_id)
    return owner


async def row(rig: Rig, owner: Owner) -> Task:
    async with rig.database.read() as session:
        return await session.get_one(Task, owner.task_id)


async def things(rig: Rig) -> list[str]:
    """Whatever there is of output beside the tasks' rows: rows, objects, files."""
    async with rig.database.read() as session:
        found = [f"row {task}" for task in await session.scalars(select(TaskOutput.task_id))]
        found += [f"segment {task}" for task in await session.scalars(select(OutputSegment.task_id))]
    if rig.artifacts is not None:
        found += [entry.key async for entry in rig.artifacts.list("tasks")]
    found += [str(path) for path in (rig.root / "files").rglob("*") if path.is_file()]
    return found


async def age(rig: Rig, days: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files and objects look so many days old to a sweep: S3 lets nobody set their times."""
    for path in rig.root.rglob("*.frames"):
        then = path.stat().st_mtime - days * DAY
        os.utime(path, (then, then))
    if rig.artifacts is not None and not rig.database.url.startswith("sqlite"):
        now = retention.database_now

        async def later(session: Any) -> dt.datetime:
            return await now(session) + dt.timedelta(days=days)

        monkeypatch.setattr(retention, "database_now", later)


async def sweep_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep every part in which there is something, as happens in the course of a day."""
    kept = keeper(rig)
    now = retention.database_now
    names = re.findall(
        r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{10}([0-9a-f]{2})", " ".join(await things(rig))
    )
    for part in sorted({int(name, 16) for name in [*names, "ab"]}):

        async def at(session: Any, part: int = part) -> dt.datetime:
            moment = await now(session)
            turn = int(moment.timestamp() // retention.SWEEP_SECONDS) % SWEEP_PARTS
            # A few days off at most: the ages that matter here are weeks.
            return moment + dt.timedelta(seconds=((part - turn) % SWEEP_PARTS) * retention.SWEEP_SECONDS)

        monkeypatch.setattr(retention, "database_now", at)
        await kept.sweep()
    monkeypatch.setattr(retention, "database_now", now)


async def test_what_is_old_goes_and_what_is_not_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [await ended(rig, days, large=large) for days in (7.01, 400) for large in (True, False)]
    young = [await ended(rig, days, large=large) for days in (6.99, 0) for large in (True, False)]
    running = await rig.task()
    await rig.write(running, [(OUT, b"still runs")])
    await rig.change(running, started_at=dt.datetime.now(dt.UTC) - dt.timedelta(days=90))
    silent = await rig.task()
    await rig.end(silent, large=False, ago=90 * DAY)
    before = {owner.task_id: await row(rig, owner) for owner in [*old, *young, running, silent]}
    kept = {owner.task_id: await rig.stored(owner) for owner in [*young, running]}
    for _ in range(2):
        await keeper(rig).expire()
    for owner in old:
        now, then = await row(rig, owner), before[owner.task_id]
        assert now.output_expired_at is not None
        assert (now.stdout, now.stderr, now.result_location) == (None, None, None)
        for name in (
            "status",
            "finished_at",
            "output_bytes",
            "output_frames",
            "exit_code",
            "platform_name",
            "fence",
        ):
            assert getattr(now, name) == getattr(then, name), name
        assert await rig.stored(owner) == b""
        assert not [thing for thing in await things(rig) if str(owner.task_id) in thing]
    for owner in [*young, running]:
        now = await row(rig, owner)
        assert (now.output_expired_at, now.stdout) == (None, before[owner.task_id].stdout)
        assert await rig.stored(owner) == kept[owner.task_id]
    # Nothing was there to be removed, so that nothing is said to have been.
    assert (await row(rig, silent)).output_expired_at is None
    left = await things(rig)
    await age(rig, 30, monkeypatch)
    for owner in young:
        await rig.change(owner, finished_at=dt.datetime.now(dt.UTC))
    await sweep_all(rig, monkeypatch)
    assert sorted(await things(rig)) == sorted(left), "a sweep removes nothing that belongs to a task"


async def test_in_batches(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are removed a few at a time, and a run ends in time: other duties wait for it."""
    monkeypatch.setattr(retention, "_AT_ONCE", 4)
    owners = [await ended(rig, 30 + number, large=False) for number in range(10)]

    async def expired() -> list[int]:
        return [number for number, owner in enumerate(owners) if (await row(rig, owner)).output_expired_at]

    monkeypatch.setattr(retention, "_WORK_SECONDS", 0)
    await keeper(rig).expire()
    assert await expired() == [6, 7, 8, 9], "the oldest first, and then it is enough"
    monkeypatch.undo()
    monkeypatch.setattr(retention, "_AT_ONCE", 4)
    await keeper(rig).expire()
    assert await expired() == list(range(10)) and await things(rig) == []


async def test_several_at_once(rig: Rig) -> None:
    owners = [await ended(rig, 30, large=number % 5 == 0) for number in range(20)]
    await asyncio.gather(*(keeper(rig).expire() for _ in range(4)))
    await keeper(rig).expire()
    assert all([(await row(rig, owner)).output_expired_at for owner in owners]) and await things(rig) == []


@pytest.mark.parametrize("large", [True, False])
async def test_a_crash_after_the_mark(rig: Rig, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says that it is gone, and all of it is still there."""
    owner = await ended(rig, 30, large=large)
    kept = keeper(rig)

    async def die(_: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as dying:
        dying.setattr(kept._outputs, "remove", die)
        with pytest.raises(ConnectionResetError):
            await kept.expire()
    assert (await row(rig, owner)).output_expired_at is not None
    assert await things(rig) or not large
    await keeper(rig).expire()
    await age(rig, 30, monkeypatch)
    await sweep_all(rig, monkeypatch)
    assert await things(rig) == []


async def test_a_crash_between_objects_and_rows(journal: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are deleted and the rows that name them are not; and the reverse, as a restored backup makes it."""
    first, second, third = [await ended(journal, 30, large=True) for _ in range(3)]
    assert journal.artifacts is not None
    first_keys = [
        found.key async for found in journal.artifacts.list(journal.outputs.location(first.task_id))
    ]
    await journal.artifacts.delete(first_keys)
    async with journal.database.write() as session:
        await session.execute(delete(OutputSegment).where(OutputSegment.task_id == second.task_id))
    await keeper(journal).expire()
    assert all([(await row(journal, owner)).output_expired_at for owner in (first, second, third)])
    await age(journal, 30, monkeypatch)
    await sweep_all(journal, monkeypatch)
    assert await things(journal) == []


async def test_what_belongs_to_no_task_is_swept_when_it_is_old(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies that nobody names, and files of tasks that are not there any more; nothing that is young, and nothing that
    testum has not made. In a bucket the output of unknown tasks stays: it may be another installation's."""
    kept, gone = await ended(rig, 1, large=True), await ended(rig, 1, large=True)
    strange = []
    if rig.artifacts is not None:
        # As a process leaves it that dies between the store and the database.
        await rig.artifacts.put(f"{rig.outputs.location(kept.task_id)}/{7:016}-1.frames", b"x")
        strange = ["tasks/ab/readme.txt", "tasks/ab/not-an-id/x", "others/thing"]
        for key in strange:
            await rig.artifacts.put(key, b"x")
    async with rig.database.write() as session:
        await session.delete(await session.get_one(Task, gone.task_id))
    before = await things(rig)
    await sweep_all(rig, monkeypatch)
    assert sorted(await things(rig)) == sorted(before), "what is young may be somebody's work"
    await age(rig, 30, monkeypatch)
    await sweep_all(rig, monkeypatch)
    left = await things(rig)
    alone = rig.artifacts is None
    assert bool([thing for thing in left if str(gone.task_id) in thing]) is not alone
    assert len(left) < len(before) and len(await rig.stored(kept)) > 3 * MAX_FRAME
    if rig.artifacts is not None:
        assert not [thing for thing in left if thing.endswith("-1.frames")]
        assert all([await rig.artifacts.get(key) == b"x" for key in strange])


async def test_a_file_whose_row_has_all_of_it_is_swept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    if not isinstance(rig.outputs, FileOutputs):
        # The journal's own tidying does it (test_output.py, test_discarding).
        return
    owner = await rig.task()
    await rig.write(owner, [(OUT, b"small")])
    await rig.end(owner, large=False)
    await age(rig, 30, monkeypatch)
    await sweep_all(rig, monkeypatch)
    assert await things(rig) == []


async def test_artifacts_that_are_away(
    on_servers: Rig, s3_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and done later."""
    owner = await ended(on_servers, 30, large=True)
    s3_server.stop()
    try:
        with pytest.raises(StorageUnavailable):
            await keeper(on_servers).expire()
    finally:
        s3_server.start()
    assert (await row(on_servers, owner)).output_expired_at is not None
    await keeper(on_servers).expire()
    await sweep_all(on_servers, monkeypatch)
    assert await things(on_servers) == []


async def test_a_hundred_thousand_old_tasks_are_found_by_an_index(rig: Rig) -> None:
    """Those that are done with cost nothing when it is looked for more."""
    owner = await ended(rig, 30, large=False)
    async with rig.database.write() as session:
        await session.execute(update(Task).values(output_expired_at=None, output_bytes=1))
        sqlite = session.bind.dialect.name == "sqlite"
        explain = "EXPLAIN QUERY PLAN" if sqlite else "SET LOCAL enable_seqscan = off; EXPLAIN"
        statement = (
            "SELECT id FROM task_runs WHERE finished_at < '2026-01-01' AND output_expired_at IS NULL AND output_bytes > 0"
            " ORDER BY finished_at LIMIT 500"
        )
        for part in f"{explain} {statement}".split("; "):
            plan = await session.execute(text(part))
        shown = " ".join(str(line) for line in plan)
        assert "ix_task_runs_output_kept" in shown, shown
        assert await session.scalar(select(func.count()).select_from(Task)) == 1
    assert (await row(rig, owner)).output_bytes == 1


async def test_every_part_has_its_turn_within_a_day(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = keeper(rig)
    swept: list[int] = []
    moment = dt.datetime(2026, 3, 29, tzinfo=dt.UTC)

    async def now(_: object) -> dt.datetime:
        return moment

    async def sweep(part: int, before: dt.datetime) -> int:
        assert before == moment - dt.timedelta(days=7)
        swept.append(part)
        return 0

    monkeypatch.setattr(retention, "database_now", now)
    monkeypatch.setattr(kept._outputs, "sweep", sweep)
    for _ in range(int(DAY / retention.SWEEP_SECONDS)):
        await kept.sweep()
        moment += dt.timedelta(seconds=retention.SWEEP_SECONDS)
    assert set(swept) == set(range(256))
