"""The state of the installation: health, workers, and the configuration without its secrets."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from pydantic import SecretStr
from sqlalchemy import text

from testum import __version__
from testum.core.permissions import Actor, Permission
from testum.db import workers
from testum.db.session import Database
from testum.db.workers import Worker
from testum.errors import TestumError
from testum.services.access import Gate
from testum.settings import Settings

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 3.0
"""Whoever asks for health asks again soon: an answer that takes longer is none."""
_ADDRESSES = frozenset({"database_url", "redis_url", "celery_broker_url", "celery_result_backend"})
"""Settings that may hold a password in front of an `@`."""

Check = Callable[[], Awaitable[None]]


class Status:
    """Use cases that look at testum itself. `walls` has a check for each server beside the database; it raises
    where that cannot be used now."""

    def __init__(
        self, database: Database, gate: Gate, settings: Settings, walls: Mapping[str, Check]
    ) -> None:
        self._database = database
        self._gate = gate
        self._settings = settings
        self._walls: dict[str, Check] = {"database": self._ask_database, **walls}
        self._asked: dict[str, asyncio.Task[bool]] = {}
        """The checks that are under way. One that hangs is not begun again, and takes one connection, not more."""

    async def healthy(self) -> bool:
        """Whether the database answers."""
        return await self._works("database")

    async def walls(self) -> dict[str, bool]:
        """Whether each wall can be used now, by its name."""
        works = await asyncio.gather(*(self._works(name) for name in self._walls))
        return dict(zip(self._walls, works, strict=True))

    async def _works(self, name: str) -> bool:
        if name not in self._asked:
            check = asyncio.create_task(self._ask(name), name=f"check-{name}")
            self._asked[name] = check
            check.add_done_callback(lambda _: self._asked.pop(name))
        # Not a timeout around the check: a driver that is cancelled may ask the server that hangs for leave first.
        done, _ = await asyncio.wait({self._asked[name]}, timeout=_PATIENCE_SECONDS)
        if not done:
            log.warning("a check of health takes too long", of=name)
            return False
        return done.pop().result()

    async def _ask(self, name: str) -> bool:
        try:
            await self._walls[name]()
        except TestumError as error:
            log.warning("a check of health failed", of=name, error=str(error))
            return False
        except Exception:
            log.exception("a check of health failed", of=name)
            return False
        return True

    async def _ask_database(self) -> None:
        async with self._database.read() as session:
            await session.execute(text("SELECT 1"))

    async def workers(self, actor: Actor) -> Sequence[Worker]:
        """The worker processes that were heard of within a lease."""
        await self._gate.check(actor, Permission.JOBS_READ, "worker.read", "worker")
        async with self._database.read() as session:
            return await workers.living(session, self._settings.lease_seconds)

    async def settings(self, actor: Actor) -> dict[str, Any]:
        """Every setting by its variable's name; of a secret only whether it is set."""
        await self._gate.check(actor, Permission.SETTINGS_READ, "settings.read", "settings")
        shown: dict[str, Any] = {"version": __version__}
        for name in type(self._settings).model_fields:
            value = getattr(self._settings, name)
            if isinstance(value, SecretStr):
                value = "********" if value.get_secret_value() else ""
            elif name in _ADDRESSES:
                value = value.split("@")[-1]
            elif not isinstance(value, bool | int | float):
                value = str(value)
            shown[name.upper()] = value
        return shown
