"""Migrations on SQLite: they make the tables that the code has, go down and up again, and refuse the future."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from testum.db.migrate import config, upgrade
from testum.db.tables import metadata
from testum.errors import ConfigurationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "testum.db"


def url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def differences(path: Path) -> list[object]:
    """What the tables lack of what the code says they are."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[object] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def test_an_empty_database_gets_the_tables_of_the_code(path: Path) -> None:
    newest = asyncio.run(upgrade(url(path)))
    assert newest == ScriptDirectory.from_config(config(url(path))).get_current_head()
    assert differences(path) == []
    assert asyncio.run(upgrade(url(path))) == newest, "a second run changes nothing"


def test_every_migration_goes_down_and_up_again(path: Path) -> None:
    asyncio.run(upgrade(url(path)))
    settings = config(url(path))
    revisions = [script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()]
    for revision in [*revisions[1:], "base"]:
        command.downgrade(settings, revision)
        command.upgrade(settings, "+1")
        command.downgrade(settings, revision)
    assert tables(path) <= {"alembic_version"}
    asyncio.run(upgrade(url(path)))
    assert differences(path) == []


def test_a_newer_database_is_left_alone(path: Path) -> None:
    asyncio.run(upgrade(url(path)))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"newer testum.*9999"):
        asyncio.run(upgrade(url(path)))
    assert path.read_bytes() == before


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database\n" * 1000)
    with pytest.raises(ConfigurationError, match=r"testum\.db.*not a database"):
        asyncio.run(upgrade(url(path)))
