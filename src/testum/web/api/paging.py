"""Lists over HTTP: the query parameters, and the headers of the answer."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from testum.db.paging import DEFAULT_LIMIT, MAX_LIMIT, Page, PageRequest

Row = TypeVar("Row")
Shown = TypeVar("Shown")


def _request(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The most rows to answer.")] = DEFAULT_LIMIT,
    after: Annotated[
        str | None, Query(max_length=1000, description="A cursor; take it from the `Link` header.")
    ] = None,
    offset: Annotated[
        int,
        Query(
            ge=0,
            lt=2**31,
            description="Leave out so many rows. The cursor of `after` stays right while others add and delete.",
        ),
    ] = 0,
    sort: Annotated[
        str | None, Query(max_length=50, description="A column, with `-` in front for descending.")
    ] = None,
) -> PageRequest:
    return PageRequest(limit, after, sort, skip=offset)


PageQuery = Annotated[PageRequest, Depends(_request)]
Search = Annotated[str | None, Query(max_length=200, description="Text to look for.")]
ExactName = Annotated[str | None, Query(max_length=200, description="The exact name.")]


def answer(
    request: Request, response: Response, page: Page[Row], show: Callable[[Row], Shown]
) -> list[Shown]:
    """The page's rows as they are shown; says in the headers how many there are and where it goes on."""
    response.headers["X-Total-Count"] = str(page.total)
    if page.next is not None:
        query: Iterable[tuple[str, Any]] = [
            *(
                (name, value)
                for name, value in request.query_params.multi_items()
                if name not in ("after", "offset")
            ),
            ("after", page.next),
        ]
        response.headers["Link"] = f'<{request.url.path}?{urlencode(list(query))}>; rel="next"'
    return [show(row) for row in page.items]


LIST_HEADERS: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "X-Total-Count": {"description": "How many there are in all.", "schema": {"type": "integer"}},
            "Link": {"description": 'The next page, `rel="next"`.', "schema": {"type": "string"}},
        }
    }
}
