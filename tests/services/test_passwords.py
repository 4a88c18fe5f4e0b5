"""Which passwords may be set."""

import asyncio
import secrets

import pytest

from testum.errors import InvalidInput
from testum.services import passwords, strength

WEAK = """
    aaaaaaaa AAAAAAAAAAAA abababab P@ssw0rd1 Passw0rd! qwerty1234 Qwerty!23 1q2w3e4r5t zaq12wsx 12345678 20261130
    31.12.1999 iloveyou2 letmein123 monkeymonkey Summer2024! changeme admin123 testum2024! testum-testum
    alice1234 alice2026! Alice_20261130 alicealice smith-1984-11 пароль123 Пароль2026 йцукенгш
    aaaaaaaabbbbbbbb passwordpasswordpasswordpasswordpasswordpassword
""".split()  # noqa: SIM905 - words read better as words
GOOD = [
    "correct horse battery staple", "another-password", "kettle-orbit-plum", "kx7Qm2pzL", "лошадь скрепка батарея",
    "a" * 8 + "kettle-orbit-plum", "\u4f60\u597d\u4e16\u754c\u518d\u89c1\u670b\u53cb", "\u0000\n\t kettle orbit",
]  # fmt: skip


async def refusal(password: str, username: str = "alice.smith") -> str:
    try:
        await passwords.check_password_rules(password, "new_password", username)
    except InvalidInput as error:
        return error.message
    return ""


async def test_what_is_guessed_soon_is_refused() -> None:
    said = await asyncio.gather(*map(refusal, WEAK))
    passed = [password for password, message in zip(WEAK, said, strict=True) if not message]
    assert not passed
    assert set(said) == {
        "new_password: is guessed too soon. Choose a longer one, or words that do not belong together."
    }


async def test_what_is_not_may_be_set() -> None:
    tried = [*GOOD, passwords.make_up(), secrets.token_hex(6)]
    assert await asyncio.gather(*map(refusal, tried)) == [""] * len(tried)


async def test_a_short_name_makes_no_password_weak() -> None:
    assert await refusal("banana-tree-moon-anna", "an") == ""


@pytest.mark.parametrize(("length", "said"), [(7, "at least 8"), (1001, "at most 1000")])
async def test_the_length(length: int, said: str) -> None:
    assert said in await refusal(secrets.token_urlsafe(1000)[:length].ljust(length, "x"))


async def test_one_that_takes_long_is_cut() -> None:
    """Each way to read it as letters is tried: twice as long, it takes four times as long."""
    assert await strength.decades_of_guesses("4@8({[<369!1|075$+7%2" * 40, ["x" * 150]) > 8
