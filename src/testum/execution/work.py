"""Reading a job's row into what its tasks need."""

import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.feature import Registry
from testum.core.secrets import Opener
from testum.db import jobs
from testum.execution.outcome import Context, JobWork, Outcome
from testum.ssh import Timeouts


class JobLoader:
    """Reads jobs. `connect_timeout` in seconds."""

    def __init__(self, features: Registry, opener: Opener, *, connect_timeout: float) -> None:
        self._kinds = features.job_kinds
        self._actions = features.actions()
        self._opener = opener
        self._connect_timeout = connect_timeout

    async def load(self, session: AsyncSession, job_id: UUID) -> tuple[JobWork, int] | None:
        """The job's work and how many of its tasks may run at once; None where there is no such job."""
        job = await jobs.get(session, job_id)
        if job is None:
            return None
        timeouts = Timeouts(connect=self._connect_timeout, idle=job.idle_timeout, total=job.timeout)
        kind = self._kinds.get(job.type)
        if kind is None:
            return JobWork(job.id, job.type, timeouts, _unknown), job.concurrency
        secrets: dict[str, str] = {}
        if job.sealed_environment is not None:
            assert job.sealed_for is not None
            secrets = json.loads(self._opener.open(job.sealed_for, "environment", job.sealed_environment))
        parameters = kind.restored(job.parameters, secrets)
        loaded = await parameters.load(session)
        return JobWork(
            job.id, job.type, timeouts, self._actions[job.type], parameters, loaded
        ), job.concurrency


async def _unknown(context: Context) -> Outcome:
    """The action of a job whose feature is not there any more."""
    return Outcome.failed("unknown_type", f"This testum has no jobs of the type {context.work.kind}.")
