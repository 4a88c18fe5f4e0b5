"""Who we are at which server: the address, the access token, and a fresh one when it has expired."""

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from testum.cli import config
from testum.cli.failures import Refused, WrongUse

LOGIN_AGAIN = "Log in with `testum login`, or set TESTUM_TOKEN."

Post = Callable[[str, Mapping[str, Any]], Any]
"""Sends a JSON body to a path of the API without a token, and returns the answer."""


class Session:
    """The login used by one run of the program.

    `TESTUM_TOKEN` counts before what `testum login` stored; it cannot be renewed.
    """

    def __init__(self, url: str | None) -> None:
        """`url`: from the command line or `TESTUM_URL`. Raises WrongUse if it is not an address."""
        stored = config.load()
        self.url = normal_url(url or stored.url or config.DEFAULT_URL)
        self._fixed = os.environ.get("TESTUM_TOKEN", "").strip()
        if not (self._fixed.isascii() and (self._fixed.isprintable())) or " " in self._fixed:
            raise WrongUse("TESTUM_TOKEN is not a token.")
        self._account = stored.accounts.get(self.url)

    @property
    def token(self) -> str:
        """The access token to send, or nothing if nobody is logged in here."""
        return self._fixed or (self._account.access_token if self._account else "")

    @property
    def refresh_token(self) -> str:
        """The stored refresh token, or nothing."""
        return self._account.refresh_token if self._account else ""

    def renew(self, rejected: str, post: Post) -> bool:
        """Get another access token than `rejected`, which the server no longer takes.

        A refresh token works once; so the file is locked while it is used, and what another process
        has stored meanwhile is taken instead. Returns False if there is nothing to renew with.
        """
        if self._fixed:
            return False
        with config.locked():
            stored = config.load()
            account = stored.accounts.get(self.url)
            if account is not None and account.access_token == rejected:
                account = self._refreshed(stored, account, post)
        self._account = account
        return account is not None

    def _refreshed(self, stored: config.Config, account: config.Account, post: Post) -> config.Account | None:
        try:
            answer = post("/auth/refresh", {"refresh_token": account.refresh_token})
        except Refused as refusal:
            if refusal.http_status not in (400, 401, 403, 422):
                raise
            del stored.accounts[self.url]
            config.save(stored)
            return None
        renewed = config.Account(account.username, answer["access_token"], answer["refresh_token"])
        stored.accounts[self.url] = renewed
        config.save(stored)
        return renewed

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Store the answer to a login, and make this server the usual one."""
        username = str(answer["user"]["username"])
        account = config.Account(username, answer["access_token"], answer["refresh_token"])
        with config.locked():
            stored = config.load()
            stored.url = self.url
            stored.accounts[self.url] = account
            config.save(stored)
        self._account = account

    def forget(self) -> bool:
        """Remove the stored login of this server; returns whether there was one."""
        with config.locked():
            stored = config.load()
            known = stored.accounts.pop(self.url, None) is not None
            if known:
                config.save(stored)
        self._account = None
        return known


def normal_url(text: str) -> str:
    """An address as it is stored and compared: with scheme, without a slash at its end. Raises WrongUse."""
    url = text.strip()
    if "://" not in url:
        url = f"http://{url}"
    url = url.rstrip("/")
    try:
        parts = urlsplit(url)
        valid = (
            parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        raise WrongUse(f"{text!r} is not a server's address; write it like {config.DEFAULT_URL}.") from None
    if not valid or parts.username is not None or parts.query or parts.fragment:
        raise WrongUse(f"{text!r} is not a server's address; write it like {config.DEFAULT_URL}.")
    return url.removesuffix("/api/v1").removesuffix("/api")
