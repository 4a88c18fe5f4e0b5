"""Private key files of the person at the terminal: read here, so that the server gets text and not paths."""

import sys
from pathlib import Path

from testum.cli.failures import WrongUse

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_LIMIT = 64 * 1024


def read_key(path: Path) -> str:
    """A private key file's text. Raises WrongUse if it cannot be read or holds something else."""
    try:
        with path.expanduser().open(encoding="utf-8") as file:
            text = file.read(_LIMIT + 1)
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongUse(f"{path}: not a private key in text form.") from None
    if len(text) > _LIMIT or not any(mark in text for mark in ("PRIVATE KEY", "PuTTY-User-Key-File-")):
        raise WrongUse(f"{path}: not a private key.")
    return text


def unlock(text: str, label: str, passphrase: str = "") -> str:
    """The passphrase of a private key, asked for if it has one and none is given.

    Raises WrongUse for a damaged key, a wrong passphrase, or without a terminal to ask on.
    """
    from testum.core.sshkeys import check_private_key
    from testum.errors import InvalidInput

    try:
        if check_private_key(text, passphrase or None) is not None:
            return passphrase
        if not sys.stdin.isatty():
            raise WrongUse(
                f"{label}: the key has a passphrase; run this in a terminal, so that it can be asked for."
            )
        from getpass import getpass

        typed = getpass(f"Passphrase of {label}: ")
        if not typed or check_private_key(text, typed) is None:
            raise WrongUse(f"{label}: the passphrase is missing.")
    except InvalidInput as error:
        raise WrongUse(f"{label}: {error.message}") from None
    return typed


def key_fields(path: Path) -> dict[str, str]:
    """A private key file as the API takes it, with its passphrase where it has one. Raises WrongUse."""
    text = read_key(path)
    passphrase = unlock(text, str(path))
    return {"private_key": text, **({"passphrase": passphrase} if passphrase else {})}
