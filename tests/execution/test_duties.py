"""Periodic work runs once over all processes, whichever of them live: counted in the database that they share."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import PostgresServer
from tests.support.waiting import until
from testum.db.migrate import upgrade

PERIOD = 0.5
_PROCESS = """
import asyncio, os
from testum.db.audit import AuditLog
from testum.db.session import Database
from testum.execution import watch as product
from testum.execution.watch import Duty, Watch

# They look more often than the product does.
product._TICK_SECONDS = product._RETRY_SECONDS = 0.2

async def main():
    database = Database(os.environ["URL"])

    async def note(what):
        async with database.write() as session:
            session.add(AuditLog(user=str(os.getpid()), action=what))

    async def fail():
        await note("fails")
        raise RuntimeError("as a duty may")

    watch = Watch(
        database,
        [
            Duty("counted", PERIOD, lambda: note("counted")),
            Duty("fails", PERIOD, fail),
            Duty("rare", 3600.0, lambda: note("rare")),
        ],
        alone=False,
    )
    watch.start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    address = postgres_server.create_database()
    asyncio.run(upgrade(address))
    return address


@pytest.fixture
def processes(url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Three processes that begin at once and have the same duties."""
    code = _PROCESS.replace("PERIOD", str(PERIOD))
    made = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(3)
    ]
    for process in made:
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
    yield made
    for process in made:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def done(url: str, what: str) -> list[tuple[str, float]]:
    """When it was done and by which process, the earliest first."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            'SELECT "user", extract(epoch FROM timestamp)::float FROM audit_logs WHERE action = %s ORDER BY timestamp',
            [what],
        )
        return [(str(row[0]), float(row[1])) for row in rows]


def test_a_duty_is_done_once_in_each_period(url: str, processes: list[subprocess.Popen[bytes]]) -> None:
    until(lambda: len(done(url, "counted")) >= 5, 60)
    times = [moment for _, moment in done(url, "counted")]
    assert len(done(url, "rare")) == 1, "though three began with it at once"
    # One that fails is tried again when it is due again, and not at once by each of them.
    failed = [moment for _, moment in done(url, "fails")]
    begun = time.time()
    for moments in (times, failed):
        assert len(moments) <= (begun - moments[0]) / PERIOD + 2, moments
    # Whoever lives goes on with it: also when the one that did it last is killed, and another is stopped.
    last = done(url, "counted")[-1][0]
    for process in processes:
        if str(process.pid) == last:
            process.kill()
            process.wait(10)
    paused = next(process for process in processes if process.poll() is None)
    paused.send_signal(signal.SIGSTOP)
    try:
        before = len(done(url, "counted"))
        until(lambda: len(done(url, "counted")) >= before + 4, 60)
    finally:
        paused.send_signal(signal.SIGCONT)
    by = Counter(pid for pid, _ in done(url, "counted")[before + 1 :])
    assert not {last, str(paused.pid)} & set(by)
    assert len(done(url, "rare")) == 1


def test_duties_go_on_after_an_outage(
    url: str, processes: list[subprocess.Popen[bytes]], postgres_server: PostgresServer
) -> None:
    until(lambda: len(done(url, "counted")) >= 2, 60)
    postgres_server.restart(immediate=True)
    back = time.time()
    until(lambda: done(url, "counted")[-1][1] > back, 60)
