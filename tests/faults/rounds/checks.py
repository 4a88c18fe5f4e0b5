"""What must hold when a round is over."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.rounds.fleet import Fleet
from tests.support.stream import follow, output_of
from testum.core.states import FINAL

_DEATHS = {"success", "lost worker_died", "lost worker_stopped", "lost lease_lost", "failed not_sent"}
_ENDS = {"kills": _DEATHS, "clocks": _DEATHS, "owners": _DEATHS | {"cancelled cancelled"}}
"""How tasks may end, where the kind of fault says it: with others, a host or a store may also be at fault."""
_LOST = {"worker_died", "worker_stopped", "lease_lost"}
LINES, MUCH = 5, 60_000
"""So many lines a task prints, and with each of them so many bytes where its id ends with a 1: the object store's."""


def check_ends(kind: str, tasks: Mapping[str, Any]) -> Counter[str]:
    """All are over, in a way that can be; how many in each."""
    assert all(task["status"] in FINAL for task in tasks.values())
    ends = Counter(f"{task['status']} {task['error_code'] or ''}".strip() for task in tasks.values())
    assert set(ends) <= _ENDS.get(kind, set(ends)), ends
    assert not any(end.endswith(" internal") for end in ends), ends
    return ends


def check_runs(counter: Path, tasks: Mapping[str, Any]) -> None:
    """What ran did so once, and is told."""
    ran = Counter(counter.read_text().split()) if counter.exists() else Counter()
    assert max(ran.values(), default=0) <= 1, f"ran twice: {[key for key in ran if ran[key] > 1]}"
    done = {key for key, task in tasks.items() if task["status"] == "success"}
    assert done <= set(ran), f"a success that never ran: {done - set(ran)}"
    never = {key for key, task in tasks.items() if task["error_code"] == "not_sent" or _not_begun(task)}
    assert not never & set(ran), f"what ran is said to have never run: {never & set(ran)}"
    lost = {key for key, task in tasks.items() if task["status"] == "lost"}
    assert lost <= set(ran), f"lost, and it never ran: {lost - set(ran)}"


def _not_begun(task: Any) -> bool:
    return task["status"] == "cancelled" and "before it began" in (task["error_message"] or "")


def check_shown(fleet: Fleet, job_id: str, shown: Sequence[Any], tasks: Mapping[str, Any]) -> None:
    """Nothing that was shown is missing later, or another, unless it came to light or was begun anew; what is there later is
    whole."""
    api = fleet.api(fleet.webs[0])
    try:
        later = follow(api, f"jobs/{job_id}")
    finally:
        api.http.close()
    told = {_said(message) for message in later}
    last = {message["task_id"]: message["seq"] for message in later}
    for message in _of_tasks(shown):
        if _said(message) not in told:
            task = tasks[message["task_id"]]
            anew = message["type"] == "status" and last[task["id"]] > message["seq"]
            assert anew or _was_lost(message, task), f"was shown and is missing later: {message}"
    seen = [message["seq"] for message in _of_tasks(shown)]
    assert seen == sorted(seen) and len(seen) == len(set(seen)), "shown twice, or out of order"
    for key, task in tasks.items():
        own = [message for message in later if message["task_id"] == key]
        text = output_of(own, "stdout").decode()
        more = "x" * MUCH if key.endswith("1") else ""
        whole = "".join(f"line {number} of {key}{more}\n" for number in range(1, LINES + 1))
        assert whole.startswith(text), f"{key} printed no such thing: {text[-100:]!r}"
        if task["status"] == "success" and text != whole:
            metadata = fleet.request("GET", f"/tasks/{key}")["metadata"]
            incomplete = metadata.get("output_truncated") or own[-1]["data"].get("output_error")
            assert incomplete, f"{key} is a success, and its output is not whole: {text[-100:]!r}"


def _of_tasks(messages: Iterable[Any]) -> list[Any]:
    return [message for message in messages if message["task_id"] is not None]


def _said(message: Any) -> str:
    """A message without what may come to light later."""
    data = message.get("data")
    if message["type"] == "done":
        data = {name: value for name, value in data.items() if name not in ("termination", "may_still_run")}
    return json.dumps({**message, "data": data}, sort_keys=True)


def _was_lost(message: Any, task: Any) -> bool:
    """Whether the message says of a task that it is lost, which turned out to be otherwise."""
    said = message.get("data")
    if message["type"] not in ("error", "done") or task["status"] == "lost":
        return False
    return bool(said.get("status") == "lost" or said.get("code") in _LOST)
