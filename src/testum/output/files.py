"""Output as plain files, one for each task that runs or was large, for one process on one machine.

Files and not an object-store library: output must be readable and crash-proof the moment it is shown,
which needs an append (docs/decisions/0003).
"""

import asyncio
import datetime as dt
import errno
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

import structlog

from testum.core.frames import HEADER_SIZE, FrameDecoder, Piece, encode_row, unreadable
from testum.core.positions import Sequencer
from testum.db import expiry
from testum.db.session import Database
from testum.errors import OutputDamaged, StorageFull, StorageUnavailable, TestumError, WritesRefused
from testum.output.base import Owner, Salvage, gather

P = ParamSpec("P")
T = TypeVar("T")
Opened = TypeVar("Opened", "_File", "FileReader")

log = structlog.get_logger(__name__)

_SWEPT_AT_ONCE = 500
_RESERVE = 32 * 1024 * 1024
_NO_WRITES = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FOR_NOW = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""What passes by itself, and says nothing of the file."""


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, lambda: call(*args, **kwargs))


def location(task_id: UUID) -> str:
    """Where a task's file lies below the directory. The last digits spread the files; the first are the time."""
    name = str(task_id)
    return f"tasks/{name[-2:]}/{name}.frames"


async def read(root: Path, task_id: UUID) -> "FileReader | None":
    """Open a task's file in a directory of them; None where there is none. Raises OutputDamaged where it cannot be read, and
    StorageUnavailable."""
    try:
        return await _open(FileReader, root / location(task_id))
    except FileNotFoundError:
        return None


def try_out(folder: Path) -> None:
    """Write a file into the folder, and read it again. Raises StorageFull, also where output would be refused for want of
    room; WritesRefused, StorageUnavailable. It blocks."""
    data = secrets.token_bytes(4096)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _check_room(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            if file.read() != data:
                raise StorageUnavailable(f"{folder} does not keep what is written to it.")
    except OSError as error:
        raise _not_written(error, folder) from None


class FileOutputs:
    """A directory of files; see OutputStore. Room is kept free for the database, which shares the disk: output
    stops first."""

    def __init__(self, root: Path, sequencer: Sequencer, database: Database) -> None:
        self._root = root
        self._database = database
        self._sequencer = sequencer

    def _path(self, task_id: UUID) -> Path:
        return self._root / self.location(task_id)

    def location(self, task_id: UUID) -> str:
        """See OutputStore.location."""
        return location(task_id)

    async def writer(self, owner: Owner) -> "FileWriter":
        """See OutputStore.writer."""
        return FileWriter(await _open(_File, self._path(owner.task_id)), owner.job_id, self._sequencer)

    async def reader(self, task_id: UUID) -> "FileReader | None":
        """See OutputStore.reader. It goes on reading also after the file was removed."""
        return await read(self._root, task_id)

    async def written_after(self, job_id: UUID, position: int) -> Collection[UUID] | None:
        """See OutputStore.written_after."""
        return None

    async def salvage(self, task_id: UUID, *, tail: int, small: int) -> Salvage:
        """See OutputStore.salvage."""
        try:
            reader = await self.reader(task_id)
        except OutputDamaged:
            return Salvage(damaged=True)
        if reader is None:
            return Salvage(encoded=b"")
        decoder = FrameDecoder()
        found = await gather(reader, decoder, tail=tail, small=small)
        if decoder.pending and not found.damaged:
            # The process died within a write: readers must not meet half a frame.
            whole = HEADER_SIZE * found.frames + found.payload
            await _in_thread(os.truncate, self._path(task_id), whole)
        return found

    async def discard(self, task_id: UUID) -> None:
        """See OutputStore.discard. What cannot be removed is in nobody's way."""
        try:
            await _in_thread(self._path(task_id).unlink, missing_ok=True)
        except OSError as error:
            log.warning("a file of output cannot be removed", task=str(task_id), error=str(error))

    async def remove(self, task_ids: Sequence[UUID]) -> None:
        """See OutputStore.remove. Whoever has a file open goes on reading it."""
        for task_id in task_ids:
            await self.discard(task_id)

    async def sweep(self, part: int, before: dt.datetime) -> int:
        """See OutputStore.sweep."""
        removed = 0
        found = await _in_thread(_written_before, self._root / f"tasks/{part:02x}", before.timestamp())
        for start in range(0, len(found), _SWEPT_AT_ONCE):
            some = found[start : start + _SWEPT_AT_ONCE]
            async with self._database.read() as session:
                wanted = await expiry.stored_apart(session, some)
            left = [task_id for task_id in some if task_id not in wanted]
            await self.remove(left)
            removed += len(left)
        return removed

    async def tidy(self) -> None:
        """See OutputStore.tidy. There is nothing to do."""

    async def close(self) -> None:
        """See OutputStore.close."""


class _File:
    """A file that is appended to."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            try:
                self._file = os.open(path, flags, 0o600)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise _not_written(error, path) from None
        self._path = path
        self._size = os.fstat(self._file).st_size

    def append(self, data: bytes) -> None:
        """Add all of `data` at the end, or none of it."""
        _check_room(self._file)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise _not_written(error, self._path) from None
        self._size += len(data)

    def close_now(self) -> None:
        """Close, without a thread to wait for: such a wait could be cancelled before it began."""
        os.close(self._file)


class FileWriter:
    """See Writer."""

    def __init__(self, file: _File, job_id: UUID, sequencer: Sequencer) -> None:
        self._file = file
        self._job_id = job_id
        self._sequencer = sequencer

    async def append(self, pieces: Sequence[Piece]) -> bytes:
        """See Writer.append."""
        last = self._sequencer.reserve(self._job_id, len(pieces))
        try:
            encoded = encode_row(pieces, last)
            await _in_thread(self._file.append, encoded)
        finally:
            self._sequencer.release(self._job_id, last)
        return encoded

    async def close(self) -> None:
        """See Writer.close."""
        self._file.close_now()


class FileReader:
    """Reads a file at any offset; see Reader."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _not_read(error) from None

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader.read."""
        try:
            return await _in_thread(os.pread, self._file, size, offset)
        except OSError as error:
            raise _not_read(error) from None

    async def close(self) -> None:
        """See Reader.close."""
        self.close_now()

    def close_now(self) -> None:
        """See _File.close_now."""
        os.close(self._file)


def _written_before(folder: Path, moment: float) -> list[UUID]:
    """The tasks whose files in a folder have not been written to since."""
    found = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name, _, kind = entry.name.partition(".")
            with suppress(ValueError, FileNotFoundError):
                task_id = UUID(name)
                if kind == "frames" and entry.stat().st_mtime < moment:
                    found.append(task_id)
    return found


async def _open(kind: Callable[[Path], Opened], path: Path) -> Opened:
    """Open in a thread. Where whoever asked is cancelled before it is open, it is closed again."""
    opening = asyncio.get_running_loop().run_in_executor(None, kind, path)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_unwanted)
        raise


def _close_unwanted(opening: asyncio.Future[Opened]) -> None:
    if opening.exception() is None:
        opening.result().close_now()


def _check_room(file: int) -> None:
    disk = os.fstatvfs(file)
    reserve = min(_RESERVE, disk.f_blocks * disk.f_frsize // 10)
    if disk.f_bavail * disk.f_frsize < reserve:
        raise _full()


def _full() -> StorageFull:
    return StorageFull(
        "The disk under DATA_DIR is full: the output up to here is kept, the rest could not be. "
        "Make room there and run it again."
    )


def _not_written(error: OSError, place: Path) -> TestumError:
    if error.errno in _NO_ROOM:
        return _full()
    kind = WritesRefused if error.errno in _NO_WRITES else StorageUnavailable
    return kind(f"{place} cannot be written: {error.strerror}.")


def _not_read(error: OSError) -> TestumError:
    """What is wrong with the file (of another kind, not ours to read, on a broken disk) stays until somebody sees to it, as
    damage does: nothing is to wait for it."""
    if error.errno in _FOR_NOW:
        return StorageUnavailable(f"The task's output cannot be read now: {error.strerror}.")
    return unreadable(error.strerror or str(error))
