"""What every store of artifacts does, and what each kind of it says when it cannot."""

import asyncio
import datetime as dt
import hashlib
import os
import re
import secrets
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.artifacts.conftest import Fake, Request, connect, new_bucket
from tests.support.s3 import S3Server
from tests.support.sshd import free_port
from testum.artifacts.base import Artifacts
from testum.artifacts.store import ObjectStore
from testum.errors import ConfigurationError, StorageFull, StorageUnavailable, TestumError

KEY = "tasks/ab/0198/000000000000.frames"


async def keys(store: Artifacts, prefix: str = "") -> list[str]:
    return sorted([found.key async for found in store.list(prefix)])


async def told(call: Awaitable[object], kind: type[TestumError], *never: str) -> str:
    """What it tells when it fails as it should: one line, and `never` is in no part of it."""
    with pytest.raises(kind) as caught:
        await call
    message = caught.value.message
    assert type(caught.value) is kind and "\n" not in message and len(message) < 400, message
    shown = "".join(traceback.format_exception(caught.value))
    for secret in (*never, "Signature=", "StringToSign"):
        assert secret not in shown, shown
    return message


# -- every store ---------------------------------------------------------------------------------------------


async def test_round_trip(store: ObjectStore) -> None:
    data = bytes(range(256)) * 40
    before = dt.datetime.now(dt.UTC)
    await store.put(KEY, data)
    assert await store.get(KEY) == data
    (found,) = [found async for found in store.list("tasks/ab")]
    assert (found.key, found.size) == (KEY, len(data))
    assert abs(found.modified - before) < dt.timedelta(minutes=1)
    await store.check()


async def test_ranges(store: ObjectStore) -> None:
    await store.put(KEY, b"0123456789")
    for offset, size, expected in (
        (0, 3, b"012"),
        (2, 3, b"234"),
        (2, None, b"23456789"),
        (0, 10, b"0123456789"),
        (0, 999, b"0123456789"),
        (8, 999, b"89"),
        (9, 1, b"9"),
        (10, 1, b""),
        (10, None, b""),
        (999, 5, b""),
        (999, None, b""),
        (0, 0, b""),
        (3, 0, b""),
    ):
        assert await store.get(KEY, offset, size) == expected, (offset, size)


async def test_an_empty_object(store: ObjectStore) -> None:
    await store.put(KEY, b"")
    assert [await store.get(KEY, *given) for given in ((), (0, 10), (5,), (5, 5))] == [b""] * 4
    assert [found.size async for found in store.list("tasks")] == [0]


async def test_a_large_object(store: ObjectStore) -> None:
    """Larger than a part: uploaded in several."""
    data = secrets.token_bytes(20 * 1024 * 1024 + 7)
    await store.put(KEY, data)
    returned = await store.get(KEY)
    assert returned is not None
    assert hashlib.sha256(returned).digest() == hashlib.sha256(data).digest()
    across = 8 * 1024 * 1024 - 5
    assert await store.get(KEY, across, 10) == data[across : across + 10]
    assert await store.get(KEY, len(data) - 3, 100) == data[-3:]
    assert [found.size async for found in store.list("")] == [len(data)]


async def test_replacing(store: ObjectStore) -> None:
    await store.put(KEY, b"a long first version")
    await store.put(KEY, b"second")
    assert await store.get(KEY) == b"second"
    assert await keys(store) == [KEY]


async def test_readers_see_objects_whole(store: ObjectStore) -> None:
    """While an object is replaced again and again, it is one of its versions."""
    versions = [bytes([number]) * (200_000 + number) for number in range(4)]
    await store.put(KEY, versions[0])

    async def write() -> None:
        for number in range(12):
            await store.put(KEY, versions[number % 4])

    async def read() -> None:
        for _ in range(30):
            assert await store.get(KEY) in versions

    await asyncio.gather(write(), read(), read())


async def test_deleting(store: ObjectStore) -> None:
    await store.delete([])
    await store.delete([KEY])
    kept = ["tasks/ab/1", "tasks/ab/12", "tasks/abc"]
    for key in (KEY, *kept, "tasks/ab/2", "tasks/cd/3"):
        await store.put(key, b"x")
    # What is not there stands first and between: the rest goes all the same.
    await store.delete(["no/such", KEY, "tasks/ab/none", "tasks/cd/3", "tasks/ab/2"])
    assert await keys(store) == kept
    assert await store.get(KEY) is None
    await store.put(KEY, b"again")
    assert await store.get(KEY) == b"again"


async def test_more_objects_than_a_page(store: ObjectStore) -> None:
    """S3 lists and deletes a thousand at most with one request; the tests' server fifty, and a quarter of
    a thousand."""
    names = sorted(f"tasks/{number % 7}/{number:05}" for number in range(65))
    await asyncio.gather(*(store.put(name, b"x") for name in names))
    assert await keys(store, "tasks") == names
    await store.delete([*names[:-1], *(f"tasks/none/{number}" for number in range(240))])
    assert await keys(store) == names[-1:]


@pytest.mark.parametrize(
    "key",
    [
        *(
            "a",
            "with space/x y",
            "%2F/%00",
            "a+b&c=d;e",
            "ключ/文/é",
            "back\\slash",
            "quote'\"<x>",
            "*?[a]",
            "~",
        ),
        *(".hidden", "a..b/..c/d..", "-", "n" * 200, "/".join(["deep"] * 60)),
    ],
)
async def test_odd_keys(store: ObjectStore, key: str) -> None:
    await store.put(key, b"x")
    assert await store.get(key) == b"x"
    assert await keys(store) == [key]
    await store.delete([key])
    assert await keys(store) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "/", "/etc/passwd", "..", "../x", "a/../x", "a/..", "./a", "a/./b", "a//b", "a/"),
        *("a\0b", "a\nb", "a#1", "\ud800"),
    ],
)
async def test_keys_that_are_none(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        await store.put(key, b"x")
    with pytest.raises(ValueError, match="key"):
        await store.get(key)
    with pytest.raises(ValueError, match="key"):
        await store.delete([KEY, key])
    if key:
        with pytest.raises(ValueError, match="key"):
            await keys(store, key)
    assert await keys(store) == []


async def test_listing_by_prefix(store: ObjectStore) -> None:
    for key in ("tasks/ab/1", "tasks/ab/2/3", "tasks/abc/4", "tasks/b", "other/tasks/ab/5"):
        await store.put(key, b"x")
    assert await keys(store, "tasks/ab") == ["tasks/ab/1", "tasks/ab/2/3"]
    assert await keys(store, "tasks") == ["tasks/ab/1", "tasks/ab/2/3", "tasks/abc/4", "tasks/b"]
    assert len(await keys(store)) == 5
    for nothing in ("tasks/a", "none/x", "tasks/ab/1"):
        assert await keys(store, nothing) == [], nothing


async def test_an_object_that_is_not_there(store: ObjectStore) -> None:
    await store.put(KEY, b"x")
    for key in ("none", "tasks/ab", "tasks/ab/0198/none"):
        assert await store.get(key) is None
        assert await store.get(key, 5, 5) is None


async def test_preparing_twice_at_once(another: Callable[[], ObjectStore]) -> None:
    stores = [another() for _ in range(6)]
    await asyncio.gather(*(each.prepare() for each in stores))
    await stores[0].put(KEY, b"x")
    await stores[1].prepare()
    # What was tried out is gone, what was there is not.
    assert await keys(stores[2]) == [KEY]


async def test_many_at_once(store: ObjectStore) -> None:
    contents = {f"tasks/{number % 3}/{number}": secrets.token_bytes(1000 + number) for number in range(60)}
    await asyncio.gather(*(store.put(key, data) for key, data in contents.items()))
    assert await asyncio.gather(*map(store.get, contents)) == list(contents.values())
    assert await keys(store) == sorted(contents)


async def test_writing_listing_and_deleting_at_once(store: ObjectStore) -> None:
    async def churn(number: int) -> None:
        for _ in range(10):
            await store.put(f"tasks/ab/{number}", b"x")
            assert await store.get(f"tasks/ab/{number}") == b"x"
            await store.delete([f"tasks/ab/{number}"])

    async def look() -> None:
        for _ in range(10):
            assert set(await keys(store, "tasks/ab")) <= {f"tasks/ab/{number}" for number in range(6)}

    await asyncio.gather(*(churn(number) for number in range(6)), look())
    assert await keys(store) == []


async def test_a_place_that_is_not_there(another: Callable[[], ObjectStore]) -> None:
    """Not prepared, or gone since: nothing is taken for an object that is not there."""
    store = another()
    for call in (store.put(KEY, b"x"), store.get(KEY), store.delete([KEY]), keys(store), store.check()):
        await told(call, StorageUnavailable)


# -- a directory ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    choice = ",".join(("size=2m", *options))
    subprocess.run(["mount", "-t", "tmpfs", "-o", choice, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def local(root: Path) -> ObjectStore:
    store = ObjectStore.local(root)
    await store.prepare()
    return store


async def test_the_directory_is_private(tmp_path: Path) -> None:
    root = tmp_path / "data" / "artifacts"
    before = os.umask(0)
    try:
        await local(root)
    finally:
        os.umask(before)
    assert root.stat().st_mode & 0o777 == 0o700


async def test_deleting_leaves_no_folders(tmp_path: Path) -> None:
    store = await local(tmp_path / "artifacts")
    names = [f"tasks/{number % 16:x}/{number}/0.frames" for number in range(100)]
    for name in names:
        await store.put(name, b"x")
    await store.delete(names)
    assert list(tmp_path.rglob("*")) == [tmp_path / "artifacts"]


async def test_unfinished_files_are_not_shown(tmp_path: Path) -> None:
    """As a process that was killed leaves them."""
    store = await local(tmp_path)
    (tmp_path / "one#1").write_bytes(b"half")
    assert await keys(store) == []
    await store.put("one", b"whole")
    assert await keys(store) == ["one"] and await store.get("one") == b"whole"


async def test_files_are_on_the_disk_when_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await local(tmp_path)
    synced = set()
    sync = os.fsync

    def watch(handle: int) -> None:
        synced.add(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr(os, "fsync", watch)
    await store.put("tasks/ab/1", b"x")
    assert synced == {tmp_path / "tasks/ab/1", tmp_path / "tasks/ab", tmp_path / "tasks", tmp_path}


async def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = await local(disk / "artifacts")
        await store.put("kept", b"x" * 1_000_000)
        for key in ("more", "kept"):
            message = await told(store.put(key, bytes(1_500_000)), StorageFull)
            assert str(disk) in message
        assert await keys(store) == ["kept"]
        assert await store.get("kept") == b"x" * 1_000_000
        assert list(disk.rglob("*#*")) == []
        await store.delete(["kept"])
        await store.put("more", bytes(1_500_000))
        (disk / "filler").write_bytes(bytes(200_000))
        with (disk / "filler").open("ab", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while True:
                filler.write(bytes(4096))
        await told(ObjectStore.local(disk / "artifacts").prepare(), StorageFull)


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/testum")):
        message = await told(ObjectStore.local(root).prepare(), ConfigurationError)
        assert message.startswith(f"DATA_DIR: {root} ")
    with small_disk(tmp_path / "disk", "ro") as disk:
        message = await told(ObjectStore.local(disk).prepare(), ConfigurationError)
        assert message.startswith("DATA_DIR: ") and "Read-only" in message
        await told(ObjectStore.local(disk).check(), StorageUnavailable)


# -- a bucket ------------------------------------------------------------------------------------------------


async def test_what_cannot_be_configured() -> None:
    right = {"endpoint": "s3.test:9000", "access_key": "key", "secret_key": "hush", "bucket": "ours"}
    ObjectStore.s3(**right)
    wrong: Sequence[tuple[str, dict[str, Any]]] = (
        ("MINIO_ACCESS_KEY", {"access_key": ""}),
        ("MINIO_SECRET_KEY", {"secret_key": ""}),
        *(
            ("MINIO_BUCKET", {"bucket": bucket})
            for bucket in ("", "ab", "Upper", "under_score", "a/b", "two..dots", "-ours", "o" * 64, "ours\n")
        ),
        *(
            ("MINIO_ENDPOINT", {"endpoint": endpoint})
            for endpoint in (
                *(
                    "",
                    "http://",
                    "ftp://s3.test",
                    "s3.test:port",
                    "s3.test:99999",
                    "s3.test/path",
                    "s3.test?a=b",
                ),
                *("http://me:hush@s3.test", "s3 .test", "s3.test\n"),
            )
        ),
        ("MINIO_KMS_KEY_ID", {"kms_key_id": "key", "encryption": "AES256"}),
    )
    for setting, change in wrong:
        with pytest.raises(ConfigurationError, match=f"^{setting}: ") as caught:
            ObjectStore.s3(**right | change)
        assert "hush" not in caught.value.message and "\n" not in caught.value.message


async def test_a_scheme_goes_before_the_setting(s3_server: S3Server) -> None:
    await connect(s3_server, new_bucket(), endpoint=f"http://{s3_server.endpoint}/", secure=True).prepare()
    message = await told(
        connect(s3_server, new_bucket(), endpoint=f"https://{s3_server.endpoint}").prepare(),
        ConfigurationError,
    )
    assert message.startswith("MINIO_SECURE: ") and "does not speak TLS" in message


async def test_credentials_that_are_refused(s3_server: S3Server) -> None:
    store = connect(s3_server, new_bucket())
    await store.prepare()
    wrong = "wrong-" + secrets.token_hex(8)
    for change in ({"secret_key": wrong}, {"access_key": "nobody"}):
        refused = connect(s3_server, new_bucket(), **change)
        message = await told(refused.prepare(), ConfigurationError, wrong, s3_server.secret_key)
        assert "MINIO_ACCESS_KEY" in message and "MINIO_SECRET_KEY" in message
        for call in (refused.put(KEY, b"x"), refused.get(KEY), refused.delete([KEY]), keys(refused)):
            message = await told(call, StorageUnavailable, wrong, s3_server.secret_key)
            assert s3_server.endpoint in message and "403" in message


async def test_another_region(s3_server: S3Server) -> None:
    message = await told(connect(s3_server, new_bucket(), region="eu-west-1").prepare(), ConfigurationError)
    assert message == (
        f"MINIO_REGION: eu-west-1 is not the region of http://{s3_server.endpoint}. Set {s3_server.region}."
    )


async def test_nobody_at_the_address(s3_server: S3Server) -> None:
    async def seen(endpoint: str, reason: str) -> None:
        store = connect(s3_server, new_bucket(), endpoint=endpoint)
        start, use = await asyncio.gather(
            told(store.prepare(), ConfigurationError, s3_server.secret_key),
            told(store.put(KEY, b"x"), StorageUnavailable, s3_server.secret_key),
        )
        assert start.startswith(f"MINIO_ENDPOINT: http://{endpoint} ") and reason in start
        assert use.startswith(f"The S3 server at http://{endpoint} does not answer: ") and reason in use

    await asyncio.gather(seen(f"127.0.0.1:{free_port()}", "refused"), seen("s3.invalid:9000", "name"))


async def test_the_environment_of_other_programs(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore would read it: a session of somebody's AWS account must not change where artifacts go."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "AWS_SESSION_TOKEN": "theirs",
        "AWS_REGION": "eu-west-1",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    store = connect(s3_server, new_bucket())
    await store.prepare()
    await store.put(KEY, b"x")
    assert await store.get(KEY) == b"x"


async def test_a_server_that_stops_and_starts(s3_server: S3Server) -> None:
    store = connect(s3_server, new_bucket())
    await store.prepare()
    await store.put(KEY, b"x")
    s3_server.stop()
    try:
        began = time.monotonic()
        messages = await asyncio.gather(
            *(
                told(call, StorageUnavailable, s3_server.secret_key)
                for call in (
                    *(store.put(KEY, b"y"), store.put(KEY, bytes(20 * 1024 * 1024)), store.get(KEY)),
                    *(store.delete([KEY]), keys(store), store.check()),
                )
            )
        )
        assert all("refused" in message for message in messages)
        assert time.monotonic() - began < 15
    finally:
        s3_server.start()
    assert await store.get(KEY) == b"x"
    await store.put(KEY, b"y")
    assert await store.get(KEY) == b"y"


async def test_a_server_that_comes_back_at_once(s3_server: S3Server) -> None:
    """A connection that it has broken is no outage."""
    store = connect(s3_server, new_bucket())
    await store.prepare()
    for _ in range(3):
        await store.put(KEY, b"x")
        s3_server.stop()
        s3_server.start()
        assert await store.get(KEY) == b"x"


async def test_cancelling(s3_server: S3Server) -> None:
    store = connect(s3_server, new_bucket())
    await store.prepare()
    s3_server.pause()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await store.put(KEY, bytes(20 * 1024 * 1024))
    finally:
        s3_server.resume()
    await store.put("other", b"x")
    assert await keys(store) == ["other"]


@pytest.mark.slow
async def test_a_server_that_hangs(s3_server: S3Server) -> None:
    store = connect(s3_server, new_bucket())
    await store.prepare()
    await store.put(KEY, b"x")
    s3_server.pause()
    try:
        began = time.monotonic()
        messages = await asyncio.gather(
            told(store.put(KEY, b"y"), StorageUnavailable),
            told(store.get(KEY), StorageUnavailable),
            told(store.check(), StorageUnavailable),
            told(connect(s3_server, new_bucket()).prepare(), ConfigurationError),
        )
        assert 20 < time.monotonic() - began < 60
    finally:
        s3_server.resume()
    assert all("nothing is heard in time" in message for message in messages)
    await store.put(KEY, b"z")
    assert await store.get(KEY) == b"z"


async def test_an_address_that_swallows_everything() -> None:
    """As behind a filter that drops packets: the queue is full, and nobody takes from it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        began = time.monotonic()
        store = ObjectStore.s3(
            f"127.0.0.1:{listener.getsockname()[1]}", "key", "secret", "ours", secure=False
        )
        message = await told(store.check(), StorageUnavailable)
        assert "nothing is heard in time" in message
        assert time.monotonic() - began < 15
        for client in waiting:
            client.close()


# -- a bucket, with answers that the real server gives to nobody -----------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "setting", "part"),
    [
        (403, "InvalidAccessKeyId", "MINIO_ACCESS_KEY", "does not know"),
        (403, "SignatureDoesNotMatch", "MINIO_SECRET_KEY", "MINIO_ACCESS_KEY"),
        (403, "AccessDenied", "MINIO_BUCKET", "somebody else's"),
        (403, "RequestTimeTooSkewed", "MINIO_ENDPOINT", "clock"),
        (400, "InvalidBucketName", "MINIO_BUCKET", "ours"),
        (301, "PermanentRedirect", "MINIO_REGION", "us-east-1"),
        (503, "SlowDown", "MINIO_ENDPOINT", "HTTP 503 SlowDown"),
    ],
)
async def test_servers_that_refuse(fake: Fake, status: int, code: str, setting: str, part: str) -> None:
    fake.refuse(status, code)
    message = await told(fake.store().prepare(), ConfigurationError, "secret")
    assert message.startswith(f"{setting}: ") and part in message
    message = await told(fake.store().get(KEY), StorageUnavailable, "secret")
    assert f"http://{fake.endpoint} " in message and str(status) in message


@pytest.mark.parametrize(("status", "code"), [(507, "XMinioStorageFull"), (507, ""), (403, "QuotaExceeded")])
async def test_a_server_without_room(fake: Fake, status: int, code: str) -> None:
    fake.refuse(status, code)
    message = await told(fake.store().put(KEY, b"x"), StorageFull)
    assert fake.endpoint in message
    await told(fake.store().prepare(), StorageFull)


@pytest.mark.parametrize(
    ("status", "body", "setting"),
    [
        (200, "<html>Welcome</html>", "MINIO_ENDPOINT"),
        (404, "<html>Not found</html>", "MINIO_ENDPOINT"),
        (405, "", "MINIO_ENDPOINT"),
        (400, "Client sent an HTTP request to an HTTPS server.", "MINIO_SECURE"),
    ],
)
@pytest.mark.parametrize("tag", [{}, {"ETag": '"x"'}])
async def test_servers_of_another_kind(
    fake: Fake, status: int, body: str, setting: str, tag: dict[str, str]
) -> None:
    fake.answer = lambda _: (status, tag, body)
    message = await told(fake.store().prepare(), ConfigurationError)
    assert message.startswith(f"{setting}: ")
    if status != 200:
        # Such a page is no word of S3's that there is no object.
        await told(fake.store().get(KEY), StorageUnavailable)


async def test_a_bucket_that_is_somebody_elses(fake: Fake) -> None:
    """Servers where one may look into others' buckets say so only when it is to be made."""
    fake.answer = lambda request: (
        (409, {}, "<Error><Code>BucketAlreadyExists</Code></Error>")
        if request.method == "PUT"
        else (404, {}, "<Error><Code>NoSuchBucket</Code></Error>")
    )
    message = await told(fake.store().prepare(), ConfigurationError)
    assert message.startswith("MINIO_BUCKET: ours is somebody else's")


async def test_a_bucket_in_another_region_is_asked_for_there(fake: Fake) -> None:
    fake.refuse(404, "NoSuchBucket")
    await told(fake.store(region="eu-west-1").prepare(), ConfigurationError)
    (made,) = [request for request in fake.requests if request.method == "PUT"]
    assert made.path.startswith("/ours/?") and "eu-west-1" in made.path
    assert int(made.headers["content-length"]) > len("eu-west-1")


async def test_a_deletion_that_is_refused(fake: Fake) -> None:
    """S3 answers 200 and says so of each object in the body."""

    def answer(request: Request) -> tuple[int, dict[str, str], str]:
        if request.method == "POST":
            key = re.search("<Key>.*?</Key>", request.body)
            assert key is not None
            error = f"<Error>{key[0]}<Code>AccessDenied</Code><Message>no</Message></Error>"
            return 200, {}, f"<DeleteResult>{error}</DeleteResult>"
        listing = "<ListBucketResult></ListBucketResult>"
        return 200, {"ETag": '"x"', "Last-Modified": "Tue, 24 Nov 2026 05:00:00 GMT"}, listing

    fake.answer = answer
    message = await told(fake.store().delete([KEY]), StorageUnavailable)
    assert "AccessDenied" in message
    message = await told(fake.store().prepare(), ConfigurationError)
    assert message.startswith("MINIO_BUCKET: ") and "delete" in message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"encryption": "AES256"}, {"x-amz-server-side-encryption": "AES256"}),
        (
            {"encryption": "aws:kms", "kms_key_id": "key-1"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            },
        ),
    ],
)
async def test_encryption_is_asked_for(fake: Fake, given: dict[str, Any], expected: dict[str, str]) -> None:
    """Swift has no encryption of this kind, so the server here only notes what it is asked."""

    def answer(request: Request) -> tuple[int, dict[str, str], str]:
        if request.path.endswith("?uploads="):
            return (
                200,
                {},
                "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
            )
        if request.method == "POST":
            return (
                200,
                {},
                "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>",
            )
        return 200, {"ETag": '"x"'}, ""

    fake.answer = answer
    store = fake.store(**given)
    await store.put(KEY, b"x")
    await store.put(KEY, bytes(9 * 1024 * 1024))
    small, start, *parts, _ = fake.requests
    assert (small.method, start.method, len(parts)) == ("PUT", "POST", 2)
    for request in (small, start):
        sent = {name: value for name, value in request.headers.items() if "encryption" in name}
        assert sent == expected
        assert re.fullmatch(f"/ours/{KEY}(\\?uploads=)?", request.path)


async def test_encryption_that_the_server_has_not(s3_server: S3Server) -> None:
    message = await told(connect(s3_server, new_bucket(), encryption="AES256").prepare(), ConfigurationError)
    assert message.startswith("MINIO_ENCRYPTION: ")


async def test_a_certificate_that_is_not_trusted(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    # Not asyncio's server: it would report each broken handshake.
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse_all() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    try:
                        context.wrap_socket(client, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=refuse_all)
        thread.start()
        port = listener.getsockname()[1]
        message = await told(
            ObjectStore.s3(f"localhost:{port}", "key", "secret", "ours").prepare(), ConfigurationError
        )
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert message.startswith(f"MINIO_ENDPOINT: the certificate of https://localhost:{port} is not trusted")
