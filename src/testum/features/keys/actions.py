"""Deploying public keys to a platform's `authorized_keys`."""

from testum.core.frames import Stream
from testum.core.sshkeys import parse_public_key
from testum.core.states import TaskStatus
from testum.execution.outcome import Context, Outcome
from testum.ssh import deploy_keys


async def deploy(context: Context) -> Outcome:
    """Add the job's keys, once each; what was there stays byte for byte."""
    keys: list[tuple[str, str]] = context.work.loaded
    names = {parse_public_key(line).identity: name for name, line in keys}
    result = await deploy_keys(
        context.pool,
        context.endpoint,
        [line for _, line in keys],
        marker=context.marker,
        timeouts=context.work.timeouts,
        progress=context.progress,
    )
    added = [names.get(_identity(line), line) for line in result.added]
    present = [names.get(_identity(line), line) for line in result.present]
    told = [f"added: {name}" for name in added] + [f"already there: {name}" for name in present]
    told += [f"mended: others could write {path}" for path in result.mended]
    told.append("authorized_keys was changed." if result.changed else "Nothing to change.")
    await context.recorder.write(Stream.STDOUT, ("\n".join(told) + "\n").encode())
    return Outcome(
        TaskStatus.SUCCESS,
        exit_code=0,
        details={
            "added": added,
            "present": present,
            "changed": result.changed,
            **({"mended": result.mended} if result.mended else {}),
        },
    )


def _identity(line: str) -> str:
    return parse_public_key(line).identity
