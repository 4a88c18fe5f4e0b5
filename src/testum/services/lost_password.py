"""A new password for who has lost it, given by who may already do anything with the data: on the server's machine."""

import os
import pwd

from testum.db import migrate, users
from testum.db.audit import AuditLog
from testum.db.session import Database
from testum.errors import NotFound
from testum.services.passwords import hash_password, make_up


async def reset_password(url: str, username: str) -> tuple[str, str]:
    """Give an account a password that is made up, which must be changed at the next login, and end its logins. The account's
    name and the password are returned. The database at `url` may be in use.

    Raises NotFound, ConfigurationError where there is no installation, StorageUnavailable.
    """
    await migrate.find(url)
    database = Database(url)
    password = make_up()
    password_hash = await hash_password(password)
    try:
        async with database.write() as session:
            user = await users.by_name(session, username)
            if user is None:
                names = ", ".join(await users.names(session))
                raise NotFound(f"No account is named {username}. There are: {names}.")
            user.password_hash = password_hash
            user.must_change_password = True
            await users.revoke_logins(session, user.id)
            session.add(
                AuditLog(
                    user=f"{_caller()} on the server's machine",
                    action="user.reset_password",
                    object_type="user",
                    object_id=str(user.id),
                    meta={"name": user.username},
                )
            )
            return user.username, password
    finally:
        await database.close()


def _caller() -> str:
    """The operating system's account, by its number where it has no name, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
