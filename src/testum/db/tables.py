"""Every table but those of features, imported in one place so that `Base.metadata` has them. Who needs all of them lets the
registry load the others first (core/feature.py)."""

from testum.db import (
    audit,
    duties,
    idempotency,
    installation,
    jobs,
    keys,
    platforms,
    segments,
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
    tasks,
    users,
    workers,
)
