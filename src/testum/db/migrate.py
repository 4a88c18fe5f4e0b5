"""Migrations: bring a database to the schema of this release, and write the next one."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, column, func, inspect, select, table, update
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.ext.asyncio import create_async_engine

from testum.db.session import options
from testum.db.tables import metadata
from testum.errors import ConfigurationError

_MIGRATION_LOCK = 0x7E57_0001
"""The number of the advisory lock; any will do that nothing else in the database uses."""
_VERSION = table("alembic_version", column("oldest_code"))
"""Alembic's table, which says what the schema is, with a column of ours."""


def config(url: str) -> Config:
    """Alembic's configuration, without a file of its own."""
    result = Config()
    result.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    result.set_main_option("path_separator", "os")
    result.attributes["url"] = url
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


async def _migrate(url: str, step: Callable[[Connection, Config], None]) -> str:
    settings = config(url)
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
            await connection.run_sync(step, settings)
    except DatabaseError as error:
        raise _unusable(engine.url, error) from error
    finally:
        await engine.dispose()
    return newest(settings)


def newest(settings: Config) -> str:
    """The revision of this release's schema."""
    revision = ScriptDirectory.from_config(settings).get_current_head()
    assert revision is not None
    return revision


def _unusable(url: URL, error: DatabaseError) -> ConfigurationError:
    """Why the database cannot be used, in one line, without its password."""
    if url.get_backend_name() == "sqlite":
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


def _prepare(connection: Connection, settings: Config) -> None:
    _lock(connection)
    present = _revision(connection)
    if present is None:
        _run(connection, settings)
    elif present not in _known(settings):
        if _oldest_code(connection) not in _known(settings):
            raise _too_new(present)
    elif present != newest(settings):
        raise ConfigurationError(
            f"DATABASE_URL: the database is of an older testum (schema {present}). Bring it up to date with "
            "`testum db upgrade`; make a backup first."
        )


def _upgrade(connection: Connection, settings: Config) -> None:
    _lock(connection)
    present = _revision(connection)
    if present is not None and present not in _known(settings):
        raise _too_new(present)
    _run(connection, settings)


def _lock(connection: Connection) -> None:
    """Of processes that start at once, one migrates and the others wait for it."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known(settings: Config) -> set[str]:
    """The revisions up to this release's own."""
    return {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}


def _too_new(revision: str) -> ConfigurationError:
    return ConfigurationError(
        f"DATABASE_URL: the database is of a newer testum (schema {revision}). Upgrade testum, or restore a backup."
    )


def _run(connection: Connection, settings: Config) -> None:
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    newest_script = ScriptDirectory.from_config(settings).get_revision("head")
    connection.execute(update(_VERSION).values(oldest_code=newest_script.module.oldest_code))


def _oldest_code(connection: Connection) -> str | None:
    """The oldest schema whose code works on the database's, as the release that made it said."""
    if "oldest_code" not in {found["name"] for found in inspect(connection).get_columns(_VERSION.name)}:
        return None
    return connection.scalar(select(_VERSION.c.oldest_code))


def write_migration(message: str) -> Path:
    """Write the migration that leads from the present ones to the tables as the code has them now.

    For developers (`make migration`): read what it made, and test it up and down. Its file is returned.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = config(f"sqlite+aiosqlite:///{folder}/scratch.db")
        command.upgrade(settings, "head")
        number = len(list(ScriptDirectory.from_config(settings).walk_revisions())) + 1
        script = command.revision(settings, message, autogenerate=True, rev_id=f"{number:04}")
    assert script is not None and not isinstance(script, list)
    return Path(script.path)
