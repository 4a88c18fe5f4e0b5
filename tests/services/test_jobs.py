"""Jobs of features that are not there."""

import pytest

from tests.services.conftest import ACTOR
from tests.support.waiting import eventually
from testum.app import Testum
from testum.core.feature import Registry
from testum.core.job_kinds import JobSpec
from testum.core.programs import RunCommand
from testum.core.states import FINAL_JOB
from testum.db.paging import PageRequest
from testum.execution.work import JobLoader


async def test_a_pending_task_of_a_feature_that_was_removed_ends_and_says_so(
    testum: Testum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker finds it that is newer than the server that took the job."""
    assert testum.engine is not None
    loader = JobLoader(Registry([]), testum._opener, connect_timeout=1)
    monkeypatch.setattr(testum.engine.runner, "_loader", loader)
    values = {"name": "web", "host": "127.0.0.1", "port": 1, "username": "u", "auth_method": "password"}
    platform = await testum.platforms.add(ACTOR, {**values, "password": "secret"})
    started = await testum.jobs.start_on(ACTOR, JobSpec(RunCommand(command="true")), platform.id)
    job_id = started.job.id

    async def over() -> bool:
        return (await testum.history.job(ACTOR, job_id)).job.status in FINAL_JOB

    await eventually(over)
    page = await testum.history.tasks(ACTOR, PageRequest(10), job_id=job_id)
    assert [(task.status, task.error_code) for task in page.items] == [("failed", "unknown_type")]
    assert not page.items[0].may_still_run
