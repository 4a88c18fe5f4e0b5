"""Bringing in a list of hosts: what would change is told before anything does."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from testum.core.inventory import Draft, Inventory
from testum.core.permissions import PLATFORMS_WRITE, Actor
from testum.db import platforms
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.errors import Conflict, InvalidInput, SecretWouldLeave
from testum.services.access import Gate
from testum.services.import_lists import MAX_DRAFTS
from testum.services.import_plans import Login, Plan, Step
from testum.services.import_steps import changed_fields, new_fields, step_for
from testum.services.import_ways import Names, check_ways, in_order, settled
from testum.services.keys import check_opens
from testum.services.platforms import Platforms

_BATCH = 100
"""Platforms that are added in one transaction: others who write wait for it."""


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
        inventory = settled(inventory, known)
        names = Names(inventory.drafts, known)
        steps = []
        for draft in inventory.drafts:
            steps.append(step_for(draft, known.get(draft.name), names, login))
            # Thousands of rows are looked at: others have their turn meanwhile.
            await asyncio.sleep(0)
        made: dict[str, Platform] = {}
        taken = set(known)
        leaving: set[str] = set()
        for step, draft in zip(steps, inventory.drafts, strict=True):
            try:
                if step.kind == "change":
                    await self._platforms.check_change(known[draft.name], changed_fields(draft, step, login))
                elif step.kind == "add":
                    made[step.name] = await self._make(
                        actor, new_fields(draft, login), known.get(step.via), taken
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
        check_ways(steps, known)
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

        for step in in_order(looked.plan.steps):
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
                    changed = changed_fields(drafts[step.name], step, login)
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


def _whole(refusal: InvalidInput | Conflict) -> str:
    """All that is wrong with a host, a line each."""
    fields = refusal.fields if isinstance(refusal, InvalidInput) else ()
    return "\n".join(f"{item.field}: {item.message}" for item in fields) or refusal.message
