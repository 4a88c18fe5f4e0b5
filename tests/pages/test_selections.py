"""Saved selections on the run page: saving, choosing again, renaming, saving over, deleting, and two people at once."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.browser import PHONE
from tests.support.server import Api
from tests.support.sshd import RealSshd

pytestmark = pytest.mark.embedded

Hosts = list[dict[str, Any]]


@pytest.fixture
def name(api: Api) -> Iterator[str]:
    """A name for selections of this test, which are gone after it."""
    mark = f"s{secrets.token_hex(4)}"
    yield mark
    for each in api.all("/selections/", q=mark):
        api.ok(api.http.delete(f"/selections/{each['id']}"))


def box(page: Page, name: str) -> Locator:
    return page.locator(f"[data-chip][data-name='{name}']")


def narrow(page: Page, text: str, tag: str = "") -> None:
    """Filter the list of platforms."""
    if text:
        with page.expect_response(re.compile("/run/platforms")):
            page.locator("#pick-filter [name=q]").fill(text)
    if tag:
        with page.expect_response(re.compile("/run/platforms")):
            page.get_by_label("Tag", exact=True).select_option(tag)


def open_dialog(page: Page, button: str) -> Locator:
    page.locator("#saved").get_by_role("button", name=button).click()
    dialog = page.locator("#selection-dialog[open]")
    expect(dialog).to_be_visible()
    return dialog


def save(page: Page, name: str, button: str = "Save") -> None:
    dialog = open_dialog(page, "Save a selection")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name=button, exact=True).click()


def look(page: Page, name: str) -> Locator:
    page.get_by_label("Saved selection", exact=True).select_option(label=name)
    return page.locator("#saved-now")


def toasts(page: Page) -> Locator:
    return page.locator("#toasts")


def run_button(page: Page) -> Locator:
    return page.locator("[data-run-button]")


def test_a_filter_is_saved_as_a_filter(
    page: Page, hosts: Hosts, api: Api, real_sshd: RealSshd, name: str
) -> None:
    page.goto("/run")
    page.get_by_label("Command").fill("echo not lost")
    narrow(page, "host-?", "pages")
    save(page, name)
    expect(toasts(page)).to_contain_text(f"Saved as {name}.")
    expect(page.locator("#selection-dialog[open]")).to_have_count(0)
    assert page.get_by_label("Command").input_value() == "echo not lost"
    (kept,) = api.get("/selections/", name=name)
    assert (kept["criteria"]["tags"], kept["criteria"]["q"], kept["picked"]) == (["pages"], "host-?", 0)
    expect(page.locator("#saved-now")).to_contain_text("3 platforms now")

    # Another one that fits joins it, without anything being saved again.
    later = api.add_platform("host-x", real_sshd, tags=["pages"])
    page.goto("/run")
    now = look(page, name)
    expect(now).to_contain_text("4 platforms now")
    expect(now).to_contain_text("saved by admin")
    expect(run_button(page)).to_have_text("Run")  # to look at it chooses nothing
    now.get_by_role("button", name="Choose all 4").click()
    expect(run_button(page)).to_have_text("Run on 4 platforms")
    page.get_by_label("Command").fill("echo by selection")
    api.ok(api.http.delete(f"/platforms/{later['id']}"))
    page.get_by_role("button", name="Take host-x away").click()
    run_button(page).click()
    page.wait_for_url("**/jobs/**")
    expect(page.locator("[data-count=success]")).to_have_text("3")


def test_picked_platforms_are_saved_and_those_that_are_gone_are_told(
    page: Page, hosts: Hosts, api: Api, real_sshd: RealSshd, name: str
) -> None:
    gone = api.add_platform(f"{name}-gone", real_sshd)
    page.goto(f"/run?platform={gone['id']}&platform={hosts[0]['id']}")
    narrow(page, "silent")
    dialog = open_dialog(page, "Save a selection")
    expect(dialog.get_by_label("The chosen platforms, and no others")).to_be_checked()
    expect(dialog).to_contain_text("2 platforms")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#saved-now")).to_contain_text("2 picked platforms")
    assert page.locator("#saved-now .x-note").count() == 0
    api.ok(api.http.delete(f"/platforms/{gone['id']}"))
    page.goto("/run")
    now = look(page, name)
    expect(now).to_contain_text(f"1 platform is gone: {name}-gone.")
    expect(now).to_contain_text("1 platform now")
    now.get_by_role("button", name="Choose it").click()
    expect(run_button(page)).to_have_text("Run on 1 platform")
    expect(page.locator("#chips")).to_contain_text("host-0")


def test_what_matches_nothing_says_so(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    api.post("/selections/", {"name": name, "targets": {"tags": [f"{name}-no"], "names": ["nobody", "no*"]}})
    page.goto("/run")
    now = look(page, name)
    expect(now).to_contain_text("Nothing matches.")
    expect(now).to_contain_text(f"No platform has the tag {name}-no")
    expect(now).to_contain_text("1 platform is gone: nobody.")
    assert now.get_by_role("button", name=re.compile("^Choose")).count() == 0


def test_all_that_match_on_the_platforms_page_come_as_their_filter(
    page: Page, hosts: Hosts, api: Api, name: str
) -> None:
    page.goto("/run?everything=1&q=host&tag=pages")
    expect(run_button(page)).to_have_text("Run on 3 platforms")
    assert page.locator("#pick-filter [name=q]").input_value() == "host"
    dialog = open_dialog(page, "Save a selection")
    expect(dialog.get_by_label(re.compile("The filter:"))).to_be_checked()
    expect(dialog).to_contain_text("Tag pages")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(toasts(page)).to_contain_text(f"Saved as {name}.")
    assert api.get("/selections/", name=name)[0]["criteria"]["tags"] == ["pages"]


def test_saving_over_another_is_asked_about(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    made = api.post("/selections/", {"name": name, "targets": {"tags": ["n1"]}})
    page.goto("/run")
    narrow(page, "", "pages")
    save(page, name)
    dialog = page.locator("#selection-dialog[open]")
    expect(dialog).to_contain_text("admin saved a selection under this name.")
    expect(dialog.locator(".x-note .x-criteria")).to_contain_text("n1")
    assert api.get(f"/selections/{made['id']}")["criteria"]["tags"] == ["n1"], "asked, not done"

    # Meanwhile another person changes it: the answer was about something else.
    api.ok(api.http.patch(f"/selections/{made['id']}", json={"targets": {"tags": ["n2"]}}))
    dialog.get_by_role("button", name="Save over it").click()
    expect(dialog).to_contain_text(f"admin has changed {name} meanwhile. Look at it again.")
    expect(dialog.locator(".x-note .x-criteria")).to_contain_text("n2")
    assert dialog.get_by_label("Name").input_value() == name, "nothing typed is lost"
    dialog.get_by_role("button", name="Save over it").click()
    expect(toasts(page)).to_contain_text(f"Saved as {name}.")
    kept = api.get(f"/selections/{made['id']}")
    assert kept["criteria"]["tags"] == ["pages"] and kept["revision"] == 3


def test_another_name_is_no_yes(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    """Who types another name that is taken, after the question, is asked about that one."""
    for each in (name, f"{name}2"):
        api.post("/selections/", {"name": each, "targets": {"tags": [each]}})
    page.goto("/run")
    save(page, name)
    dialog = page.locator("#selection-dialog[open]")
    expect(dialog.locator(".x-note")).to_contain_text(name)
    dialog.get_by_label("Name").fill(f"{name}2")
    dialog.get_by_role("button", name="Save over it").click()
    expect(dialog.locator(".x-note .x-criteria")).to_contain_text(f"{name}2")
    assert {each["criteria"]["tags"][0] for each in api.get("/selections/", q=name)} == {name, f"{name}2"}


def test_rename(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    made = api.post("/selections/", {"name": name, "targets": {"all": True}})
    api.post("/selections/", {"name": f"{name} taken", "targets": {"all": True}})
    page.goto("/run")
    look(page, name)
    dialog = open_dialog(page, "Rename")
    expect(dialog.get_by_label("New name")).to_have_value(name)
    dialog.get_by_label("New name").fill(f"{name} taken")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_contain_text(f"A selection named {name} taken is there already.")
    dialog.get_by_label("New name").fill("a\u202eb")
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_contain_text("ust not contain control or invisible characters.")
    dialog.get_by_label("New name").fill(f"{name} new")
    # Another person was quicker; then one sees so, and may decide again.
    api.ok(api.http.patch(f"/selections/{made['id']}", json={"name": f"{name} theirs"}))
    dialog.get_by_role("button", name="Rename").click()
    expect(dialog).to_contain_text(f"admin has changed {name} theirs meanwhile.")
    assert dialog.get_by_label("New name").input_value() == f"{name} new"
    dialog.get_by_role("button", name="Rename").click()
    expect(toasts(page)).to_contain_text(f"Renamed to {name} new.")
    expect(page.get_by_label("Saved selection", exact=True)).to_have_value(made["id"])
    assert api.get(f"/selections/{made['id']}")["name"] == f"{name} new"


def test_delete(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    made = api.post("/selections/", {"name": name, "targets": {"tags": ["pages"]}})
    page.goto("/run")
    look(page, name)
    dialog = open_dialog(page, "Delete")
    expect(dialog).to_contain_text(name)
    dialog.get_by_role("button", name="Cancel").click()
    assert api.get("/selections/", name=name)
    dialog = open_dialog(page, "Delete")
    api.ok(api.http.patch(f"/selections/{made['id']}", json={"targets": {"tags": ["n1"]}}))
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("meanwhile. Look at it again.")
    expect(dialog).to_contain_text("n1")
    dialog.get_by_role("button", name="Delete").click()
    expect(toasts(page)).to_contain_text(f"{name} was deleted.")
    assert api.get("/selections/", name=name) == []
    expect(page.locator(f"#saved option[value='{made['id']}']")).to_have_count(0)


@pytest.mark.parametrize("act", ["look", "Rename", "Delete"])
def test_what_somebody_else_has_deleted(page: Page, hosts: Hosts, api: Api, name: str, act: str) -> None:
    made = api.post("/selections/", {"name": name, "targets": {"tags": ["pages"]}})
    page.goto("/run")
    said = "There is no such selection: somebody may have deleted it."
    if act == "look":
        api.ok(api.http.delete(f"/selections/{made['id']}"))
        expect(look(page, name)).to_contain_text(said)
        return
    look(page, name)
    dialog = open_dialog(page, act)
    api.ok(api.http.delete(f"/selections/{made['id']}"))
    dialog.get_by_role("button", name=act, exact=True).click()
    expect(toasts(page)).to_contain_text(said)
    expect(page.locator("#selection-dialog[open]")).to_have_count(0)
    expect(page.locator(f"#saved option[value='{made['id']}']")).to_have_count(0)


def test_two_lists_of_many_are_both_run_on(open_tab: Open, hosts: Hosts) -> None:
    """Both of the lists that stand for many platforms count: one of them was forgotten once."""
    tab = open_tab()
    tab.expected = ["422"]
    tab.page.goto("/run")
    tab.page.get_by_label("Command").fill("true")
    tab.page.evaluate(
        """ids => { for (const id of ids) {
            const chip = document.createElement('span');
            chip.className = 'x-chip'; chip.dataset.chosenMany = '1';
            const list = document.createElement('textarea');
            list.name = 'platforms'; list.hidden = true; list.value = id;
            chip.append(list); document.getElementById('chips').append(chip);
        } }""",
        [hosts[0]["id"], hosts[1]["id"]],
    )
    run_button(tab.page).click()
    tab.page.wait_for_url("**/jobs/**")
    expect(tab.page.locator("[data-count=success]")).to_have_text("2")


def test_by_keyboard_alone(page: Page, hosts: Hosts, api: Api, name: str) -> None:
    page.goto("/run?everything=1&tag=pages")

    def go_to(wanted: str) -> None:
        for _ in range(60):
            if page.evaluate(f"document.activeElement.matches({wanted!r})"):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{wanted} cannot be reached")

    go_to("#saved [hx-post='/run/selections/draft']")
    page.keyboard.press("Enter")
    expect(page.locator("#selection-name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#selection-dialog[open]")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator("#selection-name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(toasts(page)).to_contain_text(f"Saved as {name}.")
    expect(page.locator("#saved-selection")).to_be_focused()
    go_to("#saved-now [hx-get$='/chips']")
    page.keyboard.press("Space")
    expect(run_button(page)).to_have_text("Run on 4 platforms")
    go_to("#saved-now [hx-get$='/delete']")
    page.keyboard.press("Enter")
    expect(page.locator("#selection-dialog [autofocus]")).to_be_focused()
    go_to("#selection-dialog .btn-danger")
    page.keyboard.press("Enter")
    expect(toasts(page)).to_contain_text(f"{name} was deleted.")
    assert api.get("/selections/", name=name) == []


@pytest.mark.parametrize(("theme", "language"), [("dark", "en"), ("light", "ru")])
def test_hostile_names_and_dialogs(open_tab: Open, hosts: Hosts, server: Any, api: Api, name: str, theme: str, language: str) -> None:  # fmt: skip
    """Everything of a selection is shown and never obeyed, and is as accessible as the rest, on a phone too."""
    payload = (
        f"{name}<script>window.hit=1</script><img src=x onerror=window.hit=2>\u202e\u2066\x1b{'long ' * 12}"
    )
    made = api.post("/selections/", {"name": name, "targets": {"platform_ids": [hosts[0]["id"]]}})
    stored = made["id"].replace("-", "")
    server.execute("UPDATE selections SET name = :name, updated_by = :name WHERE id = :id", {"name": payload[:150], "id": stored})  # fmt: skip
    server.execute("UPDATE selection_platforms SET platform_id = :no, platform_name = :name WHERE selection_id = :id",
                   {"name": payload, "no": "0" * 32, "id": stored})  # fmt: skip
    other = api.post(
        "/selections/",
        {"name": f"{name}2", "targets": {"tags": ["n1"], "q": "<b>host</b>", "names": ["a" * 200]}},
    )
    tab = open_tab(viewport=PHONE)
    page = tab.page
    tab.choose(theme=theme, language=language)
    page.goto("/run")
    page.locator("#saved-selection").select_option(made["id"])
    expect(page.locator("#saved-now .x-note")).to_contain_text("window.hit")
    found = violations(page)
    for number, button in enumerate(("#saved-now [hx-get$='/rename']", "#saved-now [hx-get$='/delete']", "#saved [hx-post$='/draft']")):  # fmt: skip
        if number == 2:
            page.locator("#saved-selection").select_option(other["id"])
            expect(page.locator("#saved-now")).to_contain_text("<b>host</b>")
        page.locator(button).click()
        expect(page.locator("#selection-dialog[open]")).to_be_visible()
        found += violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.keyboard.press("Escape")
    assert found == []
    assert page.evaluate("window.hit") is None
    assert not set("\u202e\u2066\x1b") & set(page.locator("body").inner_text())
