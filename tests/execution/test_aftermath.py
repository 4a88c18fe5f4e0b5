"""For how long a host is looked at after the end of a task."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from testum.db.base import new_id
from testum.db.remains import Remaining
from testum.db.results import FIRST_LOOK
from testum.execution import aftermath
from testum.ssh import Termination

END = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
AT_WORK = Termination("unconfirmed", "It is at work.")
NOTHING = Termination("confirmed", "Nothing of it is there.")


def seconds(number: float) -> dt.timedelta:
    return dt.timedelta(seconds=number)


class Host:
    """Tasks that ended on one host, looked at together whenever one of them is due."""

    def __init__(self, seen: Termination, lasts: float) -> None:
        self.now = END
        self._seen = seen
        self._lasts = seconds(lasts)
        self._platform = new_id()
        self._tasks: dict[UUID, tuple[Remaining, dt.datetime | None]] = {}

    def ended(self, *, took: float = 0.0, details: dict[str, Any] | None = None) -> UUID:
        task = Remaining(
            id=new_id(),
            job_id=new_id(),
            platform_id=self._platform,
            platform_address="root@host:22",
            attempt=1,
            started_at=self.now - seconds(took),
            finished_at=self.now,
            to_be_ended=False,
            boot_id=None,
            details={"termination": details or {}},
            cancelled=False,
        )
        self._tasks[task.id] = task, self.now + FIRST_LOOK
        return task.id

    def look(self) -> None:
        """The next one, when it is due."""
        self.now = max(self.now, min(at for _, at in self._tasks.values() if at is not None)) + self._lasts
        for task, _ in list(self._tasks.values()):
            found = aftermath._seen(task, self._seen, None, self.now, self._lasts)
            known = task._replace(details={**task.details, **found.details})
            self._tasks[task.id] = known, found.again

    def known(self, task: UUID) -> None:
        """Of this one it is known how it ended: nobody looks for it any more."""
        del self._tasks[task]

    def told(self, task: UUID) -> dict[str, Any]:
        told: dict[str, Any] = self._tasks[task][0].details["termination"]
        return told


@pytest.mark.parametrize("lasts", [0.0, 0.3, 8.0])
def test_tasks_of_one_host_do_not_make_each_others_time_pass(lasts: float) -> None:
    """Of the first one it is not said after an hour that it was looked for over a week."""
    host = Host(AT_WORK, lasts)
    first = host.ended()
    while host.now < END + seconds(3600):
        other = host.ended()
        host.look()
        host.known(other)
        assert host.told(first)["looked_for"] <= (host.now - END).total_seconds() + 0.001
        assert host.told(first)["looking"]
    assert host.told(first)["looked_for"] > 1800


@pytest.mark.parametrize("lasts", [0.0, 0.3, 8.0])
@pytest.mark.parametrize("took", [0.0, 20.0, 33.0, 3600.0])
@pytest.mark.parametrize("others", [False, True])
def test_what_a_broken_line_held_back_is_waited_for(took: float, lasts: float, others: bool) -> None:
    """As long as it may have been held, at most two minutes, and not much longer."""
    host = Host(NOTHING, lasts)
    task = host.ended(took=took, details={"begun": False})
    host.look()
    first = (host.now - END).total_seconds()
    held = min(took + first, 120.0)
    while host.told(task)["looking"]:
        assert host.told(task)["state"] == "unconfirmed"
        other = host.ended() if others else None
        host.look()
        if other is not None:
            host.known(other)
    known = (host.now - END).total_seconds()
    assert host.told(task)["state"] == "confirmed"
    assert first + held <= known - lasts <= first + held + 5 + lasts


def test_a_clock_that_jumps_makes_no_time_pass_but_what_was_planned() -> None:
    host = Host(AT_WORK, 0.0)
    task = host.ended()
    host.look()
    before = host.told(task)["looked_for"]
    host.now += seconds(30 * 24 * 3600)
    host.look()
    assert host.told(task)["looked_for"] == before + 5
    assert host.told(task)["looking"]
