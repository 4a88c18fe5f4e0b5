"""Logins in several steps: what was accepted is not blamed, and what more is asked for is said (RFC 4252, 5.1)."""

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
