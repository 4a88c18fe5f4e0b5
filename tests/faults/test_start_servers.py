"""Starting on servers: each broken setting is named in one line with the remedy, by `serve` and by `worker`."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from tests.support.server import ADMIN, Process, Server, walls
from tests.support.sshd import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def installed() -> Iterator[Server]:
    """An installation that has started once, so that its database belongs to its keys."""
    with Server() as server:
        server.stop()
        yield server


def start(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    options = ["--port", str(free_port())] if command == "serve" else []
    return subprocess.run(
        [sys.executable, "-m", "testum", command, *options],
        env={**os.environ, "DATA_DIR": str(folder / "data"), "ADMIN_PASSWORD": ADMIN[1], **env},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def refused(command: str, folder: Path, env: dict[str, str], *parts: str, hidden: str = "") -> None:
    """It ends with one line that has these parts, and not the password."""
    done = start(command, folder, env)
    said = done.stderr.strip().splitlines()
    assert done.returncode in (2, 3) and len(said) == 1, done.stderr + done.stdout
    for part in parts:
        assert part in said[0], said[0]
    assert "Traceback" not in done.stdout
    if hidden:
        assert hidden not in done.stderr + done.stdout


def other(url: str, port: int) -> str:
    """The address with another port."""
    front, _, back = url.rpartition(":")
    return f"{front}:{port}/{back.partition('/')[2]}"


PARTS = ("serve", "worker")


@pytest.mark.parametrize("command", PARTS)
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
    installed: Server, tmp_path: Path, command: str, changed: dict[str, str], setting: str
) -> None:
    refused(command, tmp_path, installed.env | changed, setting, hidden="wrong-secret")


@pytest.mark.parametrize("command", PARTS)
@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "MINIO_ENDPOINT"])
def test_a_server_that_is_not_there(installed: Server, tmp_path: Path, command: str, setting: str) -> None:
    env = installed.env | {setting: other(installed.env[setting], free_port()).removesuffix("/")}
    refused(command, tmp_path, env, setting, hidden=walls().postgres.password)


@pytest.mark.parametrize("command", PARTS)
@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"])
def test_a_wrong_password(installed: Server, tmp_path: Path, command: str, setting: str) -> None:
    wrong = "wrong-" + secrets.token_hex(6)
    right = walls().postgres.password if setting == "DATABASE_URL" else walls().redis.password
    env = installed.env | {setting: installed.env[setting].replace(right, wrong)}
    refused(command, tmp_path, env, setting, "password", hidden=wrong)


@pytest.mark.parametrize("command", PARTS)
def test_a_database_that_is_not_there(installed: Server, tmp_path: Path, command: str) -> None:
    env = installed.env | {"DATABASE_URL": walls().postgres.url("nowhere")}
    refused(command, tmp_path, env, "DATABASE_URL", "nowhere", hidden=walls().postgres.password)


@pytest.mark.parametrize("command", PARTS)
def test_another_key_than_the_databases(installed: Server, tmp_path: Path, command: str) -> None:
    key = Fernet.generate_key().decode()
    refused(command, tmp_path, installed.env | {"FERNET_KEY": key}, "FERNET_KEY", hidden=key)
    # As one of several it does no harm: keys rotate.
    both = installed.env | {"FERNET_KEY": f"{key},{installed.env['FERNET_KEY']}"}
    refused(command, tmp_path, both | {"MINIO_BUCKET": "-"}, "MINIO_BUCKET")


@pytest.mark.parametrize("command", PARTS)
@pytest.mark.parametrize(("version", "remedy"), [("0001", "testum db upgrade"), ("9999", "newer")])
def test_another_schema(installed: Server, tmp_path: Path, command: str, version: str, remedy: str) -> None:
    change = "UPDATE alembic_version SET version_num = %s, oldest_code = %s"
    with psycopg.connect(installed.env["DATABASE_URL"], autocommit=True) as connection:
        (own,) = connection.execute("SELECT version_num, oldest_code FROM alembic_version").fetchall()
        connection.execute(change, (version, None))
        try:
            refused(command, tmp_path, installed.env, "DATABASE_URL", remedy)
        finally:
            connection.execute(change, own)


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
    installed: Server, tmp_path: Path, changed: dict[str, str], setting: str
) -> None:
    refused("worker", tmp_path, installed.env | changed, setting)


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    """Workers on other machines cannot open a SQLite file."""
    env = {"CELERY_BROKER_URL": walls().redis.url(), "FERNET_KEY": "", "SECRET_KEY": ""}
    refused("serve", tmp_path, env, "DATABASE_URL")


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


@pytest.mark.timeout(300)
def test_many_first_starts_at_once(tmp_path: Path) -> None:
    """Of an empty database: one makes the tables, one the account, and all start."""
    servers = [Server(env={"WORKER_PROCESSES": "2"}) for _ in range(4)]
    for server in servers[1:]:
        keep = {name: server.env[name] for name in ("DATA_DIR",)}
        server.env = {**servers[0].env, **keep}
    try:
        with ThreadPoolExecutor(4) as starting:
            list(starting.map(lambda server: server.start(wait=240), servers))
        assert [row[0] for row in servers[0].execute("SELECT username FROM users")] == [ADMIN[0]]
        client = servers[0].client()
        until(lambda: len(client.get("/workers/")) == 8, 60)
    finally:
        for server in servers:
            server.close()
