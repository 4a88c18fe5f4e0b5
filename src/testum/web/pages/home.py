"""The dashboard."""

from fastapi import Response

from testum.web.pages.route import page_router
from testum.web.pages.view import PageView

router = page_router()

_FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0086c9"/>'
    '<path d="M8 11l5 5-5 5" fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/>'
    '<path d="M16 22h8M16 10h8M19 16h5" stroke="#fff" stroke-width="2.5" stroke-linecap="round"/></svg>'
)


@router.get("/favicon.svg")
async def favicon() -> Response:
    """The sign in the browser's tab."""
    return Response(_FAVICON, media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})


@router.get("/")
async def dashboard(view: PageView) -> Response:
    """How things stand."""
    return view.render("dashboard.html", title=view.gettext("Dashboard"), section="dashboard")
