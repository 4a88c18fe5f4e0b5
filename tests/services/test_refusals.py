"""What is refused above the limits is counted, in one entry a minute."""

import random
from unittest.mock import patch

import pytest
from sqlalchemy import select

from testum.app import Testum
from testum.db.audit import AuditLog
from testum.services import refusals
from testum.services.refusals import Refusals


def entry(user: str, address: str) -> AuditLog:
    return AuditLog(
        user=user, action="auth.login", outcome="refused", address=address, meta={"reason": "bad_credentials"}
    )


async def rows(testum: Testum) -> list[AuditLog]:
    async with testum.database.read() as session:
        return list((await session.scalars(select(AuditLog).order_by(AuditLog.id))).all())


async def test_ten_minutes_of_a_flood(testum: Testum) -> None:
    """10,000 refusals of 5,000 networks and four accounts, in an order of their own each time."""
    kept = Refusals(testum.database)
    dice = random.Random(20)
    for minute in range(10):
        for number in range(1000):
            proven = dice.random() < 0.5
            user = f"viewer{number % 4}" if proven else f"name{dice.randrange(10_000)}"
            address = f"2001:db8:{dice.randrange(5000):x}::{minute}"
            await kept.add(entry(user, address), proven=proven)
        await kept.write()
    found = await rows(testum)
    assert len(found) <= 100
    assert sum(row.meta.get("count", 1) for row in found) == 10_000
    for row in found:
        if row.action == "audit.refusals":
            for name in ("reasons", "actions", "users", "addresses"):
                told = row.meta[name]
                assert (
                    len(told) <= 20 and sum(told.values()) + row.meta[f"of_other_{name}"] == row.meta["count"]
                )


async def test_a_flood_of_one_hides_nobody_else(testum: Testum) -> None:
    kept = Refusals(testum.database)
    for _ in range(3):
        for _ in range(100):
            await kept.add(entry("x", "198.51.100.7"), proven=False)
        await kept.add(entry("guessed at", "203.0.113.9"), proven=False)
        await kept.write()
    found = await rows(testum)
    assert [row.user for row in found].count("guessed at") == 3
    assert len(found) == refusals.OF_ONE + 3 + 3
    await kept.write()
    await kept.write()
    assert len(await rows(testum)) == len(found), "nothing was counted, so nothing is written"
    await kept.add(entry("x", "198.51.100.7"), proven=False)
    assert len(await rows(testum)) == len(found) + 1, "a quiet minute is enough"


async def test_what_was_counted_is_kept_while_the_database_is_away(testum: Testum) -> None:
    kept = Refusals(testum.database)
    for _ in range(refusals.OF_ONE + 5):
        await kept.add(entry("x", "198.51.100.7"), proven=False)
    with (
        patch.object(testum.database, "write", side_effect=RuntimeError("away")),
        pytest.raises(RuntimeError),
    ):
        await kept.write()
    for _ in range(7):
        await kept.add(entry("x", "198.51.100.7"), proven=False)
    await kept.write()
    assert (await rows(testum))[-1].meta["count"] == 12
