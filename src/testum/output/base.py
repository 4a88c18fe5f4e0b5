"""How a task's output is kept while it grows and after: as one row of bytes, the encoded frames
(core/frames.py), appended to by one writer and read by any number of readers.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from testum.core.frames import FrameDecoder, Piece, Stream, encode
from testum.errors import OutputDamaged, TestumError

_READ = 1024 * 1024
SWEEP_PARTS = 256
"""The parts of a store, by the last two hexadecimal digits of the tasks' ids."""


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
        """Up to `size` bytes from `offset`; empty at the present end. Raises StorageUnavailable, and OutputDamaged where
        something is missing."""

    async def close(self) -> None:
        """Give the output back."""


@dataclass(slots=True)
class Salvage:
    """What a task's output was found to be: how many frames, with how many bytes of output, the position of the last one,
    and the last of each stream; and all of it, encoded, where it is small. `damaged`: there is more behind it, which
    cannot be read."""

    frames: int = 0
    payload: int = 0
    position: int = 0
    tails: dict[Stream, bytes] = field(default_factory=lambda: dict.fromkeys(Stream, b""))
    encoded: bytes | None = None
    damaged: bool = False


class OutputStore(Protocol):
    """Keeps the output of tasks."""

    async def writer(self, owner: Owner) -> Writer:
        """Begin a task's output. Raises StorageFull."""

    async def reader(self, task_id: UUID) -> Reader | None:
        """Read a task's output, or None where none is stored here."""

    async def written_after(self, job_id: UUID, position: int) -> Collection[UUID] | None:
        """The tasks of the job that have output stored above `position`; None: not known, any may have."""

    async def salvage(self, task_id: UUID, *, tail: int, small: int) -> Salvage:
        """What there is of a task whose writer is gone for good. What a crash left torn is cut off.

        `tail` is how many last bytes of each stream are wanted, `small` up to which encoded size all of it is.
        """

    def location(self, task_id: UUID) -> str:
        """Where a task's output is kept: the `result_location` of a large one."""

    async def discard(self, task_id: UUID) -> None:
        """The task's row holds its output: it is not needed here any more."""

    async def remove(self, task_ids: Sequence[UUID]) -> None:
        """Remove the output of tasks, whose rows say already that it is gone. Nothing happens for those that have
        none: it may be done again. Raises StorageUnavailable."""

    async def sweep(self, part: int, before: dt.datetime) -> int:
        """Remove what a crash left: what was stored before that moment and is no task's output any more. It looks at
        one of the SWEEP_PARTS parts of the store, and returns how much it removed. Raises StorageUnavailable."""

    async def tidy(self) -> None:
        """What is to be done from time to time, by one process."""

    async def close(self) -> None:
        """No writer will append any more."""


async def gather(reader: Reader, decoder: FrameDecoder, *, tail: int, small: int) -> Salvage:
    """Read all whole frames that a reader has, up to where they are damaged, and close it."""
    found = Salvage(encoded=b"")
    offset = 0
    try:
        while data := await reader.read(offset, _READ):
            offset += len(data)
            for frame in decoder.feed(data):
                found.frames += 1
                found.payload += len(frame.data)
                found.position = frame.position
                found.tails[frame.stream] = (found.tails[frame.stream] + frame.data)[-tail:]
                if found.encoded is not None:
                    found.encoded += encode(frame)
                    if len(found.encoded) > small:
                        found.encoded = None
    except OutputDamaged:
        # It stays where it is, so that whoever reads it is told.
        found.encoded = None
        found.damaged = True
    finally:
        await reader.close()
    return found
