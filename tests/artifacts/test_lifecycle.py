"""The rule that removes unfinished uploads: set where there is none, never over others, and no reason not to start."""

import base64
import datetime as dt
import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.artifacts.conftest import Fake, Request, connect, new_bucket
from tests.support.s3 import S3Server
from testum.artifacts.lifecycle import RULE, Bucket, ensure_rule

THEIRS = "<LifecycleConfiguration><Rule><ID>theirs</ID></Rule></LifecycleConfiguration>"


def bucket_of(fake: Fake) -> Bucket:
    return Bucket(f"http://{fake.endpoint}", "ours", "us-east-1", "key", "not-shown")


def answering(fake: Fake, get: tuple[int, str], put: int = 200) -> None:
    """Let the server have these rules (status and body), and answer to new ones."""

    def answer(request: Request) -> tuple[int, dict[str, str], str]:
        assert set(parse_qs(urlsplit(request.path).query, keep_blank_values=True)) >= {
            "lifecycle",
            "X-Amz-Signature",
        }
        return (get[0], {}, get[1]) if request.method == "GET" else (put, {}, "")

    fake.answer = answer


async def test_a_bucket_without_rules_gets_one(fake: Fake) -> None:
    answering(fake, (404, "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>"))
    assert await ensure_rule(bucket_of(fake))
    asked, given = fake.requests
    assert (asked.method, given.method, given.body) == ("GET", "PUT", RULE)
    assert "<AbortIncompleteMultipartUpload>" in RULE and "<Prefix>tasks/</Prefix>" in RULE
    assert given.headers["content-md5"] == base64.b64encode(hashlib.md5(RULE.encode()).digest()).decode()


async def test_an_empty_configuration_is_none(fake: Fake) -> None:
    answering(fake, (200, "<LifecycleConfiguration/>"))
    assert await ensure_rule(bucket_of(fake)) and len(fake.requests) == 2


async def test_the_rules_of_an_administrator_stay(fake: Fake) -> None:
    answering(fake, (200, THEIRS))
    assert await ensure_rule(bucket_of(fake))
    assert [request.method for request in fake.requests] == ["GET"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (501, "NotImplemented"), (403, "AccessDenied"), (404, "NoSuchKey"), (400, "InvalidRequest"),
        (500, "InternalError"), (301, "PermanentRedirect"), (405, "MethodNotAllowed"),
    ],
)  # fmt: skip
async def test_a_server_that_knows_no_rules(fake: Fake, status: int, code: str) -> None:
    """It is said once, with the remedy, and nothing is overwritten on a guess."""
    answering(fake, (status, f"<Error><Code>{code}</Code></Error>"))
    with capture_logs() as logged:
        assert not await ensure_rule(bucket_of(fake))
    assert [request.method for request in fake.requests] == ["GET"]
    assert [entry["log_level"] for entry in logged] == ["info"] and "Signature" not in str(logged)


async def test_a_server_that_does_not_take_the_rule(fake: Fake) -> None:
    answering(fake, (404, "<Code>NoSuchLifecycleConfiguration</Code>"), 403)
    with capture_logs() as logged:
        assert not await ensure_rule(bucket_of(fake))
    assert "HTTP 403" in str(logged) and "not-shown" not in str(logged)


async def test_a_server_that_is_away() -> None:
    with capture_logs() as logged:
        assert not await ensure_rule(Bucket("http://127.0.0.1:1", "ours", "us-east-1", "key", "not-shown"))
    assert "ConnectError" in str(logged) and "Signature" not in str(logged)


async def test_the_real_server_accepts_the_signature(s3_server: S3Server) -> None:
    """It knows no such rules, but other things of a bucket that are asked for in the same way."""
    name = s3_server.create_bucket()
    ours = Bucket(
        f"http://{s3_server.endpoint}", name, s3_server.region, s3_server.access_key, s3_server.secret_key
    )
    wrong = Bucket(f"http://{s3_server.endpoint}", name, s3_server.region, s3_server.access_key, "wrong")
    now = dt.datetime.now(dt.UTC)
    async with httpx2.AsyncClient() as client:
        assert (await client.get(ours.sign("GET", {"versioning": ""}, now))).status_code == 200
        listed = await client.get(ours.sign("GET", {"list-type": "2", "prefix": "a b/ключ+&="}, now))
        assert listed.status_code == 200 and "ListBucketResult" in listed.text
        refused = await client.get(wrong.sign("GET", {"versioning": ""}, now))
        assert refused.status_code == 403 and "SignatureDoesNotMatch" in refused.text
        late = await client.get(ours.sign("GET", {"versioning": ""}, now - dt.timedelta(hours=1)))
        assert late.status_code == 403


async def test_a_start_on_the_real_server(s3_server: S3Server) -> None:
    store = connect(s3_server, new_bucket())
    with capture_logs() as logged:
        await store.prepare()
    assert [entry["log_level"] for entry in logged] in ([], ["info"])
    await store.put("tasks/ab/x", b"x")
