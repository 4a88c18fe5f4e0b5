"""Retention: output that has become old is removed; the tasks stay, and say so.

The order of it makes every crash harmless. First a task's row says that its output is gone, and nobody looks for it
any more; then the output is removed from its store. What a crash leaves between the two, the sweep finds.
"""

import datetime as dt
import time

import structlog

from testum.db import expiry
from testum.db.session import Database, database_now
from testum.output.base import SWEEP_PARTS, OutputStore

log = structlog.get_logger(__name__)

EXPIRE_SECONDS = 20.0
SWEEP_SECONDS = 300.0
"""The whole store is looked through within a day: SWEEP_PARTS times so long."""
_AT_ONCE = 500
_WORK_SECONDS = 5.0
"""Then other duties have their turn; the rest is done the next time."""


class Retention:
    """Removes the output of tasks that ended longer than `age` ago."""

    def __init__(self, database: Database, outputs: OutputStore, age: dt.timedelta) -> None:
        self._database = database
        self._outputs = outputs
        self._age = age

    async def expire(self) -> None:
        """Remove what has become old."""
        begun = time.monotonic()
        removed = 0
        while True:
            async with self._database.write() as session:
                old = await expiry.expire(session, self._age, _AT_ONCE)
            await self._outputs.remove(old)
            removed += len(old)
            if len(old) < _AT_ONCE or time.monotonic() - begun >= _WORK_SECONDS:
                break
        if removed:
            log.info("removed old output", tasks=removed)

    async def sweep(self) -> None:
        """Look through the part of the store whose turn it is, and remove what belongs to no task any more. Only what
        is as old as output may become: what is younger may be that of a process that is at work on it."""
        async with self._database.read() as session:
            now = await database_now(session)
        part = int(now.timestamp() // SWEEP_SECONDS) % SWEEP_PARTS
        removed = await self._outputs.sweep(part, now - self._age)
        if removed:
            log.info("removed what was left of old output", number=removed)
