"""What a process does to an installation before it serves: hold it, bring it up to date, see that its parts belong together,
and make its first account."""

import asyncio
import fcntl
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO

import structlog

from testum.artifacts.base import Artifacts
from testum.core.secrets import Opener, Sealer
from testum.db import installation, migrate, soundness
from testum.db.session import Database
from testum.errors import ConfigurationError, InvalidInput
from testum.output import emptied
from testum.services import passwords
from testum.services.auth import Auth
from testum.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account made at the first start. `password` only where it was generated."""

    username: str
    password: str | None


async def prepare(settings: Settings, artifacts: Artifacts | None, closing: AsyncExitStack) -> None:
    """Hold the data directory until `closing` is left, and bring the store and the database up to date. Raises
    ConfigurationError."""
    if settings.embedded_database:
        closing.enter_context(_lock(settings))
    if artifacts is not None:
        await artifacts.prepare()
        await _check_belonging(settings, artifacts)
    url = settings.effective_database_url
    if settings.embedded_database:
        await asyncio.to_thread(soundness.check, url, settings.data_dir / "artifacts")
        await migrate.upgrade(url)
    else:
        await migrate.prepare(url)


def _lock(settings: Settings) -> IO[str]:
    """Hold the data directory: two servers on one would each take the other's tasks for dead ones."""
    path = settings.data_dir / "lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR: {path} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigurationError(
            f"DATA_DIR: another testum already uses {settings.data_dir}. Stop it, or set another DATA_DIR."
        ) from None
    return file


async def _check_belonging(settings: Settings, artifacts: Artifacts) -> None:
    """See emptied.check_database."""
    if settings.minio_endpoint:
        place, remedy = f"the bucket {settings.minio_bucket}", "name another bucket in MINIO_BUCKET"
    else:
        folder = settings.data_dir / "artifacts"
        place, remedy = str(folder), f"move {folder} away"
    await emptied.check_database(settings.effective_database_url, artifacts, place, remedy)


async def check_key(database: Database, sealer: Sealer, opener: Opener) -> None:
    """That FERNET_KEY is the one that this database is used with: better now than at the first task. Raises
    ConfigurationError."""
    async with database.write() as session:
        row = await installation.ensure(session)
        if row.key_check is not None:
            opener.open(row.id, "key_check", row.key_check)
        # Sealed anew each time, with the newest key: the older ones may then be taken away.
        row.key_check = sealer.seal(row.id, "key_check", "testum")


async def ensure_admin(settings: Settings, auth: Auth) -> FirstAdmin | None:
    """Make the first account where there is none; which it is. Raises ConfigurationError."""
    username = settings.admin_username
    given = settings.admin_password.get_secret_value()
    if await auth.has_accounts():
        if given and not await auth.has_password(username, given):
            log.warning(
                "ADMIN_PASSWORD has no effect: it is for the first start, and the account has another password. "
                "`testum users reset-password` gives it a new one",
                account=username,
            )
        return None
    password = given or passwords.make_up()
    first_only = not given or given in passwords.WEAK
    if not first_only:
        try:
            await passwords.check_password_rules(given, "ADMIN_PASSWORD", username)
        except InvalidInput as error:
            raise ConfigurationError(f"{error.message} Set another one.") from None
    # What was printed may be in a journal, what is weak is known to all: neither stays.
    if not await auth.ensure_admin(username, password, must_change=first_only):
        return None
    return FirstAdmin(username, None if given else password)
