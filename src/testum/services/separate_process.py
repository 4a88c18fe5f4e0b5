"""Work that is done in a process of its own: what it takes of memory comes back, it keeps nobody waiting, its time is limited,
and what ends it ends nothing else."""

import asyncio
import sys
from contextlib import suppress
from subprocess import DEVNULL, PIPE
from weakref import WeakKeyDictionary

_AT_ONCE = 2
"""So many processes; who wants more waits."""
_places: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


class Failed(Exception):
    """It took too long, or ended without an answer."""


async def ask(module: str, asked: bytes, *, seconds: float) -> bytes:
    """What a module of ours, run as a program, prints when it is given this on stdin. Raises Failed."""
    places = _places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE))
    async with places:
        try:
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-m", module, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
        except OSError as error:
            raise Failed(str(error)) from None
        try:
            async with asyncio.timeout(seconds):
                answer, _ = await running.communicate(asked)
        except TimeoutError:
            raise Failed("it took too long") from None
        finally:
            if running.returncode is None:
                with suppress(ProcessLookupError):
                    running.kill()
                await running.wait()
    if running.returncode != 0:
        raise Failed(f"it ended with {running.returncode}")
    return answer
