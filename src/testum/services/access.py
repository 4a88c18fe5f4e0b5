"""The gate: every use case passes it first, and the audit log tells every refusal."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from testum.core.permissions import Actor, Permission, require
from testum.core.text import visible
from testum.db.audit import AuditLog
from testum.errors import Forbidden
from testum.services.refusals import Refusals


class Gate:
    """Checks permissions and keeps the audit log."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    async def check(
        self, actor: Actor, permission: Permission, action: str, object_type: str = "", object_id: object = ""
    ) -> None:
        """Raise Forbidden, after writing that it was refused, unless the actor may do `action`."""
        try:
            require(actor, permission)
        except Forbidden as refusal:
            await self.refused(actor, action, object_type, object_id, reason=refusal.code)
            raise

    async def refused(
        self,
        actor: Actor,
        action: str,
        object_type: str = "",
        object_id: object = "",
        *,
        reason: str,
        **meta: Any,
    ) -> None:
        """Write an entry for something that the actor was not allowed, in a transaction of its own."""
        entry = AuditLog(
            user=actor.username,
            action=visible(action),
            object_type=object_type,
            object_id=str(object_id)[:200],
            outcome="refused",
            address=actor.address,
            meta={"reason": reason, **meta},
        )
        await self._refusals.add(entry, proven=True)

    async def refused_stranger(
        self, user: str, action: str, *, address: str, reason: str, proven: bool = False
    ) -> None:
        """The same without a login. `user`: the name that was given, or empty; `proven`: it is known to be the right one."""
        entry = AuditLog(
            user=visible(user[:150]),
            action=visible(action),
            outcome="refused",
            address=address,
            meta={"reason": reason},
        )
        await self._refusals.add(entry, proven=proven)

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
