"""SSH keys: kept to log in with, and deployed to platforms."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from testum.core.feature import Action, Feature, MenuEntry
from testum.core.job_kinds import JobKind
from testum.core.permissions import KEYS_DEPLOY, KEYS_READ, KEYS_WRITE, Permission
from testum.translation import N_


class Keys(Feature):
    """The capability."""

    name: ClassVar[str] = "keys"
    permissions: ClassVar[Sequence[Permission]] = (KEYS_READ, KEYS_WRITE, KEYS_DEPLOY)
    menu: ClassVar[Sequence[MenuEntry]] = (MenuEntry("keys", N_("Keys"), "/keys", "key", KEYS_READ),)

    def job_kinds(self) -> Sequence[type[JobKind]]:
        from testum.features.keys.jobs import Deploy

        return (Deploy,)

    def actions(self) -> Mapping[str, Action]:
        from testum.features.keys.actions import deploy

        return {"deploy": deploy}

    def api(self) -> Sequence[object]:
        from testum.features.keys import api

        return (api.keys, api.deployment)
