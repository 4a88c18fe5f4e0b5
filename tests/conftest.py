"""What tests of several folders share: a real sshd and a real testum server, one of each for a session, and the
mode in which testum runs.

`pytest --mode servers` runs once more the tests whose answer the walls decide, each server with a PostgreSQL, a Redis,
an S3 and a worker.
"""

import gc
import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import timings
from tests.support import postgres, redis, s3
from tests.support import server as support
from tests.support.postgres import PostgresServer
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server
from tests.support.server import Api, Installation, Server
from tests.support.sshd import RealSshd
from testum import logs

_COMPLETE = os.environ.get("TESTUM_TESTS") == "complete"
"""`.ci/run` has installed whatever tests need: none may be skipped."""

_BEGAN = time.monotonic()

_LIMIT = pytest.StashKey[Any]()

_SERVERS = {"walls", "servers"}
"""The marks of tests that run with servers."""

# A commit is green or not: its examples are the same each time. `make test-all` looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("new", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mode", choices=["embedded", "servers"], default="embedded", help="what testum runs on"
    )
    parser.addoption(
        "--timings", type=Path, metavar="FOLDER", help="keep there how long each test took (tests/timings.py)"
    )


def pytest_configure(config: pytest.Config) -> None:
    Installation.mode = config.getoption("--mode")
    # A shell has what it starts in the background ignore Ctrl-C, and so would all that tests start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Who ends a run by kill or timeout, too, has it stop what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # As the programs have it: structlog's own way to draw a traceback takes a tenth of a second.
    logs.configure()
    if Installation.mode == "servers" and (reason := support.missing()):
        pytest.exit(
            f"NOT RUN, the tests on PostgreSQL, Redis, S3 and workers: {reason}.", returncode=int(_COMPLETE)
        )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Only where the results come together: the processes of pytest-xdist print nothing."""
    folder = config.getoption("--timings")
    if folder is not None and not hasattr(config, "workerinput"):
        reports = [
            report
            for kind in ("passed", "failed", "error", "")
            for report in terminalreporter.stats.get(kind, [])
        ]
        told = " ".join(map(str, config.invocation_params.args))
        timings.store(folder, told, time.monotonic() - _BEGAN, reports)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be skipped, a skipped test is a failed one."""
    report = yield
    _refuse_to_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """And so is a file that would be left out as a whole."""
    report = yield
    _refuse_to_skip(report)
    return report


def _refuse_to_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and _COMPLETE:
        report.outcome = "failed"
        # Of what may fail pytest counts no failure.
        vars(report).pop("wasxfail", None)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Note how long a test may take."""
    item.stash[_LIMIT] = settings


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """pytest-timeout lets go of a test that fails, for a debugger's sake: what tears it down may hang as well."""
    if _LIMIT in node.stash and not node.config.getoption("usepdb"):
        node.ihook.pytest_timeout_set_timer(item=node, settings=node.stash[_LIMIT])


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file that bears none of the marks asked for is not read: each process of pytest would import all, for a few tests."""
    if not collection_path.name.startswith("test_"):
        return None
    alone = config.option.markexpr.startswith("alone")
    left_out = (alone and not _names(collection_path, ["alone"])) or (
        Installation.mode == "servers" and not _names(collection_path, _SERVERS)
    )
    return left_out or None


def _names(path: Path, marks: Iterable[str]) -> bool:
    """Whether one of the marks stands in a file."""
    text = path.read_text()
    return any(f"pytest.mark.{mark}" in text for mark in marks)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only what belongs to the mode: with servers, what the walls decide (CONTRIBUTING, "Which test belongs where")."""
    kept, left = [], []
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        for mark in marks & {"alone", *_SERVERS}:
            if not _names(item.path, [mark]):
                # Runs that want it would not read the file.
                raise pytest.UsageError(f"{item.nodeid}: write pytest.mark.{mark} in its file")
        if Installation.mode == "embedded":
            runs = "servers" not in marks
        else:
            runs = bool(_SERVERS & marks) and "embedded" not in marks
            if any(mark.kwargs.get("slow") for mark in item.iter_markers("walls")):
                item.add_marker("slow")
        (kept if runs else left).append(item)
    # Containers take minutes, one after the other: begun last, they would keep all others waiting for the end.
    kept.sort(key=lambda item: "deploy" not in item.path.parts)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Python before 3.11.8 may refuse to parse a test when garbage is collected just then
    (pytest-dev/pytest#10874, python/cpython#106905): so not while tests are read."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def real_sshd() -> Iterator[RealSshd]:
    """A real OpenSSH server on four addresses."""
    sshd = RealSshd(addresses=4)
    yield sshd
    sshd.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL, for what needs no testum. Whoever stops it starts it again."""
    if reason := postgres.missing():
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, which keeps nothing; see `postgres_server`."""
    if reason := redis.missing():
        pytest.skip(reason)
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server; see `postgres_server`."""
    if reason := s3.missing():
        pytest.skip(reason)
    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real testum server. Tests share it: they make platforms with names of their own."""
    with Server(env={"ACCESS_TOKEN_SECONDS": "7200", "WORKER_PROCESSES": "2"}) as running:
        yield running


@pytest.fixture(scope="session")
def api(server: Server) -> Api:
    """Its API, as the admin: one login for all tests, because logins are throttled. A test that ends a
    login makes one of its own (`server.client()`)."""
    return server.client()
