"""What every database does: sessions, values, paging, and what is told when it cannot be used."""

import asyncio
import datetime as dt
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from tests.db.conftest import add_job
from tests.support.postgres import PostgresServer
from tests.support.tables import with_tables
from tests.support.waiting import eventually, lag, turns
from testum.db import bulk, host_keys, installation, jump_hosts, lock_wait, paging, postgresql, sqlite
from testum.db.audit import AuditLog
from testum.db.base import new_id
from testum.db.jobs import Job
from testum.db.paging import PageRequest
from testum.db.platforms import Platform
from testum.db.segments import OutputSegment
from testum.db.session import Database
from testum.db.tasks import Task, TaskOutput
from testum.errors import InvalidInput, StorageFull, StorageUnavailable

NOON = dt.datetime(2026, 3, 29, 12, tzinfo=dt.UTC)


def entry(action: str = "act", **values: object) -> AuditLog:
    return AuditLog(**{"user": "tests", "action": action, **values})


async def count(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).select_from(AuditLog)) or 0


# -- sessions ------------------------------------------------------------------------------------------------


async def test_a_write_is_there_for_all_when_its_block_ends(processes: list[Database]) -> None:
    async with processes[0].write() as session:
        session.add(entry())
        await session.flush()
        async with processes[1].read() as other:
            assert await count(other) == 0
    async with processes[1].read() as other:
        assert await count(other) == 1


async def test_a_write_that_raises_is_taken_back(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.write() as session:
            session.add(entry())
            await session.flush()
            _ = 1 / 0
    with pytest.raises(IntegrityError):
        async with database.write() as session:
            session.add(entry())
            session.add(
                Task(job_id=uuid4(), ordinal=0, type="x", platform_id=uuid4(), platform_name="of no job")
            )
    async with database.read() as session:
        assert await count(session) == 0


async def test_a_write_that_is_cancelled_is_taken_back(database: Database) -> None:
    begun = asyncio.Event()

    async def write() -> None:
        async with database.write() as session:
            session.add(entry())
            await session.flush()
            begun.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write())
    await begun.wait()
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    async with database.write() as session:
        session.add(entry("after"))
    async with database.read() as session:
        assert list(await session.scalars(select(AuditLog.action))) == ["after"]


async def test_what_is_given_back_late_is_waited_for_at_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it was cancelled while it was given back, and does not wait for that any more."""
    giving, may_end, close = asyncio.Event(), asyncio.Event(), AsyncSession.close
    steps = []

    async def slowly(session: AsyncSession) -> None:
        giving.set()
        await may_end.wait()
        await close(session)
        steps.append("given back")

    async def read() -> None:
        async with database.read() as session:
            await session.execute(select(1))

    monkeypatch.setattr(AsyncSession, "close", slowly)
    reading = asyncio.create_task(read())
    await giving.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    ending = asyncio.create_task(database.close())
    ending.add_done_callback(lambda _: steps.append("closed"))
    await turns()
    may_end.set()
    await ending
    await turns()
    assert steps == ["given back", "closed"]


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_whoever_is_cancelled_gives_the_connection_back(
    on_postgresql: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """At whatever step of the driver; each may let others go on (psycopg.waiting, MAX_BUSY_TIME)."""
    url, wait = on_postgresql(), postgresql._Connection.wait
    user: asyncio.Task[None] | None = None
    steps = last = 0

    async def counted(connection: postgresql._Connection, *args: Any, **options: Any) -> Any:
        nonlocal steps
        if user is not None and asyncio.current_task() is user:
            steps += 1
            if steps == last:
                user.cancel()
                await turns()
        return await wait(connection, *args, **options)

    monkeypatch.setattr(postgresql._Connection, "wait", counted)
    monkeypatch.setattr(postgresql, "_FRESH_SECONDS", -1.0)

    async def use(database: Database) -> None:
        async with getattr(database, kind)() as session:
            await session.execute(select(1))

    cancelled = True
    while cancelled:
        database = Database(url)
        await use(database)
        steps, last = 0, last + 1
        user = asyncio.create_task(use(database))
        await asyncio.wait([user])
        cancelled, user = user.cancelled(), None
        await eventually(lambda database=database: not database._open)
        assert database._writer.pool.checkedout() == 0, f"cancelled at step {last}"
        await database.close()
    assert last > 5


async def test_a_session_for_reading_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as session:
            session.add(entry())
            await session.flush()
    with pytest.raises(DBAPIError):
        async with database.read() as session:
            await session.execute(update(Job).values(concurrency=2))
    async with database.write() as session:
        session.add(entry())
    async with database.read() as session:
        assert await count(session) == 1


async def test_a_reader_has_one_view_while_others_write(processes: list[Database]) -> None:
    async with processes[0].read() as session:
        assert await count(session) == 0
        for number in range(3):
            async with processes[1].write() as writer:
                writer.add(entry(str(number)))
            assert await count(session) == 0, "what was committed meanwhile is of a later time"
    async with processes[0].read() as session:
        assert await count(session) == 3


async def test_many_readers_and_writers_at_once(processes: list[Database]) -> None:
    """More than there are connections: they queue, and none fails."""

    async def write(number: int) -> None:
        async with processes[number % 4].write() as session:
            session.add(entry(str(number)))

    async def read(number: int) -> None:
        async with processes[number % 4].read() as session:
            await count(session)
            await lag(0.01)

    await asyncio.gather(*(write(number) for number in range(100)), *(read(number) for number in range(100)))
    async with processes[0].read() as session:
        assert await count(session) == 100


async def test_the_installation_is_a_mutex(processes: list[Database]) -> None:
    """Of those who have made sure of it, one is at work at a time; and there is one, however many make it at once."""
    inside, ids = 0, set()

    async def enter(database: Database) -> None:
        nonlocal inside
        async with database.write() as session:
            ids.add((await installation.ensure(session)).id)
            inside += 1
            assert inside == 1
            await lag(0.02)
            assert inside == 1
            inside -= 1

    await asyncio.gather(*(enter(database) for database in processes * 3))
    assert len(ids) == 1


async def test_what_belongs_to_a_job_goes_with_it(database: Database) -> None:
    job_id = await add_job(database, 2)
    async with database.write() as session:
        for task_id in list(await session.scalars(select(Task.id))):
            session.add(TaskOutput(task_id=task_id, frames=b"x"))
            session.add(
                OutputSegment(
                    task_id=task_id,
                    start=0,
                    size=1,
                    frames=1,
                    payload=1,
                    job_id=job_id,
                    last_position=1,
                    data=b"x",
                )
            )
    async with database.write() as session:
        await session.delete(await session.get_one(Job, job_id))
    async with database.read() as session:
        for table in (Task, TaskOutput, OutputSegment):
            assert await session.scalar(select(func.count()).select_from(table)) == 0, table


# -- values --------------------------------------------------------------------------------------------------


async def values_back(database: Database, **values: object) -> AuditLog:
    row = entry(**values)
    async with database.write() as session:
        session.add(row)
    async with database.read() as session:
        return await session.get_one(AuditLog, row.id, populate_existing=True)


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        NOON.replace(microsecond=1),
        NOON.replace(microsecond=999_999),
        NOON.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=45))),
        NOON.astimezone(dt.timezone(dt.timedelta(hours=-11))),
        dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    ],
    ids=str,
)
async def test_moments_come_back_as_utc(database: Database, moment: dt.datetime) -> None:
    found = (await values_back(database, timestamp=moment)).timestamp
    assert found == moment and found.utcoffset() == dt.timedelta(0)


async def test_moments_are_compared_as_moments(database: Database) -> None:
    """Whatever offset they were given with."""
    for hours in range(-10, 11, 5):
        at = (NOON + dt.timedelta(minutes=hours)).astimezone(dt.timezone(dt.timedelta(hours=hours)))
        await values_back(database, timestamp=at, action=str(hours))
    async with database.read() as session:
        found = await session.scalars(
            select(AuditLog.action)
            .where(AuditLog.timestamp >= NOON.astimezone(dt.timezone(dt.timedelta(hours=3))))
            .order_by(AuditLog.timestamp)
        )
        assert list(found) == ["0", "5", "10"]


async def test_text_of_hosts_holds_anything(database: Database) -> None:
    """A NUL, which PostgreSQL's text cannot hold, is shown as its picture on both."""
    wild = "a\0b \x1b[31m\x7f ключ 文 \U0001f600 ' \" \\ %s :name {} \r\n\t"
    found = await values_back(database, user=wild)
    assert found.user == wild.replace("\0", "␀")
    job_id = await add_job(database, 1)
    async with database.write() as session:
        await session.execute(
            update(Task).where(Task.job_id == job_id).values(stdout="\0", stderr=wild, error_message=wild * 2)
        )
    async with database.read() as session:
        task = (await session.scalars(select(Task))).one()
    assert (task.stdout, task.stderr) == ("␀", wild.replace("\0", "␀"))


async def test_a_search_for_nul_is_no_error(database: Database) -> None:
    await values_back(database, user="a␀b")
    async with database.read() as session:
        found = await session.scalars(select(AuditLog.action).where(AuditLog.action == "a\0b"))
        assert list(found) == []


@pytest.mark.parametrize("asked", ["WEB-%_1", "web-%_1", "eB-%_"])
async def test_a_search_takes_no_notice_of_case(database: Database, asked: str) -> None:
    await values_back(database, action="Web-%_1")
    await values_back(database, action="web-xx1")
    search = select(AuditLog.action).where(AuditLog.action.icontains(asked, autoescape=True))
    async with database.read() as session:
        assert list(await session.scalars(search)) == ["Web-%_1"]
        like = AuditLog.action.ilike(asked.replace("%", "\\%").replace("_", "\\_") + "%", escape="\\")
        found = list(await session.scalars(select(AuditLog.action).where(like)))
        assert found == ([] if asked.startswith("eB") else ["Web-%_1"])
        bind = session.get_bind()
        assert "lower(" not in str(search.compile(bind)), "on SQLite it takes three times as long"


async def test_json_comes_back_as_it_was(database: Database) -> None:
    value = {
        "text": "ключ \0 \U0001f600",
        "deep": [{"n": 2**53, "f": 0.1, "none": None, "yes": True}],
        "": {},
    }
    assert (await values_back(database, meta=value)).meta == value


async def test_bytes_and_large_numbers(database: Database) -> None:
    job_id = await add_job(database, 1)
    data = bytes(range(256)) * 1000
    async with database.write() as session:
        task_id = (await session.scalars(select(Task.id))).one()
        session.add(TaskOutput(task_id=task_id, frames=data))
        await session.execute(update(Task).values(output_bytes=2**62, finished_position=2**53 + 1))
    async with database.read() as session:
        assert (await session.get_one(TaskOutput, task_id)).frames == data
        task = await session.get_one(Task, task_id)
    assert (task.output_bytes, task.finished_position, task.job_id) == (2**62, 2**53 + 1, job_id)


async def test_ids_are_uuids_and_sort_by_age(database: Database) -> None:
    ids = [new_id() for _ in range(50)]
    for row_id in reversed(ids):
        await values_back(database, id=row_id)
    async with database.read() as session:
        assert list(await session.scalars(select(AuditLog.id).order_by(AuditLog.id))) == ids
    assert all(isinstance(row_id, UUID) and row_id.version == 7 for row_id in ids)


async def test_many_ids_are_read_as_text_in_order(database: Database) -> None:
    ids = [uuid4() for _ in range(300)]
    for number, row_id in enumerate(ids):
        await values_back(database, id=row_id, object_id=f"{number:03}")
    selected = select(AuditLog.id).order_by(AuditLog.object_id.desc())
    async with database.read() as session:
        assert await bulk.read_ids(session, selected) == [row_id.hex for row_id in reversed(ids)]
        assert await bulk.read_ids(session, selected.limit(2)) == [ids[-1].hex, ids[-2].hex]
        assert await bulk.read_ids(session, selected.where(AuditLog.action == "nobody did")) == []


# -- paging --------------------------------------------------------------------------------------------------


async def page(
    database: Database,
    after: str | None,
    sort: str | None = None,
    limit: int = 7,
    before: str | None = None,
) -> paging.Page[AuditLog]:
    async with database.read() as session:
        return await paging.fetch(
            session,
            select(AuditLog),
            PageRequest(limit, after, sort, before=before),
            sorts={"timestamp": AuditLog.timestamp, "action": AuditLog.action},
            key=AuditLog.id,
            default_sort="-timestamp",
        )


async def pages(database: Database, sort: str | None = None) -> AsyncIterator[paging.Page[AuditLog]]:
    after = None
    while True:
        found = await page(database, after, sort)
        yield found
        if found.next is None:
            return
        after = found.next


async def pages_back(
    database: Database, last: paging.Page[AuditLog], sort: str | None
) -> AsyncIterator[paging.Page[AuditLog]]:
    found = last
    while found.previous is not None:
        found = await page(database, None, sort, before=found.previous)
        yield found


@pytest.fixture
async def entries(database: Database) -> list[UUID]:
    """Thirty rows, of which many have the same moment and the same action."""
    rows = [
        entry(["ACT", "act"][n % 2], timestamp=NOON + dt.timedelta(microseconds=n // 9)) for n in range(30)
    ]
    async with database.write() as session:
        session.add_all(rows)
    return [row.id for row in rows]


@pytest.mark.parametrize("sort", [None, "timestamp", "-timestamp", "action", "-action"])
async def test_pages_hold_every_row_once(database: Database, entries: list[UUID], sort: str | None) -> None:
    found = [one async for one in pages(database, sort)]
    assert [one.total for one in found] == [30] * 5
    assert [len(one.items) for one in found] == [7, 7, 7, 7, 2]
    rows = [row for one in found for row in one.items]
    assert sorted(row.id for row in rows) == sorted(entries)
    assert found[0].previous is None
    back = [one async for one in pages_back(database, found[-1], sort)]
    assert [one.next is None for one in back] == [False] * 4
    assert [[row.id for row in one.items] for one in reversed(back)] == [
        [row.id for row in one.items] for one in found[:-1]
    ]
    name = (sort or "-timestamp").removeprefix("-")
    keys = [(getattr(row, name), row.id) for row in rows]
    if name == "timestamp":
        assert keys == sorted(keys, reverse=sort != "timestamp")


async def test_rows_that_come_and_go_meanwhile_shift_nothing(database: Database, entries: list[UUID]) -> None:
    seen: list[UUID] = []
    async for found in pages(database):
        seen += [row.id for row in found.items]
        async with database.write() as session:
            session.add(entry(timestamp=NOON + dt.timedelta(hours=1)))
            await session.delete(await session.get_one(AuditLog, seen[-1]))
    assert len(seen) == len(set(seen)) and set(seen) == set(entries)


async def test_a_page_that_is_full_to_the_last_row(database: Database, entries: list[UUID]) -> None:
    found = await page(database, None, limit=30)
    assert len(found.items) == 30 and found.next is None


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "é", "W10", "eyJ9", "bnVsbA", "WyItdGltZXN0YW1wIiwgMSwgIngiXQ"]
)
async def test_what_is_no_cursor(database: Database, entries: list[UUID], cursor: str) -> None:
    if cursor == "":
        assert len((await page(database, cursor)).items) == 7
        return
    with pytest.raises(InvalidInput, match="after: is not a cursor"):
        await page(database, cursor)


async def test_the_cursor_of_another_order(database: Database, entries: list[UUID]) -> None:
    cursor = (await page(database, None, "action")).next
    for sort in ("timestamp", "-action"):
        with pytest.raises(InvalidInput, match="after: is not a cursor"):
            await page(database, cursor, sort)
    with pytest.raises(InvalidInput, match="sort: can be action, timestamp"):
        await page(database, None, "user")


# -- when it cannot be used ----------------------------------------------------------------------------------


async def use(database: Database) -> None:
    async with database.write() as session:
        session.add(entry())
    async with database.read() as session:
        await count(session)


async def test_a_server_that_is_away_and_back_again(
    postgres_server: PostgresServer,
) -> None:
    """Also with connections that were open before, and one in the midst of a transaction."""
    database = Database(await with_tables(postgres_server))
    await asyncio.gather(*(use(database) for _ in range(8)))
    for end in (postgres_server.stop, lambda: postgres_server.stop(immediate=True), postgres_server.kill):
        with pytest.raises(StorageUnavailable, match="The database does not answer"):
            async with database.write() as session:
                session.add(entry("lost"))
                await session.flush()
                await asyncio.to_thread(end)
                session.add(entry("lost"))
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(StorageUnavailable, match="The database does not answer") as caught:
                await use(database)
            assert time.monotonic() - begun < 10 and postgres_server.password not in caught.value.message
            with pytest.raises(StorageUnavailable):
                async with database.read() as session:
                    await count(session)
        await asyncio.to_thread(postgres_server.start)
        await asyncio.gather(*(use(database) for _ in range(8)))
    async with database.read() as session:
        assert set(await session.scalars(select(AuditLog.action))) == {"act"}
    await database.close()


async def test_a_connection_that_the_server_ended(postgres_server: PostgresServer) -> None:
    """As an administrator does, or a firewall: the next one is a new one."""
    url = await with_tables(postgres_server)
    database, knife = Database(url), Database(url)
    await asyncio.gather(*(use(database) for _ in range(5)))
    async with knife.read() as session:
        await session.execute(
            # It waits until they have ended.
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
                 " AND pid <> pg_backend_pid()")
        )  # fmt: skip
    await asyncio.gather(*(use(database) for _ in range(5)))
    await database.close()
    await knife.close()


@pytest.mark.parametrize(
    ("state", "kind"), [("53100", StorageFull), ("53200", StorageUnavailable), ("53300", StorageUnavailable)]
)
async def test_a_server_without_room(
    on_postgresql: Callable[[], str], state: str, kind: type[Exception]
) -> None:
    """The server's own codes, raised by itself: a full disk is for its administrator, the rest passes."""
    database = Database(on_postgresql())
    with pytest.raises(kind):
        async with database.write() as session:
            await session.execute(text(f"DO $$ BEGIN RAISE 'no room' USING ERRCODE = '{state}'; END $$"))
    await database.close()


async def test_a_mistake_in_a_statement_is_no_outage(database: Database) -> None:
    for session_of in (database.read, database.write):
        with pytest.raises(DBAPIError):
            async with session_of() as session:
                await session.execute(text("SELECT * FROM no_such_table"))
    await use(database)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_full_disk_under_sqlite(database: Database) -> None:
    async with database.write() as session:
        await session.execute(text("PRAGMA max_page_count = 1"))
    with pytest.raises(StorageFull, match="disk under DATA_DIR is full"):
        async with database.write() as session:
            session.add(entry(user="x" * 1_000_000))
    async with database.write() as session:
        await session.execute(text("PRAGMA max_page_count = 1000000"))
    await use(database)


async def test_more_than_there_are_connections(on_postgresql: Callable[[], str]) -> None:
    """Who gets none in time is told that it is busy."""
    database = Database(on_postgresql())
    database._writer.pool._timeout = 0.3  # type: ignore[attr-defined]
    inside, over = 0, asyncio.Event()

    async def hold() -> None:
        nonlocal inside
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
            inside += 1
            await over.wait()

    holding = [asyncio.create_task(hold()) for _ in range(15)]
    await eventually(lambda: inside == 15)
    with pytest.raises(StorageUnavailable, match="too busy"):
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
    over.set()
    await asyncio.gather(*holding)
    async with database.read() as session:
        await session.execute(text("SELECT 1"))
    await database.close()


@pytest.mark.parametrize("begin", ["read", "write"])
async def test_a_transaction_that_was_idle_for_too_long(on_postgresql: Callable[[], str], begin: str) -> None:
    """The server ends its connection, as of a process that was stopped: an outage, and no mistake."""
    database = Database(on_postgresql())
    connections = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")

    async def ended(pid: int) -> bool:
        async with database.read() as other:
            return await other.scalar(connections, {"pid": pid}) == 0

    with pytest.raises(StorageUnavailable, match="idle"):
        async with getattr(database, begin)() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            await session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
            await eventually(lambda: ended(pid))
            await session.execute(text("SELECT 1"))
    async with database.read() as session:
        await session.execute(text("SELECT 1"))
    await database.close()


async def test_who_asked_first_writes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds the file, and more writers come all the time: nobody waits longer because somebody came as
    the connection was free."""
    monkeypatch.setattr(lock_wait, "BUSY_SECONDS", 0.1)
    database, answered = Database(f"sqlite+aiosqlite:///{tmp_path / 'order.db'}"), list[int]()
    async with database.write() as session:
        await session.execute(text("CREATE TABLE t (n INTEGER)"))

    async def write(number: int) -> None:
        with pytest.raises(StorageUnavailable, match="Another program holds"):
            async with database.write() as session:
                await session.execute(text("INSERT INTO t VALUES (1)"))
        answered.append(number)

    writers = list[asyncio.Task[None]]()
    with closing(sqlite3.connect(tmp_path / "order.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        while not answered:
            writers += [asyncio.create_task(write(len(writers)))]
            await turns()
        await asyncio.gather(*writers)
        other.execute("ROLLBACK")
    assert answered == list(range(len(writers)))
    await database.close()


async def test_a_new_file_is_opened_while_another_writes(tmp_path: Path) -> None:
    """A file that was just made has no write-ahead log yet. SQLite does not wait where two connections give it one."""
    url = await with_tables(tmp_path / "new.db")
    database = Database(url)
    with closing(
        sqlite3.connect(tmp_path / "new.db", isolation_level=None, check_same_thread=False)
    ) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        other.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(0.3, other.execute, "COMMIT")
        async with database.read() as session:
            assert await count(session) == 0
    await database.close()


async def test_a_turn_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_TURN_SECONDS", 0.2)
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'turn.db'}")
    async with database.write():
        with pytest.raises(StorageUnavailable, match="too busy"):
            async with database.write():
                pass
    async with database.write() as session:
        await session.execute(text("SELECT 1"))
    await database.close()


# -- platforms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", ["platform", "jump host"])
async def test_a_first_host_key_waits_for_a_change(processes: list[Database], changed: str) -> None:
    """And is not kept after it: it may be another host's."""
    login = {"host": "h", "username": "u", "auth_method": "password"}
    jump, behind = Platform(id=new_id(), name="jump", **login), Platform(id=new_id(), name="behind", **login)
    async with processes[0].write() as session:
        session.add(jump)
        await session.flush()
        behind.jump_platform_id = jump.id
        session.add(behind)
    seen = [(behind.id, behind.revision, "ssh-ed25519", "ssh-ed25519 AAAA", "SHA256:x")]

    async def first_use() -> list[str | None]:
        async with processes[1].write() as session:
            return await host_keys.trust_first_use(session, seen)

    async with processes[0].write() as session:
        platform = await jump_hosts.get_locked(session, behind.id if changed == "platform" else jump.id)
        assert platform is not None
        keeping = asyncio.create_task(first_use())
        done, _ = await asyncio.wait({keeping}, timeout=0.5)
        assert not done
        platform.revision += 1
        await jump_hosts.void_behind(session, platform.id)
    assert await keeping == [None]
    seen[0] = (behind.id, behind.revision + 1, *seen[0][2:])
    assert await first_use() == ["ssh-ed25519 AAAA"]
