"""The memory of the process: what was needed for a moment goes back to the system."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
_LARGE = 1024 * 1024


def give_back() -> None:
    """Have the C library return large blocks as soon as they are free. To be called before there are threads.

    A password's hash takes 19 MiB. By itself glibc takes the first such block for a hint that more will come, keeps it,
    and one more for each thread that has computed a hash. Setting a threshold ends that guess (mallopt(3), notes on
    M_MMAP_THRESHOLD). Where the C library is another, nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
        mallopt(_ARENA_MAX, 1)
