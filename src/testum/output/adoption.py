"""Taking over output that another store kept: as artifacts, and the journal's rows that name them."""

from collections.abc import AsyncIterator
from uuid import UUID

from testum.artifacts.base import Artifacts
from testum.core.frames import FrameDecoder, encode
from testum.db import segments
from testum.errors import OutputDamaged, StorageUnavailable
from testum.output.base import Reader
from testum.output.journal import MOVED_SIZE, object_key

Row = dict[str, object]
"""A row of `output_segments`, by the names of its columns."""


async def adopt(
    artifacts: Artifacts | None, task_id: UUID, job_id: UUID, reader: Reader
) -> AsyncIterator[Row]:
    """Store all whole frames that a reader has, up to where they are damaged, some MiB in each artifact, and read each one
    again; the rows that
    name them, in order. Without `artifacts` nothing is stored, and the rows are as they would be. The reader is
    closed.

    Raises StorageUnavailable, also where an artifact is not what was stored; StorageFull.
    """
    decoder = FrameDecoder()
    offset = start = frames = position = 0
    gathered = bytearray()
    try:
        while True:
            data = await reader.read(offset, MOVED_SIZE)
            offset += len(data)
            try:
                for frame in decoder.feed(data):
                    gathered += encode(frame)
                    frames += 1
                    position = frame.position
            except OutputDamaged:
                # The rest is lost; whoever reads it in the new place is told so, too.
                data = b""
            if gathered and (len(gathered) >= MOVED_SIZE or not data):
                yield await _store(artifacts, task_id, job_id, bytes(gathered), start, frames, position)
                start += len(gathered)
                frames = 0
                gathered.clear()
            if not data:
                return
    finally:
        await reader.close()


async def _store(
    artifacts: Artifacts | None,
    task_id: UUID,
    job_id: UUID,
    data: bytes,
    start: int,
    frames: int,
    position: int,
) -> Row:
    key = object_key(task_id, start, len(data))
    if artifacts is not None:
        await artifacts.put(key, data)
        if await artifacts.get(key) != data:
            raise StorageUnavailable(f"The artifact {key} is not what was stored. Look after that store.")
    return segments.row(task_id, job_id, start, data, frames=frames, last_position=position, object_key=key)
