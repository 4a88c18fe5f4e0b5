"""Starting and stopping: broken settings, a second server, an orderly stop.

Why a start is refused is asked in the process; where the command's exit status or its own line matters, it is run.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from tests.support import forkserver
from tests.support.application import Application, refusal
from tests.support.server import Server
from tests.support.sshd import RealSshd, free_port
from tests.support.waiting import until
from testum.db.migrate import unusable
from testum.db.session import translate
from testum.errors import StorageFull


def serve(data_dir: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`testum serve`, which does not get far."""
    env = {**os.environ, "DATA_DIR": str(data_dir), "ADMIN_PASSWORD": "correct-horse-battery", **env}
    return forkserver.run_text("serve", "--port", str(free_port()), *options, env=env, folder=data_dir.parent)


def refused(data_dir: Path, **env: str) -> str:
    """Why no testum starts on this directory: one line."""
    return refusal({"DATA_DIR": str(data_dir), "ADMIN_PASSWORD": "correct-horse-battery", **env})


BROKEN = [
    ({"FERNET_KEY": "short"}, "FERNET_KEY"),
    ({"SECRET_KEY": "short"}, "SECRET_KEY"),
    ({"SSH_HOST_KEY_POLICY": "none"}, "SSH_HOST_KEY_POLICY"),
    ({"TASK_CONCURRENCY": "many"}, "TASK_CONCURRENCY"),
    ({"CONNECT_TIMEOUT_SECONDS": "-1"}, "CONNECT_TIMEOUT_SECONDS"),
    ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
    ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
    ({"DATA_DIR": "/proc/none"}, "DATA_DIR"),
    ({"ADMIN_USERNAME": " "}, "ADMIN_USERNAME"),
    ({"ADMIN_PASSWORD": "short"}, "ADMIN_PASSWORD"),
    ({"TASK_TIMEOUT_SECONDS": "inf"}, "TASK_TIMEOUT_SECONDS"),
    ({"CONNECT_TIMEOUT_SECONDS": "1e400"}, "CONNECT_TIMEOUT_SECONDS"),
    ({"TRUSTED_PROXIES": "127.0.0.1, proxy"}, "TRUSTED_PROXIES"),
    ({"TRUSTED_PROXIES": "10.0.0.1/8"}, "TRUSTED_PROXIES"),
]


@pytest.mark.parametrize(("env", "setting"), BROKEN, ids=str)
def test_a_broken_setting_is_named_in_one_line(tmp_path: Path, env: dict[str, str], setting: str) -> None:
    assert setting in refused(tmp_path / "data", **env)


@pytest.mark.parametrize(
    ("env", "setting", "status"),
    [({"FERNET_KEY": "short"}, "FERNET_KEY", 2), ({"ADMIN_PASSWORD": "short"}, "ADMIN_PASSWORD", 3)],
    ids=["read", "used"],
)
def test_how_a_broken_setting_is_told(tmp_path: Path, env: dict[str, str], setting: str, status: int) -> None:
    """When the settings are read, and when they are used."""
    done = serve(tmp_path / "data", **env)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == status
    assert len(lines) == 1 and setting in lines[0], done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_misspelt_setting_is_told(tmp_path: Path) -> None:
    """By the name that is meant; what Compose reads there is nobody's mistake."""
    names = re.findall(r"^#?([A-Z_]+)=", Path(".env.example").read_text(), re.MULTILINE)
    wrong = {
        "TASK_TIMEOUT_SECOND": "TASK_TIMEOUT_SECONDS",
        "SSH_HOSTKEY_POLICY": "SSH_HOST_KEY_POLICY",
        "SSH_KEY_POLICY": "SSH_HOST_KEY_POLICY",
        "ADMIN_PASS": "ADMIN_PASSWORD",
        "WORKER_DRAIN": "WORKER_DRAIN_SECONDS",
        "RETENTION_DAYS": "OUTPUT_RETENTION_DAYS",
    }
    given = {name: "" for name in names if name.startswith(("COMPOSE", "POSTGRES", "REDIS_", "TESTUM"))}
    lines = [*(f"{name}={value}" for name, value in given.items()), *(f"{name}=5" for name in wrong)]
    (tmp_path / ".env").write_text("\n".join(lines))
    # It starts, but for this.
    told = serve(tmp_path / "data", ADMIN_PASSWORD="short").stderr.strip().splitlines()
    assert len(told) == len(wrong) + 1 and "ADMIN_PASSWORD" in told[-1], told
    for line, (name, meant) in zip(told, wrong.items(), strict=False):
        assert f" {name} is" in line and f" {meant} meant" in line


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    done = serve(tmp_path / "data")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and ".env" in done.stderr, done.stderr
    (tmp_path / ".env").unlink()
    (tmp_path / "data" / "secret_key").mkdir(parents=True)
    assert "SECRET_KEY" in refused(tmp_path / "data")


def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "testum.db").write_bytes(b"not a database\n" * 100)
    told = refused(tmp_path / "data")
    assert "DATABASE_URL" in told and "testum.db" in told


@pytest.mark.embedded
def test_another_key_than_the_datas(tmp_path: Path, real_sshd: RealSshd) -> None:
    """The key was lost or mixed up: said at the start, not when the first password is needed."""
    with Application(data_dir=tmp_path / "data") as application:
        application.client().add_platform("one", real_sshd)
        application.stop()
        (application.data_dir / "fernet_key").unlink()
        assert "FERNET_KEY" in refused(application.data_dir)


@pytest.mark.embedded
def test_a_second_server_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with Application(data_dir=tmp_path / "data") as first:
        done = serve(first.data_dir)
        assert done.returncode != 0
        assert len(done.stderr.strip().splitlines()) == 1 and str(first.data_dir) in done.stderr, done.stderr
        assert first.client().get("/platforms/") == []


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = serve(tmp_path / "data", "--port", str(port))
    assert done.returncode != 0 and str(port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)], ids=["TERM", "Ctrl-C"]
)
def test_an_orderly_stop_ends_what_runs_and_keeps_the_rest(
    real_sshd: RealSshd, how: int, status: int
) -> None:
    """After TERM a supervisor sees that TERM ended it, as systemd expects."""
    with Server() as server:
        api = server.client()
        for number in range(4):
            api.add_platform(f"p{number}", real_sshd)
        job_id = api.start_job("echo go; sleep 4100", concurrency=2)
        until(lambda: [api.output(task["id"]) for task in api.tasks(job_id)[:2]] == [b"go\n"] * 2)
        assert server.process is not None
        server.process.send_signal(how)
        begun = time.monotonic()
        assert server.process.wait(60) == status
        assert time.monotonic() - begun < 30
        assert "Traceback" not in server.log.read_text()
        running = subprocess.run(
            ["ps", "-ww", "-u", real_sshd.user.name, "-o", "args"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        assert "sleep 4100" not in running
        server.start()
        tasks = api.tasks(job_id)
        lost = [task for task in tasks if task["status"] == "lost"]
        assert [task["error_code"] for task in lost] == ["worker_stopped"] * 2
        assert all(task["metadata"]["termination"]["state"] == "confirmed" for task in lost)
        assert [api.output(task["id"]) for task in lost] == [b"go\n"] * 2
        # What had not begun runs now.
        until(lambda: sum(task["status"] == "running" for task in api.tasks(job_id)) == 2)
        api.post(f"/jobs/{job_id}/cancel")
        assert api.wait_job(job_id)["counts"]["cancelled"] == 2


@pytest.mark.embedded
def test_nobody_else_may_read_the_data(tmp_path: Path) -> None:
    """A directory that was there before, and files of a testum that left them open."""
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with Server(data_dir=data) as server:
        server.client().get("/jobs/")
        modes = {path: path.stat().st_mode & 0o077 for path in (data, *data.rglob("*")) if path != server.log}
        assert data / "testum.db" in modes and set(modes.values()) == {0}, modes
    for path in (data, data / "testum.db", data / "fernet_key"):
        path.chmod(path.stat().st_mode | 0o044)
    with Server(data_dir=data):
        assert not any(
            path.stat().st_mode & 0o077 for path in (data, data / "testum.db", data / "fernet_key")
        )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an installation that has done something; it is copied, not used."""
    folder = tmp_path_factory.mktemp("lived") / "data"
    with Application(data_dir=folder) as site:
        api = site.client()
        platform = {
            "name": "p",
            "host": "127.0.0.1",
            "port": 1,
            "username": "x",
            "auth_method": "password",
            "password": "x",
        }
        api.post("/platforms/", platform)
        task = api.run("true", targets={"all": True})["id"]
        file = site.data_dir / "artifacts" / "tasks" / task[-2:] / f"{task}.frames"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    return folder


def overwritten(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def forgets(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM task_runs")
        connection.commit()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda file: file.unlink(), "is missing, but"),
        (lambda file: file.write_bytes(b""), "is empty, but"),
        (lambda file: file.write_bytes(b"hello\n" * 999), "is no SQLite database"),
        (lambda file: os.truncate(file, 50), "is damaged: it is cut"),
        (lambda file: os.truncate(file, file.stat().st_size - 4096), "is damaged: it has"),
        (lambda file: os.truncate(file, file.stat().st_size // 2 + 100), "is damaged: it has"),
        (lambda file: overwritten(file, 4096, b"\xff" * 4096), "is damaged: "),
        (lambda file: overwritten(file, 100, b"\xff" * 400), "is damaged: "),
        (forgets, "knows of no task"),
    ],
    ids=[
        "missing",
        "empty",
        "no database",
        "a stump",
        "cut",
        "halved",
        "a page",
        "the first page",
        "another",
    ],
)
def test_a_database_file_that_is_not_what_it_was(
    lived: Path, tmp_path: Path, harm: Callable[[Path], object], told: str
) -> None:
    """It is told in one line, with what to do, and nothing is made of it."""
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    file = data / "testum.db"
    harm(file)
    before = file.read_bytes() if file.exists() else None
    said = refused(data)
    assert told in said and str(file) in said and "Restore the database from a backup" in said
    assert (file.read_bytes() if file.exists() else None) == before
    shutil.copy(lived / "testum.db", file)
    with Application(data_dir=data):
        pass


def test_a_full_disk_is_told_as_that() -> None:
    """And not as an error of the file, which is whole. Only a full file system has SQLite raise this; so it is made here."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    raised = OperationalError("PRAGMA journal_mode=WAL", {}, error)
    assert isinstance(translate(raised), StorageFull)
    told = unusable(make_url("sqlite+aiosqlite:////data/testum.db"), raised).message
    assert (
        "/data/testum.db" in told and "The disk under DATA_DIR is full" in told and "Check that" not in told
    )


def test_a_file_that_another_program_holds_is_told_as_that(lived: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    with closing(sqlite3.connect(data / "testum.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        said = refused(data)
    assert "Another program holds the database file" in said and "Check that address" not in said


def test_a_page_that_is_found_damaged_at_work(lived: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    with Application(data_dir=data) as site:
        api = site.client()
        with closing(sqlite3.connect(data / "testum.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (page,) = other.execute("SELECT rootpage FROM sqlite_master WHERE name = 'audit_logs'").fetchone()
        overwritten(data / "testum.db", (page - 1) * 4096, b"\xff" * 4096)
        answer = api.http.get("/audit/")
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), answer.text
        assert "The database file cannot be used" in answer.json()["detail"]
        assert api.http.get("/jobs/").status_code == 200, "what does not need it goes on"
    assert "is damaged: " in refused(data)


@pytest.mark.embedded
def test_output_that_cannot_be_read_keeps_no_server_from_starting(real_sshd: RealSshd) -> None:
    """After a kill each running task's output is read: where one is unreadable, as on a broken disk, its task says so."""
    with Server() as server:
        api = server.client()
        api.add_platform("p", real_sshd)
        job_ids = [api.start_job(f"echo {word}; exec sleep 4200") for word in ("one", "two")]
        tasks = [api.tasks(job_id)[0] for job_id in job_ids]
        until(lambda: [api.output(task["id"]) for task in tasks] == [b"one\n", b"two\n"])
        server.kill()
        name = tasks[0]["id"]
        file = server.data_dir / "artifacts" / "tasks" / name[-2:] / f"{name}.frames"
        file.unlink()
        file.mkdir()
        server.start()
        first, second = (api.tasks(job_id)[0] for job_id in job_ids)
        assert (first["status"], second["status"]) == ("lost", "lost")
        assert api.output(second["id"]) == b"two\n"
        answer = api.http.get(f"/tasks/{name}/output")
        assert (answer.status_code, answer.json()["code"]) == (410, "output_damaged"), answer.text
        for job_id in job_ids:
            api.post(f"/jobs/{job_id}/cancel")
        until(lambda: not any(api.tasks(job_id)[0]["may_still_run"] for job_id in job_ids))
