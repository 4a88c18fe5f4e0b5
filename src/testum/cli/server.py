"""`testum serve`, `demo`, `db upgrade`, `generate-key`: the commands of the machine that hosts testum."""

import logging
import socket
from typing import Annotated, Any

import typer

from testum.cli.failures import REFUSED, Failure, WrongUse
from testum.errors import TestumError

db = typer.Typer(help="Look after the database.", no_args_is_help=True, rich_markup_mode=None)

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")]

_SHUTDOWN_SECONDS = 5


class StartFailed(Failure):
    """The server did not start, for a reason that has been printed."""

    status = REFUSED


def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the server."""
    _run("testum.asgi:create_app", host, port)


def demo(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the server with six demo hosts on this machine."""
    _run("testum.demo:create_app", host, port)


@db.command()
def upgrade() -> None:
    """Bring the database's tables up to this version."""
    import asyncio

    from testum.db.migrate import upgrade as upgrade_database
    from testum.settings import load_settings

    try:
        revision = asyncio.run(upgrade_database(load_settings().effective_database_url))
    except TestumError as error:
        raise WrongUse(error.message) from None
    print(f"The database is at revision {revision}.")


def generate_key() -> None:
    """Print a new key for FERNET_KEY or SECRET_KEY."""
    from cryptography.fernet import Fernet

    print(Fernet.generate_key().decode())


def _run(application: str, host: str, port: int) -> None:
    import uvicorn

    from testum.settings import load_settings

    listener = _listen(host, port)
    try:
        # Read once before anything starts, so that a bad setting is one line and not a failed start.
        load_settings()
        options: dict[str, Any] = {
            "factory": True,
            "loop": "uvloop",
            "http": "httptools",
            "ws": "websockets-sansio",
            "ws_per_message_deflate": False,
            "server_header": False,
            "access_log": False,
            "timeout_graceful_shutdown": _SHUTDOWN_SECONDS,
        }
        server = uvicorn.Server(uvicorn.Config(application, **options))
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
    """A bound socket. It is made here, because uvicorn would only log that the port is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise WrongUse(f"--host {host}: {error.strerror}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Bound alone, the port would still be free to the next server until this one listens.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise WrongUse(f"{host}:{port} cannot be used: {error.strerror}. Choose another --port.") from None
    return listener


def _short_failure(record: logging.LogRecord) -> bool:
    """Of a start that failed with an error of our own, log its message and not where it was raised."""
    text = record.getMessage()
    last = text.rstrip().rpartition("\n")[2]
    if text.startswith("Traceback") and last.startswith("testum.errors."):
        record.msg, record.args = last.partition(": ")[2], ()
    if record.exc_info and isinstance(record.exc_info[1], TestumError):
        record.msg, record.args, record.exc_info = record.exc_info[1].message, (), None
    return True
