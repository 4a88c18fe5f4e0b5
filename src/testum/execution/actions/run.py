"""Running commands and scripts."""

from testum.core.frames import Stream
from testum.core.states import TaskStatus
from testum.execution.outcome import Context, Outcome
from testum.ssh import Command, Exit, Output, Script

_MOST_OF_ANSWER = 64 * 1024
_STREAMS = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR}


async def run_command(context: Context) -> Outcome:
    """Run the job's command in the login shell, as `ssh host command` does."""
    spec = context.work.spec
    assert spec.command is not None
    return await run_program(
        context, Command(text=spec.command, environment=spec.environment, plain=context.plain)
    )


async def run_script(context: Context) -> Outcome:
    """Run the job's script: its text goes to the interpreter over stdin."""
    spec = context.work.spec
    assert spec.script is not None
    return await run_program(
        context,
        Script(
            text=spec.script.text,
            interpreter=spec.script.interpreter,
            arguments=spec.script.arguments,
            environment=spec.environment,
            plain=context.plain,
        ),
    )


async def run_program(
    context: Context, program: Command | Script, answer: bytearray | None = None
) -> Outcome:
    """Run a program to its end, recording all it prints; `answer` takes the beginning of its stdout, without what the
    account's start-up files print there."""
    ended: Exit | None = None
    async with context.pool.run(
        context.endpoint,
        program,
        marker=context.marker,
        timeouts=context.work.timeouts,
        progress=context.progress,
    ) as execution:
        async for event in execution:
            if isinstance(event, Output):
                await context.recorder.write(_STREAMS[event.stream], event.data)
                if answer is not None and event.stream == execution.stdout and not event.early:
                    answer += event.data[: _MOST_OF_ANSWER - len(answer)]
            else:
                ended = event
    assert ended is not None, "the engine yields an Exit or raises"
    if ended.signal is not None:
        dumped = " (core dumped)" if ended.core_dumped else ""
        return Outcome.failed(
            "signal",
            f"The command was ended by signal {ended.signal}{dumped}.",
            exit_signal=ended.signal,
        )
    if ended.status is None:
        return Outcome.failed(
            "no_exit_status", "The host said that the command ended, and not how. What it printed may tell."
        )
    if ended.status != 0:
        return Outcome.failed(
            "exit_status", f"The command ended with exit status {ended.status}.", exit_code=ended.status
        )
    return Outcome(TaskStatus.SUCCESS, exit_code=0)
