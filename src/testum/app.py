"""The composition root: from settings to adapters to services. The only place that names an adapter."""

import asyncio
import datetime as dt
import fcntl
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TypeVar

import structlog
from limits.aio.storage import Storage

from testum import __version__, descriptors, logs
from testum.artifacts.base import Artifacts
from testum.core.feature import Registry
from testum.core.positions import Sequencer
from testum.core.secrets import Opener, Sealer
from testum.db import idempotency, installation, migrate, soundness, workers
from testum.db.positions import Positions, ProcessPositions, StoredPositions
from testum.db.session import Database
from testum.dispatch.base import Dispatcher
from testum.dispatch.local import LocalDispatcher
from testum.errors import ConfigurationError, InvalidInput, StorageFull, StorageUnavailable, WritesRefused
from testum.events.base import Events
from testum.events.memory import MemoryEvents
from testum.execution.aftermath import LOOK_SECONDS, Aftermath
from testum.execution.endpoints import Endpoints
from testum.execution.ledger import Ledger
from testum.execution.probing import Prober
from testum.execution.recovery import Recovery
from testum.execution.retention import EXPIRE_SECONDS, SWEEP_SECONDS, Retention
from testum.execution.runner import Runner
from testum.execution.stopping import Work
from testum.execution.watch import Duty, Watch
from testum.execution.work import JobLoader
from testum.output import emptied, files
from testum.output.base import OutputStore
from testum.output.files import FileOutputs
from testum.output.journal import JournalOutputs
from testum.services import passwords
from testum.services.access import Gate
from testum.services.auth import Auth
from testum.services.history import History
from testum.services.imports import Imports
from testum.services.intake import Intake
from testum.services.jobs import Jobs
from testum.services.keys import Keys
from testum.services.likeness import Likenesses
from testum.services.lines import Lines
from testum.services.output import Outputs
from testum.services.overview import Overview
from testum.services.platforms import Platforms
from testum.services.probes import Probes
from testum.services.refusals import SUMMARY_SECONDS, Refusals
from testum.services.spool import Spools
from testum.services.status import Check, Status
from testum.services.streams import Streams
from testum.services.throttle import Throttle
from testum.settings import Settings
from testum.ssh import Pool, PoolLimits

log = structlog.get_logger(__name__)

_Service = TypeVar("_Service")

_TIDY_SECONDS = 30.0
_FORGOTTEN_SECONDS = 3600.0
"""A worker that died is shown for so long, and so often what is remembered for a time is looked through."""


class Role(StrEnum):
    """What a process was started for. Where there are no workers, the web process does the work, too."""

    WEB = "web"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account made at the first start. `password` only where it was generated."""

    username: str
    password: str | None


class Engine:
    """What does the work: in the one process there is, or in each worker."""

    def __init__(self, testum: "Testum", opener: Opener) -> None:
        settings = testum.settings
        slots = descriptors.for_tasks(settings.worker_concurrency)
        self.pool = Pool(
            PoolLimits(
                idle_seconds=settings.ssh_idle_seconds,
                max_connections=descriptors.for_connections(settings.ssh_max_connections, slots),
            )
        )
        self.ledger = Ledger(
            testum.database,
            testum.positions,
            testum.events,
            worker=testum.process_id,
            lease_seconds=settings.lease_seconds,
        )
        self.runner = Runner(
            database=testum.database,
            loader=JobLoader(testum.features, opener, connect_timeout=settings.connect_timeout_seconds),
            endpoints=testum.endpoints,
            pool=self.pool,
            ledger=self.ledger,
            events=testum.events,
            outputs=testum.output_store,
            slots=slots,
            output_limit=settings.output_limit_bytes,
        )

        self.prober = Prober(testum.database, testum.endpoints, self.pool, settings.connect_timeout_seconds)
        self.aftermath = Aftermath(
            database=testum.database,
            positions=testum.positions,
            events=testum.events,
            endpoints=testum.endpoints,
            pool=self.pool,
            zones=None if testum.alone or not settings.celery_broker_url else settings.worker_zones,
            connect_timeout=settings.connect_timeout_seconds,
        )

    async def close(self) -> None:
        """Write what there is to write and let go of the hosts. What ran was ended before."""
        await self.aftermath.close()
        await self.ledger.close()
        await self.pool.close()


class Testum:
    """The whole of testum in one process. Make one with `Testum.open`, and `close` it."""

    __test__ = False

    def __init__(
        self, settings: Settings, features: Registry, role: Role, artifacts: Artifacts | None
    ) -> None:
        keys = settings.fernet_key.get_secret_value()
        self._sealer, self._opener = Sealer(keys), Opener(keys)
        self._closing: list[Callable[[], Awaitable[None]]] = []
        """What else is to be closed."""
        self.settings = settings
        self.features = features
        self._role = role
        self.process_id = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.alone = settings.embedded_database
        """Whether no other process works on the same data: the lock of the data directory sees to that."""
        self.database = Database(settings.effective_database_url)
        self.events = self._make_events()
        self.artifacts = artifacts
        self.output_store, self.positions = self._make_outputs()
        self._refusals = Refusals(self.database)
        self.gate = Gate(self._refusals)
        self.endpoints = Endpoints(self.database, self._opener, settings.ssh_host_key_policy)
        self.engine = (
            Engine(self, self._opener) if role is Role.WORKER or not settings.celery_broker_url else None
        )
        self.dispatcher = self._make_dispatcher()
        self.recovery = Recovery(
            database=self.database,
            positions=self.positions,
            outputs=self.output_store,
            events=self.events,
            dispatcher=self.dispatcher,
            worker=self.process_id,
            lease_seconds=settings.lease_seconds,
            held=lambda task_id: self.engine is not None and self.engine.ledger.holds(task_id),
        )
        sweep = settings.lease_seconds / 3
        self.watch = Watch(
            self.database,
            [
                Duty("resume jobs", sweep, self.recovery.resume),
                Duty("forget workers", _FORGOTTEN_SECONDS, self._forget_workers),
                Duty("forget idempotency keys", _FORGOTTEN_SECONDS, self._forget_idempotency_keys),
                Duty("tidy output", _TIDY_SECONDS, self.output_store.tidy),
                *self._retention_duties(),
            ],
            alone=self.alone,
        )

        intake = Intake()
        self.auth = Auth(
            self.database,
            self.gate,
            Throttle(self._make_attempts()),
            secret_key=settings.secret_key.get_secret_value(),
            access_seconds=settings.access_token_seconds,
            refresh_seconds=settings.refresh_token_seconds,
        )
        self.keys = Keys(self.database, self.gate, self._sealer)
        self.platforms = Platforms(self.database, self.gate, self._sealer)
        self.probes = Probes(
            self.database,
            self.gate,
            self.platforms,
            self.dispatcher,
            intake,
            connect_timeout=settings.connect_timeout_seconds,
        )
        self.imports = Imports(self.database, self.gate, self.platforms)
        self.jobs = Jobs(
            self.features,
            self.database,
            self.gate,
            self._sealer,
            self.dispatcher,
            self.events,
            self.positions,
            intake,
            concurrency=settings.task_concurrency,
            timeout=settings.task_timeout_seconds,
        )
        self.history = History(self.database, self.gate)
        self.overview = Overview(self.database, self.gate)
        # Artifacts are far away; files are as near as a spool would be.
        spools = Spools(settings.data_dir) if self.artifacts is not None else None
        self.outputs = Outputs(self.database, self.gate, self.output_store, spools)
        self.lines = Lines(self.database, self.gate, self.outputs)
        self.likenesses = Likenesses(self.database, self.gate, self.outputs)
        self.streams = Streams(self.database, self.gate, self.outputs, self.events, self.positions)
        self.work = (
            Work(self.engine.runner, intake, self.streams, settings.worker_drain_seconds)
            if self.engine is not None
            else None
        )
        self.status = Status(self.database, self.gate, settings, self._checks(), intake)
        self._services = features.services(self)
        self.first_admin: FirstAdmin | None = None
        self._lock: IO[str] | None = None

    def service(self, kind: type[_Service]) -> _Service:
        """The use cases of a feature that is there, by what they are registered under. Raises KeyError."""
        found: _Service = self._services[kind]
        return found

    def find(self, kind: type[_Service]) -> _Service | None:
        """The same of what need not be there: what features fulfil a protocol of the core with."""
        found: _Service | None = self._services.get(kind)
        return found

    def _make_events(self) -> Events:
        if not self.settings.effective_redis_url:
            return MemoryEvents()
        from testum.events.redis import RedisEvents

        return RedisEvents(
            self.settings.effective_redis_url,
            setting="REDIS_URL" if self.settings.redis_url else "CELERY_BROKER_URL",
            of_tasks=self._role is Role.WEB,
        )

    def _make_attempts(self) -> Storage | None:
        """Where attempts to log in are counted; None: in this process."""
        url = self.settings.effective_redis_url
        if not url:
            return None
        from limits.aio.storage import RedisStorage
        from redis.asyncio import ConnectionPool

        # Ours, because the storage has no way to close its own.
        pool = ConnectionPool.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._closing.append(pool.aclose)
        return RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="testum:attempts",
            connection_pool=pool,  # type: ignore[arg-type] # its options are typed as plain values
        )

    def _checks(self) -> dict[str, Check]:
        artifacts = self._check_files if self.artifacts is None else self.artifacts.check
        return {"events": self.events.check, "dispatch": self.dispatcher.check, "artifacts": artifacts}

    async def _check_files(self) -> None:
        await asyncio.to_thread(files.try_out, self.settings.data_dir)

    def _make_outputs(self) -> tuple[OutputStore, Positions]:
        if self.artifacts is None:
            sequencer = Sequencer()
            return (
                FileOutputs(self.settings.data_dir / "artifacts", sequencer, self.database),
                ProcessPositions(sequencer),
            )
        positions = StoredPositions(self.database)
        return JournalOutputs(self.database, positions, self.artifacts), positions

    def _retention_duties(self) -> list[Duty]:
        if not self.settings.output_retention_days:
            return []
        age = dt.timedelta(days=self.settings.output_retention_days)
        retention = Retention(self.database, self.output_store, age)
        return [
            Duty("expire output", EXPIRE_SECONDS, retention.expire),
            Duty("sweep output", SWEEP_SECONDS, retention.sweep),
        ]

    def _make_dispatcher(self) -> Dispatcher:
        if self.settings.celery_broker_url:
            from testum.dispatch.celery import CeleryDispatcher

            return CeleryDispatcher(self.settings.celery_broker_url)
        assert self.engine is not None, "without workers this process does the work"
        return LocalDispatcher(self.engine.runner.run_job, self.engine.prober.answer)

    @classmethod
    async def open(cls, settings: Settings, features: Registry, role: Role = Role.WEB) -> "Testum":
        """Start: bring the database up to date, make the first account, recover what the last stop cut off.
        Raises ConfigurationError."""
        logs.configure()
        descriptors.raise_limit()
        lock = _lock(settings) if settings.embedded_database else None
        try:
            artifacts = make_artifacts(settings)
            if artifacts is not None:
                await artifacts.prepare()
                await _check_belonging(settings, artifacts)
            if settings.embedded_database:
                outputs = settings.data_dir / "artifacts"
                await asyncio.to_thread(soundness.check, settings.effective_database_url, outputs)
                await migrate.upgrade(settings.effective_database_url)
            else:
                await migrate.prepare(settings.effective_database_url)
            self = cls(settings, features, role, artifacts)
        except BaseException:
            if lock is not None:
                lock.close()
            raise
        self._lock = lock
        try:
            await self._begin()
        except BaseException:
            await self.close()
            raise
        return self

    async def _begin(self) -> None:
        await self.events.start()
        await self._check_key()
        if self.artifacts is not None and await emptied.is_store_emptied(self.database, self.artifacts):
            # It goes on: each output that is missing is told as that, and there may be nothing to restore.
            log.error(
                "the store of artifacts has no output of tasks, but the database names some: it was emptied, or is another"
            )
        if self._role is Role.WEB:
            # It is the one that shows the password that was made up.
            await self._ensure_admin()
        try:
            await self.dispatcher.check()
        except WritesRefused as error:
            # It may take writes again before the first job.
            log.warning("the broker refuses to write", error=error.message)
        except StorageUnavailable as error:
            raise ConfigurationError(
                f"CELERY_BROKER_URL: {error.message} Correct it, or start that server."
            ) from None
        if self.alone:
            await self.recovery.at_start()
        self.watch.start()
        # Each process by itself: who has not watched cannot say that a lease has run out.
        self.watch.keep("abandoned tasks", self.recovery.close_abandoned, self.settings.lease_seconds / 6)
        if self._role is Role.WORKER:
            await self._beat()
            self.watch.keep("heartbeat", self._beat, self.settings.lease_seconds / 3)
        if self.engine is not None:
            self.watch.over_worker(
                self.engine.runner, self.engine.ledger, self.events, self.settings.lease_seconds
            )
            self.watch.keep("aftermath", self.engine.aftermath.look, LOOK_SECONDS)
        self.watch.keep("refusals", self._refusals.write, SUMMARY_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Claim no more, leave what is left to other workers, and wait so long for what is under way."""
        if self.engine is None:
            return
        self.engine.runner.retire()
        try:
            async with asyncio.timeout(seconds):
                with suppress(StorageUnavailable):
                    await self.recovery.resume()
                await self.engine.runner.idle()
        except TimeoutError:
            log.warning("tasks are under way for longer than the worker waits; they are ended")

    async def close(self) -> None:
        """Stop in order: what runs is ended on its host and its task says so; the rest stays pending."""
        await self.watch.close()
        if self._role is Role.WORKER:
            with suppress(StorageUnavailable):
                async with self.database.write() as session:
                    await workers.leave(session, self.process_id)
        if self.engine is not None:
            await self.engine.runner.stop()
        await self.dispatcher.close()
        if self.engine is not None:
            await self.engine.close()
        await self.lines.close()
        await self.likenesses.close()
        await self.output_store.close()
        await self.events.close()
        with suppress(StorageUnavailable, StorageFull):
            await self._refusals.write()
        for close in self._closing:
            await close()
        await self.database.close()
        if self._lock is not None:
            self._lock.close()

    async def _beat(self) -> None:
        async with self.database.write() as session:
            await workers.beat(session, self.process_id, self.settings.worker_zones, __version__)

    async def _forget_workers(self) -> None:
        async with self.database.write() as session:
            await workers.forget(session, _FORGOTTEN_SECONDS)

    async def _forget_idempotency_keys(self) -> None:
        async with self.database.write() as session:
            await idempotency.forget(session)

    async def _check_key(self) -> None:
        """That FERNET_KEY is the one that this database is used with: better now than at the first task. Raises
        ConfigurationError."""
        await self.endpoints.check_key()
        async with self.database.write() as session:
            row = await installation.ensure(session)
            if row.key_check is not None:
                self._opener.open(row.id, "key_check", row.key_check)
            # Sealed anew each time, with the newest key: the older ones may then be taken away.
            row.key_check = self._sealer.seal(row.id, "key_check", "testum")

    async def _ensure_admin(self) -> None:
        username = self.settings.admin_username
        given = self.settings.admin_password.get_secret_value()
        if await self.auth.has_accounts():
            if given and not await self.auth.has_password(username, given):
                log.warning(
                    "ADMIN_PASSWORD has no effect: it is for the first start, and the account has another password. "
                    "`testum users reset-password` gives it a new one",
                    account=username,
                )
            return
        password = given or passwords.make_up()
        first_only = not given or given in passwords.WEAK
        if not first_only:
            try:
                await passwords.check_password_rules(given, "ADMIN_PASSWORD", username)
            except InvalidInput as error:
                raise ConfigurationError(f"{error.message} Set another one.") from None
        # What was printed may be in a journal, what is weak is known to all: neither stays.
        if await self.auth.ensure_admin(username, password, must_change=first_only):
            self.first_admin = FirstAdmin(username, None if given else password)


async def _check_belonging(settings: Settings, artifacts: Artifacts) -> None:
    """See emptied.check_database."""
    if settings.minio_endpoint:
        place, remedy = f"the bucket {settings.minio_bucket}", "name another bucket in MINIO_BUCKET"
    else:
        folder = settings.data_dir / "artifacts"
        place, remedy = str(folder), f"move {folder} away"
    await emptied.check_database(settings.effective_database_url, artifacts, place, remedy)


def make_artifacts(settings: Settings) -> Artifacts | None:
    """The store of objects; None where one process keeps files that it appends to."""
    if settings.embedded_database and not settings.minio_endpoint:
        return None
    from testum.artifacts.store import ObjectStore

    if settings.minio_endpoint:
        return ObjectStore.s3(
            settings.minio_endpoint,
            settings.minio_access_key,
            settings.minio_secret_key.get_secret_value(),
            settings.minio_bucket,
            secure=settings.minio_secure,
            region=settings.minio_region,
            encryption=settings.minio_encryption,
            kms_key_id=settings.minio_kms_key_id,
        )
    return ObjectStore.local(settings.data_dir / "artifacts")


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
