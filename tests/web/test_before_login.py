"""What anybody can send without a login, or an account that may change nothing: no request costs the server much, of
whatever shape it is."""

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.server import Api, Server
from testum.web.security import COOKIE, SMALL_BODY

_PROCESSOR_SECONDS = 0.05
_LONGEST_HEADER = 60_000
"""Bytes: all headers together may have 64 KiB."""
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data; boundary=b"


def part(name: str, text: str = "x") -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'


@cache
def shapes(size: int) -> dict[str, tuple[str, str]]:
    """Bodies of about so many bytes, each with its type."""
    chance = random.Random(size)
    names = [f"{chance.randrange(36**4):x}" for _ in range(size // 8)]
    return {
        "unknown keys": (_JSON, json.dumps(dict.fromkeys(names[: size // 13], 0))),
        "arrays in arrays": (_JSON, "[" * (size // 2) + "]" * (size // 2)),
        "objects in objects": (_JSON, '{"a":' * (size // 6) + "1" + "}" * (size // 6)),
        "long name": (_JSON, json.dumps({"username": "a" * (size - 60), "password": "x"})),
        "long number": (_JSON, '{"username":' + "9" * (size - 40) + ',"password":"x"}'),
        "escapes": (_JSON, '{"username":"' + "\\u0000" * (size // 6 - 10) + '","password":"x"}'),
        "many fields": (_FORM, "&".join(f"{name}=" for name in names)[:size]),
        "percent signs": (_FORM, "username=" + "%25" * (size // 3 - 10)),
        "many parts": (_MULTIPART, "".join(map(part, names[: size // 60])) + "--b--\r\n"),
        "half a part": (_MULTIPART, part("username", "-" * (size - 100))),
        "dashes": (_MULTIPART, "--b\r\n" * (size // 5)),
        "a charset that is slow": (
            f"{_MULTIPART}; charset=idna",
            part("username", ".".join(["xn--" + "4ca" * 14] * (size // 50))),
        ),
        "a charset that fails": (f"{_MULTIPART}; charset=undefined", part("username", "a" * (size // 2))),
        "no charset": (f"{_MULTIPART}; charset=", part("username", "a" * (size // 2))),
    }


def headers(size: int) -> dict[str, tuple[str, str]]:
    """Headers of about so many bytes."""
    return {
        "escapes in a cookie": ("Cookie", 'a="' + "\\" * size + '"'),
        "escapes in the login's cookie": (
            "Cookie",
            f'theme=dark; {COOKIE}="' + '\\"' * (size // 2) + '"',
        ),
        "numbers in a cookie": ("Cookie", 'a="' + "\\073" * (size // 4) + '"'),
        "many cookies": ("Cookie", "; ".join(f"c{number}=1" for number in range(size // 9))),
        "quotes in cookies": ("Cookie", 'a="' * (size // 3)),
        "languages": ("Accept-Language", ",".join(["ru;q=0.5"] * (size // 9))),
        "dashes of a language": ("Accept-Language", "a-" * (size // 2)),
        "long token": ("Authorization", "Bearer " + "a.b" * (size // 3)),
        "addresses": ("X-Forwarded-For", "1.1.1.1," * (size // 8)),
        "brackets": ("Origin", "http://" + "[" * size),
        "parameters": ("Content-Type", "text/plain" + ";a=b" * (size // 4)),
        "slashes": ("Referer", "http://h" + "/../" * (size // 4)),
        "ranges": ("If-None-Match", 'W/"a",' * (size // 6)),
        "codings": ("Accept-Encoding", "gzip;q=0," * (size // 9)),
    }


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A process, of which it can be seen what it costs."""
    with Server() as server:
        yield server


def processor_seconds(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


DOORS = ["/api/v1/auth/login", "/api/auth/refresh", "/login", "/api/v1/platforms/", "/platforms/import"]


@pytest.mark.parametrize("who", ["nobody", "a viewer"])
@pytest.mark.parametrize("size", [SMALL_BODY, 4_000_000])
def test_no_shape_costs_much(own: Server, who: str, size: int) -> None:
    http: httpx2.Client = own.nobody() if who == "nobody" else own.account("viewer").http
    for door in DOORS:
        # A password is hashed slowly on purpose.
        most = _PROCESSOR_SECONDS + (0.1 if door.endswith("/login") else 0)
        for name, (kind, body) in shapes(size).items():
            costs = []
            # What else the process had to do at that moment counts, too: it does not the next time.
            while len(costs) < 3 and (not costs or min(costs) > most):
                before = processor_seconds(own)
                answer = http.post(
                    f"{own.url}{door}", content=body, headers={"Origin": own.url, "Content-Type": kind}
                )
                costs.append(processor_seconds(own) - before)
                assert 300 <= answer.status_code < 500, (door, name, answer.text[:300])
                if size > SMALL_BODY:
                    wanted = 413 if who != "nobody" or door.endswith(("/login", "/refresh")) else 401
                    assert answer.status_code == wanted, (door, name, answer.status_code)
            assert min(costs) <= most, f"{door}, {name}: {costs} s of processor for {len(body)} bytes"


def test_no_header_costs_much(own: Server) -> None:
    http = own.nobody()
    for door in ("/login", "/", "/api/v1/platforms/", "/health", "/static/nothing"):
        for name, (header, value) in headers(_LONGEST_HEADER).items():
            costs = []
            while len(costs) < 3 and (not costs or min(costs) > _PROCESSOR_SECONDS):
                before = processor_seconds(own)
                answer = http.get(f"{own.url}{door}", headers={header: value})
                costs.append(processor_seconds(own) - before)
                assert answer.status_code < 500, (door, name)
            assert min(costs) <= _PROCESSOR_SECONDS, (door, name, costs)


def test_a_cookie_with_escapes_takes_no_other_along(own: Server) -> None:
    """What another site of the same name has set is in the browser's cookies, too."""
    token = own.client().http.headers["Authorization"].removeprefix("Bearer ")
    cookies = f'other="a\\073b"; {COOKIE}={token}; last="\\\\"'
    answer = own.nobody().get(f"{own.url}/api/v1/platforms/", headers={"Cookie": cookies})
    assert answer.status_code == 200


def test_who_may_change_something_may_send_more(own: Server) -> None:
    admin = own.client()
    script = "#" * (SMALL_BODY * 4)
    body = {"type": "run_script", "script": script, "targets": {"names": ["none"]}}
    assert admin.http.post("/jobs/", json=body).status_code != 413
    assert own.account("operator").http.post("/jobs/", json=body).status_code != 413
    assert own.account("viewer").http.post("/jobs/", json=body).status_code == 413


def test_a_login_that_has_expired_is_told_as_such(own: Server) -> None:
    """A client renews its login then, and a person logs in: what was sent was not too much."""
    script = {"type": "run_script", "script": "#" * (SMALL_BODY * 4), "targets": {"names": ["none"]}}
    with own.nobody() as http:
        answer = http.post("/api/v1/jobs/", json=script, headers={"Authorization": "Bearer expired"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        page = http.post("/run", data=script, headers={"Origin": own.url, "Accept": "text/html"})
        assert page.status_code == 303 and page.headers["location"].startswith("/login")


def test_a_body_of_no_stated_length(own: Server) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(64):
            yield b"a" * 1024

    answer: Any = own.nobody().post("/api/v1/auth/login", content=pieces(), headers={"Content-Type": _JSON})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    api: Api = own.client()
    assert api.http.post("/jobs/", content=pieces(), headers={"Content-Type": _JSON}).status_code == 400


@pytest.mark.alone
def test_who_may_change_something_cannot_make_a_request_dear(own: Server) -> None:
    """A body of full size, of whatever shape: at most three seconds, most of them far less."""
    http = own.client().http
    rows = [
        {"name": f"n{number}", "host": "h", **{f"k{extra}": 1 for extra in range(19)}}
        for number in range(9_999)
    ]
    full = shapes(4_000_000) | {"rows with unknown fields": (_JSON, json.dumps({"hosts": rows}))}
    for door in ("/api/v1/platforms/", "/api/v1/platforms/import", "/platforms/import"):
        for name, (kind, body) in full.items():
            before = processor_seconds(own)
            answer = http.post(
                f"{own.url}{door}",
                content=body[:4_190_000],
                headers={"Origin": own.url, "Content-Type": kind},
                timeout=60,
            )
            took = processor_seconds(own) - before
            assert 200 <= answer.status_code < 500, (door, name, answer.text[:300])
            # Each unknown field was told by itself once.
            most = 0.7 if name == "unknown keys" else 3
            assert took <= most, f"{door}, {name}: {took} s of processor"
