"""Importing a list of hosts: paste or choose it, see what would change, then do it."""

from fastapi import Request, Response

from testum.core.inventory import Problem
from testum.core.lists import decode_list
from testum.core.permissions import PLATFORMS_WRITE
from testum.db.paging import PageRequest
from testum.errors import InvalidInput
from testum.services.import_lists import add_tags, read
from testum.services.import_plans import Login, Plan
from testum.services.platform_fields import check_tags
from testum.web.pages.forms import Form, read_form, say_lost
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView
from testum.web.security import MAX_BODY

router = page_router(prefix="/platforms/import")

_SHOWN = 500
_MAX_LIST = MAX_BODY - 64 * 1024
"""Bytes of a list: it is sent once more, with the rest of the second form."""


@router.get("")
async def import_form(view: PageView) -> Response:
    """The form."""
    await _check(view)
    return await _page(view, {"text": "", "format": "auto", "username": "", "key_id": "", "tags": ""}, {})


@router.post("")
async def preview_or_import(request: Request, view: PageView) -> Response:
    """Show what would change, or with the second form's button, do it."""
    await _check(view)
    form = await read_form(request)
    values = {name: form.text(name) for name in ("format", "username", "key_id", "tags")}
    values["text"] = form.lines("text")
    problems: dict[str, str] = {}
    plan: Plan | None = None
    try:
        values["text"], encoding = await _text(form)
        if form.flag("again"):
            return await _page(view, values, {})
        inventory = await read(values["text"], values["format"])
        add_tags(inventory, check_tags(form.words("tags")))
        if encoding:
            inventory.notes.append(Problem(1, f"the file is read as {encoding}"))
        login = Login(values["username"], form.id("key_id"), form.raw("password"))
        if form.flag("really"):
            done = await view.app.imports.apply(view.actor, inventory, login, update=form.flag("update"))
            return _done(view, done, updated=form.flag("update"))
        plan = await view.app.imports.plan(view.actor, inventory, login)
    except InvalidInput as error:
        words = view.words
        problems = {item.field: words.message(item.message) for item in error.fields}
        problems = say_lost(view, form, problems or {"text": words.message(error.message)})
    return await _page(view, values, problems, plan=plan, password=form.raw("password"))


async def _check(view: PageView) -> None:
    """Before anything is read. Raises Forbidden."""
    await view.app.gate.check(view.actor, PLATFORMS_WRITE, "platform.import", "platform")


async def _text(form: Form) -> tuple[str, str]:
    """The list, and what its file was read as where that is not UTF-8. Raises InvalidInput."""
    chosen = await form.file("file")
    encoding = ""
    if chosen is None:
        text = form.lines("text")
    else:
        try:
            text, encoding = decode_list(chosen[1])
        except ValueError:
            raise InvalidInput.field("file", "is not text.") from None
    if not text.strip():
        raise InvalidInput.field("text", "must not be empty.")
    # Forms send lines with two characters at their ends.
    if len(text.encode()) + text.count("\n") > _MAX_LIST:
        raise InvalidInput.field(
            "file" if chosen else "text",
            "is over 4 MB. Split it, or use the command line: testum platforms import.",
        )
    return text, encoding


def _done(view: PageView, plan: Plan, *, updated: bool) -> Response:
    added, changed, failed = (
        plan.number("add"),
        plan.number("change") if updated else 0,
        plan.number("problem"),
    )
    if changed and not added:
        said = view.ngettext("%(num)s platform was changed.", "%(num)s platforms were changed.", changed)
    else:
        said = view.ngettext("%(num)s platform was added.", "%(num)s platforms were added.", added)
    if changed and added:
        said += " " + view.ngettext("%(num)s was changed.", "%(num)s were changed.", changed)
    if failed:
        return view.render(
            "platforms/imported.html",
            title=view.gettext("Import"),
            section="platforms",
            crumbs=[(view.gettext("Platforms"), "/platforms")],
            said=said,
            failed=[step for step in plan.steps if step.kind == "problem"][:_SHOWN],
        )
    return view.redirect("/platforms", said)


async def _page(
    view: PageView,
    values: dict[str, str],
    problems: dict[str, str],
    *,
    plan: Plan | None = None,
    password: str = "",
) -> Response:
    keys = await view.app.keys.find(view.actor, PageRequest(500, counted=False))
    return view.render(
        "platforms/import.html",
        status=422 if problems else 200,
        title=view.gettext("Import platforms"),
        section="platforms",
        crumbs=[(view.gettext("Platforms"), "/platforms")],
        values=values,
        problems=problems,
        plan=plan,
        # Those that want something done come first.
        steps=sorted(plan.steps, key=lambda step: step.kind != "problem")[:_SHOWN] if plan else (),
        password=password,
        keys=[key for key in keys.items if key.encrypted_private_key is not None],
    )
