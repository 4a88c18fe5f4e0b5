"""A stand-in for the server: the API's contract in memory, on a real port, with switches for bad days."""

import asyncio
import base64
import fnmatch
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.support.waiting import lag

Step = tuple[Any, ...]
Behaviour = Callable[[str], Iterable[Step]]
"""What a command does on a host, by name: ("stdout", bytes), ("stderr", bytes), ("sleep", s), ("hang",),
("exit", code), ("fail", code, message)."""


def problem(status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None) -> JSONResponse:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse(body | ({"errors": errors} if errors else {}), status)


@dataclass
class FakeJob:
    row: dict[str, Any]
    tasks: list[dict[str, Any]]
    messages: list[dict[str, Any]] = field(default_factory=list)
    runners: list[asyncio.Task[None]] = field(default_factory=list)
    ended: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and another takes its place, with each message."""


@dataclass
class FakeApi:
    """The state, and the switches that tests turn."""

    platforms: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    commands: dict[str, Behaviour] = field(default_factory=dict)
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    refreshes: int = 0
    reused: int = 0
    cuts: list[int] = field(default_factory=list)
    """Each entry cuts one WebSocket after so many messages."""
    stream_code: int = 0
    """Close every WebSocket with this code at once."""
    connects: list[int] = field(default_factory=list)
    """The `after` of every WebSocket."""
    told: list[dict[str, Any]] = field(default_factory=list)
    """What was sent over all WebSockets."""
    posted: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 500
    must_change: bool = False
    forbid_writes: bool = False
    refresh_delay: float = 0
    deaf_to_cancel: bool = False
    url: str = ""

    def add_platforms(self, *names: str, tags: tuple[str, ...] = ()) -> None:
        for name in names:
            self._platform(
                {
                    "name": name,
                    "host": "h",
                    "port": 22,
                    "username": "u",
                    "auth_method": "password",
                    "tags": list(tags),
                }
            )

    def _platform(self, body: dict[str, Any]) -> dict[str, Any]:
        row = {
            key: value for key, value in body.items() if key not in ("password", "private_key", "passphrase")
        }
        row |= {"id": str(uuid.uuid4())}
        self.platforms[row["id"]] = row
        return row

    def _pair(self) -> dict[str, Any]:
        access, refresh = f"a-{uuid.uuid4()}", f"r-{uuid.uuid4()}"
        self.access.add(access)
        self.refresh.add(refresh)
        user = {"id": "1", "username": "admin", "role": "admin", "must_change_password": self.must_change}
        return {
            "access_token": access, "token_type": "bearer", "expires_in": 900,
            "refresh_token": refresh, "refresh_expires_in": 9000, "user": user,
        }  # fmt: skip

    def app(self) -> Starlette:
        def route(path: str, handler: Any, *methods: str, anonymous: bool = False) -> Route:
            async def checked(request: Request) -> Response:
                token = request.headers.get("authorization", "").removeprefix("Bearer ")
                if not anonymous and token not in self.access:
                    return problem(401, "unauthenticated", "Log in first.")
                if self.forbid_writes and request.method != "GET" and not anonymous:
                    return problem(403, "forbidden", "A viewer may not do this.")
                return await handler(request)  # type: ignore[no-any-return]

            return Route("/api/v1" + path, checked, methods=list(methods))

        return Starlette(
            routes=[
                route("/auth/login", self._login, "POST", anonymous=True),
                route("/auth/refresh", self._refresh, "POST", anonymous=True),
                route("/auth/logout", self._logout, "POST"),
                route("/auth/me", self._me, "GET"),
                route("/platforms/", self._platforms, "GET", "POST"),
                route("/platforms/{id}", self._one_platform, "GET", "DELETE"),
                route("/keys/", self._keys, "GET", "POST"),
                route("/keys/{id}", self._one_key, "GET", "DELETE"),
                route("/jobs/", self._jobs, "GET", "POST"),
                route("/jobs/{id}", self._job, "GET"),
                route("/jobs/{id}/cancel", self._cancel, "POST"),
                route("/jobs/{id}/rerun", self._rerun, "POST"),
                route("/tasks/", self._tasks, "GET"),
                route("/tasks/{id}", self._task, "GET"),
                route("/tasks/{id}/output", self._output, "GET"),
                WebSocketRoute("/ws/jobs/{id}", self._stream),
            ]
        )

    async def _login(self, request: Request) -> Response:
        body = await request.json()
        if body.get("password") != "secret":
            return problem(401, "unauthenticated", "The user name or the password is wrong.")
        return JSONResponse(self._pair())

    async def _refresh(self, request: Request) -> Response:
        token = (await request.json())["refresh_token"]
        if token not in self.refresh:
            self.reused += 1
            return problem(401, "unauthenticated", "The login has ended.")
        self.refresh.discard(token)
        self.refreshes += 1
        await lag(self.refresh_delay)
        return JSONResponse(self._pair())

    async def _logout(self, request: Request) -> Response:
        self.refresh.discard((await request.json()).get("refresh_token"))
        return JSONResponse({"message": "Logged out."})

    def _page(self, request: Request, rows: list[dict[str, Any]]) -> Response:
        limit = min(int(request.query_params.get("limit", 50)), self.page_size)
        start = int(request.query_params.get("after", 0))
        headers = {"X-Total-Count": str(len(rows))}
        if start + limit < len(rows):
            # The host is wrong on purpose: behind a proxy it may be, and no token may follow it.
            url = request.url.include_query_params(after=start + limit).replace(netloc="elsewhere.invalid")
            headers["Link"] = f'<{url}>; rel="next"'
        return JSONResponse(rows[start : start + limit], headers=headers)

    async def _me(self, request: Request) -> Response:
        return JSONResponse({"username": "admin", "role": "admin"})

    async def _platforms(self, request: Request) -> Response:
        if request.method == "GET":
            rows = list(self.platforms.values())
            if name := request.query_params.get("name"):
                rows = [row for row in rows if row["name"] == name]
            if q := request.query_params.get("q"):
                rows = [row for row in rows if q in row["name"]]
            return self._page(request, rows)
        body = await request.json()
        self.posted.append(body)
        if any(row["name"] == body["name"] for row in self.platforms.values()):
            return problem(409, "name_taken", f"The name {body['name']} is taken.")
        if " " in body["host"]:
            errors = [{"field": "host", "message": "not a host name."}]
            return problem(422, "invalid", "The request is not valid.", errors)
        return JSONResponse(self._platform(body), 201)

    async def _one_platform(self, request: Request) -> Response:
        return self._one(request, self.platforms)

    async def _keys(self, request: Request) -> Response:
        if request.method == "GET":
            return self._page(request, list(self.keys.values()))
        body = await request.json()
        self.posted.append(body)
        row = {
            "id": str(uuid.uuid4()),
            "name": body["name"],
            "fingerprint": "SHA256:x",
            "created_by": "admin",
        }
        self.keys[row["id"]] = row
        return JSONResponse(row, 201)

    async def _one_key(self, request: Request) -> Response:
        return self._one(request, self.keys)

    def _one(self, request: Request, rows: dict[str, dict[str, Any]]) -> Response:
        row = rows.get(request.path_params["id"])
        if row is None:
            return problem(404, "not_found", "There is no such thing.")
        if request.method == "DELETE":
            del rows[row["id"]]
            return JSONResponse({"message": "Deleted."})
        return JSONResponse(row)

    async def _jobs(self, request: Request) -> Response:
        if request.method == "GET":
            return self._page(request, [self._row(job) for job in reversed(self.jobs.values())])
        body = await request.json()
        self.posted.append(body)
        targets = body["targets"]
        chosen = [
            row
            for row in self.platforms.values()
            if (
                not targets.get("names")
                or any(fnmatch.fnmatchcase(row["name"], name) for name in targets["names"])
            )
            and all(tag in row.get("tags", []) for tag in targets.get("tags", []))
        ]
        if not chosen:
            return problem(422, "no_targets", "No platform matches names nope*.")
        return JSONResponse(self._start(body, chosen), 202)

    def _start(self, body: dict[str, Any], chosen: list[dict[str, Any]]) -> dict[str, Any]:
        job_id = str(uuid.uuid4())
        row = {
            "id": job_id,
            "type": body["type"],
            "command": body.get("command"),
            "status": "running",
            "created_by": "admin",
        }
        tasks = [
            {
                "id": str(uuid.uuid4()), "job_id": job_id, "platform_id": platform["id"],
                "platform_name": platform["name"], "type": body["type"], "status": "pending",
                "exit_code": None, "stdout": "", "stderr": "", "error_code": None, "error_message": None,
                "raw": b"",
            }
            for platform in chosen
        ]  # fmt: skip
        job = self.jobs[job_id] = FakeJob(row | {"body": body, "chosen": chosen}, tasks)
        behaviour = self.commands.get(
            body.get("command") or body.get("script", {}).get("text"), lambda name: [("exit", 0)]
        )
        for task in tasks:
            job.runners.append(asyncio.create_task(self._work(job, task, behaviour(task["platform_name"]))))
        return self._row(job) | {"job_id": job_id, "task_count": len(tasks)}

    def _row(self, job: FakeJob) -> dict[str, Any]:
        counts = {"total": len(job.tasks)}
        for status in ("pending", "running", "success", "failed", "cancelled", "lost"):
            counts[status] = sum(task["status"] == status for task in job.tasks)
        return {key: value for key, value in job.row.items() if key not in ("body", "chosen")} | {
            "counts": counts
        }

    def _say(self, job: FakeJob, kind: str, payload: Any, task: dict[str, Any] | None, **more: Any) -> None:
        """As the server does: what concerns the whole job bears the position of what went before."""
        own = sum(task is not None and message["task_id"] == task["id"] for message in job.messages)
        position = len(job.messages) + (task is not None)
        message = {"ts": "", "type": kind, "seq": position * 10, "task_seq": own + 1}
        if isinstance(payload, dict):
            if kind == "done" and payload["status"] == "cancelled" and task is not None:
                payload |= {"termination": {"state": "confirmed", "detail": "Looked."}}
            message |= {"payload": payload["status"], "data": payload}
        else:
            message["payload"] = payload
        job.messages.append(message | {"task_id": task and task["id"]} | more)
        job.news.set()
        job.news = asyncio.Event()

    async def _work(self, job: FakeJob, task: dict[str, Any], steps: Iterable[Step]) -> None:
        task["status"] = "running"
        self._say(job, "status", {"status": "running", "platform_name": task["platform_name"]}, task)
        try:
            for step in steps:
                await self._step(job, task, step)
            if task["status"] == "running":
                self._end(job, task, "success", exit_code=0)
        except asyncio.CancelledError:
            self._end(job, task, "cancelled", error_code="cancelled", error_message="Cancelled.")

    async def _step(self, job: FakeJob, task: dict[str, Any], step: Step) -> None:
        match step:
            case ("stdout" | "stderr" as stream, data):
                text = data.decode("utf-8", "replace")
                task[stream] += text
                task["raw"] += data
                exact = text.encode() == data
                more = {} if exact else {"data": base64.b64encode(data).decode()}
                self._say(job, stream, text, task, **more)
                await lag(0.002)
            case ("sleep", seconds):
                await lag(seconds)
            case ("hang",):
                await asyncio.Event().wait()
            case ("exit", code):
                why = {"error_code": "exit_status", "error_message": f"It ended with {code}."} if code else {}
                self._end(job, task, "failed" if code else "success", exit_code=code, **why)
            case ("fail", code, message):
                self._end(job, task, "failed", error_code=code, error_message=message)

    def _end(self, job: FakeJob, task: dict[str, Any], status: str, **facts: Any) -> None:
        task |= {"status": status} | facts
        payload = {
            key: task[key] for key in ("status", "exit_code", "error_code", "error_message", "platform_name")
        }
        self._say(job, "done", payload, task)
        self._say(job, "progress", {"status": "running", "counts": self._row(job)["counts"]}, None)
        if all(other["status"] in ("success", "failed", "cancelled", "lost") for other in job.tasks):
            states = {other["status"] for other in job.tasks}
            job.row["status"] = (
                "cancelled" if "cancelled" in states else "failed" if "failed" in states else "success"
            )
            self._say(job, "done", {"status": job.row["status"], "counts": self._row(job)["counts"]}, None)
            job.ended = True

    async def _job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        return JSONResponse(self._row(job)) if job else problem(404, "not_found", "There is no such job.")

    async def _cancel(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        for runner in job.runners if not self.deaf_to_cancel else ():
            runner.cancel()
        return JSONResponse(self._row(job), 202)

    async def _rerun(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        only = (await request.json())["only"]
        names = {task["platform_name"] for task in job.tasks if only == "all" or task["status"] != "success"}
        chosen = [row for row in job.row["chosen"] if row["name"] in names]
        return JSONResponse(self._start(job.row["body"], chosen), 202)

    def _all_tasks(self) -> list[dict[str, Any]]:
        return [task for job in self.jobs.values() for task in job.tasks]

    async def _tasks(self, request: Request) -> Response:
        wanted = request.query_params.get("job_id")
        rows = [task for task in self._all_tasks() if task["job_id"] == wanted or not wanted]
        return self._page(request, [{key: row[key] for key in row if key != "raw"} for row in rows])

    async def _task(self, request: Request) -> Response:
        for task in self._all_tasks():
            if task["id"] == request.path_params["id"]:
                return JSONResponse({key: task[key] for key in task if key != "raw"})
        return problem(404, "not_found", "There is no such task.")

    async def _output(self, request: Request) -> Response:
        task = next(task for task in self._all_tasks() if task["id"] == request.path_params["id"])
        return Response(task["raw"], media_type="application/octet-stream")

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        after = int(socket.query_params.get("after", 0))
        self.connects.append(after)
        if socket.headers.get("authorization", "").removeprefix("Bearer ") not in self.access:
            await socket.close(4401)
            return
        if self.stream_code:
            await socket.close(self.stream_code)
            return
        job = self.jobs[socket.path_params["id"]]
        cut = self.cuts.pop(0) if self.cuts else -1
        # A resumed stream overlaps here on purpose: the client must drop what it has.
        place = max(after // 10 - 2, 0)
        try:
            while True:
                news = job.news
                for message in job.messages[place:]:
                    if cut == 0:
                        await socket.close(1011)
                        return
                    await socket.send_json(message)
                    self.told.append(message)
                    cut -= 1
                    place += 1
                if job.ended and place == len(job.messages):
                    await socket.close(1000)
                    return
                await news.wait()
        except WebSocketDisconnect:
            pass


class FakeServer:
    """Serves a FakeApi on a free port of the loopback, in a thread."""

    def __init__(self, fake: FakeApi) -> None:
        config = uvicorn.Config(
            fake.app(), port=0, log_level="critical", ws="websockets-sansio", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)
        fake.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(10)
