"""Password hashes: Argon2id (RFC 9106), computed in a thread because it is slow on purpose."""

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from testum.errors import InvalidInput

WEAK = frozenset({"admin123", "admin", "password", "changeme", "testum"})
"""Taken as the first password of an installation, but must be changed at the first login."""
MIN_LENGTH = 8
_MADE_UP_BYTES = 15
MAX_LENGTH = 1000

# RFC 9106, section 4, second recommended option, with one lane: 64 MiB would let a few logins at once
# outgrow the idle server; OWASP's minimum of 19 MiB and two passes is kept.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_turns = asyncio.Semaphore(4)
"""So many hashes are computed at once; further logins wait."""

_DUMMY = _hasher.hash("no account has this password")


def check_password_rules(password: str, field: str, username: str) -> None:
    """Raise InvalidInput unless the password may be set (NIST SP 800-63B: length, none that everybody tries, and not
    the user's name, however often)."""
    if password in WEAK or (username and not password.lower().replace(username.lower(), "")):
        raise InvalidInput.field(field, "is one that everybody tries first. Choose another one.")
    if len(password) < MIN_LENGTH:
        raise InvalidInput.field(field, f"needs at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise InvalidInput.field(field, f"takes at most {MAX_LENGTH} characters.")


def make_up() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(_MADE_UP_BYTES)


async def hash_password(password: str) -> str:
    """The hash to keep."""
    async with _turns:
        return await asyncio.to_thread(_hasher.hash, password)


async def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password fits. With no hash (no such account) it takes as long and says no."""
    async with _turns:
        fits = await asyncio.to_thread(_verify, password_hash or _DUMMY, password[: MAX_LENGTH + 1])
    return fits and password_hash is not None


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
