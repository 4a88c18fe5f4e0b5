"""The kinds of jobs that look at platforms: whether they can be reached, and what they are."""

from typing import ClassVar

from testum.core.job_kinds import JobKind
from testum.core.permissions import JOBS_RUN, Permission
from testum.translation import N_


class GatherFacts(JobKind):
    """Ask each host what it is; the answers are kept with the platform."""

    kind: ClassVar[str] = "gather_facts"
    title: ClassVar[str] = N_("Facts")
    action: ClassVar[str] = N_("Ask hosts what they are")
    permission: ClassVar[Permission] = JOBS_RUN


class TestConnection(JobKind):
    """Connect, check the host key and log in; nothing is run."""

    __test__ = False

    kind: ClassVar[str] = "test_connection"
    title: ClassVar[str] = N_("Connection test")
    action: ClassVar[str] = N_("Test connections")
    permission: ClassVar[Permission] = JOBS_RUN
