"""A directory that holds objects as files."""

import asyncio
import errno
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import obstore
from obstore.store import LocalStore

from testum.errors import ConfigurationError, StorageFull, StorageUnavailable, TestumError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Directory:
    """See Place."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def store(self) -> LocalStore:
        """See Place.store. The directory must be there when it is first used."""
        return LocalStore(self._root, automatic_cleanup=True)

    async def make(self) -> None:
        """See Place.make."""
        await asyncio.to_thread(self._root.mkdir, mode=0o700, parents=True, exist_ok=True)

    async def arrange(self) -> None:
        """See Place.arrange. There is nothing to do."""

    async def put(self, key: str, data: bytes) -> None:
        """See Place.put."""
        # Written beside its name and then renamed: as a whole, never in parts.
        await obstore.put_async(self.store, key, data, use_multipart=False)
        await asyncio.to_thread(self._sync, key)

    def _sync(self, key: str) -> None:
        """obstore leaves it to the system when a file reaches the disk."""
        path = self._root / key
        for place in (path, *path.parents[: key.count("/") + 1]):
            try:
                handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # deleted since, and an emptied folder with it
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    async def delete(self, keys: Sequence[str]) -> None:
        """See Place.delete."""
        for key in keys:
            try:
                # One by one: given several, obstore stops at the first that is not there.
                await obstore.delete_async(self.store, key)
            except FileNotFoundError:
                continue

    async def check(self) -> None:
        """See Place.check."""
        if not await asyncio.to_thread(os.access, self._root, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, "it cannot be written")

    def absent(self, error: Exception) -> bool:
        """See Place.absent."""
        return isinstance(error, FileNotFoundError)

    def failed(self, error: Exception) -> TestumError:
        """See Place.failed."""
        number, reason = _os_error(error)
        if number in _NO_ROOM:
            return StorageFull(f"The disk under {self._root} is full. Make room there.")
        return StorageUnavailable(f"The directory {self._root} cannot be used now: {reason}.")

    def misconfigured(self, error: Exception) -> TestumError:
        """See Place.misconfigured."""
        number, reason = _os_error(error)
        if number in _NO_ROOM:
            return self.failed(error)
        return ConfigurationError(
            f"DATA_DIR: {self._root} cannot be used: {reason}. Name a directory that may be written."
        )


def _os_error(error: Exception) -> tuple[int, str]:
    """The number and the words of the system's error that is in an error of obstore or is one itself."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.strerror or "unknown"
    number = re.search(r"\(os error (\d+)\)|\bcode: (\d+)", str(error))
    if number is None:
        return 0, "it is not understood why"
    found = int(number[1] or number[2])
    return found, os.strerror(found)
