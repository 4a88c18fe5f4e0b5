"""Platforms: adding, changing, listing, deleting."""

import asyncio
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import Actor, Permission
from testum.core.secrets import Sealer
from testum.core.shards import DEFAULT_ZONE, is_zone
from testum.core.sshkeys import check_private_key, parse_public_key
from testum.core.states import PlatformState
from testum.core.targets import MAX_VALUES, is_pattern
from testum.core.text import check_name, is_plain, login_address
from testum.db import installation, keys, paging, platforms
from testum.db.base import new_id
from testum.db.many import read_ids
from testum.db.paging import Page, PageRequest
from testum.db.platforms import HostKeyRecord, Platform, PlatformTag
from testum.db.session import Database
from testum.errors import Conflict, FieldProblem, InvalidInput, NotFound, Problems
from testum.services.access import Gate

MAX_TAGS = 50
MAX_DESCRIPTION = 4000
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?\Z")
_TAG = re.compile(r"[\w][\w.:/=@+-]{0,99}\Z")
_SECRETS = ("password", "private_key", "passphrase")
_REACH = frozenset(
    {"host", "port", "username", "auth_method", "key_id", "jump_platform_id", "known_host_key", *_SECRETS}
)
"""Fields that say how a platform is reached: a change to one makes pooled connections void."""
_NEW: Mapping[str, Any] = {
    "port": 22,
    "shell": "posix",
    "zone": DEFAULT_ZONE,
    "description": "",
    "tags": [],
}
"""What a new platform has where nothing else is given."""
_SHOWN = (
    "name",
    "host",
    "port",
    "username",
    "auth_method",
    "key_id",
    "jump_platform_id",
    "host_key_policy",
    "shell",
    "zone",
    "description",
)
_DRAFTED = _REACH | {"zone", "host_key_policy"}
"""Fields that matter to whether a platform can be reached."""


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
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.create", "platform", name[:200])
        platform = await self.make(actor, values)
        await self._keep(actor, platform)
        return platform

    async def add_made(self, actor: Actor, many: Sequence[Platform]) -> dict[UUID, InvalidInput | Conflict]:
        """Keep new platforms that `make` has made, jump hosts before those behind them: all in one transaction, but
        each for itself. Those that cannot be kept are returned, by id, with what was raised for them."""
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.create", "platform")
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
        problems = await self._apply(platform, {**_NEW, **values})
        Problems(problems + self._check_login(platform)).check()
        return platform

    async def check_change(self, platform: Platform, values: Mapping[str, Any]) -> None:
        """Whether a change could be made, as far as its values say. Raises InvalidInput, naming every bad field."""
        # Slow checks (bcrypt) need no transaction: this is a copy that is thrown away.
        Problems(await self._apply(Platform(id=platform.id, host_keys=[], tag_rows=[]), values)).check()

    async def change(
        self, actor: Actor, platform_id: UUID, values: Mapping[str, Any], *, seen: str | None = None
    ) -> Platform:
        """Change the given fields and no others. `seen` is `mark` of the platform that the change was begun on.
        Raises NotFound, InvalidInput, Conflict (`changed_meanwhile`: it is not as it was seen)."""
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.update", "platform", platform_id)
        async with self._database.read() as session:
            before = await platforms.get(session, platform_id)
        if before is None:
            raise NotFound("There is no such platform.")
        await self.check_change(before, values)
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                platform = await platforms.get(session, platform_id)
                if platform is None:
                    raise NotFound("There is no such platform.")
                if seen is not None and seen != mark(platform):
                    raise Conflict(f"{platform.name} was changed meanwhile.", code="changed_meanwhile")
                Problems(
                    await self._apply(platform, values, checked=True) + self._check_login(platform)
                ).check()
                await self.check_links(session, platform)
                if _REACH & values.keys():
                    platform.revision += 1
                    platform.state, platform.state_at = PlatformState.UNKNOWN, None
                self._gate.log(
                    session,
                    actor,
                    "platform.update",
                    "platform",
                    platform_id,
                    name=platform.name,
                    fields=sorted(values),
                )
        except IntegrityError:
            raise Conflict(
                f"A platform named {values.get('name')} is there already.", code="name_taken"
            ) from None
        return await self.get(actor, platform_id)

    async def get(self, actor: Actor, platform_id: UUID) -> Platform:
        """One platform. Raises NotFound."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform", platform_id)
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
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        statement = select(Platform).where(*platforms.conditions(q, tag, state))
        if name is not None:
            statement = statement.where(Platform.name == name)
        if brief:
            statement = statement.options(*platforms.BRIEF)
        async with self._database.read() as session:
            return await paging.fetch(
                session,
                statement,
                request,
                sorts={
                    "name": Platform.name,
                    "host": Platform.host,
                    "created_at": Platform.created_at,
                    "state": Platform.state,
                },
                key=Platform.id,
                default_sort="name",
            )

    async def matching(
        self, actor: Actor, *, q: str | None = None, tag: str | None = None, state: str | None = None
    ) -> list[str]:
        """The ids, as 32 hexadecimal digits, of all platforms that a filter lets through, by name. Raises InvalidInput
        for more than a job may have."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        statement = select(Platform.id).where(*platforms.conditions(q, tag, state)).order_by(Platform.name)
        async with self._database.read() as session:
            found = await read_ids(session, statement.limit(MAX_VALUES + 1))
        if len(found) > MAX_VALUES:
            raise InvalidInput(
                f"More than {MAX_VALUES} platforms match: so many at once are too many. Narrow the filter."
            )
        return found

    async def named(self, actor: Actor, platform_ids: Sequence[UUID]) -> dict[UUID, Platform]:
        """Those of the platforms that there are; their tags are not loaded."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.by_ids(session, platform_ids)

    async def missing(self, actor: Actor, platform_ids: Sequence[UUID]) -> set[UUID]:
        """Those of the ids that are no platform's."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return set(await platforms.missing_ids(session, platform_ids))

    async def jumps(self, actor: Actor, *, limit: int = 100) -> list[str]:
        """The names of platforms that others are reached through."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.jump_names(session, limit)

    async def overview(self, actor: Actor) -> dict[str, int]:
        """How many platforms are in each state that any is in."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.count_by_state(session)

    async def tags(self, actor: Actor, *, limit: int = 500) -> list[tuple[str, int]]:
        """The tags in use, with how many platforms have each, by name."""
        await self._gate.check(actor, Permission.PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.tags_in_use(session, limit)

    async def tag(
        self, actor: Actor, platform_ids: Sequence[UUID], *, add: Sequence[str], remove: Sequence[str]
    ) -> int:
        """Give tags to platforms, or take them away; of how many there were. Raises InvalidInput."""
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.tag", "platform")
        added, removed = check_tags(list(add)), check_tags(list(remove))
        if not added and not removed:
            raise InvalidInput.field("tags", "must not be empty.")
        async with self._database.write() as session:
            present = await platforms.change_tags(session, platform_ids, add=added, remove=removed)
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
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.delete", "platform")
        async with self._database.write() as session:
            await installation.ensure(session)
            gone, kept = await platforms.delete_many(session, platform_ids)
            for platform_id, name in gone:
                self._gate.log(session, actor, "platform.delete", "platform", platform_id, name=name)
        return len(gone), kept

    async def delete(self, actor: Actor, platform_id: UUID) -> Platform:
        """Forget a platform; its history stays. Raises NotFound, or Conflict while others jump through it."""
        await self._gate.check(actor, Permission.PLATFORMS_WRITE, "platform.delete", "platform", platform_id)
        async with self._database.write() as session:
            await installation.ensure(session)
            platform = await platforms.get(session, platform_id)
            if platform is None:
                raise NotFound("There is no such platform.")
            behind = await platforms.users_of_jump(session, platform_id)
            if behind:
                raise Conflict(f"Platforms are reached through this one: {', '.join(behind)}.", code="in_use")
            await session.delete(platform)
            self._gate.log(session, actor, "platform.delete", "platform", platform_id, name=platform.name)
        return platform

    async def draft(self, values: Mapping[str, Any], stored: Platform | None) -> Platform:
        """A platform that is not stored, as far as it matters for reaching it: the given fields, the others as `stored`
        has them, or as a new one would. Raises InvalidInput, naming every bad field."""
        platform = _copy(stored) if stored is not None else _nothing_yet()
        drafted = {field: value for field, value in values.items() if field in _DRAFTED}
        problems = await self._apply(platform, drafted)
        named = {problem.field for problem in problems}
        problems += [
            FieldProblem(field, "is needed.")
            for field in ("host", "username", "auth_method")
            if getattr(platform, field) is None and field not in named
        ]
        Problems(problems + self._check_login(platform)).check()
        return platform

    async def _apply(
        self, platform: Platform, values: Mapping[str, Any], *, checked: bool = False
    ) -> list[FieldProblem]:
        """Set the given fields; what is wrong with them is returned. `checked`: keys need no second look."""
        problems = Problems()
        for field, value in values.items():
            with problems.noted():
                if field == "private_key" and value and not checked:
                    await asyncio.to_thread(check_private_key, value, values.get("passphrase") or None)
                self._set(platform, field, value)
        return problems.found

    def _set(self, platform: Platform, field: str, value: Any) -> None:
        match field:
            case "name":
                platform.name = _check_name(value)
            case "host":
                platform.host = _check_host(value)
            case "port":
                if not 1 <= value <= 65535:
                    raise InvalidInput.field("port", "must be from 1 to 65535.")
                platform.port = value
            case "username":
                platform.username = check_name(value, "username", longest=150)
            case "auth_method" | "host_key_policy" | "shell" | "key_id" | "jump_platform_id":
                setattr(platform, field, value)
            case "password" | "private_key" | "passphrase":
                if value and "\0" in value:
                    raise InvalidInput.field(field, "must not contain a NUL character.")
                sealed = self._sealer.seal(platform.id, value) if value else None
                setattr(platform, f"encrypted_{field}", sealed)
            case "zone":
                if not is_zone(value):
                    raise InvalidInput.field(
                        "zone", "is up to 63 of a-z, 0-9 and . _ -, with a letter or digit at both ends."
                    )
                platform.zone = value
            case "description":
                if len(value) > MAX_DESCRIPTION or "\0" in value:
                    raise InvalidInput.field(
                        "description", f"takes at most {MAX_DESCRIPTION} characters, no NUL."
                    )
                platform.description = value
            case "tags":
                kept = {row.tag: row for row in platform.tag_rows}
                platform.tag_rows = [kept.get(tag) or PlatformTag(tag=tag) for tag in check_tags(value)]
            case "known_host_key":
                _trust(platform, value)

    @staticmethod
    def _check_login(platform: Platform) -> list[FieldProblem]:
        if platform.auth_method is None:
            return []
        problems = []
        if platform.by_password and not platform.encrypted_password:
            problems.append(FieldProblem("password", "is needed to log in by password."))
        if platform.by_key:
            if platform.encrypted_private_key and platform.key_id:
                problems.append(FieldProblem("key_id", "give either key_id or private_key."))
            if not (platform.encrypted_private_key or platform.key_id):
                problems.append(FieldProblem("private_key", "is needed (or key_id) to log in by key."))
        return problems

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


def mark(platform: Platform) -> str:
    """A short text that is another one after every change that people make to a platform, its secrets included."""
    secrets = (platform.encrypted_password, platform.encrypted_private_key, platform.encrypted_passphrase)
    shown = (
        *(getattr(platform, field) for field in _SHOWN),
        platform.tags,
        [record.public_key for record in platform.host_keys],
    )
    return "-".join(hashlib.sha256(repr(part).encode()).hexdigest()[:16] for part in (shown, secrets))


def _nothing_yet() -> Platform:
    return Platform(id=new_id(), port=_NEW["port"], zone=_NEW["zone"], host_keys=[], tag_rows=[])


def _copy(stored: Platform) -> Platform:
    """How a platform is reached, in a row of no session. Its id is the same, for which its secrets are sealed."""
    fields = ("id", "host", "port", "username", "auth_method", "key_id", "jump_platform_id", "zone")
    sealed = ("encrypted_password", "encrypted_private_key", "encrypted_passphrase")
    return Platform(
        **{field: getattr(stored, field) for field in (*fields, *sealed, "name", "host_key_policy")},
        tag_rows=[],
        host_keys=[
            HostKeyRecord(
                fingerprint=record.fingerprint, algorithm=record.algorithm, public_key=record.public_key
            )
            for record in stored.host_keys
        ],
    )


def _check_host(value: str) -> str:
    host = value.strip()
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    # A link-local address may have its interface behind it (RFC 4007).
    address, percent, zone = host.partition("%")
    try:
        plain = str(ipaddress.IPv6Address(address) if percent else ipaddress.ip_address(host))
    except ValueError:
        plain = ""
    if plain and (not percent or (zone.isalnum() and zone.isascii())):
        return plain + percent + zone
    try:
        ascii_name = host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        ascii_name = ""
    if len(ascii_name) > 253 or not _HOST_NAME.match(ascii_name) or ".." in ascii_name:
        raise InvalidInput.field("host", "must be a host name or an IP address.")
    return ascii_name


def _check_name(name: str) -> str:
    plain = check_name(name, "name")
    if is_pattern(plain) or "]" in plain or "," in plain:
        raise InvalidInput.field(
            "name", "must not contain * ? [ ] or a comma: they select platforms by name."
        )
    return plain


def check_tags(tags: list[str], field: str = "tags") -> list[str]:
    """The tags, in order and each once. Raises InvalidInput."""
    unique = list(dict.fromkeys(tag.strip() for tag in tags))
    if len(unique) > MAX_TAGS:
        raise InvalidInput.field(field, f"at most {MAX_TAGS}.")
    for tag in unique:
        if not _TAG.match(tag) or not is_plain(tag):
            raise InvalidInput.field(
                field, "a tag is up to 100 letters, digits and . : / = @ + - _, first a letter or digit."
            )
    return sorted(unique)


def _trust(platform: Platform, line: str | None) -> None:
    """Trust this host key and no other, or, with None, whatever the next first connection shows."""
    if line is None:
        platform.host_keys = []
        platform.known_host_fingerprint = None
        return
    key = parse_public_key(line, "known_host_key")
    kept = [record for record in platform.host_keys if record.fingerprint == key.fingerprint]
    platform.host_keys = kept or [
        HostKeyRecord(fingerprint=key.fingerprint, algorithm=key.algorithm, public_key=key.identity)
    ]
    platform.known_host_fingerprint = key.fingerprint
