"""Small things that many tests need."""

import secrets
from pathlib import Path

from tests.support.sshd import run


def unique(prefix: str = "p") -> str:
    """A name that no other test has."""
    return f"{prefix}-{secrets.token_hex(5)}"


def make_key(folder: Path, *options: str, passphrase: str = "") -> tuple[str, str]:
    """A new key pair, private and public text; ed25519 unless ssh-keygen's options say otherwise."""
    file = folder / secrets.token_hex(4)
    kind = options or ("-t", "ed25519")
    run("ssh-keygen", "-q", "-N", passphrase, "-C", "a comment", "-f", str(file), *kind)
    return file.read_text(), Path(f"{file}.pub").read_text().strip()
