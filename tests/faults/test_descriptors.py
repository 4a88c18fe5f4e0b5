"""A process that may not have many files open: no host is blamed for that, and clients are still answered."""

import httpx2

from tests.support.server import Api, Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until

_HOSTS = 120


def _platforms(api: Api, sshd: RealSshd) -> str:
    mark = unique("files")
    for number in range(_HOSTS):
        api.add_platform(f"{mark}-{number}", sshd, tags=[mark])
    return mark


def _done(api: Api, job_id: str) -> dict[str, int]:
    """How the job's tasks ended; meanwhile the API is asked all the time, over a new connection each time."""

    def ended() -> bool:
        with httpx2.Client(base_url=api.url, headers=api.http.headers, timeout=10, verify=False) as other:
            answer = other.get(f"/api/v1/jobs/{job_id}")
        assert answer.status_code == 200
        return bool(answer.json()["finished_at"])

    until(ended, 60)
    codes: dict[str, int] = {}
    for task in api.tasks(job_id):
        code = task["error_code"] or "success"
        codes[code] = codes.get(code, 0) + 1
    return codes


def test_fewer_files_than_hosts(real_sshd: RealSshd) -> None:
    """Connections, and the files of tasks whose output waits for more, stay below what the process may have open: all
    hosts are served, some after the others; as are many tasks at once over few connections."""
    with Server(files=128, mode="embedded") as own:
        api = own.client()
        command = "echo in; sleep 0.3; echo out"
        mark = _platforms(api, real_sshd)
        jobs = [api.start_job(command, targets={"tags": [mark]}, concurrency=_HOSTS)]
        few = api.get("/platforms/", q=f"{mark}-1", limit=8)
        jobs += [
            api.start_job(command, targets={"platform_ids": [one["id"] for one in few]}, concurrency=_HOSTS)
            for _ in range(12)
        ]
        for job in jobs:
            assert set(_done(api, job)) == {"success"}
