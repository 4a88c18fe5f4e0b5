"""The registry of features."""

from typing import ClassVar

import pytest

from testum.core.feature import Feature, Registry
from testum.core.job_kinds import JobKind
from testum.core.permissions import JOBS_RUN, Permission, Role
from testum.features import INSTALLED


class _Pinging(JobKind):
    kind: ClassVar[str] = "ping"
    title: ClassVar[str] = "Ping"
    action: ClassVar[str] = "Ping hosts"
    permission: ClassVar[Permission] = JOBS_RUN


class _Named(Feature):
    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


class _WithPermission(_Named):
    permissions: ClassVar[tuple[Permission, ...]] = (Permission("pings:send", Role.OPERATOR),)


class _WithJobs(_Named):
    def job_kinds(self) -> tuple[type[JobKind], ...]:
        return (_Pinging,)


class _WithActions(_WithJobs):
    def actions(self) -> dict[str, object]:  # type: ignore[override]
        return {"ping": None}


@pytest.mark.parametrize(
    ("what", "two"),
    [
        ("feature ping", [_Named("ping"), _Named("ping")]),
        ("permission pings:send", [_WithPermission("a"), _WithPermission("b")]),
        ("job kind ping", [_WithJobs("a"), _WithJobs("b")]),
    ],
)
def test_nothing_is_registered_twice(what: str, two: list[Feature]) -> None:
    with pytest.raises(RuntimeError, match=what):
        Registry(two)


def test_each_kind_of_job_has_one_action_and_words() -> None:
    assert all(kind.title and kind.action for kind in INSTALLED.job_kinds.values())
    assert set(INSTALLED.actions()) == set(INSTALLED.job_kinds)
    assert set(Registry([_WithActions("a")]).actions()) == {"ping"}
    with pytest.raises(RuntimeError, match="ping"):
        Registry([_WithJobs("a")]).actions()
