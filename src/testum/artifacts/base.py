"""The artifact wall: objects that are stored whole, by key, in a directory or in an S3 bucket."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it. `size` in bytes."""

    key: str
    size: int
    modified: dt.datetime


class Artifacts(Protocol):
    """A store of objects named by keys such as `tasks/ab/<id>/000000000000.frames`.

    A key is printable text without `#`, in segments between slashes, none of them empty, `.` or `..`; any other
    raises ValueError. No key may also be the folder of another one (`a` and `a/b`).

    Every call raises StorageUnavailable where the store does not answer (it may be tried again), and StorageFull
    where it has no room.
    """

    async def prepare(self) -> None:
        """Make the directory or the bucket where it is missing, and try that it can be written.

        Raises ConfigurationError, which names the setting and the remedy.
        """

    async def put(self, key: str, data: bytes) -> None:
        """Store an object; one that is there is replaced. It is there whole or not at all."""

    async def get(self, key: str, offset: int = 0, size: int | None = None) -> bytes | None:
        """Up to `size` bytes (None: all) from `offset`; empty beyond its end, None where there is no such object."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; nothing happens for those that are not there."""

    def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """The objects whose keys begin with the path `prefix` (whole segments, such as `tasks/ab`), in any order."""

    async def check(self) -> None:
        """Store something and read it again, as a health check does. Raises StorageUnavailable, and StorageFull."""
