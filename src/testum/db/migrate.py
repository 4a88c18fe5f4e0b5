"""Migrations: bring a database to the schema of this release, and write the next one."""

import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import create_async_engine

from testum.db.tables import metadata
from testum.errors import ConfigurationError


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
    settings = config(url)
    newest = ScriptDirectory.from_config(settings).get_current_head()
    assert newest is not None
    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, settings)
    except DatabaseError as error:
        raise ConfigurationError(
            f"DATABASE_URL: {engine.url.database} cannot be used: {error.orig}. Check that address, or the file "
            "below DATA_DIR where there is none."
        ) from error
    finally:
        await engine.dispose()
    return newest


def _upgrade(connection: Connection, settings: Config) -> None:
    present = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if present is not None and present not in known:
        raise ConfigurationError(
            f"DATABASE_URL: the database is of a newer testum (schema {present}). Upgrade testum, or restore a backup."
        )
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")


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
