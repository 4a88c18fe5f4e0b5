"""Reading a job's row into what its tasks need."""

import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.actions import JobSpec, JobType, ScriptSpec
from testum.core.secrets import Opener
from testum.db import jobs, keys
from testum.db.jobs import Job
from testum.execution.outcome import JobWork
from testum.ssh import Timeouts


def spec_of(job: Job, environment: dict[str, str]) -> JobSpec:
    """The specification that the job was started with."""
    parameters = job.parameters
    script = parameters.get("script")
    key_ids = parameters.get("key_ids")
    return JobSpec(
        type=JobType(job.type),
        command=parameters.get("command"),
        script=ScriptSpec(
            script["text"],
            script["interpreter"],
            tuple(script["arguments"]),
            # Jobs of earlier releases do not say it.
            script.get("converted", False),
        )
        if script
        else None,
        environment=environment,
        key_ids=tuple(UUID(key_id) for key_id in key_ids) if key_ids is not None else None,
        timeout=job.timeout,
        idle_timeout=job.idle_timeout,
        concurrency=job.concurrency,
    )


async def load_work(
    session: AsyncSession, opener: Opener, job_id: UUID, connect_timeout: float, grace: float
) -> tuple[JobWork, int] | None:
    """The job's work and how many of its tasks may run at once; None where there is no such job."""
    job = await jobs.get(session, job_id)
    if job is None:
        return None
    environment: dict[str, str] = {}
    if job.sealed_environment is not None:
        assert job.sealed_for is not None
        environment = json.loads(opener.open(job.sealed_for, "environment", job.sealed_environment))
    spec = spec_of(job, environment)
    to_deploy = []
    if spec.type is JobType.DEPLOY:
        to_deploy = [(key.name, key.public_key) for key in await keys.by_ids(session, spec.key_ids)]
    timeouts = Timeouts(connect=connect_timeout, idle=job.idle_timeout, total=job.timeout, grace=grace)
    return JobWork(job.id, spec, timeouts, to_deploy), job.concurrency
