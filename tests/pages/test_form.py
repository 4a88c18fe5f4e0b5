"""The form of a platform: testing what is typed before it is saved."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.browser import PHONE
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd, run
from tests.support.tools import unique
from testum.core.sshkeys import parse_public_key


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taking:
        taking.settimeout(10)
        yield taking


def fill(page: Page, sshd: RealSshd, name: str, *, port: int | None = None, password: str = "") -> None:
    """Type a platform that logs in by password."""
    page.goto("/platforms/new")
    for field, value in (
        ("name", name),
        ("host", "127.0.0.1"),
        ("port", str(port or sshd.port)),
        ("username", sshd.user.name),
        ("password", password or sshd.user.password),
        ("tags", "kept as typed"),
    ):
        page.locator(f"#{field}").fill(value)


def press(page: Page) -> None:
    page.get_by_role("button", name="Test connection").click()


def test_what_is_typed_is_tested_and_not_saved(page: Page, real_sshd: RealSshd, api: Api) -> None:
    name = unique("form")
    fill(page, real_sshd, name)
    press(page)
    result = page.locator("[data-try-result]")
    expect(result).to_contain_text("Connected and logged in")
    fingerprint = page.locator("[data-tried-fingerprint]").text_content()
    assert fingerprint and fingerprint.startswith("SHA256:")
    expect(result).to_contain_text("ssh-ed25519")
    expect(result).to_contain_text("This key is not trusted yet")
    expect(page.locator("[data-tried-latency]")).to_have_text(re.compile(r"^[\d.,]+ ms$"))
    assert page.url.endswith("/platforms/new")
    assert page.locator("#password").input_value() == real_sshd.user.password, "all that was typed stays"
    assert page.locator("#tags").input_value() == "kept as typed"
    assert api.get("/platforms/", name=name) == []
    assert violations(page) == []

    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} was added.")
    (made,) = api.get("/platforms/", name=name)
    assert (made["known_host_fingerprint"], made["state"]) == (None, "unknown"), (
        "the test left nothing behind"
    )


def test_the_key_that_was_seen_is_trusted_with_the_platform(
    page: Page, real_sshd: RealSshd, api: Api
) -> None:
    name = unique("form")
    fill(page, real_sshd, name)
    press(page)
    page.get_by_label("Trust this key and no other, once the platform is saved").check()
    press(page)
    expect(page.locator("[data-try-result]")).to_contain_text("This is the trusted key")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} was added.")
    assert api.get("/platforms/", name=name)[0]["known_host_keys"] == [real_sshd.host_key_line]


def test_a_key_that_is_trusted_by_mistake_is_let_go_again(page: Page, real_sshd: RealSshd) -> None:
    fill(page, real_sshd, unique("form"))
    press(page)
    box = page.get_by_label("Trust this key and no other, once the platform is saved")
    box.check()
    assert page.locator("#known_host_key").input_value() == real_sshd.host_key_line
    box.uncheck()
    assert page.locator("#known_host_key").input_value() == ""


def test_what_went_wrong_is_said_with_the_next_step(open_tab: Open, real_sshd: RealSshd) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    fill(page, real_sshd, unique("form"), password="not this one")
    press(page)
    result = page.locator("[data-try-result]")
    expect(result).to_contain_text("The host refused the login.")
    expect(result).to_contain_text("Check the user name and the password")
    expect(result.locator("[lang=en]")).to_contain_text(real_sshd.user.name)
    # Whether it is the right host at all is what is asked just then.
    expect(result.locator("[data-tried-fingerprint]")).to_have_text(
        parse_public_key(real_sshd.host_key_line).fingerprint
    )
    assert violations(page) == []
    page.locator("#host").fill("not a host")
    expect(result).to_have_text("What is tested has changed since. Test it again.")
    press(page)
    expect(result).to_contain_text("Nothing was tested.")
    expect(result).to_contain_text("Host name or address: must be a host name or an IP address.")
    page.locator("#tags").fill("something else")
    # Tags are not what is tested.
    expect(result).to_contain_text("Nothing was tested.")


def test_a_second_press_cancels(page: Page, real_sshd: RealSshd, silent: socket.socket) -> None:
    fill(page, real_sshd, unique("form"), port=silent.getsockname()[1])
    press(page)
    taken, _ = silent.accept()
    expect(page.locator("[data-try-result]")).to_contain_text("Connecting ...")
    page.get_by_role("button", name="Cancel the test").click()
    expect(page.locator("[data-try-result]")).to_have_text("The test was cancelled.")
    expect(page.get_by_role("button", name="Test connection")).to_be_visible()
    taken.close()
    page.locator("#port").fill(str(real_sshd.port))
    press(page)
    expect(page.locator("[data-try-result]")).to_contain_text("Connected and logged in")


@pytest.mark.embedded
def test_leaving_the_page_ends_the_test(page: Page, real_sshd: RealSshd, silent: socket.socket) -> None:
    fill(page, real_sshd, unique("form"), port=silent.getsockname()[1])
    press(page)
    taken, _ = silent.accept()
    page.goto("/platforms")
    with taken:
        taken.settimeout(7)
        while taken.recv(4096):
            pass


def test_a_change_while_it_is_tested_ends_the_test(
    page: Page, real_sshd: RealSshd, silent: socket.socket
) -> None:
    fill(page, real_sshd, unique("form"), port=silent.getsockname()[1])
    press(page)
    expect(page.get_by_role("button", name="Cancel the test")).to_be_visible()
    page.locator("#port").fill("22")
    expect(page.locator("[data-try-result]")).to_have_text("What is tested has changed since. Test it again.")
    expect(page.get_by_role("button", name="Test connection")).to_be_visible()


def test_a_stored_password_is_tested_where_it_belongs_and_nowhere_else(
    open_tab: Open, real_sshd: RealSshd, silent: socket.socket, api: Api
) -> None:
    made = api.add_platform(unique("form"), real_sshd, known_host_key=real_sshd.host_key_line)
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    page.goto(f"/platforms/{made['id']}/edit")
    press(page)
    result = page.locator("[data-try-result]")
    expect(result).to_contain_text("Connected and logged in")
    expect(result).to_contain_text("This is the trusted key")
    expect(result.get_by_role("checkbox")).to_have_count(0)
    # Without a trusted key nothing shows that the host is the same.
    forgotten = {"known_host_key": None, "password": real_sshd.user.password}
    made = api.ok(api.http.patch(f"/platforms/{made['id']}", json=forgotten))
    page.reload()
    page.locator("#port").fill(str(silent.getsockname()[1]))
    press(page)
    expect(result).to_contain_text(
        "Password: type it again: what is stored goes only to the host that it was stored for."
    )
    silent.settimeout(0.5)
    with pytest.raises(TimeoutError):
        silent.accept()
    assert api.get(f"/platforms/{made['id']}") == made


def test_on_edit_the_key_that_was_seen_is_trusted_with_the_password(
    open_tab: Open, real_sshd: RealSshd, api: Api
) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    made = api.add_platform(unique("form"), real_sshd)
    page.goto(f"/platforms/{made['id']}/edit")
    press(page)
    page.get_by_label("Trust this key and no other, once the platform is saved").check()
    press(page)
    expect(page.locator("[data-try-result]")).to_contain_text("Password: type it again")
    page.locator("#password").fill(real_sshd.user.password)
    press(page)
    expect(page.locator("[data-try-result]")).to_contain_text("This is the trusted key")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("was changed.")
    assert api.get(f"/platforms/{made['id']}")["known_host_keys"] == [real_sshd.host_key_line]


def test_the_whole_by_keyboard(page: Page, real_sshd: RealSshd) -> None:
    fill(page, real_sshd, unique("form"))
    page.get_by_role("button", name="Test connection").focus()
    page.keyboard.press("Enter")
    expect(page.locator("[data-try-result]")).to_contain_text("Connected and logged in")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("#known_host_key").input_value() == real_sshd.host_key_line


def test_in_russian_on_a_phone(open_tab: Open, real_sshd: RealSshd) -> None:
    tab = open_tab(viewport=PHONE)
    kept = {"language": "ru", "theme": "light"}
    tab.choose(**kept)
    page = tab.page
    fill(page, real_sshd, unique("form"), port=1)
    page.get_by_role("button", name="Проверить связь", exact=True).click()
    result = page.locator("[data-try-result]")
    expect(result).to_contain_text("Хост отверг соединение.")
    expect(result).to_contain_text("Посмотрите, запущен ли там sshd")
    assert violations(page) == []
    page.locator("#port").fill(str(real_sshd.port))
    page.get_by_role("button", name="Проверить связь", exact=True).click()
    expect(result).to_contain_text("Этот ключ пока не доверенный")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert violations(page) == []


def test_a_key_and_a_password_for_two_steps(page: Page, api: Api, tmp_path: Path) -> None:
    """Both are typed, kept where nothing is typed, and what another way to log in does not use is forgotten."""
    key = tmp_path / "id"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    sshd = RealSshd(options=["AuthenticationMethods publickey,password"])
    try:
        sshd.add_key(key.with_suffix(".pub").read_text())
        name = unique("form")
        fill(page, sshd, name)
        page.get_by_label("Private key and password").check()
        page.locator("#private_key").fill(key.read_text())
        press(page)
        expect(page.locator("[data-try-result]")).to_contain_text("Connected and logged in")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("main")).to_contain_text("then a password")
        (platform,) = api.get("/platforms/", name=name)
        assert platform["auth_method"] == "key_and_password"
        page.goto(f"/platforms/{platform['id']}/edit")
        expect(page.get_by_label("Private key and password")).to_be_checked()
        expect(page.locator("#password")).to_be_visible()
        press(page)
        expect(page.locator("[data-try-result]")).to_contain_text("Connected and logged in")
        page.get_by_label("Private key", exact=True).first.check()
        expect(page.locator("#password")).to_be_hidden()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator("main")).not_to_contain_text("then a password")
        changed = api.get(f"/platforms/{platform['id']}")
        assert (changed["auth_method"], changed["has_password"], changed["has_private_key"]) == (
            "private_key",
            False,
            True,
        )
    finally:
        sshd.close()


def test_who_may_not_write_platforms_may_not_test_what_is_typed(
    open_tab: Open, server: Server, real_sshd: RealSshd
) -> None:
    operator = server.account("operator")
    tab = open_tab(state=None)
    tab.expected = ["403"]
    tab.log_in(operator.username, operator.password)
    answer = tab.page.request.post(
        "/platforms/new/test", form={"host": "127.0.0.1"}, headers={"Origin": tab.url}
    )
    assert answer.status == 403
