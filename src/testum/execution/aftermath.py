"""The aftermath: looking for what may still be at work on a host though its task is over, until it is known
(docs/decisions/0028).

Each process that runs tasks looks, at a few hosts at once, and once at each for all its tasks. What was to be ended when
its task ended, or was cancelled since, is ended where it is found; the rest is only looked at.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from uuid import UUID

import structlog

from testum.core.states import TaskStatus
from testum.db import contacts, remains
from testum.db.positions import Positions
from testum.db.remains import LOOKED_SO_FAR, Look, Remaining
from testum.db.results import FIRST_LOOK, Remains, Result, never_begun
from testum.db.session import Database, database_now
from testum.errors import TestumError
from testum.events.base import Change, Events, Hint
from testum.execution.endpoints import Endpoints
from testum.execution.persist import persist
from testum.ssh import Endpoint, Pool, Sought, Termination

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
_HOSTS = 32
"""So many hosts are looked at at once by one process."""
_OF_HOST = 50
"""For so many tasks at once at one host."""
_SOONEST, _LATEST = FIRST_LOOK, dt.timedelta(hours=1)
_PART = 4
"""The next look comes after a quarter of the time for which was looked so far. That is the sum of what the looks took, and
of the times between them, none of which counts for longer than it was planned: a clock that was set says nothing of how
long it is since the task's end. A look may come sooner, because another task of the host is due."""
_QUIET = "quiet_since"
"""In `termination` of what did not prove its beginning: at how many seconds after the end nothing was seen first."""
_RESENT = 120.0
"""What a broken line held back is sent again within as long as it was held, and within so many seconds (TCP_RTO_MAX of
Linux)."""
_CLOCKS_APART = 5.0
"""So many seconds this machine's clock and the database's may be apart."""
_FOR = dt.timedelta(days=7)
"""For so long somebody looks."""


class Aftermath:
    """Looks, as often as `look` is called. `close` it before the pool."""

    def __init__(
        self,
        *,
        database: Database,
        positions: Positions,
        events: Events,
        endpoints: Endpoints,
        pool: Pool,
        zones: Sequence[str] | None,
        connect_timeout: float,
        grace: float = 5.0,
    ) -> None:
        """`zones` are the network zones that this process can reach (None: all)."""
        self._database = database
        self._positions = positions
        self._events = events
        self._endpoints = endpoints
        self._pool = pool
        self._zones = zones
        self._connect_timeout = connect_timeout
        self._grace = grace
        self._looking: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Begin to look where it is due, at no more hosts than may be looked at at once."""
        room = _HOSTS - len(self._looking)
        if room <= 0:
            return
        async with self._database.read() as session:
            if not await remains.any_due(session, self._zones):
                return
        async with self._database.write() as session:
            taken = await remains.take_due(session, zones=self._zones, hosts=room)
        taken.sort(key=lambda task: task.platform_id)
        for platform_id, of_host in groupby(taken, key=lambda task: task.platform_id):
            looking = asyncio.create_task(self._look_at(platform_id, list(of_host)), name="look")
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)

    async def close(self) -> None:
        """Look no more. What was begun is looked at again later."""
        for looking in self._looking:
            looking.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)

    async def _look_at(self, platform_id: UUID, tasks: Sequence[Remaining]) -> None:
        try:
            for start in range(0, len(tasks), _OF_HOST):
                await self._look_for(platform_id, tasks[start : start + _OF_HOST])
        except Exception as error:
            log.error("a look at a host failed; it is done again", platform=str(platform_id), exc_info=error)

    async def _look_for(self, platform_id: UUID, tasks: Sequence[Remaining]) -> None:
        endpoint = await persist("a platform", lambda: self._endpoint(platform_id))
        if isinstance(endpoint, _Unseen):
            await self._write([(task, endpoint) for task in tasks], None)
            return
        here = [task for task in tasks if task.platform_address == endpoint.address]
        await self._write([(task, _MOVED) for task in tasks if task not in here], None)
        if here:
            begun = time.monotonic()
            found = await self._pool.look(
                endpoint,
                [_sought(task) for task in here],
                grace=self._grace,
                connect_timeout=self._connect_timeout,
            )
            lasted = dt.timedelta(seconds=time.monotonic() - begun)
            await self._write(list(zip(here, found.of_each, strict=True)), found.boot_id, lasted)

    async def _endpoint(self, platform_id: UUID) -> "Endpoint | _Unseen":
        """How to reach the platform, or why nobody can look there."""
        async with self._database.read() as session:
            platform = (await contacts.by_ids(session, [platform_id])).get(platform_id)
            if platform is None:
                return _DELETED
            if platform.shell == "plain":
                return _PLAIN
            made = (await self._endpoints.of_rows(session, [platform]))[platform_id]
        if isinstance(made, TestumError):
            return _Unseen(f"Nobody could look at the host: {made.message}", again=True)
        return made

    async def _write(
        self,
        found: "Sequence[tuple[Remaining, Termination | _Unseen]]",
        boot_id: str | None,
        lasted: dt.timedelta = dt.timedelta(),
    ) -> None:
        """Write what was found of a host's tasks by a look that lasted so long."""
        if not found:
            return
        for task, seen in found:
            if isinstance(seen, Termination) and seen.never_ran:
                await persist("a task that never ran", partial(self._settle, _never_ran(task, seen)))

        async def write() -> list[Look]:
            async with self._database.write() as session:
                now = await database_now(session)
                looks = [_seen(task, seen, boot_id, now, lasted) for task, seen in found]
                await remains.note(session, looks)
            return looks

        looks = await persist("what was found on a host", write)
        for look, (task, seen) in zip(looks, found, strict=True):
            if task.cancelled and isinstance(seen, Termination) and seen.signalled:
                await persist("a cancelled task", partial(self._settle, _cancelled(look)))
            self._events.publish(Hint(task.job_id, task.id, Change.STATUS))

    async def _settle(self, result: Result) -> None:
        """It came to light how a task ended, if it is lost."""
        async with self._database.write() as session:
            result.position = await self._positions.reserve(session, result.job_id, result.width)
            try:
                await remains.settle_lost(session, [result])
                await session.commit()
            finally:
                self._positions.release(result.job_id, result.position)
        self._events.publish(Hint(result.job_id, None, Change.STATUS))


@dataclass(frozen=True, slots=True)
class _Unseen:
    """Why nobody can look at a host. `again`: later it may be possible; `open`: something may still be at work there."""

    detail: str
    again: bool = False
    open: bool = True


_DELETED = _Unseen("The platform was deleted: nobody looks at the host any more.", open=False)
_PLAIN = _Unseen("The program was started as it is (plain), without a mark to find its processes by.")
_MOVED = _Unseen(
    "The platform has another address or account now than when the task ran: nobody can look where it ran."
)


def _cancelled(look: Look) -> Result:
    """A lost task whose job was cancelled was found at work and ended."""
    return Result(
        task_id=look.of.id,
        job_id=look.of.job_id,
        fence=0,
        status=TaskStatus.CANCELLED,
        error_code="cancelled",
        error_message="Cancelled after its worker was gone; it was still at work, and was ended on the host.",
        details=look.details,
        remains=Remains(to_be_ended=True) if look.may_still_run else None,
    )


def _never_ran(task: Remaining, seen: Termination) -> Result:
    """A lost task's host says that nothing of it was run."""
    result = Result(
        task_id=task.id,
        job_id=task.job_id,
        fence=0,
        status=TaskStatus.FAILED,
        error_code="not_sent",
        error_message="The server died before the command reached the host. Nothing of it was run.",
        details={"termination": {"state": seen.state, "detail": seen.detail}},
    )
    if task.cancelled:
        never_begun(result)
    return result


def _sought(task: Remaining) -> Sought:
    """What to look for of a task: what was found of it before, and what bears its mark. What may be of it and bears none is
    known where its end has shown it, or an earlier look; else it began since the task did. What has ended of that may have begun
    others."""
    before = task.details.get("termination", {})
    now = dt.datetime.now(dt.UTC)
    # The clock may have been set back since.
    age = max(now - (task.started_at or task.finished_at), _took(task) + _looked_for(task) + _wait(task))
    if before.get("strays"):
        # What one of them has begun came after the look that has seen it.
        age = max(now - _last(task), _wait(task), _SOONEST)
    return Sought(
        str(task.id),
        task.to_be_ended,
        tuple(before.get("strays", ())),
        since=age.total_seconds() + _CLOCKS_APART,
        attempt=str(task.attempt or ""),
        begun=before.get("begun") is not False,
        left=tuple(before.get("left", ())),
    )


def _seen(
    task: Remaining, seen: Termination | _Unseen, boot_id: str | None, now: dt.datetime, lasted: dt.timedelta
) -> Look:
    """What a look that lasted so long says of a task, and when to look again."""
    before = task.details.get("termination", {})
    begun = _looked_for(task) + min(max(now - lasted - _last(task), dt.timedelta()), _wait(task))
    detail, looked_for = seen.detail, begun + lasted
    wait = _next(looked_for)
    quiet: float | None = None
    if isinstance(seen, _Unseen):
        is_open, again = seen.open, seen.again
    else:
        is_open = again = seen.state != "confirmed"
        if boot_id is not None and task.boot_id is not None and boot_id != task.boot_id:
            is_open = again = False
            detail = "The host was started anew since: nothing of the task can be at work."
        elif not is_open and before.get("begun") is False and not seen.never_ran:
            quiet = before.get(_QUIET) or looked_for.total_seconds()
            over = dt.timedelta(seconds=quiet + _held_back(task, quiet))
            if begun < over:
                is_open = again = True
                wait = max(min(wait, over - looked_for), _SOONEST)
                detail = (
                    "Looked at the host: nothing of the task is there. What was sent may still be on its way."
                )
    if again and looked_for > _FOR:
        again = False
        detail = f"{detail} It was looked for over a week; nobody looks any more."
    told = {
        **{name: value for name, value in before.items() if name != _QUIET},
        **({} if quiet is None else {_QUIET: quiet}),
        "state": "unconfirmed" if is_open or isinstance(seen, _Unseen) else "confirmed",
        "detail": detail,
        "looked_at": now.isoformat(),
        "looking": again,
        LOOKED_SO_FAR: looked_for.total_seconds(),
        **({"strays": list(seen.strays), "left": list(seen.left)} if isinstance(seen, Termination) else {}),
    }
    return Look(task, {"termination": told}, is_open, now + wait if again else None, boot_id)


def _took(task: Remaining) -> dt.timedelta:
    return max(task.finished_at - (task.started_at or task.finished_at), dt.timedelta())


def _held_back(task: Remaining, quiet: float) -> float:
    """How many seconds what was sent may be late, when nothing of it was there so many seconds after the task's end."""
    return min(_took(task).total_seconds() + quiet, _RESENT)


def _looked_for(task: Remaining) -> dt.timedelta:
    """How long after its end the last look was."""
    return dt.timedelta(seconds=task.details.get("termination", {}).get(LOOKED_SO_FAR, 0.0))


def _last(task: Remaining) -> dt.datetime:
    """When that was."""
    looked_at = task.details.get("termination", {}).get("looked_at")
    return task.finished_at if looked_at is None else dt.datetime.fromisoformat(looked_at)


def _wait(task: Remaining) -> dt.timedelta:
    """How long after that the next one was planned."""
    return _next(_looked_for(task))


def _next(looked_for: dt.timedelta) -> dt.timedelta:
    return min(max(looked_for / _PART, _SOONEST), _LATEST)
