"""The artifact wall: objects kept for tasks, above all their full output.

An object is appended to by one writer and read by any number of readers, also while it grows.
"""

from typing import Protocol


class Writer(Protocol):
    """Appends to one object."""

    async def append(self, data: bytes) -> None:
        """Add `data` at the end. When this returns, readers see it, and it survives this process.

        Raises StorageFull when there is no room; what was appended before stays readable.
        """

    async def close(self) -> None:
        """No more will be appended."""


class Reader(Protocol):
    """Reads one object; goes on reading it also after it was deleted."""

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; empty at the present end."""

    async def close(self) -> None:
        """Give the object back."""


class Artifacts(Protocol):
    """A store of objects named by keys such as `tasks/ab/<id>.frames`."""

    async def writer(self, key: str) -> Writer:
        """Begin an object, or go on at the end of one. Raises StorageFull."""

    async def reader(self, key: str) -> Reader | None:
        """Read an object, or None where there is none."""

    async def truncate(self, key: str, size: int) -> None:
        """Cut an object to its first `size` bytes (a torn end after a crash)."""

    async def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""


def output_key(task_id: str) -> str:
    """Where a task's output is kept. The last digits spread the objects; the first are the time."""
    return f"tasks/{task_id[-2:]}/{task_id}.frames"
