"""A job's live stream: its messages in order, over as many WebSockets as it takes, none of them twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from testum.cli.api import Api
from testum.cli.failures import Refused, Unreachable

GIVE_UP_AFTER = 120.0
"""Seconds without the server, after which watching ends. The job does not end with it."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_UNAUTHENTICATED = frozenset({401, 4401})
_FINAL_CODES = {
    403: "This account may not watch the job.",
    4403: "This account may not watch the job.",
    404: "There is no such job.",
    4404: "There is no such job.",
}


class JobStream:
    """Follows one job. `patience` may be shortened while it runs; `on_lost` is told of each lost connection."""

    def __init__(self, api: Api, job_id: str, on_lost: Callable[[str], None]) -> None:
        self.patience = GIVE_UP_AFTER
        self._api = api
        self._job_id = job_id
        self._on_lost = on_lost
        self._last: int | None = None
        self._last_of_task: dict[str, int] = {}

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Every message up to the job's own `done`.

        Raises Refused if the server does not let us watch and Unreachable when `patience` runs out.
        """
        pause = _FIRST_PAUSE
        lost_at: float | None = None
        renewed = False
        while True:
            rejected = self._api.session.token
            try:
                async with connect(self._address(), **self._options(rejected)) as socket:
                    async for text in socket:
                        message = orjson.loads(text)
                        pause, lost_at, renewed = _FIRST_PAUSE, None, False
                        if not self._is_new(message):
                            continue
                        yield message
                        if message["type"] == "done" and message.get("task_id") is None:
                            return
                    # A clean close before the job's end: the server goes away and will be back.
                    reason = "closed by the server"
                    code = socket.close_code or 0
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 0
                reason = "connection lost"
            except InvalidStatus as answer:
                code, reason = answer.response.status_code, f"HTTP status {answer.response.status_code}"
            except (OSError, TimeoutError, WebSocketException) as error:
                code, reason = 0, str(error) or type(error).__name__
            if code in _UNAUTHENTICATED and not renewed:
                await asyncio.to_thread(self._api.renew, rejected)
                renewed = True
                continue
            if code in _UNAUTHENTICATED:
                raise Refused(401, {"detail": "The server does not accept the login for the live stream."})
            if code in _FINAL_CODES:
                raise Refused(code % 4000, {"detail": _FINAL_CODES[code]})
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > self.patience:
                raise Unreachable(f"The live stream was lost and does not come back: {reason}.")
            self._on_lost(reason)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _is_new(self, message: dict[str, Any]) -> bool:
        """Whether the message was not seen before; what concerns the whole job may be heard twice."""
        seq, task_id = message["seq"], message.get("task_id")
        self._last = seq if self._last is None else max(seq, self._last)
        if task_id is None:
            return True
        number = message.get("task_seq", seq)
        if number <= self._last_of_task.get(task_id, -1):
            return False
        self._last_of_task[task_id] = number
        return True

    def _address(self) -> str:
        scheme, _, rest = self._api.session.url.partition("://")
        after = "" if self._last is None else f"?after={self._last}"
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws/jobs/{self._job_id}{after}"

    def _options(self, token: str) -> dict[str, Any]:
        return {
            "additional_headers": {"Authorization": f"Bearer {token}"},
            "ssl": self._api.tls,
            "compression": None,
            "open_timeout": 10,
            # A message holds one piece of output, but what a piece is is for the server to say.
            "max_size": 64 * 1024 * 1024,
            "close_timeout": 1,
        }
