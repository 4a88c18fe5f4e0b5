"""The first host keys that are seen of platforms, and what each is trusted by afterwards."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import String, Uuid, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from testum.db.base import utc_now
from testum.db.bulk import UpdateEach
from testum.db.platforms import HostKeyRecord, Platform

_FINGERPRINTS_LOCKED = (
    select(Platform.id, Platform.revision, Platform.known_host_fingerprint)
    .where(Platform.id.in_(bindparam("ids", expanding=True)))
    .order_by(Platform.id)
    .with_for_update()
)
# RETURNING makes one statement of many rows.
_ADD_HOST_KEYS = insert(HostKeyRecord).returning(HostKeyRecord.platform_id)
_SET_FINGERPRINT = UpdateEach(
    lambda given: (
        update(Platform).where(Platform.id == given["of"]).values(known_host_fingerprint=given["now"])
    ),
    of=Uuid(),
    now=String(),
)


async def trust_first_use(
    session: AsyncSession, seen: Sequence[tuple[UUID, int, str, str, str]]
) -> list[str | None]:
    """Keep the first host keys seen (platform id, its revision that was connected to, algorithm, public key, fingerprint)
    of platforms that have none. Returns for each the public key that its platform is trusted by afterwards; None where it
    was deleted, or its reach changed, meanwhile: the key is another host's then."""
    # As few statements as can be: a fan-out over new hosts does this for each of them.
    connection = await session.connection()
    # Locked: of two workers that see the platform for the first time, one decides.
    locked = await connection.execute(
        _FINGERPRINTS_LOCKED, {"ids": [platform_id for platform_id, *_ in seen]}
    )
    revisions, fingerprints = {}, {}
    for row in locked:
        revisions[row.id], fingerprints[row.id] = row.revision, row.known_host_fingerprint
    trusted: dict[UUID, str] = {}
    if had := [platform_id for platform_id, fingerprint in fingerprints.items() if fingerprint is not None]:
        stored = await connection.execute(
            select(HostKeyRecord.platform_id, HostKeyRecord.public_key).where(
                HostKeyRecord.platform_id.in_(had)
            )
        )
        trusted = {row.platform_id: row.public_key for row in stored}
    new: list[dict[str, Any]] = []
    for platform_id, revision, algorithm, public_key, fingerprint in seen:
        if revisions.get(platform_id) == revision and platform_id not in trusted:
            trusted[platform_id] = public_key
            new.append(
                {
                    "platform_id": platform_id,
                    "algorithm": algorithm,
                    "public_key": public_key,
                    "fingerprint": fingerprint,
                    "created_at": utc_now(),
                }
            )
    if new:
        await connection.execute(_ADD_HOST_KEYS, new)
        await _SET_FINGERPRINT.execute(
            connection, [{"of": row["platform_id"], "now": row["fingerprint"]} for row in new]
        )
    return [
        trusted.get(platform_id) if revisions.get(platform_id) == revision else None
        for platform_id, revision, *_ in seen
    ]
