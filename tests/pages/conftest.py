"""A browser for all tests of the pages, and a tab for each."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import Tab, chromium
from tests.support.proxy import Proxies, Proxy
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd

Open = Callable[..., Tab]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def state(browser: Browser, server: Server) -> Any:
    """The cookies of the admin's login: one login for all tests, because logins are throttled."""
    tab = Tab(browser, server.url).log_in()
    kept = tab.context.storage_state()
    tab.close()
    return kept


@pytest.fixture
def open_tab(browser: Browser, server: Server, state: Any) -> Iterator[Open]:
    """Opens tabs; logged in, unless `state` is None."""
    opened: list[Tab] = []

    def make(**options: Any) -> Tab:
        tab = Tab(browser, options.pop("url", server.url), **{"state": state, **options})
        opened.append(tab)
        return tab

    yield make
    for tab in opened:
        tab.close()


@pytest.fixture
def tab(open_tab: Open) -> Tab:
    """A tab in which the admin is logged in."""
    return open_tab()


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.page


@pytest.fixture
def way(server: Server) -> Iterator[Proxy]:
    """A way to the server that can be cut, or made slow."""
    proxies = Proxies()
    yield proxies.add(server.port)
    proxies.close()


@pytest.fixture(scope="session")
def hosts(api: Api, real_sshd: RealSshd) -> list[dict[str, Any]]:
    """Three platforms that answer, and one that does not, all with the tag `pages`."""
    made = [
        api.add_platform(
            f"host-{number}", real_sshd, host=real_sshd.address(number), tags=["pages", f"n{number}"]
        )
        for number in range(3)
    ]
    made.append(
        api.add_platform("silent", real_sshd, port=1, tags=["pages"], description="Nobody listens there.")
    )
    return made


@pytest.fixture
def flag(real_sshd: RealSshd) -> Iterator[Path]:
    """A file that commands wait for: they go on when the test makes it."""
    path = real_sshd.user.home / f"flag-{secrets.token_hex(4)}"
    yield path
    path.unlink(missing_ok=True)
