"""`testum db migrate-from`: an installation on SQLite goes over to PostgreSQL and S3, all of it, or nothing of it.

What the move itself decides is asked in the process; the command is run for what it prints and for its exit status.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import forkserver
from tests.support.application import Application, refusal_of, settings_of
from tests.support.server import Api, Installation, Server, walls
from tests.support.sshd import RealSshd
from tests.support.stream import follow
from tests.support.tools import make_key, unique
from tests.support.waiting import until
from testum.app import make_artifacts
from testum.db import migrate as schema
from testum.db import postgresql, sqlite_source
from testum.migrate_from import Moved, move

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

SEEN = (
    "/platforms/",
    "/selections/",
    "/keys/",
    "/jobs/",
    "/tasks/",
    "/audit/",
)


def environment(old: Installation) -> dict[str, str]:
    """The settings of an empty installation on servers that an old one may move to."""
    return {**os.environ, **walls().environment(), "FERNET_KEY": old.fernet_key, "SECRET_KEY": old.secret_key}


def migrate(
    old: Installation, env: dict[str, str], folder: Path, address: str | None = None
) -> subprocess.CompletedProcess[str]:
    database = address or f"sqlite:///{old.data_dir}/testum.db"
    env = {**env, "DATA_DIR": str(folder / "new")}
    return forkserver.run_text("db", "migrate-from", database, env=env, folder=folder, seconds=100)


async def moving(old: Installation, env: dict[str, str], folder: Path, address: str | None = None) -> Moved:
    """`migrate` in this process. Raises what `move` does."""
    settings = settings_of({**env, "DATA_DIR": str(folder / "new")})
    return await move(settings, address or f"sqlite:///{old.data_dir}/testum.db", lambda _: None)


def moved(old: Installation, env: dict[str, str], folder: Path) -> None:
    """Moves all of it, now."""
    assert asyncio.run(moving(old, env, folder)).fresh


def kept_from(
    old: Installation, env: dict[str, str], folder: Path, *parts: str, address: str | None = None
) -> str:
    """Why it is not moved: one line that has these parts."""
    told = refusal_of(moving(old, env, folder, address))
    for part in parts:
        assert part in told, told
    return told


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One line that has these parts, and no traceback."""
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(said) == 1, done.stderr + done.stdout
    for part in parts:
        assert part in said[0], said[0]


def everything(api: Api) -> dict[str, Any]:
    """All that the API tells of an installation, with each task's exact output and each job's stream."""
    seen: dict[str, Any] = {path: api.all(path) for path in SEEN}
    # To log in is an entry of its own.
    seen["/audit/"] = [entry for entry in seen["/audit/"] if not entry["action"].startswith("auth.")]
    for job in seen["/jobs/"]:
        seen[f"job {job['id']}"] = follow(api, f"jobs/{job['id']}")
    for selection in seen["/selections/"]:
        seen[f"selection {selection['id']}"] = api.get(f"/selections/{selection['id']}")
    for task in seen["/tasks/"]:
        task.pop("result_location")
        for stream in ("stdout", "stderr"):
            seen[f"{stream} of {task['id']}"] = api.output(task["id"], stream)
    return seen


def rows(server: Installation, table: str) -> int:
    return int(server.execute(f"SELECT count(*) FROM {table}")[0][0])


@pytest.fixture(scope="module")
def old(real_sshd: RealSshd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An installation that has been used for all sorts of things, stopped."""
    with Server(mode="embedded") as server:
        api = server.client()
        private, public = make_key(tmp_path_factory.mktemp("keys"))
        real_sshd.add_key(public)
        key = api.post("/keys/", {"name": "deploy", "public_key": public, "private_key": private})
        first = api.add_platform(
            "first", real_sshd, tags=["a", "ü"], description="\N{RIGHT-TO-LEFT OVERRIDE}"
        )
        by_key = api.add_platform(
            "by-key", real_sshd, host=real_sshd.address(1), auth_method="private_key", key_id=key["id"]
        )
        # Refers to a platform that comes after it in no order of ids.
        api.add_platform("behind", real_sshd, host=real_sshd.address(2), jump_platform_id=by_key["id"])
        api.add_platform("down", real_sshd, port=1)
        job = api.start_job("printf 'out\\0\\377'; echo err >&2; exit 3", environment={"SECRET": "x"})
        api.wait_job(job)
        again = api.post(f"/jobs/{job}/rerun", {"only": "failed"})["job_id"]
        api.wait_job(again)
        # More than one artifact, with two streams.
        api.run(
            "head -c 20000000 /dev/urandom; head -c 3000000 /dev/zero >&2",
            targets={"platform_ids": [first["id"]]},
        )
        api.wait_job(
            api.start_job(type="deploy", key_ids=[key["id"]], targets={"platform_ids": [first["id"]]})
        )
        api.wait_job(api.start_job(type="gather_facts", targets={"platform_ids": [by_key["id"]]}))
        gone = api.add_platform("gone", real_sshd)
        api.post("/selections/", {"name": "picked", "targets": {"platform_ids": [first["id"], gone["id"]]}})
        api.post("/selections/", {"name": "ü", "targets": {"tags": ["ü"], "q": "fir*", "state": "ok"}})
        api.ok(api.http.delete(f"/platforms/{gone['id']}"))
        server.account("viewer")
        server.seen = everything(api)  # type: ignore[attr-defined]
        server.stop()
        yield server


def test_all_of_it_is_there(old: Server, real_sshd: RealSshd, tmp_path: Path) -> None:
    env = environment(old)
    before = {path: path.read_bytes() for path in old.data_dir.rglob("*") if path.is_file()}
    done = migrate(old, env, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Moved and verified" in done.stdout and "missing" not in done.stdout
    changed = [path for path, data in before.items() if path.read_bytes() != data]
    assert changed == [] and set(before) == {path for path in old.data_dir.rglob("*") if path.is_file()}

    again = migrate(old, env, tmp_path)
    assert again.returncode == 0 and "nothing was done" in again.stdout, again.stderr + again.stdout

    with Server(env=env) as server:
        for table in ("users", "logins", "audit_logs", "task_runs", "task_outputs", "host_keys"):
            assert rows(server, table) == rows(old, table), table
        api = server.client()
        seen = everything(api)
        assert seen.keys() == old.seen.keys()  # type: ignore[attr-defined]
        for name, value in old.seen.items():  # type: ignore[attr-defined]
            assert seen[name] == value, name
        # It goes on: secrets open, host keys are known, and a follower of an old job is told of nothing new twice.
        job = api.wait_job(api.start_job("echo moved", targets={"tags": ["a"]}))
        assert job["counts"]["success"] == 1
        assert api.get("/platforms/", q="by-key")[0]["known_host_fingerprint"]
        largest = max(seen["/tasks/"], key=lambda task: int(task["metadata"].get("output_bytes", 0)))
        assert api.http.get(f"/tasks/{largest['id']}/output").status_code == 200
    # Used since: a third run must not take it for untouched, nor change it.
    kept_from(old, env, tmp_path, "DATABASE_URL", "has been used since")


def test_without_s3_output_goes_into_the_new_data_directory(old: Server, tmp_path: Path) -> None:
    env = environment(old)
    for name in [name for name in env if name.startswith("MINIO_")]:
        del env[name]
    moved(old, env, tmp_path)
    found = list((tmp_path / "new" / "artifacts").rglob("*.frames"))
    assert sum(path.stat().st_size for path in found) > 23_000_000


def test_a_statement_of_the_move_may_take_long(
    old: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a server that hangs is waited for elsewhere."""
    env = environment(old)
    asyncio.run(schema.prepare(env["DATABASE_URL"]))
    with psycopg.connect(env["DATABASE_URL"]) as new:
        new.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'"
        )
        new.execute("CREATE TRIGGER wait AFTER UPDATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION wait()")
    monkeypatch.setattr(postgresql, "_ANSWER_SECONDS", 2.0)
    monkeypatch.setattr(postgresql._Connection, "patience", 2.0)
    moved(old, env, tmp_path)


def test_a_server_at_work_is_not_moved(old: Server, tmp_path: Path) -> None:
    with Application(mode="embedded") as running:
        refused(migrate(running, environment(running), tmp_path), "Stop it", str(running.data_dir))


def test_what_was_cut_off_is_moved_and_closed(real_sshd: RealSshd, tmp_path: Path) -> None:
    """After kill -9 of the old server: what ran is lost in the new one, with the output there was; what had not begun
    is done there."""
    gate = real_sshd.user.home / unique("gate")
    with Server(env={"WORKER_CONCURRENCY": "1"}, mode="embedded") as server:
        api = server.client()
        for number in range(2):
            api.add_platform(f"p{number}", real_sshd, host=real_sshd.address(number))
        job = api.start_job(
            f"head -c 300000 /dev/zero | tr '\\0' x; while [ ! -e {gate} ]; do sleep 0.1; done", concurrency=1
        )
        outputs = server.data_dir / "artifacts"
        until(lambda: any(path.stat().st_size > 300_000 for path in outputs.rglob("*.frames")))
        server.kill()
        gate.touch()
        with next(outputs.rglob("*.frames")).open("ab") as file:
            # A write that the crash cut off.
            file.write(b"\x01\x02\x03")
        env = environment(server)
        done = migrate(server, env, tmp_path)
        assert done.returncode == 0 and "missing" not in done.stdout, done.stderr + done.stdout
        # None of its processes closes anything before it has seen one lease go by: a short one, as little is done.
        new = Server(env=env | {"LEASE_SECONDS": "4"})
        # As if it started when the dead server's lease is over. Not in the old database: what the crash left of that
        # is what is moved.
        ended = "UPDATE task_runs SET lease_expires_at = clock_timestamp() WHERE lease_expires_at IS NOT NULL"
        assert len(new.execute(f"{ended} RETURNING id")) == 1
        with new:
            client = new.client()
            client.wait_job(job, 90)
            ends = {task["platform_name"]: task for task in client.tasks(job)}
            assert sorted(task["status"] for task in ends.values()) == ["lost", "success"]
            for task in ends.values():
                assert client.output(task["id"]) == b"x" * 300000


KILLED = """
import asyncio, os, signal, sys
from testum.migrate_from import move
from testum.settings import load_settings

def say(text):
    if sys.argv[2] in text:
        os.kill(os.getpid(), signal.SIGKILL)

sys.stdin.readline()
asyncio.run(move(load_settings(), sys.argv[1], say))
"""
"""A move that is killed when it says this, once it is told to begin."""


def test_interrupted_it_is_not_there(old: Server, tmp_path: Path) -> None:
    """kill -9 while it copies rows, stores outputs, or verifies: the database stays empty, and the next run moves all."""
    env = environment(old)
    # One after the other; but what takes long is that they start.
    killed = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, f"{old.data_dir}/testum.db", moment],
            env={**env, "DATA_DIR": str(tmp_path / "new")},
            cwd=tmp_path,
            stdin=subprocess.PIPE,
        )
        for moment in ("task_runs: ", "output: ", "rows verified")
    ]
    try:
        for running in killed:
            running.communicate(b"\n", timeout=60)
            assert running.returncode == -signal.SIGKILL
    finally:
        for running in killed:
            running.kill()
            running.wait(10)
    moved(old, env, tmp_path)


def test_a_database_with_data_of_its_own_is_left_alone(old: Server, tmp_path: Path) -> None:
    with Application(env={"FERNET_KEY": old.fernet_key, "SECRET_KEY": old.secret_key}) as other:
        before = rows(other, "users"), rows(other, "audit_logs")
        kept_from(old, other.env, tmp_path, "DATABASE_URL", "data of its own")
        assert (rows(other, "users"), rows(other, "audit_logs")) == before


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"DATABASE_URL": ""}, ("DATABASE_URL", "not set")),
        ({"FERNET_KEY": "A" * 43 + "="}, ("FERNET_KEY", "fernet_key")),
        ({"FERNET_KEY": ""}, ("FERNET_KEY", "not set")),
        ({"MINIO_SECRET_KEY": "wrong"}, ("MINIO_SECRET_KEY",)),
    ],
    ids=str,
)
def test_settings_that_do_not_fit(
    old: Server, tmp_path: Path, changed: dict[str, str], parts: tuple[str, ...]
) -> None:
    env = environment(old)
    kept_from(old, env | changed, tmp_path, *parts)
    moved(old, env, tmp_path)  # nothing of it was kept


@pytest.mark.parametrize(
    ("address", "part"),
    [
        ("sqlite:////nowhere/testum.db", "is not a file"),
        ("postgresql://a:secret@127.0.0.1/x", "Only an installation on SQLite"),
        ("sqlite://:::", "is not"),
        ("{folder}/text", "not a database"),
        ("{folder}/other.db", "not a database of testum"),
        ("{folder}/older.db", "testum db upgrade"),
        ("{folder}/newer.db", "newer testum"),
        ("{folder}/more.db", "tables that this testum does not know: gadgets, widgets."),
    ],
)
def test_addresses_of_something_else(old: Server, tmp_path: Path, address: str, part: str) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("CREATE TABLE other (x)")
    for name, revision in (("older", "0001"), ("newer", "9999")):
        shutil.copy(old.data_dir / "testum.db", tmp_path / f"{name}.db")
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as database, database:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    shutil.copy(old.data_dir / "testum.db", tmp_path / "more.db")
    with closing(sqlite3.connect(tmp_path / "more.db")) as database, database:
        database.executescript("CREATE TABLE widgets (x); CREATE TABLE gadgets (x)")
    told = kept_from(old, environment(old), tmp_path, part, address=address.format(folder=tmp_path))
    assert "secret" not in told


def test_outputs_that_were_missing_before(old: Server, tmp_path: Path) -> None:
    """They are told, and the rest is moved."""
    folder = tmp_path / "old"
    shutil.copytree(old.data_dir, folder)
    file = next((folder / "artifacts").rglob("*.frames"))
    file.unlink()
    env = environment(old)
    done = migrate(old, env, tmp_path, str(folder / "testum.db"))
    assert done.returncode == 0 and "outputs of 1 tasks were missing" in done.stdout, (
        done.stderr + done.stdout
    )
    with Application(env=env) as application:
        api = application.client()
        answer = api.http.get(f"/tasks/{file.stem}/output")
        assert (answer.status_code, answer.json()["code"]) == (410, "output_damaged")


def test_output_that_is_in_a_bucket_already(
    old: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation on SQLite with a bucket moves to servers that have that bucket, and to no others. No row is lost
    between the pages that tables are read in."""
    monkeypatch.setattr(sqlite_source, "_ROWS", 2)
    folder = tmp_path / "old"
    shutil.copytree(old.data_dir, folder, ignore=shutil.ignore_patterns("*.frames"))
    key = unique("tasks/kept")
    with closing(sqlite3.connect(folder / "testum.db")) as database, database:
        database.executemany(
            "INSERT INTO output_segments (task_id, start, size, frames, payload, job_id, last_position, object_key)"
            " SELECT id, ?, 3, 1, 1, job_id, 1, ? FROM task_runs WHERE result_location IS NULL ORDER BY id LIMIT 1",
            [(start, key) for start in (0, 3, 6)],
        )
    env = environment(old)
    address = str(folder / "testum.db")
    kept_from(old, env, tmp_path, "MINIO_BUCKET", key, address=address)
    asyncio.run(_put(env, key))
    arrived = asyncio.run(moving(old, env, tmp_path, address)).rows
    with closing(sqlite3.connect(folder / "testum.db")) as database:
        there = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in arrived}
    assert arrived == there and there["output_segments"] == 3


async def _put(env: dict[str, str], key: str) -> None:
    artifacts = make_artifacts(settings_of(env))
    assert artifacts is not None
    await artifacts.put(key, b"old")


def test_the_login_stays(old: Server, tmp_path: Path) -> None:
    env = environment(old)
    moved(old, env, tmp_path)
    with Application(env=env) as application:
        assert application.client().get("/auth/me")["role"] == "admin"
