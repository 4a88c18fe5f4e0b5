"""Guessing passwords: an account stands few tries of strangers, wherever they come from, and is never locked for its owner."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest
from limits import parse

from tests.support.application import Application
from tests.support.server import ADMIN
from testum.services import guesses
from testum.services.throttle import Throttle

NAME, PASSWORD = ADMIN


@pytest.fixture
def site() -> Iterator[Application]:
    """Behind a proxy, whose word on addresses counts."""
    with Application(env={"TRUSTED_PROXIES": "127.0.0.1"}) as application:
        yield application


def login(http: httpx2.Client, name: str, password: str, address: str) -> httpx2.Response:
    return http.post(
        "/auth/login", json={"username": name, "password": password}, headers={"X-Forwarded-For": address}
    )


def guess(site: Application, addresses: list[str]) -> Counter[int]:
    """How often each status is answered when all guess at once."""
    with site.nobody("/api/v1") as http, ThreadPoolExecutor(8) as people:
        return Counter(
            people.map(
                lambda address: login(http, NAME, secrets.token_hex(4), address).status_code, addresses
            )
        )


ATTACKS = {
    "50 addresses": [f"198.51.100.{number % 50}" for number in range(1000)],
    "1,000 of one IPv6 network": [f"2001:db8:1:2::{number:x}" for number in range(1000)],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_thousand_guesses(site: Application, attack: str) -> None:
    browser = site.nobody("/api/v1")
    assert login(browser, NAME, PASSWORD, "203.0.113.1").status_code == 200
    answers = guess(site, ATTACKS[attack])
    assert answers[401] <= 60 and answers[401] + answers[429] == 1000, answers
    # The owner logs in at once from a device or a network that is known, and in time from one that is not.
    begun = time.monotonic()
    assert login(browser, NAME, PASSWORD, "203.0.113.77").status_code == 200, "a known device elsewhere"
    with site.nobody("/api/v1") as other:
        assert login(other, NAME, PASSWORD, "203.0.113.1").status_code == 200, "a known network"
        other.cookies.clear()
        assert login(other, NAME, PASSWORD, "192.0.2.200").status_code == 200, "a new device in a new network"
    assert time.monotonic() - begun < 30


async def test_a_device_is_known_to_the_account_that_it_logged_in_to() -> None:
    known, owner = guesses.Guesses(Throttle(None), "a secret"), uuid4()
    shown = known.new_device(owner)
    named, secret, mac = shown.split(".")
    assert known.device(owner, shown) == f"{named}.{secret}"
    assert known.device(uuid4(), shown) == ""
    assert guesses.Guesses(Throttle(None), "another").device(owner, shown) == ""
    for made_up in (
        f"{named}.{secret}.{'0' * 64}",
        f"{named}.x.{mac}",
        f"{named}.{secret}",
        "",
        "x",
        "ü.ü.ü",
        "\udc80",
    ):
        assert known.device(owner, made_up) == ""


def test_made_up_names_lock_nobody_out(site: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind one address are many: it is slowed down, and everybody has a turn."""
    monkeypatch.setattr(guesses, "_OF_NETWORK", parse("5/5minutes"))
    monkeypatch.setattr(guesses, "_OF_SLOW_NETWORK", parse("2/1seconds"))
    with site.nobody("/api/v1") as http:
        begun = time.monotonic()
        for number in range(9):
            assert login(http, f"nobody-{number}", "guess", "203.0.113.9").status_code == 401
        assert time.monotonic() - begun > 0.5, "it is slower"
        assert login(http, NAME, PASSWORD, "203.0.113.9").status_code == 200


def test_who_waits_too_long_is_told(site: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "_OF_NETWORK", parse("1/5minutes"))
    monkeypatch.setattr(guesses, "_OF_SLOW_NETWORK", parse("1/5minutes"))
    monkeypatch.setattr(guesses, "_PATIENCE_SECONDS", 0.2)
    with site.nobody("/api/v1") as http:
        codes = [login(http, f"nobody-{number}", "guess", "203.0.113.9").status_code for number in range(3)]
        assert codes == [401, 401, 429]
        told = login(http, "nobody", "guess", "203.0.113.9")
        assert told.json()["code"] == "throttled" and 0 < int(told.headers["retry-after"]) <= 301


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_counts_as_one_network(address: str, network: str) -> None:
    assert guesses.network_of(address) == network
