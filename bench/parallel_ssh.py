"""The same over parallel-ssh with its stock settings. Runs with the Python that has it; prints JSON."""

import json
import sys
import time

from pssh.clients import ParallelSSHClient


def main() -> None:
    """Arguments: port, user, key file. The hosts' addresses come from standard input."""
    port, user, key = sys.argv[1:]
    hosts = sys.stdin.read().split()
    begin = time.perf_counter()
    client = ParallelSSHClient(hosts, user=user, port=int(port), pkey=key, allow_agent=False)
    outputs = client.run_command("true")
    client.join()
    wall = time.perf_counter() - begin
    assert [output.exit_code for output in outputs] == [0] * len(hosts)
    print(json.dumps([{"wall": wall}]))


if __name__ == "__main__":
    main()
