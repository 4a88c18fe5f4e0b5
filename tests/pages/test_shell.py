"""The frame: menu, search, keys, theme and language, errors as pages, and what goes over the wire."""

import re
from html.parser import HTMLParser

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Open
from tests.support.browser import PHONE, ready
from tests.support.server import Api, Server
from tests.support.tools import ask
from testum import __version__
from testum.installed import INSTALLED
from testum.settings import Settings
from testum.web.factory import build

pytestmark = pytest.mark.embedded

KILOBYTE = 1000


def page_routes() -> list[tuple[str, str]]:
    """Method and path of every page's route."""
    found = []
    waiting = list(build(Settings(_env_file=None), INSTALLED).routes)  # type: ignore[call-arg]
    while waiting:
        route = waiting.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            waiting += inner.routes
        elif type(route).__name__ == "PageRoute":
            found += [(method, route.path) for method in sorted(route.methods - {"HEAD"})]
    return sorted(found)


OPEN = {
    ("GET", "/login"), ("POST", "/login"), ("GET", "/session/renew"), ("POST", "/session/renew"),
    ("POST", "/preferences"), ("GET", "/favicon.svg"),
}  # fmt: skip
UNKNOWN = "01a20f71-0000-7000-8000-000000000000"
LOOKED_AT = {
    "/", "/platforms", "/jobs", "/keys", "/settings", "/search", "/account/password",
    "/platforms/{platform_id}", "/platforms/{platform_id}/tests/{task_id}", "/jobs/{job_id}", "/jobs/{job_id}/tasks", "/jobs/{job_id}/left", "/tasks/{task_id}",
    "/keys/{key_id}", "/platforms/matching", "/run/platforms", "/run/matching", "/run/selections",
    "/run/selections/{selection_id}/chips",
}  # fmt: skip
"""What a viewer may see."""
OPERATED = {
    "/run", "/run/selections", "/run/selections/draft", "/run/selections/{selection_id}/rename",
    "/run/selections/{selection_id}/delete", "/jobs/{job_id}/cancel", "/jobs/{job_id}/rerun",
    "/platforms/{platform_id}/test", "/platforms/{platform_id}/facts",
}  # fmt: skip
OWN = {"/account/password", "/settings/username"}


def fill(path: str) -> str:
    return re.sub(r"\{\w+\}", UNKNOWN, path)


@pytest.mark.parametrize(("method", "path"), [route for route in page_routes() if route not in OPEN])
def test_without_a_login_every_page_leads_to_it(server: Server, method: str, path: str) -> None:
    answer = ask(method, server.url + fill(path), headers={"Origin": server.url, "Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(("/session/renew", "/login"))


@pytest.fixture(scope="module")
def viewer(server: Server) -> Api:
    return server.account("viewer")


@pytest.fixture(scope="module")
def operator(server: Server) -> Api:
    return server.account("operator")


@pytest.mark.parametrize(
    ("method", "path"), [route for route in page_routes() if route not in OPEN and route[1] != "/logout"]
)
def test_each_role_gets_what_it_may(
    server: Server, viewer: Api, operator: Api, method: str, path: str
) -> None:
    for role, client in (("viewer", viewer), ("operator", operator)):
        form = {
            "platform": UNKNOWN,
            "action": "delete",
            "only": "all",
            "command": "true",
            "text": "name\nx",
            "name": "x",
        }
        answer = ask(
            method,
            server.url + fill(path),
            data=form if method == "POST" else None,
            headers={"Origin": server.url, "Cookie": f"access_token={client.tokens['access_token']}"},
        )
        allowed = (
            path in OWN
            or (method == "GET" and path in LOOKED_AT)
            or (role == "operator" and path in OPERATED)
        )
        assert (answer.status_code == 403) is not allowed, (role, method, path, answer.status_code)
        assert answer.status_code != 500


def test_forms_of_other_sites_do_nothing(server: Server, api: Api) -> None:
    cookie = {"Cookie": f"access_token={api.tokens['access_token']}"}
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = ask(
            "POST",
            f"{server.url}/platforms/selected",
            data={"action": "delete"},
            headers={**cookie, **headers},
        )
        assert answer.status_code == 403


class Markup(HTMLParser):
    """What a page's tags have that they must not; what hosts and people wrote is text, and is not looked at."""

    _ADDRESSES = ("href", "src", "action", "formaction", "srcset", "poster", "data", "hx-get", "hx-post")

    def __init__(self, own: str) -> None:
        super().__init__()
        self._own = own
        self.tags = 0
        self.refused: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1
        values = {name: value or "" for name, value in attrs}
        bad = [name for name in values if name.startswith(("on", "hx-on")) or name == "style"]
        bad += [
            name
            for name in self._ADDRESSES
            if not re.match(r"[/#?]|$", values.get(name, "").removeprefix(self._own))
            or values.get(name, "")[:2] == "//"
        ]
        if tag == "style" or (
            tag == "script" and "src" not in values and values.get("type") != "application/json"
        ):
            bad.append(tag)
        self.refused += [(tag, name) for name in bad]


def test_every_page_has_a_strict_policy_and_no_inline_code(server: Server, api: Api) -> None:
    cookie = {"Cookie": f"access_token={api.tokens['access_token']}"}
    for path in ("/", "/platforms", "/run", "/jobs", "/login", "/nothing"):
        answer = ask("GET", server.url + path, headers={**cookie, "Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert (
            policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            and "unsafe" not in policy
        )
        assert "frame-ancestors 'none'" in policy
        for name in (
            "permissions-policy",
            "cross-origin-opener-policy",
            "referrer-policy",
            "x-content-type-options",
        ):
            assert answer.headers[name]
        assert answer.headers["cache-control"] == "no-store"
        markup = Markup(server.url)
        markup.feed(answer.text)
        assert (markup.tags > 10, markup.refused) == (True, [])


def test_the_first_load_is_small_compressed_and_kept(server: Server) -> None:
    page = ask("GET", f"{server.url}/login", headers={"Accept": "text/html"})
    total = len(page.content)
    assets = re.findall(r'(?:src|href)="(/static/app/[^"#]+)', page.text)
    assert len(assets) >= 3
    for path in set(assets):
        for encoding in ("br", "gzip"):
            with httpx2.stream("GET", server.url + path, headers={"Accept-Encoding": encoding}) as answer:
                body = b"".join(answer.iter_raw())
                assert answer.headers["content-encoding"] == encoding
                assert "immutable" in answer.headers["cache-control"]
        total += len(body)
    assert total < 350 * KILOBYTE, f"{total} bytes"


@pytest.mark.parametrize(
    "path", ["manifest.json", "../assets.py", "..%2fassets.py", "", "x.js", "app.css.br"]
)
def test_only_what_was_built_is_served(server: Server, path: str) -> None:
    assert ask("GET", f"{server.url}/static/app/{path}").status_code == 404


def test_a_link_from_another_site_finds_the_login(server: Server) -> None:
    answer = ask("GET", f"{server.url}/jobs", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200 and 'http-equiv="refresh"' in answer.text


def test_theme_and_language_switch_and_stay(open_tab: Open) -> None:
    tab = open_tab()
    page = tab.page
    page.goto("/platforms?q=x")
    html = page.locator("html")
    expect(html).to_have_attribute("data-bs-theme", "dark")
    page.locator(".x-bar").get_by_role("button", name="Theme").click()
    page.locator(".x-bar").get_by_role("button", name="Light").click()
    expect(html).to_have_attribute("data-bs-theme", "light")
    assert page.url.endswith("/platforms?q=x"), "the page is the same"
    ready(page)
    page.locator(".x-bar").get_by_role("button", name="Language:").click()
    page.locator(".x-bar").get_by_role("button", name="Русский").click()
    expect(page.get_by_role("heading", name="Платформы", level=1)).to_be_visible()
    page.goto("/")
    expect(html).to_have_attribute("lang", "ru")
    expect(html).to_have_attribute("data-bs-theme", "light")


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_systems_theme_is_followed(open_tab: Open, scheme: str) -> None:
    tab = open_tab(color_scheme=scheme)
    tab.choose(theme="system")
    tab.page.goto("/")
    expect(tab.page.locator("html")).to_have_attribute("data-bs-theme", scheme)
    tab.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    expect(tab.page.locator("html")).not_to_have_attribute("data-bs-theme", scheme)


def test_the_browsers_language_counts_until_one_is_chosen(open_tab: Open) -> None:
    tab = open_tab(state=None, locale="ru")
    tab.page.goto("/login")
    expect(tab.page.get_by_role("button", name="Войти")).to_be_visible()


def test_the_menu_is_remembered(page: Page) -> None:
    page.goto("/")
    expect(page.locator(".x-version")).to_contain_text(__version__)
    page.get_by_role("button", name="Collapse the menu").click()
    expect(page.locator(".x-menu-word").first).to_be_hidden()
    expect(page.get_by_role("button", name="Expand the menu")).to_be_visible()
    page.goto("/jobs")
    expect(page.locator(".x-menu-word").first).to_be_hidden()
    page.get_by_role("button", name="Expand the menu").click()
    expect(page.get_by_role("button", name="Collapse the menu")).to_be_visible()
    page.get_by_role("button", name="Collapse the menu").click()
    expect(page.locator("[aria-current=page]")).to_have_attribute("href", "/jobs")


def test_the_menu_of_a_phone(open_tab: Open) -> None:
    page = open_tab(viewport=PHONE).page
    page.goto("/")
    expect(page.locator("#menu a").first).to_be_hidden()
    page.get_by_role("button", name="Open the menu").click()
    expect(page.locator("#menu a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#menu a").first).to_be_hidden()
    page.get_by_role("button", name="Open the menu").click()
    page.locator("#menu").get_by_role("link", name="Platforms").click()
    page.wait_for_url("**/platforms")


def test_keys(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("/")
    expect(page.locator("[data-search]")).to_be_focused()
    page.keyboard.type("r?")
    assert page.locator("[data-search]").input_value() == "r?", "typing is no shortcut"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("dialog#shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog#shortcuts")).to_be_hidden()
    page.keyboard.type("gj")
    page.wait_for_url("**/jobs")
    page.keyboard.press("r")
    page.wait_for_url("**/run")
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("button", name="Help for this page").click()
    expect(page.locator("dialog#page-help")).to_be_visible()


def test_search_finds_platforms_jobs_and_keys(page: Page, hosts: object, api: Api) -> None:
    api.wait_job(api.start_job("echo needle-in-a-job", targets={"names": ["host-0"]}))
    page.goto("/")
    page.locator("[data-search]").fill("host-1")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#search-results a").first).to_contain_text("host-1")
    page.locator("[data-search]").fill("needle-in")
    expect(page.locator("#search-results")).to_contain_text("needle-in-a-job")
    page.locator("[data-search]").press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/**")
    page.locator("[data-search]").fill("no such thing")
    expect(page.locator("#search-results")).to_contain_text("Nothing has “no such thing” in it.")
    page.locator("[data-search]").press("Enter")
    expect(page.get_by_text("Nothing found")).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/nothing", "/platforms/" + UNKNOWN, "/jobs/not-an-id", "/jobs/" + UNKNOWN, "/keys/" + UNKNOWN]
)
def test_what_is_not_there_is_said_within_the_frame(open_tab: Open, path: str) -> None:
    tab = open_tab()
    tab.expected = ["404"]
    answer = tab.page.goto(path)
    assert answer is not None and answer.status == 404
    expect(tab.page.get_by_role("heading", name="Not found", level=1)).to_be_visible()
    expect(tab.page).to_have_title("Not found · Testum")
    expect(tab.page.get_by_role("navigation", name="Main menu")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "page_above"),
    [("/settings/username", "/settings"), ("/preferences", "/"), ("/logout", "/")],
)
def test_an_address_that_only_takes_forms_leads_to_the_page_above(
    page: Page, path: str, page_above: str
) -> None:
    """A form that was refused leaves it in the browser's bar."""
    page.goto(path)
    expect(page).to_have_url(re.compile(rf"://[^/]+{page_above}$"))
    expect(page.get_by_role("navigation", name="Main menu")).to_be_visible()


def test_a_server_that_is_gone_is_told(open_tab: Open, hosts: object) -> None:
    tab = open_tab()
    tab.expected = ["ERR_", "Failed to load", "net::", "htmx"]
    tab.page.goto("/platforms")
    tab.context.set_offline(True)
    for text in ("x", "y"):
        with tab.page.expect_event("requestfailed"):
            tab.page.get_by_role("searchbox", name="Name, host or description").fill(text)
        expect(tab.page.locator("#toasts")).to_contain_text("testum does not answer.")
    expect(tab.page.locator("#toasts .x-toast")).to_have_count(1)
    tab.context.set_offline(False)
    tab.page.get_by_role("searchbox", name="Name, host or description").fill("")
    expect(tab.page.locator("#toasts .x-toast")).to_have_count(0)
