"""The command field of the run page: recent commands are offered while one types, and taken only by an act."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.browser import PHONE
from tests.support.server import Api

Hosts = list[dict[str, Any]]

MARK = f"m{secrets.token_hex(4)}"
TWO_LINES = f"echo {MARK} one\necho two"
HOSTILE = f"echo '{MARK} <img src=x onerror=window.hit=1><script>window.hit=2</script>\u202egpj'"
COMMANDS = (f"true {MARK} first", f"echo {MARK} a", TWO_LINES, HOSTILE)


@pytest.fixture(scope="module", autouse=True)
def run_before(api: Api, hosts: Hosts) -> None:
    for command in COMMANDS:
        api.wait_job(api.start_job(command, targets={"platform_ids": [hosts[0]["id"]]}))


@pytest.fixture
def field(page: Page) -> Iterator[Locator]:
    page.goto("/run")
    # Browsers give the focus as they draw the page.
    expect(page.get_by_label("Command")).to_be_focused()
    yield page.get_by_label("Command")
    assert page.evaluate("window.hit") is None


def options(page: Page) -> Locator:
    return page.locator("#completions [role=option]")


def test_what_is_typed_is_looked_for_in_the_history(page: Page, field: Locator) -> None:
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#completions")).to_be_hidden()
    page.keyboard.type(MARK.upper())
    expect(field).to_have_attribute("aria-expanded", "true")
    shown = HOSTILE.replace("\u202e", "⟨U+202E⟩")
    # The last run first; a command of several lines is one line.
    assert options(page).all_text_contents() == [
        shown, f"echo {MARK} one ⏎ echo two", f"echo {MARK} a", f"true {MARK} first",
    ]  # fmt: skip
    field.fill("")
    expect(page.locator("#completions")).to_be_hidden()
    page.keyboard.type(f"true {MARK}")
    assert options(page).all_text_contents() == [f"true {MARK} first"]
    page.keyboard.type(" first")
    expect(page.locator("#completions")).to_be_hidden()


def test_those_that_begin_so_come_first(page: Page, field: Locator) -> None:
    page.keyboard.type("tr")
    expect(options(page).first).to_contain_text("tr")
    texts = options(page).all_text_contents()
    begins = [text.startswith("tr") for text in texts]
    assert begins == sorted(begins, reverse=True) and begins[0] and len(texts) <= 8


@pytest.mark.parametrize("key", ["Enter", "Tab"])
def test_arrows_choose_and_a_key_takes(page: Page, field: Locator, key: str) -> None:
    page.keyboard.type(f"echo {MARK}")
    assert field.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowDown")
    active = field.get_attribute("aria-activedescendant")
    expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    expect(options(page).first).to_have_attribute("aria-selected", "true")
    assert field.input_value() == f"echo {MARK}", "nothing is taken by looking"
    page.keyboard.press(key)
    expect(field).to_have_value(TWO_LINES)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-expanded", "false")
    assert field.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(field).to_have_value(TWO_LINES)


def test_up_goes_to_the_last_and_around(page: Page, field: Locator) -> None:
    page.keyboard.type(f"echo {MARK}")
    expect(options(page)).to_have_count(2)
    for wanted in (1, 0, None, 1):
        page.keyboard.press("ArrowUp")
        chosen = [item.get_attribute("aria-selected") for item in options(page).all()]
        assert chosen == [str(place == wanted).lower() for place in range(2)], wanted


def test_enter_and_tab_do_what_they_did_where_nothing_is_chosen(page: Page, field: Locator) -> None:
    page.keyboard.type(f"echo {MARK}")
    expect(options(page).first).to_be_visible()
    page.keyboard.press("Enter")
    expect(field).to_have_value(f"echo {MARK}\n")
    expect(page.locator("#completions")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(field).to_have_value(f"echo {MARK}\n\n")
    field.fill("")
    page.keyboard.type(f"echo {MARK}")
    expect(options(page).first).to_be_visible()
    page.keyboard.press("Tab")
    expect(field).not_to_be_focused()
    expect(field).to_have_value(f"echo {MARK}")
    expect(page.locator("#completions")).to_be_hidden()


def test_escape_closes_and_keeps_what_is_typed(page: Page, field: Locator) -> None:
    page.keyboard.type(f"echo {MARK}")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    expect(page.locator("#completions")).to_be_hidden()
    expect(field).to_have_value(f"echo {MARK}")
    page.keyboard.press("Enter")
    expect(field).to_have_value(f"echo {MARK}\n")


def test_the_arrows_still_move_between_lines(page: Page, field: Locator) -> None:
    field.fill(f"x\necho {MARK} one")
    page.keyboard.press("Control+Home")
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("Control+End")
    page.keyboard.press("Enter")
    page.keyboard.type("echo t")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("ArrowUp")
    assert field.evaluate("field => field.selectionStart") <= len(f"echo {MARK} one")
    page.keyboard.press("ArrowDown")
    assert field.evaluate("field => field.selectionStart") > len(f"echo {MARK} one")
    assert field.get_attribute("aria-activedescendant") is None
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(field).to_have_value(TWO_LINES)


def test_the_mouse_takes_and_leaves(page: Page, field: Locator) -> None:
    page.keyboard.type(f"true {MARK}")
    options(page).first.click()
    expect(field).to_have_value(f"true {MARK} first")
    expect(field).to_be_focused()
    field.fill("")
    page.keyboard.type(f"true {MARK}")
    expect(options(page).first).to_be_visible()
    page.locator("h1").first.click()
    expect(page.locator("#completions")).to_be_hidden()
    expect(field).to_have_value(f"true {MARK}")


def test_the_history_keys_are_as_before(page: Page, field: Locator, api: Api, hosts: Hosts) -> None:
    # The last of all, whatever ran meanwhile.
    api.wait_job(api.start_job(HOSTILE, targets={"platform_ids": [hosts[0]["id"]]}))
    page.reload()
    expect(field).to_be_focused()
    page.keyboard.type("ec")
    expect(options(page).first).to_be_visible()
    page.keyboard.press("Alt+ArrowUp")
    expect(field).to_have_value(HOSTILE)
    expect(page.locator("#completions")).to_be_hidden()
    page.keyboard.press("Alt+ArrowDown")
    expect(field).to_have_value("ec")
    page.locator("#recent button").first.click()
    expect(field).to_have_value(HOSTILE)
    expect(page.locator("#completions")).to_be_hidden()


def test_control_and_enter_run_what_is_typed(page: Page, api: Api, hosts: Hosts) -> None:
    # A command of its own: what it runs is in the history of the other tests.
    own = f"true o{secrets.token_hex(4)}"
    api.wait_job(api.start_job(f"{own} first", targets={"platform_ids": [hosts[0]["id"]]}))
    page.goto(f"/run?platform={hosts[0]['id']}")
    expect(page.get_by_label("Command")).to_be_focused()
    page.keyboard.type(own)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#completions [aria-selected=true]")).to_have_text(f"{own} first")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    expect(page.locator(".x-job-command")).to_have_text(own)


@pytest.mark.embedded
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_open_list_is_accessible_and_fits_a_phone(open_tab: Open, theme: str) -> None:
    tab = open_tab(viewport=PHONE)
    tab.choose(theme=theme)
    tab.page.goto("/run")
    expect(tab.page.get_by_label("Command")).to_be_focused()
    tab.page.keyboard.type("echo")
    tab.page.keyboard.press("ArrowDown")
    expect(options(tab.page).first).to_have_attribute("aria-selected", "true")
    assert violations(tab.page) == []
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
