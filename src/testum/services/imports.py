"""Bringing in a list of hosts: what would change is told before anything does."""

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from testum.core import lists
from testum.core.inventory import Draft, Inventory, Places, Problem, split_hop
from testum.core.permissions import PLATFORMS_WRITE, Actor
from testum.core.text import login_address
from testum.db import platforms
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.errors import Conflict, InvalidInput, SecretWouldLeave
from testum.services import apart
from testum.services.access import Gate
from testum.services.keys import check_opens
from testum.services.platforms import Platforms

MAX_DRAFTS = 10_000
_SECONDS = 30.0
"""A list is read no longer."""
_BATCH = 100
"""Platforms that are added in one transaction: others who write wait for it."""


async def read(text: str, kind: str) -> Inventory:
    """The hosts in a list that somebody has sent, read in a process of its own: it may be large, or meant to do harm. `kind`:
    one of `lists.FORMATS`, or anything else for whatever it looks like. Raises InvalidInput."""
    # One more than may be shows that there are too many.
    asked = json.dumps({"text": text, "kind": kind, "most": MAX_DRAFTS + 1}).encode()
    try:
        answer = await apart.ask(lists.__name__, asked, seconds=_SECONDS)
        return await asyncio.to_thread(lists.from_json, answer)
    except (apart.Failed, ValueError):
        raise InvalidInput.field("text", "takes too much to read: split the list.") from None


def add_tags(inventory: Inventory, tags: Sequence[str]) -> None:
    """Put tags on all hosts of a list, beside those that it says."""
    inventory.drafts[:] = [
        replace(draft, tags=tuple(dict.fromkeys((*draft.tags, *tags)))) for draft in inventory.drafts
    ]


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in where the list does not say."""

    username: str = ""
    key_id: UUID | None = None
    password: str = field(default="", repr=False)


@dataclass(slots=True)
class Step:
    """What is to be done about one host of the list: `add`, `change`, `same`, or nothing because of a `problem`."""

    name: str
    line: int
    kind: str
    address: str = ""
    via: str = ""
    tags: Sequence[str] = ()
    changes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """For `change`: the fields, each as it is and as it would be."""
    message: str = ""
    """What the problem is; several are on a line each."""


@dataclass(slots=True)
class Plan:
    """All steps in the order of the list, lines that could not be used, and things left out on purpose."""

    steps: list[Step]
    problems: list[Problem]
    notes: list[Problem]

    def number(self, kind: str) -> int:
        """How many steps are of a kind."""
        return sum(step.kind == kind for step in self.steps)


class Imports:
    """Use cases of importing."""

    def __init__(self, database: Database, gate: Gate, platforms: Platforms) -> None:
        self._database = database
        self._gate = gate
        self._platforms = platforms

    async def plan(self, actor: Actor, inventory: Inventory, login: Login) -> Plan:
        """What an import of the list would do. Raises InvalidInput for a list that is too long."""
        return (await self._look(actor, inventory, login)).plan

    async def _look(self, actor: Actor, inventory: Inventory, login: Login) -> "_Looked":
        """The plan, made by the checks that doing it makes, and the platforms that it would add."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.import", "platform")
        if len(inventory.drafts) > MAX_DRAFTS:
            raise InvalidInput.field("text", f"at most {MAX_DRAFTS}.")
        async with self._database.read() as session:
            known = await platforms.by_name(session)
        inventory = _settled(inventory, known)
        names = _Names(inventory.drafts, known)
        steps = []
        for draft in inventory.drafts:
            steps.append(_step(draft, known.get(draft.name), names, login))
            # Thousands of rows are looked at: others have their turn meanwhile.
            await asyncio.sleep(0)
        made: dict[str, Platform] = {}
        taken = set(known)
        leaving: set[str] = set()
        for step, draft in zip(steps, inventory.drafts, strict=True):
            try:
                if step.kind == "change":
                    await self._platforms.check_change(known[draft.name], _changed(draft, step, login))
                elif step.kind == "add":
                    made[step.name] = await self._make(
                        actor, _values(draft, login), known.get(step.via), taken
                    )
            except (InvalidInput, Conflict) as refusal:
                if isinstance(refusal, SecretWouldLeave):
                    leaving.add(step.name)
                step.kind, step.message = "problem", _whole(refusal)
            await asyncio.sleep(0)
        # All at once and last: a transaction would be given up by the database while keys are opened.
        async with self._database.read() as session:
            for step in steps:
                try:
                    if step.kind == "add":
                        await self._platforms.check_links(session, made[step.name])
                except InvalidInput as refusal:
                    step.kind, step.message = "problem", _whole(refusal)
        _check_ways(steps, known)
        return _Looked(
            Plan(steps, inventory.problems, inventory.notes), inventory.drafts, known, made, leaving
        )

    async def _make(
        self, actor: Actor, values: Mapping[str, Any], jump: Platform | None, taken: set[str]
    ) -> Platform:
        """A new platform of the list; its name joins those that are `taken`. Raises InvalidInput, Conflict."""
        await check_opens(values.get("private_key"), values.get("passphrase"))
        platform = await self._platforms.make(
            actor, {**values, "jump_platform_id": jump.id if jump is not None else None}
        )
        if platform.name in taken:
            raise Conflict(f"A platform named {platform.name} is there already.", code="name_taken")
        taken.add(platform.name)
        return platform

    async def apply(self, actor: Actor, inventory: Inventory, login: Login, *, update: bool) -> Plan:
        """Do it: add what is new and, with `update`, change what differs. Each host for itself: one that cannot be
        added costs only itself. What was done is returned; a step whose host was refused is a `problem` now."""
        looked = await self._look(actor, inventory, login)
        drafts = {draft.name: draft for draft in looked.drafts}
        ids = {name: platform.id for name, platform in looked.known.items()}
        batch: dict[UUID, tuple[Step, Platform]] = {}

        async def keep() -> None:
            refused = await self._platforms.add_made(actor, [platform for _, platform in batch.values()])
            for platform_id, refusal in refused.items():
                step = batch[platform_id][0]
                step.kind, step.message = "problem", _whole(refusal)
                if step.via and step.via not in ids:
                    step.message = f"its jump host {step.via} could not be added"
                del ids[step.name]
            batch.clear()

        for step in _in_order(looked.plan.steps):
            try:
                if step.kind == "add":
                    platform = looked.made[step.name]
                    if step.via:
                        if step.via not in ids:
                            raise InvalidInput(f"its jump host {step.via} could not be added")
                        platform.jump_platform_id = ids[step.via]
                    ids[step.name], batch[platform.id] = platform.id, (step, platform)
                elif update and (step.kind == "change" or step.name in looked.leaving):
                    # What a secret must not follow is asked for all the same: that is written down as refused.
                    changed = _changed(drafts[step.name], step, login)
                    await self._platforms.change(actor, ids[step.name], changed)
            except (InvalidInput, Conflict) as refusal:
                step.kind, step.message = "problem", _whole(refusal)
            if len(batch) >= _BATCH:
                await keep()
        await keep()
        return looked.plan


@dataclass(frozen=True, slots=True)
class _Looked:
    """A plan and the drafts that it is about; the platforms that there are, and those that it would add, by name; and the
    names of those whose stored secret would leave."""

    plan: Plan
    drafts: Sequence[Draft]
    known: Mapping[str, Platform]
    made: Mapping[str, Platform]
    leaving: Collection[str]


class _Names:
    """Who is reached through whom, by name."""

    def __init__(self, drafts: Sequence[Draft], known: Mapping[str, Platform]) -> None:
        self._drafts = {draft.name: draft for draft in drafts}
        self._known = known
        self._by_id = {platform.id: platform.name for platform in known.values()}

    def of_hop(self, hop: str) -> str | None:
        """The name of the platform that a hop means: the list's own reading has made each of them one."""
        return hop if hop in self._drafts or hop in self._known else None

    def via(self, draft: Draft) -> str:
        """The name of the platform next to the host on the way to it; empty where there is none. Raises
        InvalidInput."""
        before = ""
        for hop in draft.jumps:
            name = self.of_hop(hop)
            if name is None or name == draft.name:
                raise InvalidInput(f"its jump host {hop} is no platform, and not in the list")
            if before and self._before(name) != before:
                raise InvalidInput(
                    f"its way is {', '.join(draft.jumps)}, but {name} is not reached through {before}"
                )
            before = name
        return before

    def _before(self, name: str) -> str:
        if name in self._known:
            jump = self._known[name].jump_platform_id
            return self._by_id.get(jump, "") if jump is not None else ""
        jumps = self._drafts[name].jumps
        return (self.of_hop(jumps[-1]) or "") if jumps else ""


def _settled(inventory: Inventory, known: Mapping[str, Platform]) -> Inventory:
    """The list without the jump hosts that there are already; where another platform has the name of one, it gets the name
    by which the list calls it."""
    places = Places()
    for platform in known.values():
        places.add(platform.name, platform.host, platform.port, platform.username)
    names: dict[str, str] = {}
    drafts = []
    for written in inventory.drafts:
        draft = written
        if draft.hop:
            user, host, port = split_hop(draft.hop)
            named = known.get(host)
            if named is not None and user in ("", named.username) and port in (None, named.port):
                names[draft.name] = named.name
                continue
            if (found := places.find(draft.host, draft.port, draft.username)) is not None:
                names[draft.name] = found
                continue
            if draft.name in known:
                names[draft.name] = draft.hop
                draft = replace(draft, name=draft.hop)
        drafts.append(draft)
    gone = {note for note in names if names[note] in known}
    return Inventory(
        [replace(draft, jumps=tuple(names.get(hop, hop) for hop in draft.jumps)) for draft in drafts],
        inventory.problems,
        [note for note in inventory.notes if note.name not in gone],
    )


def _whole(refusal: InvalidInput | Conflict) -> str:
    """All that is wrong with a host, a line each."""
    fields = refusal.fields if isinstance(refusal, InvalidInput) else ()
    return "\n".join(f"{item.field}: {item.message}" for item in fields) or refusal.message


def _check_ways(steps: Sequence[Step], known: Mapping[str, Platform]) -> None:
    """Mark the steps whose jump hosts form a loop, and those whose jump host cannot be added."""
    by_name = {step.name: step for step in steps}
    reached = {"", *known}
    left = [step for step in _in_order(steps) if step.kind == "add"]
    rings = _in_rings(left, by_name)
    for step in left:
        if step.via in reached:
            reached.add(step.name)
        elif step.name in rings:
            step.kind, step.message = "problem", "the jump hosts would form a loop."
        else:
            step.kind, step.message = "problem", f"its jump host {step.via} could not be added"


def _in_rings(steps: Sequence[Step], by_name: Mapping[str, Step]) -> set[str]:
    """The names of those whose way leads through themselves. Each is looked at once."""
    rings: set[str] = set()
    seen: set[str] = set()
    for step in steps:
        way: dict[str, None] = {}
        name = step.name
        while name in by_name and name not in seen:
            seen.add(name)
            way[name] = None
            name = by_name[name].via
        if name in way:
            names = list(way)
            rings.update(names[names.index(name) :])
    return rings


def _in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps, jump hosts before those behind them."""
    by_name = {step.name: step for step in steps}
    done: dict[str, Step] = {}
    for step in steps:
        way: dict[str, Step] = {}
        following: Step | None = step
        while following is not None and following.name not in done and following.name not in way:
            way[following.name] = following
            following = by_name.get(following.via)
        done.update(reversed(way.items()))
    return list(done.values())


def _step(draft: Draft, present: Platform | None, names: _Names, login: Login) -> Step:
    step = Step(draft.name, draft.line, "add", tags=draft.tags)
    username = draft.username or login.username
    step.address = login_address(username, draft.host, draft.port)
    if present is not None:
        step.changes = _differences(draft, present)
        step.kind = "change" if step.changes else "same"
        return step
    try:
        if draft.problem:
            raise InvalidInput(draft.problem)
        step.via = names.via(draft)
        _values(draft, login)
    except InvalidInput as error:
        step.kind, step.message = "problem", error.message
    return step


def _differences(draft: Draft, present: Platform) -> dict[str, tuple[str, str]]:
    """What the list says otherwise than what is stored. What it does not say stays, and so do credentials."""
    wanted = {
        "host": draft.host,
        "port": str(draft.port),
        "username": draft.username or present.username,
        "tags": " ".join(sorted({*present.tags, *draft.tags})),
        "description": draft.description or present.description,
    }
    stored = {
        "host": present.host,
        "port": str(present.port),
        "username": present.username,
        "tags": " ".join(present.tags),
        "description": present.description,
    }
    return {name: (stored[name], value) for name, value in wanted.items() if value != stored[name]}


def _changed(draft: Draft, step: Step, login: Login) -> dict[str, Any]:
    """The change of a platform that is there. Where it may lead elsewhere, the secrets that come with the list are those
    that go there: what is stored stays behind."""
    values: dict[str, Any] = {name: new for name, (_, new) in step.changes.items()}
    if {"host", "port", "username"} & values.keys():
        typed = {"password": draft.password or login.password, "private_key": draft.private_key}
        values |= {name: secret for name, secret in typed.items() if secret}
        if draft.private_key:
            values["passphrase"] = draft.passphrase or None
    if "port" in values:
        values["port"] = draft.port
    if "tags" in values:
        values["tags"] = values["tags"].split()
    return values


def _values(draft: Draft, login: Login) -> dict[str, Any]:
    """The new platform. Raises InvalidInput where it is not known how to log in."""
    values: dict[str, Any] = {
        "name": draft.name,
        "host": draft.host,
        "port": draft.port,
        "username": draft.username or login.username,
        "tags": list(draft.tags),
        "description": draft.description,
    }
    if not values["username"]:
        raise InvalidInput("it does not say whom to log in as; name a user with the list")
    method = draft.auth_method or ("password" if draft.password else "")
    password = draft.password or login.password
    both = method == "key_and_password"
    if not password and (both or method == "password"):
        raise InvalidInput("its password is missing; give one with the list")
    if both:
        values |= {"auth_method": method, "password": password}
    else:
        values["auth_method"] = "private_key"
    if draft.private_key and method != "password":
        return values | {"private_key": draft.private_key, "passphrase": draft.passphrase or None}
    if method == "password" or (not method and login.password and not login.key_id):
        return values | {"auth_method": "password", "password": password}
    if login.key_id is not None:
        return values | {"key_id": login.key_id}
    if draft.key_files:
        raise InvalidInput(
            f"its key {draft.key_files[0]} is on your machine; choose a kept key with the list"
        )
    raise InvalidInput(
        "it has neither a password nor a key; choose a kept key with the list, or give a password"
    )
