"""One connection in the pool, and how a program is started over it."""

import asyncio
from typing import TYPE_CHECKING

from testum.ssh.endpoint import Endpoint, Timeouts
from testum.ssh.errors import ChannelRefused, ConnectionLost
from testum.ssh.execution import Execution, Progress
from testum.ssh.program import Request
from testum.ssh.time_limits import TimeLimit

if TYPE_CHECKING:
    import asyncssh

    from testum.ssh.client import Client
    from testum.ssh.session import Session

_SILENT_AFTER = 3.0
"""Seconds after which a connection that was fine before, but opens no channel, is left for a new one."""


class NotSent(Exception):
    """The program was not sent over this connection, and may be sent over another. `dead`: because the
    connection was, and not because it is full."""

    def __init__(self, *, dead: bool) -> None:
        super().__init__()
        self.dead = dead


class Link:
    """One connection, from when it is wanted until it is closed."""

    def __init__(self, endpoint_id: str, capacity: int) -> None:
        self.endpoint_id = endpoint_id
        self.capacity = capacity
        """The most programs at once; 0: no more."""
        self.users: dict[object, int] = {}
        """Who uses it or waits for it, and with how many programs: 0 for one that goes through it."""
        self.times_used = 0
        self.has_run = False
        """Whether it has run a program: one that never did says more about the server when it fails."""
        self.has_begun = False
        """Whether it is being made, and does not wait for a place below the limit any more."""
        self.closing = asyncio.Event()
        """It is to be closed, or is gone."""
        self.idle_timer: asyncio.TimerHandle | None = None
        self._client: Client | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    @property
    def seats(self) -> int:
        """How many programs use it or wait for it."""
        return sum(self.users.values())

    @property
    def opening(self) -> bool:
        """Whether it is wanted or being made."""
        return self._client is None and self._error is None

    @property
    def connection(self) -> "asyncssh.SSHClientConnection":
        """What it consists of, once it stands."""
        assert self._client is not None
        return self._client.connection

    def stand(self, client: "Client") -> None:
        """It is made."""
        self._client = client
        self.stir()

    def fail(self, error: BaseException) -> None:
        """It could not be made."""
        if self.opening:
            self._error = error
            self.stir()

    def check(self) -> None:
        """Raises why it could not be made, if so."""
        if self._error is not None:
            raise self._error

    async def change(self) -> None:
        """Until it is made or has failed, or `stir` is called."""
        await self._changed.wait()

    def stir(self) -> None:
        """Let those who wait look again."""
        self._changed.set()
        self._changed.clear()

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._client is not None and not self.closing.is_set() and not self.connection.is_closed()

    def takes(self, seats: int) -> bool:
        """Whether so many more programs may run."""
        return self.capacity > 0 and self.seats + seats <= self.capacity

    def retire(self) -> None:
        """Take no more programs. Those under way go on, and it is closed when they have ended."""
        self.capacity = 0

    def trusted_by(self, endpoint: Endpoint) -> bool:
        """Whether what is trusted now still covers the key that this connection was made with."""
        assert self._client is not None
        trust, shown = endpoint.trust, self._client.presented
        if not trust.known:
            return trust.policy == "auto_add"
        return shown is not None and any(known.public_key == shown.public_key for known in trust.known)


async def start_program(
    link: Link,
    request: Request,
    endpoint: Endpoint,
    timeouts: Timeouts,
    progress: Progress,
) -> Execution:
    """Open a channel and send the request. Whoever gets the execution closes it.

    Raises NotSent where another connection may do, ChannelRefused where none will, ConnectionLost where
    the program may have been started.
    """
    from testum.ssh.session import Session

    session = Session(request, progress)
    execution = Execution(session, timeouts, endpoint.address)
    try:
        await _open(link, session, request.line, endpoint, timeouts)
    except BaseException:
        execution.close()
        raise
    link.has_run = True
    execution.begin()
    return execution


async def _open(
    link: Link,
    session: "Session",
    line: str,
    endpoint: Endpoint,
    timeouts: Timeouts,
) -> None:
    import asyncssh

    from testum.ssh.session import WINDOW

    async def permission() -> None:
        with clock.paused():
            await session.progress.permission()

    session.permission = permission
    limit = max(timeouts.connect, 1.0)
    if link.has_run:
        limit = min(limit, _SILENT_AFTER)
    clock = TimeLimit(limit)
    try:
        async with clock:
            await link.connection.create_session(lambda: session, line, encoding=None, window=WINDOW)
    except BaseException as error:
        if isinstance(error, asyncssh.ConnectionLost) and session.complete and session.exit is not None:
            # It ended before the program could be sent: its exit says the rest.
            return
        session.give_up()
        if session.channel is None and not isinstance(error, asyncssh.ChannelOpenError):
            # The channel may still open, with nobody to close it. It goes with the connection.
            link.retire()
        if isinstance(error, asyncssh.ChannelOpenError) and link.alive:
            raise _refused(link, session, endpoint, error) from None
        if isinstance(error, asyncssh.Error | OSError) and not clock.expired():
            link.retire()
            if not session.requested:
                raise NotSent(dead=True) from error
            if not session.sent:
                # A look that finds the shell that waited takes it for this attempt's only one (see Progress).
                raise ConnectionLost(
                    f"{endpoint.address}: the connection broke before the command was sent. Nothing of it was run."
                ) from error
            raise ConnectionLost(
                f"{endpoint.address}: the connection broke as the command was sent. Whether it was started is "
                "not known."
            ) from error
        if clock.expired():
            if not session.requested and link.has_run:
                raise NotSent(dead=True) from None
            raise ConnectionLost(
                f"{endpoint.address}: the server stopped answering as the command was sent."
            ) from None
        raise


def _refused(
    link: Link, session: "Session", endpoint: Endpoint, error: "asyncssh.ChannelOpenError"
) -> NotSent | ChannelRefused:
    """What a refused channel means. With others open, the server allows fewer than we thought; on a
    connection that has run programs, some that we let go of may hold their place on the server."""
    if not session.requested and link.capacity and (link.seats > 1 or link.has_run):
        link.capacity = min(link.capacity, link.seats - 1)
        return NotSent(dead=False)
    return ChannelRefused(
        f"{endpoint.address}: the server lets nothing be run ({_printable(error.reason)}). Is the account "
        "restricted, or at its session limit?"
    )


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:200]
