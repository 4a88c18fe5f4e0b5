"""`testum health`: whether the server or the worker of this machine does its work, for health checks of containers
and for people."""

from typing import Annotated, Any

import typer

from testum.cli.config import DEFAULT_URL
from testum.cli.failures import Failure, Unreachable, WrongUse

_PATIENCE_SECONDS = 5.0


class _NoWorker(Failure):
    """This machine's worker was not heard of."""


def health(
    url: Annotated[str, typer.Option("--url", metavar="URL", help="The server's address.")] = DEFAULT_URL,
    worker: Annotated[
        bool, typer.Option("--worker", help="Ask the database for this machine's worker instead.")
    ] = False,
) -> None:
    """Say whether the server here answers, or the worker here lives.

    The answer is for those who would start it anew: a server or a worker that waits for its database is in order.
    """
    print(_worker() if worker else server_health(url))


def server_health(url: str) -> str:
    """That the server there answers, in words. Raises Unreachable if it does not."""
    import httpx2

    from testum.cli.session import normal_url

    address = normal_url(url)
    try:
        # No proxy of the environment: what is asked for is this server and no other.
        answer = httpx2.get(f"{address}/health/live", timeout=_PATIENCE_SECONDS, trust_env=False)
        body: Any = answer.json() if answer.status_code == 200 else None
    except (httpx2.HTTPError, ValueError) as error:
        raise Unreachable(f"{address} does not answer: {error or type(error).__name__}") from None
    if not isinstance(body, dict) or body.get("status") != "ok":
        raise Unreachable(f"{address} is no testum that works: HTTP status {answer.status_code}.")
    return f"{address} answers."


def _worker() -> str:
    """Raises _NoWorker, and WrongUse for settings that no worker could have."""
    import asyncio
    import socket

    from testum.db import workers
    from testum.db.session import Database
    from testum.errors import StorageUnavailable, TestumError
    from testum.settings import load_settings

    async def look() -> int:
        settings = load_settings()
        if settings.embedded_database:
            raise WrongUse("There is no worker here: DATABASE_URL names no server.")
        database = Database(settings.effective_database_url)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS), database.read() as session:
                living = await workers.living(session, settings.lease_seconds)
        finally:
            await database.close()
        return sum(row.id.startswith(f"{socket.gethostname()[:60]}:") for row in living)

    try:
        count = asyncio.run(look())
    except (StorageUnavailable, TimeoutError):
        return "The database does not answer: nothing is known of the worker."
    except TestumError as error:
        raise WrongUse(error.message) from None
    if not count:
        raise _NoWorker(f"No worker of {socket.gethostname()} was heard of within its lease.")
    return f"The worker of {socket.gethostname()} lives: {count} {'process' if count == 1 else 'processes'}."
