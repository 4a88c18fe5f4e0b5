"""One connection in the pool, and how a program is started over it."""

import asyncio
from collections.abc import Callable

import asyncssh

from testum.ssh.client import Client
from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import ChannelRefused, ConnectionLost
from testum.ssh.execution import WINDOW, Execution, Session
from testum.ssh.patience import Patience
from testum.ssh.program import Request

_SILENT_AFTER = 3.0
"""Seconds after which a connection that was fine before, but opens no channel, is left for a new one."""


class NotSent(Exception):
    """The program was not sent over this connection, and may be sent over another. `dead`: because the
    connection was, and not because it is full."""

    def __init__(self, *, dead: bool) -> None:
        super().__init__()
        self.dead = dead


class Link:
    """One connection and who uses it: `channels` programs, and `pins` of those who go through it or are about
    to use it."""

    def __init__(
        self,
        endpoint_id: str,
        connection: asyncssh.SSHClientConnection,
        client: Client,
        jump: "Link | None",
        capacity: int,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.connection = connection
        self.client = client
        self.jump = jump
        self.capacity = capacity
        self.channels = 0
        self.pins = 0
        self.used = False
        """Whether it has run a program: one that never did says more about the server when it fails."""
        self.dropped = False
        """Whether we closed it. asyncssh itself says so only a moment later."""
        self.idle_timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0

    @property
    def idle(self) -> bool:
        """Whether nobody uses it."""
        return self.channels == 0 and self.pins == 0

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return not self.dropped and not self.connection.is_closed()

    def retire(self) -> None:
        """Take no more programs. Those under way go on, and it is closed when they have ended."""
        self.capacity = 0

    def trusted_by(self, endpoint: Endpoint) -> bool:
        """Whether what is trusted now still covers the key that this connection was made with."""
        trust, shown = endpoint.trust, self.client.presented
        if not trust.known:
            return trust.policy == "auto_add"
        return shown is not None and any(known.public_key == shown.public_key for known in trust.known)


async def start_program(
    link: Link,
    request: Request,
    endpoint: Endpoint,
    timeouts: Timeouts,
    *,
    on_send: Callable[[], None] | None,
    on_begin: Callable[[], None] | None,
    release: Callable[[], None],
) -> Execution:
    """Open a channel and send the request. `release` is for the Execution to call at its end.

    Raises NotSent where another connection may do, ChannelRefused where none will, ConnectionLost where
    the program may have been started.
    """
    session = Session(request.stdin, request.mark, on_begin)

    def factory() -> Session:
        if on_send is not None:
            on_send()
        return session

    limit = max(timeouts.connect, 1.0)
    if link.used:
        limit = min(limit, _SILENT_AFTER)
    try:
        async with Patience(limit) as clock:
            opening = link.connection.create_session(factory, request.line, encoding=None, window=WINDOW)
            await opening
    except BaseException as error:
        if session.channel is not None:
            session.channel.abort()
        elif isinstance(error, asyncio.CancelledError | TimeoutError):
            # The channel may still open, with nobody to close it. It goes with the connection.
            link.retire()
        if isinstance(error, asyncssh.ChannelOpenError) and link.alive:
            raise _refused(link, session, endpoint, error) from None
        if isinstance(error, asyncssh.Error | OSError) and not clock.expired():
            link.retire()
            if not session.sent:
                raise NotSent(dead=True) from error
            raise ConnectionLost(
                f"{endpoint.address}: the connection broke as the command was sent. Whether it was started is "
                "not known."
            ) from error
        if clock.expired():
            if not session.sent and link.used:
                raise NotSent(dead=True) from None
            raise ConnectionLost(
                f"{endpoint.address}: the server stopped answering as the command was sent."
            ) from None
        raise
    link.used = True
    return Execution(session, timeouts, endpoint.address, release)


def _refused(
    link: Link, session: Session, endpoint: Endpoint, error: asyncssh.ChannelOpenError
) -> NotSent | ChannelRefused:
    """What a refused channel means. With others open, the server allows fewer than we thought; on a
    connection that has run programs, some that we let go of may hold their place on the server."""
    if not session.sent and link.capacity and (link.channels > 1 or link.used):
        link.capacity = min(link.capacity, link.channels - 1)
        return NotSent(dead=False)
    return ChannelRefused(
        f"{endpoint.address}: the server lets nothing be run ({_printable(error.reason)}). Is the account "
        "restricted, or at its session limit?"
    )


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:200]
