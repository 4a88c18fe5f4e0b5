"""Saved selections: keeping, looking at what they select now, changing, deleting."""

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import Actor
from testum.core.states import StateFilter
from testum.core.targets import MAX_VALUES, Targets
from testum.core.text import check_name
from testum.db import installation
from testum.db.base import new_id, utc_now
from testum.db.paging import Page, PageRequest
from testum.db.session import Database
from testum.db.targets import Target, count_targets, missing_ids, missing_names, missing_tags, select_targets
from testum.errors import Conflict, InvalidInput, NotFound
from testum.features.selections import READ, WRITE, store
from testum.features.selections.store import Selection
from testum.services.access import Gate
from testum.services.platform_fields import check_tags

MAX_SELECTIONS = 500
"""So many can be looked through at once: the Run page offers all of them."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Gone:
    """What a selection names that is not there: the names of picked platforms that were deleted, exact names that
    are no platform's, and tags that no platform has."""

    platforms: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resolved:
    """A selection and what it selects at this moment, by name."""

    selection: Selection
    platforms: tuple[Target, ...]
    gone: Gone


@dataclass(frozen=True, slots=True)
class Glance:
    """A selection and how many platforms it selects at this moment."""

    selection: Selection
    number: int
    gone: Gone


class Selections:
    """Use cases of saved selections."""

    def __init__(self, database: Database, gate: Gate) -> None:
        self._database = database
        self._gate = gate

    async def find(
        self, actor: Actor, request: PageRequest, *, q: str | None = None, name: str | None = None
    ) -> Page[Selection]:
        """A page of the selections; `q` is looked for in names, `name` is exact."""
        await self._gate.check(actor, READ, "selection.read", "selection")
        async with self._database.read() as session:
            return await store.find(session, request, q=q, name=name)

    async def get(self, actor: Actor, selection_id: UUID) -> Resolved:
        """One selection and what it selects now. Raises NotFound."""
        await self._gate.check(actor, READ, "selection.read", "selection", selection_id)
        async with self._database.read() as session:
            selection = _found(await store.get(session, selection_id))
            if selection.picked:
                present = await store.picked(session, selection_id)
            else:
                present = await select_targets(session, selection.targets)
            return Resolved(selection, tuple(present), await _gone(session, selection))

    async def look(self, actor: Actor, selection_id: UUID) -> Glance:
        """`get` where only the number matters: ten thousand platforms are counted by the database."""
        await self._gate.check(actor, READ, "selection.read", "selection", selection_id)
        async with self._database.read() as session:
            selection = _found(await store.get(session, selection_id))
            gone = await _gone(session, selection)
            if selection.picked:
                number = selection.picked - len(gone.platforms)
            else:
                number = await count_targets(session, selection.targets)
        return Glance(selection, number, gone)

    async def targets(self, actor: Actor, selection_id: UUID) -> Targets:
        """What a job by this selection is for. Raises NotFound, or InvalidInput where something that it names is gone:
        left out without a word it would look like success."""
        now = await self.get(actor, selection_id)
        if missing := [*now.gone.platforms, *now.gone.names]:
            shown = ", ".join(missing[:_SHOWN])
            if len(missing) > _SHOWN:
                shown += f" and {len(missing) - _SHOWN} more"
            raise InvalidInput.field(
                "targets.selection_id", f"platforms of {now.selection.name} are gone: {shown}. Save it anew."
            )
        ids = tuple(platform.id for platform in now.platforms) if now.selection.picked else ()
        return replace(now.selection.targets, platform_ids=ids)

    async def add(self, actor: Actor, name: str, targets: Targets) -> Selection:
        """Keep a selection: `targets` names either platforms or what to ask of them.

        Raises InvalidInput, or Conflict for a name that is taken or one selection too many.
        """
        await self._gate.check(actor, WRITE, "selection.create", "selection", name[:200])
        selection = Selection(
            id=new_id(), name=check_name(name, "name"), created_by=actor.username, updated_by=actor.username
        )
        targets = _checked(targets)
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                if await store.count(session) >= MAX_SELECTIONS:
                    raise Conflict(
                        f"There are {MAX_SELECTIONS} saved selections already: delete one first.",
                        code="too_many",
                    )
                chosen = await _apply(session, selection, targets)
                session.add(selection)
                await session.flush()
                await store.put_picked(session, selection.id, chosen)
                self._log(session, actor, "selection.create", selection)
        except IntegrityError:
            raise _taken(selection.name) from None
        return selection

    async def change(
        self,
        actor: Actor,
        selection_id: UUID,
        *,
        name: str | None = None,
        targets: Targets | None = None,
        revision: int | None = None,
    ) -> Selection:
        """Rename a selection, or let it select something else. With `revision` only if it is still the one that was
        looked at. Raises NotFound, InvalidInput, Conflict."""
        await self._gate.check(actor, WRITE, "selection.update", "selection", selection_id)
        new_name = None if name is None else check_name(name, "name")
        wanted = None if targets is None else _checked(targets)
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                selection = _found(await store.get(session, selection_id, lock=True))
                _check_revision(selection, revision)
                before = selection.name
                if new_name is not None:
                    selection.name = new_name
                if wanted is not None:
                    chosen = await _apply(session, selection, wanted)
                    await store.put_picked(session, selection_id, chosen)
                selection.revision += 1
                selection.updated_by, selection.updated_at = actor.username, utc_now()
                self._log(session, actor, "selection.update", selection, before=before)
        except IntegrityError:
            raise _taken(new_name or "") from None
        return selection

    async def delete(self, actor: Actor, selection_id: UUID, *, revision: int | None = None) -> Selection:
        """Forget a selection; with `revision` as in `change`. Raises NotFound, Conflict."""
        await self._gate.check(actor, WRITE, "selection.delete", "selection", selection_id)
        async with self._database.write() as session:
            await installation.ensure(session)
            selection = _found(await store.get(session, selection_id, lock=True))
            _check_revision(selection, revision)
            await session.delete(selection)
            self._log(session, actor, "selection.delete", selection)
        return selection

    def _log(
        self, session: AsyncSession, actor: Actor, action: str, selection: Selection, before: str = ""
    ) -> None:
        renamed = {"before": before} if before and before != selection.name else {}
        self._gate.log(
            session,
            actor,
            action,
            "selection",
            selection.id,
            name=selection.name,
            **renamed,
            **(selection.criteria or {"platforms": selection.picked}),
        )


def _found(selection: Selection | None) -> Selection:
    if selection is None:
        raise NotFound("There is no such selection: somebody may have deleted it.")
    return selection


async def _gone(session: AsyncSession, selection: Selection) -> Gone:
    if selection.picked:
        return Gone(platforms=tuple(await store.gone(session, selection.id)))
    targets = selection.targets
    names = await missing_names(session, targets.names)
    return Gone(names=tuple(names), tags=tuple(await missing_tags(session, targets.tags)))


def _taken(name: str) -> Conflict:
    return Conflict(f"A selection named {name} is there already.", code="name_taken")


def _check_revision(selection: Selection, revision: int | None) -> None:
    if revision is not None and revision != selection.revision:
        raise Conflict(
            f"{selection.updated_by} has changed {selection.name} meanwhile. Look at it again.",
            code="changed",
        )


def _checked(targets: Targets) -> Targets:
    """The targets if they can be kept. Raises InvalidInput."""
    targets.check()
    if len(targets.platform_ids) > MAX_VALUES:
        raise InvalidInput.field("targets.platform_ids", f"at most {MAX_VALUES}.")
    if targets.platform_ids and replace(targets, platform_ids=()) != Targets():
        raise InvalidInput.field("targets.platform_ids", "stand alone: what they fit was given as well.")
    if targets.state and targets.state not in set(StateFilter):
        raise InvalidInput.field("targets.state", "is not valid.")
    return replace(
        targets,
        platform_ids=tuple(dict.fromkeys(targets.platform_ids)),
        names=tuple(dict.fromkeys(check_name(name, "targets.names") for name in targets.names)),
        tags=tuple(check_tags(list(targets.tags), "targets.tags")),
        q=check_name(targets.q, "targets.q") if targets.q else "",
    )


async def _apply(session: AsyncSession, selection: Selection, targets: Targets) -> list[Target]:
    """Let the selection ask for this; the platforms that were picked for it."""
    chosen: list[Target] = []
    if targets.platform_ids:
        if missing := await missing_ids(session, targets.platform_ids):
            raise InvalidInput.field("targets.platform_ids", f"no platform has the id {missing[0]}.")
        chosen = await select_targets(session, Targets(platform_ids=targets.platform_ids))
    selection.criteria = {} if targets.platform_ids else targets.as_json()
    selection.picked = len(chosen)
    return chosen
