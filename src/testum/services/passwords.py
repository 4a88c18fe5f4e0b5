"""Password hashes: Argon2id (RFC 9106), computed in a thread because it is slow on purpose."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from testum.errors import InvalidInput
from testum.services.strength import decades_of_guesses, parts_of

WEAK = frozenset({"admin123", "admin", "password", "changeme", "testum"})
"""Taken as the first password of an installation, but must be changed at the first login."""
_MIN_DECADES = 8.0
"""What a password stands of guesses, as a power of ten: somebody who has its hash tries fewer in a week."""
MIN_LENGTH = 8
_MIN_LETTERS = 4
"""Beside a name."""
_MADE_UP_BYTES = 15
MAX_LENGTH = 1000

# RFC 9106, section 4, second recommended option, with one lane: 64 MiB would let a few logins at once
# outgrow the idle server; OWASP's minimum of 19 MiB and two passes is kept.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_turns = ThreadPoolExecutor(4, "passwords")
"""So many hashes are computed at once; further logins wait."""

_NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$SQtqeqHZ4HfAETOaX3oP5A$TnXesE/OQmYQI6XEGkTMm2DeOWrct0Taj/ooij7++Uc"
"""Of a password that no account has, to take as long where there is no account. Written down: to compute it took part
of each start."""


async def check_password_rules(password: str, field: str, username: str) -> None:
    """Raise InvalidInput unless the password may be set (NIST SP 800-63B, section 5.1.1.2: length, and none that is guessed
    soon by who knows the user's name)."""
    if len(password) < MIN_LENGTH:
        raise InvalidInput.field(field, f"needs at least {MIN_LENGTH} characters.")
    if len(password) > MAX_LENGTH:
        raise InvalidInput.field(field, f"takes at most {MAX_LENGTH} characters.")
    names = [*parts_of(username), "testum"]
    rest = password.lower()
    for name in names:
        rest = rest.replace(name.lower(), "") if len(name) > 2 else rest
    if (
        password.lower() in WEAK
        or (len(rest) < len(password) and sum(character.isalpha() for character in rest) < _MIN_LETTERS)
        or await decades_of_guesses(password, names) < _MIN_DECADES
    ):
        raise InvalidInput.field(
            field, "is guessed too soon. Choose a longer one, or words that do not belong together."
        )


def make_up() -> str:
    """A password that nobody guesses."""
    return secrets.token_urlsafe(_MADE_UP_BYTES)


async def hash_password(password: str) -> str:
    """The hash to keep."""
    return await asyncio.get_running_loop().run_in_executor(_turns, _hasher.hash, password)


async def verify_password(password_hash: str | None, password: str) -> bool:
    """Whether the password fits. With no hash (no such account) it takes as long and says no."""
    tried = password_hash or _NOBODYS, password[: MAX_LENGTH + 1]
    fits = await asyncio.get_running_loop().run_in_executor(_turns, _verify, *tried)
    return fits and password_hash is not None


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
