"""Waiting for a database that is away: what a task is in the midst of must not fail for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from testum.errors import StorageUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0


async def persist(what: str, step: Callable[[], Awaitable[T]]) -> T:
    """Do a step again and again until the database answers. It may have been done before: it must bear that."""
    complained = False
    while True:
        try:
            return await step()
        except StorageUnavailable as error:
            if not complained:
                log.error("the database is away; trying on", of=what, error=error.message)
                complained = True
            await asyncio.sleep(_RETRY_SECONDS)
