"""Reading SSH keys that people give us: is it one, which, and what is its fingerprint."""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from testum.errors import InvalidInput

MAX_KEY_TEXT = 64 * 1024

_SECURITY_KEYS = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})
_PLAIN_KEYS = frozenset(
    {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}
)


_LEAST_RSA_BITS = 1024
"""As OpenSSH has it (sshkey.h, SSH_RSA_MINIMUM_MODULUS_SIZE)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key in OpenSSH's one-line form. `fingerprint` is `SHA256:` and base64 (ssh-keygen -l)."""

    algorithm: str
    line: str
    fingerprint: str
    comment: str

    @property
    def identity(self) -> str:
        """Algorithm and key without the comment: two lines with the same identity are the same key."""
        return " ".join(self.line.split(" ")[:2])


def fingerprint_of(blob: bytes) -> str:
    """The SHA-256 fingerprint of a key in its wire form (RFC 4253, section 6.6), as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def parse_public_key(text: str, field: str = "public_key") -> PublicKey:
    """One OpenSSH public key line: `algorithm base64 [comment]`. Raises InvalidInput saying what is wrong."""
    line = text.strip(" \t\r\n")
    if "PRIVATE KEY" in line:
        raise InvalidInput.field(field, "this is a private key; paste the public one (the .pub file).")
    if len(line) > MAX_KEY_TEXT:
        raise InvalidInput.field(field, "this is too long for a public key.")
    if any(ord(character) < 32 or ord(character) == 127 for character in line):
        raise InvalidInput.field(field, "one key on one line, without control characters.")
    # As OpenSSH does: other signs that look like a space are none.
    parts = re.split("[ \t]+", line, maxsplit=2)
    if len(parts) < 2:
        raise InvalidInput.field(field, "not a public key: expected `ssh-ed25519 AAAA... comment`.")
    algorithm, encoded = parts[0], parts[1]
    if algorithm not in _PLAIN_KEYS | _SECURITY_KEYS:
        raise InvalidInput.field(
            field, "unknown key type; expected ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp* or sk-*@openssh.com."
        )
    try:
        blob = base64.b64decode(encoded, validate=True)
        (length,) = struct.unpack_from(">I", blob)
        if blob[4 : 4 + length] != algorithm.encode():
            raise InvalidInput.field(
                field, "the key's contents are of another type than its first word says."
            )
        if algorithm in _PLAIN_KEYS:
            key = load_ssh_public_key(f"{algorithm} {encoded}".encode())
            if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
                raise InvalidInput.field(field, f"an RSA key has at least {_LEAST_RSA_BITS} bits.")
        else:
            _check_security_key(blob)
    except (binascii.Error, struct.error, ValueError, UnsupportedAlgorithm, NotImplementedError):
        raise InvalidInput.field(field, "the key is damaged: its base64 part does not hold a key.") from None
    comment = parts[2].strip() if len(parts) > 2 else ""
    normal = f"{algorithm} {encoded}" + (f" {comment}" if comment else "")
    return PublicKey(algorithm, normal, fingerprint_of(blob), comment)


def _check_security_key(blob: bytes) -> None:
    """That the wire form of a security key's public half is whole (OpenSSH, PROTOCOL.u2f). Raises ValueError."""
    parts = []
    while blob:
        (length,) = struct.unpack_from(">I", blob)
        if len(blob) < 4 + length:
            raise ValueError("cut")
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    if parts[0] == b"sk-ssh-ed25519@openssh.com":
        sound = len(parts) == 3 and len(parts[1]) == 32
    else:
        sound = len(parts) == 4 and parts[1] == b"nistp256"
        if sound:
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), parts[2])
    if not sound or not parts[-1]:
        raise ValueError("damaged")


def check_private_key(text: str, passphrase: str | None, field: str = "private_key") -> str | None:
    """Whether `text` is a private key, and its public half's identity where that can be read.

    An encrypted key without a passphrase is accepted (None is returned); a wrong passphrase is not.
    Slow for encrypted keys (bcrypt): call it in a thread. Raises InvalidInput.
    """
    if len(text) > MAX_KEY_TEXT:
        raise InvalidInput.field(field, "this is too long for a private key.")
    if "PRIVATE KEY" not in text:
        raise InvalidInput.field(
            field, "not a private key: expected a block that begins with -----BEGIN ... PRIVATE KEY-----."
        )
    data = text.strip().encode() + b"\n"
    secret = passphrase.encode() if passphrase else None
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        key = load(data, secret)
    except TypeError:
        # cryptography's way to say that a passphrase is missing, or given for a key that has none.
        if secret is None:
            return None
        return check_private_key(text, None, field)
    except UnsupportedAlgorithm:
        raise InvalidInput.field(field, "a key of this type or encryption is not supported.") from None
    except InvalidTag:
        # Ciphers that find out by themselves whether the key was right (aes256-gcm).
        raise InvalidInput.field("passphrase", "does not open the private key.") from None
    except ValueError:
        if _is_encrypted(data):
            if secret is None:
                return None
            raise InvalidInput.field("passphrase", "does not open the private key.") from None
        raise InvalidInput.field(field, "the private key is damaged or incomplete.") from None
    try:
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except (ValueError, UnsupportedAlgorithm, AttributeError):
        raise InvalidInput.field(field, "a key of this type cannot be used for SSH.") from None
    return line


def _is_encrypted(data: bytes) -> bool:
    """Whether the key's own framing is sound, so that a failure can only be the passphrase's."""
    if b"ENCRYPTED" in data:
        return True
    try:
        body = base64.b64decode(b"".join(data.split(b"\n")[1:-2]))
    except binascii.Error:
        return False
    return body.startswith(b"openssh-key-v1\0") and b"none" not in body[15:30]
