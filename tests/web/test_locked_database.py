"""A database file that another program holds: what writes says so within seconds, what reads goes on."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.support.application import Application
from tests.support.server import ADMIN, Api
from tests.support.waiting import until

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def installation() -> Iterator[Application]:
    with Application() as running:
        yield running


PLATFORM = {
    "name": "p", "host": "127.0.0.1", "port": 1, "username": "x", "auth_method": "password", "password": "x",
}  # fmt: skip


@pytest.mark.alone
def test_what_writes_is_refused_within_five_seconds_and_what_reads_goes_on(installation: Application) -> None:
    api = installation.client()
    viewer = installation.account("viewer")
    with installation.nobody() as browser:
        # Its page is shown with the cookie of a login.
        browser.post("/api/v1/auth/login", json={"username": ADMIN[0], "password": ADMIN[1]})
        platform = api.post("/platforms/", PLATFORM)
        body = {"type": "run_command", "command": "true", "targets": {"all": True}}
        job_id = api.post("/jobs/", body)["id"]
        api.wait_job(job_id)
        on = f"/platforms/{platform['id']}"
        writing: list[tuple[Api, str, str, Any]] = [
            (api, "POST", "/jobs/", body),
            (api, "POST", f"/jobs/{job_id}/rerun", {}),
            (api, "POST", f"/jobs/{job_id}/cancel", None),
            (api, "POST", f"{on}/run_command", {"command": "true"}),
            (api, "POST", "/platforms/", PLATFORM | {"name": "q"}),
            (api, "PATCH", on, {"description": "x"}),
            (api, "POST", "/selections/", {"name": "s", "targets": {"all": True}}),
            (api, "POST", "/auth/login", {"username": ADMIN[0], "password": ADMIN[1]}),
            (api, "DELETE", on, None),
            # Its refusal is written down.
            (viewer, "DELETE", on, None),
        ]

        def send(request: tuple[Api, str, str, Any]) -> tuple[httpx2.Response, float]:
            client, method, path, body = request
            begun = time.monotonic()
            return client.http.request(method, path, json=body), time.monotonic() - begun

        with closing(sqlite3.connect(installation.data_dir / "testum.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with ThreadPoolExecutor(len(writing)) as pool:
                answers = pool.map(send, writing)
                form = pool.submit(
                    browser.post,
                    f"{on}/test",
                    headers={"sec-fetch-site": "same-origin", "accept": "text/html"},
                )
                begun = time.monotonic()
                assert [one["id"] for one in api.get("/platforms/")] == [platform["id"]]
                assert api.get(f"/jobs/{job_id}")["status"] == "failed"
                assert browser.get("/jobs").status_code == 200
                assert time.monotonic() - begun < 3
                for (_, method, path, _), (answer, took) in zip(writing, answers, strict=True):
                    assert answer.status_code == 503, (method, path, answer.text)
                    assert answer.json()["code"] == "storage_unavailable", (method, path)
                    assert int(answer.headers["Retry-After"]) > 0 and took < 5, (method, path, took)
                page = form.result()
                assert page.status_code == 503 and int(page.headers["Retry-After"]) > 0
                assert "Another program holds the database file" in page.text
            other.execute("ROLLBACK")
        until(lambda: api.http.patch(on, json={"description": "y"}).status_code == 200)
        assert len(api.get("/jobs/")) == 1 and len(api.get("/platforms/")) == 1
