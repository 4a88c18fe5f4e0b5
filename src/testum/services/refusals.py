"""What was refused, for the audit log: each by itself as long as that is few, and what is more counted."""

import datetime as dt
from collections import Counter
from typing import Any

from testum.db.audit import AuditLog
from testum.db.base import utc_now
from testum.db.session import Database
from testum.services.guesses import network_of

SUMMARY_SECONDS = 60.0
"""After so long what was counted is written."""
OF_ONE, OF_ALL = 30, 40
"""So many have entries of their own in that time: of one account, or of one network that has not logged in; of all accounts,
or of all networks. Who was above it has none in the next such time, either."""
_MAX_COUNTED, _MAX_NAMED = 1000, 20


class Refusals:
    """Writes refusals to the audit log, so that nobody can fill it: what is above the limits is told in one entry a
    minute, with how many of which kind there were, of whom and from where."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._accounts, self._networks = _Room(frozenset(), OF_ALL), _Room(frozenset(), OF_ALL)
        self._counted: _Counted | None = None

    async def add(self, entry: AuditLog, *, proven: bool) -> None:
        """Write it, or count it. `proven`: the entry's user had logged in."""
        if self._accounts.take(entry.user) if proven else self._networks.take(network_of(entry.address)):
            async with self._database.write() as session:
                session.add(entry)
            return
        self._counted = self._counted or _Counted()
        self._counted.add(entry)

    async def write(self) -> None:
        """Write what was counted, if anything, and count anew. Raises StorageUnavailable; nothing is lost then."""
        self._accounts, self._networks = self._accounts.next(), self._networks.next()
        counted = self._counted
        if counted is None:
            return
        self._counted = None
        try:
            async with self._database.write() as session:
                session.add(counted.entry())
        except BaseException:
            if self._counted is not None:
                counted.join(self._counted)
            self._counted = counted
            raise


class _Room:
    """How many more may have entries of their own."""

    def __init__(self, flooding: frozenset[str], room: int) -> None:
        self._flooding = flooding
        self._room = room
        self._asked: Counter[str] = Counter()
        self._quiet = 0

    def take(self, who: str) -> bool:
        """Whether there is room for one more of `who`."""
        who = who if who in self._asked or len(self._asked) < _MAX_COUNTED else ""
        self._asked[who] += 1
        if who in self._flooding or self._asked[who] > OF_ONE:
            return False
        self._quiet += 1
        return self._quiet <= self._room

    def next(self) -> "_Room":
        """The room of the next time. It has none while there are too many of whom each asks little."""
        flooding = frozenset(who for who, number in self._asked.items() if number > OF_ONE)
        return _Room(flooding, 0 if self._quiet > OF_ALL else OF_ALL)


class _Counted:
    """Refusals of which only numbers are kept."""

    def __init__(self) -> None:
        self._since = utc_now()
        self._until = self._since
        self._count = 0
        self._by: dict[str, Counter[str]] = {
            name: Counter() for name in ("reasons", "actions", "users", "addresses")
        }

    def add(self, entry: AuditLog) -> None:
        """Count one."""
        self._until = utc_now()
        self._count += 1
        said = (str(entry.meta["reason"]), entry.action, entry.user, entry.address)
        for counter, value in zip(self._by.values(), said, strict=True):
            _count(counter, value, 1)

    def join(self, later: "_Counted") -> None:
        """Count those that another has counted since."""
        self._until = later._until
        self._count += later._count
        for name, counter in later._by.items():
            for value, number in counter.items():
                _count(self._by[name], value, number)

    def entry(self) -> AuditLog:
        """All of them in one entry."""
        meta: dict[str, Any] = {
            "count": self._count,
            "since": _moment(self._since),
            "until": _moment(self._until),
        }
        for name, counter in self._by.items():
            meta[name] = {value: number for value, number in counter.most_common(_MAX_NAMED) if value}
            meta[f"of_other_{name}"] = self._count - sum(meta[name].values())
        return AuditLog(user="", action="audit.refusals", outcome="refused", meta=meta)


def _count(counter: Counter[str], value: str, number: int) -> None:
    """What is too much to be named stays in the sum alone."""
    if value in counter or len(counter) < _MAX_COUNTED:
        counter[value] += number


def _moment(when: dt.datetime) -> str:
    return when.isoformat(timespec="seconds")
