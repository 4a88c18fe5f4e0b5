"""Artifacts as plain files below a directory.

Files and not an object-store library: output must be readable and crash-proof the moment it is shown,
which needs an append (docs/decisions/0003).
"""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from testum.errors import StorageFull

P = ParamSpec("P")
T = TypeVar("T")
Opened = TypeVar("Opened", "LocalReader", "LocalWriter")

_RESERVE = 32 * 1024 * 1024
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, lambda: call(*args, **kwargs))


class LocalArtifacts:
    """A directory of files. Room is kept free for the database, which shares the disk: output stops first."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()):
            raise ValueError(f"the key {key!r} leads out of the artifact directory")
        return path

    async def writer(self, key: str) -> "LocalWriter":
        """See Artifacts.writer."""
        return await _open(LocalWriter, self._path(key))

    async def reader(self, key: str) -> "LocalReader | None":
        """See Artifacts.reader."""
        try:
            return await _open(LocalReader, self._path(key))
        except FileNotFoundError:
            return None

    async def truncate(self, key: str, size: int) -> None:
        """See Artifacts.truncate."""
        await _in_thread(os.truncate, self._path(key), size)

    async def delete(self, key: str) -> None:
        """See Artifacts.delete."""
        await _in_thread(self._path(key).unlink, missing_ok=True)


class LocalWriter:
    """Appends to a file."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            try:
                self._file = os.open(path, flags, 0o600)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise _storage_error(error) from None

    async def append(self, data: bytes) -> None:
        """See Writer.append."""
        await _in_thread(self._append, data)

    def _append(self, data: bytes) -> None:
        _check_room(self._file)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise _storage_error(error) from None

    async def close(self) -> None:
        """See Writer.close."""
        self.close_now()

    def close_now(self) -> None:
        """Close, without a thread to wait for: such a wait could be cancelled before it began."""
        os.close(self._file)


class LocalReader:
    """Reads a file at any offset."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    async def read(self, offset: int, size: int) -> bytes:
        """See Reader.read."""
        return await _in_thread(os.pread, self._file, size, offset)

    async def close(self) -> None:
        """See Reader.close."""
        self.close_now()

    def close_now(self) -> None:
        """Close, without a thread to wait for: such a wait could be cancelled before it began."""
        os.close(self._file)


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


def _storage_error(error: OSError) -> Exception:
    return _full() if error.errno in _NO_ROOM else error
