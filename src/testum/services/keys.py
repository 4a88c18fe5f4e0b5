"""SSH keys: adding, listing, deleting."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from testum.core.permissions import KEYS_READ, KEYS_WRITE, PLATFORMS_READ, Actor
from testum.core.secrets import Sealer
from testum.core.sshkeys import PublicKey, check_private_key, parse_public_key
from testum.core.text import check_name
from testum.db import installation, keys, platforms
from testum.db.base import new_id
from testum.db.keys import KeyName, SSHKey
from testum.db.paging import Page, PageRequest
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.errors import Conflict, InvalidInput, NotFound, Problems
from testum.services.access import Gate


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to keep. With its private half, platforms can log in with it."""

    name: str
    public_key: str
    private_key: str | None = None
    passphrase: str | None = None


async def check_opens(private_key: str | None, passphrase: str | None) -> None:
    """Raise InvalidInput for a private key that cannot be opened with what is given. The API takes one without its
    passphrase, which may follow; a person would learn of it from the first job that fails."""
    if not private_key or passphrase:
        return
    if await asyncio.to_thread(check_private_key, private_key, None) is None:
        raise InvalidInput.field("private_key", "is protected by a passphrase: type it, too.")


async def _check(new: NewKey) -> tuple[str, PublicKey]:
    """Its name and public half. Raises InvalidInput, naming every bad field."""
    problems = Problems()
    half = None
    with problems.noted():
        name = check_name(new.name, "name")
    with problems.noted():
        if new.private_key is not None:
            half = await asyncio.to_thread(check_private_key, new.private_key, new.passphrase)
        elif new.passphrase is not None:
            raise InvalidInput.field("passphrase", "goes with a private key, and none was given.")
    with problems.noted():
        public = parse_public_key(new.public_key)
        if half is not None and half != public.identity:
            raise InvalidInput.field("private_key", "belongs to another public key.")
    problems.check()
    return name, public


class Keys:
    """Use cases of SSH keys."""

    def __init__(self, database: Database, gate: Gate, sealer: Sealer) -> None:
        self._database = database
        self._gate = gate
        self._sealer = sealer

    async def add(self, actor: Actor, new: NewKey) -> SSHKey:
        """Keep a key. Raises InvalidInput, Conflict (the name, or the very key, is there already)."""
        await self._gate.check(actor, KEYS_WRITE, "key.create", "key", new.name)
        name, public = await _check(new)
        key_id = new_id()
        key = SSHKey(
            id=key_id,
            name=name,
            public_key=public.line,
            fingerprint=public.fingerprint,
            algorithm=public.algorithm,
            encrypted_private_key=self._seal(key_id, "private_key", new.private_key),
            encrypted_passphrase=self._seal(key_id, "passphrase", new.passphrase),
            created_by=actor.username,
        )
        try:
            async with self._database.write() as session:
                await installation.ensure(session)
                twin = await keys.name_of(session, public.fingerprint)
                if twin is not None:
                    raise Conflict(f"This key is there already, as {twin}.", code="key_exists")
                session.add(key)
                self._gate.log(
                    session, actor, "key.create", "key", key_id, name=name, fingerprint=public.fingerprint
                )
        except IntegrityError:
            raise Conflict(f"A key named {name} is there already.", code="name_taken") from None
        return key

    def _seal(self, key_id: UUID, field: str, secret: str | None) -> str | None:
        return self._sealer.seal(key_id, field, secret) if secret else None

    async def get(self, actor: Actor, key_id: UUID) -> SSHKey:
        """One key. Raises NotFound."""
        await self._gate.check(actor, KEYS_READ, "key.read", "key", key_id)
        async with self._database.read() as session:
            key = await keys.get(session, key_id)
        if key is None:
            raise NotFound("There is no such key.")
        return key

    async def users(self, actor: Actor, key_id: UUID, limit: int) -> list[Platform]:
        """The first platforms by name that log in with this key; of each its id, name and state."""
        await self._gate.check(actor, PLATFORMS_READ, "platform.read", "platform")
        async with self._database.read() as session:
            return await platforms.users_of_key(session, key_id, limit)

    async def names(self, actor: Actor, key_ids: Sequence[UUID] | None = None) -> list[KeyName]:
        """Those of the keys that there are, or all, by name."""
        await self._gate.check(actor, KEYS_READ, "key.read", "key")
        async with self._database.read() as session:
            return await keys.names(session, key_ids)

    async def find(
        self, actor: Actor, request: PageRequest, *, q: str | None = None, name: str | None = None
    ) -> Page[SSHKey]:
        """A page of the keys; `q` is looked for in names and fingerprints, `name` is exact."""
        await self._gate.check(actor, KEYS_READ, "key.read", "key")
        async with self._database.read() as session:
            return await keys.find(session, request, q=q, name=name)

    async def delete(self, actor: Actor, key_id: UUID) -> SSHKey:
        """Forget a key. Raises NotFound, or Conflict while platforms log in with it."""
        await self._gate.check(actor, KEYS_WRITE, "key.delete", "key", key_id)
        async with self._database.write() as session:
            await installation.ensure(session)
            key = await keys.get(session, key_id)
            if key is None:
                raise NotFound("There is no such key.")
            if users := await platforms.users_of_key(session, key_id, 5):
                names = ", ".join(platform.name for platform in users)
                raise Conflict(f"Platforms log in with this key: {names}.", code="in_use")
            await session.delete(key)
            self._gate.log(session, actor, "key.delete", "key", key_id, name=key.name)
        return key
