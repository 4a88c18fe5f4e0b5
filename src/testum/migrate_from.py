"""`testum db migrate-from`: everything of an installation on SQLite into the one that the settings name.

The old installation is only read, and stays as it is. All rows go over in one transaction: what is interrupted is not
there at all, and is begun anew. Artifacts that were stored by then lie where the next run puts them, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from testum.app import make_artifacts
from testum.artifacts.base import Artifacts
from testum.core.secrets import Opener
from testum.db import migrate, sqlite_source, transfer
from testum.db.session import Database
from testum.db.sqlite_source import NotMoved, Row, Source
from testum.db.transfer import Tallies
from testum.errors import ConfigurationError
from testum.installed import INSTALLED
from testum.output import files
from testum.output.adoption import adopt
from testum.output.journal import location
from testum.settings import Settings


@dataclass(frozen=True, slots=True)
class Moved:
    """What was moved: rows of each table, and how many bytes of output, encoded, became artifacts.

    `fresh`: by this run; else an earlier one had moved it all, and nothing has changed since. `missing`: large
    outputs that the old installation had lost.
    """

    rows: Mapping[str, int]
    output_bytes: int
    missing: int
    fresh: bool


async def move(settings: Settings, address: str, say: Callable[[str], None]) -> Moved:
    """Move the installation whose SQLite file (a path or a URL) `address` names; `say` is told how far it is.

    Raises NotMoved, ConfigurationError, StorageUnavailable, StorageFull: then the new database is as it was.
    """
    path = sqlite_source.path_of(address)
    if settings.embedded_database:
        raise ConfigurationError(
            "DATABASE_URL: is not set. Name the PostgreSQL database that the installation shall move to."
        )
    INSTALLED.load_tables()
    with sqlite_source.stopped(path.parent):
        await migrate.prepare(settings.effective_database_url)
        artifacts = make_artifacts(settings)
        assert artifacts is not None, "only an embedded database keeps output without them"
        await artifacts.prepare()
        database = Database(settings.effective_database_url)
        try:
            return await _move(database, artifacts, settings, path, say)
        finally:
            await database.close()


async def _move(
    database: Database, artifacts: Artifacts, settings: Settings, path: Path, say: Callable[[str], None]
) -> Moved:
    opener = Opener(settings.fernet_key.get_secret_value())
    async with sqlite_source.opened(path) as source, database.write() as session:
        try:
            await sqlite_source.check_secrets(source, opener.open)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"{error.message} An embedded server keeps it in {path.parent / 'fernet_key'}."
            ) from None
        target = await session.connection()
        fresh = await transfer.seize(target, source)
        tallies = await transfer.copy(source, target, change=_change, write=fresh, say=say)
        await _check_objects(artifacts, source)
        size = missing = 0
        async for some in sqlite_source.kept_in_files(source):
            for kept in some:
                reader = await files.read(path.parent / "artifacts", kept.task_id)
                if reader is None:
                    missing += kept.named
                    continue
                async for row in adopt(artifacts if fresh else None, kept.task_id, kept.job_id, reader):
                    await transfer.add_segments(target, [row], tallies, write=fresh)
                    size += int(str(row["size"]))
                    say(f"output: {size // 1024**2} MiB")
        if fresh:
            await transfer.set_positions(target)
        await transfer.verify(target, tallies, fresh=fresh, say=say)
    return Moved(_rows(tallies), size, missing, fresh)


def _rows(tallies: Tallies) -> dict[str, int]:
    return {name: tally.rows for name, tally in tallies.items()}


def _change(table: str, row: Row) -> None:
    """Large outputs lie elsewhere in the new installation."""
    if table == "task_runs" and row["result_location"] is not None:
        row["result_location"] = location(row["id"])


async def _check_objects(artifacts: Artifacts, source: Source) -> None:
    """An installation on SQLite may have kept its output in a bucket: the new one must have the same."""
    async for keys in sqlite_source.object_keys(source):
        for key in keys:
            if await artifacts.get(key, 0, 1) is None:
                raise NotMoved(
                    f"MINIO_BUCKET: the old installation kept output in another store ({key} is not in this one). "
                    "Name the bucket that it used."
                )
