"""Settings: the own account, this browser's theme and language, and the configuration for looking at."""

from fastapi import Request, Response

from testum.core.permissions import JOBS_READ
from testum.errors import Conflict, InvalidInput, Throttled
from testum.web.pages.forms import read_form
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router(prefix="/settings")


@router.get("")
async def show_settings(view: PageView) -> Response:
    """The page."""
    return await _page(view, {}, view.actor.username)


async def _page(view: PageView, problems: dict[str, str], username: str, *, status: int = 200) -> Response:
    await view.app.gate.check(view.actor, JOBS_READ, "settings.page", "settings")
    may_look = view.may("settings:read")
    return view.render(
        "settings.html",
        status=status,
        title=view.gettext("Settings"),
        section="settings",
        problems=problems,
        username=username,
        configuration=await view.app.status.settings(view.actor) if may_look else {},
        walls=await view.app.status.walls() if may_look else {},
        workers=await view.app.status.workers(view.actor),
    )


@router.post("/username")
async def change_username(request: Request, view: PageView) -> Response:
    """Give the own account another name."""
    form = await read_form(request)
    words = view.words
    try:
        user = await view.app.auth.change_username(
            view.actor, form.raw("current_password"), form.text("new_username")
        )
    except InvalidInput as error:
        problems = {item.field: words.message(item.message) for item in error.fields}
        problems = problems or {"current_password": words.message(error.message)}
    except Conflict as error:
        problems = {"new_username": words.message(error.message)}
    except Throttled as error:
        problems = {"current_password": words.message(error.message)}
    else:
        return view.redirect("/settings", view.gettext("You are %(name)s now.", name=user.username))
    return await _page(view, problems, form.text("new_username"), status=422)
