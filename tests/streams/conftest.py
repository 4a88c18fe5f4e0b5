"""Platforms to stream from."""

import secrets
from typing import Any

import pytest

from tests.support.server import Api
from tests.support.sshd import RealSshd


@pytest.fixture(scope="session")
def platform(api: Api, real_sshd: RealSshd) -> Any:
    """One platform."""
    return api.add_platform(f"stream-{secrets.token_hex(4)}", real_sshd)


@pytest.fixture(scope="session")
def tag(api: Api, real_sshd: RealSshd) -> str:
    """The tag of three platforms."""
    name = f"stream-{secrets.token_hex(4)}"
    for number in range(3):
        api.add_platform(f"{name}-{number}", real_sshd, tags=[name], host=f"127.0.0.{number + 1}")
    return name
