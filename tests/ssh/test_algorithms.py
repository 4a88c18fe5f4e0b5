"""Hosts that allow few algorithms: very new ones, and old ones that a platform has to allow by name."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain

import asyncssh
import pytest

from tests.ssh.conftest import MemoryTrust
from tests.support.sshd import RealSshd
from testum.core.algorithms import OLD_ALGORITHMS
from testum.ssh import Endpoint, PasswordAuth, Pool, SSHError, Timeouts
from testum.ssh.client import OLD

# The library says that it will give up finite fields; testum uses them only where a host has nothing else.
pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
_OPTION = {
    "kex_algs": "KexAlgorithms",
    "encryption_algs": "Ciphers",
    "mac_algs": "MACs",
    "server_host_key_algs": "HostKeyAlgorithms",
}
# Ciphers that prove what they carry need no code of another kind.
_WITH = {"mac_algs": ["Ciphers aes128-ctr"]}
_OF_OPENSSH = [(option, name) for option, names in OLD.items() for name in names]


def test_those_that_a_platform_may_name_are_those_of_the_engine() -> None:
    assert sorted(OLD_ALGORITHMS) == sorted(chain(*OLD.values()))


@pytest.fixture(params=_OF_OPENSSH, ids=lambda each: each[1])
def old(request: pytest.FixtureRequest) -> Iterator[tuple[str, RealSshd]]:
    option, name = request.param
    host_key = "dsa" if name == "ssh-dss" else "ed25519"
    options = [f"{_OPTION[option]} {name}", *_WITH.get(option, [])]
    with closing(RealSshd(options=options, host_key=host_key)) as sshd:
        yield name, sshd


async def _tried(endpoint: Endpoint) -> str:
    """What was wrong, if anything."""
    pool = Pool()
    try:
        await pool.check(endpoint, Timeouts())
    except SSHError as error:
        assert error.code == "handshake_failed" and error.message.isprintable()
        return error.message
    finally:
        await pool.close()
    return ""


def _endpoint(sshd: RealSshd) -> Endpoint:
    return Endpoint(
        id="old",
        host="127.0.0.1",
        port=sshd.port,
        username=sshd.user.name,
        auth=PasswordAuth(sshd.user.password),
        trust=MemoryTrust(),
    )


async def test_an_old_algorithm_is_used_only_where_it_is_named(old: tuple[str, RealSshd]) -> None:
    name, sshd = old
    refused = await _tried(_endpoint(sshd))
    # No message of the protocol says which host keys there would be.
    allowed = f"the server allows {name}. Of these the platform may allow {name}"
    assert (name if name == "ssh-dss" else allowed) in refused, refused
    others = tuple(each for each in OLD_ALGORITHMS if each != name)
    assert await _tried(replace(_endpoint(sshd), old_algorithms=others))
    assert not await _tried(replace(_endpoint(sshd), old_algorithms=(name,)))


async def test_a_host_that_has_better_ones_gets_those(sshd: RealSshd) -> None:
    pool = Pool()
    endpoint = replace(_endpoint(sshd), old_algorithms=OLD_ALGORITHMS)
    try:
        await pool.check(endpoint, Timeouts())
    finally:
        await pool.close()
    shown = endpoint.trust.known[0]
    assert shown.algorithm == "ssh-ed25519"


async def test_a_key_exchange_that_has_to_be_named_in_words() -> None:
    with closing(RealSshd(options=["KexAlgorithms sntrup761x25519-sha512@openssh.com"])) as sshd:
        refused = await _tried(_endpoint(sshd))
    assert "sntrup761 needs a library" in refused and "curve25519-sha256" in refused


class _Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == "right"


async def test_the_newest_key_exchange_alone() -> None:
    """Of asyncssh's own server: Debian's OpenSSH is older than it."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=_Open,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        kex_algs=["mlkem768x25519-sha256"],
    )
    async with server:
        endpoint = Endpoint(
            id="new",
            host="127.0.0.1",
            port=server.get_port(),
            username="somebody",
            auth=PasswordAuth("right"),
            trust=MemoryTrust(),
        )
        assert not await _tried(endpoint)
