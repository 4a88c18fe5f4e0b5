"""The error answers that routes document in OpenAPI."""

from typing import Any

from testum.web.api.schemas.base import Problem
from testum.web.errors import PROBLEM_JSON

_WORDS = {
    400: "The request is malformed.",
    401: "Not logged in.",
    403: "The role does not allow this.",
    404: "There is no such object.",
    409: "It collides with what is stored.",
    410: "It was there, and has been removed, or is not what it was.",
    413: "The request is too large.",
    422: "The values are not acceptable.",
    429: "Too many attempts; see `Retry-After`.",
    503: "What it takes does not answer now.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented problem answers with these statuses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _WORDS[status],
            "model": Problem,
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status in statuses
    }


PROTECTED = problems(400, 401, 403, 422)
"""What every call that needs a login may answer."""
