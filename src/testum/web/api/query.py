"""Query parameters: those that a call does not have are refused, so that a client that asks for what is not there does not
get another answer; and those of several calls."""

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as QueryParameter
from fastapi.routing import APIRoute

from testum.errors import FieldProblem, InvalidInput
from testum.web.security import App, CurrentActor, login_first

_MOST_NAMED = 20
_LONGEST_NAMED = 100

_known: dict[str, frozenset[str]] = {}
"""By the call's operation."""


async def known_parameters(request: Request) -> None:
    """Raise InvalidInput for parameters that the call does not have, as bodies do for unknown fields; before that what
    `login_first` raises."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    operation = route.unique_id
    if operation not in _known:
        fields = get_flat_params(route.dependant)
        _known[operation] = frozenset(
            field.alias for field in fields if isinstance(field.field_info, QueryParameter)
        )
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in _known[operation]]
    if unknown:
        await login_first(request)
        raise InvalidInput.of(
            [
                FieldProblem(name[:_LONGEST_NAMED], "is no parameter of this call.")
                for name in unknown[:_MOST_NAMED]
            ]
        )


async def _job_type(
    _actor: CurrentActor, app: App, type: Annotated[str | None, Query(max_length=100)] = None
) -> str | None:
    """A kind of job. Raises InvalidInput for one that there is not."""
    if type is not None and type not in app.features.job_kinds:
        raise InvalidInput.field("type", f"must be one of {', '.join(app.features.job_kinds)}.")
    return type


JobType = Annotated[str | None, Depends(_job_type)]
