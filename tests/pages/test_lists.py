"""What lists share: their order, their pages, and that one sees that they are on their way."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.pages.test_shell import UNKNOWN
from tests.support.browser import PHONE
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import ask

Hosts = list[dict[str, Any]]

NAMES = "#results .x-tile-head a, #results td.x-grow a"
LONG_TAG = "t" * 100


@pytest.fixture(scope="module")
def sixty(api: Api, real_sshd: RealSshd) -> Iterator[list[str]]:
    """More than a page has, whose addresses have another order than their names."""
    made = [f"listed-{number:02}" for number in range(60)]
    for number, name in enumerate(made):
        api.add_platform(name, real_sshd, host=f"192.0.2.{99 - number}", tags=["listed", "long"])
    yield made
    # Tests of a module may come in two parts, and something else between.
    for platform in api.all("/platforms/", q="listed-"):
        api.http.delete(f"/platforms/{platform['id']}")


def as_table(page: Page) -> None:
    page.context.add_cookies([{"name": "platforms", "value": "table", "url": page.url}])
    page.reload()


def test_a_filter_keeps_the_order_that_the_table_was_given(page: Page, sixty: list[str]) -> None:
    page.goto("/platforms?tag=listed")
    as_table(page)
    page.get_by_role("link", name="Address").click()
    expect(page.locator(NAMES).first).to_have_text("listed-59")
    expect(page.get_by_label("Sort by")).to_have_value("host")
    page.get_by_role("searchbox", name="Name, host or description").fill("listed-1")
    expect(page.locator(NAMES)).to_have_count(10)
    assert "sort=host" in page.url
    expect(page.locator(NAMES).first).to_have_text("listed-19")
    page.get_by_role("link", name="Address").click()
    page.wait_for_url("**sort=-host**")
    page.get_by_label("State").select_option("unknown")
    page.wait_for_url("**state=unknown**")
    assert "sort=-host" in page.url
    expect(page.locator(NAMES).first).to_have_text("listed-10")
    # The other view shows the same.
    page.get_by_role("button", name="Tiles").click()
    expect(page.locator(".x-tile")).to_have_count(10)
    expect(page.locator(NAMES).first).to_have_text("listed-10")
    assert "sort=-host" in page.url and "q=listed-1" in page.url


def test_tiles_are_sorted_too(page: Page, sixty: list[str]) -> None:
    page.goto("/platforms?tag=listed")
    expect(page.locator(".x-tile")).to_have_count(50)
    page.get_by_label("Sort by").select_option("By name, backwards")
    expect(page.locator(NAMES).first).to_have_text("listed-59")
    page.reload()
    expect(page.locator(NAMES).first).to_have_text("listed-59")
    expect(page.get_by_label("Sort by")).to_have_value("-name")
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(NAMES).first).to_have_text("listed-09")
    page.get_by_label("Choose listed-09").check()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_label("Tags").fill("after")
    page.get_by_role("button", name="Add them").click()
    expect(page.locator("#toasts")).to_contain_text("1 platform was changed.")
    expect(page.get_by_label("Sort by")).to_have_value("-name")


def test_another_page_begins_at_its_top(page: Page, sixty: list[str]) -> None:
    page.goto("/platforms?tag=listed")
    page.get_by_role("link", name="Next page").scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 0
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**page=2**")
    expect(page.locator(".x-tile")).to_have_count(10)
    expect(page.locator(".x-tile").first).to_be_in_viewport(ratio=1)
    bar, first = page.locator(".x-bar").bounding_box(), page.locator(".x-tile").first.bounding_box()
    assert bar and first and first["y"] >= bar["height"]
    expect(page.locator("#results")).to_be_focused()


def test_the_way_back_goes_by_pages(page: Page, sixty: list[str], api: Api, real_sshd: RealSshd) -> None:
    for number in range(45):
        api.add_platform(f"more-{number:02}", real_sshd, tags=["long"])
    page.goto("/platforms?tag=long&sort=-name")
    first = page.locator(NAMES).all_text_contents()
    expect(page.get_by_role("link", name="Previous page")).to_have_count(0)
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**page=2**")
    expect(page.locator(NAMES)).to_have_count(50)
    second = page.locator(NAMES).all_text_contents()
    # The page before the second is the first: one way there is enough.
    expect(page.get_by_role("link", name="First page")).to_have_count(0)
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**page=3**")
    expect(page.locator(NAMES)).to_have_count(5)
    expect(page.get_by_role("link", name="First page")).to_be_visible()
    page.get_by_role("link", name="Previous page").click()
    page.wait_for_url("**page=2**")
    expect(page.locator(NAMES)).to_have_count(50)
    assert page.locator(NAMES).all_text_contents() == second
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator(NAMES).first).to_have_text(first[0])
    assert page.locator(NAMES).all_text_contents() == first
    assert "before" not in page.url and "page" not in page.url.replace("/platforms", "")


def test_a_choice_that_is_given_up_is_said(page: Page, sixty: list[str]) -> None:
    page.goto("/platforms?tag=listed")
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**page=2**")
    expect(page.locator("#toasts")).to_be_empty()
    page.locator("[data-pick]").first.check()
    page.get_by_role("link", name="Previous page").click()
    expect(page.locator("#toasts")).to_contain_text("What you had chosen is not chosen any more")


def held(page: Page, address: str) -> list[Route]:
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    page.route(address, hold)
    return routes


def opacity(place: Locator) -> float:
    return float(place.evaluate("place => getComputedStyle(place).opacity"))


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_what_takes_long_is_seen_to_be_on_its_way(open_tab: Open, sixty: list[str], motion: str) -> None:
    page = open_tab(reduced_motion=motion).page
    page.goto("/platforms?tag=listed")
    results, rows = page.locator("#results"), page.locator("#results > form")
    routes = held(page, "**/platforms?*q=listed-1*")
    page.get_by_role("searchbox", name="Name, host or description").fill("listed-1")
    expect(results).to_have_attribute("aria-busy", "true")
    expect(rows).to_have_css("opacity", "0.45")
    bar = results.evaluate(
        "it => (({height, opacity, animationName}) => [height, opacity, animationName])(getComputedStyle(it, '::before'))"
    )
    assert bar[0] == "3px" and ("x-pass" in bar[2]) is (motion == "no-preference")
    # What is quick does not flicker.
    expect(rows).to_have_css("transition-delay", "0.3s")
    routes[0].continue_()
    expect(page.locator(".x-tile")).to_have_count(10)
    expect(results).not_to_have_attribute("aria-busy", "true")
    assert opacity(rows) == 1


@pytest.mark.parametrize("width", [1280, PHONE["width"]])
def test_the_details_of_the_audit_log_can_be_read(open_tab: Open, api: Api, hosts: Hosts, width: int) -> None:
    page = open_tab(viewport={"width": width, "height": 800}).page
    page.goto("/audit?q=platform.create")
    details = page.locator("#results details").first
    text = page.locator("#results pre").first
    expect(text).to_be_hidden()
    details.locator("summary").click()
    expect(text).to_be_visible()
    table, box = page.locator("#results table").bounding_box(), text.bounding_box()
    assert table and box and box["width"] > 0.85 * table["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    details.locator("summary").click()
    expect(text).to_be_hidden()


def test_long_values_break_neither_the_bar_nor_a_port(open_tab: Open, api: Api, real_sshd: RealSshd) -> None:
    page = open_tab(viewport={"width": 1280, "height": 800}).page
    name = "long-" + "very-" * 20 + "name"
    made = api.add_platform(
        name,
        real_sshd,
        host="a-host-with-a-name." + "sub." * 10 + "example",
        port=20322,
        tags=[LONG_TAG],
        known_host_key=real_sshd.host_key_line,
    )
    api.http.patch(f"/platforms/{made['id']}", json={"username": "u" * 40})
    page.goto("/platforms?q=long-very")
    for select in page.locator("#filter select").all():
        box = select.bounding_box()
        assert box and box["width"] <= 240
    bar = page.locator("#filter").bounding_box()
    assert bar and bar["height"] < 60, "all in one line"
    as_table(page)
    port = page.locator("td.x-address .text-nowrap")
    expect(port).to_have_text(":20322")
    assert port.evaluate("port => port.getClientRects().length") == 1
    outside = page.locator("#results .table-responsive").evaluate("it => it.scrollWidth - it.clientWidth")
    assert outside <= 0, "the last column is cut off"


def test_who_may_do_nothing_chooses_nothing(open_tab: Open, server: Server, hosts: Hosts) -> None:
    viewer = server.account("viewer")
    tab = open_tab(state=None)
    tab.log_in(viewer.username, viewer.password)
    page = tab.page
    for shape in ("tiles", "table"):
        tab.choose(platforms=shape)
        page.goto("/platforms?tag=pages")
        expect(page.locator(NAMES)).to_have_count(4)
        assert page.locator("#results [type=checkbox], [data-picked-bar]").count() == 0
        assert violations(page) == []
    page.keyboard.press("?")
    expect(page.locator("#shortcuts")).to_contain_text("Go to the keys")
    for denied in ("Run a command", "audit log"):
        expect(page.locator("#shortcuts")).not_to_contain_text(denied)
    page.keyboard.press("Escape")
    visited: list[str] = []
    page.on(
        "request", lambda request: visited.append(request.url) if request.is_navigation_request() else None
    )
    page.keyboard.type("gagk")
    page.wait_for_url("**/keys")
    assert [address.rsplit("/", 1)[1] for address in visited] == ["keys"], "there is no way to the audit log"
    operator = open_tab(state=None).log_in(*_login(server.account("operator"))).page
    operator.goto("/platforms?tag=pages")
    operator.get_by_label("Choose all that are shown").check()
    expect(operator.locator("[data-picked]").first).to_have_text("4 chosen")


def _login(account: Api) -> tuple[str, str]:
    return account.username, account.password


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "Your role (Viewer) does not allow this. Ask an administrator for another role."),
        ("ru", "Ваша роль (Наблюдатель) этого не позволяет. Попросите администратора дать вам другую."),
    ],
)
def test_a_refusal_is_said_in_words(server: Server, language: str, said: str) -> None:
    viewer = server.account("viewer")
    cookie = f"access_token={viewer.tokens['access_token']}; language={language}"
    answer = ask("GET", f"{server.url}/platforms/new", headers={"Cookie": cookie})
    assert answer.status_code == 403
    assert said in answer.text and "platforms:write" not in answer.text
    refused = viewer.http.delete(f"/platforms/{UNKNOWN}")
    assert refused.json()["detail"] == "The role viewer does not allow platforms:write."
