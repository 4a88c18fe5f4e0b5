"""Importing: what the look at a list promises is what the import does, and each host stands for itself."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.services.conftest import ACTOR
from testum.app import Testum
from testum.core.csv_hosts import parse_csv
from testum.core.inventory import Draft, Inventory
from testum.core.ssh_hosts import parse_ssh_config
from testum.db.paging import PageRequest
from testum.errors import Conflict
from testum.services import imports as module
from testum.services.import_plans import Login, Step
from testum.services.import_ways import check_ways

LOGIN = Login(username="root", password="for all")


async def names(testum: Testum) -> set[str]:
    page = await testum.platforms.find(ACTOR, PageRequest(500, counted=False))
    return {platform.name for platform in page.items}


def listed(number: int) -> str:
    return "name,host\n" + "".join(f"h-{each:03},192.0.2.1\n" for each in range(number))


async def test_every_host_that_may_be_added_is(testum: Testum, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 7)
    odd = ["a*b,192.0.2.1", "ok-1,no host", "ok-2,192.0.2.2", f"{'n' * 201},192.0.2.3", "ok-3,example.com"]
    inventory = parse_csv(listed(30) + "\n".join(odd) + "\n")
    planned = await testum.imports.plan(ACTOR, inventory, LOGIN)
    promised = {step.name for step in planned.steps if step.kind == "add"}
    done = await testum.imports.apply(ACTOR, inventory, LOGIN, update=False)
    assert await names(testum) == promised
    assert (done.number("add"), done.number("problem")) == (32, 3)


async def test_no_transaction_waits_while_rows_are_looked_at(
    testum: Testum, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends one that does nothing for some seconds, which keys with passphrases take."""
    under_way = 0
    read, make = testum.database.read, testum.platforms.make

    @asynccontextmanager
    async def counted() -> AsyncIterator[Any]:
        nonlocal under_way
        async with read() as session:
            under_way += 1
            yield session
            under_way -= 1

    async def alone(*given: Any) -> Any:
        assert under_way == 0
        return await make(*given)

    monkeypatch.setattr(testum.database, "read", counted)
    monkeypatch.setattr(testum.platforms, "make", alone)
    done = await testum.imports.apply(ACTOR, parse_csv(listed(5)), LOGIN, update=False)
    assert (done.number("add"), done.number("problem")) == (5, 0)


async def test_a_name_that_is_taken_between_costs_only_itself(testum: Testum) -> None:
    made = [
        await testum.platforms.make(
            ACTOR, {"name": name, "host": "h", "username": "u", "auth_method": "password", "password": "p"}
        )
        for name in ("first", "taken", "last")
    ]
    await testum.imports.apply(ACTOR, parse_csv("name,host\ntaken,192.0.2.1\n"), LOGIN, update=False)
    refused = await testum.platforms.add_made(ACTOR, made)
    assert list(refused) == [made[1].id] and isinstance(refused[made[1].id], Conflict)
    assert await names(testum) == {"first", "taken", "last"}
    entries = await testum.history.audit(ACTOR, PageRequest(50, counted=False), action="platform.create")
    assert sorted(entry.meta["name"] for entry in entries.items) == ["first", "last", "taken"]


async def test_jump_hosts_are_found_in_their_own_batch(testum: Testum) -> None:
    ways = {
        "far": "middle",
        "middle": "near",
        "near": "",
        "loop-a": "loop-b",
        "loop-b": "loop-a",
        "lost": "loop-a",
        "astray": "elsewhere",
    }
    text = "".join(
        f"Host {name}\n HostName 192.0.2.4\n" + (f" ProxyJump {via}\n" if via else "")
        for name, via in ways.items()
    )
    inventory = parse_ssh_config(text, lambda _pattern: ())
    plan = await testum.imports.plan(ACTOR, inventory, LOGIN)
    assert {step.name: step.message for step in plan.steps if step.kind == "problem"} == {
        "loop-a": "the jump hosts would form a loop.",
        "loop-b": "the jump hosts would form a loop.",
        "lost": "its jump host loop-a could not be added",
    }
    await testum.imports.apply(ACTOR, inventory, LOGIN, update=False)
    page = await testum.platforms.find(ACTOR, PageRequest(500, counted=False))
    by_name = {platform.name: platform for platform in page.items}
    assert set(by_name) == {"far", "middle", "near", "astray", "elsewhere"}
    assert by_name["astray"].jump_platform_id == by_name["elsewhere"].id
    assert by_name["far"].jump_platform_id == by_name["middle"].id
    assert by_name["middle"].jump_platform_id == by_name["near"].id


async def test_a_long_way_is_looked_at_once(testum: Testum) -> None:
    """Recursion would end, and walking the whole way for each host would take minutes."""
    number = 3_000
    inventory = Inventory()
    for each in reversed(range(number)):
        inventory.add(Draft(f"w{each}", "192.0.2.4", 1, jumps=(f"w{each - 1}",) if each else ()))
    plan = await testum.imports.plan(ACTOR, inventory, LOGIN)
    assert plan.number("add") == number


def test_a_ring_is_looked_at_once() -> None:
    """On the event loop: each of them walked the whole ring."""
    number = 10_000
    steps = [Step(f"r{each}", 1, "add", via=f"r{(each + 1) % number}") for each in range(number)]
    steps += [Step(f"t{each}", 1, "add", via=f"t{each - 1}" if each else "r0") for each in range(number)]
    begun = time.process_time()
    check_ways(steps, {})
    assert time.process_time() - begun < 2
    told = {step.message for step in steps[:number]}
    assert told == {"the jump hosts would form a loop."}
    assert steps[-1].message == f"its jump host t{number - 2} could not be added"
