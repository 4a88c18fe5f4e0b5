"""A real sshd, keys, and endpoints to it."""

import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.sshd import RealSshd
from testum.ssh import Endpoint, Execution, Exit, HostKey, KeyAuth, Output, PasswordAuth, Pool, Program


class MemoryTrust:
    """A host's trusted keys, in memory."""

    def __init__(self, policy: str = "auto_add", known: list[HostKey] | None = None) -> None:
        self.policy = policy
        self.known = known or []
        self.recorded: list[HostKey] = []
        self.alarms: list[HostKey] = []

    async def record(self, key: HostKey) -> None:
        self.recorded.append(key)
        self.known.append(key)

    async def alarm(self, key: HostKey) -> None:
        self.alarms.append(key)


class Running:
    """What `Pool.run` gives, without its block: `aclose` ends that."""

    def __init__(self, block: AsyncExitStack, execution: Execution) -> None:
        self._block = block
        self.execution = execution

    def __aiter__(self) -> Execution:
        return self.execution

    async def __anext__(self) -> Output | Exit:
        return await anext(self.execution)

    async def aclose(self) -> None:
        await self._block.aclose()


async def begin(pool: Pool, endpoint: Endpoint, program: Program, **options: Any) -> Running:
    """Start a program."""
    block = AsyncExitStack()
    return Running(block, await block.enter_async_context(pool.run(endpoint, program, **options)))


@pytest.fixture(scope="session")
def sshd() -> Iterator[RealSshd]:
    server = RealSshd(addresses=4)
    yield server
    server.close()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory, sshd: RealSshd) -> Path:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    sshd.add_key(Path(f"{path}.pub").read_text())
    return path


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


@pytest.fixture
def endpoint(sshd: RealSshd, key_file: Path) -> Callable[..., Endpoint]:
    def make(**changes: object) -> Endpoint:
        values: dict[str, object] = {
            "id": uuid.uuid4().hex,
            "host": "127.0.0.1",
            "port": sshd.port,
            "username": sshd.user.name,
            "auth": KeyAuth(key_file.read_text()),
            "trust": MemoryTrust(),
        }
        return Endpoint(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def by_password(endpoint: Callable[..., Endpoint], sshd: RealSshd) -> Endpoint:
    return endpoint(auth=PasswordAuth(sshd.user.password))
