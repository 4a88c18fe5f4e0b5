"""Platforms: adding, changing, listing, deleting."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import PLATFORMS_READ, PLATFORMS_WRITE, Actor
from testum.core.secrets import Sealer
from testum.core.states import PlatformState
from testum.core.targets import MAX_VALUES
from testum.core.text import login_address
from testum.db import installation, jump_hosts, keys, platform_states, platform_tags, platforms, targets
from testum.db.base import new_id
from testum.db.paging import Page, PageRequest
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.errors import Conflict, FieldProblem, InvalidInput, NotFound, Problems, SecretWouldLeave
from testum.services.access import Gate
from testum.services.platform_fields import (
    DRAFTED,
    FOR_A_HOST,
    NEW,
    REACH,
    RETYPE,
    check_tags,
    copy_of,
    differences,
    is_used,
    leads_elsewhere,
    login_problems,
    mark,
    nothing_yet,
    set_fields,
    told,
    unprotected,
)


class Platforms:
    """Use cases of platforms."""

    def __init__(self, database: Database, gate: Gate, sealer: Sealer) -> None:
        self._database = database
        self._gate = gate
        self._sealer = sealer

    async def add(self, actor: Actor, values: Mapping[str, Any]) -> Platform:
        """Keep a new platform. `values` has the fields of SPEC's `POST /api/platforms/`.

        Raises InvalidInput, naming every bad field, or Conflict for a name that is taken.
        """
        name = str(values.get("name", ""))
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.create", "platform", name[:200])
        platform = await self.make(actor, values)
        await self._keep(actor, platform)
        return platform

    async def add_made(self, actor: Actor, many: Sequence[Platform]) -> dict[UUID, InvalidInput | Conflict]:
        """Keep new platforms that `make` has made, jump hosts before those behind them: all in one transaction, but
        each for itself. Those that cannot be kept are returned, by id, with what was raised for them."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.create", "platform")
        refused: dict[UUID, InvalidInput | Conflict] = {}
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                for platform in many:
                    try:
                        await self._insert(session, actor, platform)
                    except InvalidInput as refusal:
                        refused[platform.id] = refusal
        except IntegrityError:
            # Somebody has taken a name meanwhile. One by one it is seen which.
            refused = {}
            for platform in many:
                try:
                    await self._keep(actor, platform)
                except (InvalidInput, Conflict) as refusal:
                    refused[platform.id] = refusal
        return refused

    async def _keep(self, actor: Actor, platform: Platform) -> None:
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                await self._insert(session, actor, platform)
        except IntegrityError:
            raise Conflict(f"A platform named {platform.name} is there already.", code="name_taken") from None

    async def _insert(self, session: AsyncSession, actor: Actor, platform: Platform) -> None:
        if platform.jump_platform_id is not None:
            # It may be one of those before, which the database does not know yet.
            await session.flush()
        await self.check_links(session, platform)
        session.add(platform)
        self._gate.log(
            session,
            actor,
            "platform.create",
            "platform",
            platform.id,
            name=platform.name,
            address=login_address(platform.username, platform.host, platform.port),
        )

    async def make(self, actor: Actor, values: Mapping[str, Any]) -> Platform:
        """A new platform as it would be kept; it is not. Raises InvalidInput, naming every bad field."""
        platform = Platform(id=new_id(), created_by=actor.username, host_keys=[], tag_rows=[])
        problems = await set_fields(self._sealer, platform, {**NEW, **values})
        Problems(problems + login_problems(platform)).check()
        return platform

    async def check_change(self, platform: Platform, values: Mapping[str, Any]) -> None:
        """Whether a change could be made, as far as its values say. Raises InvalidInput, naming every bad field, and
        SecretWouldLeave."""
        # Slow checks (bcrypt) need no transaction: this is a copy that is thrown away.
        changed = copy_of(platform)
        Problems(await set_fields(self._sealer, changed, values)).check()
        if exposed := self._exposed(platform, changed):
            raise SecretWouldLeave.of(exposed)

    def _exposed(self, before: Platform, after: Platform) -> list[FieldProblem]:
        """The stored secrets that would go where they were not stored for."""
        fields = unprotected(before, after)
        return [FieldProblem(field, RETYPE) for field in fields if is_used(after, field)]

    async def change(
        self, actor: Actor, platform_id: UUID, values: Mapping[str, Any], *, seen: str | None = None
    ) -> Platform:
        """Change the given fields and no others. `seen` is `mark` of the platform that the change was begun on.
        Raises NotFound, InvalidInput, Conflict (`changed_meanwhile`: it is not as it was seen)."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.update", "platform", platform_id)
        async with self._database.read() as session:
            before = await platforms.get(session, platform_id)
        if before is None:
            raise NotFound("There is no such platform.")
        # Slow checks (bcrypt) need no transaction.
        Problems(await set_fields(self._sealer, copy_of(before), values)).check()
        leaving: dict[str, Any] = {}
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                platform = await jump_hosts.get_locked(session, platform_id)
                if platform is None:
                    raise NotFound("There is no such platform.")
                # A secret that is typed, and a key that is trusted, are for the host that was there then.
                elsewhere = FOR_A_HOST & values.keys() and platform.revision != before.revision
                if elsewhere or (seen is not None and seen != mark(platform)):
                    raise Conflict(f"{platform.name} was changed meanwhile.", code="changed_meanwhile")
                before, had = copy_of(platform), told(platform)
                problems = await set_fields(self._sealer, platform, values, checked=True)
                Problems(problems + login_problems(platform)).check()
                leaving = differences(had, told(platform))
                await self.check_links(session, platform)
                await self._protect(session, before, platform)
                if DRAFTED & values.keys():
                    platform.revision += 1
                if leads_elsewhere(before, platform):
                    await jump_hosts.void_behind(session, platform_id)
                if REACH & values.keys():
                    platform.state, platform.state_at = PlatformState.UNKNOWN, None
                self._gate.log(
                    session,
                    actor,
                    "platform.update",
                    "platform",
                    platform_id,
                    name=platform.name,
                    fields=sorted(values),
                    changes=differences(had, told(platform)),
                )
        except SecretWouldLeave:
            await self._gate.refused(
                actor,
                "platform.update",
                "platform",
                platform_id,
                reason="secret_would_leave",
                name=before.name,
                changes=leaving,
            )
            raise
        except IntegrityError:
            raise Conflict(
                f"A platform named {values.get('name')} is there already.", code="name_taken"
            ) from None
        return await self.get(actor, platform_id)

    async def _protect(self, session: AsyncSession, before: Platform, after: Platform) -> None:
        """A change takes away the stored secrets that are not used and may go to a stranger with a later one. Raises
        SecretWouldLeave where those that are used may, or those of platforms that are reached through this one."""
        if exposed := self._exposed(before, after):
            raise SecretWouldLeave.of(exposed)
        for field in unprotected(before, after):
            setattr(after, f"encrypted_{field}", None)
            if field == "private_key":
                after.encrypted_passphrase = None
        # Its own key says nothing of those behind it: their secrets may have been typed since that was named.
        if leads_elsewhere(before, after):
            with session.no_autoflush:
                behind = await jump_hosts.exposed_behind(session, after.id)
            if behind:
                raise SecretWouldLeave.field(
                    "host",
                    f"{', '.join(behind)}: reached through it, with a stored secret and no trusted host key yet. Test their "
                    "connections first.",
                )

    async def get(self, actor: Actor, platform_id: UUID) -> Platform:
        """One platform. Raises NotFound."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform", platform_id)
        async with self._database.read() as session:
            platform = await platforms.get(session, platform_id)
        if platform is None:
            raise NotFound("There is no such platform.")
        return platform

    async def find(
        self,
        actor: Actor,
        request: PageRequest,
        *,
        q: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        state: str | None = None,
        brief: bool = False,
    ) -> Page[Platform]:
        """A page of the platforms. `q` is looked for in name, host and description, or with `*` and `?` is a pattern
        for name or host; `name` is exact. `brief` ones have their id, name and state, and nothing else."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await targets.find(session, request, q=q, name=name, tag=tag, state=state, brief=brief)

    async def matching(
        self, actor: Actor, *, q: str | None = None, tag: str | None = None, state: str | None = None
    ) -> list[str]:
        """The ids, as 32 hexadecimal digits, of all platforms that a filter lets through, by name. Raises InvalidInput
        for more than a job may have."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            found = await targets.matching(session, q, tag, state, limit=MAX_VALUES + 1)
        if len(found) > MAX_VALUES:
            raise InvalidInput(
                f"More than {MAX_VALUES} platforms match: so many at once are too many. Narrow the filter."
            )
        return found

    async def named(self, actor: Actor, platform_ids: Sequence[UUID]) -> dict[UUID, Platform]:
        """Those of the platforms that there are; their tags are not loaded."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.by_ids(session, platform_ids)

    async def missing(self, actor: Actor, platform_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the ids that are no platform's."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return set(await targets.missing_ids(session, platform_ids))

    async def jumps(self, actor: Actor, *, limit: int = 100) -> list[str]:
        """The names of platforms that others are reached through."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await jump_hosts.names(session, limit)

    async def overview(self, actor: Actor) -> dict[str, int]:
        """How many platforms are in each state that any is in."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platform_states.count_by_state(session)

    async def tags(self, actor: Actor, *, limit: int = 500) -> list[tuple[str, int]]:
        """The tags in use, with how many platforms have each, by name."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platform_tags.in_use(session, limit)

    async def tag(
        self, actor: Actor, platform_ids: Sequence[UUID], *, add: Sequence[str], remove: Sequence[str]
    ) -> int:
        """Give tags to platforms, or take them away; of how many there were. Raises InvalidInput."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.tag", "platform")
        added, removed = check_tags(list(add)), check_tags(list(remove))
        if not added and not removed:
            raise InvalidInput.field("tags", "must not be empty.")
        async with self._database.write() as session:
            present = await platform_tags.change(session, platform_ids, add=added, remove=removed)
            self._gate.log(
                session,
                actor,
                "platform.tag",
                "platform",
                platforms=len(present),
                added=added,
                removed=removed,
            )
        return len(present)

    async def delete_many(self, actor: Actor, platform_ids: Sequence[UUID]) -> tuple[int, list[str]]:
        """Forget platforms; how many were forgotten, and the names of those that stay because others are reached
        through them."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.delete", "platform")
        async with self._database.write() as session:
            await installation.ensure(session)
            gone, kept = await platforms.delete_many(session, platform_ids)
            for platform_id, name in gone:
                self._gate.log(session, actor, "platform.delete", "platform", platform_id, name=name)
        return len(gone), kept

    async def delete(self, actor: Actor, platform_id: UUID) -> Platform:
        """Forget a platform; its history stays. Raises NotFound, or Conflict while others jump through it."""
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.delete", "platform", platform_id)
        async with self._database.write() as session:
            await installation.ensure(session)
            platform = await platforms.get(session, platform_id)
            if platform is None:
                raise NotFound("There is no such platform.")
            behind = await jump_hosts.users(session, platform_id)
            if behind:
                raise Conflict(f"Platforms are reached through this one: {', '.join(behind)}.", code="in_use")
            await session.delete(platform)
            self._gate.log(session, actor, "platform.delete", "platform", platform_id, name=platform.name)
        return platform

    async def draft(self, values: Mapping[str, Any], stored: Platform | None) -> Platform:
        """A platform that is not stored, as far as it matters for reaching it: the given fields, the others as `stored`
        has them, or as a new one would. Raises InvalidInput, naming every bad field."""
        platform = copy_of(stored) if stored is not None else nothing_yet()
        drafted = {field: value for field, value in values.items() if field in DRAFTED}
        problems = await set_fields(self._sealer, platform, drafted)
        named = {problem.field for problem in problems}
        problems += [
            FieldProblem(field, "is needed.")
            for field in ("host", "username", "auth_method")
            if getattr(platform, field) is None and field not in named
        ]
        Problems(problems + login_problems(platform)).check()
        return platform

    @staticmethod
    async def check_links(session: AsyncSession, platform: Platform) -> None:
        """Raise InvalidInput where the platform's key or jump host cannot be used."""
        if platform.key_id is not None:
            # Not yet flushed: the foreign key's own error would say less.
            with session.no_autoflush:
                key = await keys.get(session, platform.key_id)
            if key is None:
                raise InvalidInput.field("key_id", "there is no such key.")
            if key.encrypted_private_key is None:
                raise InvalidInput.field("key_id", f"the private half of {key.name} is not stored.")
        following = platform.jump_platform_id
        seen = {platform.id}
        while following is not None:
            if following in seen:
                raise InvalidInput.field("jump_platform_id", "the jump hosts would form a loop.")
            seen.add(following)
            with session.no_autoflush:
                jump = await platforms.get(session, following)
            if jump is None:
                raise InvalidInput.field("jump_platform_id", "there is no such platform.")
            following = jump.jump_platform_id
