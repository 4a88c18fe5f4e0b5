"""The audit log: who did what."""

import json
from typing import Any

from fastapi import Response

from testum.web.pages.lists import listing
from testum.web.pages.route import page_router
from testum.web.pages.view import PageView
from testum.web.pages.words import OUTCOMES

router = page_router(prefix="/audit")

_OBJECTS = ("platform", "job", "key", "user", "task", "audit", "settings")


@router.get("")
async def list_audit(view: PageView) -> Response:
    """The entries, newest first."""
    asked = listing(view, "q", "outcome", "object_type", "object_id", default_sort="-timestamp")
    outcome = asked.values["outcome"]
    page = await view.app.history.audit(
        view.actor,
        asked.request(counted=False),
        q=asked.values["q"] or None,
        outcome=outcome if outcome in OUTCOMES else None,
        object_type=asked.values["object_type"] or None,
        object_id=asked.values["object_id"] or None,
    )
    context: dict[str, Any] = {"page": page, "asked": asked, "dump": _dump}
    if view.is_partial:
        return view.render("audit/results.html", **context)
    return view.render(
        "audit/list.html",
        title=view.gettext("Audit log"),
        section="audit",
        outcomes=list(OUTCOMES),
        objects=_OBJECTS,
        **context,
    )


def _dump(meta: dict[str, Any]) -> str:
    """What an entry says beside its columns, to be read."""
    return json.dumps(meta, ensure_ascii=False, indent=1, default=str)
