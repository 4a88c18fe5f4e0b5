"""Starting on servers: each broken setting is named in one line with the remedy, by `serve` and by `worker`.

Why a start is refused is asked in the process, in the role that the command has; one start of each shows how the
command tells it.
"""

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import obstore
import psycopg
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from obstore.store import LocalStore

from tests.support import forkserver
from tests.support.application import Application, refusal, refusal_of, settings_of
from tests.support.server import ADMIN, Installation, Process, Server, walls
from tests.support.sshd import free_port
from tests.support.waiting import until
from testum import worker
from testum.app import Role
from testum.output.journal import object_key

pytestmark = pytest.mark.servers

Refused = Callable[..., None]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    """An installation that has started once, so that its database belongs to its keys."""
    with Application() as application:
        application.stop()
        yield application


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Fails unless a start is refused with one line that has these parts, and without the password."""

    def check(role: Role, env: dict[str, str], *parts: str, hidden: str = "") -> None:
        told = refusal(with_folder(tmp_path, env), role)
        for part in parts:
            assert part in told, told
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        if hidden:
            assert hidden not in told + printed.out + printed.err

    return check


def with_folder(folder: Path, env: dict[str, str]) -> dict[str, str]:
    return {"DATA_DIR": str(folder / "data"), "ADMIN_PASSWORD": ADMIN[1], **env}


def other(url: str, port: int) -> str:
    """The address with another port."""
    front, _, back = url.rpartition(":")
    return f"{front}:{port}/{back.partition('/')[2]}"


ROLES = pytest.mark.parametrize("role", list(Role))


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_how_a_refusal_is_told(installed: Installation, tmp_path: Path, command: str) -> None:
    """By one line and the exit status."""
    options = ["--port", str(free_port())] if command == "serve" else []
    env = with_folder(tmp_path, installed.env | {"MINIO_SECRET_KEY": "wrong-secret"})
    done = forkserver.run_text(command, *options, env=env, folder=tmp_path, seconds=90)
    said = done.stderr.strip().splitlines()
    assert done.returncode == (3 if command == "serve" else 2) and len(said) == 1, done.stderr + done.stdout
    assert "MINIO_SECRET_KEY" in said[0]
    assert "Traceback" not in done.stdout and "wrong-secret" not in done.stderr + done.stdout


@ROLES
@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"DATABASE_URL": "postgresql://"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://a:b@s3.invalid/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:port/x"}, "DATABASE_URL"),
        ({"REDIS_URL": "http://127.0.0.1"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:port"}, "REDIS_URL"),
        ({"CELERY_BROKER_URL": "amqp://127.0.0.1"}, "CELERY_BROKER_URL"),
        ({"MINIO_ACCESS_KEY": ""}, "MINIO_ACCESS_KEY"),
        ({"MINIO_SECRET_KEY": ""}, "MINIO_SECRET_KEY"),
        ({"MINIO_SECRET_KEY": "wrong-secret"}, "MINIO_SECRET_KEY"),
        ({"MINIO_BUCKET": "Not A Bucket"}, "MINIO_BUCKET"),
        ({"MINIO_ENCRYPTION": "rot13"}, "MINIO_ENCRYPTION"),
        ({"MINIO_SECURE": "perhaps"}, "MINIO_SECURE"),
        ({"MINIO_SECURE": "true"}, "MINIO_SECURE"),
        ({"MINIO_REGION": "elsewhere"}, "MINIO_REGION"),
        ({"FERNET_KEY": ""}, "FERNET_KEY"),
        ({"FERNET_KEY": "short"}, "FERNET_KEY"),
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"LEASE_SECONDS": "0"}, "LEASE_SECONDS"),
    ],
    ids=str,
)
def test_a_broken_setting(
    installed: Installation, refused: Refused, role: Role, changed: dict[str, str], setting: str
) -> None:
    refused(role, installed.env | changed, setting, hidden="wrong-secret")


@ROLES
@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "MINIO_ENDPOINT"])
def test_a_server_that_is_not_there(
    installed: Installation, refused: Refused, role: Role, setting: str
) -> None:
    env = installed.env | {setting: other(installed.env[setting], free_port()).removesuffix("/")}
    refused(role, env, setting, hidden=walls().postgres.password)


@ROLES
@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"])
def test_a_wrong_password(installed: Installation, refused: Refused, role: Role, setting: str) -> None:
    wrong = "wrong-" + secrets.token_hex(6)
    right = walls().postgres.password if setting == "DATABASE_URL" else walls().redis.password
    env = installed.env | {setting: installed.env[setting].replace(right, wrong)}
    refused(role, env, setting, "password", hidden=wrong)


@ROLES
def test_a_database_that_is_not_there(installed: Installation, refused: Refused, role: Role) -> None:
    env = installed.env | {"DATABASE_URL": walls().postgres.url("nowhere")}
    refused(role, env, "DATABASE_URL", "nowhere", hidden=walls().postgres.password)


@ROLES
def test_another_key_than_the_databases(installed: Installation, refused: Refused, role: Role) -> None:
    key = Fernet.generate_key().decode()
    refused(role, installed.env | {"FERNET_KEY": key}, "FERNET_KEY", hidden=key)
    # As one of several it does no harm: keys rotate.
    both = installed.env | {"FERNET_KEY": f"{key},{installed.env['FERNET_KEY']}"}
    refused(role, both | {"MINIO_BUCKET": "-"}, "MINIO_BUCKET")


@ROLES
@pytest.mark.parametrize(("version", "remedy"), [("0001", "testum db upgrade"), ("9999", "newer")])
def test_another_schema(
    installed: Installation, refused: Refused, role: Role, version: str, remedy: str
) -> None:
    change = "UPDATE alembic_version SET version_num = %s, oldest_code = %s"
    with psycopg.connect(installed.env["DATABASE_URL"], autocommit=True) as connection:
        (own,) = connection.execute("SELECT version_num, oldest_code FROM alembic_version").fetchall()
        connection.execute(change, (version, None))
        try:
            refused(role, installed.env, "DATABASE_URL", remedy)
        finally:
            connection.execute(change, own)


@pytest.fixture(params=["a bucket", "a directory"])
def with_output(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation that has started once, and whose store has output of a task."""
    env = {
        "DATA_DIR": str(tmp_path / "data"),
        **({} if request.param == "a bucket" else {"MINIO_ENDPOINT": ""}),
    }
    with Application(env=env) as site:
        site.stop()
        store = (
            walls().s3.store(site.env["MINIO_BUCKET"])
            if site.env["MINIO_ENDPOINT"]
            else LocalStore(tmp_path / "data" / "artifacts")
        )
        obstore.put(store, object_key(UUID(int=1), 0, 4), b"data")
        yield site


EMPTIED = {
    "schema": "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    "tables": "TRUNCATE installation, users, jobs CASCADE",
}


@pytest.mark.parametrize("how", EMPTIED)
def test_an_emptied_database_is_no_new_installation(
    with_output: Installation, refused: Refused, tmp_path: Path, how: str
) -> None:
    """Where it was emptied, or lost with its disk: nothing is made of it, so that a backup goes in."""
    env = with_output.env
    place = env["MINIO_BUCKET"] if env["MINIO_ENDPOINT"] else env["DATA_DIR"]
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(EMPTIED[how])
    for role in Role:
        refused(role, env, "DATABASE_URL: the database is empty", place, "Restore the database from a backup")
    assert sa.inspect(with_output.engine).has_table("users") == (how == "tables")
    # As it says: with another store it begins anew.
    other_store = (
        {"MINIO_BUCKET": f"{env['MINIO_BUCKET']}-2"}
        if env["MINIO_ENDPOINT"]
        else {"DATA_DIR": str(tmp_path / "2")}
    )
    with Application(env=env | other_store) as anew:
        assert anew.client().get("/platforms/") == []


def test_an_emptied_sqlite_beside_a_bucket_is_no_new_installation(tmp_path: Path, refused: Refused) -> None:
    env = {"DATABASE_URL": "", "CELERY_BROKER_URL": "", "DATA_DIR": str(tmp_path / "data")}
    with Application(env=env) as site:
        site.stop()
        obstore.put(walls().s3.store(site.env["MINIO_BUCKET"]), object_key(UUID(int=1), 0, 4), b"data")
        for file in (tmp_path / "data").glob("testum.db*"):
            file.unlink()
        refused(Role.WEB, site.env, "the database is empty", site.env["MINIO_BUCKET"])
        assert not list((tmp_path / "data").glob("testum.db*"))


def test_an_emptied_bucket_is_told_at_the_start(
    installed: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or another one than before. It starts: what is lost may be lost for good."""
    with Application(env=installed.env) as site:
        assert "it was emptied" not in capsys.readouterr().out
        site.stop()
        site.execute("TRUNCATE jobs CASCADE")
        task = uuid4()
        site.execute(
            "INSERT INTO jobs (id, type, status, targets, parameters, concurrency, task_count, created_by, created_at)"
            " VALUES (:id, 'run_command', 'success', '{}', '{}', 1, 1, 'admin', now())",
            {"id": task},
        )
        site.execute(
            "INSERT INTO task_runs (id, job_id, ordinal, type, platform_id, platform_name, platform_address, status,"
            " output_frames, output_bytes, metadata, fence, created_at)"
            " VALUES (:id, :id, 0, 'run_command', :id, 'p', 'h', 'success', 1, 4, '{}', 1, now())",
            {"id": task},
        )
        site.execute(
            "INSERT INTO output_segments (task_id, start, size, frames, payload, job_id, last_position, object_key)"
            " VALUES (:id, 0, 4, 1, 1, :id, 1, :key)",
            {"id": task, "key": object_key(task, 0, 4)},
        )
        try:
            site.start()
            assert "it was emptied" in capsys.readouterr().out
        finally:
            site.execute("TRUNCATE jobs CASCADE")


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"CELERY_BROKER_URL": ""}, "CELERY_BROKER_URL"),
        ({"WORKER_QUEUES": "Not a zone"}, "WORKER_QUEUES"),
        ({"WORKER_PROCESSES": "-1"}, "WORKER_PROCESSES"),
    ],
    ids=str,
)
def test_a_workers_own_settings(
    installed: Installation, tmp_path: Path, changed: dict[str, str], setting: str
) -> None:
    """These are refused before anything starts."""

    async def work() -> None:
        worker.run(settings_of(with_folder(tmp_path, installed.env | changed)), 1)

    assert setting in refusal_of(work())


def test_settings_that_do_not_go_together(refused: Refused) -> None:
    """Workers on other machines cannot open a SQLite file."""
    env = {"CELERY_BROKER_URL": walls().redis.url(), "FERNET_KEY": "", "SECRET_KEY": ""}
    refused(Role.WEB, env, "DATABASE_URL")


def test_a_worker_that_starts_first_makes_no_account() -> None:
    """Nobody would learn the password: the web process shows it."""
    server = Server(env={"ADMIN_PASSWORD": ""})
    try:
        server.worker = Process(["worker"], server.env, server.data_dir, server.log)
        until(lambda: sa.inspect(server.engine).has_table("workers"), 60)
        until(lambda: server.execute("SELECT id FROM workers"), 60)
        assert server.execute("SELECT id FROM users") == []
        server.worker.stop()
        server.start()
        password = server.log.read_text().split("shown this once: ")[1].split()[0]
        assert server.client(password=password).get("/auth/me")["username"] == ADMIN[0]
    finally:
        server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_ends_as_it_starts_leaves_no_process(number: int) -> None:
    """Of those that it has forked: one tries the settings, the others are Celery's."""
    server = Server()
    worker = Process(["worker"], server.env, server.data_dir, server.log)
    try:
        until(lambda: worker.group()[1:])
        os.kill(worker.popen.pid, number)
        worker.popen.wait(60)
        until(lambda: not worker.left(), otherwise=server.log.read_text)
    finally:
        worker.kill()
        server.close()


@pytest.mark.timeout(300)
def test_many_first_starts_at_once(tmp_path: Path) -> None:
    """Of an empty database: one makes the tables, one the account, and all start."""
    servers = [Server() for _ in range(4)]
    for server in servers[1:]:
        keep = {name: server.env[name] for name in ("DATA_DIR",)}
        server.env = {**servers[0].env, **keep}
    try:
        with ThreadPoolExecutor(4) as starting:
            list(starting.map(lambda server: server.start(wait=240), servers))
        assert [row[0] for row in servers[0].execute("SELECT username FROM users")] == [ADMIN[0]]
        client = servers[0].client()
        until(lambda: len(client.get("/workers/")) == 4, 60)
    finally:
        for server in servers:
            server.close()
