"""Following a task or a job: stored output first, then what comes, without gap or duplicate.

A follower reads what is stored, at its own pace; events only wake it. Nothing is buffered for it, so
that a slow or stalled one costs nothing and slows nothing.

All messages (services/messages.py) can be told again from what is stored, which is what makes resuming
exact.
"""

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.frames import Frame
from testum.core.permissions import JOBS_READ, Actor
from testum.core.states import FINAL, FINAL_JOB, TaskStatus
from testum.db import jobs, tasks
from testum.db.positions import Positions
from testum.db.session import Database
from testum.db.tasks import Task
from testum.errors import NotFound, OutputDamaged, OutputExpired
from testum.events.base import Change, Events
from testum.services import messages
from testum.services.access import Gate
from testum.services.messages import Message
from testum.services.output import OutputCursor, Outputs

_POLL_SECONDS = 5.0
"""Events may get lost: a follower looks by itself after so long."""
_TOGETHER_SECONDS = 0.2
"""Where output itself is not told, that there is more of it is told once for so long."""
_PAUSE_SECONDS = 0.03
"""Status changes of a job's tasks come in crowds: a follower takes those of so long together."""


class Streams:
    """Use cases of following."""

    def __init__(
        self, database: Database, gate: Gate, outputs: Outputs, events: Events, positions: Positions
    ) -> None:
        self._database = database
        self._gate = gate
        self._outputs = outputs
        self._events = events
        self._positions = positions
        self._followed_tasks: Counter[UUID] = Counter()
        self._followed_jobs: Counter[UUID] = Counter()

    async def ends_told(self) -> None:
        """Until the end of all that has ended is told to those who follow it."""
        while True:
            async with self._database.read() as session:
                if not await tasks.ended_among(session, [*self._followed_tasks]) and not any(
                    job.status in FINAL_JOB for job in await jobs.get_many(session, [*self._followed_jobs])
                ):
                    return
            await asyncio.sleep(_PAUSE_SECONDS)

    async def check_task(self, actor: Actor, task_id: UUID) -> None:
        """Raise Forbidden or NotFound unless the actor may follow the task."""
        await self._gate.check(actor, JOBS_READ, "task.follow", "task", task_id)
        if await self._task(task_id) is None:
            raise NotFound("There is no such task.")

    async def check_job(self, actor: Actor, job_id: UUID) -> None:
        """Raise Forbidden or NotFound unless the actor may follow the job."""
        await self._gate.check(actor, JOBS_READ, "job.follow", "job", job_id)
        async with self._database.read() as session:
            if await jobs.get(session, job_id) is None:
                raise NotFound("There is no such job.")

    async def _task(self, task_id: UUID) -> Task | None:
        async with self._database.read() as session:
            found = await tasks.by_ids(session, [task_id])
        return found[0] if found else None

    async def follow_task(self, task_id: UUID, after: int, *, output: bool = True) -> AsyncIterator[Message]:
        """Everything of the task numbered above `after` (-1: from the beginning), until it is done. Without
        `output`, what it prints is left out, and instead it is told that there may be more of it: soon after there
        is, and every few seconds anyway, so that who hears nothing knows that the connection is broken."""
        cursor = self._outputs.cursor(task_id)
        async with self._events.subscribe(task_id=task_id) as heard:
            self._followed_tasks[task_id] += 1
            try:
                started = False
                task: Task | None = None
                fault: OutputDamaged | None = None
                look = True
                while True:
                    if look:
                        task = await self._task(task_id)
                        if task is None:
                            return
                        if after < 0:
                            yield messages.created(task)
                            after = 0
                        if not started and task.started_position is not None:
                            started = True
                            if after < 1:
                                yield messages.started(task, 1)
                    assert task is not None
                    ended = task.status in FINAL
                    base = 1 if task.started_position is not None else 0
                    if not output and not ended:
                        yield messages.more(task, base)
                    if output and (started or ended) and fault is None:
                        try:
                            async for frame in cursor.read(task):
                                if base + cursor.number > after:
                                    yield messages.output(task.id, frame, base + cursor.number)
                        except OutputExpired:
                            task = await self._task(task_id)
                            if task is None:
                                return
                        except OutputDamaged as error:
                            fault = error
                    if ended:
                        last = base + task.output_frames
                        for message in messages.ending(task, last, fault):
                            if message.seq > after:
                                yield message
                        return
                    hints = await heard.wait(_POLL_SECONDS)
                    if not output:
                        await asyncio.sleep(_TOGETHER_SECONDS)
                    look = not hints or any(hint.change is Change.STATUS for hint in hints)
            finally:
                _take_one(self._followed_tasks, task_id)
                await cursor.close()

    async def follow_job(self, job_id: UUID, after: int, *, output: bool = True) -> AsyncIterator[Message]:
        """Everything of the job's tasks that stands after position `after` (-1: from the beginning). Without `output`,
        what they print is left out, and how the job stands is told every few seconds anyway (`follow_task`)."""
        async with self._events.subscribe(job_id=job_id) as heard:
            follower = _JobFollower(self._outputs, job_id, max(after, 0), self._database, output=output)
            told: tuple[str, dict[TaskStatus, int]] | None = None
            told_at = -_POLL_SECONDS
            self._followed_jobs[job_id] += 1
            try:
                while True:
                    begun = time.monotonic()
                    # The mark comes first: what is stored up to it is seen by the reads that follow.
                    mark = await self._positions.mark(job_id)
                    async with self._database.read() as session:
                        # And the job before its tasks: where it is over, all of them are seen to be.
                        job = await jobs.get(session, job_id)
                        if job is None:
                            return
                        changed = await follower.look(session)
                        if changed or told is None or told[0] != job.status:
                            counts = (await jobs.counts(session, [job]))[job_id]
                    async for message in follower.read(mark):
                        yield message
                    over = job.status in FINAL_JOB and follower.finished
                    due = not output and time.monotonic() - told_at >= _POLL_SECONDS
                    if over or due or told != (job.status, counts):
                        yield messages.of_job(job, counts, follower.position)
                        told, told_at = (job.status, counts), time.monotonic()
                    if over:
                        return
                    if changed:
                        # Looking is no more than half of the work: what a big job changes is taken together.
                        await asyncio.sleep(min(_PAUSE_SECONDS, time.monotonic() - begun))
                    await heard.wait(_PAUSE_SECONDS if follower.behind else _POLL_SECONDS)
            finally:
                _take_one(self._followed_jobs, job_id)
                await follower.close()


def _take_one(counted: Counter[UUID], name: UUID) -> None:
    counted[name] -= 1
    if not counted[name]:
        del counted[name]


class _JobFollower:
    """Reads a job's tasks in the order of positions. Only tasks that are under way, or not told to
    their end, are held, and of each no more than one frame."""

    def __init__(
        self, outputs: Outputs, job_id: UUID, after: int, database: Database, *, output: bool
    ) -> None:
        self._outputs = outputs
        self._job_id = job_id
        self._database = database
        self._with_output = output
        self.position = after
        self._after = after
        self._mark: int | None = None
        """Up to where everything was seen."""
        self._open: dict[UUID, _TaskFollower] = {}
        self._told: dict[UUID, int | None] = {}
        """The tasks that were told to their end, and where that stood: a lost one may get another end later."""
        self.finished = False
        self.behind = False

    async def look(self, session: AsyncSession) -> bool:
        """Read the rows of the tasks that began or ended since the last mark; whether there are any."""
        if self._mark is None:
            rows = await tasks.of_job(session, self._job_id, after=self._after)
        else:
            rows = await tasks.changed_after(session, self._job_id, self._mark)
        for row in rows:
            if row.id in self._told and row.finished_position == self._told[row.id]:
                continue
            follower = self._open.get(row.id)
            told_to = self._told.get(row.id) or 0
            if follower is not None and follower.has_another_end(row):
                told_to = follower.told_to
                await follower.close()
                follower = None
            if follower is None:
                follower = self._open[row.id] = _TaskFollower(
                    self._outputs, row, told_to, output=self._with_output
                )
            follower.renew(row)
        return bool(rows)

    async def _find_output(self) -> None:
        """Open the output of the tasks that run. One without any has printed nothing, or has ended since its row
        was read, whereupon its output moved into the row: then that must be read again."""
        without = [
            key
            for key, follower in self._open.items()
            if follower.task.status not in FINAL and not await follower.open()
        ]
        if without:
            async with self._database.read() as session:
                for row in await tasks.by_ids(session, await tasks.ended_among(session, without)):
                    self._open[row.id].renew(row)

    async def read(self, mark: int) -> AsyncIterator[Message]:
        """Everything that stands above where it was and not above `mark`, merged."""
        await self._find_output()
        fresh = None
        if self._mark is not None and self._with_output:
            fresh = await self._outputs.written_after(self._job_id, self._mark)
        self._mark = mark
        waiting = sorted(
            (
                (follower.first_position, key)
                for key, follower in self._open.items()
                if fresh is None or key in fresh or not follower.exhausted
            ),
            reverse=True,
        )
        heap: list[tuple[int, int, UUID, Message]] = []
        count = 0
        while waiting or heap:
            while waiting and (not heap or waiting[-1][0] <= heap[0][0]):
                _, key = waiting.pop()
                message = await self._open[key].next(mark, self._after)
                if message is not None:
                    count += 1
                    heapq.heappush(heap, (message.seq, count, key, message))
            if not heap:
                continue
            position, _, key, message = heapq.heappop(heap)
            self.position = max(self.position, position)
            yield message
            following = await self._open[key].next(mark, self._after)
            if following is not None:
                count += 1
                heapq.heappush(heap, (following.seq, count, key, following))
        self.position = max(self.position, self._after)
        for key, follower in list(self._open.items()):
            if follower.told:
                self._told[key] = follower.task.finished_position
                await follower.close()
                del self._open[key]
        self.behind = any(follower.task.status in FINAL or follower.held for follower in self._open.values())
        self.finished = not self._open

    async def close(self) -> None:
        for follower in self._open.values():
            await follower.close()


class _TaskFollower:
    """One task's messages in a job's stream."""

    def __init__(self, outputs: Outputs, task: Task, told_to: int, *, output: bool) -> None:
        """Up to the position `told_to` all was told before: a lost task got another end since."""
        self.task = task
        self.told_to = told_to
        self._with_output = output
        self._cursor: OutputCursor = outputs.cursor(task.id)
        self._frames: AsyncIterator[Frame] | None = None
        self._frames_ended = False
        self.held: Message | None = None
        self._endings: list[Message] | None = None
        self._fault: OutputDamaged | None = None
        self._start_told = False
        self.told = False
        self.exhausted = False
        """Whether all that was stored has been read, and the task goes on."""

    def has_another_end(self, task: Task) -> bool:
        """Whether the task was lost as its row was read last, and ended otherwise by this one. What was begun of its output
        and end is not to be told then."""
        return self.task.status in FINAL and self.task.finished_position != task.finished_position

    def renew(self, task: Task) -> None:
        """Go on with the task as its row is now: it may have more to tell than new output."""
        self.task = task
        self.exhausted = False

    async def open(self) -> bool:
        """Open the task's output; whether it has a file, or is not asked for."""
        return not self._with_output or await self._cursor.open()

    @property
    def first_position(self) -> int:
        """Nothing of this task stands before this position."""
        if self.held is not None:
            return self.held.seq
        return self.task.started_position or self.task.finished_position or 0

    async def next(self, mark: int, after: int) -> Message | None:
        """The next message above `after`; None when the rest stands above `mark` or is not stored yet."""
        while True:
            message = self.held or await self._produce()
            self.held = None
            self.exhausted = message is None and self.task.status not in FINAL
            if message is None:
                return None
            if message.seq > mark:
                self.held = message
                return None
            if message.type == "done":
                self.told = True
            if message.seq > max(after, self.told_to):
                self.told_to = message.seq
                return message
            if self.told:
                return None

    async def _produce(self) -> Message | None:
        if not self._start_told:
            self._start_told = True
            if self.task.started_position is not None:
                return messages.in_job(messages.started(self.task, 1), self.task.started_position)
        base = 1 if self.task.started_position is not None else 0
        if self._endings is None and not self._with_output:
            if self.task.status not in FINAL:
                return None
            self._endings = self._end(base + self.task.output_frames)
        if self._endings is None:
            ended = self.task.status in FINAL
            if self._fault is not None:
                return await self._end_damaged(base)
            if self._frames is None:
                self._frames = self._cursor.read(self.task)
                self._frames_ended = ended
            try:
                frame = await anext(self._frames)
            except OutputExpired:
                if self.task.output_expired_at is None:
                    # Removed while it was read. Who connects again is told so.
                    raise
                self._frames = None
                self._endings = self._end(base + self.task.output_frames)
            except OutputDamaged as error:
                self._frames, self._fault = None, error
                return await self._end_damaged(base)
            except StopAsyncIteration:
                self._frames = None
                if not self._frames_ended:
                    # What was read was the output of a running task: if it has ended since, read on.
                    return await self._produce() if ended else None
                self._endings = self._end(base + self.task.output_frames)
            else:
                number = base + self._cursor.number
                return messages.in_job(messages.output(self.task.id, frame, number), frame.position)
        return self._endings.pop(0) if self._endings else None

    async def _end_damaged(self, base: int) -> Message | None:
        """The end of a task whose output cannot be read any further; None while it runs."""
        if self.task.status not in FINAL:
            return None
        self._endings = self._end(base + self.task.output_frames)
        return await self._produce()

    def _end(self, last: int) -> list[Message]:
        """What a job's stream tells of the task's end, after its message number `last`."""
        return [
            messages.in_job(message, (self.task.finished_position or 0) - (message.type == "error"))
            for message in messages.ending(self.task, last, self._fault)
        ]

    async def close(self) -> None:
        await self._cursor.close()
