"""What is typed is not lost: not with the login, the theme, a key that leads elsewhere, or another person's change."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.browser import Tab, ready
from tests.support.server import ADMIN, Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import ask, make_key, unique

NOTE = "What you had typed is here again."


def fill_platform(page: Page, name: str) -> None:
    page.goto("/platforms/new")
    for field, value in (("name", name), ("host", "192.0.2.7"), ("username", "deploy"), ("tags", "a b")):
        page.locator(f"#{field}").fill(value)


def end_login(tab: Tab) -> None:
    """As when somebody logs out in another tab: the cookies are gone, the open page does not know it."""
    tab.context.clear_cookies()


def log_in_again(page: Page) -> None:
    page.get_by_label("User name").fill(ADMIN[0])
    page.get_by_label("Password").fill(ADMIN[1])
    page.get_by_role("button", name="Log in").click()


def kept(page: Page) -> str:
    """All that the tab's storage has."""
    return str(page.evaluate("JSON.stringify(sessionStorage)"))


def choose_theme(page: Page, name: str) -> None:
    ready(page)
    page.locator(".x-bar-end").get_by_role("button", name="Theme").click()
    page.locator(".x-bar-end").get_by_role("button", name=name, exact=True).click()


# -- leaving and coming back ---------------------------------------------------------------------------


def test_another_theme_and_language_leave_what_is_typed(page: Page) -> None:
    name = unique("draft")
    fill_platform(page, name)
    page.get_by_text("More: jump host").click()
    page.locator("#description").fill("two\nlines")
    page.locator("#shell").select_option("plain")
    page.get_by_label("Private key").first.check()
    choose_theme(page, "Light")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    expect(page.locator(".x-draft")).to_contain_text(NOTE)
    page.locator(".x-bar-end").get_by_role("button", name="Language").click()
    page.locator(".x-bar-end").get_by_role("button", name="Русский").click()
    expect(page.locator(".x-draft")).to_contain_text("Введённое ранее снова здесь.")
    assert page.url.endswith("/platforms/new")
    assert page.locator("#name").input_value() == name
    expect(page.locator("#description")).to_be_visible()
    assert page.locator("#description").input_value() == "two\nlines"
    assert page.locator("#shell").input_value() == "plain"
    expect(page.locator("#private_key")).to_be_visible()
    assert violations(page) == []


def test_back_brings_the_command_and_the_chosen_platforms_again(
    page: Page, hosts: list[dict[str, Any]]
) -> None:
    page.goto("/run")
    page.locator("#command").fill("echo 'typed <b>and</b> kept'")
    page.locator("#timeout").fill("7")
    page.get_by_label("host-0").check()
    page.get_by_label("host-1").check()
    page.locator("h1").click()
    page.keyboard.type("gj")
    page.wait_for_url("**/jobs")
    page.go_back()
    for _ in range(2):
        expect(page.locator(".x-draft")).to_contain_text(NOTE)
        assert page.locator("#command").input_value() == "echo 'typed <b>and</b> kept'"
        assert page.locator("#timeout").input_value() == "7"
        expect(page.locator("#chips .x-chip")).to_have_text(["host-0", "host-1"])
        expect(page.locator("[data-name=host-1]")).to_be_checked()
        expect(page.get_by_role("button", name="Run on 2 platforms")).to_be_visible()
        page.goto("/jobs")
        page.goto("/run")
    page.get_by_role("button", name="Take host-0 away").click()
    page.get_by_role("button", name="Run on 1 platform").click()
    page.wait_for_url("**/jobs/*")
    page.goto("/run")
    expect(page.locator("#command")).to_have_value("")
    expect(page.locator(".x-draft")).to_have_count(0)


def test_an_address_that_names_platforms_keeps_its_own_choice(
    page: Page, hosts: list[dict[str, Any]]
) -> None:
    page.goto("/run")
    page.locator("#command").fill("echo for host-0")
    page.get_by_label("host-0").check()
    page.goto(f"/run?platform={hosts[1]['id']}")
    expect(page.locator("#chips .x-chip")).to_have_text(["host-1"])
    assert page.locator("#command").input_value() == ""
    page.goto("/run")
    expect(page.locator("#chips .x-chip")).to_have_text(["host-0"])


def test_many_chosen_platforms_come_back_as_they_were(
    page: Page, hosts: list[dict[str, Any]], api: Api
) -> None:
    page.goto("/run")
    page.evaluate(
        """() => {
          const chips = document.getElementById("chips");
          chips.innerHTML = '<span class="x-chip" data-chosen-many="1"><textarea name="platforms" hidden></textarea>'
            + '<span>many</span><button type="button" data-unchoose aria-label="Take them away"></button></span>';
        }"""
    )
    ids = " ".join(host["id"] for host in hosts)
    page.locator("#chips textarea").evaluate("(area, ids) => { area.value = ids; }", ids)
    page.goto("/jobs")
    page.goto("/run")
    assert page.locator("#chips textarea").input_value() == ids
    expect(page.get_by_role("button", name=f"Run on {len(hosts)} platforms")).to_be_visible()


def test_begin_anew_and_cancel_forget_it(page: Page) -> None:
    fill_platform(page, unique("draft"))
    page.goto("/jobs")
    page.goto("/platforms/new")
    page.get_by_role("button", name="Begin anew").click()
    expect(page.locator(".x-draft")).to_have_count(0)
    expect(page.locator("#name")).to_have_value("")
    page.goto("/platforms/new")
    expect(page.locator(".x-draft")).to_have_count(0)
    fill_platform(page, unique("draft"))
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url("**/platforms")
    page.goto("/platforms/new")
    expect(page.locator("#name")).to_have_value("")
    assert "draft" not in kept(page)


def test_what_was_not_touched_leaves_nothing_behind(page: Page, hosts: list[dict[str, Any]]) -> None:
    for address in ("/run", f"/run?platform={hosts[0]['id']}", "/platforms/new", "/keys/new"):
        page.goto(address)
        page.goto("/jobs")
        assert "draft" not in kept(page), address


# -- secrets -------------------------------------------------------------------------------------------


def test_no_secret_is_ever_kept(page: Page) -> None:
    fill_platform(page, unique("draft"))
    page.locator("#password").fill("hunter-two")
    page.get_by_label("Private key").first.check()
    page.locator("#private_key").fill("half of a secret key")
    page.locator("#passphrase").fill("open-sesame")
    page.goto("/keys/new")
    page.locator("#name").fill("kept name")
    page.locator("#public_key").fill("-----BEGIN OPENSSH PRIVATE KEY-----\nin-the-wrong-field")
    page.get_by_text("Its private half").click()
    page.locator("#private_key").fill("another secret key")
    page.goto("/platforms/import")
    page.locator("#text").fill("name,host,username,password\nweb,192.0.2.1,root,list-secret\n")
    page.locator("#password").fill("for-all-of-them")
    page.goto("/jobs")
    whole = kept(page)
    for secret in (
        "hunter-two",
        "half of a secret",
        "open-sesame",
        "in-the-wrong-field",
        "another secret",
        "list-secret",
        "for-all-of-them",
    ):
        assert secret not in whole
    assert "kept name" in whole
    page.goto("/keys/new")
    assert page.locator("#name").input_value() == "kept name"
    assert page.locator("#public_key").input_value() == page.locator("#private_key").input_value() == ""
    expect(page.locator(".x-draft")).to_contain_text("Passwords and private keys are never kept")


def test_logging_out_forgets_all(open_tab: Open) -> None:
    tab = open_tab(state=None).log_in()
    page = tab.page
    fill_platform(page, "not for who comes next")
    page.get_by_role("button", name=f"Account {ADMIN[0]}").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    assert "draft" not in kept(page)


def test_another_account_sees_none_of_it(open_tab: Open) -> None:
    page = open_tab().page
    fill_platform(page, "of-the-admin")
    page.goto("/jobs")
    page.evaluate(
        """() => {
          for (const key of Object.keys(sessionStorage)) {
            sessionStorage.setItem(key.replace(" admin ", " somebody "), sessionStorage.getItem(key));
            sessionStorage.removeItem(key);
          }
        }"""
    )
    assert "somebody" in kept(page)
    page.goto("/platforms/new")
    expect(page.locator("#name")).to_have_value("")


def test_a_storage_that_is_full_or_off_does_no_harm(open_tab: Open) -> None:
    tab = open_tab()
    tab.context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('off', 'SecurityError'); } })"
    )
    name = unique("draft")
    fill_platform(tab.page, name)
    tab.page.locator("#password").fill("x")
    tab.page.get_by_role("button", name="Save", exact=True).click()
    expect(tab.page.get_by_role("heading", name=name, level=1)).to_be_visible()

    full = open_tab().page
    full.goto("/run")
    full.evaluate("sessionStorage.setItem('other', 'x'.repeat(5 * 1024 * 1024 - 100))")
    full.locator("#command").fill("echo")
    full.goto("/jobs")
    full.evaluate("sessionStorage.clear()")
    full.goto("/run")
    full.locator("#command").fill("x" * 1_000_001)
    full.goto("/jobs")
    assert "draft" not in kept(full), "none is larger than a megabyte"


# -- a login that has ended ----------------------------------------------------------------------------


def test_a_login_that_ended_leads_back_to_the_form(open_tab: Open, api: Api) -> None:
    tab = open_tab()
    page = tab.page
    name = unique("draft")
    fill_platform(page, name)
    page.locator("#password").fill("typed again")
    end_login(tab)
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/login?**")
    expect(page.get_by_role("status").first).to_contain_text(
        "Your login has ended. Log in again. What you had typed is kept."
    )
    assert violations(page) == []
    log_in_again(page)
    page.wait_for_url("**/platforms/new")
    assert page.locator("#name").input_value() == name
    assert page.locator("#tags").input_value() == "a b"
    assert api.get("/platforms/", name=name) == []
    page.locator("#password").fill("typed again")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} was added.")
    ready(page)
    page.goto("/platforms/new")
    expect(page.locator("#name")).to_have_value("")


def test_filtering_after_the_login_ended_loses_no_command(
    open_tab: Open, hosts: list[dict[str, Any]]
) -> None:
    tab = open_tab()
    tab.expected = ["401"]
    page = tab.page
    page.goto("/run")
    page.locator("#command").fill("uptime")
    page.get_by_label("host-2").check()
    end_login(tab)
    page.locator("#pick-filter [name=q]").fill("host")
    page.wait_for_url("**/login?next=%2Frun&ended=1")
    log_in_again(page)
    page.wait_for_url("**/run")
    assert page.locator("#command").input_value() == "uptime"
    expect(page.locator("#chips .x-chip")).to_have_text(["host-2"])


def test_a_test_of_the_connection_after_the_login_ended_says_so(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["401"]
    page = tab.page
    fill_platform(page, unique("draft"))
    page.locator("#password").fill("x")
    end_login(tab)
    page.get_by_role("button", name="Test connection").click()
    page.wait_for_url("**/login?next=%2Fplatforms%2Fnew&ended=1")
    expect(page.get_by_text("Your login has ended.")).to_be_visible()


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("headers", "leads"),
    [
        ({"Referer": "{url}/platforms/new?x=1"}, "/login?next=%2Fplatforms%2Fnew%3Fx%3D1&ended=1"),
        ({"Referer": "https://evil.example/platforms"}, "/login?next=%2Fplatforms&ended=1"),
        ({"Referer": "http://[broken"}, "/login?next=%2Fplatforms&ended=1"),
        ({"HX-Current-URL": "https://evil.example/run"}, "/login?next=%2Fplatforms&ended=1"),
        ({"Referer": "{url}//evil.example/"}, "/login?next=%2Fplatforms&ended=1"),
        ({}, "/login?next=%2Fplatforms&ended=1"),
    ],
)
def test_a_login_leads_back_to_our_own_pages_only(
    server: Server, headers: dict[str, str], leads: str
) -> None:
    url = server.url
    sent = {name: value.format(url=url) for name, value in headers.items()}
    answer = ask("POST", f"{url}/platforms/selected", headers={"Origin": url, **sent}, data={"action": "run"})
    assert (answer.status_code, answer.headers["location"]) == (303, leads)


# -- what answered a form ------------------------------------------------------------------------------


def test_another_theme_after_a_refused_form_leads_to_a_page(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    page.goto("/settings")
    for _ in range(2):
        page.get_by_label("User name").fill("another")
        page.get_by_label("Current password").fill("wrong")
        page.get_by_role("button", name="Change the name").click()
        expect(page.locator(".invalid-feedback").first).to_be_visible()
    choose_theme(page, "Light")
    page.wait_for_url("**/settings")
    expect(page.get_by_role("heading", name="Settings", level=1)).to_be_visible()

    page.goto("/platforms")
    page.evaluate(
        """() => {
          const form = document.createElement("form");
          form.method = "post";
          form.action = "/platforms/selected";
          document.body.append(form);
          form.submit();
        }"""
    )
    expect(page.locator("[data-failed]").first).to_be_visible()
    choose_theme(page, "Dark")
    page.wait_for_url("**/platforms")
    expect(page.get_by_role("heading", name="Platforms", level=1)).to_be_visible()


def test_a_refused_form_goes_on_as_a_draft(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    fill_platform(page, "refused")
    page.locator("#host").fill("not a host")
    page.locator("#password").fill("secret")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#host-problem")).to_be_visible()
    expect(page.locator(".x-draft")).to_have_count(0)
    page.locator("#host").fill("192.0.2.8")
    choose_theme(page, "Light")
    expect(page.locator(".x-draft")).to_contain_text(NOTE)
    assert page.locator("#host").input_value() == "192.0.2.8"


# -- secrets that were not saved -----------------------------------------------------------------------


def test_a_password_that_was_not_saved_is_said(open_tab: Open, api: Api, real_sshd: RealSshd) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    made = api.add_platform(unique("draft"), real_sshd, password="the old one")
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#password").fill(real_sshd.user.password)
    page.locator("#port").fill("0")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#password-problem")).to_have_text("Was not saved: type it again.")
    expect(page.locator("#port-problem")).to_be_visible()
    assert page.locator("#password").input_value() == ""
    assert violations(page) == []
    page.locator("#port").fill(str(real_sshd.port))
    page.locator("#password").fill(real_sshd.user.password)
    page.get_by_role("button", name="Save and test the connection").click()
    expect(page.locator("#test")).to_contain_text("Connected and logged in")


def test_an_encrypted_key_needs_its_passphrase(open_tab: Open, api: Api, tmp_path: Path) -> None:
    private, public = make_key(tmp_path, passphrase="open sesame")
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    said = "Is protected by a passphrase: type it, too."
    name = unique("draft")
    page.goto("/keys/new")
    page.locator("#name").fill(name)
    page.locator("#public_key").fill(public)
    page.get_by_text("Its private half").click()
    for passphrase, problem in (("", said), ("wrong", "Was not saved: type it again.")):
        page.locator("#private_key").fill(private)
        page.locator("#passphrase").fill(passphrase)
        page.get_by_role("button", name="Save").click()
        expect(page.locator("#private_key-problem")).to_have_text(problem)
    expect(page.locator("#passphrase-problem")).to_have_text("Does not open the private key.")
    assert api.get("/keys/", q=name) == []

    fill_platform(page, name)
    page.get_by_label("Private key").first.check()
    page.locator("#private_key").fill(private)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#private_key-problem")).to_have_text(said)
    page.locator("#private_key").fill(private)
    page.locator("#passphrase").fill("open sesame")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} was added.")


# -- two people at once --------------------------------------------------------------------------------


def test_what_somebody_else_has_changed_is_not_taken_back(
    open_tab: Open, api: Api, real_sshd: RealSshd
) -> None:
    made = api.add_platform(unique("draft"), real_sshd, tags=["old"], known_host_key=real_sshd.host_key_line)
    tab = open_tab()
    tab.expected = ["409", "422"]
    page = tab.page
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#tags").fill("mine")
    page.locator("#port").fill("0")
    changed = api.http.patch(f"/platforms/{made['id']}", json={"host": "192.0.2.99", "description": "moved"})
    assert changed.status_code == 200
    page.get_by_role("button", name="Save", exact=True).click()
    now = api.get(f"/platforms/{made['id']}")
    assert (now["host"], now["tags"]) == ("192.0.2.99", ["old"])
    note = page.get_by_role("alert")
    expect(note).to_be_focused()
    expect(note).to_contain_text(f"{ADMIN[0]} has changed {made['name']} since you began.")
    rows = page.locator(".x-meanwhile tbody tr")
    expect(rows.filter(has_text="Host name")).to_contain_text("192.0.2.99")
    expect(rows.filter(has_text="Tags")).to_contain_text(re.compile("old.*mine", re.DOTALL))
    assert violations(page) == []
    rows.filter(has_text="Host name").get_by_role("button").click()
    assert page.locator("#host").input_value() == "192.0.2.99"
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#port-problem")).to_be_visible()
    # A mistake that is mended in between hides nothing of what others do meanwhile.
    api.http.patch(f"/platforms/{made['id']}", json={"zone": "elsewhere"})
    page.locator("#port").fill(str(real_sshd.port))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".x-meanwhile tbody tr").filter(has_text="Network zone")).to_contain_text("elsewhere")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("was changed.")
    now = api.get(f"/platforms/{made['id']}")
    assert (now["host"], now["tags"], now["description"]) == ("192.0.2.99", ["mine"], "")


def test_the_same_change_twice_is_no_collision(page: Page, api: Api, real_sshd: RealSshd) -> None:
    made = api.add_platform(unique("draft"), real_sshd)
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#tags").fill("b a")
    api.http.patch(f"/platforms/{made['id']}", json={"tags": ["a", "b"]})
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("was changed.")


def test_a_secret_that_was_stored_meanwhile_is_told(open_tab: Open, api: Api, real_sshd: RealSshd) -> None:
    made = api.add_platform(unique("draft"), real_sshd)
    tab = open_tab()
    tab.expected = ["409"]
    page = tab.page
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#password").fill("mine")
    api.http.patch(f"/platforms/{made['id']}", json={"password": "theirs"})
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert").first).to_contain_text("A password or private key was stored anew, too")
    expect(page.locator("#password-problem")).to_have_text("Was not saved: type it again.")


def test_a_draft_of_what_was_changed_since_says_so(open_tab: Open, api: Api, real_sshd: RealSshd) -> None:
    made = api.add_platform(unique("draft"), real_sshd, known_host_key=real_sshd.host_key_line)
    tab = open_tab()
    tab.expected = ["409"]
    page = tab.page
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#tags").fill("mine")
    page.goto("/jobs")
    api.http.patch(f"/platforms/{made['id']}", json={"host": "192.0.2.98"})
    page.goto(f"/platforms/{made['id']}/edit")
    expect(page.locator(".x-draft")).to_contain_text("What is stored has been changed since you began")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".x-meanwhile")).to_contain_text("192.0.2.98")
    assert api.get(f"/platforms/{made['id']}")["tags"] == []


def test_a_new_key_without_a_passphrase_lets_the_old_one_go(
    page: Page, api: Api, real_sshd: RealSshd, tmp_path: Path
) -> None:
    locked, _ = make_key(tmp_path, passphrase="open sesame")
    plain, public = make_key(tmp_path)
    real_sshd.add_key(public)
    by_key = {"auth_method": "private_key", "private_key": locked, "passphrase": "open sesame"}
    made = api.add_platform(unique("draft"), real_sshd, **by_key)
    page.goto(f"/platforms/{made['id']}/edit")
    page.locator("#private_key").fill(plain)
    page.get_by_role("button", name="Save and test the connection").click()
    expect(page.locator("#test")).to_contain_text("Connected and logged in")
    (entry,) = api.get("/audit/", action="platform.update", object_id=made["id"])
    assert entry["meta"]["fields"] == ["passphrase", "private_key"]
