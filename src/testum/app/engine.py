"""What does the work of jobs."""

from testum import descriptors
from testum.core.feature import Registry
from testum.core.secrets import Opener
from testum.db.positions import Positions
from testum.db.session import Database
from testum.events.base import Events
from testum.execution.aftermath import Aftermath
from testum.execution.endpoints import Endpoints
from testum.execution.ledger import Ledger
from testum.execution.probing import Prober
from testum.execution.runner import Runner
from testum.execution.work import JobLoader
from testum.output.base import OutputStore
from testum.settings import Settings
from testum.ssh import Pool, PoolLimits


class Engine:
    """In the one process there is, or in each worker."""

    def __init__(
        self,
        settings: Settings,
        features: Registry,
        *,
        process_id: str,
        database: Database,
        events: Events,
        positions: Positions,
        outputs: OutputStore,
        endpoints: Endpoints,
        opener: Opener,
    ) -> None:
        slots = descriptors.for_tasks(settings.worker_concurrency)
        connect_timeout = settings.connect_timeout_seconds
        self.pool = Pool(
            PoolLimits(
                idle_seconds=settings.ssh_idle_seconds,
                max_connections=descriptors.for_connections(settings.ssh_max_connections, slots),
            )
        )
        self.ledger = Ledger(
            database, positions, events, worker=process_id, lease_seconds=settings.lease_seconds
        )
        self.runner = Runner(
            database=database,
            loader=JobLoader(features, opener, connect_timeout=connect_timeout),
            endpoints=endpoints,
            pool=self.pool,
            ledger=self.ledger,
            events=events,
            outputs=outputs,
            slots=slots,
            output_limit=settings.output_limit_bytes,
        )
        self.prober = Prober(database, endpoints, self.pool, connect_timeout)
        self.aftermath = Aftermath(
            database=database,
            positions=positions,
            events=events,
            endpoints=endpoints,
            pool=self.pool,
            zones=settings.worker_zones
            if settings.celery_broker_url and not settings.embedded_database
            else None,
            connect_timeout=connect_timeout,
        )

    async def close(self) -> None:
        """Write what there is to write and let go of the hosts. What ran was ended before."""
        await self.aftermath.close()
        await self.ledger.close()
        await self.pool.close()
