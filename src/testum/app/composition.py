"""The composition root: what there is, and in which order it begins and ends."""

import asyncio
import datetime as dt
import os
import secrets
import socket
from contextlib import AsyncExitStack, suppress
from typing import TypeVar

import structlog

from testum import __version__, descriptors, logs
from testum.app import adapters, installation
from testum.app.engine import Engine
from testum.app.roles import Role
from testum.artifacts.base import Artifacts
from testum.core.feature import Registry
from testum.core.secrets import Opener, Sealer
from testum.db import idempotency, workers
from testum.db.session import Database
from testum.errors import ConfigurationError, StorageFull, StorageUnavailable, WritesRefused
from testum.execution.aftermath import LOOK_SECONDS
from testum.execution.endpoints import Endpoints
from testum.execution.recovery import Recovery
from testum.execution.retention import EXPIRE_SECONDS, SWEEP_SECONDS, Retention
from testum.execution.stopping import Work
from testum.execution.watch import Duty, Watch
from testum.output import emptied, files
from testum.services.access import Gate
from testum.services.auth import Auth
from testum.services.history import History
from testum.services.imports import Imports
from testum.services.intake import Intake
from testum.services.jobs import Jobs
from testum.services.keys import Keys
from testum.services.lines import Lines
from testum.services.output import Outputs
from testum.services.output_groups import OutputGroups
from testum.services.overview import Overview
from testum.services.platforms import Platforms
from testum.services.probes import Probes
from testum.services.refusals import SUMMARY_SECONDS, Refusals
from testum.services.spool import Spools
from testum.services.status import Check, Status
from testum.services.streams import Streams
from testum.services.throttle import Throttle
from testum.settings import Settings

log = structlog.get_logger(__name__)

_Service = TypeVar("_Service")

_TIDY_SECONDS = 30.0
_FORGOTTEN_SECONDS = 3600.0
"""A worker that died is shown for so long, and so often what is remembered for a time is looked through."""


class Testum:
    """The whole of testum in one process. Make one with `Testum.open`, and `close` it."""

    __test__ = False

    def __init__(
        self,
        settings: Settings,
        features: Registry,
        role: Role,
        artifacts: Artifacts | None,
        closing: AsyncExitStack,
    ) -> None:
        """`closing` ends what is made here, the last first."""
        keys = settings.fernet_key.get_secret_value()
        self._sealer, self._opener = Sealer(keys), Opener(keys)
        self._closing: AsyncExitStack
        self.settings = settings
        self.features = features
        self._role = role
        self.process_id = f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"
        self.alone = settings.embedded_database
        """Whether no other process works on the same data: the lock of the data directory sees to that."""
        self.database = Database(settings.effective_database_url)
        closing.push_async_callback(self.database.close)
        self._refusals = Refusals(self.database)
        closing.push_async_callback(self._write_refusals)
        self.events = adapters.make_events(settings, of_tasks=role is Role.WEB)
        closing.push_async_callback(self.events.close)
        self.artifacts = artifacts
        self.output_store, self.positions = adapters.make_outputs(settings, self.database, artifacts)
        closing.push_async_callback(self.output_store.close)
        self.gate = Gate(self._refusals)
        self.endpoints = Endpoints(self.database, self._opener, settings.ssh_host_key_policy)
        self.engine: Engine | None = None
        if role is Role.WORKER or not settings.celery_broker_url:
            self.engine = Engine(
                settings,
                features,
                process_id=self.process_id,
                database=self.database,
                events=self.events,
                positions=self.positions,
                outputs=self.output_store,
                endpoints=self.endpoints,
                opener=self._opener,
            )
            closing.push_async_callback(self.engine.close)
        self.dispatcher = adapters.make_dispatcher(settings, self.engine)
        closing.push_async_callback(self.dispatcher.close)
        if self.engine is not None:
            closing.push_async_callback(self.engine.runner.stop)
        if role is Role.WORKER:
            closing.push_async_callback(self._leave)
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
        closing.push_async_callback(self.watch.close)

        intake = Intake()
        self.auth = Auth(
            self.database,
            self.gate,
            Throttle(adapters.make_attempts(settings, closing)),
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
        closing.push_async_callback(self.lines.close)
        self.output_groups = OutputGroups(self.database, self.gate, self.outputs)
        closing.push_async_callback(self.output_groups.close)
        self.streams = Streams(self.database, self.gate, self.outputs, self.events, self.positions)
        self.work = (
            Work(self.engine.runner, intake, self.streams, settings.worker_drain_seconds)
            if self.engine is not None
            else None
        )
        self.status = Status(self.database, self.gate, settings, self._checks(), intake)
        self._services = features.services(self)
        self.first_admin: installation.FirstAdmin | None = None

    def service(self, kind: type[_Service]) -> _Service:
        """The use cases of a feature that is there, by what they are registered under. Raises KeyError."""
        found: _Service = self._services[kind]
        return found

    def find(self, kind: type[_Service]) -> _Service | None:
        """The same of what need not be there: what features fulfil a protocol of the core with."""
        found: _Service | None = self._services.get(kind)
        return found

    def _checks(self) -> dict[str, Check]:
        artifacts = self._check_files if self.artifacts is None else self.artifacts.check
        return {"events": self.events.check, "dispatch": self.dispatcher.check, "artifacts": artifacts}

    async def _check_files(self) -> None:
        await asyncio.to_thread(files.try_out, self.settings.data_dir)

    def _retention_duties(self) -> list[Duty]:
        if not self.settings.output_retention_days:
            return []
        age = dt.timedelta(days=self.settings.output_retention_days)
        retention = Retention(self.database, self.output_store, age)
        return [
            Duty("expire output", EXPIRE_SECONDS, retention.expire),
            Duty("sweep output", SWEEP_SECONDS, retention.sweep),
        ]

    @classmethod
    async def open(cls, settings: Settings, features: Registry, role: Role = Role.WEB) -> "Testum":
        """Start: bring the database up to date, make the first account, recover what the last stop cut off.
        Raises ConfigurationError."""
        logs.configure()
        descriptors.raise_limit()
        async with AsyncExitStack() as closing:
            artifacts = adapters.make_artifacts(settings)
            await installation.prepare(settings, artifacts, closing)
            self = cls(settings, features, role, artifacts, closing)
            await self._begin()
            # From here on `close` ends what was made.
            self._closing = closing.pop_all()
        return self

    async def _begin(self) -> None:
        await self.events.start()
        await self.endpoints.check_key()
        await installation.check_key(self.database, self._sealer, self._opener)
        if self.artifacts is not None and await emptied.is_store_emptied(self.database, self.artifacts):
            # It goes on: each output that is missing is told as that, and there may be nothing to restore.
            log.error(
                "the store of artifacts has no output of tasks, but the database names some: it was emptied, or is another"
            )
        if self._role is Role.WEB:
            # It is the one that shows the password that was made up.
            self.first_admin = await installation.ensure_admin(self.settings, self.auth)
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
        await self._closing.aclose()

    async def _leave(self) -> None:
        with suppress(StorageUnavailable):
            async with self.database.write() as session:
                await workers.leave(session, self.process_id)

    async def _write_refusals(self) -> None:
        with suppress(StorageUnavailable, StorageFull):
            await self._refusals.write()

    async def _beat(self) -> None:
        async with self.database.write() as session:
            await workers.beat(session, self.process_id, self.settings.worker_zones, __version__)

    async def _forget_workers(self) -> None:
        async with self.database.write() as session:
            await workers.forget(session, _FORGOTTEN_SECONDS)

    async def _forget_idempotency_keys(self) -> None:
        async with self.database.write() as session:
            await idempotency.forget(session)
