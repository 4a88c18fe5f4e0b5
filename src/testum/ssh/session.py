"""What a program's channel delivers, held until it is taken."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR

from testum.ssh.errors import SSHError
from testum.ssh.execution import MAX_OUTPUT, Exit, Output, Progress, StreamName
from testum.ssh.fast_connection import around_request, keep_window, open_window, whole_status
from testum.ssh.program import Request

WINDOW = 2 * 1024 * 1024
"""The most bytes that wait for the reader. The server sends no more until some are taken."""
_MOST_OF_SIGNAL = 32
_GIVE_BACK = WINDOW // 4
_SLOW_ABOVE = WINDOW // 2
_PID, _PART_OF_PID = re.compile(rb"([0-9]{1,10})\n"), re.compile(rb"[0-9]{0,10}\Z")


class Session(asyncssh.SSHClientSession[bytes]):
    """Takes what the channel delivers.

    The request goes out as soon as the channel is open, and starts a shell that waits for the program; that follows when it
    is allowed to. A plain program is begun by the request, which therefore waits. `requested` turns true just before the
    request goes out: up to then the program may be sent over another connection. `sent` turns true just before the program
    goes out: up to then nothing can have been run.
    """

    def __init__(self, request: Request | None = None, progress: Progress | None = None) -> None:
        request = request or Request("")
        self._stdin = request.stdin
        self._mark = request.mark
        self._nonce = request.nonce
        self._stop = request.stop
        self._echoed: set[StreamName] = set()
        """Where something repeats what the shell gets, and that may be secret."""
        self.progress = progress or Progress()
        self._unclear: dict[StreamName, bytes] = {}
        self.begun = not self._mark
        """Whether the program is known to have begun, or nobody can know."""
        self.stdout: StreamName = "stdout"
        """Where the program's stdout comes."""
        self.requested = False
        self.sent = False
        self.permission: Callable[[], Awaitable[None]] = self.progress.permission
        """What is waited for before the program goes out."""
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.closed = False
        self.complete = False
        """Whether the channel was closed in order: all output has come."""
        self.failure: SSHError | None = None
        self.exit: Exit | None = None
        self.last_output = 0.0
        self._held: deque[Output] = deque()
        self._held_bytes = 0
        self._taken = 0
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open; asyncssh sends the request next."""
        keep_window(chan)
        whole_status(chan)
        around_request(chan, self._before_request, self._behind_request)
        self.channel = chan

    async def _before_request(self) -> None:
        """Raises asyncssh.ConnectionLost where the channel is closed by now."""
        if not self._mark:
            await self.permission()
        if self.closed:
            raise asyncssh.ConnectionLost("the channel was closed before the request")
        self.requested = True
        if not self._mark:
            self._sending()

    async def _behind_request(self) -> None:
        if self._mark:
            await self.permission()
            if self.closed or self.exit is not None:
                # Nobody waits for it any more.
                return
            self._sending()
        assert self.channel is not None
        if self._stdin and not self.channel.is_closing():
            self.channel.write(self._stdin)
        self.channel.write_eof()

    def _sending(self) -> None:
        self.sent = True
        self.progress.sending()
        self.last_output = self._loop.time()

    def give_up(self) -> None:
        """Close the channel at once. A shell that waits for the program is told to end."""
        if self.channel is None:
            return
        if self.requested and not self.sent and not self.channel.is_closing():
            self.channel.write(self._stop)
        self.channel.abort()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Hold output. After a failure nothing more is held: a program that never stops printing would keep
        it from ever being told."""
        if self.failure is not None:
            return
        stream: StreamName = "stderr" if datatype == EXTENDED_DATA_STDERR else "stdout"
        if self.begun:
            self._hold(stream, data)
        else:
            self._look_for_mark(stream, data)
        self.last_output = self._loop.time()
        self.wake()

    def _hold(self, stream: StreamName, data: bytes) -> None:
        if data:
            self._held.append(Output(stream, data, early=not self.begun))
            self._held_bytes += len(data)

    def _look_for_mark(self, stream: StreamName, data: bytes) -> None:
        """Take the mark out of a stream: a start-up file may have put stderr in the place of stdout. What may be its first
        part, or the nonce's, waits for the rest."""
        if stream in self._echoed:
            self._give_back(len(data))
            return
        data = self._unclear.pop(stream, b"") + data
        start, found = self._find_mark(data)
        before = data[:start] if found else data
        shown, nonce, _ = before.partition(self._nonce)
        if nonce:
            self._echoed.add(stream)
            self._give_back(len(before) - len(shown))
            self._hold(stream, shown)
            return
        if found:
            self._give_back(found.end() - start)
            self._hold(stream, before)
            self._hold_unclear()
            self.begun, self.stdout = True, stream
            self.progress.beginning(int(found[1]))
            self._hold(stream, data[found.end() :])
            return
        kept = max(
            len(data) - start if start >= 0 else _begun_at_the_end(before, self._mark),
            _begun_at_the_end(before, self._nonce),
        )
        self._unclear[stream] = before[len(before) - kept :]
        self._hold(stream, before[: len(before) - kept])

    def _hold_unclear(self) -> None:
        while self._unclear:
            self._hold(*self._unclear.popitem())

    def _find_mark(self, data: bytes) -> tuple[int, "re.Match[bytes] | None"]:
        """Where the mark with the shell's process id stands, or may stand once more has come (-1: nowhere), and the id."""
        start = data.find(self._mark)
        while start >= 0:
            behind = start + len(self._mark)
            if (found := _PID.match(data, behind)) or _PART_OF_PID.match(data, behind):
                return start, found
            start = data.find(self._mark, behind)
        return -1, None

    def exit_status_received(self, status: int) -> None:
        """The program ended by itself."""
        self.exit = Exit(status, None, core_dumped=False)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        """The program was ended by a signal."""
        # A name of the server's own may be of any length (RFC 4254, 6.10).
        self.exit = Exit(None, signal.removeprefix("SIG")[:_MOST_OF_SIGNAL], core_dumped)

    def eof_received(self) -> bool:
        """All output has come; the status follows."""
        self.complete = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, in order or with the connection."""
        self.closed = True
        if self.failure is None:
            self._hold_unclear()
        if self.channel is not None:
            # A connection that is gone has no peer any more.
            alive = exc is None and self.channel.get_extra_info("peername") is not None
            self.complete = self.complete or alive
            if alive and self.exit is None:
                self.exit = Exit(None, None, core_dumped=False)
        self.wake()

    @property
    def held_back(self) -> bool:
        """Whether the program may be unable to print because its reader is slow."""
        return self._held_bytes > _SLOW_ABOVE

    def fail(self, failure: SSHError) -> None:
        """End the iteration with an error, after what has come."""
        if self.failure is None and not self.closed:
            self.failure = failure
            self.wake()

    def wake(self) -> None:
        """Something has changed for whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until something changes."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def take(self) -> Output | None:
        """The next output: all that follows of the same stream, up to MAX_OUTPUT."""
        if not self._held:
            return None
        output = self._held.popleft()
        size = len(output.data)
        pieces = [output.data]
        while self._held and self._follows(output, size):
            pieces.append(self._held.popleft().data)
            size += len(pieces[-1])
        if len(pieces) > 1:
            output = Output(output.stream, b"".join(pieces), output.early)
        if self.held_back:
            # The program may not have been able to print: it was not idle of its own.
            self.last_output = self._loop.time()
        self._held_bytes -= size
        self._give_back(size)
        return output

    def _give_back(self, size: int) -> None:
        """So many bytes wait for nobody any more: let the server send as many."""
        self._taken += size
        if self._taken >= _GIVE_BACK and self.channel is not None and not self.closed:
            open_window(self.channel, self._taken)
            self._taken = 0

    def _follows(self, output: Output, size: int) -> bool:
        """Whether what is held next goes on where `output`, of so many bytes by now, ends."""
        following = self._held[0]
        return (
            following.stream == output.stream
            and following.early == output.early
            and size + len(following.data) <= MAX_OUTPUT
        )


def _begun_at_the_end(data: bytes, word: bytes) -> int:
    """How many bytes at the end of the data may be the beginning of the word."""
    most = min(len(data), len(word) - 1)
    return next(size for size in range(most, -1, -1) if data.endswith(word[:size]))
