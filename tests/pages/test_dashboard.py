"""The dashboard while it stays open: all of it follows, and nothing moves under whoever is about to press something."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Tab, drawn
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd

POLL_MS = 10_000
"""So often the page asks."""


@pytest.fixture(scope="module")
def own(real_sshd: RealSshd) -> Iterator[tuple[Server, Api, dict[str, str]]]:
    """An installation in which nothing has failed yet, and its platforms' ids."""
    with Server() as server:
        api = server.client()
        made = [api.add_platform("good", real_sshd), api.add_platform("silent", real_sshd, port=1)]
        api.add_platform("never", real_sshd)
        ids = {platform["name"]: platform["id"] for platform in made}
        api.wait_job(api.start_job("true", targets={"platform_ids": [ids["good"]]}))
        yield server, api, ids


@pytest.fixture
def page(own: tuple[Server, Api, dict[str, str]], browser: Browser) -> Iterator[Page]:
    tab = Tab(browser, own[0].url)
    tab.page.clock.install()
    tab.log_in()
    yield tab.page
    tab.close()


def fail(api: Api, ids: dict[str, str], command: str) -> None:
    """A job that fails."""
    api.wait_job(api.start_job(command, targets={"platform_ids": [ids["silent"]]}))


def polled(page: Page) -> None:
    """Let the page's time go on until it has asked, and drawn what it does of the answer."""
    with page.expect_request(lambda request: request.headers.get("hx-request") == "true") as waiting:
        page.clock.fast_forward(POLL_MS)
    answer = waiting.value.response()
    assert answer is not None
    answer.finished()
    drawn(page)


STANDING = """() => ({
  failed: document.querySelector('.x-count-tile[href*="status=failed"] b').textContent,
  trouble: document.querySelector('.x-count-tile[href*="/platforms?state="] b')?.textContent ?? "0",
  chart: [...document.querySelectorAll('.u-legend .u-series')].map((row) => row.textContent).join(" "),
  jobs: document.querySelectorAll('#now li form').length,
  states: [...document.querySelectorAll('.x-by-state li')].map((row) => row.textContent.trim()).join(", "),
  attention: document.body.textContent.includes("every platform that was contacted answers"),
})"""


def test_all_of_it_follows_at_once(page: Page, own: tuple[Server, Api, dict[str, str]]) -> None:
    _, api, ids = own
    expect(page.get_by_text("None. Good.")).to_be_visible()
    expect(page.get_by_text("None: every platform that was contacted")).to_be_visible()
    fail(api, ids, "first")
    page.clock.fast_forward(POLL_MS)
    # Looked at in one go, at the first moment at which anything has changed.
    found: dict[str, Any] = page.wait_for_function(
        f"() => {{ const now = ({STANDING})(); return now.failed !== '0' || now.jobs ? now : null; }}"
    ).json_value()
    assert (found["failed"], found["trouble"], found["jobs"], found["attention"]) == ("1", "1", 1, False)
    assert "Failed1" in found["chart"].replace(" ", "")
    assert found["states"] == "1reachable, 1unreachable, 1not contacted yet"
    expect(page.get_by_text("None. Good.")).to_have_count(0)


def test_each_state_leads_to_its_platforms(page: Page, own: tuple[Server, Api, dict[str, str]]) -> None:
    _, api, ids = own
    fail(api, ids, "state")
    page.reload()
    page.get_by_role("list", name="Platforms by state").get_by_role("link", name="1 unreachable").click()
    page.wait_for_url("**/platforms?state=unreachable")
    expect(page.locator("#results .x-tile-head")).to_have_text(["silent"])


def test_what_needs_attention_is_counted_and_listed_alike(
    page: Page, own: tuple[Server, Api, dict[str, str]]
) -> None:
    """Whatever is wrong with it; the card names the first, and leads to all."""
    server, api, _ = own
    for number in range(12):
        name = f"trouble-{number:02}"
        body = {
            "name": name,
            "host": "127.0.0.1",
            "username": "x",
            "auth_method": "password",
            "password": "x",
        }
        api.post("/platforms/", body)
    states = ("unreachable", "auth_failed", "host_key_changed", "host_key_unknown")
    for number in range(12):
        server.execute(
            "UPDATE platforms SET state = :state WHERE name = :name",
            {"state": states[number % 4], "name": f"trouble-{number:02}"},
        )
    page.reload()
    tile = page.get_by_role("link", name="need attention")
    number = int(tile.locator("b").inner_text())
    assert number >= 12
    everything = page.get_by_role("link", name=f"Show all {number} platforms")
    for way in (tile, everything):
        way.click()
        page.wait_for_url("**/platforms?state=attention")
        expect(page.locator("#results .x-table-foot")).to_contain_text(f"{number} platforms")
        expect(page.get_by_role("combobox", name="State")).to_have_value("attention")
        page.goto("/")
    for platform in api.all("/platforms/", q="trouble-"):
        api.http.delete(f"/platforms/{platform['id']}")


def test_nothing_moves_under_the_pointer(page: Page, own: tuple[Server, Api, dict[str, str]]) -> None:
    _, api, ids = own
    fail(api, ids, "under-the-pointer")
    page.reload()
    button = page.get_by_role("button", name="Retry: under-the-pointer")
    button.hover()
    before = button.bounding_box()
    fail(api, ids, "comes-meanwhile")
    shown = page.evaluate(STANDING)
    polled(page)
    assert button.bounding_box() == before
    assert page.evaluate(STANDING) == shown, "what is above and beside it waits as well"
    page.mouse.move(2, 2)
    expect(page.get_by_role("button", name="Retry: comes-meanwhile")).to_be_visible(timeout=5_000)
    assert page.evaluate(STANDING)["failed"] != shown["failed"]


def test_the_focus_stays(page: Page, own: tuple[Server, Api, dict[str, str]]) -> None:
    _, api, ids = own
    fail(api, ids, "has-the-focus")
    page.reload()
    page.get_by_role("button", name="Retry: has-the-focus").focus()
    page.evaluate("window.focused = document.activeElement")
    page.evaluate("document.addEventListener('focusout', () => { window.lost = true; })")
    fail(api, ids, "another")
    page.clock.fast_forward(POLL_MS)
    expect(page.get_by_role("button", name="Retry: another")).to_be_visible()
    assert page.evaluate("window.focused === document.activeElement && !window.lost")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#what")).to_have_text("has-the-focus")


def test_who_loses_the_focused_row_stays_in_its_list(
    page: Page, own: tuple[Server, Api, dict[str, str]]
) -> None:
    _, api, ids = own
    fail(api, ids, "falls-out")
    page.reload()
    page.get_by_role("button", name="Retry: falls-out").focus()
    for number in range(6):
        fail(api, ids, f"newer-{number}")
    page.clock.fast_forward(POLL_MS)
    expect(page.get_by_role("button", name="Retry: falls-out")).to_have_count(0)
    assert "Last failures" in page.evaluate("document.activeElement.textContent")
    assert page.evaluate("document.activeElement !== document.body")


def test_what_failed_in_a_cancelled_job_is_not_called_none(
    page: Page, own: tuple[Server, Api, dict[str, str]]
) -> None:
    server, api, ids = own
    fail(api, ids, "one that fails")
    server.execute("UPDATE jobs SET status = 'cancelled' WHERE status = 'failed'")
    page.reload()
    expect(page.get_by_text("No job has ended as failed.")).to_be_visible()
    expect(page.get_by_text("None. Good.")).to_have_count(0)


def test_what_came_hours_after_the_page_can_be_run_again(
    own: tuple[Server, Api, dict[str, str]], browser: Browser
) -> None:
    server, api, ids = own
    tab = Tab(browser, server.url).log_in()
    page = tab.page
    page.clock.install()
    page.goto("/")
    page.clock.fast_forward("03:00:00")
    fail(api, ids, "came-later")
    page.clock.fast_forward(11_000)
    page.get_by_role("button", name="Retry: came-later").click()
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#what")).to_have_text("came-later")
    tab.close()
