"""Why tasks failed: said in the page's language with the next step, for every code there is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Open
from tests.pages.test_accessible import violations
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from testum.core import states
from testum.execution import runner
from testum.installed import INSTALLED
from testum.ssh import SSHError
from testum.web.pages.languages import languages
from testum.web.pages.words import ERRORS, Words

SOURCE = Path(runner.__file__).parents[1]


def subclasses(kind: type[SSHError]) -> Iterator[type[SSHError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


def literals(path: Path) -> Iterator[str]:
    """The codes that a source names: `error_code="..."`, `failed("...")`, `code = "..."` of a class of errors."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            named = [word.value for word in node.keywords if word.arg == "error_code"]
            if getattr(node.func, "attr", "") == "failed":
                named += node.args[:1]
            yield from (
                value.value
                for value in named
                if isinstance(value, ast.Constant) and isinstance(value.value, str)
            )
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if (
                    isinstance(item, ast.Assign)
                    and getattr(item.targets[0], "id", "") == "code"
                    and isinstance(item.value, ast.Constant)
                ):
                    yield str(item.value.value)


def codes() -> set[str]:
    """Every code that a task or a test of a connection can end with."""
    found = {kind.code for kind in subclasses(SSHError)}
    found |= set(states._STATE_OF)
    for folder in ("execution", "ssh", "output", "db", "services"):
        for path in (SOURCE / folder).rglob("*.py"):
            if path.name != "sqlite_source.py":
                found.update(literals(path))
    # What storing output may fail with (runner.Runner._write).
    found |= {"storage_full", "storage_unavailable"}
    return found - {"ssh"}


def test_there_are_many() -> None:
    assert len(codes()) > 30 and {"deploy_failed", "worker_died", "no_answer", "internal"} <= codes()


@pytest.mark.parametrize("code", sorted(codes()))
def test_every_code_says_what_happened_and_what_to_do(code: str) -> None:
    what, step = ERRORS[code]
    assert not what.endswith(".") and step.endswith(".") and len(what) < 60 and len(step) < 120
    words = Words(languages()["ru"], INSTALLED)
    for text in (words.error(code), words.step(code)):
        assert re.search("[а-я]", text), f"not Russian: {text}"


def test_no_code_is_explained_that_there_is_not() -> None:
    assert set(ERRORS) == codes()


def russian(open_tab: Open) -> Page:
    return open_tab().choose(language="ru").page


@pytest.fixture(scope="module")
def refusing(api: Api, real_sshd: RealSshd) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """A platform whose password is refused, a job on it, and its task."""
    made = api.add_platform(unique("refusing"), real_sshd, password="not this one", tags=["refusing"])
    job = api.start_job("true", targets={"platform_ids": [made["id"]]})
    api.wait_job(job)
    return made, job, api.tasks(job)[0]


WHAT, STEP = "Хост отклонил вход", "Проверьте имя и пароль"


def test_in_russian_wherever_a_failure_shows(
    open_tab: Open, api: Api, refusing: tuple[dict[str, Any], str, dict[str, Any]]
) -> None:
    made, job, task = refusing
    page = russian(open_tab)
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("option")).to_contain_text(WHAT)
    expect(page.locator(".x-output-why")).to_contain_text(STEP)
    expect(page.locator(".x-output-why [lang=en]")).to_have_text(task["error_message"])
    page.goto(f"/tasks/{task['id']}")
    expect(page.locator("#facts .x-reason")).to_contain_text(f"{WHAT}. {STEP}")
    expect(page.locator("#facts [lang=en]")).to_have_text(task["error_message"])
    page.goto(f"/platforms/{made['id']}")
    expect(page.locator("[data-trouble]")).to_contain_text(f"{WHAT}. {STEP}")
    expect(page.locator("[data-trouble] [lang=en]")).to_have_text(task["error_message"])
    page.locator("form[action$='/test'] button").click()
    expect(page.locator("#test")).to_contain_text(f"{WHAT}. {STEP}")
    # The dashboard shows the last of them all.
    job = api.start_job("true", targets={"platform_ids": [made["id"]]})
    api.wait_job(job)
    page.goto("/")
    line = page.locator(".x-lines li", has=page.get_by_role("link", name=made["name"]))
    expect(line).to_contain_text(f"{WHAT}. {STEP}")
    failed = page.locator(f".x-lines li:has(a[href='/jobs/{job}'])")
    expect(failed).to_contain_text(f"{made['name']}: {WHAT}. {STEP}")


def test_a_task_that_fails_while_it_is_watched(
    page: Page, hosts: list[dict[str, Any]], api: Api, flag: Path
) -> None:
    command = f"echo go; until [ -e {flag} ]; do sleep 0.1; done; kill -KILL $$"
    job = api.start_job(command, targets={"platform_ids": [hosts[0]["id"]]})
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-printed")).to_contain_text("go")
    expect(page.locator(".x-output-why")).to_be_hidden()
    flag.touch()
    expect(page.locator(".x-output-why")).to_contain_text("See whether somebody stopped it")
    expect(page.locator(".x-output-why [lang=en]")).to_contain_text("signal KILL")


GONE = (
    "Its processes are confirmed gone: none bears its mark, descends from one that did, or is in its session."
)
NOT_KNOWN = "It is not confirmed that its processes are gone: testum looks on the host until it is known."


def test_how_a_cancelled_task_was_ended(open_tab: Open, hosts: list[dict[str, Any]], api: Api) -> None:
    job = api.start_job("echo go; sleep 600", targets={"platform_ids": [hosts[0]["id"]]})
    (task,) = api.tasks(job)
    watched = [open_tab().page for _ in range(2)]
    watched[0].goto(f"/jobs/{job}")
    watched[1].goto(f"/tasks/{task['id']}")
    for page in watched:
        expect(page.locator(".x-printed")).to_contain_text("go")
        expect(page.locator(".x-ended").locator("visible=true")).to_have_count(0)
    api.post(f"/jobs/{job}/cancel")
    for page in watched:
        expect(page.locator(".x-ended")).to_have_text(GONE)
        # By what it is known helps nobody here.
        expect(page.locator(".x-reason-detail")).to_have_text("Details: Cancelled while it ran.")
        page.reload()
        expect(page.locator(".x-ended")).to_have_text(GONE)
    page = russian(open_tab)
    for path in (f"/tasks/{task['id']}", f"/jobs/{job}"):
        page.goto(path)
        expect(page.locator(".x-ended")).to_have_text(
            "Подтверждено: процессов задачи на хосте больше нет — ни с её меткой, ни порождённых ими, ни в её сеансе."
        )
        expect(page.locator(".x-reason-detail")).to_have_text("Подробности: Отменено во время выполнения.")
    page.goto(f"/jobs/{job}?by=output")
    expect(page.locator(".x-ended")).to_have_text(
        "Подтверждено: процессов задачи на хосте больше нет — ни с её меткой, ни порождённых ими, ни в её сеансе."
    )
    page.goto(f"/tasks/{task['id']}")
    expect(page.locator(".x-ended")).to_have_text(
        "Подтверждено: процессов задачи на хосте больше нет — ни с её меткой, ни порождённых ими, ни в её сеансе."
    )


def test_what_took_too_long_was_ended_too(page: Page, hosts: list[dict[str, Any]], api: Api) -> None:
    job = api.start_job("sleep 600", targets={"platform_ids": [host["id"] for host in hosts[:2]]}, timeout=1)
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-ended")).to_have_text(GONE)
    expect(page.locator(".x-output-why")).to_contain_text("Allow it more time")
    page.goto(f"/tasks/{api.tasks(job)[0]['id']}")
    expect(page.locator(".x-ended")).to_have_text(GONE)
    # Of two, one's end says nothing of the other's.
    page.goto(f"/jobs/{job}?by=output")
    expect(page.locator("#output h2")).to_contain_text("(2)")
    expect(page.locator(".x-output-why")).to_contain_text("Allow it more time")
    # What could tell of it would have come by now.
    page.wait_for_load_state("networkidle")
    expect(page.locator(".x-ended")).to_be_hidden()


def test_that_nobody_could_look_is_told(page: Page, api: Api) -> None:
    sshd = RealSshd()
    try:
        made = api.add_platform(unique("unseen"), sshd)
        job = api.start_job("echo go; sleep 600", targets={"platform_ids": [made["id"]]})
        page.goto(f"/jobs/{job}")
        expect(page.locator(".x-printed")).to_contain_text("go")
        sshd.stop()
        expect(page.locator(".x-ended")).to_have_text(NOT_KNOWN, timeout=30_000)
    finally:
        sshd.close()
    (task,) = api.tasks(job)
    detail = task["metadata"]["termination"]["detail"]
    said = f"{task['error_message']} {detail}"
    expect(page.locator(".x-output-why [lang=en]")).to_have_text(said)
    page.goto(f"/tasks/{task['id']}")
    expect(page.locator(".x-ended")).to_have_text(NOT_KNOWN)
    expect(page.locator("#facts [lang=en]")).to_have_text(said)
    assert violations(page) == []


def test_what_was_never_begun_left_nothing(page: Page, hosts: list[dict[str, Any]], api: Api) -> None:
    job = api.start_job(
        "sleep 600", targets={"platform_ids": [host["id"] for host in hosts[:2]]}, concurrency=1
    )
    page.goto(f"/jobs/{job}?task={api.tasks(job)[1]['id']}")
    expect(page.locator("#job-status")).to_have_text("Running")
    api.post(f"/jobs/{job}/cancel")
    expect(page.locator(".x-output-why")).to_contain_text("Run it again if it is still wanted.")
    expect(page.locator("#job-status")).to_have_text("Cancelled")
    # What could tell of it would have come by now.
    page.wait_for_load_state("networkidle")
    expect(page.locator(".x-ended")).to_be_hidden()


def test_of_an_exit_status_the_message_says_no_more(
    page: Page, hosts: list[dict[str, Any]], api: Api
) -> None:
    job = api.start_job("exit 7", targets={"platform_ids": [hosts[0]["id"]]})
    api.wait_job(job)
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("option")).to_contain_text("The command reported a failure (7)")
    expect(page.locator(".x-output-why")).to_contain_text("See the end of its output")
    expect(page.locator(".x-output-why .x-reason-detail")).to_be_hidden()
    page.goto(f"/tasks/{api.tasks(job)[0]['id']}")
    expect(page.locator(".x-reason")).to_contain_text("The command reported a failure (7).")
    expect(page.locator(".x-reason-detail")).to_have_count(0)


def test_what_a_host_says_is_marked_and_not_obeyed(
    page: Page, server: Server, api: Api, refusing: tuple[dict[str, Any], str, dict[str, Any]]
) -> None:
    made, _, _ = refusing
    job = api.start_job("true", targets={"platform_ids": [made["id"]]})
    api.wait_job(job)
    (task,) = api.tasks(job)
    said = "<img src=x onerror=window.hit=1>\u202egpj.exe\x1b[2J"
    server.execute(
        "UPDATE task_runs SET error_message = :said WHERE id = :id",
        {"said": said, "id": task["id"] if server.servers else task["id"].replace("-", "")},
    )
    for address in (f"/jobs/{job}", f"/tasks/{task['id']}", f"/platforms/{made['id']}"):
        page.goto(address)
        expect(page.locator("main [lang=en]")).to_have_text(
            "<img src=x onerror=window.hit=1>⟨U+202E⟩gpj.exe␛[2J"
        )
        assert page.evaluate("window.hit") is None
