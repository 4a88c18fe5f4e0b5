"""Watching a job to its end: its lines as they come, its progress, and what became of each task."""

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass
from typing import Any

from testum.cli.api import PAGE, Api
from testum.cli.failures import Failure, Unreachable
from testum.cli.gather import Ending, Gatherer
from testum.cli.interrupt import Interrupt
from testum.cli.lines import LineKeeper, Spool, harmless_name
from testum.cli.live import JobStream
from testum.cli.screen import OutputClosed, Screen
from testum.core.folding import fold

FINAL = frozenset({"success", "failed", "cancelled", "lost"})
_CANCEL_TRIES = 3
_PATIENCE_AFTER_CANCEL = 10.0
_PROGRESS_EVERY = 0.1


@dataclass(slots=True)
class TaskState:
    """What is known of one task."""

    id: str
    name: str
    status: str = "pending"
    exit_code: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    termination: str = ""
    """For a task that was ended: whether its processes are known to be gone."""
    removed: bool = False
    """Whether its output was kept for so long only."""
    damaged: bool = False
    """Whether some of its output is not what was stored."""

    def learn(self, facts: dict[str, Any]) -> None:
        """Take over what a message or a task of the API says."""
        self.name = facts.get("platform_name") or self.name
        self.status = facts.get("status") or self.status
        self.exit_code = facts.get("exit_code", self.exit_code)
        self.error_code = facts.get("error_code") or self.error_code
        self.error_message = facts.get("error_message") or self.error_message
        self.termination = termination_of(facts) or self.termination
        self.removed = self.removed or facts.get("output_expired_at") is not None
        self.damaged = self.damaged or facts.get("output_error") is not None


def termination_of(facts: dict[str, Any]) -> str:
    """What a message or a task of the API says about the end of the processes, in words."""
    found = facts.get("termination") or (facts.get("metadata") or {}).get("termination")
    if not found:
        return ""
    if found["state"] == "confirmed":
        return "confirmed gone"
    return f"NOT confirmed gone: {found.get('detail', '')}"


class Watcher:
    """Follows one job. `tasks` and `status` tell what became of it; `show_lines` false keeps stdout empty."""

    def __init__(
        self, api: Api, job: dict[str, Any], screen: Screen, interrupt: Interrupt, *,
        show_lines: bool, gatherer: Gatherer | None,
    ) -> None:  # fmt: skip
        self.job_id = str(job["id"])
        self.total = int(job.get("task_count") or job.get("counts", {}).get("total") or 0)
        self.status = str(job.get("status", "pending"))
        self.tasks: dict[str, TaskState] = {}
        self.started = time.monotonic()
        self._api = api
        self._screen = screen
        self._interrupt = interrupt
        self._show_lines = show_lines
        self._gatherer = gatherer
        self._spool = Spool()
        self._keepers: dict[tuple[str, str], LineKeeper] = {}
        self._stream = JobStream(api, self.job_id, self._lost)
        self._note = ""

    def run(self) -> None:
        """Watch until the job has ended. Raises what `JobStream.messages` raises."""
        self._learn_tasks(first_page=True)
        with contextlib.closing(self._spool):
            self._run_to_end()
        if len(self.tasks) < self.total or any(task.status not in FINAL for task in self.tasks.values()):
            self._learn_tasks(first_page=False)
        if self._gatherer:
            with contextlib.closing(self._gatherer):
                self._gatherer.show(self._screen, self._ending, list(self.tasks))
        states = self.tasks.values()
        self._say_of(
            "removed, because it was older than output is kept",
            [task.name for task in states if task.removed],
        )
        self._say_of(
            "damaged or missing where the server kept it, and not shown from there on",
            [task.name for task in states if task.damaged],
        )

    def _say_of(self, what: str, names: list[str]) -> None:
        """Say what is the matter with the output of these platforms, if any."""
        if names:
            number = f" ({len(names)})" if len(names) > 1 else ""
            self._screen.say(f"testum: {what}: the output of {harmless_name(fold(names))}{number}")

    def _run_to_end(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            for task_id, stream in list(self._keepers):
                self._finish(task_id, stream)
            self._screen.clear()
            self._screen.flush()

    async def _run(self) -> None:
        helpers = [asyncio.create_task(self._cancel_when_asked()), asyncio.create_task(self._keep_progress())]
        try:
            async for message in self._stream.messages():
                self._handle(message)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def _handle(self, message: dict[str, Any]) -> None:
        kind, task_id = message["type"], message.get("task_id")
        data: Any = message.get("data")
        self._note = ""
        if task_id is None:
            if kind == "done":
                self.status = data["status"]
            return
        task = self.tasks.setdefault(task_id, TaskState(task_id, task_id))
        if kind in ("stdout", "stderr"):
            self._output(task, kind, base64.b64decode(data) if data else message["payload"].encode())
        elif kind == "error":
            task.learn({"error_code": data.get("code"), "error_message": data.get("message")})
        elif kind in ("status", "done"):
            task.learn(data)
            self._screen.widen(task.name)
            if kind == "done":
                self._finish(task_id, "stdout")
                self._finish(task_id, "stderr")
                self._screen.flush()

    def _output(self, task: TaskState, stream: str, data: bytes) -> None:
        if self._gatherer:
            self._gatherer.feed(task.id, stream, data)
        elif self._show_lines:
            keeper = self._keepers.setdefault((task.id, stream), LineKeeper(self._spool))
            for line in keeper.feed(data):
                self._screen.line(task.name, stream, line)
            self._screen.flush()

    def _finish(self, task_id: str, stream: str) -> None:
        """Print the unfinished line that a task left."""
        keeper = self._keepers.pop((task_id, stream), None)
        for line in keeper.finish() if keeper else ():
            self._screen.line(self.tasks[task_id].name, stream, line)

    def cancel(self) -> None:
        """Cancel the job, because nobody can see it any more; what goes wrong is said on stderr."""
        try:
            self._api.post(f"/jobs/{self.job_id}/cancel")
            text = f"testum: the output cannot be written, so the job was cancelled: {self.job_id}"
        except Failure:
            text = f"testum: the output cannot be written. The job goes on: testum jobs cancel {self.job_id}"
        with contextlib.suppress(OutputClosed):
            self._screen.say(text)

    async def _cancel_when_asked(self) -> None:
        await self._interrupt.wait()
        self._stream.patience = _PATIENCE_AFTER_CANCEL
        for attempt in range(_CANCEL_TRIES):
            try:
                await asyncio.to_thread(self._api.post, f"/jobs/{self.job_id}/cancel")
                return
            except Unreachable as failure:
                problem: Failure = failure
                await asyncio.sleep(attempt)
            except Failure as failure:
                problem = failure
                break
        self._screen.say(f"testum: the job could not be cancelled: {problem.message}")

    async def _keep_progress(self) -> None:
        before = ""
        while self._screen.has_progress:
            now = self._progress()
            if now != before or not self._screen.progress_shown:
                self._screen.progress(now)
                before = now
            await asyncio.sleep(_PROGRESS_EVERY)

    def _progress(self) -> str:
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            counts[task.status] = counts.get(task.status, 0) + 1
        done = sum(counts.get(status, 0) for status in FINAL)
        failed = done - counts.get("success", 0)
        seconds = int(time.monotonic() - self.started)
        text = f"{done}/{self.total} done, {counts.get('running', 0)} running, {failed} failed, {seconds} s"
        return f"{text} ({self._note})" if self._note else text

    def _lost(self, reason: str) -> None:
        if not self._note:
            self._note = f"{harmless_name(reason)}, connecting again"
            if not self._screen.has_progress:
                self._screen.say(f"testum: {self._note}")

    def _learn_tasks(self, *, first_page: bool) -> None:
        """Ask for the tasks' names and states; the first page is enough to line up a screenful of names."""
        with contextlib.suppress(Failure):
            path, query = "/tasks/", {"job_id": self.job_id}
            items = self._api.get(path, limit=PAGE, **query) if first_page else self._api.pages(path, **query)
            for item in items:
                task = self.tasks.setdefault(item["id"], TaskState(item["id"], item["id"]))
                if first_page:
                    # The stream tells the rest in its order.
                    task.name = item.get("platform_name") or task.name
                else:
                    task.learn(item)
                self._screen.widen(task.name)

    def _ending(self, task_id: str) -> Ending:
        task = self.tasks[task_id]
        return Ending(task.name, task.status, task.exit_code, task.removed)
