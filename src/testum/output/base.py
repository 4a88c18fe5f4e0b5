"""How a task's output is kept while it grows and after: as one row of bytes, the encoded frames
(core/frames.py), appended to by one writer and read by any number of readers.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from testum.core.frames import Frame, FrameDecoder, Piece
from testum.errors import TestumError

_READ = 1024 * 1024


class TakenOver(TestumError):
    """The task is not the writer's any more: its lease ran out, and its end is another's to write."""

    code = "taken_over"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose output is written, and the fence that proves the right to write it."""

    task_id: UUID
    job_id: UUID
    fence: int


class Writer(Protocol):
    """Appends to one task's output."""

    async def append(self, pieces: Sequence[Piece]) -> bytes:
        """Store pieces as frames at the end, and return them encoded. When this returns, readers see them, and
        they survive this process. Where it raises, none of them is there.

        Raises StorageFull when there is no room, and TakenOver.
        """

    async def close(self) -> None:
        """No more will be appended."""


class Reader(Protocol):
    """Reads one task's output."""

    async def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; empty at the present end."""

    async def close(self) -> None:
        """Give the output back."""


class OutputStore(Protocol):
    """Keeps the output of tasks."""

    async def writer(self, owner: Owner) -> Writer:
        """Begin a task's output. Raises StorageFull."""

    async def reader(self, task_id: UUID) -> Reader | None:
        """Read a task's output, or None where none is stored here."""

    async def written_after(self, job_id: UUID, position: int) -> Collection[UUID] | None:
        """The tasks of the job that have output stored above `position`; None: not known, any may have."""

    def salvage(self, task_id: UUID) -> AsyncIterator[Frame]:
        """All frames of a task whose writer is gone for good. What a crash left torn is cut off."""

    def location(self, task_id: UUID) -> str:
        """Where a task's output is kept: the `result_location` of a large one."""

    async def discard(self, task_id: UUID) -> None:
        """The output is stored elsewhere: it is not needed here any more."""


async def frames_in(reader: Reader, decoder: FrameDecoder) -> AsyncIterator[Frame]:
    """The whole frames that a reader has, from its beginning."""
    offset = 0
    while data := await reader.read(offset, _READ):
        offset += len(data)
        for frame in decoder.feed(data):
            yield frame
