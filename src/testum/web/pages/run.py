"""Running a command: on which platforms, what, and how."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from testum.core.danger import looks_destructive
from testum.core.job_kinds import JobSpec
from testum.core.permissions import JOBS_RUN
from testum.core.programs import RunCommand
from testum.core.states import StateFilter
from testum.core.targets import MAX_VALUES, Targets
from testum.db.jobs import Job
from testum.db.paging import PageRequest
from testum.errors import Conflict, FieldProblem, InvalidInput, Problems
from testum.web.pages.forms import Form, read_form
from testum.web.pages.jobs import new_job
from testum.web.pages.lists import listing
from testum.web.pages.platforms import FILTERS, filters, picked
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/run")

_SHOWN = 100
_MOST_CHIPS = 500
_FIELDS = ("command", "timeout", "concurrency", "platform")


@router.get("")
async def run_form(view: PageView) -> Response:
    """The form, with the platforms that the address names, or with what a job ran, on which and how."""
    params = view.request.query_params
    if named := params.getlist("job"):
        return await _form_of_job(view, Form.uuids("job", named[:1])[0])
    targets: Sequence[str] = ()
    asked: Mapping[str, str] = {}
    gone: int | None = None
    if params.get("everything"):
        targets = await view.app.platforms.matching(view.actor, **filters(params))
        # To be saved as the filter that it is.
        asked, gone = listing(view, *FILTERS).values, 0
    elif named := params.getlist("platform"):
        targets = _hex(Form.uuids("platform", named[:MAX_VALUES]))
    return await _form(view, targets, {}, {}, asked=asked, gone=gone)


async def _form_of_job(view: PageView, job_id: UUID) -> Response:
    job = (await view.app.history.job(view.actor, job_id)).job
    targets = await view.app.jobs.platforms_left(view.actor, job_id)
    values = {
        "command": str(job.parameters.get("command", "")),
        "timeout": f"{job.timeout:.15g}" if job.timeout is not None else "",
        "concurrency": str(job.concurrency),
    }
    return await _form(view, targets, values, {}, gone=job.task_count - len(targets), of=job)


@router.get("/platforms")
async def pick(view: PageView) -> Response:
    """The platforms that the filter of the picker lets through."""
    asked = listing(view, *FILTERS)
    page = await view.app.platforms.find(
        view.actor, asked.request(size=_SHOWN), **filters(asked.values), brief=True
    )
    return view.render("run/list.html", page=page, asked=asked)


@router.get("/matching")
async def matching(view: PageView) -> Response:
    """Chips for all platforms that the picker's filter lets through."""
    found = await view.app.platforms.matching(view.actor, **filters(view.request.query_params))
    return view.render("run/chips.html", **await _chips(view, found))


async def show_chips(view: PageView, platform_ids: Sequence[UUID]) -> Response:
    """The part of the page that names these platforms as chosen."""
    return view.render("run/chips.html", **await _chips(view, _hex(platform_ids)))


@router.post("")
async def run(request: Request, view: PageView) -> Response:
    """Start the job, after a second question where the command looks destructive."""
    form = await read_form(request)
    chosen: Sequence[UUID] = ()
    asked = {name: form.text(f"filter_{name}") for name in FILTERS}
    try:
        chosen = picked(form)
        spec = _asked(form, chosen)
        danger = looks_destructive(form.lines("command"))
        if danger and not form.flag("confirmed"):
            return await _form(view, _hex(chosen), _typed(form), {}, asked=asked, danger=danger)
        started = await view.app.jobs.start(
            view.actor, spec, Targets(platform_ids=tuple(chosen)), new=new_job(form)
        )
    except InvalidInput as error:
        return await _form(view, _hex(chosen), _typed(form), _problems(view, error), asked=asked, status=422)
    except Conflict as error:
        said = {"": view.words.message(error.message)}
        return await _form(view, _hex(chosen), _typed(form), said, asked=asked, status=409)
    return view.redirect(f"/jobs/{started.job.id}")


def _asked(form: Form, chosen: Sequence[UUID]) -> JobSpec:
    """What is to be run on the chosen platforms. Raises InvalidInput, naming every bad field."""
    problems = Problems()
    timeout: float | None = None
    concurrency: int | None = None
    if not chosen:
        problems.found.append(FieldProblem("platform", "Choose at least one platform."))
    with problems.noted():
        timeout = form.number("timeout")
    with problems.noted():
        concurrency = form.whole("concurrency")
    spec = JobSpec(RunCommand(command=form.lines("command")), timeout=timeout, concurrency=concurrency)
    with problems.noted():
        spec.check()
    problems.check()
    return spec


def _problems(view: PageView, error: InvalidInput) -> dict[str, str]:
    """What is wrong with each field of the form, and under no name what is wrong with the whole."""
    words = view.words
    shown = {"targets.platform_ids": "platform", "platforms": "platform"}
    problems = {
        name: words.message(item.message)
        for item in error.fields
        if (name := shown.get(item.field, item.field)) in _FIELDS
    }
    return problems or {"": words.message(error.message)}


def _typed(form: Form) -> dict[str, str]:
    return {name: form.lines(name) for name in _FIELDS if name != "platform"}


def _hex(ids: Iterable[UUID]) -> list[str]:
    return [key.hex for key in ids]


async def _chips(view: PageView, targets: Sequence[str]) -> dict[str, Any]:
    """The chosen platforms: their number, and each by name, or where they are many, all ids as one text. Ids are 32
    hexadecimal digits, here and in the list that the page compares them with."""
    shown = [UUID(key) for key in targets] if len(targets) <= _MOST_CHIPS else []
    named = await view.app.platforms.named(view.actor, shown)
    return {
        "chosen": [(key, named[key].name) for key in shown if key in named],
        "number": len(targets),
        "many": " ".join(targets) if len(targets) > _MOST_CHIPS else "",
    }


async def _form(
    view: PageView,
    targets: Sequence[str],
    values: dict[str, str],
    problems: dict[str, str],
    *,
    asked: Mapping[str, str] | None = None,
    danger: str | None = None,
    gone: int | None = None,
    of: Job | None = None,
    status: int = 200,
) -> Response:
    """The page; from the job `of`, if that is what fills it. `gone` chosen platforms are left out, because they are
    deleted: None where nobody has looked yet."""
    await view.app.gate.check(view.actor, JOBS_RUN, f"job.{RunCommand.kind}", "job")
    if gone is None:
        missing = set(_hex(await view.app.platforms.missing(view.actor, [UUID(key) for key in targets])))
        targets = [key for key in targets if key not in missing]
        gone = len(missing)
    if gone:
        said = view.ngettext(
            "%(num)s of the platforms was deleted meanwhile and is no longer chosen.",
            "%(num)s of the platforms were deleted meanwhile and are no longer chosen.",
            gone,
        )
        problems = {**problems, "platform": said}
    asked = dict.fromkeys(FILTERS, "") | dict(asked or {})
    page = await view.app.platforms.find(view.actor, PageRequest(_SHOWN), **filters(asked), brief=True)
    settings = view.app.settings
    return view.render(
        "run/form.html",
        status=status,
        title=view.gettext("Run a command"),
        section="jobs",
        crumbs=[(view.gettext("Jobs"), "/jobs")],
        page=page,
        filter=asked,
        tags=await view.app.platforms.tags(view.actor),
        states=list(StateFilter),
        commands=await view.app.history.recent_commands(view.actor),
        values={"command": "", "timeout": "", "concurrency": "", **values},
        problems=problems,
        danger=danger,
        of=of,
        defaults=(settings.task_timeout_seconds, settings.task_concurrency),
        **await _chips(view, targets),
        parts=await view.parts("run"),
    )
