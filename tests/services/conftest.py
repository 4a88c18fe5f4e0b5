"""An installation of its own for each test, without a server in front."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from testum.app import Testum
from testum.core.permissions import Actor, Role
from testum.settings import load_settings

ACTOR = Actor(id=UUID(int=1), username="alice", role=Role.ADMIN)


@pytest.fixture
async def testum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Testum]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    opened = await Testum.open(load_settings())
    yield opened
    await opened.close()
