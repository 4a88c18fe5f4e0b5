"""Logins in several steps: what was accepted is not blamed, and what more is asked for is said (RFC 4252, 5.1)."""

from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.ssh.conftest import MemoryTrust
from tests.support.sshd import RealSshd
from tests.support.waiting import turns
from testum.ssh import Endpoint, KeyAuth, PasswordAuth, Pool, SSHError, Timeouts


async def _refused(target: Endpoint) -> SSHError:
    pool = Pool()
    try:
        with pytest.raises(SSHError) as refused:
            await pool.check(target, Timeouts())
    finally:
        await pool.close()
    return refused.value


@pytest.mark.parametrize(
    ("methods", "by", "asked"),
    [
        ("publickey,password", "key", "password"),
        ("publickey,keyboard-interactive", "key", "keyboard-interactive"),
        ("password,publickey", "password", "publickey"),
    ],
)
async def test_two_steps(key_file, endpoint, methods, by, asked):
    server = RealSshd(
        options=[
            f"AuthenticationMethods {methods}",
            *(["KbdInteractiveAuthentication yes", "UsePAM yes"] if "keyboard" in methods else []),
        ]
    )
    try:
        server.add_key(Path(f"{key_file}.pub").read_text())
        right = KeyAuth(key_file.read_text()) if by == "key" else PasswordAuth(server.user.password)
        changes = {"port": server.port, "username": server.user.name}
        error = await _refused(endpoint(**changes, auth=right))
        assert error.code == "auth_incomplete" and asked in error.message, error.message
        assert error.host_key is not None
        if by == "password":
            wrong = await _refused(endpoint(**changes, auth=PasswordAuth("wrong")))
            assert wrong.code == "auth_failed"
    finally:
        server.close()


@pytest.mark.parametrize(
    "methods",
    ["publickey,password", "password,publickey", "publickey,keyboard-interactive", "publickey", "password"],
)
async def test_a_key_and_a_password(key_file, endpoint, methods):
    """In the order that the server asks in."""
    server = RealSshd(
        options=[
            f"AuthenticationMethods {methods}",
            *(["KbdInteractiveAuthentication yes", "UsePAM yes"] if "keyboard" in methods else []),
        ]
    )
    try:
        server.add_key(Path(f"{key_file}.pub").read_text())
        right = KeyAuth(key_file.read_text(), password=server.user.password)
        changes = {"port": server.port, "username": server.user.name}
        pool = Pool()
        try:
            assert (await pool.check(endpoint(**changes, auth=right), Timeouts())).host_key
        finally:
            await pool.close()
        if methods != "publickey":
            wrong = await _refused(endpoint(**changes, auth=replace(right, password="wrong")))
            assert wrong.code == "auth_failed", wrong.message
        if methods != "password":
            other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
            wrong = await _refused(endpoint(**changes, auth=replace(right, private_key=other)))
            assert wrong.code == "key_rejected", wrong.message
    finally:
        server.close()


class _Either(asyncssh.SSHServer):
    """Takes a key or a password, and keeps the passwords that it gets."""

    def __init__(self, given: list[str], key: str | None) -> None:
        self._given, self._key = given, key

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() == self._key

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._given.append(password)
        return True


@pytest.mark.parametrize("accepted", [True, False])
async def test_the_password_does_not_stand_in_for_the_key(key_file, accepted):
    """Where either would do, it is given neither beside a key that is accepted nor in place of one that is not."""
    key = asyncssh.read_private_key(str(key_file)).get_fingerprint() if accepted else None
    given: list[str] = []
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=lambda: _Either(given, key),
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
    )
    target = Endpoint(
        id="either",
        host="127.0.0.1",
        port=server.get_port(),
        username="somebody",
        auth=KeyAuth(key_file.read_text(), password="secret"),
        trust=MemoryTrust(),
    )
    try:
        if accepted:
            pool = Pool()
            await pool.check(target, Timeouts())
            await pool.close()
        else:
            assert (await _refused(target)).code == "key_rejected"
        assert given == []
    finally:
        server.close()
        await server.wait_closed()
        await turns(5)


class _Asking(asyncssh.SSHServer):
    """Asks for the password, then for a code; hostile in what it asks."""

    def begin_auth(self, username: str) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username, responses):
        if list(responses) != ["right"]:
            return False
        return "", "", "", [("Verification\x1b[2J code: " + "x" * 10_000, False)]


async def test_a_second_question():
    """A library asks it: the real one only asks what the system's PAM configuration says."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen("127.0.0.1", 0, server_factory=_Asking, server_host_keys=[key])
    try:
        for password, code in (("right", "auth_incomplete"), ("wrong", "auth_failed")):
            error = await _refused(
                Endpoint(
                    id="asking",
                    host="127.0.0.1",
                    port=server.get_port(),
                    username="somebody",
                    auth=PasswordAuth(password),
                    trust=MemoryTrust(),
                )
            )
            assert error.code == code, error.message
            assert ("Verification" in error.message) == (password == "right")
            assert error.message.isprintable() and len(error.message) < 600
    finally:
        server.close()
        await server.wait_closed()
        # The ends of what it refused are closed at the loop's next turns.
        await turns(5)
