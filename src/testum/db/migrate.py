"""Migrations: bring a database to the schema of this release, and write the next one.

Alembic is imported only where there is something to migrate. Most starts find the schema as it is to be, and a new SQLite
file gets it from `schema.sql`, which holds what the migrations make there (docs/decisions/0031).
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, column, func, inspect, select, table, update
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.ext.asyncio import create_async_engine

from testum.db import soundness
from testum.db.session import options, translate
from testum.db.tables import metadata
from testum.errors import ConfigurationError, StorageFull

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATION_LOCK = 0x7E57_0001
"""The number of the advisory lock; any will do that nothing else in the database uses."""
VERSION_TABLE = "alembic_version"
_VERSION = table(VERSION_TABLE, column("version_num"), column("oldest_code"))
"""Alembic's table, which says what the schema is, with a column of ours."""
_SCRIPTS = Path(__file__).parent / "migrations"
SCHEMA = _SCRIPTS / "schema.sql"
_BETWEEN = ";\n\n"


def revisions() -> list[str]:
    """The revisions of the schema up to this release's own, oldest first: what the scripts' names begin with."""
    return sorted(script.name.partition("_")[0] for script in (_SCRIPTS / "versions").glob("[0-9]*_*.py"))


def newest() -> str:
    """The revision of this release's schema."""
    return revisions()[-1]


def config(url: str = "") -> "Config":
    """Alembic's configuration, without a file of its own."""
    from alembic.config import Config

    result = Config()
    result.set_main_option("script_location", str(_SCRIPTS))
    result.set_main_option("path_separator", "os")
    result.attributes["url"] = url
    for index in (index for each in metadata.tables.values() for index in each.indexes):
        # Said of SQLite's alone in the tables: SQLAlchemy imports a dialect of which something is said, and PostgreSQL's takes
        # 2 MB of a server that has SQLite.
        where = index.dialect_options["sqlite"].get("where")
        if where is not None:
            index.dialect_options["postgresql"]["where"] = where
    result.attributes["metadata"] = metadata
    return result


async def upgrade(url: str) -> str:
    """Bring the database to the newest schema; its revision is returned.

    Raises ConfigurationError where the database is of a newer release, or cannot be used at all.
    """
    return await _migrate(url, _upgrade)


async def prepare(url: str) -> str:
    """Make the schema in an empty database; any other must have this release's already, because other processes
    may be at work on it. Its revision is returned.

    A newer schema is accepted where it says that this release's code works on it: so releases follow one another
    while they are at work (docs/decisions/0022).

    Raises ConfigurationError where the database is of an older release, or of a newer one that has left this one
    behind, or cannot be used at all.
    """
    return await _migrate(url, _prepare)


async def find(url: str) -> None:
    """That an installation of this release is there; nothing is made. Raises ConfigurationError, also as `prepare` does."""
    path = soundness.path_of(url)
    if path is not None and not await asyncio.to_thread(path.is_file):
        raise ConfigurationError(
            f"DATA_DIR: {path} is not there. Call this where the server runs, with its environment or .env."
        )
    await _migrate(url, _find)


async def _migrate(url: str, step: Callable[[Connection], None]) -> str:
    try:
        engine = create_async_engine(url, **options(url))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "DATABASE_URL: is not an address. It looks like postgresql://user:password@host:5432/name."
        ) from None
    except NoSuchModuleError:
        raise ConfigurationError(
            "DATABASE_URL: names a database that testum does not know. Use postgresql:// or unset it."
        ) from None
    try:
        async with engine.begin() as connection:
            await connection.run_sync(step)
    except DatabaseError as error:
        raise unusable(engine.url, error) from error
    finally:
        await engine.dispose()
    return newest()


def unusable(url: URL, error: DatabaseError) -> ConfigurationError:
    """Why the database cannot be used, in one line, without its password."""
    if url.get_backend_name() == "sqlite":
        known = translate(error)
        if isinstance(known, StorageFull) or "locked" in str(error.orig):
            # The address is right.
            return ConfigurationError(f"DATABASE_URL: {url.database} cannot be used now: {known}")
        return ConfigurationError(
            f"DATABASE_URL: {url.database} cannot be used: {error.orig}. Check that address, or the file "
            "below DATA_DIR where there is none."
        )
    reason = str(error.orig).strip().rpartition("\n")[2]
    reason = reason.removeprefix("connection failed: ").rstrip(".")
    return ConfigurationError(
        f"DATABASE_URL: {url.render_as_string()} cannot be used: {reason}. Check the address, the user and the "
        "password, and that the server runs."
    )


def _prepare(connection: Connection) -> None:
    _lock(connection)
    present = revision_of(connection)
    if present is None:
        _make(connection)
    else:
        _expect(connection, present)


def _find(connection: Connection) -> None:
    present = revision_of(connection)
    if present is None:
        raise ConfigurationError("DATABASE_URL: the database is empty. Name the one that the server uses.")
    _expect(connection, present)


def _expect(connection: Connection, present: str) -> None:
    """That this release's code works on the schema that is there."""
    if present not in revisions():
        if _oldest_code(connection) not in revisions():
            raise _too_new(present)
    elif present != newest():
        raise ConfigurationError(
            f"DATABASE_URL: the database is of an older testum (schema {present}). Bring it up to date with "
            "`testum db upgrade`; make a backup first."
        )


def _upgrade(connection: Connection) -> None:
    _lock(connection)
    present = revision_of(connection)
    if present == newest():
        return
    if present is None:
        _make(connection)
        return
    if present not in revisions():
        raise _too_new(present)
    _run(connection)


def _lock(connection: Connection) -> None:
    """Of processes that start at once, one migrates and the others wait for it."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def revision_of(connection: Connection) -> str | None:
    """The revision of the database's schema; None where it has none."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.scalar(select(_VERSION.c.version_num))


def _too_new(revision: str) -> ConfigurationError:
    return ConfigurationError(
        f"DATABASE_URL: the database is of a newer testum (schema {revision}). Upgrade testum, or restore a backup."
    )


def _make(connection: Connection) -> None:
    """Make the schema where there is none."""
    if connection.dialect.name != "sqlite" or inspect(connection).get_table_names():
        _run(connection)
        return
    # By itself sqlite3 begins no transaction for these: a start that is cut off would leave some of the tables.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    for statement in SCHEMA.read_text("utf-8").split(_BETWEEN):
        connection.exec_driver_sql(statement)


def _run(connection: Connection) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    newest_script = ScriptDirectory.from_config(settings).get_revision("head")
    connection.execute(update(_VERSION).values(oldest_code=newest_script.module.oldest_code))


def _oldest_code(connection: Connection) -> str | None:
    """The oldest schema whose code works on the database's, as the release that made it said."""
    if "oldest_code" not in {found["name"] for found in inspect(connection).get_columns(_VERSION.name)}:
        return None
    return connection.scalar(select(_VERSION.c.oldest_code))


def schema_of_migrations() -> str:
    """What `schema.sql` is to be: the statements that make what all migrations make in a new SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scratch.db"
        asyncio.run(_migrate(f"sqlite+aiosqlite:///{path}", _run))
        with closing(sqlite3.connect(path)) as database:
            # What SQLite makes by itself has no text.
            made = database.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type = 'index', name"
            ).fetchall()
            (row,) = database.execute("SELECT version_num, oldest_code FROM alembic_version").fetchall()
    statements = [
        *(sql for (sql,) in made),
        f"INSERT INTO alembic_version (version_num, oldest_code) VALUES {row!r}",  # noqa: S608 - our own
    ]
    return _BETWEEN.join("\n".join(map(str.rstrip, each.splitlines())) for each in statements) + "\n"


def write_migration(message: str) -> Path:
    """Write the migration that leads from the present ones to the tables as the code has them now.

    For developers (`make migration`): read what it made, and test it up and down. Its file is returned.
    """
    from alembic import command

    with tempfile.TemporaryDirectory() as folder:
        settings = config(f"sqlite+aiosqlite:///{folder}/scratch.db")
        command.upgrade(settings, "head")
        number = len(revisions()) + 1
        script = command.revision(settings, message, autogenerate=True, rev_id=f"{number:04}")
    assert script is not None and not isinstance(script, list)
    return Path(script.path)
