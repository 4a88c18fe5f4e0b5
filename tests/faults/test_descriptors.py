"""A process that may not have many files open: no host is blamed for that, and clients are still answered."""

from tests.support.server import Server
from tests.support.sshd import RealSshd
from tests.support.tools import unique
from tests.support.waiting import until

_HOSTS = 120


def _platforms(api, sshd: RealSshd) -> str:
    mark = unique("files")
    for number in range(_HOSTS):
        api.add_platform(f"{mark}-{number}", sshd, tags=[mark])
    return mark


def _done(api, job_id: str) -> dict[str, int]:
    """How the job's tasks ended; meanwhile the API is asked all the time, over a new connection each time."""

    def ended() -> bool:
        with api.http.__class__(base_url=api.url, headers=api.http.headers, timeout=10) as other:
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
    """Connections stay below what the process may have open: all hosts are served, one after the other."""
    with Server(files=128, mode="embedded") as own:
        api = own.client()
        mark = _platforms(api, real_sshd)
        job = api.start_job("echo in", targets={"tags": [mark]}, concurrency=_HOSTS)
        assert _done(api, job) == {"success": _HOSTS}
