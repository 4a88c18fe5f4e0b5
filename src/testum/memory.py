"""The memory of the process: what was needed for a moment goes back to the system, and garbage is looked for rarely."""

import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt(3)."""
_LARGE = 1024 * 1024
_NEW_OBJECTS = 10_000
"""So many new objects before garbage is looked for among them. Python's own 700 are made by the start of four tasks, whose
objects it would look through while they are in use: a tenth of a millisecond for each task."""


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


def look_for_garbage() -> None:
    """Turn on the search for garbage that the start does without. What is there now stays, and is not looked through (gc,
    Python's manual, on freeze)."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
    gc.enable()
