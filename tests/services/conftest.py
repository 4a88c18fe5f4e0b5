"""An installation of its own for each test, without a server in front."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from tests.support.postgres import PostgresServer
from testum.app import Testum
from testum.core.permissions import Actor, Role
from testum.installed import INSTALLED
from testum.settings import load_settings

ACTOR = Actor(id=UUID(int=1), username="alice", role=Role.ADMIN)


@pytest.fixture
async def testum(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Testum]:
    """On SQLite; on PostgreSQL where that is the parameter: two transactions are at once only there."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    if getattr(request, "param", "sqlite") == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        monkeypatch.setenv("DATABASE_URL", server.create_database())
        monkeypatch.setenv("FERNET_KEY", Fernet.generate_key().decode())
        monkeypatch.setenv("SECRET_KEY", secrets.token_urlsafe(48))
    monkeypatch.chdir(tmp_path)
    opened = await Testum.open(load_settings(), INSTALLED)
    yield opened
    await opened.close()
