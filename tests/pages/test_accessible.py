"""axe-core finds nothing serious on any page, in either theme and either language; and the frame keeps its promises
to those who use no mouse or a small screen."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.catalogue import BARE, PAGES
from tests.pages.conftest import Open
from tests.support.browser import PHONE, drawn, ready
from tests.support.server import Api

pytestmark = pytest.mark.embedded

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}
COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""Those that look at colours."""


@pytest.fixture(scope="session")
def ids(hosts: list[dict[str, Any]], api: Api) -> dict[str, str]:
    """What the pages are about: things as they are found in use."""
    job = api.start_job("echo out; echo err >&2; exit 3", targets={"tags": ["pages"]})
    api.wait_job(job)
    key = api.post(
        "/keys/",
        {
            "name": "accessible",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm1lBk3lBlZ6p7h0Gk1vKp1n9wO8zXl3yYq0Jm5pQ2s a@b",
        },
    )
    return {"platform": hosts[0]["id"], "job": job, "task": api.tasks(job)[0]["id"], "key": key["id"]}


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds that is serious, each as one line; by all of its rules, or by these."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text())
    chosen = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    found = page.evaluate(
        "(options) => axe.run(document, options)", {"resultTypes": ["violations"], **chosen}
    )
    return [
        f"{item['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for item in found["violations"]
        if item["impact"] in SERIOUS
        for node in item["nodes"]
    ]


def in_both_themes(page: Page, language: str) -> list[str]:
    """What axe finds on a page in the system's dark theme, and by colour when the system's becomes light: nothing
    else differs between the two, and no colour differs between the languages."""
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    found = violations(page)
    if language != "en":
        return found
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")
    drawn(page)
    return found + violations(page, *COLOUR_RULES)


def settle(page: Page) -> None:
    """Wait until scripts have drawn."""
    ready(page)
    if page.locator("#tasks").count():
        expect(page.get_by_role("option").first).to_be_visible()
    if page.locator(".x-viewer").count():
        expect(page.locator(".x-output-status .x-line")).to_have_attribute("data-state", "ended")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["en", pytest.param("ru", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious(open_tab: Open, ids: dict[str, str], language: str) -> None:
    tab = open_tab()
    tab.expected = ["404"]
    tab.choose(theme="system", language=language)
    found = {}
    for name, path in PAGES.items():
        tab.page.emulate_media(color_scheme="dark")
        tab.page.goto(path.format(**ids))
        settle(tab.page)
        if wrong := in_both_themes(tab.page, language):
            found[name] = wrong
        assert tab.page.locator("html").get_attribute("lang") == language
    bare = open_tab(state=None)
    bare.choose(theme="system", language=language)
    for name, path in BARE.items():
        bare.page.emulate_media(color_scheme="dark")
        bare.page.goto(path)
        if wrong := in_both_themes(bare.page, language):
            found[name] = wrong
    assert not found, found


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_chosen_theme_is_as_accessible(open_tab: Open, theme: str) -> None:
    page = open_tab().choose(theme=theme).page
    page.goto("/settings")
    settle(page)
    expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
    assert violations(page) == []


def test_dialogs_menus_and_results_are_no_worse(page: Page, ids: dict[str, str]) -> None:
    page.goto("/platforms")
    settle(page)
    page.get_by_label("Choose all that are shown").check()
    assert violations(page) == []
    page.get_by_role("button", name="Delete", exact=True).click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Theme").first.click()
    page.locator(".dropdown-menu.show").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.locator("[data-search]").fill("host")
    page.locator("#search-results a").first.wait_for()
    assert violations(page) == []


@pytest.mark.parametrize("language", ["en", "ru"])
def test_no_page_is_wider_than_a_phone(open_tab: Open, ids: dict[str, str], language: str) -> None:
    tab = open_tab(viewport=PHONE)
    tab.expected = ["404"]
    tab.choose(language=language)
    wide = {}
    for name, path in PAGES.items():
        tab.page.goto(path.format(**ids))
        settle(tab.page)
        width = tab.page.evaluate("document.documentElement.scrollWidth")
        if width > PHONE["width"]:
            wide[name] = width
    assert not wide


def test_a_phone_shows_all_that_tables_have(open_tab: Open, ids: dict[str, str]) -> None:
    """No row goes on beyond the edge, and the names of its columns stand before numbers that say nothing alone."""
    tab = open_tab(viewport=PHONE)
    tab.choose(platforms="table")
    for name in ("platforms", "jobs", "audit", "keys", "platform"):
        tab.page.goto(PAGES[name].format(**ids))
        settle(tab.page)
        cells = tab.page.locator("main tbody tr").first.locator("td:visible")
        assert cells.count() > 2, name
        for box in [cell.bounding_box() for cell in cells.all()]:
            assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], (name, box)
    tab.page.goto("/jobs")
    label = tab.page.locator("td[data-label]").first
    assert "Platforms" in label.evaluate("(cell) => getComputedStyle(cell, '::before').content")
    tab.page.locator("[data-search]").fill("host")
    found = tab.page.locator("#search-results")
    expect(found.locator("a").first).to_be_visible()
    box = found.bounding_box()
    assert box and box["width"] > 0.9 * PHONE["width"], box


def test_every_page_has_one_heading_and_a_title(page: Page, tab: Any, ids: dict[str, str]) -> None:
    tab.expected = ["404"]
    titles = set()
    for path in PAGES.values():
        page.goto(path.format(**ids))
        assert page.locator("h1").count() == 1, path
        titles.add(page.title())
    assert len(titles) == len(PAGES), "each page is called something else"
