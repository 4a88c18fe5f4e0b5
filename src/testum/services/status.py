"""The state of the installation: health, workers, and the configuration without its secrets."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import structlog
from pydantic import SecretStr

from testum import __version__
from testum.core.permissions import JOBS_READ, SETTINGS_READ, Actor
from testum.db import duties, workers
from testum.db.session import Database
from testum.db.workers import Worker
from testum.errors import StorageFull, StorageUnavailable, TestumError, WritesRefused
from testum.services.access import Gate
from testum.services.intake import Intake
from testum.settings import Settings

log = structlog.get_logger(__name__)

_FRESH_SECONDS = 10.0
"""So long an answer holds: whoever asks, and however often, makes no more work than that."""
_PATIENCE_SECONDS = 3.0
"""Whoever asks for health asks again soon: an answer that takes longer is none."""
_ANSWER = "answer of the database"
_ADDRESSES = frozenset({"database_url", "redis_url", "celery_broker_url", "celery_result_backend"})
"""Settings that may hold a password in front of an `@`."""

Check = Callable[[], Awaitable[None]]


class WallState(StrEnum):
    """How a wall is: it was written to and read from, it does not answer, it answers and refuses to be written to, it
    has no room."""

    OK = "ok"
    UNAVAILABLE = "unavailable"
    READ_ONLY = "read_only"
    FULL = "full"


class Status:
    """Use cases that look at testum itself. `walls` has a check for each server beside the database; it raises
    where that cannot be used now."""

    def __init__(
        self,
        database: Database,
        gate: Gate,
        settings: Settings,
        walls: Mapping[str, Check],
        intake: Intake,
    ) -> None:
        self._database = database
        self._gate = gate
        self._settings = settings
        self._intake = intake
        self._walls: dict[str, Check] = {"database": self._try_database, **walls}
        self._checks: dict[str, Check] = {_ANSWER: self._ask_database, **self._walls}
        self._asked: dict[str, asyncio.Task[WallState]] = {}
        """The checks that are under way. One that hangs is not begun again, and takes one connection, not more."""
        self._known: dict[str, tuple[WallState, float]] = {}
        """What each check said last, and when it was begun."""

    @property
    def stopping(self) -> bool:
        """Whether new work is refused, because this process stops."""
        return self._intake.closed

    async def healthy(self) -> bool:
        """Whether the database answers."""
        return await self._state(_ANSWER) is WallState.OK

    async def walls(self) -> dict[str, WallState]:
        """How each wall is, by its name: as it was within the last seconds, if somebody asked then."""
        states = await asyncio.gather(*(self._recent(name) for name in self._walls))
        return dict(zip(self._walls, states, strict=True))

    async def _recent(self, name: str) -> WallState:
        now = time.monotonic()
        state, begun = self._known.get(name, (WallState.UNAVAILABLE, -math.inf))
        if now - begun >= _FRESH_SECONDS:
            state = await self._state(name)
            self._known[name] = state, now
        return state

    async def _state(self, name: str) -> WallState:
        if name not in self._asked:
            check = asyncio.create_task(self._ask(name), name=f"check-{name}")
            self._asked[name] = check
            check.add_done_callback(lambda _: self._asked.pop(name))
        # Not a timeout around the check: a driver that is cancelled may ask the server that hangs for leave first.
        done, _ = await asyncio.wait({self._asked[name]}, timeout=_PATIENCE_SECONDS)
        if not done:
            log.warning("a check of health takes too long", of=name)
            return WallState.UNAVAILABLE
        return done.pop().result()

    async def _ask(self, name: str) -> WallState:
        try:
            await self._checks[name]()
        except TestumError as error:
            log.warning("a check of health failed", of=name, error=str(error))
            if isinstance(error, StorageFull):
                return WallState.FULL
            return WallState.READ_ONLY if isinstance(error, WritesRefused) else WallState.UNAVAILABLE
        except Exception:
            log.exception("a check of health failed", of=name)
            return WallState.UNAVAILABLE
        return WallState.OK

    async def _try_database(self) -> None:
        async with self._database.write() as session:
            await duties.probe(session)
        async with self._database.read() as session:
            if not await duties.probed(session):
                raise StorageUnavailable("The database does not have what was written to it.")

    async def _ask_database(self) -> None:
        async with self._database.read() as session:
            await duties.probed(session)

    async def workers(self, actor: Actor) -> Sequence[Worker]:
        """The worker processes that were heard of within a lease."""
        await self._gate.check(actor, JOBS_READ, "worker.read", "worker")
        async with self._database.read() as session:
            return await workers.living(session, self._settings.lease_seconds)

    async def settings(self, actor: Actor) -> dict[str, Any]:
        """Every setting by its variable's name; of a secret only whether it is set."""
        await self._gate.check(actor, SETTINGS_READ, "settings.read", "settings")
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
