"""What `testum login` keeps: which server, and the tokens for each, in a file only its owner may read."""

import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testum.cli.failures import WrongUse

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Account:
    """A login at one server."""

    username: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass(slots=True)
class Config:
    """The file's content. `accounts` are by server address: a token is never sent to another server."""

    url: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)


def config_path() -> Path:
    """Where the file is: `TESTUM_CONFIG`, or `testum/config.json` in the user's configuration directory."""
    if given := os.environ.get("TESTUM_CONFIG"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "testum" / "config.json"


def load() -> Config:
    """The stored configuration, empty if there is none. Raises WrongUse if it cannot be used.

    A file that others may read is closed to them, and its owner told: the tokens may be known.
    """
    path = config_path()
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                os.fchmod(file.fileno(), 0o600)
                print(
                    f"testum: {path} could be read by others; its mode is now 0600. "
                    "Log out and in again if someone may have read it.",
                    file=sys.stderr,
                )
            return _decode(json.load(file))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise WrongUse(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WrongUse(f"{path} is damaged. Delete it and run `testum login`.") from None


def save(config: Config) -> None:
    """Replace the file as a whole. It has mode 0600 from its first byte. Raises WrongUse."""
    path = config_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes the file 0600; the rename then never shows half of it.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(_encode(config), file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WrongUse(f"{path} cannot be written: {error.strerror}") from None


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock that every change of the file needs, also against other `testum` processes."""
    path = config_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WrongUse(f"{path.parent} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _decode(content: dict[str, Any]) -> Config:
    accounts = {
        url: Account(stored["username"], stored["access_token"], stored["refresh_token"])
        for url, stored in content["accounts"].items()
    }
    return Config(str(content.get("url", "")), accounts)


def _encode(config: Config) -> dict[str, Any]:
    accounts = {
        url: {
            "username": account.username,
            "access_token": account.access_token,
            "refresh_token": account.refresh_token,
        }
        for url, account in config.accounts.items()
    }
    return {"url": config.url, "accounts": accounts}
