"""The dialer: makes connections for a pool.

asyncssh is imported with the first connection, in a thread: before that, nothing of the engine needs it, and it takes
9 MB and a tenth of a start (docs/decisions/0031).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from testum.ssh.endpoint import Endpoint
from testum.ssh.errors import OutOfDescriptors
from testum.ssh.keys import KeyRing

if TYPE_CHECKING:
    import asyncssh

    from testum.ssh.client import Client

    Connect = Callable[..., AbstractAsyncContextManager[Client]]


def _load() -> "Connect":
    """Import all that connections need; what makes them is returned."""
    from testum.ssh import session  # noqa: F401 - of programs, in `link`
    from testum.ssh.connection import connect

    return connect


class Dialer:
    """Makes connections; what it has read of keys is kept. Belongs to one event loop."""

    def __init__(self, make_room: "Callable[[], asyncio.Task[None] | None]") -> None:
        """`make_room` closes a connection that nobody uses, for its descriptor: until its task ends; None where there is
        none."""
        self._make_room = make_room
        self._keys = KeyRing()
        self._loading: asyncio.Task[Connect] | None = None

    @asynccontextmanager
    async def connected(
        self,
        endpoint: Endpoint,
        timeout: float,
        tunnel: "asyncssh.SSHClientConnection | None",
        *,
        keepalive_interval: float = 0,
        keepalive_count: int = 3,
    ) -> AsyncIterator["Client"]:
        """See `connect`. Where this process has no descriptor left, idle connections give way first."""
        connect = await self._loaded()
        while True:
            async with AsyncExitStack() as stack:
                connected = connect(
                    endpoint,
                    keys=self._keys,
                    tunnel=tunnel,
                    timeout=timeout,
                    keepalive_interval=keepalive_interval,
                    keepalive_count=keepalive_count,
                )
                try:
                    client = await stack.enter_async_context(connected)
                except OutOfDescriptors:
                    leaving = self._make_room()
                    if leaving is None:
                        raise
                else:
                    yield client
                    return
            await asyncio.wait({leaving})

    async def _loaded(self) -> "Connect":
        """What connects, and all that it needs. Raises OSError and ImportError where it cannot be read now; the next
        connection tries again."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load))
        loading = self._loading
        try:
            # Others wait for it, too.
            return await asyncio.shield(loading)
        except (OSError, ImportError):
            if self._loading is loading:
                self._loading = None
            raise
