"""PostgreSQL's engine, over psycopg 3."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from testum.db.base import dump_json

_POOL = 10
_OVERFLOW = 20
CONNECTION = {
    "connect_timeout": 5,
    # A connection that the network swallowed is noticed within seconds, not after a quarter of an hour.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "testum",
    # Prepared statements belong to one server connection; PgBouncer lends each transaction another.
    "prepare_threshold": None,
}


def make_engine(url: str) -> AsyncEngine:
    """An engine whose connections are tried before they are used: the server may have been restarted."""
    return create_async_engine(
        url,
        json_serializer=dump_json,
        pool_pre_ping=True,
        pool_size=_POOL,
        max_overflow=_OVERFLOW,
        pool_timeout=30,
        connect_args=CONNECTION,
    )
