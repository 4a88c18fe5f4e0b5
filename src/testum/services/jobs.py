"""Jobs: starting, cancelling, running again. Looking at them is history.py's."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.feature import Registry
from testum.core.idempotency import Once
from testum.core.job_kinds import JobSpec, RerunOf
from testum.core.permissions import JOBS_CANCEL, JOBS_READ, JOBS_RUN, Actor
from testum.core.secrets import Sealer
from testum.core.states import FINAL_JOB, JobStatus, TaskStatus
from testum.core.targets import Targets, no_match, no_such
from testum.db import claims, idempotency, jobs, platforms, remains, tasks
from testum.db.base import new_id, utc_now
from testum.db.jobs import Job
from testum.db.positions import Positions
from testum.db.remains import Unsure
from testum.db.session import Database
from testum.db.targets import Target, missing_ids, missing_names, select_targets
from testum.dispatch.base import Dispatcher, Work
from testum.errors import Conflict, InvalidInput, MayStillRun, NotFound
from testum.events.base import Change, Events, Hint
from testum.services.access import Gate
from testum.services.intake import Intake
from testum.services.once import Started, already_made, new_job_id, started_by

_NAMES_TOLD = 5


class Jobs:
    """Use cases of jobs."""

    def __init__(
        self,
        features: Registry,
        database: Database,
        gate: Gate,
        sealer: Sealer,
        dispatcher: Dispatcher,
        events: Events,
        positions: Positions,
        intake: Intake,
        *,
        concurrency: int,
        timeout: float,
    ) -> None:
        self._features = features
        self._database = database
        self._gate = gate
        self._sealer = sealer
        self._dispatcher = dispatcher
        self._events = events
        self._positions = positions
        self._intake = intake
        self._concurrency = concurrency
        self._timeout = timeout

    async def start(
        self,
        actor: Actor,
        spec: JobSpec,
        targets: Targets,
        *,
        new: UUID | None = None,
        once: Once | None = None,
    ) -> Started:
        """Accept a job: its rows and its audit entry are committed, then it is dispatched.

        `new` is the id that it gets, a version 7 of now (`new_id`): where this account has started a job of that id
        already, that one is the answer, however often and quickly it is asked for. `once` does the same by a key of
        the client's: see `first`.

        Raises InvalidInput, also (code `no_targets`) when nothing is selected; Conflict where the id is that of
        somebody else's job; what `first` raises; Stopping.
        """
        await self._check(actor, spec)
        spec.check()
        targets.check()
        parameters = spec.parameters.prepared()
        job = Job(
            id=new_job_id(new),
            type=parameters.kind,
            status=JobStatus.PENDING,
            targets=targets.as_json(),
            parameters=parameters.stored(),
            timeout=spec.timeout if spec.timeout is not None else self._timeout,
            idle_timeout=spec.idle_timeout,
            concurrency=spec.concurrency or self._concurrency,
            created_by=actor.username,
            created_at=utc_now(),
        )
        if secrets := parameters.secrets():
            job.sealed_environment = self._sealer.seal(job.id, "environment", json.dumps(secrets))
            job.sealed_for = job.id

        async def select_platforms(session: AsyncSession) -> tuple[Job, Sequence[Target]]:
            missing = await missing_ids(session, targets.platform_ids)
            if missing:
                raise InvalidInput.field("targets.platform_ids", f"no platform has the id {missing[0]}.")
            # Whoever names a host wants it done there: left out without a word it would look like success.
            if unknown := await missing_names(session, targets.names):
                raise no_such(unknown)
            await parameters.check_names(session)
            selected = await select_targets(session, targets)
            if not selected:
                raise no_match(targets)
            return job, selected

        return await self._accept(actor, job.id, select_platforms, once)

    async def start_on(
        self,
        actor: Actor,
        spec: JobSpec,
        platform_id: UUID,
        *,
        new: UUID | None = None,
        once: Once | None = None,
    ) -> Started:
        """`start` on one platform. Raises also NotFound."""
        await self._check(actor, spec)
        async with self._database.read() as session:
            if await platforms.get(session, platform_id) is None:
                raise NotFound("There is no such platform.")
        return await self.start(actor, spec, Targets(platform_ids=(platform_id,)), new=new, once=once)

    async def first(self, actor: Actor, once: Once) -> Started | None:
        """The job that this key of the account's started within the last day, whatever has become of its platforms
        since; None where it started none. Raises InvalidInput (code `idempotency_key_reused`) where it asked for
        something else then."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await started_by(session, actor, once)

    async def _check(self, actor: Actor, spec: JobSpec) -> None:
        kind = spec.parameters
        await self._gate.check(actor, kind.permission, f"job.{kind.kind}", "job")

    async def rerun(
        self,
        actor: Actor,
        job_id: UUID,
        which: RerunOf,
        *,
        new: UUID | None = None,
        once: Once | None = None,
        force: bool = False,
    ) -> Started:
        """Do an ended job again, on all or some of its platforms that are still there; `new` and `once` are as for
        `start`.

        Raises NotFound, Conflict while the job is under way (a command would run twice at once), MayStillRun where it
        may still be at work on one of them from before, unless `force`, and InvalidInput (code `no_targets` when nothing
        is left to run on), Stopping.
        """
        new = new_job_id(new)
        old = await self.to_rerun(actor, job_id)

        async def select_platforms(session: AsyncSession) -> tuple[Job, Sequence[Target]]:
            selected = await jobs.targets_left(session, job_id, _wanted(which))
            if not selected:
                raise _nothing_left()
            if not force and (unsure := await _unsure(session, old, selected)):
                raise _may_still_run(unsure)
            job = Job(
                id=new,
                type=old.type,
                status=JobStatus.PENDING,
                targets={"platform_ids": [str(target.id) for target in selected]},
                parameters=old.parameters,
                sealed_environment=old.sealed_environment,
                sealed_for=old.sealed_for,
                timeout=old.timeout,
                idle_timeout=old.idle_timeout,
                concurrency=old.concurrency,
                rerun_of=old.id,
                created_by=actor.username,
                created_at=utc_now(),
            )
            return job, selected

        return await self._accept(actor, new, select_platforms, once)

    async def left_to_rerun(self, actor: Actor, job_id: UUID, which: RerunOf) -> tuple[Job, int]:
        """A job and on how many platforms `rerun` would do it again. Raises what that would raise."""
        job = await self.to_rerun(actor, job_id)
        async with self._database.read() as session:
            number = await jobs.count_left(session, job_id, _wanted(which))
        if not number:
            raise _nothing_left()
        return job, number

    async def unsure(self, actor: Actor, job: Job, which: RerunOf) -> list[Unsure]:
        """The tasks that `rerun` would ask about: of this job, or of one that does the same, on the platforms that it
        would run on."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job", job.id)
        async with self._database.read() as session:
            selected = await jobs.targets_left(session, job.id, _wanted(which))
            return await _unsure(session, job, selected)

    async def platforms_left(self, actor: Actor, job_id: UUID) -> list[str]:
        """The ids, as 32 hexadecimal digits and in their order, of a job's platforms that are still there."""
        await self._gate.check(actor, JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            return await jobs.ids_left(session, job_id)

    async def to_rerun(self, actor: Actor, job_id: UUID) -> Job:
        """The job, if this account may do it again now. Raises NotFound, Conflict as `rerun` does."""
        async with self._database.read() as session:
            job = await jobs.get(session, job_id)
        if job is None:
            await self._gate.check(actor, JOBS_RUN, "job.rerun", "job", job_id)
            raise NotFound("There is no such job.")
        kind = self._features.job_kind(job.type)
        await self._gate.check(actor, kind.permission, "job.rerun", "job", job_id)
        if job.status not in FINAL_JOB:
            raise Conflict("The job is still under way. Wait for its end, or cancel it.", code="job_running")
        return job

    async def _accept(
        self,
        actor: Actor,
        job_id: UUID,
        make: Callable[[AsyncSession], Awaitable[tuple[Job, Sequence[Target]]]],
        once: Once | None,
    ) -> Started:
        """Insert and dispatch the job that is made, unless there is one of the id, or of the key."""
        try:
            async with self._database.write() as session:
                if made := await already_made(session, actor, job_id, once):
                    return made
                self._intake.check()
                if once is not None:
                    await idempotency.add(session, actor.id, once, job_id)
                job, selected = await make(session)
                task_id = await self._insert(session, actor, job, selected)
        except IntegrityError:
            # Where many write at once, another request has made it since.
            async with self._database.read() as session:
                made = await already_made(session, actor, job_id, once)
            if made is None:
                raise
            return made
        await self._dispatcher.submit(_work(job, selected))
        return Started(job, task_id)

    async def _insert(
        self, session: AsyncSession, actor: Actor, job: Job, selected: Sequence[Target]
    ) -> UUID:
        job.task_count = len(selected)
        session.add(job)
        await session.flush()
        rows: list[dict[str, Any]] = [
            {
                "id": new_id(),
                "job_id": job.id,
                "ordinal": ordinal,
                "type": job.type,
                "platform_id": target.id,
                "platform_name": target.name,
                "zone": target.zone,
                "created_at": job.created_at,
            }
            for ordinal, target in enumerate(selected)
        ]
        await tasks.insert_many(session, rows)
        self._gate.log(
            session,
            actor,
            f"job.{job.type}",
            "job",
            job.id,
            platforms=len(selected),
            names=[target.name for target in selected[:20]],
            **self._features.job_kind(job.type).audited(job.parameters),
            **({"rerun_of": str(job.rerun_of)} if job.rerun_of is not None else {}),
        )
        first: UUID = rows[0]["id"]
        return first

    async def cancel(self, actor: Actor, job_id: UUID) -> None:
        """Cancel a job: what has not begun never will, what runs is ended on its host, and so is what may still be at work
        there of tasks that are over, which each then says. Where there is nothing of all that, nothing is changed. Raises
        NotFound."""
        await self._gate.check(actor, JOBS_CANCEL, "job.cancel", "job", job_id)
        ids: list[UUID] = []
        last: int | None = None
        try:
            async with self._database.write() as session:
                most = await tasks.count_pending(session, job_id) * claims.ENDING_WIDTH
                last = await self._positions.reserve(session, job_id, most)
                job = await jobs.get(session, job_id)
                if job is None:
                    raise NotFound("There is no such job.")
                left = await remains.end_those(session, job_id)
                asked = job.cancel_requested_at is not None
                if not asked and (left or job.status not in FINAL_JOB):
                    job.cancel_requested_at = utc_now()
                    job.cancel_requested_by = actor.username
                if not asked and job.status not in FINAL_JOB:
                    ids = await tasks.pending_ids(session, job_id)
                    if ids:
                        first = last - most + claims.ENDING_WIDTH
                        positions = range(first, last + 1, claims.ENDING_WIDTH)[: len(ids)]
                        await claims.cancel_pending(session, job_id, positions, ids)
                    await jobs.settle(session, [job_id])
                if left or (not asked and job.cancel_requested_at is not None):
                    self._gate.log(
                        session, actor, "job.cancel", "job", job_id, not_begun=len(ids), may_still_run=left
                    )
        finally:
            if last is not None:
                self._positions.release(job_id, last)
        for task_id in ids:
            self._events.publish(Hint(job_id, task_id, Change.STATUS))
        # Whoever runs tasks of it listens to this.
        self._events.publish(Hint(job_id, None, Change.STATUS))


async def _unsure(session: AsyncSession, job: Job, selected: Sequence[Target]) -> list[Unsure]:
    wanted = {target.id for target in selected}
    return [task for task in await remains.like(session, job) if task.platform_id in wanted]


def _may_still_run(unsure: Sequence[Unsure]) -> MayStillRun:
    names = list(dict.fromkeys(task.platform_name for task in unsure))
    more = f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else ""
    return MayStillRun(
        f"It may still be at work from before on {', '.join(names[:_NAMES_TOLD])}{more}: it would run there twice at once. "
        "Cancel that job to have it ended there, or start it all the same with `force`.",
        [task._asdict() for task in unsure],
    )


def _work(job: Job, selected: Sequence[Target]) -> Work:
    return Work(job.id, job.concurrency, Counter(target.zone for target in selected))


def _wanted(which: RerunOf) -> Collection[TaskStatus]:
    """In which statuses tasks are done again."""
    return {
        RerunOf.ALL: set(TaskStatus),
        RerunOf.FAILED: {TaskStatus.FAILED, TaskStatus.LOST},
        RerunOf.UNFINISHED: {TaskStatus.FAILED, TaskStatus.LOST, TaskStatus.CANCELLED},
    }[which]


def _nothing_left() -> InvalidInput:
    return InvalidInput(
        "No platform is left to run on: none ended so, or those that did are deleted.", code="no_targets"
    )
