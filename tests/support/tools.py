"""Small things that many tests need."""

import secrets
from pathlib import Path
from typing import Any

import httpx2
import redis

from tests.support.sshd import run
from testum.dispatch.celery import queue_name


def unique(prefix: str = "p") -> str:
    """A name that no other test has."""
    return f"{prefix}-{secrets.token_hex(5)}"


def ask(method: str, url: str, **options: Any) -> httpx2.Response:
    """The answer to a request over plain HTTP, from a client of its own. Without the trusted certificates, which plain
    HTTP has no use for: loading them takes the processor 20 ms each time."""
    return httpx2.request(method, url, verify=False, **options)


def healthy(url: str) -> bool:
    """Whether the web process at this address answers, and is well."""
    try:
        return ask("GET", f"{url}/health", timeout=3).status_code == 200
    except httpx2.HTTPError:
        return False


def all_taken(broker_url: str) -> bool:
    """Whether no message of the zone `default` waits in the broker, or is with a worker that has not acknowledged it."""
    with redis.Redis.from_url(broker_url) as broker:
        return not broker.llen(queue_name("default")) and not broker.hlen("unacked")


def make_key(folder: Path, *options: str, passphrase: str = "") -> tuple[str, str]:
    """A new key pair, private and public text; ed25519 unless ssh-keygen's options say otherwise."""
    file = folder / secrets.token_hex(4)
    kind = options or ("-t", "ed25519")
    run("ssh-keygen", "-q", "-N", passphrase, "-C", "a comment", "-f", str(file), *kind)
    return file.read_text(), Path(f"{file}.pub").read_text().strip()
