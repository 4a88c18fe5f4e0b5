"""How long a transaction may wait for an SQLite file that another program holds."""

import time
from contextvars import ContextVar

BUSY_SECONDS = 3.0
"""Whoever asked is told within five seconds, what it takes besides included."""

waiting_since: ContextVar[float | None] = ContextVar("waiting_since", default=None)
"""When the present transaction was asked for, by `time.monotonic`."""


def left() -> float:
    """The seconds that the present transaction may still wait: those in which it stood behind others of this process count,
    which waited for the same program."""
    since = waiting_since.get()
    return BUSY_SECONDS if since is None else max(BUSY_SECONDS - (time.monotonic() - since), 0.0)
