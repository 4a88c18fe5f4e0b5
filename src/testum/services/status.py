"""The state of the installation: health, and the configuration without its secrets."""

from typing import Any

from pydantic import SecretStr
from sqlalchemy import text

from testum import __version__
from testum.core.permissions import Actor, Permission
from testum.db.session import Database
from testum.services.access import Gate
from testum.settings import Settings


class Status:
    """Use cases that look at testum itself."""

    def __init__(self, database: Database, gate: Gate, settings: Settings) -> None:
        self._database = database
        self._gate = gate
        self._settings = settings

    async def healthy(self) -> bool:
        """Whether the database answers."""
        try:
            async with self._database.read() as session:
                await session.execute(text("SELECT 1"))
        except Exception:
            return False
        return True

    async def settings(self, actor: Actor) -> dict[str, Any]:
        """Every setting by its variable's name; of a secret only whether it is set."""
        await self._gate.check(actor, Permission.SETTINGS_READ, "settings.read", "settings")
        shown: dict[str, Any] = {"version": __version__}
        for name in type(self._settings).model_fields:
            value = getattr(self._settings, name)
            if isinstance(value, SecretStr):
                value = "********" if value.get_secret_value() else ""
            elif name == "database_url":
                value = value.split("@")[-1]
            elif not isinstance(value, bool | int | float):
                value = str(value)
            shown[name.upper()] = value
        return shown
