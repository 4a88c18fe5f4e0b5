"""New databases with this release's tables, copied from one that was migrated: to migrate takes the processor a third
of a second."""

from pathlib import Path

from tests.support.postgres import PostgresServer
from testum.db import migrate

_files: list[bytes] = []
_templates: dict[PostgresServer, str] = {}


async def with_tables(where: Path | PostgresServer) -> str:
    """The address of a new database: SQLite in the file, or on the server."""
    if isinstance(where, PostgresServer):
        if where not in _templates:
            _templates[where] = where.create_database()
            await migrate.upgrade(_templates[where])
        return where.create_database(template=_templates[where].rpartition("/")[2])
    url = f"sqlite+aiosqlite:///{where}"
    if _files:
        where.write_bytes(_files[0])
    else:
        await migrate.upgrade(url)
        assert not where.with_name(f"{where.name}-wal").exists(), "all of it is in the file"
        _files.append(where.read_bytes())
    return url
