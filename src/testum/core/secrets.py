"""Secrets at rest: sealed with Fernet, each bound to the field of the record that it belongs to.

`Sealer` can only encrypt and is what the services get; `Opener` decrypts and is given to execution
alone. What stands for record and field is inside the plaintext, so that a ciphertext copied to another
row or column of the database does not open there.
"""

import hashlib
import hmac
from uuid import UUID, uuid5

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from testum.errors import ConfigurationError


def _fernet(keys: str) -> MultiFernet:
    return MultiFernet([Fernet(key.strip()) for key in keys.split(",")])


class Signer:
    """Signs texts that others keep (HMAC-SHA256, RFC 2104), so that it is seen whether one was made here. `purpose`: what is
    signed for one is none for another."""

    def __init__(self, key: str, purpose: str) -> None:
        self._mac = hmac.new(key.encode(), purpose.encode(), hashlib.sha256)

    def sign(self, text: str) -> str:
        """The text with its signature behind a dot."""
        return f"{text}.{self._of(text)}"

    def verify(self, signed: str) -> str:
        """The text that was signed; empty where the signature is not ours."""
        text, _, signature = signed.rpartition(".")
        genuine = hmac.compare_digest(self._of(text).encode(), signature.encode("utf-8", "replace"))
        return text if genuine else ""

    def _of(self, text: str) -> str:
        mac = self._mac.copy()
        mac.update(text.encode("utf-8", "replace"))
        return mac.hexdigest()


class Sealer:
    """Encrypts secrets. `keys`: Fernet keys, comma-separated, newest first."""

    def __init__(self, keys: str) -> None:
        self._fernet = _fernet(keys)

    def seal(self, owner: UUID, field: str, secret: str) -> str:
        """The secret encrypted for a field of the record `owner`."""
        return self._fernet.encrypt(uuid5(owner, field).bytes + secret.encode()).decode("ascii")


class Opener:
    """Decrypts what a `Sealer` with one of the same keys made."""

    def __init__(self, keys: str) -> None:
        self._fernet = _fernet(keys)

    def open(self, owner: UUID, field: str, sealed: str) -> str:
        """The secret in a field of the record `owner`. Raises ConfigurationError where no key fits, or where it was sealed
        for another field or record."""
        try:
            plain = self._fernet.decrypt(sealed.encode("ascii"))
        except InvalidToken:
            raise ConfigurationError(
                "FERNET_KEY: does not open what is stored. Put back the key that this database was used with."
            ) from None
        # What was sealed before fields were bound names its record alone, until it is saved anew.
        if plain[:16] not in (uuid5(owner, field).bytes, owner.bytes):
            raise ConfigurationError(
                "A stored secret belongs to another field or record: the database was altered."
            )
        return plain[16:].decode()
