"""WebSockets: a task's or a job's messages, from any point, until it is over."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from testum.app import Testum
from testum.core.permissions import JOBS_READ, Actor, require
from testum.errors import Forbidden, InvalidInput, NotFound, TestumError, Throttled, Unauthenticated
from testum.services.messages import Message
from testum.web.errors import dump
from testum.web.security import actor_of, testum_of

log = structlog.get_logger(__name__)
router = APIRouter()

_CLOSE_CODES: dict[type[TestumError], int] = {
    Unauthenticated: 4401,
    Forbidden: 4403,
    NotFound: 4404,
    InvalidInput: 4422,
    Throttled: 4429,
}
_INTERNAL = 1011
_RECHECK_SECONDS = 5.0
MOST_OF_ONE = 100
"""Sockets of one account."""
_RETRY_SECONDS = 5
_open: Counter[UUID] = Counter()


@router.websocket("/ws/tasks/{task_id}")
async def follow_task(socket: WebSocket, task_id: str) -> None:
    """A task's messages. `?after=<seq>` leaves out what the client already has, `?output=0` what the task prints:
    that there is more of it is told then, and the lines API has it."""
    await _serve(socket, task_id, of_job=False)


@router.websocket("/ws/jobs/{job_id}")
async def follow_job(socket: WebSocket, job_id: str) -> None:
    """The messages of all of a job's tasks. `?after=<seq>` leaves out what the client already has, `?output=0` what
    the tasks print."""
    await _serve(socket, job_id, of_job=True)


@router.websocket("/{path:path}")
async def nothing_here(socket: WebSocket) -> None:
    """Any other address: a client then sees why, and not just a failed handshake."""
    await socket.accept()
    await socket.close(_CLOSE_CODES[NotFound], "There is no stream at this address.")


async def _serve(socket: WebSocket, object_id: str, *, of_job: bool) -> None:
    await socket.accept()
    try:
        actor = await actor_of(socket)
    except TestumError as error:
        await _close(socket, error)
        return
    if _open[actor.id] >= MOST_OF_ONE:
        await _close(socket, Throttled("This account has too many streams open.", retry_after=_RETRY_SECONDS))
        return
    _open[actor.id] += 1
    try:
        await _follow(socket, actor, object_id, of_job=of_job)
    finally:
        _open[actor.id] -= 1
        if not _open[actor.id]:
            del _open[actor.id]


async def _follow(socket: WebSocket, actor: Actor, object_id: str, *, of_job: bool) -> None:
    streams = testum_of(socket).streams
    try:
        for name in socket.query_params:
            if name not in ("after", "output"):
                raise InvalidInput(f"no parameter of a stream: {name[:50]}.")
        after = _after(socket)
        try:
            key = UUID(object_id)
        except ValueError:
            raise NotFound("There is no such task or job.") from None
        output = socket.query_params.get("output", "1")
        if output not in ("0", "1"):
            raise InvalidInput("output: must be 0 or 1.")
        if of_job:
            await streams.check_job(actor, key)
            messages = streams.follow_job(key, after, output=output == "1")
        else:
            await streams.check_task(actor, key)
            messages = streams.follow_task(key, after, output=output == "1")
    except TestumError as error:
        await _close(socket, error)
        return
    sending = asyncio.create_task(_send(socket, messages))
    receiving = asyncio.create_task(_until_gone(socket))
    checking = asyncio.create_task(_until_refused(testum_of(socket), actor))
    tasks = (sending, receiving, checking)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        refused = checking.done() and not sending.done()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if refused:
        await _close(socket, checking.result())


async def _close(socket: WebSocket, error: TestumError) -> None:
    """A browser sees neither status nor body of a refused handshake; a close code it does see."""
    with suppress(WebSocketDisconnect, RuntimeError):
        # It may have left already.
        await socket.close(_CLOSE_CODES.get(type(error), _INTERNAL), _reason(error))


async def _until_refused(testum: Testum, actor: Actor) -> TestumError:
    """Until the login has ended, or its account may not look any more: a job may last for days."""
    while True:
        await asyncio.sleep(_RECHECK_SECONDS)
        try:
            require(await testum.auth.recheck(actor), JOBS_READ)
        except TestumError as error:
            return error


def _reason(error: TestumError) -> str:
    """A close frame has room for 123 bytes (RFC 6455, section 5.5)."""
    return error.message.encode()[:120].decode("utf-8", "ignore")


async def _send(socket: WebSocket, messages: AsyncIterator[Message]) -> None:
    """Send until the end. Each send waits for room at the client: a slow one is read for slowly."""
    try:
        async for message in messages:
            await socket.send_text(dump(message.to_json()).decode())
        await socket.close()
    except (WebSocketDisconnect, RuntimeError):
        return
    except Exception:
        log.exception("a stream failed")
        await socket.close(_INTERNAL, "The stream failed; connect again with ?after.")
    finally:
        await messages.aclose()  # type: ignore[attr-defined]


async def _until_gone(socket: WebSocket) -> None:
    """Clients need not say anything; what they say is ignored, but their leaving is not."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _after(socket: WebSocket) -> int:
    text = socket.query_params.get("after")
    if text is None or text == "":
        return -1
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 19):
        raise InvalidInput("after: must be the seq of a message.")
    return int(text)
