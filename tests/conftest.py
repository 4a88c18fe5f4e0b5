"""What tests of several folders share: a real sshd and a real testum server, one of each for a session."""

import gc
from collections.abc import Generator, Iterator

import pytest

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Python before 3.11.8 may refuse to parse a test when garbage is collected just then
    (pytest-dev/pytest#10874, python/cpython#106905): so not while tests are read."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def real_sshd() -> Iterator[RealSshd]:
    """A real OpenSSH server on four addresses."""
    sshd = RealSshd(addresses=4)
    yield sshd
    sshd.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real testum server. Tests share it: they make platforms with names of their own."""
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Api:
    """Its API, as the admin: one login for all tests, because logins are throttled. A test that ends a
    login makes one of its own (`server.client()`)."""
    return server.client()
