"""What the core knows of platforms that are kept together under a name: features say what these are."""

from typing import Protocol
from uuid import UUID

from testum.core.permissions import Actor
from testum.core.targets import Targets


class PlatformSets(Protocol):
    """Sets of platforms that jobs can be for."""

    async def targets(self, actor: Actor, set_id: UUID) -> Targets:
        """Which platforms a job for the set is for. Raises NotFound, Forbidden, and InvalidInput where what the set names is
        gone."""
