"""From a platform's row to an endpoint of the SSH engine. The only place where secrets are opened."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.secrets import Opener
from testum.core.sshkeys import parse_public_key
from testum.db import contacts, host_keys, keys, platforms
from testum.db.audit import AuditLog
from testum.db.base import utc_now
from testum.db.batcher import Batcher
from testum.db.contacts import Contact
from testum.db.keys import SealedKey
from testum.db.platforms import Platform, by_key, by_password
from testum.db.session import Database
from testum.errors import NotFound, TestumError
from testum.execution.persist import persist
from testum.ssh import Endpoint, HostKey, HostKeyChanged, KeyAuth, PasswordAuth

log = structlog.get_logger(__name__)

Policy = Literal["auto_add", "strict"]


@dataclass(frozen=True, slots=True)
class _Seen:
    platform_id: UUID
    revision: int
    name: str
    key: HostKey


class TrustOnFirstUse:
    """Keeps the host keys of first connections, those of many at once in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[_Seen, str | None] = Batcher(self._write, gather=0.02)

    async def keep(self, seen: _Seen) -> str | None:
        """Trust the key, unless another connection kept a different one a moment ago: the public key that
        the platform is now trusted by, or None where it was deleted, or led elsewhere, meanwhile."""
        return await persist("a host key", lambda: self._batcher.ask(seen))

    async def _write(self, requests: Sequence[_Seen]) -> Sequence[str | None]:
        async with self._database.write() as session:
            trusted = await host_keys.trust_first_use(
                session,
                [
                    (
                        seen.platform_id,
                        seen.revision,
                        seen.key.algorithm,
                        seen.key.public_key,
                        seen.key.fingerprint,
                    )
                    for seen in requests
                ],
            )
            session.add_all(
                AuditLog(
                    user="testum",
                    action="host_key.trust",
                    object_type="platform",
                    object_id=str(seen.platform_id),
                    meta={"name": seen.name, "fingerprint": seen.key.fingerprint, "first_use": True},
                )
                for seen, public_key in zip(requests, trusted, strict=True)
                if public_key == seen.key.public_key
            )
        return trusted


@dataclass(frozen=True, slots=True)
class _Changed:
    seen: _Seen
    trusted: Sequence[str]


class HostKeyAlarms:
    """Tells of hosts that showed another key than they are trusted by: an entry in the audit log each,
    those of many at once in one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batcher: Batcher[_Changed, None] = Batcher(self._write, gather=0.01)

    async def tell(self, changed: _Changed) -> None:
        """Write it down. That the host is refused must not hang on this: it raises nothing."""
        seen = changed.seen
        log.warning("a host key has changed", platform=seen.name, shown=seen.key.fingerprint)
        try:
            await persist("an alarm", lambda: self._batcher.ask(changed))
        except Exception:
            log.exception("the alarm of a changed host key was not stored", platform=seen.name)

    async def _write(self, requests: Sequence[_Changed]) -> Sequence[None]:
        async with self._database.write() as session:
            session.add_all(
                AuditLog(
                    user="testum",
                    action="host_key.changed",
                    object_type="platform",
                    object_id=str(changed.seen.platform_id),
                    outcome="refused",
                    meta={
                        "name": changed.seen.name,
                        "revision": changed.seen.revision,
                        "stored": list(changed.trusted),
                        "presented": changed.seen.key.fingerprint,
                        "presented_key": changed.seen.key.public_key,
                    },
                )
                for changed in requests
            )
        return [None] * len(requests)


class StoredTrust:
    """A platform's trusted host keys, as the SSH engine asks for them (see ssh.HostTrust)."""

    def __init__(
        self, first_use: TrustOnFirstUse, alarms: HostKeyAlarms, platform: Platform | Contact, policy: Policy
    ) -> None:
        self._first_use = first_use
        self._alarms = alarms
        self._platform_id = platform.id
        self._revision = platform.revision
        self._name = platform.name
        self.policy: Policy = policy
        self._known = [
            HostKey(record.algorithm, record.public_key, record.fingerprint) for record in platform.host_keys
        ]

    @property
    def known(self) -> Sequence[HostKey]:
        """The full keys this host is trusted by."""
        return self._known

    async def record(self, key: HostKey) -> None:
        """Trust on first use; another key than another connection saw a moment ago is a changed one."""
        seen = _Seen(self._platform_id, self._revision, self._name, key)
        trusted = await self._first_use.keep(seen)
        if trusted is not None and trusted != key.public_key:
            await self._alarms.tell(_Changed(seen, [parse_public_key(trusted).fingerprint]))
            raise HostKeyChanged(
                f"{self._name}: the host showed another key than it did a moment ago. "
                "Check that nobody stands between.",
                host_key=key,
            )
        self._known.append(key)

    async def alarm(self, key: HostKey) -> None:
        """Leave an entry in the audit log, with what is trusted and what was shown."""
        stored = [known.fingerprint for known in self._known]
        await self._alarms.tell(_Changed(_Seen(self._platform_id, self._revision, self._name, key), stored))


class DraftTrust:
    """The host keys that a draft says are trusted: nothing that a host shows is kept, and there is no platform that an
    alarm would be about."""

    def __init__(self, known: Sequence[HostKey], policy: Policy) -> None:
        self.policy: Policy = policy
        self._known = known

    @property
    def known(self) -> Sequence[HostKey]:
        """The keys that the draft names."""
        return self._known

    async def record(self, key: HostKey) -> None:
        """See ssh.HostTrust. Whoever saves the draft decides about its key."""

    async def alarm(self, key: HostKey) -> None:
        """See ssh.HostTrust. Whoever tries the draft is told."""


class Endpoints:
    """Builds endpoints. They hold secrets in clear: keep them no longer than a task needs."""

    def __init__(self, database: Database, opener: Opener, default_policy: Policy) -> None:
        self._database = database
        self._first_use = TrustOnFirstUse(database)
        self._alarms = HostKeyAlarms(database)
        self._opener = opener
        self._default_policy = default_policy

    async def check_key(self) -> None:
        """Raise ConfigurationError where what is stored was sealed with another key: better at the start
        than at the first task. The newest secrets stand for all."""
        async with self._database.read() as session:
            found = [await platforms.newest_secret(session), await keys.newest_secret(session)]
        for secret in found:
            if secret is not None:
                self._opener.open(*secret)

    async def of_rows(
        self, session: AsyncSession, rows: Iterable[Platform | Contact]
    ) -> dict[UUID, Endpoint | TestumError]:
        """The platforms' endpoints, or why one cannot be made (a secret that no key opens)."""
        chains = [[platform, *await contacts.jump_chain(session, platform)] for platform in rows]
        key_ids = {hop.key_id for chain in chains for hop in chain if hop.key_id is not None}
        kept = await keys.sealed(session, list(key_ids)) if key_ids else {}
        # Many platforms share a key: it is opened once.
        opened: dict[UUID, KeyAuth] = {}
        made: dict[UUID, Endpoint | TestumError] = {}
        for chain in chains:
            try:
                made[chain[0].id] = self._endpoint(chain, kept, opened)
            except TestumError as error:
                made[chain[0].id] = error
        return made

    async def of_draft(self, session: AsyncSession, platform: Platform) -> Endpoint:
        """The endpoint of a platform that is not stored: connecting to it records nothing about it. Raises
        TestumError where it cannot be made."""
        made = (await self.of_rows(session, [platform]))[platform.id]
        if isinstance(made, TestumError):
            raise made
        return replace(made, id=f"draft:{platform.id}", trust=DraftTrust(made.trust.known, made.trust.policy))

    def _endpoint(
        self, chain: Sequence[Platform | Contact], kept: Mapping[UUID, SealedKey], opened: dict[UUID, KeyAuth]
    ) -> Endpoint:
        platform = chain[0]
        jump = self._endpoint(chain[1:], kept, opened) if len(chain) > 1 else None
        return Endpoint(
            # A changed platform is another endpoint: no connection made before the change serves it.
            id=f"{platform.id}:{platform.revision}" + (f">{jump.id}" if jump else ""),
            host=platform.host,
            port=platform.port,
            username=platform.username,
            auth=self._auth(platform, kept, opened),
            trust=StoredTrust(self._first_use, self._alarms, platform, self._policy(platform)),
            jump=jump,
            old_algorithms=tuple(platform.old_algorithms.split()),
        )

    def _policy(self, platform: Platform | Contact) -> Policy:
        if platform.host_key_policy == "strict" or self._default_policy == "strict":
            return "strict"
        return "auto_add"

    def _auth(
        self, platform: Platform | Contact, kept: Mapping[UUID, SealedKey], opened: dict[UUID, KeyAuth]
    ) -> PasswordAuth | KeyAuth:
        password = self._open(platform, "password") if by_password(platform.auth_method) else None
        if not by_key(platform.auth_method):
            return PasswordAuth(password or "")
        return replace(self._key(platform, kept, opened), password=password)

    def _key(
        self, platform: Platform | Contact, kept: Mapping[UUID, SealedKey], opened: dict[UUID, KeyAuth]
    ) -> KeyAuth:
        if platform.key_id is None:
            return KeyAuth(
                self._open(platform, "private_key") or "",
                self._open(platform, "passphrase"),
            )
        if platform.key_id not in opened:
            key = kept.get(platform.key_id)
            if key is None:
                # Of a stored platform it cannot be deleted.
                raise NotFound("There is no such key.")
            opened[key.id] = KeyAuth(
                self._open(key, "private_key") or "",
                self._open(key, "passphrase"),
            )
        return opened[platform.key_id]

    def _open(self, owner: Platform | Contact | SealedKey, field: str) -> str | None:
        sealed: str | None = getattr(owner, f"encrypted_{field}")
        return self._opener.open(owner.id, field, sealed) if sealed is not None else None


async def store_facts(database: Database, platform_id: UUID, facts: dict[str, object]) -> dt.datetime:
    """Keep what was gathered about a platform; the time it is of is returned."""
    now = utc_now()

    async def write() -> None:
        async with database.write() as session:
            await platforms.set_facts(session, platform_id, facts, now)

    await persist("facts", write)
    return now
