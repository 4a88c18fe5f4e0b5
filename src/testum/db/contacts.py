"""What it takes to connect to platforms, without the rest of their rows: it is read for each task of each job."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.bulk import chunks
from testum.db.platforms import HostKeyRecord, Platform
from testum.db.prepared import Prepared


class TrustedKey(NamedTuple):
    """A host key that a platform is trusted by."""

    algorithm: str
    public_key: str
    fingerprint: str


class Contact(NamedTuple):
    """What it takes to connect to a platform, its secrets sealed; the names are those of Platform. A row is read in a third
    of the time that an object of the ORM takes."""

    id: UUID
    name: str
    host: str
    port: int
    username: str
    auth_method: str
    encrypted_password: str | None
    encrypted_private_key: str | None
    encrypted_passphrase: str | None
    key_id: UUID | None
    jump_platform_id: UUID | None
    host_key_policy: str | None
    shell: str
    old_algorithms: str
    revision: int
    host_keys: list[TrustedKey]


_OF_PLATFORM = [getattr(Platform, name) for name in Contact._fields if name != "host_keys"]
_CONTACTS = Prepared(
    select(*_OF_PLATFORM, *(getattr(HostKeyRecord, name) for name in TrustedKey._fields))
    .outerjoin(HostKeyRecord, HostKeyRecord.platform_id == Platform.id)
    .where(Platform.id.in_(bindparam("ids", expanding=True)))
    .order_by(HostKeyRecord.created_at)
)


async def by_ids(session: AsyncSession, platform_ids: Sequence[UUID]) -> dict[UUID, Contact]:
    """How to connect to the platforms with these ids that there are."""
    found: dict[UUID, Contact] = {}
    connection = await session.connection()
    for chunk in chunks(platform_ids):
        for row in await _CONTACTS.rows(connection, {"ids": chunk}):
            of_platform, of_key = row[: len(_OF_PLATFORM)], row[len(_OF_PLATFORM) :]
            contact = found.get(row[0])
            if contact is None:
                contact = found[row[0]] = Contact._make((*of_platform, []))
            if of_key[0] is not None:
                contact.host_keys.append(TrustedKey._make(of_key))
    return found


async def jump_chain(session: AsyncSession, platform: Platform | Contact) -> list[Platform]:
    """The platforms that connections to `platform` go through, nearest to it first. Ends at a loop."""
    chain: list[Platform] = []
    seen = {platform.id}
    following = platform.jump_platform_id
    while following is not None and following not in seen:
        seen.add(following)
        jump = await session.get(Platform, following)
        if jump is None:
            break
        chain.append(jump)
        following = jump.jump_platform_id
    return chain
