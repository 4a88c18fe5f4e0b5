"""What people, files and hosts write is shown and never obeyed: payloads in every field that a page shows."""

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.pages.conftest import Open
from tests.support.browser import ready
from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from testum.core.text import visible

pytestmark = pytest.mark.embedded

OVERRIDE, ISOLATE, ESCAPE = "\u202e", "\u2066", "\x1b"
PAYLOAD = (
    "<script>window.hit=1</script><img src=x onerror=window.hit=2>\"'><svg/onload=window.hit=3>"
    f"{{{{7*7}}}}${{7*7}}%(x)s{OVERRIDE}gpj.exe{ISOLATE}{ESCAPE}]0;owned\x07{ESCAPE}[2J&lt;b&gt;\u200bend"
)
MARKED = ("⟨U+202E⟩", "⟨U+2066⟩", "␛", "⟨U+200B⟩")


def assert_harmless(page: Page, *, shown: bool = True) -> None:
    """Nothing ran, nothing hides, and it is there to be read."""
    assert page.evaluate("window.hit") is None, "a payload ran"
    assert page.locator("script:not([src]):not([type='application/json'])").count() == 0
    assert page.locator("main img, main svg[onload]").count() == 0
    text = page.locator("body").inner_text()
    hidden = [character for character in text if character in f"{OVERRIDE}{ISOLATE}{ESCAPE}\u200b\x07"]
    assert not hidden, f"shown as they are: {[hex(ord(character)) for character in hidden]}"
    if shown:
        assert "<script>window.hit=1</script>" in page.content().replace("&lt;", "<").replace("&gt;", ">")


@pytest.fixture(scope="module")
def hostile(server: Server, api: Api, real_sshd: RealSshd) -> Iterator[dict[str, Any]]:
    """A platform, a job, a key and audit entries whose every text is the payload, put into the database: the
    services would refuse most of it, but a database may be older than a rule."""
    made = api.add_platform(
        f"hostile-{secrets.token_hex(3)}", real_sshd, tags=["hostile"], description=PAYLOAD
    )
    job = api.start_job(
        f"printf '%s' '{PAYLOAD.replace(chr(39), '')}'; printf '%s\\n' '{PAYLOAD.replace(chr(39), '')}' >&2; exit 3",
        targets={"platform_ids": [made["id"]]},
    )
    api.wait_job(job)
    key = api.post(
        "/keys/",
        {
            "name": f"hostile-{secrets.token_hex(3)}",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMEgUpeZsLvSIm1dRyrjv0tLBy7oKGq0ofVpJ7Q0Dh2R x",
        },
    )

    def stored(value: str) -> str:
        return value if server.servers else value.replace("-", "")

    facts = json.dumps(dict.fromkeys(("os", "kernel", "kernel_release", "architecture", "hostname"), PAYLOAD))
    server.execute(
        "UPDATE platforms SET name = :name, host = :name, username = :short, zone = :short, facts = :facts,"
        " facts_at = created_at, known_host_fingerprint = :short WHERE id = :id",
        {"name": PAYLOAD, "short": PAYLOAD[:60], "facts": facts, "id": stored(made["id"])},
    )
    server.execute(
        "UPDATE platform_tags SET tag = :tag WHERE platform_id = :id",
        {"tag": PAYLOAD[:99], "id": stored(made["id"])},
    )
    server.execute(
        "UPDATE task_runs SET platform_name = :name, error_message = :name WHERE job_id = :job",
        {"name": PAYLOAD, "job": stored(job)},
    )
    server.execute(
        "UPDATE jobs SET created_by = :name WHERE id = :job", {"name": PAYLOAD[:150], "job": stored(job)}
    )
    server.execute(
        "UPDATE ssh_keys SET name = :name, fingerprint = :short, algorithm = :short, created_by = :short WHERE id = :id",
        {"name": PAYLOAD, "short": PAYLOAD[:60], "id": stored(key["id"])},
    )
    server.execute(
        'INSERT INTO audit_logs (id, "user", action, object_type, object_id, outcome, address, meta, timestamp)'
        " VALUES (:id, :text, :short, 'platform', :platform, 'allowed', :short, :meta, :at)",
        {
            "id": secrets.token_hex(16),
            "text": PAYLOAD,
            "short": PAYLOAD[:60],
            "platform": made["id"],
            "meta": json.dumps({"name": PAYLOAD, PAYLOAD: [PAYLOAD]}),
            "at": "2100-01-01 00:00:00.000000",
        },
    )
    yield {"platform": made["id"], "job": job, "task": api.tasks(job)[0]["id"], "key": key["id"]}
    server.execute("DELETE FROM audit_logs WHERE timestamp > '2099-01-01'")
    server.execute("DELETE FROM ssh_keys WHERE id = :id", {"id": stored(key["id"])})
    server.execute("DELETE FROM platforms WHERE id = :id", {"id": stored(made["id"])})


PATHS = [
    "/", "/platforms", "/platforms/{platform}", "/platforms/{platform}/edit", "/jobs", "/jobs/{job}", "/tasks/{task}", "/keys",
    "/keys/{key}", "/audit", "/run?platform={platform}", "/search?q=script",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_page_obeys_what_it_shows(page: Page, hostile: dict[str, Any], path: str) -> None:
    page.goto(path.format(**hostile))
    if "/jobs/" in path or "/tasks/" in path:
        expect(page.locator(".x-printed")).to_contain_text("window.hit")
    assert_harmless(page)
    assert any(mark in page.locator("body").inner_text() for mark in MARKED), "the marks are to be seen"


def test_the_table_and_the_quick_list_are_no_worse(page: Page, hostile: dict[str, Any]) -> None:
    page.goto("/platforms")
    page.get_by_role("button", name="Table").click()
    expect(page.locator("#results table")).to_be_visible()
    assert_harmless(page)
    ready(page)
    page.locator("[data-search]").fill("script")
    expect(page.locator("#search-results")).to_be_visible()
    assert_harmless(page)


def test_control_sequences_are_left_out_and_all_else_is_marked(page: Page, hosts: Any, api: Api) -> None:
    job = api.start_job(
        r"printf '\033[31mred\033[0m \033]0;title\007 \033[2J \302\233 \342\200\256evil <b>bold</b>\r\nnext\n'",
        targets={"platform_ids": [hosts[0]["id"]]},
    )
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-printed")).to_contain_text("next")
    assert page.locator(".x-printed .x-text").all_text_contents() == [
        "red   ⟨U+009B⟩ ⟨U+202E⟩evil <b>bold</b>",
        "next",
    ]


@pytest.mark.parametrize("value", [PAYLOAD, "%(x)s", "{{ 7 * 7 }}", "ÿ" * 300])
def test_addresses_are_input_too(open_tab: Open, value: str) -> None:
    tab = open_tab()
    tab.expected = ["404", "422"]
    for path in ("/platforms", "/jobs", "/audit", "/keys", "/search"):
        for name in ("q", "tag", "state", "status", "sort", "after", "page", "object_type"):
            answer = tab.page.request.get(path, params={name: value})
            assert answer.status in (200, 422), (path, name, answer.status)
            assert "<script>window" not in answer.text()


def test_both_halves_mark_the_same(page: Page, hosts: Any, api: Api) -> None:
    """`visible` in Python and in TypeScript, over all of Unicode where they could differ: a host prints it."""
    points = [*range(1, 0x3000), *range(0xD7F0, 0xD800), *range(0xFE00, 0x10000), *range(0x11000, 0x11100)]
    points += [*range(0x13400, 0x13500), *range(0x1BC00, 0x1BD00), *range(0x1D100, 0x1D200)]
    points += [*range(0xE0000, 0xE0100)]
    # A carriage return, a backspace, and what begins a colour, do something instead.
    kept = [point for point in points if chr(point) not in "\r\n\x1b\b"]
    # Many in a line: the viewer draws only the lines that can be seen.
    lines = [
        "".join(f"{chr(point)}." for point in kept[start : start + 400]) for start in range(0, len(kept), 400)
    ]
    text = "".join(f"{line}\n" for line in lines)
    encoded = base64.b64encode(text.encode()).decode()
    job = api.start_job(f"echo {encoded} | base64 -d; echo end", targets={"platform_ids": [hosts[0]["id"]]})
    page.goto(f"/jobs/{job}")
    expect(page.locator(".x-line-row[data-number]:not(.x-not-yet)")).to_have_count(len(lines) + 1)
    shown = page.locator(".x-printed .x-text").all_text_contents()
    assert shown == [*(visible(line) for line in lines), "end"]
