"""When a lease has run out: for a process that has itself observed, by a clock that nobody sets, that it was not renewed for
its length (docs/decisions/0011)."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from testum.db.leases import Lease


class _Seen(NamedTuple):
    lease: Lease
    waited: float
    """Seconds for which it was seen unchanged."""


class LeaseObserver:
    """What this process has observed of all leases. Call `observe` several times in a lease's length, and `reset` when the
    database was away: nobody could renew meanwhile."""

    def __init__(self, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, and is never set (clock_gettime(2), CLOCK_MONOTONIC)."""
        self._lease = lease_seconds
        self._clock = clock
        self._seen: dict[UUID, _Seen] = {}
        self._looked: float | None = None

    def observe(self, leases: Sequence[Lease]) -> list[Lease]:
        """`leases` are all that there are now; those that have run out are returned."""
        now = self._clock()
        # Who was stopped itself (a frozen container) has not watched meanwhile, and the others may have been stopped, too:
        # of a long time between two looks counts what others need to renew.
        passed = 0.0 if self._looked is None else min(now - self._looked, self._lease / 3)
        self._looked = now
        before, self._seen = self._seen, {}
        for lease in leases:
            seen = before.get(lease.id)
            waited = seen.waited + passed if seen is not None and seen.lease == lease else 0.0
            self._seen[lease.id] = _Seen(lease, waited)
        return [seen.lease for seen in self._seen.values() if seen.waited >= self._lease]

    def reset(self) -> None:
        """Begin anew."""
        self._seen.clear()
        self._looked = None
