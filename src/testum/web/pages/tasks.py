"""The page of one task: what it printed, all of it."""

from uuid import UUID

from fastapi import Response

from testum.core.states import FINAL
from testum.db.base import utc_now
from testum.db.jobs import seconds_taken
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/tasks")


@router.get("/{task_id}")
async def show_task(task_id: UUID, view: PageView) -> Response:
    """How a task stands, and its output; a line of it has an address of its own (`#L12`)."""
    task = await view.app.history.task(view.actor, task_id)
    job = (await view.app.history.job(view.actor, task.job_id)).job
    started, taken = task.started_at or task.created_at, seconds_taken(task)
    return view.render(
        "tasks/show.html",
        title=view.gettext("Output of %(name)s", name=task.platform_name),
        section="jobs",
        crumbs=[(view.gettext("Jobs"), "/jobs")],
        task=task,
        job=job,
        what=view.describe(job),
        over=task.status in FINAL,
        elapsed=taken
        if taken is not None
        else max(0.0, ((task.finished_at or utc_now()) - started).total_seconds()),
    )
