"""Platforms as a list: looking for them, and doing something to many at once."""

from collections.abc import Mapping
from typing import Any, TypedDict
from uuid import UUID

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from testum.core.inspections import GatherFacts, TestConnection
from testum.core.job_kinds import JobSpec
from testum.core.states import StateFilter
from testum.core.targets import Targets
from testum.errors import InvalidInput
from testum.web.pages.forms import Form, read_form
from testum.web.pages.jobs import new_job
from testum.web.pages.lists import listing
from testum.web.pages.rendering import address
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/platforms")

FILTERS = ("q", "tag", "state")


class Filter(TypedDict):
    """The values of a filter as services take them; None lets all through."""

    q: str | None
    tag: str | None
    state: str | None


@router.get("")
async def list_platforms(view: PageView) -> Response:
    """The platforms, as tiles or as a table."""
    asked = listing(view, *FILTERS, default_sort="name")
    page = await view.app.platforms.find(view.actor, asked.request(), **filters(asked.values))
    context: dict[str, Any] = {
        "asked": asked,
        "page": page,
        "shape": view.cookie("platforms", "tiles", "table"),
        "keys": await view.app.keys.names(view.actor) if view.may("keys:deploy") else (),
    }
    if view.is_partial:
        return view.render("platforms/results.html", **context)
    return view.render(
        "platforms/list.html",
        title=view.gettext("Platforms"),
        section="platforms",
        tags=await view.app.platforms.tags(view.actor),
        states=list(StateFilter),
        is_empty=page.total == 0 and not asked.is_filtered,
        **context,
    )


def filters(values: Mapping[str, Any]) -> Filter:
    """The filter that a form or an address asks for; a state that there is not lets all through."""
    state = values.get("state") or None
    return {
        "q": values.get("q") or None,
        "tag": values.get("tag") or None,
        "state": state if state in set(StateFilter) else None,
    }


@router.get("/matching")
async def list_matching(view: PageView) -> Response:
    """The ids of all platforms that the list's filter lets through: who chooses them all chooses these, and not what
    joins them before the act."""
    asked = listing(view, *FILTERS)
    ids = await view.app.platforms.matching(view.actor, **filters(asked.values))
    return PlainTextResponse(" ".join(ids))


def picked(form: Form) -> list[UUID]:
    """The platforms that a form names, one by one or many at once. Raises InvalidInput."""
    many = " ".join(form.texts("platforms")).split()
    return list(dict.fromkeys([*form.ids("platform"), *Form.uuids("platforms", many)]))


def _chosen(form: Form) -> list[UUID]:
    """The same; there must be one. Raises InvalidInput."""
    ids = picked(form)
    if not ids:
        raise InvalidInput("Choose at least one platform.")
    return ids


@router.post("/selected")
async def act_on_selected(request: Request, view: PageView) -> Response:
    """Do something to the platforms that were chosen in the list."""
    form = await read_form(request)
    back = address("/platforms", **{name: form.text(name) for name in (*FILTERS, "sort")})
    match form.text("action"):
        case "run":
            return view.redirect(_run_address(form))
        case "tag" | "untag":
            return await _tag(view, form, back)
        case "delete":
            return await _delete(view, form, back)
        case "deploy":
            return await _deploy(view, form)
        case "test" | "facts":
            return await _start(view, form)
        case _:
            raise InvalidInput("There is no such action.")


def _run_address(form: Form) -> str:
    if form.flag("everything"):
        return address("/run", everything=1, **{name: form.text(name) for name in FILTERS})
    return address("/run", platform=[str(key) for key in form.ids("platform")])


async def _tag(view: PageView, form: Form, back: str) -> Response:
    tags = form.words("tags")
    adds = form.text("action") == "tag"
    try:
        number = await view.app.platforms.tag(
            view.actor, _chosen(form), add=tags if adds else (), remove=() if adds else tags
        )
    except InvalidInput as error:
        return _refused(view, error)
    said = view.ngettext("%(num)s platform was changed.", "%(num)s platforms were changed.", number)
    return view.redirect(back, said)


async def _delete(view: PageView, form: Form, back: str) -> Response:
    number, kept = await view.app.platforms.delete_many(view.actor, _chosen(form))
    said = view.ngettext("%(num)s platform was deleted.", "%(num)s platforms were deleted.", number)
    if kept:
        names = ", ".join(kept[:5]) + (" ..." if len(kept) > 5 else "")
        said += " " + view.gettext(
            "Still there, because others are reached through them: %(names)s.", names=names
        )
    return view.redirect(back, said, "error" if kept else "success")


async def _deploy(view: PageView, form: Form) -> Response:
    try:
        keys = tuple(form.ids("key"))
        if not keys:
            raise InvalidInput("Choose at least one key.")
        return await _begin(view, form, JobSpec(view.app.features.job("deploy", key_ids=keys)))
    except InvalidInput as error:
        return _refused(view, error)


async def _start(view: PageView, form: Form) -> Response:
    kind = {"test": TestConnection, "facts": GatherFacts}[form.text("action")]
    return await _begin(view, form, JobSpec(kind()))


async def _begin(view: PageView, form: Form, spec: JobSpec) -> Response:
    targets = Targets(platform_ids=tuple(_chosen(form)))
    started = await view.app.jobs.start(view.actor, spec, targets, new=new_job(form))
    return view.redirect(f"/jobs/{started.job.id}")


def _refused(view: PageView, error: InvalidInput) -> Response:
    """What is wrong, in the dialog that was sent, where nothing is lost; a page where there is no script."""
    if not view.is_partial:
        raise error
    return view.render("platforms/problem.html", problem=view.words.message(error.message))
