"""The gate: every use case passes it first, and every refusal leaves an audit entry."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import Actor, Permission, require
from testum.db.audit import AuditLog
from testum.db.session import Database
from testum.errors import Forbidden


class Gate:
    """Checks permissions and keeps the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(
        self, actor: Actor, permission: Permission, action: str, object_type: str = "", object_id: object = ""
    ) -> None:
        """Raise Forbidden, after writing that it was refused, unless the actor may do `action`."""
        try:
            require(actor, permission)
        except Forbidden as refusal:
            await self.refused(
                actor.username,
                action,
                address=actor.address,
                object_type=object_type,
                object_id=object_id,
                reason=refusal.code,
            )
            raise

    async def refused(
        self,
        user: str,
        action: str,
        *,
        address: str,
        object_type: str = "",
        object_id: object = "",
        reason: str = "",
        **meta: Any,
    ) -> None:
        """Write an entry for something that was not allowed, in a transaction of its own."""
        async with self._database.write() as session:
            session.add(
                AuditLog(
                    user=user[:150],
                    action=action,
                    object_type=object_type,
                    object_id=str(object_id)[:200],
                    outcome="refused",
                    address=address,
                    meta={"reason": reason, **meta},
                )
            )

    @staticmethod
    def log(
        session: AsyncSession,
        actor: Actor,
        action: str,
        object_type: str = "",
        object_id: object = "",
        **meta: Any,
    ) -> None:
        """Write an entry for something done, in the transaction that does it."""
        session.add(
            AuditLog(
                user=actor.username,
                action=action,
                object_type=object_type,
                object_id=str(object_id),
                address=actor.address,
                meta=meta,
            )
        )
