"""Platforms: adding, testing, changing, choosing many, importing, and what a changed host key looks like."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.browser import ready, told
from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.tools import make_key

Hosts = list[dict[str, Any]]


def names(page: Page) -> list[str]:
    """The platforms that are shown."""
    return page.locator("#results .x-tile-head a, #results td.x-grow a").all_text_contents()


def test_add_a_platform_and_test_the_connection(open_tab: Open, real_sshd: RealSshd, api: Api) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    page.goto("/platforms/new")
    page.get_by_label("Name", exact=False).first.fill("added-by-hand")
    page.get_by_label("Host name or address").fill("not a host")
    page.get_by_label("Port").fill("22222222"[:5])
    page.get_by_label("Log in as").fill(real_sshd.user.name)
    page.get_by_label("Password", exact=True).last.fill(real_sshd.user.password)
    page.get_by_role("button", name="Save and test the connection").click()
    expect(page.locator("#host-problem")).to_have_text("Must be a host name or an IP address.")
    assert page.get_by_label("Name", exact=False).first.input_value() == "added-by-hand"
    expect(page.locator("#host")).to_be_focused()
    assert real_sshd.user.password not in page.content(), "a password is never shown"

    page.get_by_label("Host name or address").fill("127.0.0.1")
    page.get_by_label("Port").fill(str(real_sshd.port))
    page.get_by_label("Password", exact=True).last.fill(real_sshd.user.password)
    page.get_by_label("Tags").fill("one two")
    page.get_by_role("button", name="Save and test the connection").click()
    expect(page.locator("#test")).to_contain_text("Connected and logged in")
    key = api.get("/platforms/", name="added-by-hand")[0]
    assert page.locator("[data-fingerprint]").text_content() == key["known_host_fingerprint"]
    expect(page.locator("[data-latency]")).to_contain_text("ms")
    assert key["tags"] == ["one", "two"] and key["state"] == "ok"
    expect(page.locator(".x-facts").nth(1)).to_contain_text("Reachable")
    expect(page.locator("main .table tbody tr")).to_contain_text("Connection test")


def test_a_change_keeps_the_password_that_is_not_typed(page: Page, real_sshd: RealSshd, api: Api) -> None:
    made = api.add_platform("to-be-changed", real_sshd, tags=["a"])
    page.goto(f"/platforms/{made['id']}/edit")
    page.get_by_label("Name", exact=False).first.fill("changed")
    page.get_by_label("Tags").fill("b c")
    page.get_by_role("button", name="Save and test the connection").click()
    expect(page.locator("#test")).to_contain_text("Connected and logged in")
    now = api.get(f"/platforms/{made['id']}")
    assert (now["name"], now["tags"], now["has_password"]) == ("changed", ["b", "c"], True)


def test_facts_are_asked_for(page: Page, hosts: Hosts) -> None:
    page.goto(f"/platforms/{hosts[0]['id']}")
    page.get_by_role("button", name="Ask it now").click()
    expect(page.locator("#test")).to_contain_text("The facts are here")
    for fact in ("Operating system", "Kernel", "Processors", "Memory", "Disk (/)", "Up for"):
        expect(page.get_by_text(fact, exact=True)).to_be_visible()


def test_recent_tasks_say_what_was_run(page: Page, hosts: Hosts, api: Api) -> None:
    made = hosts[2]
    api.wait_job(api.start_job("echo one\nexit 3", targets={"platform_ids": [made["id"]]}))
    page.goto(f"/platforms/{made['id']}")
    row = page.locator(".table tbody tr").first
    expect(row.get_by_role("link")).to_have_text("echo one ⏎ exit 3")
    expect(row).to_contain_text("The command reported a failure")


def test_an_address_of_ipv6_is_in_brackets(page: Page, api: Api, real_sshd: RealSshd) -> None:
    made = api.add_platform("six", real_sshd, host="2001:db8::4:17", port=22, tags=["six"])
    page.goto(f"/platforms/{made['id']}")
    expect(page.locator("main")).to_contain_text(f"{real_sshd.user.name}@[2001:db8::4:17]:22")
    page.goto("/platforms?tag=six")
    expect(page.locator("#results")).to_contain_text(f"{real_sshd.user.name}@[2001:db8::4:17]")


def test_filter_sort_and_the_shape_of_the_list(page: Page, hosts: Hosts) -> None:
    page.goto("/platforms?tag=pages")
    assert names(page) == ["host-0", "host-1", "host-2", "silent"]
    page.get_by_role("searchbox", name="Name, host or description").fill("nobody LISTENS")
    expect(page.locator("#results")).not_to_contain_text("host-0")
    assert names(page) == ["silent"]
    assert "q=nobody" in page.url, "the address names what is shown"
    page.go_back()
    expect(page.locator("#results")).to_contain_text("host-0")
    page.wait_for_load_state()
    page.get_by_role("button", name="Table").click()
    expect(page.locator("#results table")).to_be_visible()
    page.goto("/platforms?tag=pages")
    expect(page.locator("#results table")).to_be_visible()
    page.get_by_role("link", name="Name").click()
    page.wait_for_url("**sort=-name**")
    expect(page.locator("#results td.x-grow a").first).to_have_text("silent")
    page.goto("/platforms?q=nothing-like-it")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.get_by_role("link", name="Clear the filter").click()
    expect(page.locator("#results tbody tr").first).to_be_visible()
    expect(page.get_by_role("searchbox", name="Name, host or description")).to_have_value("")


@pytest.fixture(scope="module")
def many(api: Api, real_sshd: RealSshd) -> Iterator[int]:
    """More than a page has."""
    for number in range(60):
        api.add_platform(f"many-{number:02}", real_sshd, tags=["many"])
    yield 60
    # Tests of a module may come in two parts, and something else between.
    for platform in api.all("/platforms/", q="many-"):
        api.http.delete(f"/platforms/{platform['id']}")


def test_the_next_page_and_all_that_match(page: Page, many: int, api: Api) -> None:
    page.goto("/platforms?tag=many")
    expect(page.locator("#results")).to_contain_text("60 platforms")
    first = names(page)
    assert len(first) == 50
    page.get_by_role("link", name="Next page").click()
    page.wait_for_url("**page=2**")
    expect(page.locator(".x-tile")).to_have_count(10)
    assert not set(names(page)) & set(first)

    page.goto("/platforms?tag=many")
    page.get_by_label("Choose all that are shown").check()
    expect(page.locator("[data-picked]").first).to_have_text("50 chosen")
    page.get_by_role("button", name="Choose all 60 that match").click()
    expect(page.locator("[data-picked]").first).to_have_text("60 chosen")
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_label("Tags").fill("all-of-them")
    page.get_by_role("button", name="Add them").click()
    expect(page.locator("#toasts")).to_contain_text("60 platforms were changed.")
    assert len(api.all("/platforms/", tag="all-of-them")) == 60
    assert api.get("/audit/", action="platform.tag")[0]["meta"]["platforms"] == 60


def test_what_joins_after_the_choice_is_not_acted_on(page: Page, api: Api, real_sshd: RealSshd) -> None:
    for number in range(51):
        api.add_platform(f"chosen-{number:02}", real_sshd, tags=["chosen"])
    page.goto("/platforms?tag=chosen")
    page.get_by_label("Choose all that are shown").check()
    page.get_by_role("button", name="Choose all 51 that match").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("dialog[open]")).to_contain_text("51 chosen")
    api.add_platform("joined-later", real_sshd, tags=["chosen"])
    page.locator("dialog[open]").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text("51 platforms were deleted.")
    assert [item["name"] for item in api.get("/platforms/", tag="chosen")] == ["joined-later"]


def test_a_bad_tag_is_said_in_the_dialog_and_nothing_is_lost(page: Page, many: int, api: Api) -> None:
    page.goto("/platforms?tag=many")
    page.get_by_label("Choose many-00").check()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("button", name="Add them").click()
    expect(page.locator("dialog[open] [role=alert]")).to_have_text("Must not be empty.")
    page.get_by_label("Tags").fill("good ~bad~")
    page.get_by_role("button", name="Add them").click()
    expect(page.locator("dialog[open] [role=alert]")).to_contain_text(
        "a tag is up to 100 letters", ignore_case=True
    )
    assert page.get_by_label("Tags").input_value() == "good ~bad~"
    page.get_by_label("Tags").fill("good")
    page.get_by_role("button", name="Add them").click()
    expect(page.locator("#toasts")).to_contain_text("1 platform was changed.")
    page.get_by_label("Choose many-00").check()
    page.get_by_role("button", name="Tag", exact=True).click()
    assert "good" in api.get("/platforms/", name="many-00")[0]["tags"]
    page.get_by_label("Tags").fill("good")
    with page.expect_navigation():
        page.get_by_role("button", name="Take them away").click()
    assert "good" not in api.get("/platforms/", name="many-00")[0]["tags"]


def test_delete_the_chosen_after_a_question(page: Page, api: Api, real_sshd: RealSshd) -> None:
    jump = api.add_platform("gone-jump", real_sshd, tags=["gone"])
    api.add_platform("gone-1", real_sshd, tags=["gone"])
    api.add_platform("stays-behind", real_sshd, jump_platform_id=jump["id"])
    page.goto("/platforms?tag=gone")
    page.get_by_label("Choose all that are shown").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("dialog[open]")).to_contain_text("2 chosen")
    page.locator("dialog[open]").get_by_role("button", name="Cancel").click()
    assert len(api.get("/platforms/", tag="gone")) == 2
    page.get_by_role("button", name="Delete", exact=True).click()
    page.locator("dialog[open]").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text("1 platform was deleted. Still there, because")
    assert [item["name"] for item in api.get("/platforms/", tag="gone")] == ["gone-jump"]


def test_a_changed_host_key_is_shown_and_accepted_by_its_fingerprint(open_tab: Open, api: Api) -> None:
    tab = open_tab()
    sshd = RealSshd()
    try:
        made = api.add_platform("reinstalled", sshd)
        target = {"targets": {"platform_ids": [made["id"]]}}
        api.wait_job(api.start_job("true", **target))
        sshd.stop()
        sshd.new_host_key()
        sshd.start()
        api.wait_job(api.start_job("true", **target))
        page = tab.page
        page.goto("/")
        expect(page.locator("main")).to_contain_text("Host key changed")
        page.goto(f"/platforms/{made['id']}")
        expect(page.get_by_role("alert")).to_contain_text("This host shows another key than before.")
        page.get_by_role("button", name="Accept the new host key").click()
        shown = api.get("/audit/", action="host_key.changed", object_id=made["id"])[0]["meta"]["presented"]
        expect(page.locator("dialog[open]")).to_contain_text(shown)
        page.get_by_label(f"Password of {sshd.user.name}, once more").fill(sshd.user.password)
        page.get_by_role("button", name="Accept it").click()
        expect(page.locator("#test")).to_contain_text("Connected and logged in")
        assert api.get(f"/platforms/{made['id']}")["known_host_keys"] == [sshd.host_key_line]
    finally:
        sshd.close()


def test_import_fifty_platforms_after_a_look_at_what_would_change(
    page: Page, api: Api, real_sshd: RealSshd
) -> None:
    api.add_platform("import-00", real_sshd, port=1, tags=["old"])
    rows = [
        f"import-{number:02},127.0.0.1,{real_sshd.port},{real_sshd.user.name},{real_sshd.user.password},imported"
        for number in range(50)
    ]
    page.goto("/platforms/import")
    page.get_by_role("textbox", name="The list").fill(
        "\n".join(["name,host,port,username,password,tags", *rows, "broken,,x,,,"])
    )
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator(".card-header")).to_contain_text("49 new")
    expect(page.locator(".card-header")).to_contain_text("1 different")
    expect(page.locator("tr", has_text="import-00")).to_contain_text(f"port: 1 → {real_sshd.port}")
    expect(page.locator(".x-note-bad")).to_contain_text("Line 52")
    assert not api.get("/platforms/", q="import-01"), "nothing was done yet"
    page.get_by_label("Change those that differ, too").check()
    page.get_by_role("button", name="Add 49 platforms").click()
    expect(page.locator("#toasts")).to_contain_text("49 platforms were added. 1 was changed.")
    imported = api.all("/platforms/", tag="imported")
    assert len(imported) == 50 and {item["port"] for item in imported} == {real_sshd.port}
    page.goto("/platforms/import")
    page.get_by_role("textbox", name="The list").fill(
        "\n".join(["name,host,port,username,password,tags", *rows])
    )
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator(".card-header")).to_contain_text("50 as they are")
    # Only a difference: that it be made must be said.
    page.goto("/platforms/import")
    moved = f"name,host,port,password\nimport-01,127.0.0.1,1022,{real_sshd.user.password}"
    page.get_by_role("textbox", name="The list").fill(moved)
    page.get_by_role("button", name="Show what would change").click()
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_label("Change those that differ, too")).to_be_focused()
    page.get_by_label("Change those that differ, too").check()
    page.get_by_role("button", name="Import").click()
    expect(page.locator("#toasts")).to_contain_text("1 platform was changed.")


def test_a_long_import_says_how_far_it_is(page: Page, api: Api, real_sshd: RealSshd) -> None:
    rows = "".join(f"zfar-{number},192.0.2.1,root,x\n" for number in range(50))
    page.goto("/platforms/import")
    page.get_by_role("textbox", name="The list").fill(f"name,host,username,password\n{rows}")
    page.get_by_role("button", name="Show what would change").click()
    add = page.get_by_role("button", name="Add 50 platforms")
    expect(add).to_be_visible()
    held: list[Route] = []
    looks: list[int] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    def has_looked(times: int) -> None:
        told(page, lambda: len(looks) >= times)

    page.route("**/platforms/import", hold)
    page.on("response", lambda answer: looks.append(answer.status) if "limit=1" in answer.url else None)
    # While the page waits for an answer, Playwright does not look into it: the page keeps what it said.
    page.evaluate(
        """() => new MutationObserver(() => {
            const bar = document.querySelector("progress");
            if (bar) sessionStorage.said = `${bar.nextSibling.textContent} ${bar.value}; ${sessionStorage.said ?? ""}`;
        }).observe(document.querySelector(".x-form-foot"), { subtree: true, childList: true })"""
    )
    add.click(no_wait_after=True)
    has_looked(2)
    for number in range(3):
        api.add_platform(f"zfar-added-{number}", real_sshd)
    has_looked(len(looks) + 2)
    held[0].continue_()
    expect(page.locator("#toasts")).to_contain_text("50 platforms were added.")
    said = page.evaluate("sessionStorage.said")
    assert "Looking at all 50 ..." in said
    # Not only this: where the answer is slow to come, the page sees all fifty beforehand.
    assert "3 of 50 added 3; " in said, said


def test_import_an_ssh_configuration_with_a_jump_host(page: Page, api: Api) -> None:
    page.goto("/platforms/import")
    page.get_by_role("textbox", name="The list").fill(
        "Host inner\n  HostName 10.0.0.5\n  User root\n  ProxyJump outer\n  IdentityFile ~/.ssh/id\n"
        "Host outer\n  HostName 192.0.2.9\n  User root\n"
    )
    page.get_by_label("or this password").fill("a password for both")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("tr", has_text="inner")).to_contain_text("through outer")
    page.get_by_role("button", name="Add 2 platforms").click()
    expect(page.locator("#toasts")).to_contain_text("2 platforms were added.")
    inner, outer = (api.get("/platforms/", name=name)[0] for name in ("inner", "outer"))
    assert inner["jump_platform_id"] == outer["id"]


def preview(page: Page, text: str) -> None:
    page.goto("/platforms/import")
    page.get_by_role("textbox", name="The list").fill(text)
    page.get_by_role("button", name="Show what would change").click()


def test_the_preview_refuses_what_adding_would_refuse(page: Page, api: Api, tmp_path: Path) -> None:
    locked, _ = make_key(tmp_path, passphrase="open sesame")
    api.http.post(
        "/platforms/",
        json={"name": "checked", "host": "h", "username": "u", "auth_method": "password", "password": "p"},
    )
    several = page.locator("tbody tr", has_text="several")
    quoted = '"' + locked + '"'
    rows = {
        "a*b,192.0.2.1,root,x,,,": "name: must not contain * ? [ ] or a comma",
        "bad-host,not a host,root,x,,,": "host: must be a host name or an IP address.",
        "bad-tag,192.0.2.1,root,x,-,,": "tags: a tag is up to 100 letters",
        f"long,192.0.2.1,root,x,,{'d' * 4001},": "description: takes at most 4000 characters",
        f"bad-user,192.0.2.1,{'u' * 151},x,,,": "username: takes at most 150 characters.",
        f"locked,192.0.2.1,root,,,,{quoted}": "private_key: is protected by a passphrase",
        "checked,not a host,u,,,,": "host: must be a host name or an IP address.",
    }
    head = "name,host,username,password,tags,description,private_key"
    preview(page, "\n".join([head, *rows, "several?,h h,root,x,,,", "good,192.0.2.1,root,x,,,"]))
    expect(page.locator(".card-header")).to_contain_text("1 new")
    expect(page.locator(".card-header")).to_contain_text(f"{len(rows) + 1} with problems")
    expect(several).to_contain_text("name: must not contain")
    expect(several).to_contain_text("host: must be a host name")
    for row, why in rows.items():
        line = page.locator("tbody tr").filter(
            has=page.locator(".x-card-start", has_text=row.partition(",")[0])
        )
        expect(line).to_contain_text("cannot be added")
        expect(line).to_contain_text(why)
    page.get_by_role("button", name="Add 1 platform").click()
    expect(page.locator("main")).to_contain_text("1 platform was added.")


def test_the_preview_sees_jump_hosts_that_go_round_in_a_loop(page: Page, api: Api) -> None:
    def host(name: str, via: str) -> str:
        return f"Host {name}\n HostName 192.0.2.4\n User root\n" + (f" ProxyJump {via}\n" if via else "")

    ways = {
        "loop-a": "loop-b",
        "loop-b": "loop-c",
        "loop-c": "loop-a",
        "into": "loop-a",
        "way": "end",
        "end": "",
    }
    page.goto("/platforms/import")
    page.get_by_label("or this password").fill("for all")
    page.get_by_role("textbox", name="The list").fill("".join(host(*each) for each in ways.items()))
    page.get_by_role("button", name="Show what would change").click()
    for name in ("loop-a", "loop-b", "loop-c"):
        expect(page.locator("tbody tr", has_text=name).first).to_contain_text(
            "the jump hosts would form a loop."
        )
    expect(page.locator("tbody tr", has_text="into")).to_contain_text(
        "its jump host loop-a could not be added"
    )
    page.get_by_role("button", name="Add 2 platforms").click()
    expect(page.locator("main")).to_contain_text("2 platforms were added.")
    assert {item["name"] for item in api.get("/platforms/", q="loop-*")} == set()


def test_a_list_goes_back_to_be_mended(page: Page) -> None:
    text = "name,host,username,password\nback-1,192.0.2.1,root,never-in-storage\n"
    preview(page, text)
    page.get_by_role("button", name="Back to the list").click()
    assert page.get_by_role("textbox", name="The list").input_value() == text
    assert "never-in-storage" not in str(page.evaluate("JSON.stringify(sessionStorage)"))

    harmless = "name,host,username\nback-2,192.0.2.1,root\n"
    preview(page, harmless)
    expect(page.get_by_text("This would happen")).to_be_visible()
    ready(page)
    page.goto("/jobs")
    page.goto("/platforms/import")
    assert page.get_by_role("textbox", name="The list").input_value() == harmless


def test_a_list_that_just_fits_is_imported_and_a_longer_one_is_told_what_to_do(
    open_tab: Open, api: Api, tmp_path: Path
) -> None:
    tab = open_tab()
    tab.expected = ["422", "413"]
    page = tab.page
    # What percent-encoding makes three times as long.
    filler = "ж;" * 40_000
    rows = "".join(f"zfits-{number},192.0.2.1,root,x,fits,{filler}\n" for number in range(33))
    text = "name,host,username,password,tags,filler\n" + rows
    assert 3_900_000 < len(text.encode()) < 4_100_000
    path = tmp_path / "list.csv"
    path.write_text(text)
    page.goto("/platforms/import")
    page.get_by_label("File").set_input_files(path)
    page.get_by_role("button", name="Show what would change").click()
    page.get_by_role("button", name="Add 33 platforms").click()
    expect(page.locator("#toasts")).to_contain_text("33 platforms were added.")
    assert len(api.all("/platforms/", tag="fits")) == 33

    path.write_text(text + "x" * (4 * 1024 * 1024 - 2_000 - len(text.encode())))
    page.goto("/platforms/import")
    page.get_by_label("File").set_input_files(path)
    page.get_by_role("button", name="Show what would change").click()
    expect(page.locator("main")).to_contain_text(
        "Split it, or use the command line: testum platforms import."
    )
    for size in (5_000_000, 40_000_000):
        path.write_text("x" * size)
        page.goto("/platforms/import")
        page.get_by_label("File").set_input_files(path)
        page.get_by_role("button", name="Show what would change").click()
        expect(page.get_by_role("heading", name="Too large").first).to_be_visible()
        expect(page.locator("main")).to_contain_text("What was sent is over 4 MB")
        expect(page.get_by_role("navigation", name="Main menu")).to_be_visible()
    assert violations(page) == []


# -- deploying keys ------------------------------------------------------------------------------------------


@pytest.fixture
def kept_keys(api: Api, tmp_path: Path) -> list[dict[str, Any]]:
    """Three keys; one has the longest name that there can be."""
    names = [f"deploy-{tmp_path.name}-{number}" for number in range(2)]
    names.append(f"deploy-{tmp_path.name}-".ljust(200, "x"))
    return [api.post("/keys/", {"name": name, "public_key": make_key(tmp_path)[1]}) for name in names]


def test_keys_are_chosen_for_a_deployment(
    page: Page, hosts: Hosts, api: Api, kept_keys: list[dict[str, Any]]
) -> None:
    first, second, _ = kept_keys
    page.goto("/platforms?tag=pages")
    page.get_by_label("Choose host-0").check()
    page.get_by_role("button", name="Deploy keys").click()
    dialog = page.get_by_role("dialog", name="Deploy keys to the chosen platforms")
    boxes = dialog.locator("input[name=key]")
    assert boxes.count() >= 3
    assert not any(box.is_checked() for box in boxes.all()), "nobody is let in whom nobody has chosen"
    assert dialog.evaluate("(box) => box.scrollWidth <= box.clientWidth"), "long names wrap"
    assert violations(page) == []

    dialog.get_by_label("All ").check()
    assert all(box.is_checked() for box in boxes.all())
    dialog.get_by_label("All ").uncheck()
    assert not any(box.is_checked() for box in boxes.all())
    before = len(api.all("/jobs/"))
    dialog.get_by_role("button", name="Deploy keys").click()
    expect(dialog.get_by_role("alert")).to_have_text("Choose at least one key.")
    expect(dialog.locator("[data-picked]")).to_have_text("1 chosen")
    assert len(api.all("/jobs/")) == before, "none chosen does not mean all"

    dialog.get_by_label(first["name"]).check()
    dialog.get_by_label(second["name"]).check()
    assert dialog.get_by_label("All ").evaluate("(box) => box.indeterminate")
    dialog.get_by_role("button", name="Deploy keys").click()
    page.wait_for_url("**/jobs/*")
    job = api.get(f"/jobs/{page.url.rsplit('/', 1)[1]}")
    assert job["parameters"]["key_ids"] == sorted([first["id"], second["id"]], key=str)
    assert job["targets"] == {"platform_ids": [hosts[0]["id"]]}
    listed = page.get_by_role("list", name="Keys")
    expect(listed.get_by_role("link")).to_have_text([first["name"], second["name"]])
    api.wait_job(job["id"])

    # The key's page says so, and the job's page remembers a key that is deleted.
    listed.get_by_role("link", name=first["name"]).click()
    card = page.locator(".card", has_text="Last deployments")
    expect(card.get_by_role("link")).to_have_text(["To 1 platform"])
    expect(card).to_contain_text("Succeeded")
    expect(card.get_by_role("link")).to_have_attribute("href", f"/jobs/{job['id']}")
    api.http.delete(f"/keys/{first['id']}")
    page.goto(f"/jobs/{job['id']}")
    expect(listed).to_contain_text(f"deleted since: {first['id']}")
    page.goto(f"/keys/{kept_keys[2]['id']}")
    expect(card).to_contain_text("None among the last jobs.")


def test_a_key_that_platforms_log_in_with_says_so(
    page: Page, api: Api, real_sshd: RealSshd, tmp_path: Path
) -> None:
    private, public = make_key(tmp_path)
    name = f"used-{tmp_path.name}"
    key = api.post("/keys/", {"name": name, "public_key": public, "private_key": private})
    page.goto(f"/keys/{key['id']}")
    user = api.add_platform(f"user-of-{name}", real_sshd, auth_method="private_key", key_id=key["id"])
    # Somebody else gave it to a platform while the page was open.
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text(f"Platforms log in with this key: {user['name']}.")
    assert page.url.endswith(f"/keys/{key['id']}")
    ready(page)
    card = page.locator(".card", has_text="Log in with it")
    expect(card.get_by_role("link", name=user["name"])).to_have_attribute("href", f"/platforms/{user['id']}")
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Give them another login first")
    expect(dialog.get_by_role("button", name="Delete")).to_have_count(0)
    assert violations(page) == []
    dialog.get_by_role("link", name=user["name"]).click()
    page.wait_for_url(f"**/platforms/{user['id']}")
    api.http.delete(f"/platforms/{user['id']}")
    page.goto(f"/keys/{key['id']}")
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} was deleted.")


def test_enter_in_a_dialog_does_what_the_dialog_is_for_and_nothing_else(
    page: Page, hosts: Hosts, api: Api
) -> None:
    page.goto("/platforms?tag=pages")
    page.get_by_label("Choose host-0").check()
    page.get_by_role("button", name="Tag", exact=True).click()
    page.get_by_role("dialog").get_by_label("Tags").fill("by-enter")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("1 platform was changed.")
    assert "by-enter" in api.get(f"/platforms/{hosts[0]['id']}")["tags"]
    api.http.patch(f"/platforms/{hosts[0]['id']}", json={"tags": hosts[0]["tags"]})


def test_tests_of_connections_take_no_keys_along(
    page: Page, hosts: Hosts, api: Api, kept_keys: list[dict[str, Any]]
) -> None:
    page.goto("/platforms?tag=pages")
    page.get_by_label("Choose host-0").check()
    page.get_by_role("button", name="Test connections").click()
    page.wait_for_url("**/jobs/*")
    assert api.get(f"/jobs/{page.url.rsplit('/', 1)[1]}")["type"] == "test_connection"
