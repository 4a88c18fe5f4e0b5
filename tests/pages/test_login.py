"""Logging in, being told to change the password, staying logged in, and logging out."""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from tests.pages.conftest import Open
from tests.support.browser import Tab
from tests.support.server import ADMIN, Server
from tests.support.tools import ask

pytestmark = pytest.mark.embedded


def cookies(tab: Tab) -> dict[str, dict[str, object]]:
    return {cookie["name"]: dict(cookie) for cookie in tab.context.cookies()}


def test_a_wrong_name_and_a_wrong_password_look_alike(open_tab: Open) -> None:
    tab = open_tab(state=None)
    tab.expected = ["401"]
    said = []
    for name in ("nobody", ADMIN[0]):
        tab.page.goto("/login")
        tab.page.get_by_label("User name").fill(name)
        tab.page.get_by_label("Password").fill("not the password")
        tab.page.get_by_role("button", name="Log in").click()
        said.append(tab.page.get_by_role("alert").text_content())
        assert tab.page.get_by_label("User name").input_value() == name
        assert tab.page.get_by_label("Password").input_value() == ""
    assert said == ["The user name or the password is wrong."] * 2


def test_the_cookies_are_out_of_reach_of_scripts_and_other_sites(open_tab: Open) -> None:
    kept = cookies(open_tab())
    assert kept["access_token"]["httpOnly"] and kept["access_token"]["sameSite"] == "Strict"
    session = kept["testum_session"]
    assert (session["httpOnly"], session["sameSite"], session["path"]) == (True, "Strict", "/session")


def test_access_that_has_run_out_is_renewed_without_a_word(open_tab: Open) -> None:
    tab = open_tab()
    tab.context.clear_cookies(name="access_token")
    tab.page.goto("/platforms?state=ok")
    assert tab.page.url.endswith("/platforms?state=ok")
    expect(tab.page.get_by_role("heading", name="Platforms", level=1)).to_be_visible()
    assert "access_token" in cookies(tab)


def test_many_tabs_renew_at_once_and_none_is_thrown_out(server: Server) -> None:
    """Each would take the others' token for a stolen one, if a renewal used it up."""
    with httpx2.Client(base_url=server.url, timeout=60) as http:
        form = {"username": ADMIN[0], "password": ADMIN[1]}
        http.post("/login", data=form, headers={"Origin": server.url})
        token = http.cookies["testum_session"]
    for _ in range(4):
        answer = ask(
            "POST",
            f"{server.url}/session/renew",
            headers={"Cookie": f"testum_session={token}", "Origin": server.url},
        )
        assert answer.status_code == 200 and answer.json()["expires_in"] > 0


def test_a_token_of_the_api_renews_no_browser_and_the_other_way_round(server: Server) -> None:
    client = server.client()
    answer = ask(
        "POST",
        f"{server.url}/session/renew",
        headers={"Cookie": f"testum_session={client.tokens['refresh_token']}", "Origin": server.url},
    )
    assert answer.status_code == 401
    form = {"username": ADMIN[0], "password": ADMIN[1]}
    login = ask("POST", f"{server.url}/login", data=form, headers={"Origin": server.url})
    token = login.cookies["testum_session"]
    assert client.http.post("/auth/refresh", json={"refresh_token": token}).status_code == 401


def test_a_form_is_sent_though_access_has_run_out_meanwhile(open_tab: Open) -> None:
    tab = open_tab()
    tab.page.goto("/keys/new")
    tab.page.evaluate("document.body.dataset.accessSeconds")
    tab.page.clock.install()
    tab.page.goto("/keys/new")
    tab.context.clear_cookies(name="access_token")
    tab.page.clock.fast_forward(8 * 3600 * 1000)
    tab.page.get_by_label("Name").fill("kept-by-renewal")
    tab.page.get_by_label("Public key").fill(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1T5xAEO7yMvtP0iLyzI4RxCYLbXYz9ShfTcPCMDnJ2 x"
    )
    tab.page.get_by_role("button", name="Save").click()
    expect(tab.page.get_by_role("heading", name="kept-by-renewal", level=1)).to_be_visible()


def test_after_the_login_the_page_that_was_asked_for(open_tab: Open) -> None:
    tab = open_tab(state=None)
    tab.page.goto("/platforms?tag=web")
    tab.page.get_by_label("User name").fill(ADMIN[0])
    tab.page.get_by_label("Password").fill(ADMIN[1])
    tab.page.get_by_role("button", name="Log in").click()
    tab.page.wait_for_url("**/platforms?tag=web")


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1"]
)
def test_a_login_leads_to_no_other_site(server: Server, elsewhere: str) -> None:
    form = {"username": ADMIN[0], "password": ADMIN[1], "next": elsewhere}
    answer = ask("POST", f"{server.url}/login", data=form, headers={"Origin": server.url})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    followed = ask("GET", f"{server.url}/session/renew", params={"next": elsewhere})
    assert followed.headers["location"] == "/login"


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}], ids=str
)
def test_another_sites_form_cannot_log_in(server: Server, headers: dict[str, str]) -> None:
    form = {"username": ADMIN[0], "password": ADMIN[1]}
    answer = ask("POST", f"{server.url}/login", data=form, headers=headers)
    assert answer.status_code == 403 and "access_token" not in answer.cookies


def test_logging_out_ends_the_login(open_tab: Open) -> None:
    tab = open_tab(state=None).log_in()
    kept = cookies(tab)
    tab.page.get_by_role("button", name="Account admin").click()
    tab.page.get_by_role("button", name="Log out").click()
    expect(tab.page.get_by_role("heading", name="Log in")).to_be_visible()
    assert not {"access_token", "testum_session"} & set(cookies(tab))
    answer = ask(
        "GET", f"{tab.url}/platforms", headers={"Cookie": f"access_token={kept['access_token']['value']}"}
    )
    assert answer.status_code == 303


@pytest.fixture
def fresh() -> Iterator[Server]:
    """A server at its first start, with a password that everybody knows."""
    with Server(env={"ADMIN_PASSWORD": "admin123"}) as running:
        yield running


def test_a_weak_password_must_be_changed_first(browser: Browser, fresh: Server) -> None:
    tab = Tab(browser, fresh.url).log_in(password="admin123")
    tab.expected = ["422"]
    page = tab.page
    for path in ("/platforms", "/run", "/settings", "/"):
        page.goto(path)
        assert page.url.endswith("/account/password")
    for new, repeated, said in (
        ("short", "short", "Needs at least 8 characters."),
        (
            "changeme",
            "changeme",
            "Is guessed too soon. Choose a longer one, or words that do not belong together.",
        ),
        (
            "Password1",
            "Password1",
            "Is guessed too soon. Choose a longer one, or words that do not belong together.",
        ),
        (
            "AdminAdmin",
            "AdminAdmin",
            "Is guessed too soon. Choose a longer one, or words that do not belong together.",
        ),
        ("a much better one", "another one here", "The two do not agree."),
    ):
        page.get_by_label("Current password").fill("admin123")
        page.get_by_label("New password, at least 8 characters").fill(new)
        page.get_by_label("The new password again").fill(repeated)
        page.get_by_role("button", name="Change the password").click()
        expect(page.locator(".invalid-feedback")).to_have_text(said)
    page.get_by_label("Current password").fill("admin123")
    page.get_by_label("New password, at least 8 characters").fill("a much better one")
    page.get_by_label("The new password again").fill("a much better one")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("heading", name="Dashboard", level=1)).to_be_visible()
    expect(page.locator("#toasts")).to_contain_text("The password was changed.")
    tab.close()


def test_too_many_attempts_are_told_so(browser: Browser, fresh: Server) -> None:
    tab = Tab(browser, fresh.url)
    tab.expected = ["401", "429"]
    for _ in range(10):
        ask(
            "POST",
            f"{fresh.url}/login",
            data={"username": "admin", "password": "x"},
            headers={"Origin": fresh.url},
        )
    tab.page.goto("/login")
    tab.page.get_by_label("User name").fill("admin")
    tab.page.get_by_label("Password").fill("admin123")
    tab.page.get_by_role("button", name="Log in").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("Too many attempts to log in. Try again in")
    tab.close()
