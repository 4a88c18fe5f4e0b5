"""Making one connection: name lookup, TCP, handshake, host key, login."""

import socket

import asyncssh

from testum.ssh import quick
from testum.ssh.client import Client, options_for
from testum.ssh.endpoint import Endpoint, KeyAuth
from testum.ssh.errors import (
    AuthFailed,
    ConnectionRefused,
    ConnectTimeout,
    HandshakeFailed,
    HostKeyChanged,
    HostNotFound,
    KeyRejected,
    SSHError,
    Unreachable,
)
from testum.ssh.keys import KeyRing
from testum.ssh.patience import Patience


async def dial(
    endpoint: Endpoint,
    *,
    keys: KeyRing,
    tunnel: asyncssh.SSHClientConnection | None,
    timeout: float,
    keepalive_interval: float,
    keepalive_count: int,
) -> tuple[asyncssh.SSHClientConnection, Client]:
    """A connection that is logged in, and whose host key is trusted and recorded.

    `tunnel` is the connection to the jump host, if there is one. Raises SSHError.
    """
    key = await keys.load(endpoint.auth) if isinstance(endpoint.auth, KeyAuth) else None
    client = Client(endpoint, key)
    try:
        async with Patience(timeout):
            connection = await quick.connect(
                endpoint.host,
                endpoint.port,
                endpoint.username,
                client,
                options_for(endpoint, keepalive_interval, keepalive_count),
                tunnel,
            )
    except TimeoutError:
        raise ConnectTimeout(
            f"{endpoint.address}: no answer within {timeout:g} seconds. Is the host up, and does a firewall let this through?"
        ) from None
    except (asyncssh.Error, OSError) as error:
        if isinstance(client.failure, HostKeyChanged) and client.presented is not None:
            await endpoint.trust.alarm(client.presented)
        raise _typed(endpoint, client, error, through=tunnel is not None) from error
    if client.first_use and client.presented is not None:
        try:
            await endpoint.trust.record(client.presented)
        except BaseException:
            connection.abort()
            raise
    return connection, client


def _typed(endpoint: Endpoint, client: Client, error: Exception, *, through: bool) -> SSHError:
    where = endpoint.address
    if client.failure is not None:
        return client.failure
    match error:
        case asyncssh.PermissionDenied() if isinstance(endpoint.auth, KeyAuth):
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
            return HandshakeFailed(f"{where}: no common algorithm with the server ({_short(error)}).")
        case asyncssh.ConnectionLost() | asyncssh.DisconnectError() | ConnectionResetError():
            return HandshakeFailed(
                f"{where}: the connection was closed during the handshake ({_short(error)}). Is it an SSH server, "
                "and not at its connection limit?"
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


def _short(error: Exception) -> str:
    """The error's text, in which a hostile server may have had a say: short and printable."""
    text = str(error) or type(error).__name__
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
