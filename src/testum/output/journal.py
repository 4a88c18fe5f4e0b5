"""Output as a journal in the database, for many processes on many machines (docs/decisions/0010).

What a task prints is committed, with its position, before anyone is told. Once a few MiB have come together, they
move into an artifact, and a row that names it takes their place: to readers nothing changes. While the artifact
store is away the journal holds what comes, up to a limit; at the limit the task's writer waits, and with it the
command.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError

from testum.artifacts.base import Artifacts
from testum.core.frames import FrameDecoder, Piece, damaged, encode_row, missing
from testum.db import claims, segments, tasks
from testum.db.batcher import Batcher
from testum.db.positions import Positions
from testum.db.session import Database
from testum.errors import StorageUnavailable
from testum.output.base import Owner, Salvage, TakenOver, gather

log = structlog.get_logger(__name__)

MOVED_SIZE = 8 * 1024 * 1024
"""So much of a task's output moves into an artifact together."""
_MOST_IN_ROWS = 64 * 1024 * 1024
"""So much of a task's output may wait in rows before its writer does."""
_MOVES_AT_ONCE = 4
_GATHER_SECONDS = 0.005
_RETRY_SECONDS = 1.0
_SWEPT_AT_ONCE = 500
_READ_AHEAD = 2 * 1024 * 1024
_KEPT_SECONDS = 600.0
"""Rows of small outputs, which the task's own row holds too, stay so long: a reader may be in the midst of them."""

FOLDER = "tasks"
"""Below which all artifacts of tasks lie."""


def location(task_id: UUID) -> str:
    """Below which the artifacts of a task's output lie. The last digits spread the objects; the first are the
    time."""
    name = str(task_id)
    return f"{FOLDER}/{name[-2:]}/{name}"


def object_key(task_id: UUID, start: int, size: int) -> str:
    """The artifact that holds `size` bytes of a task's output from `start` on. The same bytes have the same key,
    whoever moves them and however often."""
    return f"{location(task_id)}/{start:016}-{size}.frames"


@dataclass(frozen=True, slots=True)
class _Append:
    owner: Owner
    start: int
    pieces: Sequence[Piece]


class JournalOutputs:
    """See OutputStore. One for each process; `close` it after the last write."""

    def __init__(self, database: Database, positions: Positions, artifacts: Artifacts) -> None:
        self._database = database
        self._positions = positions
        self._artifacts = artifacts
        self._closing = False
        self._moves = asyncio.Semaphore(_MOVES_AT_ONCE)
        self._batcher: Batcher[_Append, bytes | None] = Batcher(self._store, gather=_GATHER_SECONDS)

    def location(self, task_id: UUID) -> str:
        """See OutputStore.location."""
        return location(task_id)

    async def writer(self, owner: Owner) -> "JournalWriter":
        """See OutputStore.writer."""
        return JournalWriter(self, owner)

    async def reader(self, task_id: UUID) -> "JournalReader":
        """See OutputStore.reader."""
        return JournalReader(self._database, self._artifacts, task_id)

    async def written_after(self, job_id: UUID, position: int) -> Collection[UUID]:
        """See OutputStore.written_after."""
        async with self._database.read() as session:
            return await segments.written_after(session, job_id, position)

    async def salvage(self, task_id: UUID, *, tail: int, small: int) -> Salvage:
        """See OutputStore.salvage. Where the artifacts cannot be read now, or not any more, their text is left out."""
        with suppress(StorageUnavailable):
            found = await gather(await self.reader(task_id), FrameDecoder(), tail=tail, small=small)
            if not found.damaged:
                return found
        async with self._database.read() as session:
            extent = await segments.extent(session, task_id)
        return Salvage(extent.frames, extent.payload)

    async def discard(self, task_id: UUID) -> None:
        """See OutputStore.discard. It is left to `tidy`, for whoever reads it now."""

    async def remove(self, task_ids: Sequence[UUID]) -> None:
        """See OutputStore.remove. The rows go last: they are what names the artifacts."""
        async with self._database.read() as session:
            keys = await segments.objects_of(session, task_ids)
        await self._artifacts.delete(keys)
        async with self._database.write() as session:
            await segments.remove(session, task_ids)

    async def sweep(self, part: int, before: dt.datetime) -> int:
        """See OutputStore.sweep."""
        async with self._database.read() as session:
            unfinished = await segments.of_expired(session)
        await self.remove(unfinished)
        removed = len(unfinished)
        old: list[str] = []
        async for found in self._artifacts.list(f"{FOLDER}/{part:02x}"):
            if found.modified < before:
                old.append(found.key)
            if len(old) >= _SWEPT_AT_ONCE:
                removed += await self._remove_unnamed(old)
                old = []
        return removed + await self._remove_unnamed(old)

    async def _remove_unnamed(self, keys: Sequence[str]) -> int:
        """Remove those of the artifacts that no segment names; how many. Those of tasks that this database does not
        know stay: another installation may use the same bucket."""
        task_ids: dict[UUID, None] = {}
        ours = []
        for key in keys:
            # tasks/DIGITS/TASK/...; whatever else is there is not ours to judge.
            with suppress(ValueError, IndexError):
                task_ids[UUID(key.split("/")[2])] = None
                ours.append(key)
        if not ours:
            return 0
        async with self._database.read() as session:
            known = await tasks.known(session, list(task_ids))
            named = set(await segments.objects_of(session, list(task_ids)))
        left = [key for key in ours if key not in named and UUID(key.split("/")[2]) in known]
        await self._artifacts.delete(left)
        return len(left)

    async def tidy(self) -> None:
        """Move what is left in rows of large outputs whose tasks are over, and drop what is not needed any more."""
        async with self._database.write() as session:
            await segments.drop_copies(session, _KEPT_SECONDS)
        async with self._database.read() as session:
            left = await segments.left_in_rows(session)
        for task_id in left:
            while await self.move(task_id):
                pass

    async def close(self) -> None:
        """Write what there is; from now on a database that is away is not waited for."""
        self._closing = True
        await self._batcher.drain()

    async def append(self, owner: Owner, start: int, pieces: Sequence[Piece]) -> bytes:
        """Store pieces behind the `start` bytes there are. Raises TakenOver."""
        encoded = await self._batcher.ask(_Append(owner, start, pieces))
        if encoded is None:
            raise TakenOver("The task was taken over: this worker's lease on it had run out.")
        return encoded

    async def move(self, task_id: UUID, *, at_least: int = 0) -> int:
        """Move a task's first bytes that are in rows into an artifact, if there are `at_least` so many; how many
        it were. Raises StorageUnavailable, and StorageFull."""
        async with self._moves:
            async with self._database.read() as session:
                rows = await segments.in_rows(session, task_id, MOVED_SIZE)
            data = b"".join(row.data or b"" for row in rows)
            if not data or len(data) < at_least:
                return 0
            key = object_key(task_id, rows[0].start, len(data))
            await self._artifacts.put(key, data)
            async with self._database.write() as session:
                moved = await segments.move(session, rows, key)
            return len(data) if moved else 0

    async def _store(self, requests: Sequence[_Append]) -> Sequence[bytes | None]:
        """Write one group; where the database is away, again and again: the hosts wait meanwhile."""
        complained = False
        while True:
            try:
                return await self._write(requests, again=complained)
            except (StorageUnavailable, IntegrityError) as error:
                if self._closing or (complained and isinstance(error, IntegrityError)):
                    raise
                if not complained:
                    log.error("cannot write output; trying on", error=str(error))
                    complained = True
                await asyncio.sleep(_RETRY_SECONDS)

    async def _write(self, requests: Sequence[_Append], *, again: bool) -> Sequence[bytes | None]:
        """Write one group. `again`: the last time ended in an error, and yet may have been committed."""
        encoded: list[bytes | None] = []
        rows = []
        async with self._database.write() as session:
            last = {}
            for job_id in sorted({request.owner.job_id for request in requests}):
                width = sum(len(request.pieces) for request in requests if request.owner.job_id == job_id)
                # Whoever takes a task over reserves positions in its job first: from here on, nobody does.
                last[job_id] = await self._positions.reserve(session, job_id, width) - width
            owned = await claims.owned(
                session, {request.owner.task_id: request.owner.fence for request in requests}
            )
            stored = {}
            if again:
                stored = await segments.present(
                    session, [(request.owner.task_id, request.start) for request in requests]
                )
            for request in requests:
                owner = request.owner
                # Also where the task was taken over since: nobody else writes there.
                if (before := stored.get((owner.task_id, request.start))) is not None:
                    encoded.append(before)
                    continue
                if owner.task_id not in owned:
                    encoded.append(None)
                    continue
                last[owner.job_id] += len(request.pieces)
                data = encode_row(request.pieces, last[owner.job_id])
                encoded.append(data)
                rows.append(
                    segments.row(
                        owner.task_id,
                        owner.job_id,
                        request.start,
                        data,
                        frames=len(request.pieces),
                        last_position=last[owner.job_id],
                    )
                )
            if rows:
                await segments.add(session, rows)
        return encoded


class JournalWriter:
    """See Writer."""

    def __init__(self, outputs: JournalOutputs, owner: Owner) -> None:
        self._outputs = outputs
        self._owner = owner
        self._size = 0
        self._in_rows = 0
        self._moving: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    async def append(self, pieces: Sequence[Piece]) -> bytes:
        """See Writer.append."""
        while self._in_rows >= _MOST_IN_ROWS:
            self._moved.clear()
            await self._moved.wait()
        encoded = await self._outputs.append(self._owner, self._size, pieces)
        self._size += len(encoded)
        self._in_rows += len(encoded)
        if self._in_rows >= MOVED_SIZE and self._moving is None:
            self._moving = asyncio.create_task(self._move(), name="move-output")
        return encoded

    async def _move(self) -> None:
        """Move until less is left in rows than is worth it."""
        complained = False
        try:
            while self._in_rows >= MOVED_SIZE:
                try:
                    moved = await self._outputs.move(self._owner.task_id)
                except Exception as error:
                    # The journal holds it meanwhile.
                    if not complained:
                        log.error("cannot move output into artifacts; trying on", error=str(error))
                        complained = True
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    # None: another process tidies, as it does where it takes this task's worker for dead.
                    self._in_rows -= moved or MOVED_SIZE
                    self._moved.set()
        finally:
            self._moving = None

    async def close(self) -> None:
        """See Writer.close. What is left in rows, `tidy` moves."""
        if self._moving is not None:
            self._moving.cancel()
            with suppress(asyncio.CancelledError):
                await self._moving


class JournalReader:
    """See Reader. It holds no more than what it read ahead."""

    def __init__(self, database: Database, artifacts: Artifacts, task_id: UUID) -> None:
        self._database = database
        self._artifacts = artifacts
        self._task_id = task_id
        self._ahead = b""
        self._ahead_from = 0

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader.read."""
        held = self._ahead[offset - self._ahead_from :] if offset >= self._ahead_from else b""
        if not held:
            held = await self._fetch(offset)
            self._ahead, self._ahead_from = held, offset
        return held[:size]

    async def _fetch(self, offset: int) -> bytes:
        async with self._database.read() as session:
            found = await segments.beyond(session, self._task_id, offset, _READ_AHEAD)
        if not found:
            return b""
        first = found[0]
        if first.object_key is not None:
            wanted = min(first.size - (offset - first.start), _READ_AHEAD)
            data = await self._artifacts.get(first.object_key, offset - first.start, wanted)
            if data is None or len(data) < wanted:
                log.error("an artifact is missing or cut", key=first.object_key)
            if not data:
                raise missing() if data is None else damaged()
            return data
        rows = b"".join(segment.data for segment in found if segment.data is not None)
        return rows[offset - first.start :]

    async def close(self) -> None:
        """See Reader.close."""
        self._ahead = b""
