"""Jobs: the list, and the page of one."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Request, Response

from testum.core.job_kinds import RerunOf
from testum.core.states import FINAL_JOB, JobStatus
from testum.db.base import utc_now
from testum.db.jobs import seconds_taken
from testum.db.reports import TaskRow
from testum.errors import InvalidInput, MayStillRun
from testum.services.history import JobView
from testum.services.messages import count_json
from testum.services.once import no_new_job
from testum.web.errors import dump
from testum.web.pages.forms import Form, read_form
from testum.web.pages.lists import listing
from testum.web.pages.rendering import address
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/jobs")

_LATE_SECONDS = 1.0
_LATE_SHARE = 0.1
_MOST_NAMED = 20
_BACK_US = 5_000_000
"""A page follows its job from so long before it was made: what it shows already is told again and changes nothing."""


@router.get("")
async def list_jobs(view: PageView) -> Response:
    """The jobs, newest first."""
    asked = listing(view, "q", "status", "type", default_sort="-created_at")
    status, job_type = asked.values["status"], asked.values["type"]
    page = await view.app.history.jobs(
        view.actor,
        asked.request(counted=False),
        q=asked.values["q"] or None,
        status=status if status in set(JobStatus) else None,
        type=job_type if job_type in view.app.features.job_kinds else None,
    )
    context: dict[str, Any] = {
        "asked": asked,
        "page": page,
        "describe": view.describe,
        "counted": count_json,
        "seconds_taken": seconds_taken,
    }
    if view.is_partial:
        return view.render("jobs/results.html", **context)
    return view.render(
        "jobs/list.html",
        title=view.gettext("Jobs"),
        section="jobs",
        statuses=list(JobStatus),
        types=list(view.app.features.job_kinds),
        is_empty=not page.items and not asked.is_filtered and asked.is_first,
        **context,
    )


@router.get("/{job_id}")
async def show_job(job_id: UUID, view: PageView) -> Response:
    """How a job stands, platform by platform, while it runs and afterwards."""
    found = await view.app.history.job(view.actor, job_id)
    job = found.job
    what = view.describe(job)
    elapsed = await view.app.history.elapsed(view.actor, job)
    usual = await view.app.history.usual_seconds(view.actor, job)
    key_ids = [UUID(key) for key in job.parameters.get("key_ids", ())]
    return view.render(
        "jobs/show.html",
        title=view.gettext("Job on %(when)s", when=view.language.moment(job.created_at)),
        section="jobs",
        crumbs=[(view.gettext("Jobs"), "/jobs")],
        job=job,
        what=what,
        key_ids=key_ids,
        keys={key.id: key for key in await view.app.keys.names(view.actor, key_ids)} if key_ids else {},
        counts=count_json(found.counts),
        **_left(found),
        elapsed=elapsed,
        usual=usual,
        late=_late(elapsed, usual),
        share=round(min(100.0, 100 * elapsed / usual), 1) if usual else 0,
        after=int(utc_now().timestamp() * 1_000_000) - _BACK_US,
        task=view.request.query_params.get("task", "")[:36],
    )


@router.get("/{job_id}/left")
async def show_left(job_id: UUID, view: PageView) -> Response:
    """Of how many of its tasks something may still be at work, as the job's page shows it."""
    return view.render("jobs/left.html", **_left(await view.app.history.job(view.actor, job_id)))


def _left(found: JobView) -> dict[str, Any]:
    job = found.job
    return {
        "job_id": job.id,
        "over": job.status in FINAL_JOB,
        "left": found.may_still_run,
        "asked": job.cancel_requested_at is not None,
    }


def _late(elapsed: float, usual: float | None) -> float:
    """By how many seconds a job is over what is usual; 0 where that means nothing. The usual time is a median, which
    half of all jobs are a little over; the page's script says the same (summary.ts)."""
    if not usual or elapsed - usual <= max(_LATE_SECONDS, usual * _LATE_SHARE):
        return 0
    return elapsed - usual


@router.get("/{job_id}/tasks")
async def list_tasks(job_id: UUID, view: PageView) -> Response:
    """The job's tasks as the page's script takes them: every row a list, to keep ten thousand of them small."""
    rows = await view.app.history.rows(view.actor, job_id)
    return Response(dump([_row(row) for row in rows]), media_type="application/json")


def _row(row: TaskRow) -> list[object]:
    return [
        row.id.hex,
        row.platform_id.hex,
        row.platform_name,
        row.status,
        row.exit_code,
        row.error_code,
        row.output_frames,
        row.started_at.timestamp() if row.started_at else None,
        seconds_taken(row),
    ]


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: UUID, view: PageView) -> Response:
    """End a job."""
    await view.app.jobs.cancel(view.actor, job_id)
    found = await view.app.history.job(view.actor, job_id)
    over = found.job.status in FINAL_JOB
    # With what its list is filtered by.
    page, behind = f"/jobs/{job_id}", view.here
    there = behind if urlsplit(behind).path == page else page
    told = view.gettext("What may still be at work is looked for and ended.") if over else ""
    return view.redirect(there, told or view.gettext("The job is being cancelled."))


@router.get("/{job_id}/rerun")
async def ask_rerun(job_id: UUID, view: PageView) -> Response:
    """The second question, before what cannot be undone, or may still be at work, is done again."""
    only = _only(view.request.query_params.get("only", RerunOf.ALL))
    job, number = await view.app.jobs.left_to_rerun(view.actor, job_id, only)
    when = view.language.moment(job.created_at)
    return view.render(
        "jobs/again.html",
        title=view.gettext("Really run this again?"),
        section="jobs",
        crumbs=[
            (view.gettext("Jobs"), "/jobs"),
            (view.gettext("Job on %(when)s", when=when), f"/jobs/{job_id}"),
        ],
        job=job,
        what=view.describe(job),
        danger=view.app.features.danger(job.type, job.parameters),
        only=only,
        number=number,
        unsure=await view.app.jobs.unsure(view.actor, job, only),
        most_named=_MOST_NAMED,
    )


@router.post("/{job_id}/rerun")
async def rerun_job(job_id: UUID, request: Request, view: PageView) -> Response:
    """Do a job again, on all or some of its platforms, after a second question where it looks destructive."""
    form = await read_form(request)
    only = _only(form.text("only"))
    job = await view.app.jobs.to_rerun(view.actor, job_id)
    if view.app.features.danger(job.type, job.parameters) and not form.flag("confirmed"):
        return view.redirect(address(f"/jobs/{job_id}/rerun", only=only))
    try:
        started = await view.app.jobs.rerun(
            view.actor, job_id, only, new=new_job(form), force=form.flag("force")
        )
    except MayStillRun:
        return view.redirect(address(f"/jobs/{job_id}/rerun", only=only))
    return view.redirect(f"/jobs/{started.job.id}")


def new_job(form: Form) -> UUID | None:
    """The id of the job that the form starts. Raises InvalidInput."""
    try:
        return form.id("new")
    except InvalidInput:
        raise no_new_job() from None


def _only(value: str) -> RerunOf:
    if value not in set(RerunOf):
        raise InvalidInput("There is no such choice.")
    return RerunOf(value)
