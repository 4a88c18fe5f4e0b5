"""Reading private keys for SSH: what is accepted when a key is saved is what can log in later.

Forms: OpenSSH's own (PROTOCOL.key), and PEM with PKCS#1 (RFC 8017), SEC 1 (RFC 5915) and PKCS#8 (RFC 5958), encrypted or not.
"""

import binascii
import re
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncssh import SSHKey

LEAST_RSA_BITS = 1024
"""As OpenSSH has it (sshkey.h, SSH_RSA_MINIMUM_MODULUS_SIZE)."""

_FOR_LOGIN = frozenset(
    {b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"}
)
_BLOCK = re.compile(
    r"^-----BEGIN ((?:(\w+) )?PRIVATE KEY)-----\n(.*?)^-----END \1-----$", re.MULTILINE | re.DOTALL
)
_DAMAGED = "the private key is damaged or incomplete."
_UNSUPPORTED = "a key of this type or encryption is not supported."
_OPENSSH = b"openssh-key-v1\0"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"
_PBES2 = "1.2.840.113549.1.5.13"
_MOST_ROUNDS = 1_000
"""Of bcrypt: several seconds. What a passphrase costs stands in the key, and whoever made it may have meant harm."""
_MOST_ITERATIONS = 5_000_000
_MOST_SCRYPT = 1 << 20
"""Blocks times their size times how often: so many times 128 bytes of memory at most."""


class Unreadable(Exception):
    """No private key that can log in. The text says why."""


class PassphraseMissing(Exception):
    """The key is encrypted, and no passphrase was given."""


class PassphraseDoesNotOpen(Exception):
    """The key is encrypted, and not with this passphrase."""


def read(text: str, passphrase: str | None) -> "SSHKey":
    """The key in a file's text; a passphrase that none needs is passed over. Slow for encrypted keys (bcrypt): call it in a
    thread. Raises Unreadable, PassphraseMissing, PassphraseDoesNotOpen."""
    if text.lstrip("\ufeff \t\r\n").startswith("PuTTY-User-Key-File-"):
        raise Unreadable(
            "this is a PuTTY key; convert it: puttygen key.ppk -O private-openssh -o key (or PuTTYgen, Conversions, Export)."
        )
    # Editors and chats add a byte order mark and indent.
    text = "".join(f"{line.strip()}\n" for line in text.lstrip("\ufeff").split("\n"))
    if "PRIVATE KEY-----" not in text:
        raise Unreadable(
            "not a private key: expected a block that begins with -----BEGIN ... PRIVATE KEY-----."
        )
    # The first block alone: what is looked at here and what the libraries read must be the same.
    block = _BLOCK.search(text)
    if block is None:
        raise Unreadable(_DAMAGED)
    data = block[0].encode("utf-8", "replace") + b"\n"
    match block[2]:
        case "OPENSSH":
            key = _openssh(data, _decoded(block[3]), passphrase)
        case "ENCRYPTED":
            _check_cost(_decoded(block[3]))
            key = _pem(data, passphrase, encrypted=True)
        case _:
            key = _pem(data, passphrase, encrypted="\nProc-Type: 4,ENCRYPTED\n" in block[0])
    return _checked(key)


def _decoded(body: str) -> bytes:
    """What is between the first and the last line. Raises Unreadable, also for header lines, which these forms do not have."""
    try:
        return binascii.a2b_base64("".join(body.split()), strict_mode=True)
    except ValueError:
        raise Unreadable(_DAMAGED) from None


def _checked(key: "SSHKey") -> "SSHKey":
    """Raises Unreadable for a key that no SSH server takes from us."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if key.algorithm not in _FOR_LOGIN:
        if key.algorithm.startswith(b"sk-"):
            raise Unreadable("the secret of this key is in a security key, which must be touched to log in.")
        raise Unreadable("a key of this type cannot be used for SSH.")
    if isinstance(key.pyca_key, RSAPrivateKey) and key.pyca_key.key_size < LEAST_RSA_BITS:
        raise Unreadable(f"an RSA key has at least {LEAST_RSA_BITS} bits.")
    return key


def _openssh(data: bytes, blob: bytes, passphrase: str | None) -> "SSHKey":
    from asyncssh import KeyEncryptionError, KeyImportError
    from asyncssh.encryption import get_encryption_algs
    from asyncssh.packet import PacketDecodeError, SSHPacket

    try:
        packet = SSHPacket(blob.removeprefix(_OPENSSH))
        cipher, kdf, options = packet.get_string(), packet.get_string(), packet.get_string()
        if cipher == b"none":
            return _imported(data, None)
        if cipher not in get_encryption_algs() or kdf != b"bcrypt":
            raise Unreadable(_UNSUPPORTED)
        packet = SSHPacket(options)
        packet.get_string()
        _bound(packet.get_uint32(), _MOST_ROUNDS)
        if not passphrase:
            raise PassphraseMissing
        return _imported(data, passphrase)
    except KeyEncryptionError:
        raise PassphraseDoesNotOpen from None
    except (PacketDecodeError, KeyImportError):
        raise Unreadable(_DAMAGED) from None


def _pem(data: bytes, passphrase: str | None, *, encrypted: bool) -> "SSHKey":
    """OpenSSL opens them, as it does for ssh, and knows more ciphers than asyncssh; that takes numbers of any length."""
    from asyncssh import KeyEncryptionError, KeyImportError
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    if encrypted and not passphrase:
        raise PassphraseMissing
    try:
        opened = load_pem_private_key(data, passphrase.encode() if encrypted and passphrase else None)
        return _imported(opened.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), None)
    except (UnsupportedAlgorithm, KeyImportError):
        raise Unreadable(_UNSUPPORTED) from None
    except (TypeError, ValueError) as error:
        with suppress(KeyImportError, KeyEncryptionError):
            return _imported(data, passphrase)
        if "unknown" in str(error).lower():
            raise Unreadable(_UNSUPPORTED) from None
        if encrypted:
            raise PassphraseDoesNotOpen from None
        raise Unreadable(_DAMAGED) from None


def _imported(data: bytes, passphrase: str | None) -> "SSHKey":
    """Raises KeyImportError, KeyEncryptionError."""
    from asyncssh import KeyEncryptionError, KeyImportError, import_private_key

    try:
        return import_private_key(data, passphrase)
    except (KeyImportError, KeyEncryptionError):
        raise
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        # It leaves what numbers may be to what it calls.
        raise KeyImportError("damaged") from None


def _check_cost(encrypted: bytes) -> None:
    """Raises Unreadable where the passphrase of a PKCS#8 key would cost too much (RFC 8018; scrypt: RFC 7914)."""
    from asyncssh.asn1 import ASN1DecodeError, der_decode

    try:
        outer: Any = der_decode(encrypted)
        scheme, parameters = outer[0]
        name, derived = parameters[0] if str(scheme) == _PBES2 else (scheme, parameters)
        numbers = [each for each in derived if isinstance(each, int)]
    except (ASN1DecodeError, LookupError, RecursionError, TypeError, ValueError):
        raise Unreadable(_DAMAGED) from None
    if str(name) == _SCRYPT:
        _bound(prod(numbers[:3]), _MOST_SCRYPT)
    else:
        _bound(prod(numbers[:1]), _MOST_ITERATIONS)


def _bound(cost: int, most: int) -> None:
    if cost > most:
        raise Unreadable(
            "the passphrase of this key takes too long to check; change it with fewer rounds (ssh-keygen -p -a 100)."
        )
