"""The registry of features."""

from typing import ClassVar

import pytest
from fastapi import APIRouter

from testum.core.feature import Feature, Registry
from testum.core.job_kinds import JobKind
from testum.core.permissions import JOBS_RUN, Permission, Role
from testum.features import FEATURES
from testum.installed import INSTALLED
from testum.settings import Settings
from testum.web.factory import build


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


class _WithWords(_Named):
    audit_actions: ClassVar[dict[str, str]] = {"ping.send": "Send a ping"}


class _WithService(_Named):
    def services(self, testum: object) -> dict[type, object]:  # type: ignore[override]
        return {str: testum}


class _WithRoute(_Named):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.router = APIRouter()
        self.router.get(path)(lambda: None)

    def api(self) -> tuple[APIRouter, ...]:
        return (self.router,)


@pytest.mark.parametrize(
    ("what", "two"),
    [
        ("feature ping", [_Named("ping"), _Named("ping")]),
        ("permission pings:send", [_WithPermission("a"), _WithPermission("b")]),
        ("job kind ping", [_WithJobs("a"), _WithJobs("b")]),
        ("action of the audit log ping.send", [_WithWords("a"), _WithWords("b")]),
    ],
)
def test_nothing_is_registered_twice(what: str, two: list[Feature]) -> None:
    with pytest.raises(RuntimeError, match=what):
        Registry(two)


def test_no_service_is_registered_twice() -> None:
    assert Registry([_WithService("a"), _Named("b")]).services("it") == {str: "it"}
    with pytest.raises(RuntimeError, match="service"):
        Registry([_WithService("a"), _WithService("b")]).services("it")


@pytest.mark.parametrize("path", ["/platforms/{any}", "/platforms/new", "/jobs/", "/selections/recent"])
def test_no_route_answers_for_another_ones(path: str) -> None:
    """Of a feature, for the core's or another feature's: their order would matter."""
    with pytest.raises(RuntimeError, match="two routers"):
        build(Settings(_env_file=None), Registry([*FEATURES, _WithRoute(path)]))  # type: ignore[call-arg]


def test_each_kind_of_job_has_one_action_and_words() -> None:
    assert all(kind.title and kind.action for kind in INSTALLED.job_kinds.values())
    assert set(INSTALLED.actions()) == set(INSTALLED.job_kinds)
    assert set(Registry([_WithActions("a")]).actions()) == {"ping"}
    with pytest.raises(RuntimeError, match="ping"):
        Registry([_WithJobs("a")]).actions()
