"""How many files and connections this process may have open (getrlimit(2), RLIMIT_NOFILE), and for what."""

import resource

_MOST = 65_536
"""More is of no use, and some programs that are started look at each of them."""
_RESERVED = 1024
"""Kept for clients, the database and files of output, where there are enough."""


def raise_limit() -> None:
    """Let this process have as many open as it may have without asking anybody (the hard limit)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def for_connections() -> int:
    """How many of them SSH connections may take: all but what is kept for the rest, and at least half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(soft - _RESERVED, soft // 2, 1)
