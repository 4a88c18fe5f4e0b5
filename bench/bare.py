"""What asyncssh itself needs: the plainest loop over the hosts, with testum's algorithms and concurrency.

A program of its own, so that its CPU time is all of a process's. Prints one JSON object.
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable

import asyncssh
import uvloop

from testum.ssh.client import ENCRYPTION, KEX


def cpu_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(hosts: list[str], arguments: argparse.Namespace) -> list[dict[str, float]]:
    """The wall and CPU time of each round over all hosts."""
    options = asyncssh.SSHClientConnectionOptions(
        config=None,
        agent_path=None,
        known_hosts=None,
        username=arguments.user,
        client_keys=[asyncssh.read_private_key(arguments.key)],
        kex_algs=KEX,
        encryption_algs=ENCRYPTION,
        compression_algs=["none"],
        gss_host=None,
    )
    limit = asyncio.Semaphore(arguments.concurrency)
    connections: dict[str, asyncssh.SSHClientConnection] = {}

    async def cold(host: str) -> None:
        async with limit, asyncssh.connect(host, arguments.port, options=options) as connection:
            assert (await connection.run("true", encoding=None)).exit_status == 0

    async def connect(host: str) -> None:
        async with limit:
            connections[host] = await asyncssh.connect(host, arguments.port, options=options)

    async def warm(host: str) -> None:
        async with limit:
            assert (await connections[host].run("true", encoding=None)).exit_status == 0

    async def every(work: Callable[[str], Awaitable[None]]) -> None:
        await asyncio.gather(*(work(host) for host in hosts))

    # What is imported and built once is not counted, as it is not for a server that runs already.
    await cold(hosts[0])
    if arguments.warm:
        await every(connect)
    rounds = []
    for _ in range(arguments.rounds):
        wall, cpu = time.perf_counter(), cpu_seconds()
        await every(warm if arguments.warm else cold)
        rounds.append({"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu})
    return rounds


def main() -> None:
    """Read the hosts' addresses from standard input and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warm", action="store_true")
    arguments = parser.parse_args()
    hosts = sys.stdin.read().split()
    print(json.dumps(uvloop.run(measure(hosts, arguments))))


if __name__ == "__main__":
    main()
