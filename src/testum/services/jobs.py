"""Jobs: starting, looking, cancelling, running again."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.actions import JobSpec, JobType, RerunOf
from testum.core.idempotency import Once
from testum.core.permissions import Actor, Permission
from testum.core.secrets import Sealer
from testum.core.states import FINAL_JOB, JobStatus, TaskStatus
from testum.core.targets import Targets, no_match, no_such
from testum.db import claims, idempotency, jobs, keys, paging, platforms, remains, reports, tasks
from testum.db.base import new_id, utc_now
from testum.db.jobs import Job
from testum.db.keys import SSHKey
from testum.db.paging import Page, PageRequest
from testum.db.platforms import Target
from testum.db.positions import Positions
from testum.db.remains import Unsure
from testum.db.reports import TaskRow
from testum.db.session import Database
from testum.db.tasks import Task
from testum.dispatch.base import Dispatcher, Work
from testum.errors import Conflict, InvalidInput, MayStillRun, NotFound
from testum.events.base import Change, Events, Hint
from testum.services.access import Gate
from testum.services.intake import Intake

_COMMANDS_READ = 200
"""So many jobs are looked at for commands that were run before."""
_COMMANDS_SIZE = 64 * 1024
"""So many characters of them go into a page."""
_DEPLOYMENTS_AMONG = 2000
"""So many jobs are looked at for deployments of a key."""
_NAMES_TOLD = 5
_AHEAD = dt.timedelta(hours=1)
"""So far may a new job's id be ahead of this clock: jobs are shown in the order of their ids."""


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and how many of its tasks are in each status. `may_still_run`: of how many ended ones something may still be
    at work on its host."""

    job: Job
    counts: Mapping[TaskStatus, int]
    may_still_run: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """A job that was accepted. `task_id` is its only task's, where there is one task."""

    job: Job
    task_id: UUID


def _permission(job_type: str) -> Permission:
    """What it takes to start a job of this type."""
    return Permission.KEYS_DEPLOY if job_type == JobType.DEPLOY else Permission.JOBS_RUN


class Jobs:
    """Use cases of jobs."""

    def __init__(
        self,
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
        job = Job(
            id=_checked(new),
            type=spec.type,
            status=JobStatus.PENDING,
            targets=_targets_json(targets),
            parameters=_parameters(spec),
            timeout=spec.timeout if spec.timeout is not None else self._timeout,
            idle_timeout=spec.idle_timeout,
            concurrency=spec.concurrency or self._concurrency,
            created_by=actor.username,
            created_at=utc_now(),
        )
        if spec.environment:
            job.sealed_environment = self._sealer.seal(job.id, json.dumps(spec.environment))
            job.sealed_for = job.id

        async def select_platforms(session: AsyncSession) -> tuple[Job, Sequence[Target]]:
            missing = await platforms.missing_ids(session, targets.platform_ids)
            if missing:
                raise InvalidInput.field("targets.platform_ids", f"no platform has the id {missing[0]}.")
            # Whoever names a host wants it done there: left out without a word it would look like success.
            if unknown := await platforms.missing_names(session, targets.names):
                raise no_such(unknown)
            if spec.key_ids is not None:
                await self._check_keys(session, spec.key_ids)
            selected = await platforms.select_targets(session, targets)
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
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await _first(session, actor, once)

    async def _check(self, actor: Actor, spec: JobSpec) -> None:
        await self._gate.check(actor, _permission(spec.type), f"job.{spec.type}", "job")

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
        new = _checked(new)
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
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job", job.id)
        async with self._database.read() as session:
            selected = await jobs.targets_left(session, job.id, _wanted(which))
            return await _unsure(session, job, selected)

    async def platforms_left(self, actor: Actor, job_id: UUID) -> list[str]:
        """The ids, as 32 hexadecimal digits and in their order, of a job's platforms that are still there."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            return await jobs.ids_left(session, job_id)

    async def to_rerun(self, actor: Actor, job_id: UUID) -> Job:
        """The job, if this account may do it again now. Raises NotFound, Conflict as `rerun` does."""
        async with self._database.read() as session:
            job = await jobs.get(session, job_id)
        if job is None:
            await self._gate.check(actor, Permission.JOBS_RUN, "job.rerun", "job", job_id)
            raise NotFound("There is no such job.")
        await self._gate.check(actor, _permission(job.type), "job.rerun", "job", job_id)
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
                if made := await _made(session, actor, job_id, once):
                    return made
                self._intake.check()
                if once is not None:
                    await idempotency.add(session, actor.id, once, job_id)
                job, selected = await make(session)
                task_id = await self._insert(session, actor, job, selected)
        except IntegrityError:
            # Where many write at once, another request has made it since.
            async with self._database.read() as session:
                made = await _made(session, actor, job_id, once)
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
        await session.execute(insert(Task), rows)
        self._gate.log(
            session,
            actor,
            f"job.{job.type}",
            "job",
            job.id,
            platforms=len(selected),
            names=[target.name for target in selected[:20]],
            **_audit_parameters(job),
        )
        first: UUID = rows[0]["id"]
        return first

    @staticmethod
    async def _check_keys(session: AsyncSession, key_ids: Sequence[UUID]) -> None:
        found = {key.id for key in await keys.by_ids(session, key_ids)}
        missing = [key_id for key_id in key_ids if key_id not in found]
        if missing:
            raise InvalidInput.field("key_ids", f"no key has the id {missing[0]}.")

    async def cancel(self, actor: Actor, job_id: UUID) -> JobView:
        """Cancel a job: what has not begun never will, what runs is ended on its host, and so is what may still be at work
        there of tasks that are over, which each then says. Where there is nothing of all that, nothing is changed. Raises
        NotFound."""
        await self._gate.check(actor, Permission.JOBS_CANCEL, "job.cancel", "job", job_id)
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
        return await self.get(actor, job_id)

    async def get(self, actor: Actor, job_id: UUID) -> JobView:
        """One job. Raises NotFound."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            job = await jobs.get(session, job_id)
            if job is None:
                raise NotFound("There is no such job.")
            (view,) = await views(session, [job])
        return view

    async def get_many(self, actor: Actor, job_ids: Collection[UUID]) -> Sequence[Job]:
        """Those of the jobs that there are, in no order."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await jobs.get_many(session, job_ids)

    async def deployments(self, actor: Actor, key: SSHKey, *, limit: int = 10) -> list[JobView]:
        """The last jobs that deploy a key, newest first, as far as the newest jobs tell."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            ids = [
                job_id
                for job_id, created_at, parameters in await jobs.newest_deployments(
                    session, among=_DEPLOYMENTS_AMONG
                )
                # Where a job names no keys it took all that there were.
                if (
                    str(key.id) in parameters["key_ids"]
                    if "key_ids" in parameters
                    else key.created_at <= created_at
                )
            ][:limit]
            found = {job.id: job for job in await jobs.get_many(session, ids)}
            return await views(session, [found[job_id] for job_id in ids])

    async def rows(self, actor: Actor, job_id: UUID) -> list[TaskRow]:
        """All tasks of a job in order, as a list shows them. Raises NotFound."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job", job_id)
        async with self._database.read() as session:
            if await jobs.get(session, job_id) is None:
                raise NotFound("There is no such job.")
            return await reports.rows_of_job(session, job_id)

    async def elapsed(self, actor: Actor, job: Job) -> float:
        """For how many seconds a job has been at work, or was; of one that has not begun, for how many it waits, or did."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            return await jobs.elapsed(session, job)

    async def usual_seconds(self, actor: Actor, job: Job) -> float | None:
        """How long the last successful jobs of the same kind, command and size took (their median); None where
        there was none."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            took = await jobs.durations_like(session, job, limit=_COMMANDS_READ)
        return median(took) if took else None

    async def recent_commands(self, actor: Actor, *, limit: int = 100) -> list[str]:
        """The commands that were run last, the actor's own first, each once; together no more than a page bears."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        async with self._database.read() as session:
            found = await jobs.last_commands(session, limit=_COMMANDS_READ)
        own = [command for command, user in found if user == actor.username]
        others = [command for command, user in found if user != actor.username]
        recent: list[str] = []
        room = _COMMANDS_SIZE
        for command in list(dict.fromkeys(own + others))[:limit]:
            if len(command) <= room:
                recent.append(command)
                room -= len(command)
        return recent

    async def find(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        status: str | None = None,
        type: str | None = None,
        q: str | None = None,
    ) -> Page[JobView]:
        """A page of the jobs, newest first; `q` is looked for in who started them and in their command."""
        await self._gate.check(actor, Permission.JOBS_READ, "job.read", "job")
        statement = select(Job)
        if status is not None:
            statement = statement.where(Job.status == status)
        if type is not None:
            statement = statement.where(Job.type == type)
        if q:
            command = Job.parameters["command"].as_string()
            statement = statement.where(
                Job.created_by.icontains(q, autoescape=True) | command.icontains(q, autoescape=True)
            )
        async with self._database.read() as session:
            page = await paging.fetch(
                session,
                statement,
                request,
                sorts={"created_at": Job.created_at, "type": Job.type, "status": Job.status},
                key=Job.id,
                default_sort="-created_at",
            )
            found = await views(session, page.items)
        return Page(found, page.total, page.next, page.previous)


async def views(session: AsyncSession, found: Sequence[Job]) -> list[JobView]:
    """How the jobs stand."""
    ids = [job.id for job in found]
    counts = await jobs.counts(session, ids)
    left = await remains.counts(session, ids)
    return [JobView(job, counts[job.id], left.get(job.id, 0)) for job in found]


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


def _checked(new: UUID | None) -> UUID:
    """The id of a new job. Raises InvalidInput where the one that is asked for cannot be."""
    if new is None:
        return new_id()
    # The first 48 bits are milliseconds (RFC 9562, section 5.7).
    if new.version != 7 or new.int >> 80 > (utc_now() + _AHEAD).timestamp() * 1000:
        raise no_new_job()
    return new


def no_new_job() -> InvalidInput:
    """The error for an id that no new job can get."""
    return InvalidInput("What this form names can be no new job. Open its page again.")


async def _made(session: AsyncSession, actor: Actor, job_id: UUID, once: Once | None) -> Started | None:
    """The job of this id or this key, if there is one. Raises Conflict where somebody else has started it, and as
    `_first` does."""
    if once is not None and (first := await _first(session, actor, once)):
        return first
    job = await jobs.get(session, job_id)
    if job is None:
        return None
    if job.created_by != actor.username:
        raise Conflict("Somebody else has started the job of this form. Send it again.", code="job_exists")
    return await _started(session, job)


async def _first(session: AsyncSession, actor: Actor, once: Once) -> Started | None:
    found = await idempotency.find(session, actor.id, once.key)
    if found is None:
        return None
    if found.fingerprint != once.fingerprint:
        raise InvalidInput(
            "This Idempotency-Key was sent with another request before. Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    job = await jobs.get(session, found.job_id)
    return await _started(session, job) if job is not None else None


async def _started(session: AsyncSession, job: Job) -> Started:
    first = select(Task.id).where(Task.job_id == job.id).order_by(Task.ordinal).limit(1)
    return Started(job, (await session.scalars(first)).one())


def _targets_json(targets: Targets) -> dict[str, Any]:
    """What was asked for, leaving out what was not."""
    whole: dict[str, Any] = {
        "platform_ids": [str(key) for key in targets.platform_ids],
        "names": list(targets.names),
        "tags": list(targets.tags),
        "all": targets.all,
        "q": targets.q,
        "state": targets.state,
    }
    return {name: value for name, value in whole.items() if value}


def _parameters(spec: JobSpec) -> dict[str, Any]:
    """What of the specification may be read by all; of the environment only the names."""
    parameters: dict[str, Any] = {}
    if spec.command is not None:
        parameters["command"] = spec.command
    if spec.script is not None:
        parameters["script"] = {
            "text": spec.script.text,
            "interpreter": spec.script.interpreter,
            "arguments": list(spec.script.arguments),
        }
    if spec.environment:
        parameters["environment_names"] = sorted(spec.environment)
    if spec.key_ids is not None:
        parameters["key_ids"] = [str(key_id) for key_id in spec.key_ids]
    return parameters


def _audit_parameters(job: Job) -> dict[str, Any]:
    shown = {key: value for key, value in job.parameters.items() if key != "script"}
    if isinstance(shown.get("command"), str):
        shown["command"] = shown["command"][:2000]
    if "script" in job.parameters:
        shown["interpreter"] = job.parameters["script"]["interpreter"]
    if job.rerun_of is not None:
        shown["rerun_of"] = str(job.rerun_of)
    return shown
