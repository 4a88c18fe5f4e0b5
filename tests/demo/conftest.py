"""Demo hosts, and a plain client to talk to them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from testum.demo.hosts import DemoHost, DemoHosts

Connect = Callable[[DemoHost], Awaitable[asyncssh.SSHClientConnection]]


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[dict[str, DemoHost]]:
    demo = DemoHosts(tmp_path / "demo")
    yield {host.name: host for host in await demo.start()}
    await demo.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def dial(host: DemoHost, **changes: object) -> asyncssh.SSHClientConnection:
            key = asyncssh.import_private_key(host.private_key)
            options = {"username": host.username, "client_keys": [key]} | changes
            known = asyncssh.import_known_hosts(f"[{host.host}]:{host.port} {host.host_key}\n")
            connection = asyncssh.connect(
                host.host, host.port, config=None, agent_path=None, known_hosts=known, **options
            )
            return await stack.enter_async_context(connection)

        yield dial
