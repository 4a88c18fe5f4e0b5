"""How often passwords may be tried: an account is slowed down for strangers, over all their addresses, and never locked for
who is known."""

import asyncio
import secrets
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from uuid import UUID

from limits import RateLimitItem, parse

from testum.core.secrets import Signer
from testum.services.throttle import Throttle

_OF_KNOWN = parse("10/5minutes")
"""From a device or a network that has logged in to the account before."""
_OF_STRANGER = parse("1/10minutes")
_OF_STRANGERS = parse("52/10minutes")
"""The first try of a network at an account: over all networks."""
_OF_STRANGERS_AGAIN = parse("8/10minutes")
"""Their further tries. Together 60, which is what an account's password has to stand."""
_OF_NETWORK = parse("100/5minutes")
"""From one network, for whatever names; above that it is slowed down: others may be behind the same address."""
_OF_SLOW_NETWORK = parse("2/1seconds")
_PATIENCE_SECONDS = 25.0
_STEP_SECONDS = 0.25
_MOST_WAITING = 100
_NETWORK_BITS = 64
"""The bits of an IPv6 address that name a network: whoever has one has all addresses of it (RFC 6177)."""


@dataclass(frozen=True, slots=True)
class Try:
    """A password that may be tried; `known` counts for whom, and is empty for a stranger."""

    account: str
    known: str = ""


class Guesses:
    """Counts the tries at accounts."""

    def __init__(self, throttle: Throttle, secret_key: str) -> None:
        self._throttle = throttle
        self._devices = Signer(secret_key, "device")
        self._waiting = 0

    async def admit(self, account: str, network: str, *, known: str) -> Try:
        """Wait until a password may be tried. `known`: by what the account knows who tries, or empty. Raises Throttled."""
        if known:
            await self._hit(_OF_KNOWN, "known", f"{account}@{known}")
            return Try(account, known)
        first = await self._throttle.hit(_OF_STRANGER, "stranger", f"{account}@{network}")
        if not first or not await self._throttle.hit(_OF_STRANGERS, "strangers", account):
            await self._hit(_OF_STRANGERS_AGAIN, "again", account)
        if not await self._throttle.hit(_OF_NETWORK, "network", network):
            await self._wait(_OF_SLOW_NETWORK, "slow", network)
        return Try(account)

    async def right(self, tried: Try) -> None:
        """The password was right: who is known has no wrong tries any more."""
        if tried.known:
            await self._throttle.clear(_OF_KNOWN, "known", f"{tried.account}@{tried.known}")

    async def _hit(self, limit: RateLimitItem, kind: str, key: str) -> None:
        if not await self._throttle.hit(limit, kind, key):
            raise await self._throttle.refusal(limit, kind, key)

    async def _wait(self, limit: RateLimitItem, kind: str, key: str) -> None:
        """Until there is room, as long as somebody may be asked to wait."""
        if self._waiting >= _MOST_WAITING:
            raise await self._throttle.refusal(limit, kind, key)
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while not await self._throttle.hit(limit, kind, key):  # noqa: ASYNC110 - for a time to pass
                    await asyncio.sleep(_STEP_SECONDS)
        except TimeoutError:
            raise await self._throttle.refusal(limit, kind, key) from None
        finally:
            self._waiting -= 1

    # -- devices -------------------------------------------------------------------------------------------

    def new_device(self, user_id: UUID) -> str:
        """What a device shows from now on to be known to the account."""
        return self._devices.sign(f"{user_id.hex}.{secrets.token_urlsafe(16)}")

    def device(self, user_id: UUID, shown: str) -> str:
        """The device, if it is one that has logged in to the account; empty else."""
        named = self._devices.verify(shown)
        return named if named.startswith(f"{user_id.hex}.") else ""


def network_of(address: str) -> str:
    """What counts as one: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ip_network((found, _NETWORK_BITS), strict=False))
