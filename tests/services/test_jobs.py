"""Jobs of features that are not there."""

from types import SimpleNamespace

from testum.app import Testum
from testum.core.states import JobStatus
from testum.db.base import new_id
from testum.db.jobs import Job
from testum.execution.work import JobLoader
from testum.features import INSTALLED


async def test_a_task_of_a_feature_that_was_removed_ends_and_says_so(testum: Testum) -> None:
    job = Job(
        id=new_id(),
        type="gone",
        status=JobStatus.PENDING,
        targets={},
        parameters={"anything": 1},
        concurrency=1,
        task_count=0,
        created_by="alice",
    )
    async with testum.database.write() as session:
        session.add(job)
    loader = JobLoader(INSTALLED, testum._opener, connect_timeout=1)
    async with testum.database.read() as session:
        loaded = await loader.load(session, job.id)
    assert loaded is not None
    outcome = await loaded[0].action(SimpleNamespace(work=loaded[0]))
    assert (outcome.status, outcome.error_code) == ("failed", "unknown_type")
