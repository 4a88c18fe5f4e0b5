"""Looking at a platform: can it be reached, and what is it."""

from dataclasses import replace

from testum.core.facts import FACTS_SCRIPT, parse_facts
from testum.core.frames import Stream
from testum.core.states import TaskStatus
from testum.execution.actions.run import run_program
from testum.execution.endpoints import store_facts
from testum.execution.outcome import Context, Outcome
from testum.ssh import Script


async def test_connection(context: Context) -> Outcome:
    """Connect, check the host key and log in; nothing is run."""
    probe = await context.pool.check(context.endpoint, context.work.timeouts)
    milliseconds = round(probe.latency_seconds * 1000, 1)
    told = (
        f"Connected and logged in within {milliseconds} ms.\n"
        f"Host key: {probe.host_key.algorithm} {probe.host_key.fingerprint}\n"
        f"Server: {probe.server_version}\n"
    )
    await context.recorder.write(Stream.STDOUT, told.encode())
    return Outcome(
        TaskStatus.SUCCESS,
        exit_code=0,
        details={
            "latency_ms": milliseconds,
            "fingerprint": probe.host_key.fingerprint,
            "host_key_algorithm": probe.host_key.algorithm,
            "server_version": probe.server_version,
        },
    )


# pytest must not take it for a test where it is imported.
test_connection.__test__ = False  # type: ignore[attr-defined]


async def gather_facts(context: Context) -> Outcome:
    """Ask the host what it is; the answers are kept with the platform."""
    answer = bytearray()
    outcome = await run_program(context, Script(text=FACTS_SCRIPT, plain=context.plain), answer)
    if outcome.status is not TaskStatus.SUCCESS:
        return outcome
    facts = parse_facts(answer.decode("utf-8", "replace"))
    gathered_at = await store_facts(context.database, context.platform_id, facts)
    return replace(outcome, details={"facts": facts, "gathered_at": gathered_at.isoformat()})
