"""What testum has without any feature: platforms, jobs, accounts and the audit log."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from testum.core import permissions
from testum.core.feature import Action, Feature
from testum.core.job_kinds import JobKind
from testum.core.permissions import Permission


class Builtin(Feature):
    """The capability to look at platforms, and to run programs on them."""

    name: ClassVar[str] = "testum"
    permissions: ClassVar[Sequence[Permission]] = (
        permissions.ACCOUNT,
        permissions.PLATFORMS_READ,
        permissions.PLATFORMS_WRITE,
        permissions.JOBS_READ,
        permissions.JOBS_RUN,
        permissions.JOBS_CANCEL,
        permissions.AUDIT_READ,
        permissions.SETTINGS_READ,
    )

    def job_kinds(self) -> Sequence[type[JobKind]]:
        from testum.core.inspections import GatherFacts, TestConnection
        from testum.core.programs import RunCommand, RunScript

        return (RunCommand, RunScript, GatherFacts, TestConnection)

    def actions(self) -> Mapping[str, Action]:
        from testum.execution.actions.connection import gather_facts, test_connection
        from testum.execution.actions.run import run_command, run_script

        return {
            "run_command": run_command,
            "run_script": run_script,
            "gather_facts": gather_facts,
            "test_connection": test_connection,
        }
