"""Cutting a job into shards: the messages that bring it to workers.

A shard names no tasks. It is leave to work on the job with so many tasks at once, in one network zone; which
tasks those are, claims decide, so that quick workers do more and a lost message loses nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_ZONE = "default"
"""The network zone of platforms that name none."""
_ZONE = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
_TASKS = 100
"""Tasks to one shard, about."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One message: work on the job's tasks in `zone`, `concurrency` of them at once."""

    zone: str
    number: int
    concurrency: int


def is_zone(name: str) -> bool:
    """Whether a network zone can have this name: lower case, digits, `.`, `_` and `-`, at most 63."""
    return _ZONE.fullmatch(name) is not None


def cut(pending: Mapping[str, int], concurrency: int) -> list[Shard]:
    """The shards for so many pending tasks in each zone.

    Each zone gets its share of the concurrency by its number of tasks, and at least 1: the claims keep to the
    job's concurrency, whatever the shards add up to.
    """
    total = sum(pending.values())
    shards: list[Shard] = []
    for zone, number in sorted(pending.items()):
        share = max(1, min(number, round(concurrency * number / total)))
        parts = min(-(-number // _TASKS), share)
        shards += [Shard(zone, part, share // parts + (part < share % parts)) for part in range(parts)]
    return shards
