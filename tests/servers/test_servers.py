"""The servers that other tests lean on: each starts, refuses strangers, and has its data again where it should."""

import os
import socket
from collections.abc import Iterator

import obstore
import psycopg
import pytest
import redis
from obstore.exceptions import PermissionDeniedError

from tests.support import postgres, s3
from tests.support import redis as redis_support
from tests.support.postgres import PostgresServer
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    if reason := postgres.missing():
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    if reason := redis_support.missing():
        pytest.skip(reason)
    with RedisServer(appendonly=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    if reason := s3.missing():
        pytest.skip(reason)
    with S3Server() as server:
        yield server


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- PostgreSQL ----------------------------------------------------------------------------------


def test_postgres_keeps_what_is_committed(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    assert url != postgres_server.create_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (how text)")
    for how, again in (
        ("stopped", postgres_server.restart),
        ("stopped at once", lambda: postgres_server.restart(immediate=True)),
        ("killed", lambda: (postgres_server.kill(), postgres_server.start())),
    ):
        with psycopg.connect(url) as open_meanwhile:
            open_meanwhile.execute("INSERT INTO kept VALUES (%s)", [how])
            open_meanwhile.commit()
            again()
            with pytest.raises(psycopg.OperationalError):
                open_meanwhile.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT how FROM kept").fetchall()
    assert found == [("stopped",), ("stopped at once",), ("killed",)]


def test_postgres_wants_the_password(postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres_server.url(password="wrong"))


def test_postgres_hangs_while_paused(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url()) as before:
        postgres_server.pause()
        try:
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(postgres_server.url(), connect_timeout=2)
        finally:
            postgres_server.resume()
        assert before.execute("SELECT 1").fetchone() == (1,)


# -- Redis ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("redis_server", [True, False], indirect=True, ids=["appendonly", "memory"])
def test_redis_after_a_crash(redis_server: RedisServer, request: pytest.FixtureRequest) -> None:
    with redis.Redis.from_url(redis_server.url(1)) as client:
        client.set("name", "kept")
    redis_server.kill()
    assert not listening(redis_server.port)
    redis_server.start()
    redis_server.restart()
    kept = b"kept" if request.node.callspec.id == "appendonly" else None
    with redis.Redis.from_url(redis_server.url(1)) as client:
        assert client.get("name") == kept


@pytest.mark.parametrize("redis_server", [False], indirect=True, ids=["memory"])
def test_redis_wants_the_password_and_hangs_while_paused(redis_server: RedisServer) -> None:
    with (
        redis.Redis.from_url(redis_server.url(password="wrong")) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    redis_server.pause()
    try:
        with (
            redis.Redis.from_url(redis_server.url(), socket_timeout=0.3, retry=None) as client,
            pytest.raises(redis.TimeoutError),
        ):
            client.ping()
    finally:
        redis_server.resume()
    with redis.Redis.from_url(redis_server.url()) as client:
        assert client.ping()


# -- S3 ------------------------------------------------------------------------------------------


def test_s3_does_what_object_stores_do(s3_server: S3Server) -> None:
    store = s3_server.store(s3_server.create_bucket())
    obstore.put(store, "a/one", b"0123456789")
    obstore.put(store, "a/two", b"2")
    obstore.put(store, "b/three", b"3")
    assert bytes(obstore.get_range(store, "a/one", start=3, end=6)) == b"345"
    assert [meta["path"] for page in obstore.list(store, "a") for meta in page] == ["a/one", "a/two"]
    obstore.delete(store, ["a/one", "a/two"])
    assert [meta["path"] for page in obstore.list(store) for meta in page] == ["b/three"]
    obstore.delete(store, "b/three")
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "b/three")

    # S3 takes parts from 5 MiB.
    large = os.urandom(12 * 1024 * 1024)
    obstore.put(store, "large", large, use_multipart=True, chunk_size=5 * 1024 * 1024)
    assert obstore.get(store, "large").bytes() == large


def test_s3_keeps_its_data(s3_server: S3Server) -> None:
    store = s3_server.store(s3_server.create_bucket())
    obstore.put(store, "kept", b"kept")
    s3_server.stop()
    assert not listening(int(s3_server.endpoint.partition(":")[2]))
    s3_server.start()
    assert obstore.get(store, "kept").bytes() == b"kept"
    assert [meta["path"] for page in obstore.list(store) for meta in page] == ["kept"]


def test_s3_wants_the_secret(s3_server: S3Server) -> None:
    bucket = s3_server.create_bucket()
    with pytest.raises(PermissionDeniedError, match="SignatureDoesNotMatch"):
        obstore.put(s3_server.store(bucket, secret_key="wrong"), "name", b"")


def test_s3_hangs_while_paused(s3_server: S3Server) -> None:
    port = int(s3_server.endpoint.partition(":")[2])
    s3_server.pause()
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.settimeout(0.5)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    finally:
        s3_server.resume()
    s3_server.create_bucket()
