"""One platform: looking at it, adding, changing and deleting it, and seeing whether it can be reached."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from testum.core.algorithms import OLD_ALGORITHMS
from testum.core.inspections import GatherFacts, TestConnection
from testum.core.job_kinds import JobSpec
from testum.core.permissions import PLATFORMS_WRITE
from testum.core.states import FINAL, TROUBLE, TaskStatus, platform_state
from testum.db.audit import AuditLog
from testum.db.paging import PageRequest
from testum.db.platforms import Platform
from testum.errors import Conflict, InvalidInput, NotFound
from testum.services.platform_fields import mark
from testum.web.disconnects import while_waited_for
from testum.web.pages.forms import Form, read_form, say_lost
from testum.web.pages.platform_form import (
    Begun,
    blank,
    changes,
    differences,
    jump_name,
    problems,
    refused,
    stored,
    typed,
    values,
)
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/platforms")

_RECENT = 10
_HISTORY = 20
_KEY_ACTIONS = ("host_key.trust", "host_key.changed")


@router.get("/new")
async def new_platform(view: PageView) -> Response:
    """The form for a new platform."""
    await _may_write(view)
    return await _form(view, None, blank(), {})


@router.post("/new")
async def add_platform(request: Request, view: PageView) -> Response:
    """Add a platform; with the other button, test it at once."""
    form = await read_form(request)
    try:
        platform = await view.app.platforms.add(view.actor, await values(view, form))
    except (InvalidInput, Conflict) as error:
        return await _form(view, None, typed(form), refused(view, form, error), status=422)
    if form.flag("test"):
        return await _test(view, platform.id)
    said = view.gettext("%(name)s was added. See whether it can be reached.", name=platform.name)
    return view.redirect(f"/platforms/{platform.id}", said)


@router.get("/{platform_id}")
async def show_platform(platform_id: UUID, view: PageView) -> Response:
    """All that is known about a platform."""
    platform = await view.app.platforms.get(view.actor, platform_id)
    services = view.app
    recent = await services.history.tasks(
        view.actor, PageRequest(_RECENT, sort="-id", counted=False), platform_id=platform_id
    )
    jobs = await services.history.jobs_by_ids(view.actor, {task.job_id for task in recent.items})
    host_keys = await _host_key_history(view, platform_id) if view.may("audit:read") else []
    jump = None
    if platform.jump_platform_id is not None:
        jump = await services.platforms.get(view.actor, platform.jump_platform_id)
    return view.render(
        "platforms/show.html",
        title=platform.name,
        section="platforms",
        crumbs=[(view.gettext("Platforms"), "/platforms")],
        platform=platform,
        recent=recent.items,
        unended={task.id for task in recent.items if task.status not in FINAL},
        whats={job.id: view.describe(job) for job in jobs},
        trouble=next(
            (
                task
                for task in recent.items
                if task.error_code
                and platform_state(TaskStatus(task.status), task.error_code) == platform.state
            ),
            None,
        )
        if platform.state in TROUBLE
        else None,
        host_keys=host_keys,
        alarm=next((entry for entry in host_keys if entry.action == "host_key.changed"), None),
        deployed=await services.history.deployed_keys(view.actor, platform_id),
        jump=jump,
        testing=_id(view.request.query_params.get("task", "")),
    )


async def _host_key_history(view: PageView, platform_id: UUID) -> list[AuditLog]:
    """What happened to the platform's host key, newest first."""
    entries = await view.app.history.audit(
        view.actor,
        PageRequest(_HISTORY, counted=False),
        object_type="platform",
        object_id=str(platform_id),
    )
    return [entry for entry in entries.items if _is_about_host_key(entry.action, entry.meta)]


def _id(value: str) -> UUID | None:
    """The id, if it is one."""
    try:
        return UUID(value)
    except ValueError:
        return None


def _is_about_host_key(action: str, meta: Mapping[str, Any]) -> bool:
    return action in _KEY_ACTIONS or (
        action == "platform.update" and "known_host_key" in (meta.get("fields") or ())
    )


@router.get("/{platform_id}/edit")
async def edit_platform(platform_id: UUID, view: PageView) -> Response:
    """The form with what is stored; secrets stay where they are unless they are typed anew."""
    await _may_write(view, platform_id)
    platform = await view.app.platforms.get(view.actor, platform_id)
    return await _form(view, platform, stored(platform, await jump_name(view, platform)), {})


@router.post("/{platform_id}/edit")
async def change_platform(platform_id: UUID, request: Request, view: PageView) -> Response:
    """Change a platform, unless somebody else has done so since the form was begun: then show what differs."""
    await _may_write(view, platform_id)
    form = await read_form(request)
    platform = await view.app.platforms.get(view.actor, platform_id)
    begun = Begun(form.text("revision"), form.text("begun"))
    try:
        meanwhile = await _meanwhile(view, form, platform, begun)
        if meanwhile is not None:
            lost = say_lost(view, form, {})
            return await _form(view, platform, typed(form), lost, meanwhile=meanwhile, status=409)
        changed = await view.app.platforms.change(
            view.actor, platform_id, await changes(view, form, platform), seen=mark(platform)
        )
    except (InvalidInput, Conflict) as error:
        return await _form(view, platform, typed(form), refused(view, form, error), begun=begun, status=422)
    if form.flag("test"):
        return await _test(view, platform_id)
    return view.redirect(
        f"/platforms/{platform_id}", view.gettext("%(name)s was changed.", name=changed.name)
    )


async def _meanwhile(view: PageView, form: Form, platform: Platform, begun: Begun) -> dict[str, Any] | None:
    """What others have changed since a form was begun that is now sent; None where it takes nothing back."""
    now = mark(platform)
    if begun.revision in ("", now):
        return None
    differing = differences(form, platform, await jump_name(view, platform))
    secrets = begun.revision.partition("-")[2] != now.partition("-")[2]
    if not differing and not secrets:
        return None
    entries = await view.app.history.audit(
        view.actor,
        PageRequest(_HISTORY, counted=False),
        object_type="platform",
        object_id=str(platform.id),
    )
    users = {
        entry.user: None
        for entry in entries.items
        if entry.action == "platform.update" and entry.timestamp.timestamp() >= begun.at and entry.user
    }
    return {"users": ", ".join(users), "differing": differing, "secrets": secrets}


@router.post("/new/test")
async def test_new_platform(request: Request, view: PageView) -> Response:
    """See whether what is typed leads to a host; nothing is saved."""
    await _may_write(view)
    form = await read_form(request)
    return await _try(request, view, None, lambda: values(view, form))


@router.post("/{platform_id}/edit/test")
async def test_changed_platform(platform_id: UUID, request: Request, view: PageView) -> Response:
    """See whether the platform could be reached with what is typed; nothing is saved."""
    await _may_write(view, platform_id)
    form = await read_form(request)
    platform = await view.app.platforms.get(view.actor, platform_id)
    return await _try(request, view, platform_id, lambda: changes(view, form, platform))


async def _try(
    request: Request,
    view: PageView,
    platform_id: UUID | None,
    read: Callable[[], Awaitable[Mapping[str, Any]]],
) -> Response:
    try:
        probed = await while_waited_for(request, view.app.probes.probe(view.actor, await read(), platform_id))
    except InvalidInput as error:
        return view.render("platforms/tried.html", status=422, probed=None, problems=problems(view, error))
    if probed is None:
        return Response(status_code=204)
    return view.render("platforms/tried.html", probed=probed, problems={})


@router.post("/{platform_id}/delete")
async def delete_platform(platform_id: UUID, view: PageView) -> Response:
    """Forget a platform."""
    try:
        platform = await view.app.platforms.delete(view.actor, platform_id)
    except Conflict as error:
        return view.redirect(f"/platforms/{platform_id}", view.words.message(error.message), "error")
    return view.redirect("/platforms", view.gettext("%(name)s was deleted.", name=platform.name))


@router.post("/{platform_id}/accept-host-key")
async def accept_host_key(platform_id: UUID, request: Request, view: PageView) -> Response:
    """Trust the key that the host showed, which must be the one that the person saw, and connect."""
    form = await read_form(request)
    shown = next(
        (
            entry.meta
            for entry in await _host_key_history(view, platform_id)
            if entry.action == "host_key.changed"
        ),
        None,
    )
    platform = await view.app.platforms.get(view.actor, platform_id)
    if shown is None or shown.get("presented") != form.text("fingerprint"):
        raise Conflict("The host has shown yet another key meanwhile. Look at it again.")
    if shown.get("revision") != platform.revision:
        raise Conflict("The platform was changed since the host showed this key. Test it again.")
    password = {"password": form.raw("password")} if form.raw("password") else {}
    await view.app.platforms.change(
        view.actor, platform_id, {"known_host_key": shown["presented_key"], **password}, seen=mark(platform)
    )
    return await _test(view, platform_id)


@router.post("/{platform_id}/test")
async def test_platform(platform_id: UUID, view: PageView) -> Response:
    """See whether the platform can be reached."""
    return await _test(view, platform_id)


@router.post("/{platform_id}/facts")
async def gather_facts(platform_id: UUID, view: PageView) -> Response:
    """Ask the platform what it is."""
    started = await view.app.jobs.start_on(view.actor, JobSpec(GatherFacts()), platform_id)
    return view.redirect(f"/platforms/{platform_id}?task={started.task_id}")


async def _test(view: PageView, platform_id: UUID) -> Response:
    started = await view.app.jobs.start_on(view.actor, JobSpec(TestConnection()), platform_id)
    return view.redirect(f"/platforms/{platform_id}?task={started.task_id}")


@router.get("/{platform_id}/tests/{task_id}")
async def show_test(platform_id: UUID, task_id: UUID, view: PageView) -> Response:
    """How a test, or the asking for facts, stands: fetched again and again until it is over. Then the whole page is,
    if it waited for that: its state, facts and tasks are others now."""
    task = await view.app.history.task(view.actor, task_id)
    if task.platform_id != platform_id or task.type not in (TestConnection.kind, GatherFacts.kind):
        raise NotFound("There is no such task.")
    over = task.status in FINAL
    if over and view.request.query_params.get("waited"):
        return Response(headers={"HX-Refresh": "true"})
    return view.render("platforms/test.html", task=task, over=over, platform_id=platform_id)


async def _may_write(view: PageView, platform_id: object = "") -> None:
    """The service would refuse what is sent: better say so before it is typed. Raises Forbidden."""
    await view.app.gate.check(view.actor, PLATFORMS_WRITE, "platform.update", "platform", platform_id)


async def _form(
    view: PageView,
    platform: Platform | None,
    values: Mapping[str, str],
    problems: Mapping[str, str],
    *,
    begun: Begun | None = None,
    meanwhile: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Response:
    if begun is None and platform is not None:
        begun = Begun(mark(platform), str(time.time()))
    title = (
        view.gettext("Change %(name)s", name=platform.name) if platform else view.gettext("Add a platform")
    )
    keys = await view.app.keys.find(view.actor, PageRequest(500, counted=False))
    crumbs = [(view.gettext("Platforms"), "/platforms")]
    if platform is not None:
        crumbs.append((platform.name, f"/platforms/{platform.id}"))
    return view.render(
        "platforms/form.html",
        status=status,
        title=title,
        section="platforms",
        crumbs=crumbs,
        platform=platform,
        values=values,
        problems=problems,
        begun=begun,
        meanwhile=meanwhile,
        key_names={str(key.id): key.name for key in keys.items},
        keys=[key for key in keys.items if key.encrypted_private_key is not None],
        old_algorithms=OLD_ALGORITHMS,
        jumps=await view.app.platforms.jumps(view.actor),
    )
