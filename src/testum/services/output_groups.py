"""Which of a job's tasks printed the same, and how the others differ."""

import asyncio
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from testum.core.difference import Changed, differ
from testum.core.folding import fold, natural_key
from testum.core.frames import Frame, FrameDecoder, Stream, decode_all, decode_text
from testum.core.permissions import JOBS_READ, Actor
from testum.core.states import FINAL, TaskStatus
from testum.core.terminal import visible
from testum.db import jobs, tasks
from testum.db.session import Database
from testum.db.tasks import Ending
from testum.errors import NotFound, OutputDamaged
from testum.services.access import Gate
from testum.services.output import Outputs
from testum.services.output_reading import FAULT_SECONDS

MAX_GROUPS = 500
_WAIT_SECONDS = 0.8
_UNASKED_SECONDS = 5.0
_BATCH = 500
_READ = 1024 * 1024
_MOST_DIGESTS = 100_000
_COMPARED = 256 * 1024
"""Bytes of each stream that are compared."""
_LINE = 500
"""Characters that are shown of a line."""
_Printed = tuple[UUID, int]
"""A task and how many bytes its output has: what a worker brings that was taken for dead makes it longer."""


@dataclass(frozen=True, slots=True)
class Group:
    """Tasks that ended alike and printed the same on each stream. `task_id` is the first of them or the one that was
    asked for, `names` are their platforms', folded."""

    names: str
    count: int
    task_id: UUID
    status: str
    exit_code: int | None
    error_code: str | None
    output_bytes: int


@dataclass(frozen=True, slots=True)
class Grouping:
    """A job's groups, the largest first and last those in which nothing ran, and how many there are; `largest` is the
    task of the first of all, whatever was asked for. `pending` tasks have not ended. Where it is not `complete`, only `compared` tasks are in groups so
    far."""

    groups: list[Group]
    total: int
    largest: UUID | None
    pending: int
    compared: int
    complete: bool


@dataclass(frozen=True, slots=True)
class StreamDifference:
    """How one stream differs; `whole` says that this is all of it."""

    stream: Stream
    lines: list[Changed]
    whole: bool


class OutputGroups:
    """Use cases of outputs side by side. What an output is, is kept as a digest, in this process; `close` it."""

    def __init__(self, database: Database, gate: Gate, outputs: Outputs) -> None:
        self._database = database
        self._gate = gate
        self._outputs = outputs
        self._digests: OrderedDict[_Printed, bytes] = OrderedDict()
        self._damaged: dict[_Printed, float] = {}
        """What was found damaged, and when."""
        self._passes: dict[UUID, asyncio.Task[None]] = {}
        self._asked: dict[UUID, float] = {}

    async def of_job(
        self,
        actor: Actor,
        job_id: UUID,
        limit: int,
        *,
        status: TaskStatus | None = None,
        task_id: UUID | None = None,
    ) -> Grouping:
        """The groups of a job's tasks that have ended, all or those that ended in `status`. That of `task_id` is named
        by it and not by its first task, and is there even where it is beyond `limit`. Raises NotFound."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            if await jobs.get(session, job_id) is None:
                raise NotFound("There is no such job.")
            endings = await tasks.endings(session, job_id)
        ended = [ending for ending in endings if ending.status in FINAL]
        await self._digest(job_id, ended)
        known = [
            (ending, digest)
            for ending in ended
            if (digest := self._digests.get(_printed(ending))) is not None
        ]
        groups = await asyncio.to_thread(_groups, known, task_id)
        wanted = [group for group in groups if status in (None, group.status)]
        return Grouping(
            groups=[group for place, group in enumerate(wanted) if place < limit or group.task_id == task_id],
            total=len(wanted),
            largest=groups[0].task_id if groups else None,
            pending=len(endings) - len(ended),
            compared=len(known),
            complete=len(known) == len(ended),
        )

    async def _digest(self, job_id: UUID, ended: Sequence[Ending]) -> None:
        """Go on, for a while, with the digests that are missing."""
        self._look_again()
        running = self._passes.get(job_id)
        missing = [ending for ending in ended if _printed(ending) not in self._digests]
        if running is None and not missing:
            return
        self._asked[job_id] = time.monotonic()
        if running is None:
            running = asyncio.create_task(self._go(job_id, missing), name="compare-outputs")
            self._passes[job_id] = running
            running.add_done_callback(lambda done: self._rest(job_id, done))
        await asyncio.wait((running,), timeout=_WAIT_SECONDS)
        if running.done():
            running.result()

    def _look_again(self) -> None:
        """What was damaged may have been restored since."""
        now = time.monotonic()
        for printed in [which for which, found in self._damaged.items() if now - found > FAULT_SECONDS]:
            del self._damaged[printed]
            self._digests.pop(printed, None)

    def _rest(self, job_id: UUID, done: asyncio.Task[None]) -> None:
        self._passes.pop(job_id, None)
        self._asked.pop(job_id, None)
        if not done.cancelled():
            done.exception()  # raised to whoever waits; there may be nobody

    async def _go(self, job_id: UUID, missing: Sequence[Ending]) -> None:
        small = [ending for ending in missing if ending.result_location is None]
        for start in range(0, len(small), _BATCH):
            batch = small[start : start + _BATCH]
            ids = [ending.id for ending in batch]
            async with self._database.read() as session:
                stored = await tasks.frames_of_many(session, ids)
            digests = await asyncio.to_thread(_digests_of, [stored.get(task_id, b"") for task_id in ids])
            for ending, digest in zip(batch, digests, strict=True):
                self._keep(ending, digest)
        for ending in missing:
            if ending.result_location is not None:
                if time.monotonic() - self._asked[job_id] > _UNASKED_SECONDS:
                    return
                self._keep(ending, await self._digest_large(ending))

    async def _digest_large(self, ending: Ending) -> bytes:
        hashes = _Hashes()
        decoder = FrameDecoder()
        offset = 0
        try:
            async with self._outputs.source(ending.id) as source:
                while data := await source.read(offset, _READ):
                    offset += len(data)
                    await asyncio.to_thread(hashes.feed, list(decoder.feed(data)))
        except OutputDamaged:
            self._damaged[_printed(ending)] = time.monotonic()
            self._outputs.distrust(ending.id)
            return _like_no_other()
        return hashes.digest()

    def _keep(self, ending: Ending, digest: bytes) -> None:
        self._digests[_printed(ending)] = digest
        while len(self._digests) > _MOST_DIGESTS:
            self._digests.popitem(last=False)

    async def compare(self, actor: Actor, task_id: UUID, other_id: UUID) -> list[StreamDifference]:
        """How the second task's output differs from the first's, for each stream that does. Raises NotFound."""
        await self._gate.check(actor, JOBS_READ, "task.read", "task", task_id)
        ours, theirs = await self._beginning(task_id), await self._beginning(other_id)
        return await asyncio.to_thread(_compare, ours, theirs)

    async def _beginning(self, task_id: UUID) -> dict[Stream, "_Beginning"]:
        found = {stream: _Beginning() for stream in Stream}
        decoder = FrameDecoder()
        offset = 0
        async with self._outputs.source(task_id) as source:
            while data := await source.read(offset, _READ):
                offset += len(data)
                for frame in decoder.feed(data):
                    found[frame.stream].take(frame.data)
                if all(beginning.cut for beginning in found.values()) or offset > 8 * _COMPARED:
                    break
        return found

    async def close(self) -> None:
        """Stop what is under way."""
        passes = list(self._passes.values())
        for running in passes:
            running.cancel()
        await asyncio.gather(*passes, return_exceptions=True)


def _printed(ending: Ending) -> _Printed:
    return ending.id, ending.output_bytes


def _groups(endings: Sequence[tuple[Ending, bytes]], task_id: UUID | None) -> list[Group]:
    alike: dict[object, list[Ending]] = {}
    for ending, digest in endings:
        key = (digest, ending.status, ending.exit_code, ending.error_code)
        alike.setdefault(key, []).append(ending)
    groups = [
        Group(
            names=fold(ending.platform_name for ending in group),
            count=len(group),
            task_id=next((ending.id for ending in group if ending.id == task_id), group[0].id),
            status=group[0].status,
            exit_code=group[0].exit_code,
            error_code=group[0].error_code,
            output_bytes=group[0].output_bytes,
        )
        for group in alike.values()
    ]
    return sorted(groups, key=lambda group: (_never_ran(group), -group.count, natural_key(group.names)))


def _never_ran(group: Group) -> bool:
    """Such as what was cancelled before its turn, or could not be reached: however many, there is nothing to compare
    with."""
    return group.exit_code is None and not group.output_bytes


class _Hashes:
    """What each stream printed, as a digest of both."""

    def __init__(self) -> None:
        self._hashes = {stream: hashlib.blake2b(digest_size=16) for stream in Stream}

    def feed(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._hashes[frame.stream].update(frame.data)

    def digest(self) -> bytes:
        return b"".join(one.digest() for one in self._hashes.values())


def _digests_of(stored: Sequence[bytes]) -> list[bytes]:
    digests = []
    for encoded in stored:
        hashes = _Hashes()
        try:
            hashes.feed(decode_all(encoded))
        except OutputDamaged:
            digests.append(_like_no_other())
        else:
            digests.append(hashes.digest())
    return digests


def _like_no_other() -> bytes:
    """The digest of output that is damaged: what it was, nobody knows."""
    return secrets.token_bytes(32)


class _Beginning:
    """The first bytes of a stream."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.cut = False

    def take(self, data: bytes) -> None:
        room = _COMPARED - len(self._data)
        self._data += data[:room]
        self.cut = self.cut or len(data) > room

    def lines(self) -> list[str]:
        text, _ = decode_text(visible(bytes(self._data)))
        return text.split("\n")[: -1 if text.endswith("\n") else None] if text else []


def _compare(ours: dict[Stream, _Beginning], theirs: dict[Stream, _Beginning]) -> list[StreamDifference]:
    differences = []
    for stream in Stream:
        lines, whole = differ(ours[stream].lines(), theirs[stream].lines())
        cut = ours[stream].cut or theirs[stream].cut
        if lines or cut:
            shown = [
                Changed(line.change, line.text[:_LINE], line.old, line.new)
                if len(line.text) > _LINE
                else line
                for line in lines
            ]
            differences.append(StreamDifference(stream, shown, whole and not cut))
    return differences
