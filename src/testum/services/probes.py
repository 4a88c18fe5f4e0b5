"""Trying the connection of a platform before it is saved: nothing is stored but that somebody did."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from testum.core.permissions import PLATFORMS_WRITE, Actor
from testum.core.probes import Draft, Probed
from testum.core.text import login_address
from testum.db import contacts, platforms
from testum.db.platforms import Platform
from testum.db.session import Database
from testum.dispatch.base import Dispatcher
from testum.errors import Conflict, FieldProblem, NotFound, SecretWouldLeave, Throttled
from testum.services.access import Gate
from testum.services.intake import Intake
from testum.services.platform_fields import RETYPE, copy_of, differences, is_used, told, unprotected
from testum.services.platforms import Platforms

_MOST_AT_ONCE = 16
_MOST_OF_ONE = 4
"""So many of one account."""
_RETRY_SECONDS = 5
_SLACK_SECONDS = 5.0
"""What it takes beside connecting: reading a key, and the way to a worker and back."""


class Probes:
    """Use cases of platforms that are not saved yet."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        platforms: Platforms,
        dispatcher: Dispatcher,
        intake: Intake,
        *,
        connect_timeout: float,
    ) -> None:
        self._database = database
        self._gate = gate
        self._platforms = platforms
        self._dispatcher = dispatcher
        self._intake = intake
        self._connect_timeout = connect_timeout
        self._under_way: Counter[UUID] = Counter()

    async def probe(self, actor: Actor, values: Mapping[str, Any], platform_id: UUID | None = None) -> Probed:
        """Connect and log in as the fields say (see Platforms.add); with a platform's id, fields that are not given
        are as it has them, and so are its secrets, which go nowhere else than they were stored for.

        Raises NotFound, InvalidInput, Conflict (`changed_meanwhile`), Throttled, Stopping; StorageUnavailable where no
        worker can be asked. What the host makes of it is no error but the answer. Cancelling it ends the connection.
        """
        await self._gate.check(actor, PLATFORMS_WRITE, "platform.test", "platform", platform_id or "")
        self._intake.check()
        with self._place(actor):
            stored = await self._stored(platform_id)
            platform = await self._platforms.draft(values, stored)
            secrets = _stored_secrets(platform, values) if stored is not None else []
            if stored is not None:
                exposed = unprotected(stored, platform)
                if leaving := [FieldProblem(field, RETYPE) for field in secrets if field in exposed]:
                    await self._gate.refused(
                        actor,
                        "platform.test",
                        "platform",
                        stored.id,
                        reason="secret_would_leave",
                        name=stored.name,
                        changes=_changes(stored, platform),
                    )
                    raise SecretWouldLeave.of(leaving)
            hops = await self._note(actor, platform, stored, stored_secret=bool(secrets))
            seconds = self._connect_timeout * (1 + hops) + _SLACK_SECONDS
            try:
                answer = await self._dispatcher.ask(
                    platform.zone, _draft(platform, stored).to_json(), seconds
                )
            except TimeoutError:
                return Probed(
                    error_code="no_answer",
                    error_message=f"No worker of the network zone {platform.zone} answered within {seconds:g} seconds.",
                )
        return Probed.from_json(answer)

    @contextmanager
    def _place(self, actor: Actor) -> Iterator[None]:
        """One of the few that may be tried at once: what the process keeps for all hosts is not for one person."""
        if self._under_way[actor.id] >= _MOST_OF_ONE or self._under_way.total() >= _MOST_AT_ONCE:
            raise Throttled(
                f"Too many connections are being tested. Try again in {_RETRY_SECONDS} seconds.",
                retry_after=_RETRY_SECONDS,
            )
        self._under_way[actor.id] += 1
        try:
            yield
        finally:
            self._under_way[actor.id] -= 1
            if not self._under_way[actor.id]:
                del self._under_way[actor.id]

    async def _stored(self, platform_id: UUID | None) -> Platform | None:
        if platform_id is None:
            return None
        async with self._database.read() as session:
            stored = await platforms.get(session, platform_id)
        if stored is None:
            raise NotFound("There is no such platform.")
        return stored

    async def _note(
        self, actor: Actor, platform: Platform, stored: Platform | None, *, stored_secret: bool
    ) -> int:
        """Write down who is about to connect where; over how many jump hosts."""
        async with self._database.write() as session:
            if stored is not None and await platforms.revision_of(session, stored.id) != stored.revision:
                raise Conflict(f"{stored.name} was changed meanwhile.", code="changed_meanwhile")
            await self._platforms.check_links(session, platform)
            hops = await contacts.jump_chain(session, platform)
            self._gate.log(
                session,
                actor,
                "platform.test",
                "platform",
                "" if stored is None else stored.id,
                address=login_address(platform.username, platform.host, platform.port),
                through=[hop.name for hop in hops],
                stored_secret=stored_secret,
                **({} if stored is None else {"changes": _changes(stored, platform)}),
            )
        return len(hops)


def _changes(stored: Platform, draft: Platform) -> dict[str, Any]:
    """What is tried in another way than it is stored."""
    return differences(told(copy_of(stored)), told(draft))


def _stored_secrets(platform: Platform, values: Mapping[str, Any]) -> list[str]:
    """The fields of stored secrets that would be used; none where all were typed, or are a kept key's."""
    return [
        field for field in ("password", "private_key") if is_used(platform, field) and not values.get(field)
    ]


def _draft(platform: Platform, stored: Platform | None) -> Draft:
    return Draft(
        id=platform.id,
        name=platform.name or platform.host,
        host=platform.host,
        port=platform.port,
        username=platform.username,
        auth_method=platform.auth_method,
        encrypted_password=platform.encrypted_password,
        encrypted_private_key=platform.encrypted_private_key,
        encrypted_passphrase=platform.encrypted_passphrase,
        key_id=platform.key_id,
        jump_platform_id=platform.jump_platform_id,
        host_key_policy=platform.host_key_policy,
        old_algorithms=platform.old_algorithms,
        host_keys=[record.public_key for record in platform.host_keys],
        revision=None if stored is None else stored.revision,
    )
