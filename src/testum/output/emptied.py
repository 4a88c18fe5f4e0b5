"""A database and a store of artifacts that do not belong together: one of the two was emptied, or another one is named."""

from testum.artifacts.base import Artifacts
from testum.db import installation, segments
from testum.db.session import Database
from testum.errors import ConfigurationError
from testum.output.journal import FOLDER


async def check_database(url: str, artifacts: Artifacts, place: str, remedy: str) -> None:
    """That a database in which no testum has ever started has no output of tasks beside it. `place` says where that would be,
    and `remedy` how to begin anew all the same. The store must be prepared; nothing is made of the database.

    Raises ConfigurationError; StorageUnavailable.
    """
    # Asked again after the look: another process may have made it and done its first job meanwhile.
    if await installation.is_new(url) and await _has_output(artifacts) and await installation.is_new(url):
        raise ConfigurationError(
            f"DATABASE_URL: the database is empty, but {place} has output of tasks: this is no new installation. "
            "Restore the database from a backup, correct its address, or move the old one here (`testum db migrate-from`); "
            f"or {remedy} to begin anew."
        )


async def is_store_emptied(database: Database, artifacts: Artifacts) -> bool:
    """Whether the database names artifacts, and the store has none at all."""
    async with database.read() as session:
        named = await segments.any_in_artifacts(session)
    return named and not await _has_output(artifacts)


async def _has_output(artifacts: Artifacts) -> bool:
    async for _ in artifacts.list(FOLDER):
        return True
    return False
