"""A program at work: its output as it comes, with back-pressure, and how it ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testum.ssh.endpoint import Timeouts
from testum.ssh.errors import CommandTimeout, ConnectionLost, IdleTimeout, NotBegun

if TYPE_CHECKING:
    from testum.ssh.session import Session

MAX_OUTPUT = 256 * 1024
"""The most bytes in one Output."""

StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Output:
    """Some bytes of one stream, as they came. `early`: before the program was begun, so from the account's start-up
    files."""

    stream: StreamName
    data: bytes
    early: bool = False


@dataclass(frozen=True, slots=True)
class Exit:
    """How the program ended: by itself with a status, or by a signal (RFC 4254, section 6.10). Some
    network devices say neither; then both are None."""

    status: int | None
    signal: str | None
    core_dumped: bool


@dataclass(frozen=True, slots=True)
class Shell:
    """The shell that began a program: its process id on the host, and by when (time.monotonic) it had that."""

    pid: int
    by: float


class Progress:
    """How far a program came: what is false while a failure or a cancellation ends it says what may be on the host."""

    def __init__(
        self, before_sending: Callable[[], Awaitable[None]] | None = None, attempt: str = ""
    ) -> None:
        """`before_sending` is waited for once, when all is ready, before anything of the program goes out. What it raises
        ends the attempt: nothing is sent then. `attempt`: digits that name this one among all that are made to run what has
        the same marker; where it comes to nothing because this process dies, a look finds that by them (see Sought)."""
        self._before_sending = before_sending
        self.attempt = attempt
        self.sent = False
        """Whether it may have been sent; if not, nothing was run."""
        self.sent_at: float | None = None
        """When it was first about to be, by time.monotonic."""
        self.begun = False
        """Whether it has proven that it began; a plain one never does."""
        self.shell: Shell | None = None
        """The shell that began it."""
        self.ended = False
        """Whether the host said how it ended."""

    async def permission(self) -> None:
        """Wait until the program may go out."""
        if self._before_sending is not None:
            await self._before_sending()
            self._before_sending = None

    def sending(self) -> None:
        """The program goes out next."""
        self.sent = True
        if self.sent_at is None:
            self.sent_at = time.monotonic()

    def beginning(self, pid: int) -> None:
        """The program begins, by the shell with this process id."""
        self.begun = True
        self.shell = Shell(pid, time.monotonic())

    def ending(self) -> None:
        """The program has ended."""
        self.ended = True


def _not_begun(address: str, ended: Exit) -> NotBegun:
    how = f"by signal {ended.signal}" if ended.signal else f"with exit status {ended.status}"
    return NotBegun(
        f"{address}: the shell ended {how} without having shown that it began the program. The account may not be allowed to run it, "
        "have a shell that testum cannot use or a command of its own (ForceCommand), or a start-up file that ends the "
        "shell, runs another one or sends its output elsewhere. What was printed may say more. A device without a POSIX shell needs a platform whose "
        "shell is `plain`.",
        ended.status,
    )


class Execution:
    """A started program. Iterate over it: Output as it comes, then one Exit. Its channel is closed by whoever opened it
    (Pool.run); a program that still runs is not ended by that (see Pool.terminate)."""

    def __init__(self, session: "Session", timeouts: Timeouts, address: str) -> None:
        self._session = session
        self._timeouts = timeouts
        self._address = address
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def stdout(self) -> StreamName:
        """The stream in which the program's stdout comes: another one where the account's start-up files have put that in its
        place. Known when output comes that is not early."""
        return self._session.stdout

    def begin(self) -> None:
        """It was sent: its time begins."""
        timeouts = self._timeouts
        if timeouts.total is not None:
            self._timers["total"] = self._loop.call_later(timeouts.total, self._total_over)
        if timeouts.idle is not None:
            self._timers["idle"] = self._loop.call_later(timeouts.idle, self._check_idle, timeouts.idle)

    def _total_over(self) -> None:
        self._session.fail(
            CommandTimeout(f"The command did not end within {self._timeouts.total:g} seconds.")
        )

    def _check_idle(self, limit: float) -> None:
        quiet = 0.0 if self._session.held_back else self._loop.time() - self._session.last_output
        if quiet < limit:
            self._timers["idle"] = self._loop.call_later(limit - quiet, self._check_idle, limit)
        else:
            self._session.fail(IdleTimeout(f"The command printed nothing for {limit:g} seconds."))

    def __aiter__(self) -> "Execution":
        return self

    async def __anext__(self) -> Output | Exit:
        """The next event. Raises CommandTimeout, IdleTimeout, ConnectionLost or NotBegun after the last output."""
        session = self._session
        while True:
            output = session.take()
            if output is not None:
                return output
            if self._ended:
                raise StopAsyncIteration
            if session.failure is not None:
                raise session.failure
            if session.closed and session.complete and session.exit is not None:
                session.progress.ending()
                if not session.begun:
                    raise _not_begun(self._address, session.exit)
                self._ended = True
                return session.exit
            if session.closed:
                raise ConnectionLost(
                    f"{self._address}: the connection broke while the command ran. Whether it finished is not known."
                )
            await session.wait()

    def close(self) -> None:
        """Close the channel."""
        for timer in self._timers.values():
            timer.cancel()
        if self._session.channel is not None and not self._session.closed:
            self._session.channel.close()
