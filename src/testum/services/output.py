"""Reading output: a task's frames from where they are stored, at any time of its life."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from testum.core.frames import HEADER_SIZE, Frame, FrameDecoder, Stream, damaged, missing
from testum.core.permissions import JOBS_READ, Actor
from testum.core.rows import stamped
from testum.core.states import FINAL, TaskStatus
from testum.db import tasks
from testum.db.session import Database
from testum.db.tasks import Task
from testum.errors import NotFound, OutputExpired
from testum.output.base import OutputStore, Reader
from testum.services.access import Gate
from testum.services.spool import Spool, Spools

_READ = 512 * 1024
_BEGUN = 4 * 1024 * 1024


class OutputCursor:
    """A place in a task's output. `read` gives what is stored beyond it; call it again for more.

    While a task runs its output is in the output store; small output moves into the row when the task ends.
    A cursor that has the stored output open goes on reading it, and finds the rest in the row.
    """

    def __init__(self, database: Database, outputs: OutputStore, task_id: UUID) -> None:
        self._database = database
        self._outputs = outputs
        self._task_id = task_id
        self._reader: Reader | None = None
        self._decoder = FrameDecoder()
        self._offset = 0
        self.number = 0
        """The number of the last frame given."""

    async def open(self) -> bool:
        """Open the file, if there is one by now; whether it is open."""
        if self._reader is None:
            self._reader = await self._outputs.reader(self._task_id)
        return self._reader is not None

    async def read(self, task: Task) -> AsyncIterator[Frame]:
        """The frames stored beyond the cursor, in order. If the task's row is final, it says how many there are in all; then
        this raises OutputExpired where the output has been removed, be it while it was read, and OutputDamaged where it is
        not what was stored, be it that something is missing. What is stored beyond the end of a lost task came to light after
        its row was read; it is left to a cursor that begins anew."""
        ended = task.status in FINAL
        for part in (self._read_store, self._read_row) if ended else (self._read_store,):
            # A small task's last frames are in the row only.
            async for frame in part():
                if ended and self.number > task.output_frames:
                    if may_end_again(task):
                        return
                    raise damaged()
                yield frame
        if ended and self.number != task.output_frames:
            raise damaged() if self._reader is not None or self.number else missing()

    async def _read_store(self) -> AsyncIterator[Frame]:
        if not await self.open():
            return
        assert self._reader is not None
        while data := await self._reader.read(self._offset, _READ):
            self._offset += len(data)
            for frame in self._decoder.feed(data):
                self.number += 1
                yield frame

    async def _read_row(self) -> AsyncIterator[Frame]:
        async with self._database.read() as session:
            stored = await tasks.frames_of(session, self._task_id)
        if stored is None:
            raise expired()
        for number, frame in enumerate(FrameDecoder().feed(stored), start=1):
            if number > self.number:
                self.number = number
                yield frame

    async def close(self) -> None:
        """Give the file back."""
        if self._reader is not None:
            await self._reader.close()
            self._reader = None


def may_end_again(task: Task) -> bool:
    """Whether more of an ended task's output may come to light, with another end."""
    return task.status == TaskStatus.LOST


def expired() -> OutputExpired:
    """What to say of output that has been removed."""
    return OutputExpired("The task's output has been removed: it was older than output is kept here.")


@dataclass(frozen=True, slots=True)
class Source:
    """A task's encoded output, as it is stored at one moment. `size` is None while the task runs: it grows."""

    task: Task
    size: int | None
    _row: bytes | None
    _reader: Reader | None
    _spool: Spool | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.size is not None

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; empty at the present end. Raises StorageUnavailable, and OutputDamaged
        where there is less or more than there was."""
        data = await self._read(offset, size)
        if self.size is not None:
            if offset < self.size and not data:
                raise damaged() if self._row is not None or offset else missing()
            if offset + len(data) > self.size:
                if offset >= self.size and not may_end_again(self.task):
                    raise damaged()
                return data[: max(self.size - offset, 0)]
        return data

    async def _read(self, offset: int, size: int) -> bytes:
        if self._row is not None:
            return self._row[offset : offset + size]
        if self._reader is None:
            return b""
        if self._spool is not None and offset < self._spool.size:
            return await self._spool.read(offset, size)
        data = await self._reader.read(offset, size)
        if self._spool is not None and data:
            await self._spool.keep(offset, data)
        return data


class Outputs:
    """Use cases of stored output. `spools` are for a store that is far away."""

    def __init__(
        self, database: Database, gate: Gate, outputs: OutputStore, spools: Spools | None = None
    ) -> None:
        self._database = database
        self._gate = gate
        self._outputs = outputs
        self._spools = spools

    def cursor(self, task_id: UUID) -> OutputCursor:
        """A cursor at the beginning of a task's output. The caller has checked permission."""
        return OutputCursor(self._database, self._outputs, task_id)

    @asynccontextmanager
    async def source(self, task_id: UUID) -> AsyncIterator[Source]:
        """A task's output, to be read from any place. The caller has checked permission. Raises NotFound,
        and OutputExpired."""
        async with self._database.read() as session:
            found = await tasks.by_ids(session, [task_id])
            if not found:
                raise NotFound("There is no such task.")
            task = found[0]
            if task.output_expired_at is not None:
                raise expired()
            ended = task.status in FINAL
            row = None
            if ended and task.result_location is None:
                row = await tasks.frames_of(session, task_id)
        reader = None if row is not None else await self._outputs.reader(task_id)
        size = task.output_bytes + HEADER_SIZE * task.output_frames if ended else None
        try:
            spool = self._spools.of(task_id) if self._spools is not None and row is None else None
            yield Source(task, size, row, reader, spool)
        finally:
            if reader is not None:
                await reader.close()

    def distrust(self, task_id: UUID) -> None:
        """The task's output was found damaged: whoever reads it next reads what is stored then."""
        if self._spools is not None:
            self._spools.drop(task_id)

    async def written_after(self, job_id: UUID, position: int) -> Collection[UUID] | None:
        """See OutputStore.written_after."""
        return await self._outputs.written_after(job_id, position)

    async def download(
        self, actor: Actor, task_id: UUID, stream: Stream | None, *, timestamps: bool = False
    ) -> tuple[Task, AsyncIterator[bytes]]:
        """The task, and the exact bytes of one stream, or of both as they came; with `timestamps`, each line behind
        the time at which it began. Raises NotFound, OutputExpired, and OutputDamaged: beyond the first few MiB while it is
        read."""
        await self._gate.check(actor, JOBS_READ, "task.read", "task", task_id)
        async with self._database.read() as session:
            task = await tasks.get(session, task_id)
        if task is None:
            raise NotFound("There is no such task.")
        if task.output_expired_at is not None:
            raise expired()
        frames = await _begun(self._frames(task, stream))
        return task, _stamped(frames) if timestamps else _bytes(frames)

    async def _frames(self, task: Task, stream: Stream | None) -> AsyncGenerator[Frame]:
        cursor = self.cursor(task.id)
        try:
            async for frame in cursor.read(task):
                if stream is None or frame.stream is stream:
                    yield frame
        finally:
            await cursor.close()


async def _begun(frames: AsyncGenerator[Frame]) -> AsyncGenerator[Frame]:
    """The same frames, the first few MiB of which have been read: what is wrong with these is raised here."""
    first: list[Frame] = []
    size = 0
    async for frame in frames:
        first.append(frame)
        size += len(frame.data)
        if size >= _BEGUN:
            break

    async def all_of_them() -> AsyncGenerator[Frame]:
        async with aclosing(frames):
            for frame in first:
                yield frame
            first.clear()
            async for frame in frames:
                yield frame

    return all_of_them()


async def _bytes(frames: AsyncGenerator[Frame]) -> AsyncIterator[bytes]:
    async with aclosing(frames):
        async for frame in frames:
            yield frame.data


async def _stamped(frames: AsyncGenerator[Frame]) -> AsyncIterator[bytes]:
    before: Frame | None = None
    async with aclosing(frames):
        async for frame in frames:
            yield stamped(frame, before)
            before = frame
