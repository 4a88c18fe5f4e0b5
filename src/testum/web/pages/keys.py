"""SSH keys: what is deployed to platforms, and what platforms log in with."""

from uuid import UUID

from fastapi import Request, Response

from testum.core.job_kinds import JobSpec
from testum.core.permissions import KEYS_WRITE
from testum.core.targets import Targets
from testum.errors import Conflict, InvalidInput
from testum.services.keys import NewKey, check_opens
from testum.services.messages import count_json
from testum.web.pages.forms import read_form, say_lost
from testum.web.pages.jobs import new_job
from testum.web.pages.lists import listing
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/keys")

_USERS = 20
"""So many platforms that log in with a key are named."""


@router.get("")
async def list_keys(view: PageView) -> Response:
    """The keys, by name."""
    asked = listing(view, "q", default_sort="name")
    page = await view.app.keys.find(view.actor, asked.request(), q=asked.values["q"] or None)
    if view.is_partial:
        return view.render("keys/results.html", page=page, asked=asked)
    return view.render(
        "keys/list.html",
        title=view.gettext("Keys"),
        section="keys",
        page=page,
        asked=asked,
        is_empty=not page.items and not asked.is_filtered,
    )


@router.get("/new")
async def new_key(view: PageView) -> Response:
    """The form for a new key."""
    await view.app.gate.check(view.actor, KEYS_WRITE, "key.create", "key")
    return _form(view, {"name": "", "public_key": ""}, {})


@router.post("/new")
async def add_key(request: Request, view: PageView) -> Response:
    """Keep a key."""
    form = await read_form(request)
    new = NewKey(
        form.text("name"),
        form.lines("public_key"),
        form.lines("private_key") or None,
        form.raw("passphrase") or None,
    )
    try:
        await check_opens(new.private_key, new.passphrase)
        key = await view.app.keys.add(view.actor, new)
    except (InvalidInput, Conflict) as error:
        words = view.words
        fields = error.fields if isinstance(error, InvalidInput) else ()
        problems = {item.field: words.message(item.message) for item in fields}
        if not problems:
            problems["public_key" if error.code == "key_exists" else "name"] = words.message(error.message)
        values = {"name": new.name, "public_key": new.public_key}
        return _form(view, values, say_lost(view, form, problems), status=422)
    return view.redirect(f"/keys/{key.id}", view.gettext("%(name)s was added.", name=key.name))


def _form(view: PageView, values: dict[str, str], problems: dict[str, str], *, status: int = 200) -> Response:
    return view.render(
        "keys/form.html",
        status=status,
        title=view.gettext("Add a key"),
        section="keys",
        crumbs=[(view.gettext("Keys"), "/keys")],
        values=values,
        problems=problems,
    )


@router.get("/{key_id}")
async def show_key(key_id: UUID, view: PageView) -> Response:
    """A key, and the way to deploy it."""
    key = await view.app.keys.get(view.actor, key_id)
    return view.render(
        "keys/show.html",
        title=key.name,
        section="keys",
        crumbs=[(view.gettext("Keys"), "/keys")],
        key=key,
        tags=await view.app.platforms.tags(view.actor),
        deployments=await view.app.history.deployments(view.actor, key),
        users=await view.app.keys.users(view.actor, key_id, _USERS + 1),
        most=_USERS,
        counted=count_json,
    )


@router.post("/{key_id}/deploy")
async def deploy_key(key_id: UUID, request: Request, view: PageView) -> Response:
    """Deploy a key to all platforms, or to those with a tag."""
    form = await read_form(request)
    tag = form.text("tag")
    targets = Targets(tags=(tag,)) if tag else Targets(all=True)
    spec = JobSpec(view.app.features.job("deploy", key_ids=(key_id,)))
    started = await view.app.jobs.start(view.actor, spec, targets, new=new_job(form))
    return view.redirect(f"/jobs/{started.job.id}")


@router.post("/{key_id}/delete")
async def delete_key(key_id: UUID, view: PageView) -> Response:
    """Forget a key."""
    try:
        key = await view.app.keys.delete(view.actor, key_id)
    except Conflict as error:
        return view.redirect(f"/keys/{key_id}", view.words.message(error.message), "error")
    return view.redirect("/keys", view.gettext("%(name)s was deleted.", name=key.name))
