"""A database that is away for a while, in the midst of tasks: they wait for it, and none fails for it."""

from collections.abc import Iterator

import pytest

from tests.support.proxy import Proxies
from tests.support.server import Api, Server, walls
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until

pytestmark = pytest.mark.servers


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    made = Proxies()
    yield made
    made.close()


@pytest.mark.parametrize(("type", "what"), [("run_command", "of='a host key'"), ("gather_facts", "of=facts")])
def test_what_is_learned_of_a_host_is_stored_when_it_is_back(
    server: Server, api: Api, real_sshd: RealSshd, proxies: Proxies, type: str, what: str
) -> None:
    """The host's key, on the first connection, and its facts."""
    way = proxies.add(real_sshd.port)
    platform = api.add_platform(unique(), real_sshd, port=way.port)
    if type == "gather_facts":
        # Its key is known by then.
        api.run("true", targets={"platform_ids": [platform["id"]]})
    # Some answers of the host later, the database is away.
    way.delay = 0.3
    body = {"command": "echo done"} if type == "run_command" else {}
    job = api.start_job(type=type, targets={"platform_ids": [platform["id"]]}, **body)
    until(lambda: api.tasks(job)[0]["status"] == "running")
    before = len(server.log.read_text())

    def said() -> str:
        return server.log.read_text()[before:]

    walls().postgres.stop(immediate=True)
    try:
        # What the task has learned it cannot store now.
        until(lambda: what in said(), 20, otherwise=said)
    finally:
        walls().postgres.start()
    until(lambda: api.http.get(f"/jobs/{job}").status_code == 200)
    api.wait_job(job)
    (task,) = api.tasks(job)
    assert (task["status"], task["error_code"]) == ("success", None), task
    assert api.get(f"/platforms/{platform['id']}")["known_host_fingerprint"]
