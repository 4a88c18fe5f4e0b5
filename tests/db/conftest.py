"""Databases of both kinds, and jobs with tasks in them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.postgres import PostgresServer
from tests.support.tables import with_tables
from testum.db.jobs import Job
from testum.db.session import Database
from testum.db.tasks import Task


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'testum.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database with this release's tables."""
    where: Path | PostgresServer = tmp_path / "testum.db"
    if request.param == "postgresql":
        where = request.getfixturevalue("postgres_server")
    made = Database(await with_tables(where))
    yield made
    await made.close()


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[list[Database]]:
    """The same database as several processes have it; SQLite has but one process."""
    if database.url.startswith("sqlite"):
        yield [database] * 4
        return
    made = [Database(database.url) for _ in range(4)]
    yield made
    for one in made:
        await one.close()


@pytest.fixture
def on_postgresql(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes databases of a PostgreSQL that tests may stop as long as they start it again."""
    return postgres_server.create_database


async def add_job(database: Database, number: int, *, concurrency: int = 100, zone: str = "default") -> UUID:
    """A job with so many pending tasks."""
    job = Job(
        type="run_command",
        targets={},
        parameters={},
        concurrency=concurrency,
        task_count=number,
        created_by="tests",
    )
    async with database.write() as session:
        session.add(job)
        await session.flush()
        session.add_all(
            Task(
                job_id=job.id,
                ordinal=ordinal,
                type="run_command",
                platform_id=uuid4(),
                platform_name=f"host-{ordinal}",
                zone=zone,
            )
            for ordinal in range(number)
        )
    return job.id
