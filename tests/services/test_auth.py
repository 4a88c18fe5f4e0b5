"""Two logins that change one account at once."""

import asyncio

import pytest

from tests.services.conftest import ACTOR
from testum.app import Testum
from testum.core.permissions import Actor
from testum.db.paging import PageRequest
from testum.db.users import User
from testum.errors import Unauthenticated
from testum.services import auth as module
from testum.services import passwords

ADDRESS = "127.0.0.1"


@pytest.mark.parametrize("testum", ["sqlite", "postgresql"], indirect=True)
async def test_of_two_that_change_the_password_at_once_one_wins(
    testum: Testum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both knew the old password, and had the new one's hash ready, when the first of them wrote."""
    admin = testum.first_admin
    assert admin is not None and admin.password is not None
    old, hash_password, both_ready = admin.password, module.hash_password, asyncio.Barrier(2)

    async def together(password: str) -> str:
        made = await hash_password(password)
        await both_ready.wait()
        return made

    async def login(password: str) -> Actor:
        tokens = await testum.auth.login(admin.username, password, address=ADDRESS, client="")
        return await testum.auth.authenticate(tokens.access_token, address=ADDRESS)

    monkeypatch.setattr(module, "hash_password", together)
    first, second = await login(old), await login(old)
    news = {"the new one": first, "quite another": second}
    ends = await asyncio.gather(
        *(testum.auth.change_password(actor, old, new) for new, actor in news.items()), return_exceptions=True
    )
    ((won, winner),) = ((new, end) for new, end in zip(news, ends, strict=True) if isinstance(end, User))
    ((_, loser),) = ((new, end) for new, end in zip(news, ends, strict=True) if end is not winner)
    assert isinstance(loser, Unauthenticated)
    await login(won)
    entries = await testum.history.audit(ACTOR, PageRequest(10, counted=False), action="auth.change_password")
    assert [(entry.outcome, entry.meta.get("reason")) for entry in entries.items] == [
        ("refused", "changed_meanwhile"),
        ("allowed", None),
    ]


def test_where_there_is_no_account_a_password_is_hashed_as_slowly() -> None:
    assert not passwords._hasher.check_needs_rehash(passwords._NOBODYS)
    assert not passwords._verify(passwords._NOBODYS, "another")
    assert passwords._verify(passwords._NOBODYS, "no account has this password"), "it is a hash indeed"
