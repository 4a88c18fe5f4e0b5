"""Every table, imported in one place so that `Base.metadata` is whole (for migrations and tests)."""

from testum.db import (
    audit,
    duties,
    idempotency,
    installation,
    jobs,
    keys,
    platforms,
    segments,
    selections,
    tasks,
    users,
    workers,
)
from testum.db.base import Base

metadata = Base.metadata
NOUNS = (
    audit,
    duties,
    idempotency,
    installation,
    jobs,
    keys,
    platforms,
    segments,
    selections,
    tasks,
    users,
    workers,
)
