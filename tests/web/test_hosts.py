"""The name by which testum is called."""

import socket
from collections.abc import Iterator

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.support.application import Application, Listening, refusal
from tests.support.server import ADMIN

OWN = {
    "PUBLIC_URL": "https://Testum.example.com/",
    "ALLOWED_HOSTS": "ops.example.com, 192.0.2.7,[2001:db8::1]",
}


@pytest.fixture(scope="module")
def site() -> Iterator[Listening]:
    with Listening(env=OWN) as application:
        yield application


def called(http: httpx2.Client, host: str, path: str = "/api/v1/health") -> httpx2.Response:
    return http.get(path, headers={"Host": host})


def test_it_answers_to_its_own_names_alone(site: Listening) -> None:
    with site.nobody() as http:
        for name in (
            "testum.example.com", "TESTUM.example.com:443", "testum.example.com.", "ops.example.com:8000", "192.0.2.7",
            "[2001:db8::1]:80", "localhost:8000", "127.0.0.1", "[::1]:8000",
        ):  # fmt: skip
            assert called(http, name).status_code != 421, name
        for name in (
            "evil.example",
            "testum.example.com.evil.example",
            "192.0.2.8",
            "",
            "[",
            "a@testum.example.com:x",
        ):
            answer = called(http, name)
            assert (answer.status_code, answer.json()["code"]) == (421, "unknown_host"), name
            assert "evil" not in answer.text
        for path in ("/health", "/health/live", "/health/ready"):
            assert called(http, "10.0.0.3:8000", path).status_code == 200, (
                "what watches over it has its address"
            )
        login = {"username": ADMIN[0], "password": ADMIN[1]}
        answer = http.post("/api/v1/auth/login", json=login)
        assert "; secure" in answer.headers["set-cookie"].lower()
        token = answer.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    place = site.url.removeprefix("http://").rpartition(":")
    for name, more in (("evil.example", {}), ("localhost", {"Host": "evil.example"})):
        way = socket.create_connection((place[0], int(place[2])))
        with pytest.raises(InvalidStatus) as caught:
            connect(f"ws://{name}/ws/jobs/x", sock=way, additional_headers={**headers, **more})
        assert caught.value.response.status_code == 403


def test_no_answer_repeats_a_foreign_name() -> None:
    with Application() as plain, plain.nobody() as http:
        for path in (
            "/api/v1/platforms",
            "/api/keys",
            "//evil.example",
            "//evil.example/x",
            "/platforms/",
            "/audit/",
        ):
            answer = http.request("GET", f"{plain.url}{path}", headers={"Host": "evil.example"})
            location = answer.headers.get("location", "/")
            assert location.startswith("/") and not location.startswith("//"), (path, location)
        assert http.get("/api/v1/platforms").headers["location"] == "/api/v1/platforms/"


@pytest.mark.parametrize(
    "address", ["testum.example.com", "https://", "ftp://x", "https://x/below", "https://x:port"]
)
def test_an_address_that_cannot_be_used(address: str) -> None:
    assert refusal({"PUBLIC_URL": address}).startswith("PUBLIC_URL: ")
