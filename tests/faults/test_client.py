"""Ways in which a client ends, against the real server: the job ends with the `exec` that started it, and goes
on when someone only watched; and bad input is one line, never a traceback."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Api
from tests.support.sshd import RealSshd
from tests.support.tools import make_key, unique
from tests.support.waiting import until


@pytest.fixture(scope="module")
def platform(api: Api, real_sshd: RealSshd) -> Any:
    return api.add_platform(unique("end"), real_sshd)


@pytest.fixture
def environment(api: Api, tmp_path: Path) -> dict[str, str]:
    token = api.http.headers["Authorization"].removeprefix("Bearer ")
    return {**os.environ, "HOME": str(tmp_path), "TESTUM_URL": api.url, "TESTUM_TOKEN": token}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "testum", *words]


@pytest.fixture
def long_job(
    api: Api, platform: Any, environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An `exec` under way, and its job."""
    mark = unique("mark")
    repeat = f"while :; do echo {mark}; sleep 0.01; done"
    client = subprocess.Popen(
        # The tests may have been started with `nohup`: what is started with SIGHUP ignored goes on ignoring it.
        ["env", "--default-signal=HUP", *command("exec", repeat, "--on", platform["name"])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert client.stdout is not None and mark.encode() in client.stdout.readline()
    (job,) = api.get("/jobs/", q=mark)
    yield client, job["id"]
    client.kill()
    client.communicate()
    api.post(f"/jobs/{job['id']}/cancel")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_told_to_end_cancels_its_job(api: Api, long_job: Any, number: int) -> None:
    client, job_id = long_job
    client.send_signal(number)
    _, said = client.communicate(timeout=60)
    assert client.returncode == 130 and b"Cancelling" in said
    assert api.get(f"/jobs/{job_id}")["status"] == "cancelled"


def test_a_reader_that_goes_away_ends_the_job(api: Api, long_job: Any) -> None:
    client, job_id = long_job
    client.stdout.close()
    said = client.stderr.read()
    assert client.wait(60) == 141 and b"cancelled" in said and b"Traceback" not in said
    assert api.wait_job(job_id, 60)["status"] == "cancelled"


def test_a_watcher_that_leaves_does_not_end_the_job(
    api: Api, long_job: Any, environment: dict[str, str]
) -> None:
    _, job_id = long_job
    watcher = subprocess.Popen(
        command("jobs", "watch", job_id), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert watcher.stdout is not None and watcher.stdout.readline()
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=60)
    assert watcher.returncode == 130 and f"testum jobs cancel {job_id}".encode() in said
    assert api.get(f"/jobs/{job_id}")["status"] == "running"
    cancelled = subprocess.run(
        command("jobs", "cancel", job_id), env=environment, capture_output=True, check=True
    )
    assert b"is being cancelled" in cancelled.stdout
    until(lambda: api.get(f"/jobs/{job_id}")["status"] == "cancelled")
    again = subprocess.run(
        command("jobs", "cancel", job_id), env=environment, capture_output=True, check=True
    )
    assert b"is over already (cancelled)" in again.stdout


def test_a_full_disk_behind_the_output(api: Api, platform: Any, environment: dict[str, str]) -> None:
    for words in (["exec", "seq 1 300000", "--on", platform["name"]], ["platforms", "list"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                command(*words), env=environment, stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert done.returncode == 2 and b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_closed_streams(platform: Any, environment: dict[str, str]) -> None:
    line = " ".join([sys.executable, "-m", "testum", "exec", "true", "--on", platform["name"]])
    for closed in (">&-", "2>&-", "<&-"):
        done = subprocess.run(
            ["sh", "-c", f"{line} {closed}"], env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0 and b"Traceback" not in done.stdout + done.stderr


def test_what_is_named_and_not_there_is_no_success(platform: Any, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command("exec", "true", "--on", f"{platform['name']},nosuch-[01-02]"),
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"There is no platform named nosuch-01, nosuch-02." in done.stderr


WRONG: list[tuple[list[Any], dict[str, str]]] = [
    (["exec", b"echo \xff", "--all"], {}),
    (["exec", " ", "--all"], {}),
    (["exec", "true", "--all", "--timeout", "inf"], {}),
    (["exec", "--script", "-", "--all"], {}),
    (["whoami"], {"TESTUM_URL": "http://[::1"}),
    (["whoami"], {"TESTUM_TOKEN": "é"}),
    (["whoami"], {"TESTUM_TOKEN": "a\nb"}),
]


@pytest.mark.parametrize(("words", "changes"), WRONG, ids=str)
def test_wrong_input_is_one_line(
    environment: dict[str, str], words: list[Any], changes: dict[str, str]
) -> None:
    done = subprocess.run(
        [*command(), *words], env=environment | changes, input=b"\xff\xfe\n", capture_output=True, check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert b"a\nb" not in done.stderr


def test_a_private_key_given_by_mistake_stays_here(environment: dict[str, str], tmp_path: Path) -> None:
    private, _ = make_key(tmp_path)
    (tmp_path / "key").write_text(private)
    done = subprocess.run(
        command("keys", "add", "mine", str(tmp_path / "key")),
        # Nobody listens there: the refusal comes before anything is sent.
        env=environment | {"TESTUM_URL": "http://127.0.0.1:9"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2 and b"this is a private key" in done.stderr


def test_text_that_the_terminal_cannot_show(api: Api, platform: Any, environment: dict[str, str]) -> None:
    api.run("echo день", targets={"platform_ids": [platform["id"]]})
    done = subprocess.run(
        command("jobs", "list"),
        env=environment | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and b"echo ????" in done.stdout, done.stderr
