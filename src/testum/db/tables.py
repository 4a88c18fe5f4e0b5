"""Every table, imported in one place so that `Base.metadata` is whole (for migrations and tests)."""

from testum.db import audit, jobs, keys, platforms, tasks, users
from testum.db.base import Base

metadata = Base.metadata
NOUNS = (audit, jobs, keys, platforms, tasks, users)
