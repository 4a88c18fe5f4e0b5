"""asyncssh's connection with less work for each packet, and a channel whose reader sets the pace.

Leans on private names of asyncssh, which pyproject.toml therefore pins exactly; the tests for rekeying,
refused logins and cut connections (tests/ssh) tell when a new version needs another look. What it saves
is measured by `make bench`; without the connection everything works as before, only slower.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
from asyncssh.connection import _connect
from asyncssh.constants import MSG_CHANNEL_WINDOW_ADJUST, MSG_IGNORE, MSG_USERAUTH_FAILURE
from asyncssh.logging import SSHLogger
from asyncssh.packet import SSHPacket, UInt32

from testum.ssh.client import Client


class _Logger(SSHLogger):
    """asyncssh's logger, which does not prepare what nobody reads."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log, if the level is logged."""
        if self.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)


def _not_logged(*packet: Any) -> None:
    """Making the text costs more than encrypting the packet."""


class QuickConnection(asyncssh.SSHClientConnection):
    """Differs in two ways that no peer can tell, and says less to the log.

    What is sent within one turn of the loop is written with one system call: a handshake or a command is
    several packets, and each write wakes the peer. And no empty MSG_IGNORE goes before every packet: that
    is a defence of CBC ciphers (RFC 4251, section 9.3.1), which we do not offer.
    """

    _unsent: list[bytes] | None = None
    _owner: Client

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._logger = _Logger(self._logger._logger, context=self._logger._context)

    def _send(self, data: bytes) -> None:
        if self._unsent is not None:
            self._unsent.append(data)
            return
        transport = self._transport
        if transport is not None:
            self._unsent = [data]
            self._loop.call_soon(self._flush, transport)

    def _flush(self, transport: asyncio.Transport) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent and not transport.is_closing():
            transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet, unless it is one to be ignored. The handler would only log it."""
        if pkttype != MSG_IGNORE:
            super().send_packet(pkttype, *args)

    def _process_userauth_failure(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """asyncssh passes over whether what was tried was right and is not all that is asked for (RFC 4252, 5.1)."""
        answer = SSHPacket(packet.get_remaining_payload())
        methods, partial = answer.get_namelist(), answer.get_boolean()
        self._owner.answered([method.decode("ascii", "replace") for method in methods], partial=partial)
        super()._process_userauth_failure(pkttype, pktid, packet)

    _packet_handlers = {  # noqa: RUF012 - as asyncssh has it
        **asyncssh.SSHClientConnection._packet_handlers,
        MSG_USERAUTH_FAILURE: _process_userauth_failure,
    }

    def add_channel(self, chan: Any) -> int:
        """Take a channel, whose packets are not logged either."""
        chan.log_sent_packet = chan.log_received_packet = _not_logged
        return super().add_channel(chan)

    log_sent_packet = log_received_packet = staticmethod(_not_logged)  # type: ignore[assignment]


async def connect(
    host: str,
    port: int,
    username: str,
    client: Client,
    options: Any,
    tunnel: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    """As asyncssh.connect, with the options copied instead of prepared anew. Raises what that raises."""
    loop = asyncio.get_running_loop()
    options = copy.copy(options)
    options.host = options.orig_host = host
    options.port = port
    options.username = username
    options.tunnel = tunnel
    options.protocol_factory = lambda: client
    given_up = False

    def make() -> QuickConnection:
        connection = QuickConnection(loop, options, wait="auth")
        if given_up:
            # A tunnel's channel that opens after all: asyncssh would log in with nobody there to close it.
            loop.call_soon(connection.abort)
        return connection

    try:
        connection: asyncssh.SSHClientConnection = await _connect(
            options, None, loop, 0, None, make, "Opening"
        )
    except BaseException:
        given_up = True
        raise
    return connection


def whole_status(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    """Take the exit status as it is sent, a number of 32 bits (RFC 4254, section 6.10): asyncssh keeps the lowest eight of
    them, so that 256 would be a success."""

    def take(packet: SSHPacket) -> bool:
        status = packet.get_uint32()
        packet.check_end()
        if channel._exit_status is not None or channel._exit_signal is not None:
            raise asyncssh.ProtocolError("more than one exit status")
        channel._exit_status = status
        assert channel._session is not None
        channel._session.exit_status_received(status)
        return True

    channel._process_exit_status_request = take  # type: ignore[method-assign]


def around_request(
    channel: asyncssh.SSHClientChannel[bytes],
    before: Callable[[], Awaitable[None]],
    behind: Callable[[], Awaitable[None]],
) -> None:
    """Wait for `before` once the channel is open, then send the request that starts the program, and wait for `behind` at
    once, before the request's answer: what that sends at once goes out with it, in one write."""

    async def make_request(request: bytes, *args: bytes) -> bool:
        await before()
        if channel._send_chan is None:
            return False
        answer: asyncio.Future[bool] = channel._loop.create_future()
        # Where `behind` fails, nobody asks for it.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        channel._request_waiters.append(answer)
        channel._send_request(request, *args, want_reply=True)
        await behind()
        accepted = await answer
        if accepted and channel._session is None:
            raise asyncssh.ConnectionLost("the channel was closed by the program's end")
        return accepted

    channel._make_request = make_request  # type: ignore[method-assign]


def keep_window(channel: asyncssh.SSHClientChannel[bytes]) -> None:
    """From now on let the peer send only what `open_window` gives it, beyond the first window.

    asyncssh opens the window again in full as soon as it delivers anything, however much waits still to
    be delivered: with a slow reader what waits would grow without bound.
    """
    channel._init_recv_window = 0


def open_window(channel: asyncssh.SSHClientChannel[bytes], size: int) -> None:
    """Let the peer send so many more bytes (RFC 4254, section 5.2)."""
    channel._recv_window += size
    channel.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(size))
