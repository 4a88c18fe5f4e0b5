"""What is refused cannot fill the audit log, and the audit log still tells all of it."""

import secrets
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.support.application import Application
from testum.services import refusals

PER_DOOR = 120


@pytest.fixture
def site() -> Iterator[Application]:
    """Behind a proxy, whose word on addresses counts."""
    with Application(env={"TRUSTED_PROXIES": "127.0.0.1"}) as application:
        yield application


def told(entries: list[dict[str, Any]]) -> Counter[str]:
    """How many refusals the entries tell, by reason."""
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons.update(entry["meta"].get("reasons") or {entry["meta"]["reason"]: 1})
    return reasons


def addresses(number: int) -> list[dict[str, str]]:
    """Headers of one address and of many, in turn."""
    return [
        {"X-Forwarded-For": f"2001:db8:{n % 500:x}::1" if n % 2 else "198.51.100.7"} for n in range(number)
    ]


@pytest.mark.walls(slow=True)
def test_a_flood_at_every_door_leaves_few_entries_that_tell_all_of_it(site: Application) -> None:
    viewer = site.account("viewer")
    bare = site.nobody("/api/v1")
    answers: Counter[tuple[str, int]] = Counter()
    for number, headers in enumerate(addresses(PER_DOOR)):
        answers["none", bare.get("/platforms/", headers=headers).status_code] += 1
        guess = {"username": f"u{number}\0", "password": "guess"}
        answers["login", bare.post("/auth/login", json=guess, headers=headers).status_code] += 1
        token = {"refresh_token": f"{uuid4().hex}.{secrets.token_urlsafe(32)}.x"}
        answers["refresh", bare.post("/auth/refresh", json=token, headers=headers).status_code] += 1
        command = {"command": "true"}
        answers[
            "viewer", viewer.http.post(f"/platforms/{uuid4()}/run_command", json=command).status_code
        ] += 1
    assert set(answers) == {
        ("none", 401), ("login", 401), ("refresh", 401), ("viewer", 403),
    }, answers  # fmt: skip
    site.stop()
    site.start()
    entries = site.client().all("/audit/", outcome="refused")
    assert told(entries) == {
        "unauthenticated": PER_DOOR, "bad_credentials": PER_DOOR, "bad_token": PER_DOOR, "forbidden": PER_DOOR,
    }  # fmt: skip
    assert len(entries) <= 2 * refusals.OF_ALL + 1
    (summary,) = [entry for entry in entries if entry["action"] == "audit.refusals"]
    meta = summary["meta"]
    assert meta["count"] == 4 * PER_DOOR - (len(entries) - 1) and meta["since"] <= meta["until"]
    assert meta["users"][viewer.username] == PER_DOOR - refusals.OF_ONE
    assert meta["addresses"]["198.51.100.7"] > PER_DOOR and meta["of_other_addresses"] > 0


def test_made_up_refresh_tokens_are_throttled_and_right_ones_are_not(site: Application) -> None:
    own = site.account("viewer")
    http = site.nobody("/api/v1")
    http.headers["X-Forwarded-For"] = "198.51.100.7"
    login = http.post("/auth/login", json={"username": own.username, "password": own.password}).json()
    codes = Counter(
        http.post("/auth/refresh", json={"refresh_token": f"{uuid4().hex}.x"}).status_code for _ in range(80)
    )
    assert codes == {401: 60, 429: 20}
    refused = http.post("/auth/refresh", json={"refresh_token": "x"})
    assert refused.json()["code"] == "throttled" and 0 < int(refused.headers["retry-after"]) <= 301
    fresh = http.post("/auth/refresh", json={"refresh_token": login["refresh_token"]})
    assert fresh.status_code == 200, "others behind the same address are not kept out"
    # The browsers' door is the same.
    cookie = {"Cookie": f"testum_session=session-{uuid4().hex}.x", "Origin": site.url}
    assert (
        site.nobody()
        .post("/session/renew", headers={**cookie, "X-Forwarded-For": "198.51.100.7"})
        .status_code
        == 429
    )
    http.headers["X-Forwarded-For"] = "198.51.100.8"
    assert http.post("/auth/refresh", json={"refresh_token": "x"}).status_code == 401
