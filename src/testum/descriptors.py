"""How many files and connections this process may have open (getrlimit(2), RLIMIT_NOFILE), and for what."""

import resource

_MOST = 65_536
"""More is of no use, and some programs that are started look at each of them."""
_LEAST_KEPT, _MOST_KEPT = 64, 2048
"""Kept for the database, clients and what they read: a quarter, within these bounds."""


def raise_limit() -> None:
    """Let this process have as many open as it may have without asking anybody (the hard limit)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_tasks(wanted: int) -> int:
    """How many tasks may run at once, where so many are wanted: each may have a file for its output."""
    return max(min(wanted, _free() // 2), 1)


def for_connections(wanted: int, tasks: int) -> int:
    """How many SSH connections there may be beside the files of so many tasks, where so many are wanted."""
    return max(min(wanted, _free() - tasks), 1)


def for_clients() -> int:
    """How many clients of the web server may be connected: half of what is kept."""
    return _kept() // 2


def _free() -> int:
    """All but what is kept."""
    return _most() - _kept()


def _kept() -> int:
    return min(max(_most() // 4, _LEAST_KEPT), _MOST_KEPT)


def _most() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft
