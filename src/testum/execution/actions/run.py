"""Running commands and scripts."""

from testum.core.frames import Stream
from testum.core.programs import RunCommand, RunScript
from testum.core.states import TaskStatus
from testum.execution.outcome import Context, Outcome
from testum.ssh import Command, Exit, Output, Script

_MOST_OF_ANSWER = 64 * 1024
_STREAMS = {"stdout": Stream.STDOUT, "stderr": Stream.STDERR}


async def run_command(context: Context) -> Outcome:
    """Run the job's command in the login shell, as `ssh host command` does."""
    told: RunCommand = context.work.parameters
    return await run_program(
        context, Command(text=told.command, environment=told.environment, plain=context.plain)
    )


async def run_script(context: Context) -> Outcome:
    """Run the job's script: its text goes to the interpreter over stdin."""
    told: RunScript = context.work.parameters
    return await run_program(
        context,
        Script(
            text=told.script.text,
            interpreter=told.script.interpreter,
            arguments=told.script.arguments,
            environment=told.environment,
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
