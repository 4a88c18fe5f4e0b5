"""The composition root: from settings to adapters to services. The only place that names an adapter."""

import asyncio
import fcntl
import os
import secrets
import socket
from dataclasses import dataclass
from typing import IO

import structlog

from testum import logs
from testum.artifacts.local import LocalArtifacts
from testum.core.positions import Sequencer
from testum.core.secrets import Opener, Sealer
from testum.db import migrate
from testum.db.session import Database
from testum.dispatch.local import LocalDispatcher
from testum.errors import ConfigurationError, InvalidInput
from testum.events.memory import MemoryEvents
from testum.execution.endpoints import Endpoints
from testum.execution.ledger import Ledger
from testum.execution.recovery import Recovery, keep_watch
from testum.execution.runner import Runner
from testum.services.access import Gate
from testum.services.auth import Auth
from testum.services.history import History
from testum.services.jobs import Jobs
from testum.services.keys import Keys
from testum.services.output import Outputs
from testum.services.passwords import check_password_rules
from testum.services.platforms import Platforms
from testum.services.status import Status
from testum.services.streams import Streams
from testum.settings import WEAK_PASSWORDS, Settings
from testum.ssh import Pool, PoolLimits

log = structlog.get_logger(__name__)

_GENERATED_LENGTH = 15


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account made at the first start. `password` only where it was generated."""

    username: str
    password: str | None


class Testum:
    """The whole of testum in one process. Make one with `Testum.open`, and `close` it."""

    __test__ = False

    def __init__(self, settings: Settings) -> None:
        keys = settings.fernet_key.get_secret_value()
        self.settings = settings
        self.worker_id = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.database = Database(settings.effective_database_url)
        self.events = MemoryEvents()
        self.artifacts = LocalArtifacts(settings.data_dir / "artifacts")
        self.sequencer = Sequencer()
        self.gate = Gate(self.database)
        sealer, opener = Sealer(keys), Opener(keys)

        self.pool = Pool(
            PoolLimits(idle_seconds=settings.ssh_idle_seconds, max_connections=settings.ssh_max_connections)
        )
        self.ledger = Ledger(
            self.database,
            self.sequencer,
            self.events,
            worker=self.worker_id,
            lease_seconds=settings.lease_seconds,
        )
        self.endpoints = Endpoints(self.database, opener, settings.ssh_host_key_policy)
        self.runner = Runner(
            database=self.database,
            opener=opener,
            endpoints=self.endpoints,
            pool=self.pool,
            ledger=self.ledger,
            sequencer=self.sequencer,
            events=self.events,
            artifacts=self.artifacts,
            slots=settings.worker_concurrency,
            output_limit=settings.output_limit_bytes,
            connect_timeout=settings.connect_timeout_seconds,
        )
        self.dispatcher = LocalDispatcher(self.runner.run_job, self.runner.stop_job)
        self.recovery = Recovery(
            database=self.database,
            artifacts=self.artifacts,
            sequencer=self.sequencer,
            events=self.events,
            dispatcher=self.dispatcher,
            worker=self.worker_id,
        )

        self.auth = Auth(
            self.database,
            self.gate,
            secret_key=settings.secret_key.get_secret_value(),
            access_seconds=settings.access_token_seconds,
            refresh_seconds=settings.refresh_token_seconds,
        )
        self.keys = Keys(self.database, self.gate, sealer)
        self.platforms = Platforms(self.database, self.gate, sealer)
        self.jobs = Jobs(
            self.database,
            self.gate,
            sealer,
            self.dispatcher,
            self.events,
            self.sequencer,
            concurrency=settings.task_concurrency,
            timeout=settings.task_timeout_seconds,
        )
        self.history = History(self.database, self.gate)
        self.outputs = Outputs(self.database, self.gate, self.artifacts)
        self.streams = Streams(self.database, self.gate, self.outputs, self.events, self.sequencer)
        self.status = Status(self.database, self.gate, settings)
        self.first_admin: FirstAdmin | None = None
        self._lock: IO[str] | None = None
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, settings: Settings) -> "Testum":
        """Start: lock the data directory, bring the database up to date, make the first account,
        recover what the last stop cut off. Raises ConfigurationError."""
        if not settings.embedded_database:
            raise ConfigurationError(
                "DATABASE_URL: this release keeps its data in SQLite under DATA_DIR only. Unset DATABASE_URL."
            )
        logs.configure()
        lock = _lock(settings)
        await migrate.upgrade(settings.effective_database_url)
        self = cls(settings)
        self._lock = lock
        await self.endpoints.check_key()
        await self._ensure_admin()
        await self.recovery.at_start()
        self._watch = asyncio.create_task(
            keep_watch(self.recovery, self.ledger, self.runner, self.database, settings.lease_seconds),
            name="watch",
        )
        return self

    async def close(self) -> None:
        """Stop in order: what runs is ended on its host and its task says so; the rest stays pending."""
        if self._watch is not None:
            self._watch.cancel()
        await self.runner.stop()
        await self.dispatcher.close()
        await self.ledger.close()
        await self.pool.close()
        await self.database.close()
        if self._lock is not None:
            self._lock.close()

    async def _ensure_admin(self) -> None:
        if await self.auth.has_accounts():
            return
        username = self.settings.admin_username
        given = self.settings.admin_password.get_secret_value()
        password = given or secrets.token_urlsafe(_GENERATED_LENGTH)
        weak = given in WEAK_PASSWORDS if given else False
        if given and not weak:
            try:
                check_password_rules(given, "ADMIN_PASSWORD")
            except InvalidInput as error:
                raise ConfigurationError(f"{error.message} Set another one.") from None
        if await self.auth.ensure_admin(username, password, must_change=weak):
            self.first_admin = FirstAdmin(username, None if given else password)


def _lock(settings: Settings) -> IO[str]:
    """Hold the data directory: two servers on one would each take the other's tasks for dead ones."""
    path = settings.data_dir / "lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise ConfigurationError(f"DATA_DIR: {path} cannot be written: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigurationError(
            f"DATA_DIR: another testum already uses {settings.data_dir}. Stop it, or set another DATA_DIR."
        ) from None
    return file
