"""What a login needs for a moment does not stay with the server."""

import psutil
import pytest

from tests.support.server import ADMIN, Server

pytestmark = pytest.mark.embedded

MOST_KEPT = 10 * 1024**2
"""Less than one password's hash takes (19 MiB)."""


def test_the_memory_of_hashes_comes_back() -> None:
    with Server() as own:
        process, http = psutil.Process(own.process.pid), own.nobody()
        # What is loaded with the first request is no hash's.
        assert http.get("/login").status_code == 200
        before = process.memory_info().rss
        for _ in range(6):
            body = {"username": ADMIN[0], "password": ADMIN[1]}
            assert http.post("/api/v1/auth/login", json=body).status_code == 200
        assert process.memory_info().rss - before < MOST_KEPT
