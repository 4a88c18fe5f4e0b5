"""A real sshd, keys, and endpoints to it."""

import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.sshd import RealSshd
from testum.ssh import Endpoint, HostKey, KeyAuth, PasswordAuth, Pool


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
