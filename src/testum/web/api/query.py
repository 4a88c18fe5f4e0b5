"""Query parameters that a call does not have: a client that asks for what is not there must not get another answer."""

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute

from testum.errors import FieldProblem, InvalidInput
from testum.web.security import login_first

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
        _known[operation] = frozenset(field.alias for field in fields if isinstance(field.field_info, Query))
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in _known[operation]]
    if unknown:
        await login_first(request)
        raise InvalidInput.of(
            [
                FieldProblem(name[:_LONGEST_NAMED], "is no parameter of this call.")
                for name in unknown[:_MOST_NAMED]
            ]
        )
