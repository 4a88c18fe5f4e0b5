"""Work that is for whoever waits for it, and ends when they have gone."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from fastapi import Request

T = TypeVar("T")


async def while_waited_for(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work gives; it is cancelled, and this is None, where the client hangs up before. The request's body
    must have been read."""
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return await doing
    finally:
        leaving.cancel()
        doing.cancel()
    with suppress(asyncio.CancelledError):
        await doing
    return None


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
