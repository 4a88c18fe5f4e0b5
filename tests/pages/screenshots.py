"""Pictures of every page and of what opens in it: `python -m tests.pages.screenshots FOLDER [PARTS,OF,NAMES]`.

Each is taken in both themes, on a desktop and on a phone, and in the dark also in Russian. The server is a real one
(tests/pages/pictured.py). With no parts of names, the README's pictures in docs/images are brought up to date as well.
"""

import base64
import datetime as dt
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.pages.catalogue import BARE, PAGES
from tests.pages.pictured import Pictured
from tests.support.browser import DESKTOP, PHONE, Tab, chromium, drawn, ready
from tests.support.server import ADMIN, Server

SIZES = {"desktop": DESKTOP, "phone": PHONE}
VARIANTS = [
    (theme, size, language)
    for language, themes in (("en", ("dark", "light")), ("ru", ("dark",)))
    for theme in themes
    for size in SIZES
]
README_IMAGES = Path(__file__).parents[2] / "docs" / "images"
README_WIDTH = 1200
QUALITY = 80
MOST_BYTES = 60_000
SAME = 0.01
"""A README's picture that differs in less of its pixels is left as it is: the time has gone on, no more."""
HOUR = 14
"""The hour of the day in the README's pictures."""
WEAK_PASSWORD = "admin123"


@dataclass(frozen=True)
class Scene:
    """A page, and what is done there before the picture. `only`: the size that has it."""

    path: str
    act: Callable[[Page], None] = lambda page: None
    only: str = ""


def click(selector: str) -> Callable[[Page], None]:
    """Click the first that is seen of them."""
    return lambda page: page.locator(selector).locator("visible=true").first.click()


def in_turn(*acts: Callable[[Page], None]) -> Callable[[Page], None]:
    """One after the other."""

    def act(page: Page) -> None:
        for one in acts:
            one(page)

    return act


def fill(selector: str, text: str) -> Callable[[Page], None]:
    """Write into a field."""
    return lambda page: page.locator(selector).fill(text)


def wait(selector: str) -> Callable[[Page], None]:
    """Until it is seen."""
    return lambda page: expect(page.locator(selector).first).to_be_visible()


def without_checks(page: Page) -> None:
    """The browser sends the form whatever is in it: the server's answer is wanted."""
    page.evaluate("for (const form of document.forms) form.noValidate = true")


LIST = """name,host,username,tags
web-01,10.20.0.11,deploy,web prod
web-02,10.20.0.99,deploy,web prod
web-04,10.20.0.14,deploy,web staging
a-host-with-a-rather-long-name.internal.example.com,2001:db8::4:17,deploy,db
broken,,deploy,
"""

STATES: Mapping[str, Scene] = {
    "dashboard-search": Scene("/", in_turn(fill("[data-search]", "web"), wait("#search-results a"))),
    "dashboard-menu": Scene("/", click("[data-menu-open]"), only="phone"),
    "dashboard-narrow": Scene("/", click("[data-menu-narrow]"), only="desktop"),
    "dashboard-account": Scene("/", click(".x-bar .dropdown:not(.x-choices .dropdown) > button")),
    "dashboard-shortcuts": Scene("/", lambda page: page.keyboard.press("?")),
    "dashboard-focus": Scene("/", lambda page: [page.keyboard.press("Tab") for _ in range(3)] and None),
    "platforms-picked": Scene("/platforms", click("[data-pick-all]")),
    "platforms-delete": Scene(
        "/platforms",
        in_turn(click("[data-pick]"), click("[data-dialog=deleting]")),
    ),
    "platforms-deploy": Scene("/platforms", in_turn(click("[data-pick]"), click("[data-dialog=deploy]"))),
    "platforms-nothing": Scene("/platforms?q=no-such-host"),
    "platform-help": Scene("/platforms/{platform}", click("[data-dialog=page-help]")),
    "platform-changed": Scene("/platforms/{changed}"),
    "platform-changed-accept": Scene("/platforms/{changed}", click("[data-dialog=accept]")),
    "platform-delete": Scene("/platforms/{platform}", click("[data-dialog=delete]")),
    "platform-tested": Scene("/platforms/{platform}?task={tested}", wait("#test")),
    "platform-untested": Scene("/platforms/{refusing}?task={untested}", wait("#test")),
    "platform-new-wrong": Scene(
        "/platforms/new",
        in_turn(
            without_checks, fill("#name", "web 01"), fill("#port", "99999"),
            click("button[name=test][value='']"), wait(".invalid-feedback"),
        ),
    ),
    "import-preview": Scene(
        "/platforms/import", in_turn(fill("#text", LIST), fill("#password", "secret"), click(".x-form-foot .btn-primary"), wait("[name=really]"))
    ),
    "run-danger": Scene(
        "/run?platform={platform}",
        in_turn(fill("#command", "rm -rf /srv/app/releases/old"), click("[data-run-button]"), wait("#danger")),
    ),
    "run-wrong": Scene("/run", in_turn(without_checks, click("[data-run-button]"), wait(".invalid-feedback"))),
    "jobs-nothing": Scene("/jobs?q=no-such-command"),
    "job-running": Scene("/jobs/{running}?task={unended}", wait("#output .x-line-row")),
    "job-cancel": Scene("/jobs/{running}", click("[data-dialog=cancel]")),
    "job-identical": Scene("/jobs/{alike}", in_turn(click("[data-by=output]"), wait(".x-group"))),
    "job-difference": Scene(
        "/jobs/{alike}",
        in_turn(click("[data-by=output]"), wait(".x-group"), click(".x-group >> nth=1"), wait(".x-changed")),
    ),
    "job-again": Scene("/jobs/{cancelled}", click("#rerun [data-bs-toggle=dropdown]")),
    "job-ok": Scene("/jobs/{fine}"),
    "job-nothing": Scene("/jobs/{fine}", in_turn(fill("#find", "no-such-host"), wait("#nothing"))),
    "job-cancelled": Scene("/jobs/{cancelled}", wait(".x-ended")),
    "task-cancelled": Scene("/tasks/{ended}"),
    "task-picked": Scene("/tasks/{long}#L8-L10", wait(".x-line-picked")),
    "task-search-wrong": Scene(
        "/tasks/{long}",
        in_turn(click(".x-search-output button >> nth=3"), fill(".x-search-output input", "step ("), wait(".x-problem")),
    ),
    "task-long": Scene("/tasks/{long}", wait(".x-line-row")),
    "task-search": Scene("/tasks/{long}", in_turn(fill(".x-search-output input", "step"), wait(".x-text mark"))),
    "task-silent": Scene("/tasks/{silent}"),
    "key-copied": Scene("/keys/{key}", in_turn(click("[data-copy]"), wait(".x-toast"))),
    "key-new-wrong": Scene(
        "/keys/new", in_turn(without_checks, click(".x-form-foot .btn-primary"), wait(".invalid-feedback, .x-note-bad"))
    ),
    "audit-details": Scene("/audit", click("summary")),
    "search": Scene("/search?q=web"),
    "search-nothing": Scene("/search?q=nothing-of-the-kind"),
}  # fmt: skip
"""What opens in pages, and how they look when something is wrong or absent."""

EMPTY: Mapping[str, Scene] = {
    f"{name}-empty": Scene(PAGES[name]) for name in ("dashboard", "platforms", "jobs", "keys")
} | {"run-empty": Scene("/run")}

OUTSIDE: Mapping[str, Scene] = {
    **{name: Scene(path) for name, path in BARE.items()},
    "login-wrong": Scene(
        "/login",
        in_turn(
            fill("#username", "alice"), fill("#password", "not this one"), click("button.btn-primary"),
            wait(".x-note-bad"),
        ),
    ),
}  # fmt: skip

README: Mapping[str, tuple[str, Scene]] = {
    "dashboard": ("dark", Scene("/")),
    "job": ("dark", STATES["job-difference"]),
    "platforms": ("light", Scene("/platforms")),
}
"""What the README shows, and in which theme."""


@dataclass
class Photographer:
    """Takes pictures of scenes into a folder. `part`: only of those with one of these parts in their name."""

    browser: Browser
    folder: Path
    part: str = ""

    def take(self, url: str, scenes: Mapping[str, Scene], state: Any, ids: Mapping[str, str]) -> None:
        """A picture of each scene in each variant."""
        wanted = {
            name: scene
            for name, scene in scenes.items()
            if any(part in name for part in self.part.split(","))
        }
        if not wanted:
            return
        for theme, size, language in VARIANTS:
            tab = Tab(self.browser, url, state=state, viewport=SIZES[size])
            tab.expected = ["404", "422", "401", "400"]
            tab.context.grant_permissions(["clipboard-write"])
            for name, scene in wanted.items():
                if scene.only in ("", size):
                    suffix = f"-{language}" if language != "en" else ""
                    show(tab, scene, ids, theme, language)
                    whole = not tab.page.locator("dialog[open], .x-menu-open").count()
                    if whole:
                        # What stays in view as the page is scrolled is not of one place in a picture of all of it.
                        tab.page.evaluate(
                            "document.querySelector('.x-menu')?.style.setProperty('height', 'auto');"
                            "document.querySelector('.x-bar')?.style.setProperty('position', 'static')"
                        )
                    tab.page.screenshot(
                        path=self.folder / f"{name}-{theme}-{size}{suffix}.png",
                        full_page=whole,
                        animations="disabled",
                    )
            tab.close()

    def take_for_readme(self, url: str, state: Any, ids: Mapping[str, str]) -> None:
        """Write those of the README's pictures that have changed."""
        README_IMAGES.mkdir(exist_ok=True)
        for language in ("en", "ru"):
            for name, (theme, scene) in README.items():
                tab = Tab(
                    self.browser, url, state=state, viewport=DESKTOP,
                    timezone_id=zone_at(HOUR) if name == "dashboard" else "UTC", reduced_motion="reduce",
                )  # fmt: skip
                show(tab, scene, ids, theme, language)
                tab.page.evaluate("document.activeElement?.blur()")
                protocol = tab.context.new_cdp_session(tab.page)
                part = {"x": 0, "y": 0, **DESKTOP, "scale": README_WIDTH / DESKTOP["width"]}
                shot = protocol.send(
                    "Page.captureScreenshot", {"format": "webp", "quality": QUALITY, "clip": part}
                )
                new = base64.b64decode(shot["data"])
                path = README_IMAGES / f"{name}{'-ru' if language == 'ru' else ''}.webp"
                assert len(new) <= MOST_BYTES, f"{path.name} would have {len(new)} bytes"
                if not path.exists() or self.difference(path.read_bytes(), new) > SAME:
                    path.write_bytes(new)
                    print(f"{path.name} is new: {len(new)} bytes")
                tab.close()

    def difference(self, old: bytes, new: bytes) -> float:
        """The part of two pictures' pixels that differ, 0 to 1; 1 where their sizes do."""
        page = self.browser.new_page()
        part: float = page.evaluate(
            """async (pictures) => {
                const [one, other] = await Promise.all(pictures.map(async (picture) => {
                    const image = new Image();
                    image.src = "data:image/webp;base64," + picture;
                    await image.decode();
                    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
                    canvas.drawImage(image, 0, 0);
                    return canvas.getImageData(0, 0, image.width, image.height);
                }));
                if (one.width !== other.width || one.height !== other.height) return 1;
                let differ = 0;
                for (let at = 0; at < one.data.length; at += 4)
                    if ([0, 1, 2].some((colour) => Math.abs(one.data[at + colour] - other.data[at + colour]) > 40)) differ++;
                return (4 * differ) / one.data.length;
            }""",
            [base64.b64encode(picture).decode() for picture in (old, new)],
        )
        page.close()
        return part


def zone_at(hour: int) -> str:
    """A time zone in which it is this hour now: charts then look the same whenever they are taken."""
    ahead = (hour - dt.datetime.now(dt.UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-ahead:+}"


def show(tab: Tab, scene: Scene, ids: Mapping[str, str], theme: str, language: str) -> None:
    """Go there, do what is to be done, and wait until nothing moves."""
    tab.choose(theme=theme, language=language, menu="wide")
    if tab.page.url != "about:blank" and tab.page.evaluate("sessionStorage.length"):
        # What the scene before left in a form would be brought back.
        tab.page.goto("/jobs")
        tab.page.evaluate("sessionStorage.clear()")
    tab.page.goto(scene.path.format(**ids))
    settle(tab.page)
    scene.act(tab.page)
    settle(tab.page)


def settle(page: Page) -> None:
    """Until scripts have drawn, and what they fetched has come."""
    ready(page)
    page.wait_for_load_state("networkidle")
    drawn(page)


def logged_in(browser: Browser, url: str) -> Any:
    """The cookies of a login: logins are throttled."""
    tab = Tab(browser, url).log_in()
    state = tab.context.storage_state()
    tab.close()
    return state


def main(folder: Path, part: str = "") -> None:
    """Write all pictures, or those with a part of a name."""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, tempfile.TemporaryDirectory(prefix="testum-pictures-") as data:
        photographer = Photographer(browser, folder, part)
        with Pictured(Path(data)) as pictured:
            state = logged_in(browser, pictured.url)
            pages = {name: Scene(path) for name, path in PAGES.items()}
            table = {"platforms-table": Scene("/platforms", click("button[name=platforms][value=table]"))}
            photographer.take(pictured.url, pages | STATES | table, state, pictured.ids)
            photographer.take(pictured.url, OUTSIDE, None, {})
            if not part:
                photographer.take_for_readme(pictured.url, state, pictured.ids)
        with Server(env={"ADMIN_PASSWORD": WEAK_PASSWORD}, mode="embedded") as server:
            new = Tab(browser, server.url).log_in(password=WEAK_PASSWORD)
            photographer.take(
                server.url,
                {"password-forced": Scene(PAGES["password"])},
                new.context.storage_state(),
                {},
            )
            for name, value in (
                ("current_password", WEAK_PASSWORD),
                ("new_password", ADMIN[1]),
                ("repeated", ADMIN[1]),
            ):
                new.page.locator(f"#{name}").fill(value)
            new.page.locator("button.btn-primary").click()
            expect(new.page.locator(".x-empty")).to_be_visible()
            photographer.take(server.url, EMPTY, new.context.storage_state(), {})
            new.close()
    print(f"{len(list(folder.glob('*.png')))} pictures are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots"), *sys.argv[2:3])
