"""Jobs on many hosts, one after the other: connections that are kept are found again."""

import time
from collections.abc import Iterator

import pytest

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.waiting import pause

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1200)]

_MANY, _FEW = 2000, 200
_ADDRESSES = 16
_MEANWHILE_SECONDS = 50
"""Between two jobs of somebody who reads what came of the first."""


@pytest.fixture
def sshd() -> Iterator[RealSshd]:
    own = RealSshd(addresses=_ADDRESSES)
    yield own
    own.close()


def test_a_second_job_on_many_hosts_is_as_quick_as_on_few(sshd: RealSshd) -> None:
    """The rate of the second job on 2,000 hosts, all of which were dialled by the first, is at least 0.8 of that on 200."""

    def rate(api: Api, **values: object) -> float:
        begun = time.monotonic()
        job = api.wait_job(api.start_job("true", concurrency=64, **values), 600)
        assert job["status"] == "success", job
        return job["counts"]["total"] / (time.monotonic() - begun)

    with Server(env={"ACCESS_TOKEN_SECONDS": "7200"}) as running:
        api = running.client()
        for number in range(_MANY):
            tags = ["few"] if number < _FEW else []
            api.add_platform(f"host-{number}", sshd, host=f"127.0.0.{number % _ADDRESSES + 1}", tags=tags)
        cold = rate(api)
        pause(_MEANWHILE_SECONDS)
        many = rate(api)
        few = max(rate(api, targets={"tags": ["few"]}) for _ in range(3))
        print(f"hosts a second: {cold:.0f} cold, {many:.0f} of {_MANY} warm, {few:.0f} of {_FEW} warm")
        assert many >= 0.8 * few
