"""Reading what forms send. Values are text; what is no number, or no id, is a problem with that field."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile

from testum.errors import InvalidInput
from testum.web.pages.view import View
from testum.web.security import MAX_BODY

_MOST_FIELDS = 12_000
"""A selection of ten thousand platforms is a field each."""
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15}|,(?![0-9]{3}$)[0-9]{1,15})?")
"""As people write one, with a point or a comma; `1,000` is one here and a thousand there, and so it is none."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form that was sent."""

    data: FormData

    def raw(self, name: str) -> str:
        """A field exactly as it was typed; empty where it was not sent."""
        value = self.data.get(name)
        return value if isinstance(value, str) else ""

    def text(self, name: str) -> str:
        """A field without space around it."""
        return self.raw(name).strip()

    def lines(self, name: str) -> str:
        """A field of several lines, with newlines as everywhere but in forms (HTML: CRLF)."""
        return self.raw(name).replace("\r\n", "\n")

    def number(self, name: str) -> float | None:
        """A field that is a number; None where it is empty. Raises InvalidInput."""
        value = self.text(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise InvalidInput.field(name, "must be a number.")
        return float(value.replace(",", "."))

    def whole(self, name: str) -> int | None:
        """A field that is a whole number; None where it is empty. Raises InvalidInput."""
        number = self.number(name)
        if number is not None and number != int(number):
            raise InvalidInput.field(name, "must be a whole number.")
        return None if number is None else int(number)

    def id(self, name: str) -> UUID | None:
        """A field that is an id; None where it is empty. Raises InvalidInput."""
        value = self.text(name)
        return _uuid(name, value) if value else None

    def ids(self, name: str) -> list[UUID]:
        """All values of a field that are ids. Raises InvalidInput."""
        return self.uuids(name, [value for value in self.data.getlist(name) if isinstance(value, str)])

    @staticmethod
    def uuids(name: str, values: Sequence[str]) -> list[UUID]:
        """Texts that are ids. Raises InvalidInput."""
        return [_uuid(name, value) for value in values]

    def texts(self, name: str) -> list[str]:
        """All values of a field that say something."""
        return [
            value.strip() for value in self.data.getlist(name) if isinstance(value, str) and value.strip()
        ]

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return self.text(name) not in ("", "0", "false")

    def words(self, name: str) -> list[str]:
        """The words of a field, separated by space or commas."""
        return self.raw(name).replace(",", " ").split()

    async def file(self, name: str) -> tuple[str, bytes] | None:
        """The name and content of a file, where one was chosen."""
        value = self.data.get(name)
        if not isinstance(value, UploadFile) or not value.filename:
            return None
        return value.filename, await value.read()


def _uuid(name: str, value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise InvalidInput.field(name, "is not an id.") from None


SECRETS = ("password", "private_key", "passphrase")
"""Fields that no page ever gives back."""


def say_lost(view: View, form: Form, problems: dict[str, str]) -> dict[str, str]:
    """What is wrong with a form that is shown again, and at each secret in it that it must be typed again."""
    said = view.gettext("was not saved: type it again.")
    return {**{name: said for name in SECRETS if form.raw(name)}, **problems}


async def read_form(request: Request) -> Form:
    """The form in the request's body; the size of the whole was limited before. Raises InvalidInput for another charset than
    UTF-8, in which browsers send ours: some of Python's take long, or fail (idna, undefined)."""
    _, parameters = parse_options_header(request.headers.get("content-type"))
    if parameters.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise InvalidInput("A form must be sent in UTF-8.")
    return Form(await request.form(max_files=2, max_fields=_MOST_FIELDS, max_part_size=MAX_BODY))
