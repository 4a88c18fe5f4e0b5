"""Private keys in OpenSSH's own form that are damaged: a public half that is not the secret's, bytes behind the end."""

import base64
import subprocess
from pathlib import Path

import pytest
from asyncssh.asn1 import der_encode
from asyncssh.packet import MPInt

from tests.ssh.test_private_keys import DOCUMENTATION, PASSPHRASE, armoured, as_ssh, body_of, strings
from testum import private_keys

_HEAD = b"openssh-key-v1\0" + strings(b"none", b"none", b"") + (1).to_bytes(4, "big")


def _made(folder: Path, *how: str) -> bytes:
    command = ["ssh-keygen", "-q", "-C", "", "-f", str(folder / "made"), "-t", *how]
    subprocess.run(command, check=True)
    return body_of((folder / "made").read_text())


def _changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :]


def _judged(folder: Path, body: bytes, passphrase: str | None = None) -> tuple[bool, str]:
    """Whether ssh-keygen reads an OpenSSH key, and what testum says against it."""
    text = armoured("OPENSSH PRIVATE KEY", body)
    (folder / "judged").write_text(text)
    (folder / "judged").chmod(0o600)
    read = as_ssh(folder / "judged", passphrase) is not None
    try:
        private_keys.read(text, passphrase)
    except private_keys.Unreadable as error:
        return read, str(error)
    return read, ""


_REFUSED = "the private key is damaged or incomplete."
_OUTER = len(_HEAD) + 4
"""Where the public half before the secret begins."""
_INNER = 51 + 4 + 8 + 15 + 4
"""How far behind that Ed25519's public half in the secret begins."""


@pytest.mark.parametrize(
    ("kind", "place", "by_ssh"),
    [
        (("ed25519",), _OUTER + 50, False),
        (("ed25519",), _OUTER + _INNER, False),
        (("ed25519",), _OUTER + _INNER + 32 + 4, True),
        (("ed25519",), _OUTER + _INNER + 32 + 4 + 32, True),
        (("ecdsa", "-b", "256"), _OUTER + 100, False),
        (("ecdsa", "-b", "256"), _OUTER + 104 + 4 + 8 + 23 + 12 + 4 + 65 + 4 + 20, True),
        (("rsa", "-b", "1024"), _OUTER + 100, False),
    ],
    ids=["outer", "inner", "seed", "behind the seed", "ecdsa outer", "ecdsa secret", "rsa outer"],
)
def test_a_public_half_that_is_not_the_secrets(
    tmp_path: Path, kind: tuple[str, ...], place: int, by_ssh: bool
) -> None:
    body = _made(tmp_path, *kind, "-N", "")
    assert body.startswith(_HEAD) and _judged(tmp_path, body) == (True, "")
    assert _judged(tmp_path, _changed(body, place)) == (by_ssh, _REFUSED)
    assert "whose secret belongs to another public half" in DOCUMENTATION.read_text()


@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
def test_an_encrypted_key_is_looked_into_as_closely(tmp_path: Path, cipher: str) -> None:
    body = _made(tmp_path, "ed25519", "-a", "1", "-Z", cipher, "-N", PASSPHRASE)
    public = base64.b64decode((tmp_path / "made.pub").read_text().split()[1])
    assert public in body and _judged(tmp_path, body, PASSPHRASE) == (True, "")
    outer = body.replace(public, _changed(public, 50))
    for changed in (outer, body + b"x", body + bytes(16), body[:-1]):
        assert _judged(tmp_path, changed, PASSPHRASE) == (False, _REFUSED)


def test_bytes_behind_the_end(tmp_path: Path) -> None:
    body = _made(tmp_path, "ed25519", "-N", "")
    at = _OUTER + 51
    secret = body[at + 4 :]
    assert body[at : at + 4] == len(secret).to_bytes(4, "big") and secret.endswith(b"\4\5")
    longer = [body + b"x", body + b"\6"]
    longer += [body[:at] + strings(secret + more) for more in (b"\6", b"x" * 8)]
    for changed in longer:
        assert _judged(tmp_path, changed) == (False, _REFUSED)


def test_rsa_of_too_many_bits_is_refused_before_its_numbers_are_looked_into() -> None:
    """Mersenne primes: others of this length take minutes to find, and all take minutes to look into."""
    p, q, e = 2**9689 - 1, 2**9941 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    secret = bytes(8) + strings(b"ssh-rsa", *(MPInt(numbers[place])[4:] for place in (1, 2, 3, 8, 4, 5)), b"")
    secret += bytes(range(1, 1 + -len(secret) % 8))
    for text in (
        armoured("RSA PRIVATE KEY", der_encode(numbers)),
        armoured("OPENSSH PRIVATE KEY", _HEAD + strings(b"", secret)),
    ):
        with pytest.raises(private_keys.Unreadable, match="at most 16384 bits"):
            private_keys.read(text, None)
