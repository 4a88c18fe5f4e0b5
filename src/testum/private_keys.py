"""Reading private keys for SSH: what is accepted when a key is saved is what can log in later.

Forms: OpenSSH's own (PROTOCOL.key), and PEM with PKCS#1 (RFC 8017), SEC 1 (RFC 5915) and PKCS#8 (RFC 5958), encrypted or not.
"""

import base64
import binascii
import re
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncssh import SSHKey

LEAST_RSA_BITS = 1024
"""As OpenSSH has it (sshkey.h, SSH_RSA_MINIMUM_MODULUS_SIZE)."""
MOST_RSA_BITS = 16384
"""As OpenSSH has it (sshbuf.h, SSHBUF_MAX_BIGNUM)."""

_FOR_LOGIN = frozenset(
    {b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"}
)
_BLOCK = re.compile(
    r"^-----BEGIN ((?:(\w+) )?PRIVATE KEY)-----\n(.*?)^-----END \1-----$", re.MULTILINE | re.DOTALL
)
_DAMAGED = "the private key is damaged or incomplete."
_UNSUPPORTED = "a key of this type or encryption is not supported."
_OPENSSH = b"openssh-key-v1\0"
_LABEL = b"OPENSSH PRIVATE KEY"
_LEAST_BLOCK = 8
"""Bytes: the secret is filled up to whole blocks, also where no cipher asks for it."""
_CHECK_BYTES = 8
"""Before the secret: four, twice, which show that it was decrypted."""
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
            key = _openssh(_decoded(block[3]), passphrase)
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
    if key.algorithm not in _FOR_LOGIN:
        if key.algorithm.startswith(b"sk-"):
            raise Unreadable("the secret of this key is in a security key, which must be touched to log in.")
        raise Unreadable("a key of this type cannot be used for SSH.")
    return key


def _openssh(blob: bytes, passphrase: str | None) -> "SSHKey":
    """The form that PROTOCOL.key describes. The public half stands before the secret and in it; all of them must agree."""
    from asyncssh import KeyImportError
    from asyncssh.packet import PacketDecodeError, SSHPacket, String

    try:
        if not blob.startswith(_OPENSSH):
            raise Unreadable(_DAMAGED)
        packet = SSHPacket(blob[len(_OPENSSH) :])
        cipher, kdf, options = packet.get_string(), packet.get_string(), packet.get_string()
        keys, public, secret = packet.get_uint32(), packet.get_string(), packet.get_string()
        tag = packet.get_remaining_payload()
        if keys != 1:
            raise Unreadable(_DAMAGED)
        if cipher != b"none":
            secret = _decrypted(cipher, kdf, options, secret, tag, passphrase)
        elif tag or len(secret) % _LEAST_BLOCK:
            raise Unreadable(_DAMAGED)
        head = b"".join(map(String, (b"none", b"none", b""))) + keys.to_bytes(4, "big")
        plain = base64.encodebytes(_OPENSSH + head + String(public) + String(secret))
        key = _imported(b"-----BEGIN %b-----\n%b-----END %b-----\n" % (_LABEL, plain, _LABEL), None)
    except (PacketDecodeError, KeyImportError):
        raise Unreadable(_DAMAGED) from None
    if key.algorithm in _FOR_LOGIN and not _agree(key, public, secret):
        raise Unreadable(_DAMAGED)
    return key


def _decrypted(
    cipher: bytes, kdf: bytes, options: bytes, secret: bytes, tag: bytes, passphrase: str | None
) -> bytes:
    """Raises Unreadable, PassphraseMissing, PassphraseDoesNotOpen, and PacketDecodeError for broken options."""
    import bcrypt
    from asyncssh.encryption import get_encryption, get_encryption_algs, get_encryption_params
    from asyncssh.packet import SSHPacket

    if cipher not in get_encryption_algs() or kdf != b"bcrypt":
        raise Unreadable(_UNSUPPORTED)
    packet = SSHPacket(options)
    salt, rounds = packet.get_string(), packet.get_uint32()
    packet.check_end()
    _bound(rounds, _MOST_ROUNDS)
    key_size, iv_size, block, _, tag_size, _ = get_encryption_params(cipher)
    if len(tag) != tag_size or len(secret) % max(block, _LEAST_BLOCK):
        raise Unreadable(_DAMAGED)
    if not passphrase:
        raise PassphraseMissing
    try:
        derived = bcrypt.kdf(passphrase.encode(), salt, key_size + iv_size, rounds, ignore_few_rounds=True)
    except ValueError:
        raise Unreadable(_DAMAGED) from None
    opened = get_encryption(cipher, derived[:key_size], derived[key_size:]).decrypt_packet(
        0, b"", secret, 0, tag
    )
    if opened is None or opened[:4] != opened[4:8]:
        raise PassphraseDoesNotOpen
    return opened


def _agree(key: "SSHKey", public: bytes, secret: bytes) -> bool:
    """Whether the public halves before and in the secret are the one that follows from it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pyca: Any = key.pyca_key
    line = pyca.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    derived = binascii.a2b_base64(line.split(b" ")[1])
    # asyncssh does not keep those that stand in Ed25519's secret.
    inner = key.algorithm != b"ssh-ed25519" or secret.startswith(key.private_data, _CHECK_BYTES)
    return inner and public == key.public_data == derived


def _pem(data: bytes, passphrase: str | None, *, encrypted: bool) -> "SSHKey":
    """OpenSSL opens them, as it does for ssh, and knows more ciphers than asyncssh; that takes numbers of any length."""
    from asyncssh import KeyEncryptionError, KeyImportError
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    if encrypted and not passphrase:
        raise PassphraseMissing
    secret = passphrase.encode() if encrypted and passphrase else None
    try:
        opened = load_pem_private_key(data, secret, unsafe_skip_rsa_key_validation=True)
        plain = opened.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    except UnsupportedAlgorithm:
        raise Unreadable(_UNSUPPORTED) from None
    except (TypeError, ValueError) as error:
        # A cipher that asyncssh alone knows: with a wrong passphrase, it could not be told from one that nobody knows.
        if "unknown" in str(error).lower():
            raise Unreadable(_UNSUPPORTED) from None
        # Of forms, it takes some that OpenSSL does not.
        with suppress(KeyImportError, KeyEncryptionError):
            return _imported(data, passphrase)
        if encrypted:
            raise PassphraseDoesNotOpen from None
        raise Unreadable(_DAMAGED) from None
    try:
        return _imported(plain, None)
    except KeyImportError:
        raise Unreadable(_DAMAGED if isinstance(opened, RSAPrivateKey) else _UNSUPPORTED) from None


def _imported(data: bytes, passphrase: str | None) -> "SSHKey":
    """Raises Unreadable, KeyImportError, KeyEncryptionError. An RSA key's numbers are looked into when there are not too many
    bits of them: that takes minutes otherwise."""
    from asyncssh import KeyEncryptionError, KeyImportError, import_private_key
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        key = import_private_key(data, passphrase, unsafe_skip_rsa_key_validation=True)
        if isinstance(key.pyca_key, RSAPrivateKey):
            if key.pyca_key.key_size < LEAST_RSA_BITS:
                raise Unreadable(f"an RSA key has at least {LEAST_RSA_BITS} bits.")
            if key.pyca_key.key_size > MOST_RSA_BITS:
                raise Unreadable(f"an RSA key has at most {MOST_RSA_BITS} bits.")
            key = import_private_key(key.export_private_key("pkcs8-der"))
        return key
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
