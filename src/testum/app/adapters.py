"""Which adapter stands behind each wall: the only place that names one. Those of servers are imported where the settings ask
for them."""

from contextlib import AsyncExitStack

from limits.aio.storage import Storage

from testum.app.engine import Engine
from testum.artifacts.base import Artifacts
from testum.core.positions import Sequencer
from testum.db.positions import Positions, ProcessPositions, StoredPositions
from testum.db.session import Database
from testum.dispatch.base import Dispatcher
from testum.dispatch.local import LocalDispatcher
from testum.events.base import Events
from testum.events.memory import MemoryEvents
from testum.output.base import OutputStore
from testum.output.files import FileOutputs
from testum.output.journal import JournalOutputs
from testum.settings import Settings


def make_events(settings: Settings, *, of_tasks: bool) -> Events:
    """Where processes tell each other what happened. `of_tasks`: whether this one listens to what tasks tell."""
    if not settings.effective_redis_url:
        return MemoryEvents()
    from testum.events.redis import RedisEvents

    return RedisEvents(
        settings.effective_redis_url,
        setting="REDIS_URL" if settings.redis_url else "CELERY_BROKER_URL",
        of_tasks=of_tasks,
    )


def make_attempts(settings: Settings, closing: AsyncExitStack) -> Storage | None:
    """Where attempts to log in are counted; None: in this process. Its connections are closed with `closing`."""
    url = settings.effective_redis_url
    if not url:
        return None
    from limits.aio.storage import RedisStorage
    from redis.asyncio import ConnectionPool

    # Ours, because the storage has no way to close its own.
    pool = ConnectionPool.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    closing.push_async_callback(pool.aclose)
    return RedisStorage(
        f"async+{url}",
        wrap_exceptions=True,
        implementation="redispy",
        key_prefix="testum:attempts",
        connection_pool=pool,  # type: ignore[arg-type] # its options are typed as plain values
    )


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


def make_outputs(
    settings: Settings, database: Database, artifacts: Artifacts | None
) -> tuple[OutputStore, Positions]:
    """Where the output of tasks is kept, and who gives its positions out."""
    if artifacts is None:
        sequencer = Sequencer()
        return (
            FileOutputs(settings.data_dir / "artifacts", sequencer, database),
            ProcessPositions(sequencer),
        )
    positions = StoredPositions(database)
    return JournalOutputs(database, positions, artifacts), positions


def make_dispatcher(settings: Settings, engine: Engine | None) -> Dispatcher:
    """Who is given the jobs: the workers, or the engine of this process."""
    if settings.celery_broker_url:
        from testum.dispatch.celery import CeleryDispatcher

        return CeleryDispatcher(settings.celery_broker_url)
    assert engine is not None, "without workers this process does the work"
    return LocalDispatcher(engine.runner.run_job, engine.prober.answer)
