"""Loading private keys to log in with."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

from testum import private_keys
from testum.ssh.endpoint import KeyAuth
from testum.ssh.errors import KeyInvalid, PassphraseRequired, PassphraseWrong

if TYPE_CHECKING:
    import asyncssh

_CACHED = 256


class KeyRing:
    """Parses private keys and remembers the last ones, because decrypting one (bcrypt) takes as long as
    many connections. Keys are remembered by a keyed hash, so that the cache holds no text of theirs."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._keys: OrderedDict[bytes, asyncssh.SSHKey] = OrderedDict()

    async def load(self, auth: KeyAuth) -> "asyncssh.SSHKey":
        """The key. Raises PassphraseRequired, PassphraseWrong or KeyInvalid."""
        text = f"{auth.passphrase or ''}\0{auth.private_key}".encode()
        name = hashlib.blake2b(text, key=self._salt, digest_size=32).digest()
        key = self._keys.get(name)
        if key is None:
            if "ENCRYPTED" in auth.private_key or "OPENSSH" in auth.private_key:
                key = await asyncio.to_thread(_parse, auth)
            else:
                key = _parse(auth)
            self._keys[name] = key
            if len(self._keys) > _CACHED:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(name)
        return key


def _parse(auth: KeyAuth) -> "asyncssh.SSHKey":
    try:
        return private_keys.read(auth.private_key, auth.passphrase)
    except private_keys.PassphraseMissing:
        raise PassphraseRequired(
            "The private key is encrypted and no passphrase is stored with it. Store one."
        ) from None
    except private_keys.PassphraseDoesNotOpen:
        raise PassphraseWrong("The stored passphrase does not open the private key.") from None
    except private_keys.Unreadable as error:
        raise KeyInvalid(f"The stored private key cannot be read: {error}") from None
