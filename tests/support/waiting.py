"""Waiting, the only place of the tests where a sleep stands: for an event or a state, never for a time alone.

The limit is there so that a test which waits for what never comes ends. It is no promise: tests that promise a time
are marked `alone` and measure it themselves.
"""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, TypeVar

LIMIT_SECONDS = 60.0
"""Enough for what takes a second on a machine that has much else to do."""
_LOOK_SECONDS = 0.02
_SELDOM_SECONDS = 0.1
"""A look may be a request: the longer it is waited, the less often."""

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    seconds: float = LIMIT_SECONDS,
    *,
    otherwise: Callable[[], object] | None = None,
) -> T:
    """Wait until the condition's answer is true; that answer. Fails when it is not after so many seconds, and says
    `otherwise` then."""
    begun = time.monotonic()
    while not (answer := condition()):
        waited = time.monotonic() - begun
        assert waited < seconds, _not_so(seconds, otherwise)
        time.sleep(_until_next(waited))
    return answer


def stays(condition: Callable[[], object], seconds: float) -> None:
    """Fails when the condition ceases to be true within so many seconds: for what must not happen where no event
    tells that it would have happened by now."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), "no longer so"
        time.sleep(_LOOK_SECONDS)
    assert condition(), "no longer so"


async def eventually(
    condition: Callable[[], Any],
    seconds: float = LIMIT_SECONDS,
    *,
    otherwise: Callable[[], object] | None = None,
) -> Any:
    """`until` for an event loop; the condition may be a coroutine's function."""
    begun = time.monotonic()
    while not (answer := await _answer(condition)):
        waited = time.monotonic() - begun
        assert waited < seconds, _not_so(seconds, otherwise)
        await asyncio.sleep(_until_next(waited))
    return answer


async def remains(condition: Callable[[], object], seconds: float) -> None:
    """`stays` for an event loop; the condition may be a coroutine's function."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert await _answer(condition), "no longer so"
        await asyncio.sleep(_LOOK_SECONDS)
    assert await _answer(condition), "no longer so"


async def turns(number: int = 1) -> None:
    """Let the event loop turn so many times: what is ready runs."""
    for _ in range(number):
        await asyncio.sleep(0)


def pause(seconds: float) -> None:
    """For a stand-in that must be slow, or a fault that must last or come at a certain moment: never to wait for
    something."""
    time.sleep(seconds)


async def lag(seconds: float) -> None:
    """`pause` for an event loop."""
    await asyncio.sleep(seconds)


async def _answer(condition: Callable[[], Any]) -> Any:
    answer = condition()
    return await answer if isawaitable(answer) else answer


def _not_so(seconds: float, otherwise: Callable[[], object] | None) -> str:
    return f"not so after {seconds} seconds{f': {otherwise()}' if otherwise else ''}"


def _until_next(waited: float) -> float:
    """How long to wait for the next look."""
    return min(_SELDOM_SECONDS, max(_LOOK_SECONDS, waited / 10))
