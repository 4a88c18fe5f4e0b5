"""Reading SSH keys that people give us: is it one, which, and what is its fingerprint."""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from testum import private_keys
from testum.errors import InvalidInput
from testum.private_keys import LEAST_RSA_BITS, MOST_RSA_BITS

MAX_KEY_TEXT = 64 * 1024
_P256_POINT = 65
"""Bytes of an uncompressed point, the only form that OpenSSH takes."""

_SECURITY_KEYS = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})
_PLAIN_KEYS = frozenset(
    {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"}
)


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
    # As OpenSSH does: other signs that look like a space are none.
    parts = re.split("[ \t]+", line, maxsplit=2)
    if any(ord(character) < 32 or ord(character) == 127 for part in parts for character in part):
        raise InvalidInput.field(field, "one key on one line, without control characters.")
    if len(parts) < 2:
        raise InvalidInput.field(field, "not a public key: expected `ssh-ed25519 AAAA... comment`.")
    algorithm, encoded = parts[0], parts[1]
    if algorithm not in _PLAIN_KEYS | _SECURITY_KEYS:
        raise InvalidInput.field(
            field, "unknown key type; expected ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp* or sk-*@openssh.com."
        )
    try:
        blob = base64.b64decode(encoded, validate=True)
        # b64decode passes over needless padding and over spare bits, OpenSSH over neither.
        if base64.b64encode(blob).decode() != encoded:
            raise ValueError("damaged")
        (length,) = struct.unpack_from(">I", blob)
        if blob[4 : 4 + length] != algorithm.encode():
            raise InvalidInput.field(
                field, "the key's contents are of another type than its first word says."
            )
        if algorithm in _PLAIN_KEYS:
            plain = f"{algorithm} {encoded}".encode()
            key = load_ssh_public_key(plain)
            if isinstance(key, RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
                raise InvalidInput.field(field, f"an RSA key has at least {LEAST_RSA_BITS} bits.")
            if isinstance(key, RSAPublicKey) and key.key_size > MOST_RSA_BITS:
                raise InvalidInput.field(field, f"an RSA key has at most {MOST_RSA_BITS} bits.")
            # Leading zeros would give the same key another fingerprint.
            if key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) != plain:
                raise ValueError("damaged")
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
        sound = len(parts) == 4 and parts[1] == b"nistp256" and len(parts[2]) == _P256_POINT
        if sound:
            EllipticCurvePublicKey.from_encoded_point(SECP256R1(), parts[2])
    if not sound or not parts[-1] or b"\0" in parts[-1]:
        raise ValueError("damaged")


def check_private_key(text: str, passphrase: str | None, field: str = "private_key") -> str | None:
    """Whether `text` is a private key, and its public half's identity where that can be read.

    An encrypted key without a passphrase is accepted (None is returned); a wrong passphrase is not.
    Slow for encrypted keys (bcrypt): call it in a thread. Raises InvalidInput.
    """
    if len(text) > MAX_KEY_TEXT:
        raise InvalidInput.field(field, "this is too long for a private key.")
    try:
        key = private_keys.read(text, passphrase)
    except private_keys.PassphraseMissing:
        return None
    except private_keys.PassphraseDoesNotOpen:
        raise InvalidInput.field("passphrase", "does not open the private key.") from None
    except private_keys.Unreadable as error:
        raise InvalidInput.field(field, str(error)) from None
    return " ".join(key.export_public_key().decode().split(" ")[:2]).strip()
