"""Dispatch over Celery: zones and their queues, brokers that are away, hang, refuse or come back empty."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import redis
from structlog.testing import capture_logs

from tests.dispatch.conftest import CeleryWorker, Remote, until_brought, work
from tests.support.redis import RedisServer
from tests.support.waiting import eventually, pause, remains, turns
from testum.dispatch import celery as module
from testum.dispatch.celery import CeleryDispatcher, make_celery, queue_name, send_answer
from testum.dispatch.messages import ASK_TASK, SHARD_TASK, checked
from testum.errors import ConfigurationError, StorageUnavailable


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before `remote`: the broker has a second to answer."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 1.0)


@pytest.fixture
async def remote(own_broker: RedisServer) -> AsyncIterator[Remote]:
    """A dispatcher whose messages nobody takes."""
    made = Remote(own_broker.fresh_url(), own_broker.fresh_url())
    yield made
    await made.dispatcher.close()


async def sent(remote: Remote) -> None:
    """Until nothing is on its way to the broker."""
    async with asyncio.timeout(60):
        while (sending := remote.dispatcher._sending) is not None:
            await asyncio.wait({sending})


async def test_each_zone_has_its_queue(remote: Remote) -> None:
    """The shards of a zone go where its workers listen, and in all there are as many at once as the job may."""
    submitted = work(concurrency=10, default=350, dmz=50, **{"lab.eu-1": 1})
    await remote.dispatcher.submit(submitted)
    await sent(remote)
    found = {zone: remote.queued(queue_name(zone)) for zone in submitted.pending}
    assert {zone: len(shards) for zone, shards in found.items()} == {"default": 4, "dmz": 1, "lab.eu-1": 1}
    for zone, shards in found.items():
        assert [shard[:3] for shard in shards] == [
            [str(submitted.job_id), zone, number] for number in range(len(shards))
        ]
        assert {shard[4] for shard in shards} == {6}
    assert sum(shard[3] for shards in found.values() for shard in shards) in (10, 11)


async def test_workers_take_from_their_zones_only(redis_server: RedisServer) -> None:
    remote = Remote(redis_server.fresh_url(), redis_server.fresh_url())
    worker = CeleryWorker(remote.broker, remote.notes, "dmz", "lab")
    try:
        elsewhere, here = work(default=1), work(dmz=2, default=2)
        for submitted in (elsewhere, here, work(lab=1)):
            await remote.dispatcher.submit(submitted)
        await until_brought(remote, here.job_id)

        async def both() -> bool:
            return len(await remote.noted()) >= 2

        await eventually(both)
        assert {(queue, zone) for queue, _, zone, *_ in await remote.noted()} == {
            ("testum.dmz", "dmz"),
            ("testum.lab", "lab"),
        }
        waiting = {job for job, *_ in remote.queued("testum.default")}
        assert waiting == {str(elsewhere.job_id), str(here.job_id)}
    finally:
        worker.close()
        await remote.dispatcher.close()


_NO_MESSAGES = (
    b"this is no JSON", b"\xff\xfe", b"", b"null", b"[1, 2]", b'"text"', b"{}", b'{"properties": 7}',
    b'{"properties": {}, "body": 5}',
    b'{"properties": {"delivery_tag": "t", "body_encoding": "base64"}, "headers": {"task": "testum.shard"}, "body": "%%"}',
    b'{"properties": {"delivery_tag": "u"}, "headers": {"task": "testum.shard", "id": 5}, "body": "{}",'
    b' "content-type": "application/json", "content-encoding": "utf-8"}',
    b'{"properties": {"delivery_tag": "v"}, "headers": null, "body": "", "content-type": "application/json"}',
)  # fmt: skip


async def test_what_is_no_message_ends_no_worker(redis_server: RedisServer) -> None:
    remote = Remote(redis_server.fresh_url(), redis_server.fresh_url())
    worker = CeleryWorker(remote.broker, remote.notes, "dmz")
    try:
        with redis.Redis.from_url(remote.broker) as client:
            for number in range(3):
                client.lpush("testum.dmz", *_NO_MESSAGES)
                job = work(dmz=1)
                await remote.dispatcher.submit(job)
                await until_brought(remote, job.job_id)
                assert len({shard[1] for shard in await remote.noted()}) == number + 1
            assert client.llen("testum.dmz") == 0
    finally:
        worker.close()
        await remote.dispatcher.close()


def message(*arguments: Any, task: str = SHARD_TASK, body: bytes | None = None, **headers: Any) -> bytes:
    """A message as it is sent, with other arguments, or another body, or headers."""
    body = body or json.dumps([list(arguments), {}, {}]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": str(uuid4()), **headers},
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": "testum.dmz"},
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
    ).encode()


JOB = str(UUID(int=1))
DEEP = b"[" * 50_000 + b"]" * 50_000
NONE_OF_OURS = {
    "deep": DEEP,
    "a deep body": message(body=DEEP),
    "another task": message(JOB, "dmz", 0, 1, 1, task="testum.other"),
    "no task's name": message(JOB, "dmz", 0, 1, 1, task=cast(str, {"a": 1})),
    "no id": message(JOB, "dmz", 0, 1, 1, id=None),
    "too few": message(JOB),
    "no job": message("job", "dmz", 0, 1, 1),
    "a number": message(5, "dmz", 0, 1, 1),
    "no zone": message(JOB, ["dmz"], 0, 1, 1),
    "no number": message(JOB, "dmz", 0, "many", 1),
    "half a number": message(JOB, "dmz", 0, 1.5, 1),
    "a truth": message(JOB, "dmz", 0, True, 1),
    "a large number": message(JOB, "dmz", 0, 10**30, 1),
    "no question": message(5, "testum.answer.x", task=ASK_TASK),
    "another name": message("question", "testum.dmz", task=ASK_TASK),
    "no date": message("question", "testum.answer.x", task=ASK_TASK, expires=[5]),
    "half a pair": message("\ud800", "testum.answer.x", task=ASK_TASK),
}


@pytest.mark.parametrize("kind", NONE_OF_OURS)
def test_what_is_none_of_ours(kind: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, RecursionError)):
        checked(json.loads(NONE_OF_OURS[kind]))


HEADERS: dict[str, Any] = {
    "timelimit": ["soon", "now"],
    "retries": "x",
    "eta": "2999-01-01T00:00:00",
    "shadow": {"a": 1},
    "compression": "nope",
    "stamped_headers": 5,
    "group": {"a": 1},
    "lang": "c",
}


async def test_a_message_of_another_kind_ends_no_process(redis_server: RedisServer) -> None:
    """What it would have Celery do is not done: neither are its time limits set, nor its date waited for."""
    remote = Remote(redis_server.fresh_url(), redis_server.fresh_url())
    worker = CeleryWorker(remote.broker, remote.notes, "dmz", pool="prefork")
    try:
        await remote.dispatcher.ask("dmz", "begun", 30)
        before = worker.processes()
        assert len(before) == 2
        with redis.Redis.from_url(remote.broker) as client:
            jobs = {name: str(uuid4()) for name in HEADERS}
            client.lpush("testum.dmz", *NONE_OF_OURS.values())
            for name, job in jobs.items():
                client.lpush("testum.dmz", message(job, "dmz", 0, 1, 1, **{name: HEADERS[name]}))
            client.lpush("testum.dmz", message(JOB, "dmz", 0, 1, 1, timelimit=[0.0001, 0.0001]))

            async def all_done() -> bool:
                return {shard[1] for shard in await remote.noted()} == {*jobs.values(), JOB}

            await eventually(all_done)
            assert not client.llen("testum.dmz") and not client.hlen("unacked")
        # Time limits are looked at once a second.
        await remains(lambda: worker.processes() == before, 2.5)
        assert await remote.dispatcher.ask("dmz", "after", 20) == "after!"
    finally:
        worker.close()
        await remote.dispatcher.close()


async def test_a_long_queue_is_not_made_longer(remote: Remote) -> None:
    """The sweep sends again and again what nobody takes; a new job goes in all the same, and so do other zones."""
    job_id = uuid4()
    for _ in range(260):
        await remote.dispatcher.submit(work(job_id, again=True, default=1))
        await sent(remote)
    assert len(remote.queued("testum.default")) == 201
    new = work(default=1)
    await remote.dispatcher.submit(new)
    await remote.dispatcher.submit(work(job_id, again=True, default=1, dmz=1))
    await sent(remote)
    assert str(new.job_id) in [shard[0] for shard in remote.queued("testum.default")]
    # A job that is new stays so, though the sweep sends it before it is on its way.
    twice = work(default=1)
    await remote.dispatcher.submit(twice)
    await remote.dispatcher.submit(replace(twice, again=True))
    await sent(remote)
    assert len(remote.queued("testum.default")) == 203 and len(remote.queued("testum.dmz")) == 1


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (RedisServer.kill, RedisServer.start),
        (RedisServer.pause, RedisServer.resume),
    ],
    ids=["gone", "hung"],
)
async def test_a_broker_that_is_away(
    hurried: None,
    own_broker: RedisServer,
    remote: Remote,
    break_it: Callable[[RedisServer], None],
    mend_it: Callable[[RedisServer], None],
) -> None:
    """Submitting neither raises nor waits, health tells it, and all goes on when the broker is back."""
    await remote.dispatcher.submit(work())
    await sent(remote)
    break_it(own_broker)
    try:
        with capture_logs() as logged:
            begun = time.monotonic()
            for _ in range(30):
                await remote.dispatcher.submit(work())
            assert time.monotonic() - begun < 20
            with pytest.raises(StorageUnavailable, match="The broker does not answer"):
                await remote.dispatcher.ask("default", "anything", 60)
            with pytest.raises(StorageUnavailable, match="The broker does not answer"):
                await remote.dispatcher.check()
            assert time.monotonic() - begun < 30
            await sent(remote)
        complaints = [entry for entry in logged if entry["log_level"] == "error"]
        assert len(complaints) == 1 and "broker" in complaints[0]["event"], complaints
    finally:
        mend_it(own_broker)
    await remote.dispatcher.check()
    submitted = work()
    await remote.dispatcher.submit(submitted)
    await sent(remote)
    assert str(submitted.job_id) in [shard[0] for shard in remote.queued("testum.default")]


async def test_a_broker_that_is_not_there_is_asked_once() -> None:
    """Who starts with its address, or asks, hears of it at once and not after attempts that come later."""
    came = 0

    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1") as listening:
        dispatcher = CeleryDispatcher(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        try:
            with pytest.raises(StorageUnavailable, match="The broker does not answer"):
                await dispatcher.check()
            assert came == 1
        finally:
            await dispatcher.close()


async def test_a_broker_that_refuses(own_broker: RedisServer, remote: Remote) -> None:
    """As one does whose memory is full."""
    await remote.dispatcher.submit(work())
    await sent(remote)
    with redis.Redis.from_url(own_broker.url()) as client:
        client.config_set("maxmemory", "1")
        try:
            with capture_logs() as logged:
                await remote.dispatcher.submit(work())
                await sent(remote)
            assert [entry["log_level"] for entry in logged] == ["error"]
        finally:
            client.config_set("maxmemory", "0")
    await remote.dispatcher.submit(work())
    await sent(remote)
    assert len(remote.queued("testum.default")) == 2


async def test_closing_does_not_wait_for_a_broker_that_hangs(hurried: None, own_broker: RedisServer) -> None:
    dispatcher = CeleryDispatcher(own_broker.fresh_url())
    await dispatcher.check()
    own_broker.pause()
    try:
        await dispatcher.submit(work())
        # A thread has it.
        await eventually(lambda: not dispatcher._waiting)
        begun = time.monotonic()
        await dispatcher.close()
        assert time.monotonic() - begun < 30
    finally:
        own_broker.resume()


async def test_a_broker_that_has_lost_everything(own_broker: RedisServer, remote: Remote) -> None:
    await remote.dispatcher.submit(work())
    await sent(remote)
    with redis.Redis.from_url(remote.broker) as client:
        client.flushdb()
    submitted = work()
    await remote.dispatcher.submit(submitted)
    await sent(remote)
    assert [UUID(shard[0]) for shard in remote.queued("testum.default")] == [submitted.job_id]


async def test_a_question_that_nobody_waits_for_any_more_is_dropped(redis_server: RedisServer) -> None:
    remote = Remote(redis_server.fresh_url(), redis_server.fresh_url())
    with pytest.raises(TimeoutError):
        await remote.dispatcher.ask("lab", "late", 0.5)
    # It has expired long before a worker has started.
    worker = CeleryWorker(remote.broker, remote.notes, "lab")
    try:
        assert await remote.dispatcher.ask("lab", "in time", 20) == "in time!"
        with redis.Redis.from_url(remote.notes) as client:
            assert client.lrange("asked", 0, -1) == [b"in time"]
        with redis.Redis.from_url(remote.broker) as client:
            assert not list(client.scan_iter("testum.answer.*")), "an answer that was taken is gone"
    finally:
        worker.close()
        await remote.dispatcher.close()


def test_an_answer_that_nobody_takes_expires(redis_server: RedisServer) -> None:
    broker = redis_server.fresh_url()
    with make_celery(broker) as celery:
        send_answer(celery, "testum.answer.late", "yes")
    with redis.Redis.from_url(broker) as client:
        assert client.lrange("testum.answer.late", 0, -1) == [b"yes"]
        assert 0 < client.ttl("testum.answer.late") <= 60


async def test_a_password_that_is_refused(hurried: None, own_broker: RedisServer) -> None:
    dispatcher = CeleryDispatcher(own_broker.url(password="not-the-password"))
    with pytest.raises(StorageUnavailable, match="The broker does not answer") as caught:
        await dispatcher.check()
    assert "not-the-password" not in caught.value.message
    await dispatcher.close()


@pytest.mark.parametrize(
    "url", ["amqp://guest:not-shown@localhost//", "postgresql://x:not-shown@y/z", "nonsense"]
)
def test_an_address_that_is_no_broker(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^CELERY_BROKER_URL: ") as caught:
        CeleryDispatcher(url)
    assert "not-shown" not in caught.value.message


async def test_a_broker_that_hangs_holds_up_nothing_else(
    hurried: None, own_broker: RedisServer, remote: Remote
) -> None:
    """The threads that hash passwords and write files are free, and what waits for it does not grow with time."""
    await remote.dispatcher.submit(work())
    await sent(remote)
    own_broker.pause()
    try:
        jobs = [work(again=True) for _ in range(20)]
        checks = [asyncio.create_task(remote.dispatcher.check()) for _ in range(20)]
        for _ in range(500):
            for job in jobs:
                await remote.dispatcher.submit(job)
        await turns(3)
        begun = time.monotonic()
        await asyncio.gather(*(asyncio.to_thread(pause, 0.01) for _ in range(20)))
        assert time.monotonic() - begun < 2
        assert len(remote.dispatcher._waiting) <= len(jobs)
    finally:
        own_broker.resume()
    await asyncio.gather(*checks, return_exceptions=True)
    await sent(remote)
    assert {shard[0] for shard in remote.queued("testum.default")} >= {str(job.job_id) for job in jobs}
