"""Running the web server in this process: a checked start, one line that says where it is, a clean end."""

import asyncio
import logging
import socket
import sys
from types import FrameType
from typing import Any

import uvicorn

from testum.cli.draining import drain, ending
from testum.cli.failures import REFUSED, Failure, WrongUse
from testum.cli.protocol import Protocol, SocketProtocol, set_timeouts
from testum.errors import TestumError
from testum.settings import load_settings, misspelt

_SHUTDOWN_SECONDS = 5
_BACKLOG = 2048
_MAX_SAID = 1024 * 1024
"""Bytes of a WebSocket message from a client."""
_IDLE_SECONDS = 75
"""How long a connection is kept for the next request. Clients and proxies close theirs after 5 to 60 seconds: a server that
does so first may do it while a request is on its way, which is then lost with "connection reset"."""
_SIGNALS_TO_END = 2
"""The first lets the work come to its end, the second ends it."""
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to say where it answers


class StartFailed(Failure):
    """The server did not start, for a reason that has been printed."""

    status = REFUSED


class _Server(uvicorn.Server):
    """Says where it is once it can be used; uvicorn is silent about sockets that it was given. The first signal has it
    let the work come to its end while it serves on, the second ends it."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            url = _url_of(sockets[0])
            print(f"testum is at {url} (API: {url}/docs). Ctrl-C stops it.", flush=True)

    async def main_loop(self) -> None:
        """Serve until it is to end. uvicorn closes the listener when this returns."""
        await super().main_loop()
        work = self.lifespan.state.get("work")
        if work is None:
            return
        if len(self._captured_signals) < _SIGNALS_TO_END:
            self.should_exit = False
            draining = asyncio.create_task(drain(work), name="drain")
            serving = asyncio.create_task(super().main_loop(), name="serve")
            await asyncio.wait({draining, serving}, return_when=asyncio.FIRST_COMPLETED)
            self.should_exit = True
            await serving
            if draining.done():
                await draining
                return
            draining.cancel()
        ending(work)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came. Only the one after the second keeps what is under way from being ended on the hosts."""
        if len(self._captured_signals) < _SIGNALS_TO_END:
            self._captured_signals.append(sig)
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)


def config_of(application: Any, proxies: str = "", **options: Any) -> uvicorn.Config:
    """How uvicorn serves testum. `proxies`: which peers' word on addresses counts (TRUSTED_PROXIES)."""
    return uvicorn.Config(
        application,
        http=Protocol,
        ws=SocketProtocol,
        ws_per_message_deflate=False,
        # What clients say there is ignored.
        ws_max_size=_MAX_SAID,
        server_header=False,
        access_log=False,
        timeout_keep_alive=_IDLE_SECONDS,
        # Else anybody could claim any address, and with it get round the throttle of logins.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        **options,
    )


def run(application: str, host: str, port: int) -> None:
    """Serve the application that an import string names (a factory) until a signal ends it.

    Raises WrongUse for an address or a setting that cannot be used, and StartFailed.
    """
    listener = _listen(host, port)
    try:
        # Read once before anything starts, so that a bad setting is one line and not a failed start.
        proxies = load_settings().trusted_proxies
        for sentence in misspelt():
            print(sentence, file=sys.stderr, flush=True)
        server = _Server(config_of(application, proxies, factory=True, loop="uvloop", log_level="warning"))
        logging.getLogger("uvicorn.error").addFilter(_short_failure)
        server.run(sockets=[listener])
    except TestumError as error:
        raise WrongUse(error.message) from None
    except KeyboardInterrupt:
        return
    finally:
        listener.close()
    if not server.started:
        raise StartFailed("The server did not start.")


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. It is made here, because uvicorn would only log that the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise WrongUse(f"--host {host}: {error.strerror}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        set_timeouts(listener)
        listener.bind(address)
        # Bound alone, the port would still be free to the next server until this one listens.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise WrongUse(f"{host}:{port} cannot be used: {error.strerror}. Choose another --port.") from None
    return listener


def _url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = _EVERY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _short_failure(record: logging.LogRecord) -> bool:
    """Of a start that failed with an error of our own, log its message and not where it was raised, nor
    once more that it failed."""
    text = record.getMessage()
    if text.startswith("Application startup failed"):
        return False
    last = text.rstrip().rpartition("\n")[2]
    if text.startswith("Traceback") and last.startswith("testum.errors."):
        record.msg, record.args = last.partition(": ")[2], ()
    if record.exc_info and isinstance(record.exc_info[1], TestumError):
        record.msg, record.args, record.exc_info = record.exc_info[1].message, (), None
    return True
