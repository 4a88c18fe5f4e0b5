"""A real Chromium for tests of the pages: the system's own, driven by Playwright.

A `Tab` notes what must never happen: errors in the console (a violated Content-Security-Policy is one), errors in
scripts, and requests to other sites.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.server import ADMIN
from tests.support.waiting import until

CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium") or "/usr/bin/chromium"
"""The one without a window of its own takes a third of the processor's time; its pages are the same."""
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
WAIT_MS = 30_000
"""Enough on a busy machine. How long pages may take is measured where nothing runs beside."""
QUIET_MS = 16_000
"""A page takes a connection for lost on which nothing came for a second less."""
T = TypeVar("T")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; its tabs are made with `Tab`."""
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


def ready(page: Page) -> None:
    """Wait until the page's scripts are at work: a click that led to it did not wait for them."""
    # As a function: an expression would be evaluated in the page, whose policy forbids it (CSP, unsafe-eval).
    page.wait_for_function("() => document.documentElement.dataset.ready === '1'")


def drawn(page: Page) -> None:
    """Wait until the page has drawn what was done last."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page: Page, condition: Callable[[], T]) -> T:
    """`until` for what is noted of Playwright's events: they come only while something is asked of the browser."""

    def look() -> T:
        # Of the browser and not of the page, which says nothing while it waits for an answer itself.
        page.context.cookies()
        return condition()

    return until(look)


class Tab:
    """One tab in a browser profile of its own."""

    def __init__(self, browser: Browser, url: str, *, state: Any = None, **options: Any) -> None:
        self.url = url
        # What moves is drawn sixty times a second, which took a third of the browser's time.
        chosen = {"viewport": DESKTOP, "locale": "en", "reduced_motion": "reduce", **options}
        self.context: BrowserContext = browser.new_context(base_url=url, storage_state=state, **chosen)
        self.context.set_default_timeout(WAIT_MS)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.expected: list[str] = []
        """Parts of messages that this test provokes."""
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("request", lambda request: self._look(request.url))

    def _note(self, kind: str, text: str) -> None:
        # Who leaves a page ends what it still fetches, and htmx says so; what fails is told by other events, too.
        if kind == "error" and not text.startswith(("htmx:sendAbort", "htmx:afterRequest")):
            self.wrong.append(f"console: {text}")

    def _look(self, url: str) -> None:
        if (
            urlsplit(url).scheme in ("http", "https", "ws", "wss")
            and urlsplit(url).netloc != urlsplit(self.url).netloc
        ):
            self.wrong.append(f"request to another site: {url}")

    def log_in(self, username: str = ADMIN[0], password: str = ADMIN[1]) -> "Tab":
        """Log in by the form."""
        self.page.goto("/login")
        self.page.get_by_label("User name").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda address: "/login" not in address)
        return self

    def choose(self, **choices: str) -> "Tab":
        """As if somebody had chosen this theme, language and so on here."""
        self.context.add_cookies(
            [{"name": name, "value": value, "url": self.url} for name, value in choices.items()]
        )
        return self

    def close(self) -> None:
        """Close it; fails where something happened that must not."""
        self.context.close()
        left = [item for item in self.wrong if not any(part in item for part in self.expected)]
        assert not left, "\n".join(left)
