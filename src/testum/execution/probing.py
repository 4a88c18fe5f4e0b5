"""Trying a connection that no platform is stored for: nothing is recorded, and nothing is run."""

from collections.abc import Sequence

import structlog

from testum.core.probes import Draft, Probed, ShownKey
from testum.core.sshkeys import parse_public_key
from testum.db import platforms
from testum.db.platforms import HostKeyRecord, Platform
from testum.db.session import Database
from testum.errors import ConfigurationError, NotFound, StorageUnavailable
from testum.execution.endpoints import Endpoints
from testum.ssh import Pool, SSHError, Timeouts

log = structlog.get_logger(__name__)


class Prober:
    """Answers drafts, as messages."""

    def __init__(self, database: Database, endpoints: Endpoints, pool: Pool, connect_timeout: float) -> None:
        self._database = database
        self._endpoints = endpoints
        self._pool = pool
        self._connect_timeout = connect_timeout

    async def answer(self, question: str) -> str:
        """Connect as the draft says and log in. Raises StorageUnavailable; all else that fails is an answer."""
        return (await self._probe(Draft.from_json(question))).to_json()

    async def _probe(self, draft: Draft) -> Probed:
        try:
            async with self._database.read() as session:
                # In the snapshot in which the jump hosts are read.
                if draft.revision not in (None, await platforms.revision_of(session, draft.id)):
                    return Probed(
                        error_code="changed_meanwhile", error_message="The platform was changed meanwhile."
                    )
                endpoint = await self._endpoints.of_draft(session, _platform(draft))
            probe = await self._pool.check(endpoint, Timeouts(connect=self._connect_timeout))
        except SSHError as error:
            # A jump host's key is no answer to what key this host has.
            shown = None if error.of_jump_host else error.host_key
            return Probed(
                host_key=ShownKey.of(shown.public_key, draft.host_keys) if shown is not None else None,
                error_code=error.code,
                error_message=error.message,
            )
        except (ConfigurationError, NotFound) as error:
            return Probed(error_code="credentials", error_message=error.message)
        except StorageUnavailable:
            raise
        except Exception as error:
            log.exception("a connection could not be tried within testum")
            return Probed(
                error_code="internal",
                error_message=f"testum failed ({type(error).__name__}); the server's log says more.",
            )
        return Probed(
            latency_ms=round(probe.latency_seconds * 1000, 1),
            host_key=ShownKey.of(probe.host_key.public_key, draft.host_keys),
            server_version=probe.server_version,
        )


def _platform(draft: Draft) -> Platform:
    """The draft as a row that is in no session and stays out of the database."""
    return Platform(
        id=draft.id,
        name=draft.name,
        host=draft.host,
        port=draft.port,
        username=draft.username,
        auth_method=draft.auth_method,
        encrypted_password=draft.encrypted_password,
        encrypted_private_key=draft.encrypted_private_key,
        encrypted_passphrase=draft.encrypted_passphrase,
        key_id=draft.key_id,
        jump_platform_id=draft.jump_platform_id,
        host_key_policy=draft.host_key_policy,
        old_algorithms=draft.old_algorithms,
        host_keys=_records(draft.host_keys),
        revision=0,
    )


def _records(lines: Sequence[str]) -> list[HostKeyRecord]:
    keys = [parse_public_key(line) for line in lines]
    return [
        HostKeyRecord(algorithm=key.algorithm, public_key=key.identity, fingerprint=key.fingerprint)
        for key in keys
    ]
