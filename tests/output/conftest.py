"""Stores of output of every kind, each with tasks to write for."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.artifacts.conftest import connect, new_bucket
from tests.support.postgres import PostgresServer
from tests.support.s3 import S3Server
from tests.support.tables import with_tables
from testum.artifacts.store import ObjectStore
from testum.core.frames import Frame, Piece, Stream, decode_all
from testum.core.positions import Sequencer
from testum.core.states import TaskStatus
from testum.db.base import utc_now
from testum.db.jobs import Job
from testum.db.positions import Positions, ProcessPositions, StoredPositions
from testum.db.session import Database
from testum.db.tasks import Task
from testum.output.base import OutputStore, Owner
from testum.output.files import FileOutputs
from testum.output.journal import JournalOutputs

OUT, ERR = Stream.STDOUT, Stream.STDERR


@dataclass
class Rig:
    """A store of output with what it leans on. `another` makes the store that another process would have."""

    database: Database
    positions: Positions
    outputs: OutputStore
    another: Callable[[], OutputStore]
    root: Path
    artifacts: ObjectStore | None = None
    opened: list[OutputStore] = field(default_factory=list)

    async def job(self) -> UUID:
        """A new job."""
        job = Job(
            type="run_command", targets={}, parameters={}, concurrency=1, task_count=1, created_by="tests"
        )
        async with self.database.write() as session:
            session.add(job)
        return job.id

    async def task(self, job_id: UUID | None = None) -> Owner:
        """A new task, which runs; whoever holds the owner may write its output."""
        task = Task(
            job_id=job_id or await self.job(),
            ordinal=0,
            type="run_command",
            platform_id=uuid4(),
            platform_name="host",
            status=TaskStatus.RUNNING,
            fence=1,
            worker_id="here",
            started_at=utc_now(),
        )
        async with self.database.write() as session:
            session.add(task)
        return Owner(task.id, task.job_id, 1)

    async def change(self, owner: Owner, **values: object) -> None:
        """Change the task's row."""
        async with self.database.write() as session:
            task = await session.get_one(Task, owner.task_id)
            for name, value in values.items():
                setattr(task, name, value)

    async def end(self, owner: Owner, *, large: bool, ago: float = 0) -> None:
        """The task is over, so many seconds ago."""
        await self.change(
            owner,
            status=TaskStatus.SUCCESS,
            finished_at=utc_now() - dt.timedelta(seconds=ago),
            result_location=self.outputs.location(owner.task_id) if large else None,
        )

    async def write(self, owner: Owner, *batches: list[Piece]) -> bytes:
        """Append batches, one after the other; all of them as stored."""
        writer = await self.outputs.writer(owner)
        encoded = b"".join([await writer.append(batch) for batch in batches])
        await writer.close()
        return encoded

    async def stored(self, owner: Owner, outputs: OutputStore | None = None) -> bytes:
        """All that is stored of the task."""
        reader = await (outputs or self.outputs).reader(owner.task_id)
        if reader is None:
            return b""
        data = b""
        while piece := await reader.read(len(data), 1 << 20):
            data += piece
        await reader.close()
        return data

    async def frames(self, owner: Owner) -> list[Frame]:
        """The same, as frames."""
        return decode_all(await self.stored(owner))


async def _make(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    where: Path | PostgresServer = tmp_path / "testum.db"
    artifacts = ObjectStore.local(tmp_path / "artifacts")
    if kind == "journal, servers":
        where = request.getfixturevalue("postgres_server")
        s3_server: S3Server = request.getfixturevalue("s3_server")
        artifacts = connect(s3_server, new_bucket())
    database = Database(await with_tables(where))
    if kind == "files":
        sequencer = Sequencer()
        files = FileOutputs(tmp_path / "files", sequencer, database)
        another = lambda: FileOutputs(tmp_path / "files", Sequencer(), database)  # noqa: E731
        return Rig(database, ProcessPositions(sequencer), files, another, tmp_path)
    await artifacts.prepare()
    positions = StoredPositions(database)

    def journal() -> OutputStore:
        return JournalOutputs(database, positions, artifacts)

    return Rig(database, positions, journal(), journal, tmp_path, artifacts)


@pytest.fixture(params=["files", "journal, embedded", "journal, servers"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """See Rig."""
    made = await _make(request.param, request, tmp_path)
    yield made
    await made.outputs.close()
    await made.database.close()


@pytest.fixture(params=["journal, embedded", "journal, servers"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A rig whose store is a journal."""
    made = await _make(request.param, request, tmp_path)
    yield made
    await made.outputs.close()
    await made.database.close()


@pytest.fixture
async def on_servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A journal on PostgreSQL and S3, which tests may stop as long as they start them again."""
    made = await _make("journal, servers", request, tmp_path)
    yield made
    await made.outputs.close()
    await made.database.close()
