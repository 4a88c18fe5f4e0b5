"""Running something, watching it, cancelling it, doing it again; and what a broken connection does to the page."""

import datetime as dt
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support import late
from tests.support.browser import DESKTOP, PHONE, QUIET_MS, Tab, drawn, ready
from tests.support.proxy import Proxy
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.waiting import until
from testum.web.pages.jobs import _late
from testum.web.pages.languages import languages

Hosts = list[dict[str, Any]]
AGAIN_MS = 3_000
"""After so long the page asks again for what it could not get (frontend/src/job.ts)."""


def row(page: Page, name: str) -> Any:
    """A platform's line in the list of a job."""
    return page.get_by_role("option").filter(has_text=name)


def box(page: Page, name: str) -> Any:
    """A platform's box in the picker."""
    return page.get_by_role("checkbox", name=re.compile(f"^{name}"))


def start(page: Page, command: str, *names: str) -> str:
    """Run a command on hosts through the form; the address of the job's page."""
    page.goto("/run")
    page.get_by_label("Command").fill(command)
    page.get_by_label("Tag", exact=True).select_option("pages")
    for name in names:
        box(page, name).check()
    number = len(names)
    page.get_by_role("button", name=f"Run on {number} platform" + ("s" if number > 1 else "")).click()
    page.wait_for_url("**/jobs/**")
    return page.url


def test_the_button_says_on_how_many(page: Page, hosts: Hosts) -> None:
    page.goto("/run")
    page.get_by_role("searchbox", name="Name, host or description").last.fill("host-")
    expect(box(page, "silent")).to_have_count(0)
    box(page, "host-0").check()
    expect(page.locator("[data-run-button]")).to_have_text("Run on 1 platform")
    page.get_by_role("searchbox", name="Name, host or description").last.fill("silent")
    expect(box(page, "host-0")).to_have_count(0)
    box(page, "silent").check()
    expect(page.locator("[data-run-button]")).to_have_text("Run on 2 platforms")
    page.get_by_label("Tag", exact=True).select_option("pages")
    page.get_by_role("searchbox", name="Name, host or description").last.fill("")
    expect(box(page, "host-2")).to_be_visible()
    assert box(page, "host-0").is_checked(), "what was chosen stays chosen"
    page.get_by_role("button", name=re.compile("Choose all")).click()
    expect(page.locator("[data-run-button]")).to_have_text("Run on 4 platforms")
    page.get_by_role("button", name="Take silent away").click()
    expect(page.locator("[data-run-button]")).to_have_text("Run on 3 platforms")


def test_a_run_without_platforms_or_command_says_what_is_missing(open_tab: Open, hosts: Hosts) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    tab.page.goto("/run")
    tab.page.get_by_label("Command").fill("true")
    tab.page.get_by_role("button", name="Run", exact=True).click()
    expect(tab.page.locator("#platform-problem")).to_have_text("Choose at least one platform.")
    ready(tab.page)
    box(tab.page, "host-0").check()
    expect(tab.page.locator("#platform-problem")).to_have_count(0)
    expect(tab.page.locator("#chips")).not_to_have_class(re.compile("is-invalid"))
    tab.page.get_by_label("Time for each platform").fill("soon")
    tab.page.get_by_role("button", name="Run on 1 platform").click()
    expect(tab.page.locator("#timeout-problem")).to_have_text("Must be a number.")
    assert tab.page.get_by_label("Command").input_value() == "true"

    # All that is wrong is said at once, and what was chosen stays.
    tab.page.get_by_label("Command").fill(" ")
    tab.page.get_by_label("Platforms at once").fill("0")
    tab.page.get_by_role("button", name="Run on 1 platform").click()
    expect(tab.page.locator("#command-problem")).to_have_text("Is needed.")
    expect(tab.page.locator("#timeout-problem")).to_have_text("Must be a number.")
    expect(tab.page.locator("#concurrency-problem")).to_have_text("Must be from 1 to 1000.")
    expect(box(tab.page, "host-0")).to_be_checked()


@pytest.mark.parametrize("command", ["rm -rf /var/tmp/x", "echo hi; sudo reboot"])
def test_what_cannot_be_undone_is_asked_about(page: Page, hosts: Hosts, api: Api, command: str) -> None:
    before = len(api.get("/jobs/"))
    page.goto("/run")
    page.get_by_label("Command").fill(command)
    box(page, "host-0").check()
    page.get_by_role("button", name="Run on 1 platform").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("could not be undone")
    expect(dialog).to_contain_text(command)
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-run-button]")).to_be_focused()
    assert len(api.get("/jobs/")) == before
    assert page.get_by_label("Command").input_value() == command


def test_a_second_yes_runs_it(page: Page, hosts: Hosts) -> None:
    page.goto("/run")
    page.get_by_label("Command").fill("rm -rf /nothing/here; echo gone")
    box(page, "host-0").check()
    page.get_by_role("button", name="Run on 1 platform").click()
    page.locator("dialog[open]").get_by_role("button", name="Run on 1 platform").click()
    page.wait_for_url("**/jobs/**")
    expect(page.locator(".x-printed")).to_contain_text("gone")
    page.go_back()
    expect(page).to_have_url(re.compile("/run$"))
    expect(page.get_by_label("Command")).to_be_visible()


def test_watch_a_job_live_and_run_again_where_it_failed(page: Page, hosts: Hosts, flag: Path) -> None:
    first = start(
        page,
        f"for i in 1 2 3 4; do echo line $i; echo bad $i >&2; done; until [ -e {flag} ]; do sleep 0.1; done;"
        " for i in 5 6 7 8; do echo line $i; done",
        "host-0", "host-1", "silent",
    )  # fmt: skip
    row(page, "host-1").click()
    expect(page.locator(".x-printed")).to_contain_text("line 2")
    expect(page.locator("#job-status")).to_have_text("Running")
    expect(page.get_by_role("button", name="Cancel the job")).to_be_visible()
    flag.touch()
    expect(page.locator(".x-printed")).to_contain_text("line 8")
    expect(page.locator("#job-status")).to_have_text("Failed")
    expect(page.locator("[data-count=success]")).to_have_text("2")
    expect(page.locator("[data-count=failed]")).to_have_text("1")
    expect(row(page, "silent")).to_contain_text("The host refused the connection")
    expect(page.get_by_role("button", name="Cancel the job")).to_be_hidden()
    more = page.get_by_role("button", name="Other ways to run it again")
    more.click()
    expect(page.get_by_role("button", name="Run again on all")).to_be_visible()
    expect(page.get_by_text("Run again where it failed or did not start")).to_be_hidden()
    more.click()
    assert page.locator(".x-printed .x-stderr").count() > 0
    output = page.locator(".x-printed .x-text").all_text_contents()
    assert [output.count(f"line {number}") for number in range(1, 9)] == [1] * 8, "no gap, nothing twice"

    page.locator("[data-only=failed]").click()
    expect(page.get_by_role("option")).to_have_count(1)
    page.reload()
    expect(page.get_by_role("option")).to_have_count(1)
    page.locator("[data-only='']").click()
    expect(row(page, "host-1")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Run again where it failed").click()
    page.wait_for_url(lambda address: "/jobs/" in address and not address.startswith(first.split("?")[0]))
    expect(page.get_by_role("option")).to_have_count(1)
    expect(page.locator("#job-status")).to_have_text("Failed")
    expect(page.get_by_role("link", name="an earlier job")).to_be_visible()


def test_the_path_to_a_job_shows_the_readers_time(open_tab: Open, hosts: Hosts, api: Api) -> None:
    page = open_tab(timezone_id="Asia/Tokyo").page
    job = api.wait_job(api.start_job("true", targets={"platform_ids": [hosts[0]["id"]]}))
    made = dt.datetime.fromisoformat(job["created_at"]).astimezone(dt.timezone(dt.timedelta(hours=9)))
    for path in (f"/jobs/{job['id']}", f"/tasks/{api.tasks(job['id'])[0]['id']}"):
        page.goto(path)
        way = page.get_by_role("navigation", name="You are here")
        expect(way).to_contain_text(f"{made:%b %-d, %Y, %-I:%M:%S}")


def test_groups_grow_while_the_job_runs(page: Page, hosts: Hosts, api: Api, flag: Path) -> None:
    """The one that is shown is told anew, and the largest is shown until somebody chooses."""
    command = (
        f"mkdir {flag}.1 2>&- && echo first && exit; until [ -e {flag} ]; do sleep 0.1; done; echo common"
    )
    job = api.start_job(command, targets={"platform_ids": [host["id"] for host in hosts[:3]]})
    title, differs = page.locator(".x-group-title"), page.get_by_role("button", name="How it differs")
    page.goto(f"/jobs/{job}?by=output")
    expect(title).to_contain_text("(1)")
    expect(page.locator(".x-line-row")).to_have_text(["first"])
    first = title.inner_text()
    chooser = page.context.new_page()
    chooser.goto(f"/jobs/{job}?by=output")
    chooser.locator(".x-group").click()
    flag.touch()
    expect(title).to_contain_text("(2)")
    expect(page.locator(".x-line-row")).to_have_text(["common"])
    expect(page.locator(".x-group[aria-selected=true]")).to_contain_text("(2)")
    expect(differs).to_have_count(0)
    # What somebody has chosen stays, and is no longer the largest.
    expect(chooser.locator(".x-group")).to_have_count(2)
    expect(chooser.get_by_role("button", name="How it differs")).to_be_visible()
    expect(chooser.locator(".x-group-title")).to_have_text(first)
    expect(chooser.locator(".x-line-row")).to_have_text(["first"])
    chooser.close()


def test_a_list_that_does_not_come_is_asked_for_again(open_tab: Open, api: Api, hosts: Hosts) -> None:
    """What it is told instead, one after the other: nothing, that the server cannot, and at last the list."""
    tab = open_tab()
    tab.expected = ["ERR_", "503"]
    page = tab.page
    job = api.start_job("true", targets={"platform_ids": [host["id"] for host in hosts[:2]]})
    api.wait_job(job)
    answers: list[Callable[[Route], None]] = [
        lambda route: route.abort(),
        lambda route: route.fulfill(status=503),
        lambda route: route.continue_(),
    ]

    def answer(route: Route) -> None:
        answers.pop(0)(route)

    page.route(f"**/jobs/{job}/tasks", answer)
    page.clock.install()
    page.goto(f"/jobs/{job}")
    for status in (503, 200):
        expect(page.locator("#line")).to_have_text("The connection is lost; trying again ...")
        with page.expect_response(lambda answer: answer.url.endswith("/tasks")) as waiting:
            page.clock.fast_forward(AGAIN_MS)
        assert waiting.value.status == status
    expect(row(page, "host-0")).to_contain_text("Succeeded")
    expect(page.locator("#line")).to_have_text("")


def test_a_lost_task_that_gets_another_end_shows_all_of_it(
    page: Page, server: Server, api: Api, hosts: Hosts, flag: Path
) -> None:
    """While the job goes on: the list, the counts, and the output beside them."""
    done = api.start_job("echo before", targets={"platform_ids": [hosts[0]["id"]]})
    api.wait_job(done)
    job = api.start_job(
        f"until [ -e {flag} ]; do sleep 0.1; done", targets={"platform_ids": [hosts[1]["id"]]}
    )
    until(lambda: api.get(f"/jobs/{job}")["counts"]["running"])
    (task,) = api.tasks(done)
    late.move(server, task, job, ordinal=1, status="lost")
    page.goto(f"/jobs/{job}")
    row(page, hosts[0]["name"]).click()
    head = page.locator(".x-output-head")
    expect(head).to_contain_text("Lost")
    expect(page.locator(".x-printed")).to_contain_text("before")
    late.settle(server, task, job, b"after\n")
    expect(head).to_contain_text("Succeeded")
    expect(page.locator(".x-printed")).to_contain_text("after")
    expect(row(page, hosts[0]["name"])).to_contain_text("Succeeded")
    flag.touch()
    assert api.wait_job(job)["status"] == "success"


def test_a_list_that_is_refused_is_not_asked_for_again(open_tab: Open, api: Api, hosts: Hosts) -> None:
    tab = open_tab()
    tab.expected = ["404"]
    job = api.start_job("true", targets={"platform_ids": [hosts[0]["id"]]})
    tab.page.route(f"**/jobs/{job}/tasks", lambda route: route.fulfill(status=404))
    tab.page.goto(f"/jobs/{job}")
    expect(tab.page.locator("#toasts")).to_contain_text("The list of platforms could not be loaded.")


def test_a_job_whose_connection_falls_silent_goes_on(
    open_tab: Open, way: Proxy, api: Api, hosts: Hosts, flag: Path
) -> None:
    """Nobody says that the old connections are dead, those to the API among them; new ones would work."""
    tab = open_tab(url=f"http://127.0.0.1:{way.port}")
    tab.expected = ["WebSocket", "ERR_", "net::", "Timeout", "htmx:sendError"]
    page = tab.page
    job = api.start_job(
        f"i=0; until [ -e {flag} ]; do i=$((i+1)); echo number $i; sleep 0.5; done; echo over",
        targets={"platform_ids": [host["id"] for host in hosts[:2]]},
    )
    page.clock.install()
    page.goto(f"/jobs/{job}")
    expect(page.locator('.x-line-row[data-number="3"]')).to_be_visible()
    expect(page.locator("#line")).to_have_text("live")
    way.delay = 300
    page.clock.fast_forward(QUIET_MS)
    expect(page.locator("#line")).to_have_text("The connection is lost; trying again ...")
    flag.touch()
    assert api.wait_job(job)["status"] == "success"
    expect(page.locator("#job-status")).to_have_text("Running")
    way.delay = 0
    # The connection that was tried meanwhile is as dead: a new one is made when it was silent for as long.
    page.clock.fast_forward(QUIET_MS)
    expect(page.locator("#job-status")).to_have_text("Succeeded", timeout=60_000)
    # What was asked over a connection that is dead is asked again after thirty seconds.
    page.clock.fast_forward(31_000)
    expect(page.locator("#line")).to_have_text("", timeout=60_000)
    expect(row(page, hosts[1]["name"])).to_contain_text("Succeeded", timeout=60_000)
    expect(page.locator(".x-printed")).to_contain_text("over", timeout=60_000)


def test_who_is_logged_out_elsewhere_is_led_to_the_login(
    open_tab: Open, server: Server, api: Api, hosts: Hosts
) -> None:
    viewer = server.account("viewer")
    tab = open_tab(state=None)
    tab.log_in(viewer.username, viewer.password)
    tab.expected = ["WebSocket", "401", "4401"]
    job = api.start_job("echo one; sleep 60", targets={"platform_ids": [hosts[0]["id"]]})
    task = api.tasks(job)[0]["id"]
    pages = [tab.page, tab.context.new_page()]
    for page, path in zip(pages, (f"/jobs/{job}", f"/tasks/{task}"), strict=True):
        page.goto(path)
        expect(page.locator(".x-line-row").first).to_have_text("one")
    other = tab.context.new_page()
    other.goto("/")
    other.get_by_role("button", name="Account").click()
    other.get_by_role("button", name="Log out").click()
    for page, path in zip(pages, ("jobs", "tasks"), strict=True):
        page.wait_for_url(f"**/login?next=%2F{path}%2F*")
        expect(page.get_by_text("Your login has ended. Log in again.")).to_be_visible()
    api.post(f"/jobs/{job}/cancel")


def test_a_press_ends_where_it_began(page: Page, hosts: Hosts, api: Api, flag: Path) -> None:
    """People take a tenth of a second, and meanwhile what they press is drawn again."""
    job = api.start_job(
        f"until [ -e {flag} ]; do echo more; sleep 0.05; done",
        targets={"platform_ids": [host["id"] for host in hosts[:2]]},
    )
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-printed")).to_contain_text("more")
    row(page, "host-1").hover()
    page.mouse.down()
    # Longer than people take: what is pressed was drawn again several times.
    count = page.locator(".x-line-row").last
    for _ in range(3):
        said = count.get_attribute("data-number")
        expect(count).not_to_have_attribute("data-number", str(said))
    page.mouse.up()
    expect(row(page, "host-1")).to_have_attribute("aria-selected", "true")
    flag.touch()
    api.wait_job(job)


def test_cancel_a_job(page: Page, hosts: Hosts) -> None:
    start(page, "sleep 60", "host-0")
    page.get_by_role("button", name="Identical output").click()
    expect(page).to_have_url(re.compile(r"\?by=output$"))
    page.get_by_role("button", name="Cancel the job").click()
    page.locator("dialog[open]").get_by_role("button", name="Let it run").click()
    expect(page.locator("#job-status")).to_have_text("Running")
    page.get_by_role("button", name="Cancel the job").click()
    page.locator("dialog[open]").get_by_role("button", name="Cancel the job").click()
    expect(page.locator("#toasts")).to_contain_text("The job is being cancelled.")
    expect(page.locator("#job-status")).to_have_text("Cancelled")
    expect(page).to_have_url(re.compile(r"\?by=output$"))
    page.get_by_role("button", name="By platform").click()
    expect(row(page, "host-0")).to_contain_text("Cancelled")


def test_the_time_of_a_task_goes_on(page: Page, hosts: Hosts, api: Api, flag: Path) -> None:
    job = api.start_job(
        f"until [ -e {flag} ]; do sleep 0.1; done", targets={"platform_ids": [hosts[0]["id"]]}
    )
    page.clock.install()
    page.goto(f"/tasks/{api.tasks(job)[0]['id']}")
    expect(page.locator("#task-status")).to_have_text("Running")
    for _ in range(2):
        said = page.locator("#elapsed").inner_text()
        page.clock.fast_forward(2_000)
        expect(page.locator("#elapsed")).not_to_have_text(said)
    flag.touch()
    expect(page.locator("#task-status")).to_have_text("Succeeded")
    said = page.locator("#elapsed").inner_text()
    page.clock.fast_forward(2_000)
    drawn(page)
    assert page.locator("#elapsed").inner_text() == said


def facts(page: Page) -> dict[str, str]:
    """What stands above the list, by its names."""
    pairs = page.locator("#facts > div")
    return dict(tuple(pair.all_inner_texts()) for pair in (one.locator("dt, dd") for one in pairs.all()))


def test_an_end_that_is_watched_is_told_as_after_a_reload(
    open_tab: Open, hosts: Hosts, api: Api, flag: Path
) -> None:
    job = api.start_job(
        f"until [ -e {flag} ]; do sleep 0.1; done", targets={"platform_ids": [hosts[0]["id"]]}
    )
    page = open_tab(timezone_id="Asia/Tokyo").page
    page.goto(f"/jobs/{job}")
    expect(page.locator("#job-status")).to_have_text("Running")
    assert "Took" not in facts(page)
    flag.touch()
    expect(page.locator("#job-status")).to_have_text("Succeeded")
    watched = facts(page)
    assert "Takes" not in watched and watched["Took"] != "0 sec"
    ended = api.get(f"/jobs/{job}")
    took = dt.datetime.fromisoformat(ended["finished_at"]) - dt.datetime.fromisoformat(ended["started_at"])
    assert watched["Took"] == languages()["en"].duration(took.total_seconds())
    page.reload()
    expect(page.locator("#job-status")).to_have_text("Succeeded")
    assert facts(page) == watched


def test_who_cancelled_shows_in_other_tabs_too(open_tab: Open, hosts: Hosts, api: Api) -> None:
    job = api.start_job("sleep 60", targets={"platform_ids": [hosts[0]["id"]]})
    page = open_tab().page
    page.goto(f"/jobs/{job}")
    expect(page.locator("#job-status")).to_have_text("Running")
    api.post(f"/jobs/{job}/cancel")
    expect(page.locator("#job-status")).to_have_text("Cancelled")
    assert facts(page)["Cancelled by"].startswith("admin, ")
    assert "Took" in facts(page)


def test_a_connection_that_is_cut_resumes_without_gap_or_duplicate(
    open_tab: Open, way: Proxy, hosts: Hosts, api: Api, flag: Path
) -> None:
    url = f"http://127.0.0.1:{way.port}"
    # Cookies know no ports: the login of the server's own address counts for the proxy's, too.
    tab = open_tab(url=url)
    tab.expected = ["WebSocket", "ERR_", "net::"]
    job = api.start_job(
        f"i=0; until [ -e {flag} ]; do i=$((i + 1)); echo number $i; sleep 0.05; done; echo number end",
        targets={"platform_ids": [hosts[0]["id"]]},
    )
    page = tab.page
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-printed")).to_contain_text("number 3")
    # Note each state that is shown, however shortly.
    page.evaluate(
        """() => {
            window.states = [];
            const line = document.querySelector("#line");
            new MutationObserver(() => window.states.push(line.dataset.state)).observe(line, { attributes: true });
        }"""
    )
    for _ in range(2):
        page.evaluate("window.states.length = 0")
        way.cut()
        page.wait_for_function("() => window.states.includes('waiting')")
        expect(page.locator("#line")).to_have_text("live")
    flag.touch()
    expect(page.locator(".x-printed")).to_contain_text("number end")
    numbers = re.findall(r"number (\d+)", page.locator(".x-printed").text_content() or "")
    first = int(numbers[0])
    assert numbers == [str(first + place) for place in range(len(numbers))], "no gap, nothing twice"
    expect(page.locator("#job-status")).to_have_text("Succeeded")


def test_the_keyboard_alone_runs_and_watches(page: Page, hosts: Hosts) -> None:
    page.goto("/platforms")
    page.keyboard.press("r")
    page.wait_for_url("**/run")
    expect(page.get_by_label("Command")).to_be_focused()
    page.keyboard.type("echo by keyboard")
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.name") == "host-0":
            break
    page.keyboard.press("Space")
    expect(page.locator("[data-run-button]")).to_have_text("Run on 1 platform")
    page.get_by_label("Command").focus()
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    expect(page.locator(".x-printed")).to_contain_text("by keyboard")
    page.locator("#tasks").focus()
    page.keyboard.press("Home")
    expect(row(page, "host-0")).to_have_attribute("aria-selected", "true")


def test_a_job_of_many_platforms_draws_only_what_can_be_seen(
    page: Page, server: Server, api: Api, hosts: Hosts
) -> None:
    job = api.start_job("true", targets={"platform_ids": [hosts[0]["id"]]})
    api.wait_job(job)
    task = api.tasks(job)[0]
    stored = job if server.servers else job.replace("-", "")
    rows = [
        {
            "id": f"{number:032x}",
            "job": stored,
            "ordinal": number,
            "name": f"fleet-{number:05}",
            "of": task["id"].replace("-", ""),
        }
        for number in range(1, 5_000)
    ]
    server.execute(
        "INSERT INTO task_runs (id, job_id, ordinal, type, platform_id, platform_name, platform_address, zone, status,"
        " output_frames, output_bytes, metadata, fence, created_at) SELECT :id, :job, :ordinal, type, platform_id, :name,"
        " platform_address, zone, 'success', 0, 0, metadata, 0, created_at FROM task_runs WHERE id = :of",
        *rows,
    )
    page.goto(f"/jobs/{job}")
    expect(page.locator("[data-count=total]")).to_have_text("5,000")
    expect(page.get_by_role("option").first).to_be_visible()
    assert page.get_by_role("option").count() < 60
    page.locator("#tasks").focus()
    page.keyboard.press("End")
    expect(row(page, "fleet-04999")).to_be_visible()
    page.get_by_role("searchbox", name="Find a platform").fill("fleet-02500")
    expect(page.get_by_role("option")).to_have_count(1)


def copy_tasks(server: Server, api: Api, job: str, rows: list[tuple[str, str]]) -> None:
    """Give a job more tasks like its only one, each of another platform's name and with a status of its own."""
    stored = uuid.UUID(api.tasks(job)[0]["id"])
    server.execute(
        "INSERT INTO task_runs (id, job_id, ordinal, type, platform_id, platform_name, platform_address, zone, status,"
        " error_code, started_at, finished_at, output_frames, output_bytes, metadata, fence, created_at)"
        " SELECT :id, job_id, :ordinal, type, platform_id, :name, platform_address, zone, :status,"
        " CASE WHEN :status = 'failed' THEN error_code END, started_at, finished_at, 0, 0, metadata, 0, created_at"
        " FROM task_runs WHERE id = :of",
        *(
            {"id": uuid.uuid4().hex, "ordinal": ordinal, "name": name, "status": status, "of": stored.hex}
            for ordinal, (name, status) in enumerate(rows, 1)
        ),
    )


@pytest.fixture(scope="module")
def long_names(server: Server, api: Api, hosts: Hosts) -> str:
    """A job on platforms with names as they are in use: one was not reached, one succeeded, and so on."""
    job = api.start_job("true", targets={"platform_ids": [hosts[3]["id"]]})
    api.wait_job(job)
    statuses = ["failed", "success", "cancelled", "failed"]
    copy_tasks(
        server,
        api,
        job,
        [(f"web-frontend-{14 + n}.prod.example.org", status) for n, status in enumerate(statuses)],
    )
    return job


@pytest.mark.embedded
@pytest.mark.parametrize("language", ["en", "ru"])
def test_names_can_be_read_in_the_list(open_tab: Open, long_names: str, language: str) -> None:
    page = open_tab().choose(language=language).page
    failed = row(page, "web-frontend-17")
    for width in (1200, 1280, 1440, 1920, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"/jobs/{long_names}")
        expect(failed).to_be_visible()
        names = page.locator(".x-row-name").filter(has_text="web-frontend")
        for shown, whole in names.evaluate_all("all => all.map(one => [one.clientWidth, one.scrollWidth])"):
            # On the phone an end of it may be missing, but not what tells it from the others.
            assert shown >= (whole if width > 360 else 200), f"{shown} of {whole} px at {width}"
        starts = page.locator(".x-row-name").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().x)"
        )
        assert len(set(starts)) == 1, "names stand below each other"
        reason = failed.locator(".x-row-reason")
        # It is read at least by its beginning, or it is not there: it wraps out of its line.
        in_line = reason.evaluate(
            "one => one.offsetTop - one.parentElement.offsetTop < one.parentElement.clientHeight"
        )
        assert in_line or width < 1920
        assert not in_line or reason.evaluate("one => one.clientWidth") >= 120
        text = failed.locator(".x-row-text")
        assert (reason.text_content() or "nothing") in (text.get_attribute("title") or "")
        expect(row(page, "web-frontend-15").locator(".x-row-reason")).to_have_count(0)
        # The word is there for all, if need be only for who does not see it.
        expect(failed.locator(".x-state")).to_have_text("Failed" if language == "en" else "Ошибка")
    assert violations(page) == []


@pytest.mark.embedded
def test_all_names_of_a_block_can_be_read(open_tab: Open, server: Server, api: Api, hosts: Hosts) -> None:
    job = api.start_job("true", targets={"platform_ids": [hosts[3]["id"]]})
    api.wait_job(job)
    copy_tasks(server, api, job, [(f"node-{number * number:05}", "failed") for number in range(1, 120)])
    for viewport in (DESKTOP, PHONE):
        page = open_tab(viewport=viewport).page
        page.goto(f"/jobs/{job}?by=output")
        heading = page.locator(".x-group-title")
        expect(heading).to_contain_text("(120)")
        width, whole = heading.evaluate("one => [one.clientWidth, one.scrollWidth]")
        assert whole == width, "nothing is cut at the side"
        assert violations(page) == []
        # What has no room is reached by the keyboard.
        heading.focus()
        page.keyboard.press("End")
        page.wait_for_function(
            "(one) => one.scrollTop > 0 && one.scrollTop + one.clientHeight >= one.scrollHeight - 1",
            arg=heading.element_handle(),
        )
        assert heading.evaluate(
            "one => getSelection().selectAllChildren(one) ?? String(getSelection())"
        ).startswith("node-[00001,00004,")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.embedded
@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_date_stays_in_one_line(open_tab: Open, long_names: str, language: str) -> None:
    page = open_tab().choose(language=language).page
    page.goto(f"/jobs/{long_names}")
    for width in (1280, 1920, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.locator("#facts time").evaluate("time => time.getClientRects().length") == 1
        tops = page.locator("#facts > div").evaluate_all("all => all.map(one => one.offsetTop)")
        assert width == 360 or len(set(tops)) == 1, "all facts have room beside each other"
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_ways_to_run_again(open_tab: Open, api: Api, hosts: Hosts) -> None:
    fine = api.start_job("true", targets={"platform_ids": [hosts[0]["id"]]})
    api.wait_job(fine)
    cancelled = api.start_job("sleep 60", targets={"platform_ids": [hosts[0]["id"]]})
    api.post(f"/jobs/{cancelled}/cancel")
    api.wait_job(cancelled)
    both = api.start_job("sleep 60", targets={"platform_ids": [hosts[0]["id"], hosts[3]["id"]]})
    until(lambda: api.get(f"/jobs/{both}")["counts"]["failed"])
    api.post(f"/jobs/{both}/cancel")
    api.wait_job(both)
    # A cancel that comes before the command has proven its beginning is known only after a look: until then the same is
    # not run again.
    until(lambda: not api.get(f"/jobs/{cancelled}")["may_still_run"], 60)
    failed, unfinished, everything = (
        "Run again where it failed",
        "Run again where it failed or did not start",
        "Run again on all",
    )
    for viewport, language in ((DESKTOP, "en"), (PHONE, "en"), (PHONE, "ru")):
        tab = open_tab(viewport=viewport)
        tab.choose(language=language)
        page = tab.page
        for job, ways in (
            (fine, [everything]),
            (cancelled, [everything, unfinished]),
            (both, [failed, unfinished, everything]),
        ):
            page.goto(f"/jobs/{job}")
            shown = page.locator("#rerun button[name=only]:visible")
            expect(shown).to_have_count(1)
            more = page.locator("#rerun [data-bs-toggle]")
            expect(more).to_be_visible(visible=len(ways) > 1)
            if len(ways) > 1:
                more.click()
                expect(shown).to_have_count(len(ways))
            if language == "en":
                assert [text.strip() for text in shown.all_inner_texts()] == ways
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert violations(page) == []
    page = open_tab().page
    page.goto(f"/jobs/{cancelled}")
    page.get_by_role("button", name="Other ways to run it again").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name=unfinished)).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda address: "/jobs/" in address and cancelled not in address)
    expect(page.get_by_role("option")).to_have_count(1)
    api.post(f"/jobs/{page.url.rsplit('/', 1)[1].split('?')[0]}/cancel")


@pytest.mark.timeout(300)
def test_a_job_on_two_hundred_platforms_is_watched_live(browser: Browser, real_sshd: RealSshd) -> None:
    # A server of its own: with it its two hundred connections end, for which sshd would have to be searched.
    with Server() as server:
        api = server.client()
        for number in range(200):
            api.add_platform(f"wide-{number:03}", real_sshd, tags=["wide"])
        tab = Tab(browser, server.url).log_in()
        page = tab.page
        page.goto("/run?everything=1&tag=wide")
        page.get_by_label("Command").fill("echo from $$")
        page.get_by_role("button", name="Run on 200 platforms").click()
        page.wait_for_url("**/jobs/**")
        expect(page.locator("[data-count=success]")).to_have_text("200", timeout=120_000)
        expect(page.locator("#job-status")).to_have_text("Succeeded")
        expect(page.locator("[data-count=pending]")).to_have_text("0")
        page.get_by_role("searchbox", name="Find a platform").fill("wide-199")
        row(page, "wide-199").click()
        expect(page.locator(".x-printed")).to_contain_text("from ")
        tab.close()


def test_two_people_watch_the_same(open_tab: Open, hosts: Hosts, api: Api) -> None:
    job = api.start_job("sleep 0.5; echo same", targets={"platform_ids": [hosts[0]["id"]]})
    pages = [open_tab().page for _ in range(2)]
    for page in pages:
        page.goto(f"/jobs/{job}")
    for page in pages:
        expect(page.locator(".x-printed")).to_contain_text("same")
        expect(page.locator("#job-status")).to_have_text("Succeeded")


def meter(page: Page) -> Any:
    """The bar of the time against the usual."""
    return page.get_by_role("meter", name="Elapsed against usual")


def begun_earlier(server: Server, api: Api, job: str, seconds: float) -> None:
    """Let it have begun so many seconds before it did, as a job of an older release, whose moments say how long it took."""
    began = dt.datetime.fromisoformat(api.get(f"/jobs/{job}")["started_at"]) - dt.timedelta(seconds=seconds)
    server.execute(
        "UPDATE jobs SET started_at = :began, began_steady_at = NULL, duration_seconds = NULL WHERE id = :id",
        {"began": f"{began.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S.%f}", "id": uuid.UUID(job).hex},
    )


@pytest.mark.embedded
def test_the_time_stands_against_the_usual(
    page: Page, server: Server, hosts: Hosts, api: Api, flag: Path
) -> None:
    target = {"targets": {"platform_ids": [hosts[0]["id"]]}}
    command = f"until [ -e {flag} ]; do sleep 0.1; done"
    flag.touch()
    first = api.start_job(command, **target)
    api.wait_job(first)
    # Far longer than the second takes to be opened.
    begun_earlier(server, api, first, 60)
    page.clock.install()
    page.goto(f"/jobs/{first}")
    expect(row(page, "host-0")).to_be_visible()
    expect(meter(page)).to_have_count(0)

    flag.unlink()
    job = api.start_job(command, **target)
    page.goto(f"/jobs/{job}")
    expect(page.locator("#usual")).to_have_attribute("data-late", "false")
    expect(meter(page)).to_have_attribute("aria-valuetext", re.compile("sec of the usual"))
    # A jump would end its question for the list, which lasts 30 s at most.
    expect(page.locator("#line")).to_have_text("live")
    page.clock.fast_forward(80_000)
    begun_earlier(server, api, job, 80)
    expect(page.locator("#usual")).to_have_attribute("data-late", "true")
    expect(page.locator("#usual")).to_contain_text("longer than usual")
    expect(meter(page)).to_have_attribute("aria-valuenow", "100")
    said = page.locator("#usual").inner_text()
    page.clock.fast_forward(2_000)
    expect(page.locator("#usual")).not_to_have_text(said)
    assert violations(page) == []
    flag.touch()
    expect(page.locator("#job-status")).to_have_text("Succeeded")
    said = page.locator("#usual").inner_text()
    page.clock.fast_forward(2_000)
    drawn(page)
    assert page.locator("#usual").inner_text() == said, "it stands still when the job is over"
    page.reload()
    expect(page.locator("#usual")).to_contain_text("longer than usual")
    expect(meter(page)).to_have_attribute("aria-valuetext", re.compile("longer than usual"))


def test_a_little_over_the_usual_is_usual() -> None:
    assert [_late(*times) for times in ((5, None), (5, 10), (10.9, 10), (1.4, 0.5), (109, 100))] == [0] * 5
    assert (_late(12, 10), _late(2, 0.5), _late(120, 100)) == (2, 1.5, 20)


def test_a_clock_that_is_wrong_does_not_matter(open_tab: Open, hosts: Hosts, api: Api, flag: Path) -> None:
    """What has passed is the server's to say; the page only goes on from there."""
    tab = open_tab()
    job = api.start_job(
        f"until [ -e {flag} ]; do sleep 0.1; done", targets={"platform_ids": [hosts[1]["id"]]}
    )
    tab.context.add_init_script("const now = Date.now; Date.now = () => now() + 86400000")
    tab.page.goto(f"/jobs/{job}")
    expect(tab.page.locator("#elapsed")).to_have_text(re.compile(r"^([2-9](\.\d)?|[1-9]\d) sec"))
    flag.touch()
    api.wait_job(job)
