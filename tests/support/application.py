"""testum's application in this process, for tests that only need other settings, or other intervals than the product's:
a start costs it a tenth of what a process costs. Whatever only a process shows (kill, signals, its log, the command that
starts the web server) is for Server.
"""

import asyncio
import os
import socket
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest.mock import patch

import httpx2
import uvicorn
import uvloop
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.support.server import Installation, Server
from tests.support.waiting import LIMIT_SECONDS
from testum.app import Role, Testum
from testum.cli import webserver
from testum.errors import TestumError
from testum.installed import INSTALLED
from testum.settings import Settings, load_settings
from testum.web.factory import build

T = TypeVar("T")

_loading = threading.Lock()


def settings_of(env: Mapping[str, str]) -> Settings:
    """The settings that a process with this environment, and no `.env`, would have. Raises ConfigurationError."""
    with _loading, patch.dict(os.environ, env, clear=True), patch.dict(Settings.model_config, env_file=None):
        return load_settings()


def refusal(env: Mapping[str, str], role: Role = Role.WEB) -> str:
    """Why testum does not start with this environment. Fails when it does."""

    async def start() -> None:
        await (await Testum.open(settings_of(env), INSTALLED, role)).close()

    return refusal_of(start())


def refusal_of(work: Coroutine[Any, Any, object]) -> str:
    """What is told of work that must be refused: one line, as the command line prints it. Fails when it is done."""
    try:
        asyncio.run(work)
    except TestumError as error:
        assert len(error.message.splitlines()) == 1, error.message
        return error.message
    raise AssertionError("it was not refused")


class Application(Installation):
    """An installation whose testum is an event loop in a thread of this process. In the mode "servers" it is a web
    process without a worker: its jobs and tests of connections wait."""

    # Nothing listens there, and it is a name that cookies take.
    url = "http://testum.test"

    def __init__(
        self, data_dir: Path | None = None, env: Mapping[str, str] | None = None, mode: str | None = None
    ) -> None:
        super().__init__(data_dir, env, mode)
        self._thread: threading.Thread | None = None
        self._transport: httpx2.ASGITransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> Self:
        """Start, and wait until it is ready. Raises what its start raises."""
        self.data_dir.mkdir(exist_ok=True)
        settings = settings_of(self.env)
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(settings, started), name="application", daemon=True
        )
        self._thread.start()
        started.result()
        return self

    def stop(self) -> None:
        """Stop in order. Where that raises, the test fails: pytest looks after threads."""
        if self._thread is not None and self._thread.is_alive():
            assert self._loop is not None and self._stop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(LIMIT_SECONDS)
            assert not self._thread.is_alive(), "it does not stop; something it opened may not be closed"
        self._thread = None

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        super().close()

    def transport(self) -> httpx2.BaseTransport:
        """Carries requests to its loop."""
        return _Carrier(self)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """Its answer, complete. Raises what the application does not answer for."""
        assert self._loop is not None
        seconds = request.extensions.get("timeout", {}).get("read")
        answering = asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)
        try:
            return answering.result(seconds)
        except TimeoutError:
            answering.cancel()
            raise httpx2.ReadTimeout(f"no answer within {seconds} seconds", request=request) from None

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert self._transport is not None
        answer = await self._transport.handle_async_request(request)
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        body = b"".join([part async for part in answer.stream])
        return httpx2.Response(
            answer.status_code, headers=answer.headers.raw, stream=httpx2.ByteStream(body), request=request
        )

    def _run(self, settings: Settings, started: Future[None]) -> None:
        # The loop of the web process (testum.cli.webserver).
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live(settings, started))

    async def _live(self, settings: Settings, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            app = build(settings, INSTALLED)
            # As the web server has it in front where a proxy is trusted.
            proxies = settings.trusted_proxies
            front: Any = ProxyHeadersMiddleware(app, proxies) if proxies else app
            self._transport = httpx2.ASGITransport(front)
            async with app.router.lifespan_context(app):
                started.set_result(None)
                await self._serve(front, self._stop)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, front: Any, stop: asyncio.Event) -> None:
        """What it does between its start and its stop: nothing but answer what is carried to it."""
        await stop.wait()


class Listening(Application):
    """One with a port, for what needs connections: WebSockets, the command line. It does its jobs itself in both modes,
    also where they are on the servers: it has no broker."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        super().__init__(env={"CELERY_BROKER_URL": "", **(env or {})})
        # From now on connections wait until it takes them.
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        super().close()
        self._listener.close()

    def transport(self) -> None:
        """The network."""
        return

    async def _serve(self, front: Any, stop: asyncio.Event) -> None:
        server = uvicorn.Server(webserver.config_of(front, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[self._listener]))
        await stop.wait()
        server.should_exit = True
        await serving


class _Carrier(httpx2.BaseTransport):
    """A transport for a client of this process, from whichever thread."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        # Here, and not on the loop: the body may be one that only synchronous code reads.
        request.read()
        return self._application.answer(request)


def doing_work(env: Mapping[str, str]) -> Installation:
    """An installation that does jobs: in this process, or by a worker where the mode has workers."""
    return Server(env=env) if Installation.mode == "servers" else Application(env=env)
