"""Making one connection: name lookup, TCP, handshake, host key, login."""

import asyncio
import errno
import random
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import asyncssh

from testum.ssh import fast_connection
from testum.ssh.client import OLD, Client, options_for
from testum.ssh.endpoint import Endpoint, KeyAuth, PasswordAuth
from testum.ssh.errors import (
    AuthFailed,
    AuthIncomplete,
    ConnectionRefused,
    ConnectTimeout,
    HandshakeFailed,
    HostKeyChanged,
    HostNotFound,
    KeyRejected,
    OutOfDescriptors,
    SSHError,
    Unreachable,
)
from testum.ssh.keys import KeyRing
from testum.ssh.time_limits import TimeLimit

_CLOSE_SECONDS = 2.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0
_CLOSED = (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)
"""What is raised when a server closes the connection before or in the handshake."""
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_SPARE_DESCRIPTORS = 8
"""Fewer than these left, and a name that did not resolve is not the host's fault: looking it up takes some."""


@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    *,
    keys: KeyRing,
    tunnel: asyncssh.SSHClientConnection | None,
    timeout: float,
    keepalive_interval: float,
    keepalive_count: int,
) -> AsyncIterator[Client]:
    """A connection that is logged in, and whose host key is trusted and recorded; it is closed at the end of the block.

    `tunnel` is the connection to the jump host, if there is one. Raises SSHError.
    """
    key = await keys.load(endpoint.auth) if isinstance(endpoint.auth, KeyAuth) else None
    client = Client(endpoint, key)
    try:
        options = options_for(endpoint, keepalive_interval, keepalive_count)
        await _log_in(endpoint, client, options, tunnel, timeout)
        if client.first_use and client.presented is not None:
            await endpoint.trust.record(client.presented)
        yield client
    finally:
        if client.made is not None:
            await _hang_up(client.made)


async def _log_in(
    endpoint: Endpoint,
    client: Client,
    options: Any,
    tunnel: asyncssh.SSHClientConnection | None,
    timeout: float,
) -> None:
    """A server that closes the connection before it has shown its key has too many others that log in (sshd_config(5),
    MaxStartups): it is asked again within the timeout."""
    closed: Exception | None = None
    through = tunnel is not None
    try:
        async with TimeLimit(timeout):
            for pause in _pauses():
                try:
                    await fast_connection.connect(
                        endpoint.host, endpoint.port, endpoint.username, client, options, tunnel
                    )
                    return
                except _CLOSED as error:
                    if client.presented is not None or client.failure is not None:
                        raise
                    closed = error
                await asyncio.sleep(pause)
    except TimeoutError:
        if closed is not None:
            raise _typed(endpoint, client, closed, through=through) from closed
        raise ConnectTimeout(
            f"{endpoint.address}: no answer within {timeout:g} seconds. Is the host up, and does a firewall let this through?"
        ) from None
    except (asyncssh.Error, OSError) as error:
        if isinstance(client.failure, HostKeyChanged) and client.presented is not None:
            await endpoint.trust.alarm(client.presented)
        raise _typed(endpoint, client, error, through=through) from error


async def _hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection; what runs over it is cut off. Returns when its descriptor is free."""
    connection.abort()
    with suppress(asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.wait_closed()


def _pauses() -> Iterator[float]:
    """Seconds between attempts: longer each time, and never the same for those who were refused together."""
    longest = _FIRST_PAUSE
    while True:
        yield longest * random.uniform(0.5, 1)  # noqa: S311 (nothing secret)
        longest = min(2 * longest, _LONGEST_PAUSE)


def _out_of_descriptors(error: Exception) -> bool:
    """Whether this process may open no more files. A name does not resolve then, and nothing says why."""
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTORS:
        return True
    if not isinstance(error, socket.gaierror) and "Too many open files" not in str(error):
        return False
    # Several, because another connection may have given its own back since.
    with ExitStack() as opened:
        try:
            for _ in range(_SPARE_DESCRIPTORS):
                opened.enter_context(socket.socket())
        except OSError:
            return True
    return False


def _typed(endpoint: Endpoint, client: Client, error: Exception, *, through: bool) -> SSHError:
    where = endpoint.address
    if client.failure is not None:
        return client.failure
    if _out_of_descriptors(error):
        return OutOfDescriptors(
            f"{where}: testum has as many files and connections open as its process may (ulimit -n). The host was not asked."
        )
    match error:
        case asyncssh.PermissionDenied() if client.asked is not None:
            match endpoint.auth:
                case KeyAuth(password=None):
                    given, else_ = "key", "Where that is a password, give the platform both."
                case PasswordAuth():
                    given, else_ = "password", "Where that is a key, give the platform both."
                case KeyAuth():
                    given, else_ = "key and password", "testum has no more to give."
            return AuthIncomplete(
                f"{where}: the {given} of {endpoint.username} is not all that the server asks for. It asks: {client.asked}. "
                f"{else_} Or let the account log in with what there is (AuthenticationMethods).",
                host_key=client.presented,
            )
        case asyncssh.PermissionDenied() if (
            isinstance(endpoint.auth, KeyAuth) and client.refused != "password"
        ):
            return KeyRejected(
                f"{where}: the server does not accept the key. Is its public half in authorized_keys of {endpoint.username}?",
                host_key=client.presented,
            )
        case asyncssh.PermissionDenied():
            return AuthFailed(
                f"{where}: the server does not accept the password of {endpoint.username}.",
                host_key=client.presented,
            )
        case asyncssh.ChannelOpenError() if through:
            return Unreachable(f"{where}: the jump host cannot reach it ({_short(error)}).")
        case asyncssh.KeyExchangeFailed():
            return HandshakeFailed(f"{where}: {_nothing_in_common(error)}")
        case asyncssh.ConnectionLost() | asyncssh.DisconnectError() | ConnectionResetError():
            return HandshakeFailed(
                f"{where}: the connection was closed during the handshake ({_short(error)}). Is it an SSH server, "
                "not at its connection limit, and with a newer host key than ssh-dss?"
            )
        case socket.gaierror():
            return HostNotFound(f"{where}: the name {endpoint.host} does not resolve.")
        case ConnectionRefusedError():
            return ConnectionRefused(
                f"{where}: connection refused. Does an SSH server listen on port {endpoint.port}?"
            )
        case TimeoutError():
            return ConnectTimeout(f"{where}: the network gave up waiting for an answer.")
        case OSError() if "Multiple exceptions" in str(error) and "refused" in str(error):
            return ConnectionRefused(
                f"{where}: connection refused. Does an SSH server listen on port {endpoint.port}?"
            )
        case OSError():
            return Unreachable(f"{where}: cannot be reached ({error.strerror or _short(error)}).")
    return HandshakeFailed(f"{where}: the handshake failed ({_short(error)}).")


def _nothing_in_common(error: asyncssh.KeyExchangeFailed) -> str:
    """Which algorithms the server has, and what can be done."""
    found = re.search(r"^No matching (.+) algorithm found, .* and received (.+)$", str(error))
    if found is None:
        return f"no common algorithm with the server ({_short(error)})."
    # Some names in the list of key exchanges are none (RFC 8308, section 2.1; OpenSSH, PROTOCOL).
    offered = [name for name in found[2].split(",") if not name.startswith(("ext-info-", "kex-strict-"))]
    said = f"no common {found[1]} algorithm: the server allows {_printable(', '.join(offered))}."
    if old := [name for names in OLD.values() for name in names if name in offered]:
        return f"{said} Of these the platform may allow {', '.join(old)}, under old algorithms: who listens may break them."
    if any(name.startswith("sntrup761") for name in offered):
        return f"{said} sntrup761 needs a library that testum goes without: let the server allow curve25519-sha256, too."
    return said


def _short(error: Exception) -> str:
    """The error's text, in which a hostile server may have had a say: short and printable."""
    return _printable(str(error) or type(error).__name__)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
