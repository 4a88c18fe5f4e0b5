"""A task's output by lines, and outputs side by side."""

import base64
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query

from testum.core.frames import Stream, decode_text
from testum.core.lines import Line
from testum.core.search import MAX_PATTERN
from testum.core.search import Query as LineQuery
from testum.core.states import TaskStatus
from testum.db.tasks import moment
from testum.services.lines import MAX_HITS, MAX_LINES, MAX_PIECE
from testum.services.output_groups import MAX_GROUPS
from testum.web.api.responses import PROTECTED, problems
from testum.web.api.schemas.output import (
    ChangedOut,
    DifferenceOut,
    FoundOut,
    LineOut,
    LinesOut,
    OutputGroupOut,
    OutputsOut,
    PieceOut,
    StreamDifferenceOut,
)
from testum.web.security import App, CurrentActor

lines = APIRouter(prefix="/tasks/{task_id}/lines", tags=["output"])
compared = APIRouter(tags=["output"])

_MOST = 2**53 - 1
"""The greatest number that JavaScript counts up to."""

Number = Annotated[int, Query(ge=1, le=_MOST)]
Sought = Annotated[str | None, Query(max_length=MAX_PATTERN, description="Mark what matches this.")]
Case = Annotated[bool, Query(description="Upper and lower case differ.")]
Regex = Annotated[bool, Query(description="`q` is a regular expression (RE2).")]


@lines.get("", responses=PROTECTED | problems(404, 410), operation_id="getTaskLines")
async def get_lines(
    task_id: UUID,
    actor: CurrentActor,
    app: App,
    first: Annotated[Number, Query(alias="from", description="The number of the first line.")] = 1,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="The most lines to answer.")] = 200,
    tail: Annotated[bool, Query(description="The last `limit` lines, whatever `from` says.")] = False,
    q: Sought = None,
    case: Case = False,
    regex: Regex = False,
) -> LinesOut:
    """Some lines of a task's output, numbered over both streams; while it runs, of what is stored so far.

    There may be fewer lines than asked for: at the end, where they are long, and where the lines before them are not
    all counted yet (`complete` is false then: ask again).
    """
    query = LineQuery(q, case, regex) if q else None
    if tail:
        page = await app.lines.tail(actor, task_id, limit, query)
    else:
        page = await app.lines.page(actor, task_id, first, limit, query)
    return LinesOut(
        lines=[_line(line) for line in page.lines],
        total=page.total,
        complete=page.complete,
        ended=page.ended,
        progress=page.progress,
        error_code=page.fault.code if page.fault else None,
        error_message=page.fault.message if page.fault else None,
    )


@lines.get("/search", responses=PROTECTED | problems(404, 410), operation_id="searchTaskLines")
async def search_lines(
    task_id: UUID,
    actor: CurrentActor,
    app: App,
    q: Annotated[str, Query(min_length=1, max_length=MAX_PATTERN, description="What is looked for.")],
    case: Case = False,
    regex: Regex = False,
    first: Annotated[Number, Query(alias="from", description="Where to go on from.")] = 1,
    direction: Annotated[
        Literal["next", "previous"],
        Query(description="The matches from line `from` on, or the last ones before it."),
    ] = "next",
    limit: Annotated[int, Query(ge=1, le=MAX_HITS, description="The most matches to answer.")] = 100,
) -> FoundOut:
    """How many lines match, and some of their numbers.

    Looked for is in what is shown: without escape sequences, and without what a line wrote over. A large output is
    not searched to its end at once (`complete` is false then): ask again, the search goes on meanwhile.
    """
    found = await app.lines.search(
        actor, task_id, LineQuery(q, case, regex), first, limit, forward=direction == "next"
    )
    return FoundOut(
        count=found.count,
        hits=found.hits,
        ordinal=found.ordinal,
        searched=found.searched,
        complete=found.complete,
        ended=found.ended,
        progress=found.progress,
        error_code=found.fault.code if found.fault else None,
        error_message=found.fault.message if found.fault else None,
    )


@lines.get("/{number}", responses=PROTECTED | problems(404, 410), operation_id="getTaskLine")
async def get_piece(
    task_id: UUID,
    number: Annotated[int, Path(ge=1, le=_MOST)],
    actor: CurrentActor,
    app: App,
    offset: Annotated[int, Query(ge=0, le=_MOST, description="The first byte.")] = 0,
    size: Annotated[int, Query(ge=1, le=MAX_PIECE, description="The most bytes to answer.")] = 64 * 1024,
) -> PieceOut:
    """A part of one line as it was printed, escape sequences, newline and all; for lines too long to show."""
    piece = await app.lines.piece(actor, task_id, number, offset, size)
    text, exact = decode_text(piece.data)
    return PieceOut(
        number=piece.number,
        offset=piece.offset,
        size=len(piece.data),
        text=text,
        data=None if exact else base64.b64encode(piece.data).decode("ascii"),
    )


@compared.get("/jobs/{job_id}/outputs", responses=PROTECTED | problems(404), operation_id="getJobOutputs")
async def get_outputs(
    job_id: UUID,
    actor: CurrentActor,
    app: App,
    limit: Annotated[int, Query(ge=1, le=MAX_GROUPS, description="The most groups to answer.")] = 100,
    status: Annotated[TaskStatus | None, Query(description="Only those that ended so.")] = None,
    task: Annotated[
        UUID | None,
        Query(
            description="Name the group of this task by it, and answer it even where it is beyond `limit`."
        ),
    ] = None,
) -> OutputsOut:
    """Which of a job's tasks that have ended printed the same.

    Large outputs are not all read at once (`complete` is false then): ask again, the work goes on meanwhile.
    """
    found = await app.output_groups.of_job(actor, job_id, limit, status=status, task_id=task)
    return OutputsOut(
        groups=[
            OutputGroupOut(
                names=group.names,
                count=group.count,
                task_id=group.task_id,
                status=TaskStatus(group.status),
                exit_code=group.exit_code,
                error_code=group.error_code,
                output_bytes=group.output_bytes,
            )
            for group in found.groups
        ],
        total=found.total,
        largest=found.largest,
        pending=found.pending,
        compared=found.compared,
        complete=found.complete,
    )


@compared.get(
    "/tasks/{task_id}/compare/{other_id}",
    responses=PROTECTED | problems(404, 410),
    operation_id="compareTasks",
)
async def compare(task_id: UUID, other_id: UUID, actor: CurrentActor, app: App) -> DifferenceOut:
    """How another task's output differs from this one's, line by line, without escape sequences. Of large outputs
    the beginning is compared."""
    return DifferenceOut(
        streams=[
            StreamDifferenceOut(
                stream=_STREAMS[one.stream],
                lines=[
                    ChangedOut(change=line.change, text=line.text, old=line.old, new=line.new)
                    for line in one.lines
                ],
                whole=one.whole,
            )
            for one in await app.output_groups.compare(actor, task_id, other_id)
        ]
    )


_STREAMS: dict[Stream, Literal["stdout", "stderr"]] = {Stream.STDOUT: "stdout", Stream.STDERR: "stderr"}


def _line(line: Line) -> LineOut:
    return LineOut(
        number=line.number,
        ts=moment(line.position),
        stream=_STREAMS[line.stream],
        text=line.text,
        styles=line.styles,
        matches=line.matches,
        length=line.length,
        cut=line.cut,
        open=line.open,
        overwritten=line.overwritten,
    )
