"""Secrets at rest: sealed with Fernet, each bound to the record it belongs to.

`Sealer` can only encrypt and is what the services get; `Opener` decrypts and is given to execution
alone. The record's id stands inside the plaintext, so that a ciphertext copied to another row of the
database does not open there.
"""

from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from testum.errors import ConfigurationError


def _fernet(keys: str) -> MultiFernet:
    return MultiFernet([Fernet(key.strip()) for key in keys.split(",")])


class Sealer:
    """Encrypts secrets. `keys`: Fernet keys, comma-separated, newest first."""

    def __init__(self, keys: str) -> None:
        self._fernet = _fernet(keys)

    def seal(self, owner: UUID, secret: str) -> str:
        """The secret encrypted for the record `owner`."""
        return self._fernet.encrypt(owner.bytes + secret.encode()).decode("ascii")


class Opener:
    """Decrypts what a `Sealer` with one of the same keys made."""

    def __init__(self, keys: str) -> None:
        self._fernet = _fernet(keys)

    def open(self, owner: UUID, sealed: str) -> str:
        """The secret of the record `owner`. Raises ConfigurationError where no key fits."""
        try:
            plain = self._fernet.decrypt(sealed.encode("ascii"))
        except InvalidToken:
            raise ConfigurationError(
                "FERNET_KEY: does not open what is stored. Put back the key that this database was used with."
            ) from None
        if plain[:16] != owner.bytes:
            raise ConfigurationError("A stored secret belongs to another record; the database was altered.")
        return plain[16:].decode()
