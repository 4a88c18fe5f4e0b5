"""`testum jobs` and `testum tasks`: what ran, what is running, and again."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from testum.cli.execute import Group, run_and_watch
from testum.cli.options import Json, Url, print_fields, print_json, print_table

jobs = typer.Typer(help="List, show, cancel and rerun jobs.", no_args_is_help=True, rich_markup_mode=None)
tasks = typer.Typer(help="Look at single tasks.", no_args_is_help=True, rich_markup_mode=None)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID")]
TaskId = Annotated[str, typer.Argument(metavar="TASK_ID")]


class Only(StrEnum):
    """Which tasks a rerun takes."""

    ALL = "all"
    FAILED = "failed"
    UNFINISHED = "unfinished"


class Stream(StrEnum):
    """Which output is wanted."""

    ALL = "all"
    STDOUT = "stdout"
    STDERR = "stderr"


@jobs.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many, newest first.")] = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show the latest jobs."""
    from testum.cli.api import Api

    with Api(url) as api:
        found = api.get("/jobs/", limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (job["id"], job["status"], _done(job), job.get("created_by"), job.get("created_at"), _what(job))
        for job in found
    ]
    print_table(("ID", "STATUS", "DONE", "BY", "CREATED", "WHAT"), rows)


@jobs.command()
def show(job_id: JobId, url: Url = None, as_json: Json = False) -> None:
    """Show one job and its tasks."""
    from testum.cli.api import Api, path_id

    with Api(url) as api:
        job = api.get(f"/jobs/{path_id(job_id)}")
        found = list(api.pages("/tasks/", job_id=job["id"]))
    if as_json:
        print_json({"job": job, "tasks": found})
        return
    if job.get("may_still_run"):
        job["not over"] = f"{job['may_still_run']} tasks: something of them may still be at work on its host"
    fields = (
        "id", "type", "command", "status", "not over", "created_by", "created_at", "started_at", "finished_at",
        "duration_seconds",
    )  # fmt: skip
    print_fields(job, fields)
    print()
    rows = [
        (task.get("platform_name"), task["status"], task.get("exit_code"), _why(task), task["id"])
        for task in found
    ]
    print_table(("PLATFORM", "STATUS", "EXIT", "ERROR", "TASK"), rows)


@jobs.command()
def watch(job_id: JobId, group: Group = False, url: Url = None) -> None:
    """Show a job's output from its beginning, and follow it while it runs.

    Ctrl-C ends the watching and not the job.
    """
    from testum.cli.api import Api, path_id

    with Api(url) as api:
        raise typer.Exit(run_and_watch(api, None, job_id=path_id(job_id), group=group))


@jobs.command()
def cancel(job_id: JobId, url: Url = None, as_json: Json = False) -> None:
    """Cancel a job: what waits does not start, what runs is ended."""
    from testum.cli.api import Api, path_id

    with Api(url) as api:
        answer = api.post(f"/jobs/{path_id(job_id)}/cancel")
    left = answer.get("may_still_run")
    if as_json:
        print_json(answer)
    elif left and answer["status"] not in ("pending", "running"):
        print(
            f"Job {job_id} is over; of {left} of its tasks something may still be at work. It is looked for and ended; "
            f"see testum jobs show {job_id}."
        )
    elif answer["status"] not in ("pending", "running"):
        print(f"Job {job_id} is over already ({answer['status']}).")
    else:
        print(f"Job {job_id} is being cancelled.")


@jobs.command()
def rerun(
    job_id: JobId,
    only: Annotated[Only, typer.Option(help="Which of its platforms.")] = Only.ALL,
    force: Annotated[
        bool, typer.Option("--force", help="Also where it may still be at work from before.")
    ] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run a job again, on all of its platforms or on some."""
    from testum.cli.api import Api, path_id

    with Api(url) as api:
        job = api.post_once(f"/jobs/{path_id(job_id)}/rerun", {"only": only.value, "force": force})
    if as_json:
        print_json(job)
    else:
        print(f"Started job {job['id']} on {job['task_count']} platforms; testum jobs watch {job['id']}")


@tasks.command("show")
def show_task(task_id: TaskId, url: Url = None, as_json: Json = False) -> None:
    """Show how one task went."""
    from testum.cli.api import Api, path_id

    with Api(url) as api:
        task = api.get(f"/tasks/{path_id(task_id)}")
    if as_json:
        print_json(task)
        return
    from testum.cli.watch import termination_of

    ended = (task.get("metadata") or {}).get("termination") or {}
    task["processes"] = termination_of(task)
    if ended.get("state") == "confirmed":
        task["processes"] += f": {ended.get('detail', '')}"
    task["output"] = f"{task.get('output_bytes', 0)} bytes"
    if task.get("output_expired_at"):
        task["output"] += f", removed at {task['output_expired_at']}: older than output is kept"
    fields = (
        "id", "job_id", "platform_name", "type", "status", "exit_code",
        "error_code", "error_message", "processes", "output", "created_at", "started_at", "finished_at",
        "duration_seconds",
    )  # fmt: skip
    print_fields(task, fields)


@tasks.command()
def output(
    task_id: TaskId,
    stream: Annotated[Stream, typer.Option(help="Which output.")] = Stream.ALL,
    url: Url = None,
) -> None:
    """Print a task's whole output: exactly its bytes, unless a terminal would show them."""
    from testum.cli.api import Api, path_id
    from testum.cli.screen import Screen

    screen = Screen()
    with Api(url) as api:
        screen.raw("stdout", api.download(f"/tasks/{path_id(task_id)}/output", stream=stream.value))
    screen.flush()


def _done(job: dict[str, Any]) -> str:
    counts = job.get("counts", {})
    total = counts.get("total", 0)
    return f"{total - counts.get('pending', 0) - counts.get('running', 0)}/{total}"


def _what(job: dict[str, Any]) -> str:
    return str(job.get("command") or job["type"])


def _why(task: dict[str, Any]) -> str:
    from testum.cli.watch import termination_of

    why = ": ".join(str(task[key]) for key in ("error_code", "error_message") if task.get(key))
    ended = termination_of(task)
    return f"{why} [{ended}]" if ended else why
