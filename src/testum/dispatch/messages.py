"""What a message of testum's is, looked at before Celery sees it.

Celery and its messaging library do what a message's headers say: they set time limits, which end the worker's processes or,
where they are no numbers, the worker itself; they wait for a date; they unpack. Whoever can write to the broker's Redis, by
mistake as well, would have all that. So a message is made anew from the little that testum sends, and any other is none.
"""

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from testum.core.shards import is_zone

SHARD_TASK = "testum.shard"
ASK_TASK = "testum.ask"
ANSWER = "testum.answer."
"""What the names begin with under which answers are left."""
_MOST = 2**31
"""No number in a message is as large."""


def checked(message: object) -> dict[str, Any]:
    """The message as Celery is to have it. Raises ValueError, TypeError, KeyError or RecursionError for what is none of
    testum's."""
    found = _mapping(message)
    headers, properties = _mapping(found["headers"]), _mapping(found["properties"])
    task, name, tag = headers["task"], _text(headers["id"]), _text(properties["delivery_tag"])
    UUID(name)
    arguments = _ARGUMENTS[task](*_arguments(found, properties))
    expires = headers.get("expires")
    if expires is not None:
        datetime.fromisoformat(expires)
    queue = _text(_mapping(properties["delivery_info"])["routing_key"])
    return {
        "body": base64.b64encode(json.dumps([arguments, {}, {}]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": name, "root_id": name, "expires": expires},
        "properties": {
            "correlation_id": name,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }


def _arguments(message: Mapping[str, Any], properties: Mapping[str, Any]) -> list[Any]:
    body = _text(message["body"])
    if properties.get("body_encoding") == "base64":
        body = base64.b64decode(body, validate=True).decode()
    arguments, named, _ = json.loads(body)
    if not isinstance(arguments, list) or named:
        raise ValueError("other arguments than testum's")
    return arguments


def _shard(job_id: object, zone: object, number: object, concurrency: object, of: object) -> list[Any]:
    if not is_zone(_text(zone)):
        raise ValueError("no zone")
    return [str(UUID(_text(job_id))), zone, _number(number, 0), _number(concurrency, 1), _number(of, 1)]


def _question(question: object, reply: object) -> list[Any]:
    if not _text(reply).startswith(ANSWER):
        raise ValueError("no name of an answer")
    return [_text(question), reply]


_ARGUMENTS: Mapping[object, Callable[..., list[Any]]] = {SHARD_TASK: _shard, ASK_TASK: _question}


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("no object of JSON")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    # Half a surrogate pair cannot go on to any store.
    value.encode()
    return value


def _number(value: object, least: int) -> int:
    if type(value) is not int or not least <= value < _MOST:
        raise ValueError("no number in its bounds")
    return value
