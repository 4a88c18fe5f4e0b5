"""A job is started once, however often it is asked for: by an id that its asker chose, or by a key of the client's."""

import datetime as dt
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.idempotency import Once
from testum.core.permissions import Actor
from testum.db import idempotency, jobs, tasks
from testum.db.base import new_id, utc_now
from testum.db.jobs import Job
from testum.errors import Conflict, InvalidInput

_AHEAD = dt.timedelta(hours=1)
"""So far may a new job's id be ahead of this clock: jobs are shown in the order of their ids."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job that was accepted. `task_id` is its only task's, where there is one task."""

    job: Job
    task_id: UUID


def new_job_id(new: UUID | None) -> UUID:
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


async def already_made(
    session: AsyncSession, actor: Actor, job_id: UUID, once: Once | None
) -> Started | None:
    """The job of this id or this key, if there is one. Raises Conflict where somebody else has started it, and as
    `started_by` does."""
    if once is not None and (known := await started_by(session, actor, once)):
        return known
    job = await jobs.get(session, job_id)
    if job is None:
        return None
    if job.created_by != actor.username:
        raise Conflict("Somebody else has started the job of this form. Send it again.", code="job_exists")
    return await _started(session, job)


async def started_by(session: AsyncSession, actor: Actor, once: Once) -> Started | None:
    """The job that this key of the account's started, if it is there. Raises InvalidInput (code
    `idempotency_key_reused`) where it was sent with another request."""
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
    return Started(job, await tasks.first_of_job(session, job.id))
