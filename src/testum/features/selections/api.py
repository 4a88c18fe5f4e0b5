"""Saved selections of platforms."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from testum.core.targets import Targets
from testum.features.selections.schemas import (
    CriteriaBody,
    Revision,
    SelectionBody,
    SelectionNowOut,
    SelectionOut,
    SelectionPatch,
)
from testum.features.selections.service import Selections
from testum.web.api.paging import LIST_HEADERS, ExactName, PageQuery, Search, answer
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.base import MessageOut
from testum.web.security import App, CurrentActor

router = APIRouter(prefix="/selections", tags=["selections"])


@router.get("/", responses=PROTECTED | LIST_HEADERS, operation_id="listSelections")
async def list_selections(
    actor: CurrentActor,
    app: App,
    request: Request,
    response: Response,
    page: PageQuery,
    q: Search = None,
    name: ExactName = None,
) -> list[SelectionOut]:
    """The saved selections, by name."""
    return answer(
        request, response, await app.service(Selections).find(actor, page, q=q, name=name), SelectionOut.of
    )


@router.post("/", status_code=201, responses=PROTECTED | problems(409), operation_id="addSelection")
async def add_selection(body: SelectionBody, actor: CurrentActor, app: App) -> SelectionOut:
    """Keep a selection, for all accounts."""
    return SelectionOut.of(await app.service(Selections).add(actor, body.name, _targets(body.targets)))


@router.get("/{selection_id}", responses=PROTECTED | problems(404), operation_id="getSelection")
async def get_selection(selection_id: UUID, actor: CurrentActor, app: App) -> SelectionNowOut:
    """One selection, what it selects now, and what of it is gone."""
    return SelectionNowOut.now(await app.service(Selections).get(actor, selection_id))


@router.patch("/{selection_id}", responses=PROTECTED | problems(404, 409), operation_id="changeSelection")
async def change_selection(
    selection_id: UUID, body: SelectionPatch, actor: CurrentActor, app: App
) -> SelectionOut:
    """Rename a selection, or let it select something else."""
    targets = _targets(body.targets) if body.targets is not None else None
    changed = await app.service(Selections).change(
        actor, selection_id, name=body.name, targets=targets, revision=body.revision
    )
    return SelectionOut.of(changed)


@router.delete("/{selection_id}", responses=PROTECTED | problems(404, 409), operation_id="deleteSelection")
async def delete_selection(
    selection_id: UUID,
    actor: CurrentActor,
    app: App,
    revision: Annotated[Revision | None, Query()] = None,
) -> MessageOut:
    """Forget a selection. Its platforms stay."""
    selection = await app.service(Selections).delete(actor, selection_id, revision=revision)
    return MessageOut(message=f"The selection {selection.name} was deleted; its platforms stay.")


def _targets(body: CriteriaBody) -> Targets:
    return Targets(
        platform_ids=tuple(body.platform_ids),
        names=tuple(body.names),
        tags=tuple(body.tags),
        all=body.all,
        q=body.q.strip(),
        state=body.state or "",
    )
