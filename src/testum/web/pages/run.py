"""Running a command: on which platforms, what, and how."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from testum.core.actions import JobSpec, JobType
from testum.core.danger import looks_destructive
from testum.core.permissions import Permission
from testum.core.states import PlatformState
from testum.core.targets import MAX_VALUES, Targets
from testum.db.paging import PageRequest
from testum.errors import InvalidInput
from testum.web.pages.forms import Form, read_form
from testum.web.pages.lists import listing
from testum.web.pages.platforms import FILTERS, filters, picked
from testum.web.pages.route import page_router
from testum.web.pages.selections import saved
from testum.web.pages.view import PageView
from testum.web.pages.words import Words

router = page_router(prefix="/run")

_SHOWN = 100
_MOST_CHIPS = 500


@router.get("")
async def run_form(view: PageView) -> Response:
    """The form, with the platforms and the command that the address names."""
    params = view.request.query_params
    targets: Sequence[UUID] = ()
    asked: Mapping[str, str] = {}
    if params.get("everything"):
        targets = await view.app.platforms.matching(view.actor, **filters(params))
        # To be saved as the filter that it is.
        asked = listing(view, *FILTERS).values
    elif named := params.getlist("platform"):
        targets = Form.uuids("platform", named[:MAX_VALUES])
    return await _form(view, targets, {"command": params.get("command", "")[:10_000]}, {}, asked=asked)


@router.get("/platforms")
async def pick(view: PageView) -> Response:
    """The platforms that the filter of the picker lets through."""
    asked = listing(view, *FILTERS)
    page = await view.app.platforms.find(view.actor, asked.request(size=_SHOWN), **filters(asked.values))
    return view.render("run/list.html", page=page, asked=asked)


@router.get("/matching")
async def matching(view: PageView) -> Response:
    """Chips for all platforms that the picker's filter lets through, or that a saved selection selects now."""
    params = view.request.query_params
    if named := params.get("selection"):
        now = await view.app.selections.get(view.actor, Form.uuids("selection", [named])[0])
        found = [platform.id for platform in now.platforms]
    else:
        found = await view.app.platforms.matching(view.actor, **filters(params))
    return view.render("run/chips.html", **await _chips(view, found))


@router.post("")
async def run(request: Request, view: PageView) -> Response:
    """Start the job, after a second question where the command looks destructive."""
    form = await read_form(request)
    targets: Sequence[UUID] = ()
    try:
        targets = picked(form)
        if not targets:
            raise InvalidInput.field("platform", "Choose at least one platform.")
        spec = JobSpec(
            JobType.RUN_COMMAND,
            command=form.lines("command"),
            timeout=form.number("timeout"),
            concurrency=form.whole("concurrency"),
        )
        spec.check()
        danger = looks_destructive(form.lines("command"))
        if danger and not form.flag("confirmed"):
            return await _form(view, targets, _typed(form), {}, danger=danger)
        started = await view.app.jobs.start(view.actor, spec, Targets(platform_ids=tuple(targets)))
    except InvalidInput as error:
        words = Words(view.language)
        problems = {
            item.field.removeprefix("targets.").replace("_ids", ""): words.message(item.message)
            for item in error.fields
        }
        return await _form(
            view, targets, _typed(form), problems or {"": words.message(error.message)}, status=422
        )
    return view.redirect(f"/jobs/{started.job.id}")


def _typed(form: Form) -> dict[str, str]:
    return {name: form.lines(name) for name in ("command", "timeout", "concurrency")}


async def _chips(view: PageView, targets: Sequence[UUID]) -> dict[str, Any]:
    """The chosen platforms: each by name, or where they are many, as one list of ids."""
    shown = targets[:_MOST_CHIPS] if len(targets) <= _MOST_CHIPS else ()
    named = await view.app.platforms.named(view.actor, shown)
    return {
        "chosen": [(key, named[key].name) for key in shown if key in named],
        "many": targets if len(targets) > _MOST_CHIPS else (),
    }


async def _form(
    view: PageView,
    targets: Sequence[UUID],
    values: dict[str, str],
    problems: dict[str, str],
    *,
    asked: Mapping[str, str] | None = None,
    danger: str | None = None,
    status: int = 200,
) -> Response:
    await view.app.gate.check(view.actor, Permission.JOBS_RUN, "job.run_command", "job")
    asked = dict.fromkeys(FILTERS, "") | dict(asked or {})
    page = await view.app.platforms.find(view.actor, PageRequest(_SHOWN), **filters(asked))
    settings = view.app.settings
    return view.render(
        "run/form.html",
        status=status,
        title=view.gettext("Run a command"),
        section="run",
        crumbs=[(view.gettext("Jobs"), "/jobs")],
        page=page,
        filter=asked,
        tags=await view.app.platforms.tags(view.actor),
        states=list(PlatformState),
        commands=await view.app.jobs.recent_commands(view.actor),
        values={"command": "", "timeout": "", "concurrency": "", **values},
        problems=problems,
        danger=danger,
        number=len(targets),
        defaults=(settings.task_timeout_seconds, settings.task_concurrency),
        **await _chips(view, targets),
        **await saved(view),
    )
