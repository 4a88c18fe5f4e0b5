"""Saved selections on the run page: parts of it that htmx fetches. What is wrong is said within their dialog, because
notes in the corner lie below it."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import Request, Response

from testum.core.targets import Targets
from testum.db.paging import PageRequest
from testum.errors import Conflict, InvalidInput, NotFound, TestumError
from testum.features.selections import WRITE
from testum.features.selections.service import MAX_SELECTIONS, Glance, Selections
from testum.features.selections.store import Selection
from testum.web.pages.forms import Form, read_form
from testum.web.pages.platforms import FILTERS, filters, picked
from testum.web.pages.route import page_router
from testum.web.pages.run import show_chips
from testum.web.pages.view import PageView

router = page_router(prefix="/run/selections")


async def card(view: PageView) -> dict[str, Any]:
    """What the run page shows of the saved selections: none is chosen yet."""
    return await saved(view)


async def saved(view: PageView, now: Glance | None = None) -> dict[str, Any]:
    """What the card of the saved selections shows: all of them, and what one selects now."""
    page = await view.app.service(Selections).find(view.actor, PageRequest(MAX_SELECTIONS, counted=False))
    return {"selections": page.items, "now": now, "problem": ""}


def _asked(values: Mapping[str, Any]) -> Targets:
    """What a filter asks of platforms, as a selection keeps it."""
    asked = filters(values)
    return Targets(
        tags=(asked["tag"],) if asked["tag"] else (),
        q=asked["q"] or "",
        state=asked["state"] or "",
        all=not any(asked.values()),
    )


@router.get("")
async def look(view: PageView) -> Response:
    """What the selection that is chosen in the list selects now."""
    named = view.request.query_params.get("selection", "")
    now, problem = None, ""
    if named:
        try:
            now = await view.app.service(Selections).look(view.actor, Form.uuids("selection", [named])[0])
        except NotFound as error:
            problem = _said(view, error)
    return view.render("selections/now.html", now=now, problem=problem)


@router.get("/{selection_id}/chips")
async def choose(selection_id: UUID, view: PageView) -> Response:
    """Chips for all platforms that the selection selects now."""
    now = await view.app.service(Selections).get(view.actor, selection_id)
    return await show_chips(view, [platform.id for platform in now.platforms])


@router.post("/draft")
async def draft(request: Request, view: PageView) -> Response:
    """The dialog that saves the platforms chosen on the page, or the filter of its list."""
    await _check_may_write(view, "selection.create")
    form = await read_form(request)
    chosen = picked(form)
    matching = await view.app.platforms.matching(view.actor, **filters(form.data))
    by_filter = not chosen or {key.hex for key in chosen} == set(matching)
    return await _save_dialog(view, form, matching, chosen=chosen, by_filter=by_filter)


@router.post("")
async def save(request: Request, view: PageView) -> Response:
    """Save a selection; over another one of that name only after a question."""
    form = await read_form(request)
    chosen = picked(form)
    by_filter = form.text("what") != "chosen"
    targets = _asked(form.data) if by_filter else Targets(platform_ids=tuple(chosen))
    name = form.text("name")
    over: Selection | None = None
    problem = ""
    try:
        selection = await _keep(view, name, targets, form.text("over"), form.whole("revision"))
    except Conflict as error:
        over = await _named(view, name)
        # That the name is taken is said with the question whether to save over it.
        if over is None or error.code != "name_taken":
            problem = _said(view, error)
    except (InvalidInput, NotFound) as error:
        problem = _said(view, error)
    else:
        return await _done(view, view.gettext("Saved as %(name)s.", name=selection.name), selection)
    matching = await view.app.platforms.matching(view.actor, **filters(form.data))
    return await _save_dialog(
        view, form, matching, chosen=chosen, by_filter=by_filter, problem=problem, over=over
    )


async def _keep(view: PageView, name: str, targets: Targets, over: str, revision: int | None) -> Selection:
    """Save it, over the selection of that name if it is the one, in the revision, that the person was shown."""
    there = await _named(view, name) if over else None
    if there is None or over != str(there.id):
        return await view.app.service(Selections).add(view.actor, name, targets)
    return await view.app.service(Selections).change(view.actor, there.id, targets=targets, revision=revision)


async def _named(view: PageView, name: str) -> Selection | None:
    page = await view.app.service(Selections).find(view.actor, PageRequest(1, counted=False), name=name)
    return page.items[0] if page.items else None


async def _save_dialog(
    view: PageView,
    form: Form,
    matching: list[str],
    *,
    chosen: list[UUID],
    by_filter: bool,
    problem: str = "",
    over: Selection | None = None,
) -> Response:
    return view.render(
        "selections/save.html",
        name=form.text("name"),
        chosen=chosen,
        asked=_asked(form.data),
        filter={name: form.text(name) for name in FILTERS},
        number=len(matching),
        by_filter=by_filter,
        problem=problem,
        over=over,
    )


@router.get("/{selection_id}/rename")
async def rename_dialog(selection_id: UUID, view: PageView) -> Response:
    """The dialog that gives it another name."""
    await _check_may_write(view, "selection.update", selection_id)
    return await _dialog(view, "selections/rename.html", selection_id)


@router.post("/{selection_id}/rename")
async def rename(selection_id: UUID, request: Request, view: PageView) -> Response:
    """Give it another name."""
    form = await read_form(request)
    try:
        selection = await view.app.service(Selections).change(
            view.actor, selection_id, name=form.text("name"), revision=form.whole("revision")
        )
    except (InvalidInput, Conflict) as error:
        return await _dialog(
            view, "selections/rename.html", selection_id, name=form.text("name"), problem=_said(view, error)
        )
    except NotFound as error:
        return await _done(view, _said(view, error), kind="error")
    return await _done(view, view.gettext("Renamed to %(name)s.", name=selection.name), selection)


@router.get("/{selection_id}/delete")
async def delete_dialog(selection_id: UUID, view: PageView) -> Response:
    """The dialog that asks whether to delete it."""
    await _check_may_write(view, "selection.delete", selection_id)
    return await _dialog(view, "selections/delete.html", selection_id)


@router.post("/{selection_id}/delete")
async def delete(selection_id: UUID, request: Request, view: PageView) -> Response:
    """Forget it."""
    form = await read_form(request)
    try:
        selection = await view.app.service(Selections).delete(
            view.actor, selection_id, revision=form.whole("revision")
        )
    except Conflict as error:
        return await _dialog(view, "selections/delete.html", selection_id, problem=_said(view, error))
    except NotFound as error:
        return await _done(view, _said(view, error), kind="error")
    return await _done(view, view.gettext("%(name)s was deleted.", name=selection.name))


async def _check_may_write(view: PageView, action: str, selection_id: object = "") -> None:
    await view.app.gate.check(view.actor, WRITE, action, "selection", selection_id)


async def _dialog(
    view: PageView, template: str, selection_id: UUID, *, name: str | None = None, problem: str = ""
) -> Response:
    """A dialog about a selection as it is now."""
    try:
        now = await view.app.service(Selections).look(view.actor, selection_id)
    except NotFound as error:
        return await _done(view, _said(view, error), kind="error")
    shown = now.selection.name if name is None else name
    return view.render(template, now=now, name=shown, problem=problem)


async def _done(
    view: PageView, note: str, selection: Selection | None = None, kind: str = "success"
) -> Response:
    """The card anew, which takes the dialog away, and a note."""
    now = await view.app.service(Selections).look(view.actor, selection.id) if selection is not None else None
    response = view.render("selections/card.html", **await saved(view, now))
    response.headers["HX-Retarget"] = "#saved"
    response.headers["HX-Trigger"] = json.dumps({"toast": {"text": note, "kind": kind}})
    return response


def _said(view: PageView, error: TestumError) -> str:
    said = view.words.message(error.message)
    # What is wrong with a field begins small; names, with which other sentences may begin, stay as they are.
    return said[:1].upper() + said[1:] if isinstance(error, InvalidInput) and error.fields else said
