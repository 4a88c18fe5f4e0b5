"""What lists share: which page is asked for, and the addresses of the next page and of the sorted list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from testum.db.paging import Page, PageRequest
from testum.web.pages.view import View

SIZE = 50


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as its address says: the filter's values, the order, and the cursor of the page."""

    path: str
    values: Mapping[str, str]
    sort: str
    after: str | None
    before: str | None
    number: int

    def request(self, *, size: int = SIZE, counted: bool = True) -> PageRequest:
        """The page, as services take it."""
        return PageRequest(size, self.after, self.sort or None, counted, self.before)

    @property
    def is_first(self) -> bool:
        """Whether it is the first page."""
        return not (self.after or self.before)

    @property
    def is_filtered(self) -> bool:
        """Whether any filter is set."""
        return any(self.values.values())

    def url(self, **changes: Any) -> str:
        """The list's address with other values; its first page, unless a cursor is among them."""
        whole = {**self.values, "sort": self.sort, **changes}
        given = {name: value for name, value in whole.items() if value}
        return f"{self.path}?{urlencode(given)}" if given else self.path

    def sorted_by(self, sort: str) -> str:
        """The list in another order."""
        return self.url(sort=sort)

    def next(self, page: Page[Any]) -> str | None:
        """The address of the next page, where there is one."""
        return self.url(after=page.next, page=self.number + 1) if page.next else None

    def previous(self, page: Page[Any]) -> str | None:
        """The address of the page before, where there is one."""
        if not page.previous:
            return None
        # What was added at the beginning is on the first page, too.
        return (
            self.url() if self.number == 2 else self.url(before=page.previous, page=max(1, self.number - 1))
        )


def listing(view: View, *names: str, default_sort: str = "") -> Listing:
    """The list that the page's address asks for, with filters of these names."""
    params = view.request.query_params
    values = {name: params.get(name, "").strip()[:200] for name in names}
    number = params.get("page", "")
    return Listing(
        view.request.url.path,
        values,
        params.get("sort", "")[:50] or default_sort,
        params.get("after") or None,
        params.get("before") or None,
        int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1,
    )
