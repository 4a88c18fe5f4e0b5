"""Addresses of hosts as people write and read them: `user@host:port`."""

from typing import Any

from testum.cli.failures import WrongUse
from testum.core.hops import split_hop


def split_address(text: str) -> tuple[str, str, int | None]:
    """User, host and port of `user@host:port`, `[::1]:22` or a bare IPv6 address. Raises WrongUse."""
    user, host, port = split_hop(text)
    if port is not None and not 0 < port < 65536:
        raise WrongUse(f"{text}: a port is a number from 1 to 65535.")
    return user, host, port


def address_of(item: dict[str, Any]) -> str:
    """A platform's login and address in one word."""
    host = f"[{item['host']}]" if ":" in item["host"] else item["host"]
    return f"{item['username']}@{host}:{item['port']}"
