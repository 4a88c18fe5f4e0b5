"""Jobs that deploy keys."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import Field

from testum.core.job_kinds import JobKind, Problem
from testum.core.permissions import KEYS_DEPLOY, Permission
from testum.errors import InvalidInput
from testum.translation import N_

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


KeyIds = Annotated[tuple[UUID, ...], Field(max_length=500)] | None


class Deploy(JobKind):
    """Put public keys into the `authorized_keys` of each platform's account; without `key_ids` all that there are."""

    kind: ClassVar[str] = "deploy"
    title: ClassVar[str] = N_("Key deployment")
    action: ClassVar[str] = N_("Deploy keys")
    permission: ClassVar[Permission] = KEYS_DEPLOY

    key_ids: KeyIds = None

    def find_problems(self, problem: Problem) -> None:
        if self.key_ids is not None and not self.key_ids:
            problem("key_ids", "name at least one key, or leave it out for all.")

    async def check_names(self, session: "AsyncSession") -> None:
        from testum.db import keys

        if self.key_ids is None:
            return
        found = {key.id for key in await keys.by_ids(session, self.key_ids)}
        if missing := [key_id for key_id in self.key_ids if key_id not in found]:
            raise InvalidInput.field("key_ids", f"no key has the id {missing[0]}.")

    async def load(self, session: "AsyncSession") -> list[tuple[str, str]]:
        """Name and public key line of each."""
        from testum.db import keys

        return [(key.name, key.public_key) for key in await keys.by_ids(session, self.key_ids)]

    @classmethod
    def restored(cls, stored: Mapping[str, Any], secrets: Mapping[str, str]) -> Self:
        key_ids = stored.get("key_ids")
        return cls.model_construct(
            key_ids=None if key_ids is None else tuple(UUID(key_id) for key_id in key_ids)
        )
