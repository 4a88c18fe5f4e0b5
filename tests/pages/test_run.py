"""The form that runs a command: it runs once, within limits, on what is chosen; and doing a job again."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.ssh.test_terminate import commands
from tests.support.browser import PHONE, told
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until
from testum.db.base import new_id
from testum.web.pages.run import _MOST_CHIPS

Hosts = list[dict[str, Any]]


def jobs_of(api: Api, command: str) -> list[Any]:
    """The jobs that ran exactly this command."""
    return [job for job in api.get("/jobs/", q=command) if job["command"] == command]


def open_form(page: Page, host: Any, command: str) -> None:
    page.goto(f"/run?platform={host['id']}")
    page.get_by_label("Command").fill(command)


class Late:
    """A page whose forms arrive at once, and whose answers come when the test says so."""

    _NOTE = """for (const kind of ["keydown", "keyup"]) addEventListener(kind, (event) => {
        if (event.key === "Enter") setTimeout(() => setTimeout(() => fetch("/done").catch(() => 0)));
    })"""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sent: list[str] = []
        self._answers: list[tuple[Route, APIResponse]] = []
        # Who waits for an answer can be asked nothing: the page itself tells what it has done.
        self._done = self._moves = 0
        page.add_init_script(self._NOTE)
        page.route("**/*", self._hold)

    def _hold(self, route: Route) -> None:
        if route.request.url.endswith("/done"):
            self._done += 1
            route.fulfill(status=204)
        elif route.request.method == "POST":
            self.sent.append(route.request.url)
            self._answers.append((route, route.fetch(max_redirects=0)))
        else:
            route.continue_()

    def move(self, move: Callable[[str], None], key: str, moves: int = 1) -> None:
        """Press a key, or hold it, and wait until the page has done what it does then."""
        self._moves += moves
        move(key)
        told(self.page, lambda: self._done >= self._moves)

    def press(self, key: str) -> None:
        """Press Enter, or Enter with another key."""
        self.move(self.page.keyboard.press, key, 2)

    def answer(self) -> None:
        """Let the page have its answers."""
        told(self.page, lambda: self._answers)
        while self._answers:
            route, answer = self._answers.pop(0)
            route.fulfill(response=answer)


@pytest.fixture
def slow(page: Page) -> Iterator[Late]:
    yield Late(page)
    page.unroute_all(behavior="wait")


def twice(slow: Late, key: str) -> None:
    """Press it twice before the answer comes."""
    slow.press(key)
    slow.press(key)
    slow.answer()


# -- one submission, one job ---------------------------------------------------------------------------


def twice_control_enter(slow: Late) -> None:
    slow.page.get_by_label("Command").focus()
    twice(slow, "Control+Enter")


def held_control_enter(slow: Late) -> None:
    keyboard = slow.page.keyboard
    slow.page.get_by_label("Command").focus()
    keyboard.down("Control")
    for _ in range(10):
        slow.move(keyboard.down, "Enter")
    keyboard.up("Enter")
    keyboard.up("Control")
    slow.answer()


def twice_enter(slow: Late) -> None:
    slow.page.locator("[data-run-button]").focus()
    twice(slow, "Enter")


@pytest.mark.parametrize("press", [twice_control_enter, held_control_enter, twice_enter])
def test_a_command_runs_once_however_it_is_sent(
    slow: Late, hosts: Hosts, api: Api, press: Callable[[Late], None]
) -> None:
    command = f"true {unique('once')}"
    open_form(slow.page, hosts[0], command)
    press(slow)
    slow.page.wait_for_url("**/jobs/**")
    assert len(slow.sent) == 1, "the browser does not send it again"
    assert len(jobs_of(api, command)) == 1


def test_the_red_button_runs_once(slow: Late, hosts: Hosts, api: Api) -> None:
    command = f"rm -f /nothing/{unique('once')}"
    open_form(slow.page, hosts[0], command)
    slow.press("Control+Enter")
    # At first it is only asked about.
    slow.answer()
    dialog = slow.page.locator("dialog[open]")
    dialog.get_by_role("button", name="Run on 1 platform").focus()
    twice(slow, "Enter")
    slow.page.wait_for_url("**/jobs/**")
    assert len(jobs_of(api, command)) == 1


def test_running_again_and_retry_run_once(slow: Late, hosts: Hosts, api: Api) -> None:
    command = f"false {unique('once')}"
    job = api.start_job(command, targets={"platform_ids": [hosts[0]["id"]]})
    api.wait_job(job)
    slow.page.goto(f"/jobs/{job}")
    slow.page.get_by_role("button", name="Run again where it failed").focus()
    twice(slow, "Enter")
    slow.page.wait_for_url(lambda address: not address.endswith(job))
    (second,) = (each["id"] for each in jobs_of(api, command) if each["id"] != job)
    api.wait_job(second)
    slow.page.goto("/")
    slow.page.get_by_role("button", name=f"Retry: {command}").first.focus()
    twice(slow, "Enter")
    slow.page.wait_for_url("**/jobs/**")
    assert len(jobs_of(api, command)) == 3


def test_a_platform_is_saved_once(slow: Late, real_sshd: RealSshd) -> None:
    slow.page.goto("/platforms/new")
    name = unique("once")
    for field, value in (("name", name), ("host", "127.0.0.1"), ("username", "web"), ("password", "x")):
        slow.page.locator(f"#{field}").fill(value)
    twice(slow, "Enter")
    expect(slow.page.locator("#toasts")).to_contain_text(f"{name} was added.")


def lose_answers(page: Page) -> list[str]:
    """From now on the form arrives, and its answer does not: the page stays. Where the answers would have led."""
    answers: list[str] = []

    def unheard(route: Route) -> None:
        answers.append(route.fetch(max_redirects=0).headers["location"])
        route.fulfill(status=204)

    page.route("**/run", unheard)
    return answers


def arrived(page: Page, answers: list[str], number: int) -> None:
    """Wait until so many forms were answered: a button that is busy may not have sent its own yet."""
    told(page, lambda: len(answers) >= number)


def test_after_the_browsers_stop_the_same_is_the_same_job(page: Page, hosts: Hosts, api: Api) -> None:
    command = f"true {unique('stop')}"
    answers = lose_answers(page)
    open_form(page, hosts[0], command)
    button = page.locator("[data-run-button]")
    for _ in range(2):
        page.keyboard.press("Control+Enter")
        expect(button).to_have_attribute("aria-busy", "true")
    page.keyboard.press("Escape")
    expect(button).not_to_have_attribute("aria-busy", "true")
    page.keyboard.press("Control+Enter")
    expect(button).to_have_attribute("aria-busy", "true")
    page.keyboard.press("Escape")
    arrived(page, answers, 2)
    page.unroute_all(behavior="wait")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    assert answers == [f"/jobs/{page.url.rpartition('/')[2]}"] * 2
    assert len(jobs_of(api, command)) == 1


def test_after_the_browsers_stop_something_else_is_another_job(page: Page, hosts: Hosts, api: Api) -> None:
    command = f"true {unique('stop')}"
    answers = lose_answers(page)
    open_form(page, hosts[0], command)
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-run-button]")).to_have_attribute("aria-busy", "true")
    arrived(page, answers, 1)
    page.unroute_all(behavior="wait")
    page.keyboard.press("Escape")
    page.get_by_label("Command").fill(f"{command} else")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    assert (len(jobs_of(api, command)), len(jobs_of(api, f"{command} else"))) == (1, 1)


def test_a_page_from_the_browsers_history_starts_another_job(page: Page, hosts: Hosts, api: Api) -> None:
    command = f"true {unique('back')}"
    answers = lose_answers(page)
    open_form(page, hosts[0], command)
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-run-button]")).to_have_attribute("aria-busy", "true")
    arrived(page, answers, 1)
    page.unroute_all(behavior="wait")
    # What browsers say of a page that they kept; this one keeps none while it is driven.
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    assert len(jobs_of(api, command)) == 2


def test_running_again_on_purpose_runs_again(page: Page, hosts: Hosts, api: Api) -> None:
    command = f"true {unique('anew')}"
    open_form(page, hosts[0], command)
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/jobs/**")
    first = page.url
    page.go_back()
    expect(page.locator("[data-run-button]")).to_be_visible()
    page.get_by_label("Command").fill(command)
    page.get_by_label("Command").press("Control+Enter")
    page.wait_for_url(lambda address: "/jobs/" in address and address != first)
    assert len(jobs_of(api, command)) == 2


# -- the same without a browser --------------------------------------------------------------------------


def client(server: Server, account: Api) -> httpx2.Client:
    """What a browser sends, for one account."""
    made = httpx2.Client(base_url=server.url, headers={"Origin": server.url}, timeout=60)
    made.headers["Authorization"] = account.http.headers["Authorization"]
    return made


def test_the_id_of_a_form_is_of_one_job(server: Server, api: Api, hosts: Hosts) -> None:
    command = f"true {unique('id')}"
    form = {"command": command, "platform": hosts[0]["id"], "new": str(new_id())}
    with client(server, api) as http, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post("/run", data=form), range(8)))
        assert {(answer.status_code, answer.headers["location"]) for answer in answers} == {
            (303, f"/jobs/{form['new']}")
        }
        assert http.post("/run", data=form).headers["location"] == f"/jobs/{form['new']}"
        (job,) = jobs_of(api, command)
        assert (job["id"], job["task_count"]) == (form["new"], 1)
        assert api.wait_job(job["id"])["counts"]["success"] == 1

        again = {"only": "all", "new": str(new_id())}
        answers = list(pool.map(lambda _: http.post(f"/jobs/{job['id']}/rerun", data=again), range(8)))
        assert {answer.headers["location"] for answer in answers} == {f"/jobs/{again['new']}"}
    assert len(jobs_of(api, command)) == 2


def test_the_id_of_anothers_job_and_no_id_at_all_are_refused(server: Server, api: Api, hosts: Hosts) -> None:
    command = f"true {unique('id')}"
    of_admin = api.start_job(command, targets={"platform_ids": [hosts[0]["id"]]})
    before = api.wait_job(of_admin)
    far = new_id().int + (7_200_000 << 80)
    with client(server, server.account("operator")) as http:
        form = {"command": f"echo {command}", "platform": hosts[0]["id"]}
        for new, status, said in (
            (of_admin, 409, "Somebody else has started the job of this form."),
            ("x", 422, "What this form names can be no new job."),
            ("00000000-0000-4000-8000-000000000000", 422, "What this form names can be no new job."),
            (f"{far:032x}", 422, "What this form names can be no new job."),
        ):
            for path, body in (("/run", form), (f"/jobs/{of_admin}/rerun", {"only": "all"})):
                answer = http.post(path, data={**body, "new": new})
                assert (answer.status_code, said in answer.text) == (status, True), (path, new)
                if path == "/run":
                    assert form["command"] in answer.text, "nothing that was typed is lost"
                    assert new not in re.findall(r'name="new" value="([^"]*)"', answer.text)
    assert api.get(f"/jobs/{of_admin}") == before
    assert len(api.get("/jobs/", q=command)) == 1


# -- limits ----------------------------------------------------------------------------------------------


NONSENSE = {
    "concurrency": {
        "-3": "Must be from 1 to 1000.",
        "0": "Must be from 1 to 1000.",
        "99999": "Must be from 1 to 1000.",
        "1_0": "Must be a number.",
        "2.5": "Must be a whole number.",
        "1,000": "Must be a number.",
    },
    "timeout": {
        "0": "Must be more than 0 and at most 604800 seconds.",
        "-1": "Must be more than 0 and at most 604800 seconds.",
        "1000000000": "Must be more than 0 and at most 604800 seconds.",
        "1e9": "Must be a number.",
        "nan": "Must be a number.",
        "\u0661\u0662": "Must be a number.",
    },
}


@pytest.mark.parametrize("field", NONSENSE)
def test_nonsense_limits_are_said_at_their_field(open_tab: Open, hosts: Hosts, api: Api, field: str) -> None:
    tab = open_tab()
    tab.expected = ["422"]
    command = f"true {unique('limit')}"
    open_form(tab.page, hosts[0], command)
    for typed, said in NONSENSE[field].items():
        tab.page.locator(f"#{field}").fill(typed)
        tab.page.get_by_label("Command").focus()
        with tab.page.expect_response(lambda answer: answer.request.method == "POST"):
            tab.page.locator("[data-run-button]").click()
        expect(tab.page.locator(f"#{field}-problem")).to_have_text(said)
        expect(tab.page.locator(f"#{field}")).to_be_focused()
        assert tab.page.locator(f"#{field}").input_value() == typed
        assert tab.page.get_by_label("Command").input_value() == command
    assert jobs_of(api, command) == []


def test_limits_as_people_write_them_count(page: Page, hosts: Hosts, api: Api) -> None:
    command = f"true {unique('limit')}"
    open_form(page, hosts[0], command)
    page.locator("#timeout").fill(" 7,5 ")
    page.locator("#concurrency").fill("10")
    page.locator("[data-run-button]").click()
    page.wait_for_url("**/jobs/**")
    (job,) = jobs_of(api, command)
    assert (job["timeout"], job["concurrency"]) == (7.5, 10)


def test_chips_are_taken_away_by_keyboard(page: Page, hosts: Hosts) -> None:
    """One after the other, and the focus is never lost."""
    page.goto("/run?" + "&".join(f"platform={host['id']}" for host in hosts[:3]))
    chips = page.locator("#chips [data-unchoose]")
    chips.nth(1).focus()
    for left in (2, 1):
        page.keyboard.press("Enter")
        expect(chips).to_have_count(left)
        expect(chips.nth(left - 1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(chips).to_have_count(0)
    expect(page.get_by_label("Name, host or description")).to_be_focused()


# -- the second question ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def destructive(api: Api, hosts: Hosts) -> Any:
    """An ended job that looks destructive: on one platform it failed, on one it did not."""
    command = f"for each in /nothing/{unique('again')}; do rm -rf $each; done; true"
    job = api.start_job(command, targets={"platform_ids": [hosts[0]["id"], hosts[3]["id"]]})
    return api.wait_job(job)


def run_again(page: Page, button: str) -> None:
    """Press one of the ways to run the job again, wherever it is: what is not wanted most is in the menu."""
    wanted = page.get_by_role("button", name=button, exact=True)
    if not wanted.is_visible():
        page.get_by_role("button", name="Other ways to run it again").click()
    wanted.click()


def test_the_question_leaves_the_form_as_it_was(page: Page, api: Api, hosts: Hosts) -> None:
    command = f"rm /nothing/{unique('asked')}"
    open_form(page, hosts[0], command)
    filtered = page.locator("#pick-filter")
    filtered.get_by_label("Tag").select_option("pages")
    filtered.get_by_label("Name, host or description").fill("host-")
    expect(page.locator("#pick")).to_contain_text("3 platforms")
    page.locator("[data-run-button]").click()
    expect(page.get_by_role("dialog", name="Really run this?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Command")).to_have_value(command)
    expect(filtered.get_by_label("Tag")).to_have_value("pages")
    expect(filtered.get_by_label("Name, host or description")).to_have_value("host-")
    expect(page.locator("#pick")).to_contain_text("3 platforms")
    expect(page.locator("#chips .x-name")).to_have_text([hosts[0]["name"]])
    assert jobs_of(api, command) == []


@pytest.mark.parametrize(
    ("button", "number"), [("Run again where it failed", "1 platform"), ("Run again on all", "2 platforms")]
)
def test_every_way_to_run_it_again_asks(
    page: Page, api: Api, destructive: Any, button: str, number: str
) -> None:
    before = len(jobs_of(api, destructive["command"]))
    page.goto(f"/jobs/{destructive['id']}")
    run_again(page, button)
    expect(page.get_by_role("heading", level=1)).to_have_text("Really run this again?")
    expect(page.locator(".x-note-warn")).to_contain_text(
        f"could not be undone (rm), and it will run on {number}."
    )
    expect(page.locator("main")).to_contain_text(destructive["command"])
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    assert violations(page) == []
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url(f"**/jobs/{destructive['id']}")
    assert len(jobs_of(api, destructive["command"])) == before
    run_again(page, button)
    page.get_by_role("button", name=f"Run on {number}").click()
    page.wait_for_url(lambda address: "/jobs/" in address and destructive["id"] not in address)
    expect(page.get_by_role("link", name="an earlier job")).to_be_visible()
    assert len(jobs_of(api, destructive["command"])) == before + 1


def test_what_did_not_start_is_asked_about(page: Page, api: Api, hosts: Hosts) -> None:
    job = api.start_job(
        f"sleep 60; rm -rf /nothing/{unique('again')}", targets={"platform_ids": [hosts[0]["id"]]}
    )
    api.post(f"/jobs/{job}/cancel")
    api.wait_job(job)
    page.goto(f"/jobs/{job}")
    run_again(page, "Run again where it failed or did not start")
    expect(page.locator(".x-note-warn")).to_contain_text("it will run on 1 platform.")


def test_the_dashboard_asks_as_well(page: Page, api: Api, hosts: Hosts) -> None:
    command = f"rm -rf /nothing/{unique('dash')}"
    job = api.start_job(command, targets={"platform_ids": [hosts[3]["id"]]})
    api.wait_job(job)
    page.goto("/")
    page.get_by_role("button", name=f"Retry: {command}").click()
    expect(page.locator(".x-note-warn")).to_contain_text("it will run on 1 platform.")
    assert len(jobs_of(api, command)) == 1


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_question_in_russian_on_a_phone(open_tab: Open, destructive: Any, theme: str) -> None:
    tab = open_tab(viewport=PHONE)
    kept = {"language": "ru", "theme": theme}
    tab.choose(**kept)
    tab.page.goto(f"/jobs/{destructive['id']}/rerun?only=failed")
    expect(tab.page.locator(".x-note-warn")).to_contain_text("1 платформе")
    assert violations(tab.page) == []
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


# -- change and run -----------------------------------------------------------------------------------------


def test_change_and_run_takes_everything_along(
    open_tab: Open, api: Api, hosts: Hosts, real_sshd: RealSshd
) -> None:
    gone = api.add_platform(unique("gone"), real_sshd)
    command = f"true {unique('long')} # " + "x" * 120_000 + "é\n\ttrue the end"
    job = api.start_job(
        command,
        targets={"platform_ids": [hosts[0]["id"], gone["id"], hosts[1]["id"]]},
        timeout=90.5,
        concurrency=2,
        idle_timeout=30,
        environment={"TOKEN": "geheim"},
    )
    api.wait_job(job)
    api.ok(api.http.delete(f"/platforms/{gone['id']}"))
    page = open_tab().page
    page.goto(f"/jobs/{job}")
    page.get_by_role("link", name="Change and run").click()
    page.wait_for_url(f"**/run?job={job}")
    assert page.get_by_label("Command").input_value() == command
    assert [page.locator(f"#{name}").input_value() for name in ("timeout", "concurrency")] == ["90.5", "2"]
    expect(page.locator("[data-run-button]")).to_have_text("Run on 2 platforms")
    expect(page.locator("#platform-problem")).to_have_text(
        "1 of the platforms was deleted meanwhile and is no longer chosen."
    )
    expect(page.locator("#run")).to_contain_text("environment variables (TOKEN)")
    expect(page.locator("#run")).to_contain_text("nothing was printed for 30 sec")
    assert "geheim" not in page.content()
    assert violations(page) == []
    page.locator("[data-run-button]").click()
    page.wait_for_url("**/jobs/**")
    again = api.get(f"/jobs/{page.url.rpartition('/')[2]}")
    assert again["command"] == command
    assert (again["task_count"], again["timeout"], again["concurrency"]) == (2, 90.5, 2)


def test_a_job_that_there_is_not_fills_no_form(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["404", "422"]
    for named, status in ((str(new_id()), 404), ("x", 422)):
        answer = tab.page.goto(f"/run?job={named}")
        assert answer is not None and answer.status == status


# -- what is chosen ------------------------------------------------------------------------------------------


def test_what_was_deleted_meanwhile_is_said_and_the_rest_is_kept(
    open_tab: Open, api: Api, hosts: Hosts, real_sshd: RealSshd
) -> None:
    gone = [api.add_platform(unique("gone"), real_sshd) for _ in range(2)]
    tab = open_tab()
    tab.expected = ["422"]
    page = tab.page
    page.goto("/run?" + "&".join(f"platform={each['id']}" for each in [*gone, hosts[0]]))
    page.get_by_label("Command").fill("echo kept")
    page.locator("#timeout").fill("33")
    for each in gone:
        api.ok(api.http.delete(f"/platforms/{each['id']}"))
    page.locator("[data-run-button]").click()
    expect(page.locator("#platform-problem")).to_have_text(
        "2 of the platforms were deleted meanwhile and are no longer chosen."
    )
    expect(page.locator("#chips .x-chip")).to_have_count(1)
    assert page.get_by_label("Command").input_value() == "echo kept"
    assert page.locator("#timeout").input_value() == "33"
    page.locator("[data-run-button]").click()
    page.wait_for_url("**/jobs/**")
    expect(page.locator("[data-count=total]")).to_have_text("1")


def test_very_many_that_are_chosen_are_chosen_in_the_list(
    open_tab: Open, server: Server, api: Api, real_sshd: RealSshd
) -> None:
    tag = unique("many")
    number = _MOST_CHIPS + 3
    names = [f"{tag}-{place:04}" for place in range(number)]
    model = api.add_platform(names[0], real_sshd)
    key = "id" if server.servers else "replace(id, '-', '')"
    (row,) = server.execute(
        f"SELECT * FROM platforms WHERE {key} = :id",
        {"id": model["id"] if server.servers else model["id"].replace("-", "")},
    )
    columns = row._mapping.keys()
    rows = [
        {**row._mapping, "id": str(new_id()) if server.servers else new_id().hex, "name": name}
        for name in names[1:]
    ]
    places = ", ".join(f":{column}" for column in columns)
    server.execute(f"INSERT INTO platforms ({', '.join(columns)}) VALUES ({places})", *rows)
    page = open_tab().page
    page.goto(f"/run?everything=1&q={tag}")
    boxes = page.get_by_role("checkbox")
    button = page.locator("[data-run-button]")
    expect(button).to_have_text(f"Run on {number} platforms")
    expect(boxes).to_have_count(100)
    assert all(each.is_checked() for each in boxes.all()[:5])
    boxes.nth(1).uncheck()
    expect(button).to_have_text(f"Run on {number - 1} platforms")
    expect(page.locator("#chips [data-chosen-many]")).to_contain_text(f"{number - 1} platforms")
    # The list is fetched anew, and shows the same.
    page.get_by_role("searchbox", name="Name, host or description").last.fill(names[1])
    expect(boxes).to_have_count(1)
    expect(boxes).not_to_be_checked()
    boxes.check()
    expect(button).to_have_text(f"Run on {number} platforms")
    boxes.uncheck()
    page.get_by_label("Command").fill("true")
    # Nothing is to run: the form says what it would send.
    sent = page.evaluate(
        "[...new FormData(document.getElementById('run')).getAll('platforms')].join(' ').split(' ')"
    )
    ids = {each["name"]: each["id"].replace("-", "") for each in api.all("/platforms/", q=tag)}
    assert sorted(sent) == sorted(ids[name] for name in names if name != names[1])


def test_what_may_still_be_at_work_is_asked_about_and_ended(page: Page, api: Api) -> None:
    """The job's page says so and follows; running again and the dashboard's Retry ask first."""
    host = RealSshd()
    try:
        platform = api.add_platform(unique("left"), host)
        command = f"echo {unique('left')}; sleep 3979"
        job_id = api.start_job(command, targets={"platform_ids": [platform["id"]]})
        (task,) = api.tasks(job_id)
        until(lambda: api.output(task["id"]))
        host.stop()
        api.wait_job(job_id)
        page.goto(f"/jobs/{job_id}")
        note = page.locator("#left")
        expect(note).to_contain_text("Of 1 task that is over, something may still be at work")
        page.get_by_role("button", name="Run again where it failed").click()
        expect(page.get_by_text("It may still be at work from before on 1 platform")).to_be_visible()
        expect(page.get_by_role("link", name=platform["name"])).to_be_visible()
        assert not violations(page)
        page.get_by_role("button", name="Run on 1 platform").click()
        page.wait_for_url(lambda url: "/jobs/" in url and job_id not in url)
        (again,) = [job["id"] for job in jobs_of(api, command) if job["id"] != job_id]
        api.http.post(f"/jobs/{again}/cancel")
        api.wait_job(again)

        page.goto("/")
        page.locator(f"#failed-{job_id}").get_by_role("button", name="Retry").click()
        expect(page.get_by_text("It may still be at work from before on 1 platform")).to_be_visible()
        assert len(jobs_of(api, command)) == 2

        page.goto(f"/jobs/{job_id}")
        page.get_by_role("button", name="End it there").click()
        expect(note).to_contain_text("What is found is ended.")
        host.start()
        expect(note).to_be_empty(timeout=60_000)
        assert not commands(host, "3979")
    finally:
        host.close()
