"""What the server takes of memory, and that what a login needs for a moment does not stay."""

import psutil
import pytest

from tests.support.server import ADMIN, Server

pytestmark = pytest.mark.embedded

MOST_KEPT = 10 * 1024**2
"""Less than one password's hash takes (19 MiB)."""
MOST_IDLE = 120 * 1024**2
PAGES = ("/", "/platforms", "/run", "/jobs", "/keys", "/audit", "/settings")


def test_the_memory_of_hashes_comes_back() -> None:
    with Server(forked=False) as own:
        process, http = psutil.Process(own.process.pid), own.nobody()
        # What is loaded with the first request is no hash's.
        assert http.get("/login").status_code == 200
        before = process.memory_info().rss
        for _ in range(6):
            body = {"username": ADMIN[0], "password": ADMIN[1]}
            assert http.post("/api/v1/auth/login", json=body).status_code == 200
        assert process.memory_info().rss - before < MOST_KEPT


def test_an_idle_server_is_small() -> None:
    """On its first start, and on the next."""
    with Server(forked=False) as own:
        for again in (False, True):
            if again:
                own.stop()
                own.start()
            for _ in range(6):
                http = own.nobody()
                form = {"username": ADMIN[0], "password": ADMIN[1]}
                sent = http.post("/login", data=form, headers={"sec-fetch-site": "same-origin"})
                assert sent.status_code == 303
            for page in PAGES:
                assert http.get(page).status_code == 200
            own_memory = [each.memory_info().rss for each in own.web.group()] if own.web else []
            assert 0 < sum(own_memory) <= MOST_IDLE, f"{sum(own_memory) / 1024**2:.1f} MB"
