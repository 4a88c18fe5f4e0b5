"""Whether an SQLite file can be what testum left: looked at before a start, which would make a new database of a lost one."""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from testum.errors import ConfigurationError

_MAGIC = b"SQLite format 3\0"
_HEADER_SIZE = 100
_CHECKED_SIZE = 64 * 1024 * 1024
"""A file of up to so many bytes is read as a whole, which takes a fraction of a second."""
_RESTORE = "Restore the database from a backup"


def path_of(url: str) -> Path | None:
    """The file that a database's address names, if it is one of SQLite."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # Whoever opens it says what is wrong.
        return None
    named = address.get_backend_name() == "sqlite" and address.database and address.database != ":memory:"
    return Path(address.database or "") if named else None


def check(url: str, outputs: Path) -> None:
    """`check_file`, where the database's address names a file of SQLite."""
    path = path_of(url)
    if path is not None:
        check_file(path, outputs)


def check_file(path: Path, outputs: Path) -> None:
    """Look at the database file, and at the directory of what its tasks have printed. It blocks.

    Raises ConfigurationError, in one line: where the file is damaged, cut or no database; where it is missing or empty, or
    knows no task, and there is output of tasks all the same.
    """
    wal = path.with_name(f"{path.name}-wal")
    if not path.exists() or path.stat().st_size == 0:
        state = "is empty" if path.exists() else "is missing"
        if wal.exists() and wal.stat().st_size:
            raise ConfigurationError(
                f"DATA_DIR: {path} {state}, but {wal.name} beside it is not. {_RESTORE}."
            )
        if _has_files(outputs):
            raise _lost(path, outputs, state)
        return
    _check_header(path, wal)
    try:
        with closing(sqlite3.connect(path)) as connection:
            # Not the first word on a file that another program holds, or that cannot be written.
            if path.stat().st_size <= _CHECKED_SIZE:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise _damaged(path, str(found))
            known = _knows_tasks(connection)
    except sqlite3.OperationalError:
        return
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from None
    if not known and _has_files(outputs):
        raise _lost(path, outputs, "knows of no task")


def _check_header(path: Path, wal: Path) -> None:
    """By the file's header (sqlite.org/fileformat2.html, section 1.3): SQLite itself notices a cut only where it reads."""
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
    if not header.startswith(_MAGIC):
        raise ConfigurationError(
            f"DATABASE_URL: {path} is no SQLite database. {_RESTORE}, or correct the address, if there is one."
        )
    if len(header) < _HEADER_SIZE:
        raise _damaged(path, "it is cut")
    (page,) = struct.unpack_from(">H", header, 16)
    changed, pages = struct.unpack_from(">II", header, 24)
    (valid_for,) = struct.unpack_from(">I", header, 92)
    whole = pages * (65536 if page == 1 else page)
    # What a crash kept from getting there is in the log.
    logged = wal.exists() and wal.stat().st_size > 0
    if changed == valid_for and not logged and path.stat().st_size < whole:
        raise _damaged(path, f"it has {path.stat().st_size} of {whole} bytes")


def _knows_tasks(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'task_runs'").fetchone()
    return tables is not None and connection.execute("SELECT 1 FROM task_runs LIMIT 1").fetchone() is not None


def _has_files(folder: Path) -> bool:
    return any(found.is_file() for found in folder.glob("tasks/*/*"))


def _lost(path: Path, outputs: Path, state: str) -> ConfigurationError:
    return ConfigurationError(
        f"DATA_DIR: {path} {state}, but {outputs} has output of tasks: this is no new installation. {_RESTORE}, or "
        f"move {outputs} away to begin anew."
    )


def _damaged(path: Path, reason: str) -> ConfigurationError:
    reason = " ".join(reason.split()).rstrip(".")
    return ConfigurationError(f"DATABASE_URL: {path} is damaged: {reason}. {_RESTORE}.")
