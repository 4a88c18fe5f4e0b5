"""The last lines after a job: how many succeeded, and who did not and why."""

import re
from collections.abc import Iterable

from testum.cli.lines import harmless_name
from testum.cli.watch import FINAL, TaskState
from testum.core.folding import fold

_ADDRESS = re.compile(r"^\S+@\S+:[0-9]+: ")
_MANY = 30
"""Above so many different reasons, hosts are put together by error code alone."""


def summary(tasks: Iterable[TaskState], total: int, seconds: float) -> list[str]:
    """The lines to print, first the counts."""
    known = list(tasks)
    good = sum(task.status == "success" for task in known)
    lines = [f"{good} of {total} succeeded in {seconds:.1f} s"]
    bad = [task for task in known if task.status in FINAL and task.status != "success"]
    groups = _by_reason(bad, with_message=True)
    if len(groups) > _MANY:
        groups = _by_reason(bad, with_message=False)
    lines += [f"  {_names(members)}: {reason}" for reason, members in groups.items()]
    if names := unfinished(known):
        lines.append(f"  {names}: not finished")
    if missing := total - len(known):
        lines.append(f"  {missing} more: not known")
    return lines


def unfinished(tasks: Iterable[TaskState]) -> str:
    """The folded names of the tasks that have not ended, with their number."""
    members = [task for task in tasks if task.status not in FINAL]
    return _names(members) if members else ""


def _names(members: list[TaskState]) -> str:
    text = harmless_name(fold(task.name for task in members))
    return f"{text} ({len(members)})" if len(members) > 1 else text


def _by_reason(tasks: list[TaskState], *, with_message: bool) -> dict[str, list[TaskState]]:
    groups: dict[str, list[TaskState]] = {}
    for task in tasks:
        groups.setdefault(_reason(task, with_message=with_message), []).append(task)
    return groups


def _reason(task: TaskState, *, with_message: bool) -> str:
    ending = f" [{harmless_name(task.termination)}]" if task.termination else ""
    return _error(task, with_message=with_message) + ending


def _error(task: TaskState, *, with_message: bool) -> str:
    code = task.error_code or task.status
    if task.error_code == "exit_status" and task.exit_code is not None:
        return f"exit_status {task.exit_code}"
    if with_message and task.error_message:
        # The address at its beginning would set apart hosts that failed for the same reason.
        return f"{code}: {harmless_name(_ADDRESS.sub('', task.error_message))}"
    return code
