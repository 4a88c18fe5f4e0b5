"""A task that is lost while its job goes on, and the result that comes later: as two workers would leave it in the database."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

from tests.support.application import settings_of
from tests.support.server import Installation
from testum.core.frames import Stream
from testum.core.states import TaskStatus
from testum.db import remains, tasks
from testum.db.jobs import Job
from testum.db.results import Result
from testum.db.session import Database

_COMMITTED_WITHIN = 2_000_000
"""Microseconds. Where one process gives all positions, a follower looks at each position once, when its moment has come. This
one is given outside of that process, so it must lie later than its commit."""


def move(site: Installation, ended: Any, job_id: str, *, ordinal: int, status: str) -> None:
    """Make a task that has ended one of another job, which runs."""
    values = {"status": status, "ordinal": ordinal, "job": UUID(job_id).hex, "id": UUID(ended["id"]).hex}
    site.execute(
        "UPDATE task_runs SET status = :status, job_id = :job, ordinal = :ordinal WHERE id = :id", values
    )
    site.execute("UPDATE jobs SET task_count = :ordinal + 1 WHERE id = :job", values)
    # Where several processes write, the job has the last position (db/positions.py).
    site.execute(
        "UPDATE jobs SET position = (SELECT max(finished_position) FROM task_runs) WHERE id = :job", values
    )


def settle(site: Installation, lost: Any, job_id: str, rest: bytes) -> None:
    """The lost task's worker has its end: it succeeded, and printed `rest` after what was stored."""
    # In a thread of its own: Playwright has a loop in that of the tests of pages.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _settle(site, lost, job_id, rest)).result()


async def _settle(site: Installation, lost: Any, job_id: str, rest: bytes) -> None:
    database = Database(settings_of(site.env).effective_database_url)
    async with database.write() as session:
        result = Result(UUID(lost["id"]), UUID(job_id), 1, TaskStatus.SUCCESS, exit_code=0)
        result.shown = await tasks.frames_of(session, result.task_id)
        result.rest = [(Stream.STDOUT, rest)]
        result.output_frames, result.output_bytes = 2, lost["output_bytes"] + len(rest)
        result.position = time.time_ns() // 1000 + (0 if site.servers else _COMMITTED_WITHIN)
        (await session.get_one(Job, result.job_id)).position = result.position
        assert await remains.settle_lost(session, [result]) == [result]
    await database.close()
