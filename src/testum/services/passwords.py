"""Password hashes: Argon2id (RFC 9106), computed in a thread because it is slow on purpose."""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from testum.errors import InvalidInput

WEAK = frozenset({"admin123", "admin", "password", "changeme", "testum"})
"""Taken as the first password of an installation, but must be changed at the first login."""
_COMMON = frozenset(
    """
    1q2w3e4r 1q2w3e4r5t 1qaz2wsx qwerty12 qwerty123 qwertyui qwertyuiop asdfghjk asdfghjkl zxcvbnm1 q1w2e3r4
    12345678 123456789 1234567890 11111111 00000000 87654321 12341234 11223344 88888888 abc12345 abcd1234 abcdefgh
    a1b2c3d4 password1 password12 password123 passw0rd p@ssw0rd p@ssword pa$$word changeme1 changeit letmein1
    welcome1 welcome123 iloveyou sunshine princess football baseball superman trustno1 starwars whatever computer
    internet administrator admin1234 admin12345 rootroot root1234 toor1234 testtest test1234 testum123 secret123
    """.split()  # noqa: SIM905 - words read better as words
)
"""The first that anybody tries, of those that are long enough (NIST SP 800-63B, section 5.1.1.2)."""
MIN_LENGTH = 8
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


def check_password_rules(password: str, field: str, username: str) -> None:
    """Raise InvalidInput unless the password may be set (NIST SP 800-63B: length, none that everybody tries, and not
    the user's name, however often)."""
    if password.lower() in WEAK | _COMMON or (
        username and not password.lower().replace(username.lower(), "")
    ):
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
