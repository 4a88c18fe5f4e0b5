"""Periodic work of a whole installation: each time that it is due, one of all processes does it."""

from collections.abc import Iterator

import pytest

from tests.support.server import Process, Server
from tests.support.sshd import free_port
from tests.support.tools import healthy
from tests.support.waiting import stays, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


@pytest.fixture
def installation() -> Iterator[Server]:
    """Two web processes, and two workers with two processes each."""
    with Server(env={"WORKER_PROCESSES": "2"}) as running:
        port = free_port()
        more = [
            Process(arguments, running.env, running.data_dir, running.log)
            for arguments in (["serve", "--port", str(port)], ["worker"])
        ]
        try:
            until(lambda: len(running.execute("SELECT id FROM workers")) == 4, 60)
            until(lambda: healthy(f"http://127.0.0.1:{port}"), 60)
            yield running
        finally:
            for process in more:
                process.kill()


def test_each_time_that_it_is_due_a_duty_is_done_once(installation: Server) -> None:
    """Counted by the database itself: tidying output begins with one statement, and a trigger notes each."""
    until(lambda: installation.execute("SELECT 1 FROM duties WHERE name = 'tidy output'"), 60)
    installation.execute(
        "CREATE TABLE tidied (at timestamptz DEFAULT clock_timestamp(), by int DEFAULT pg_backend_pid())"
    )
    installation.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO tidied DEFAULT VALUES; RETURN NULL; END $$"
    )
    installation.execute(
        "CREATE TRIGGER note AFTER DELETE ON output_segments FOR EACH STATEMENT EXECUTE FUNCTION note()"
    )
    taken = "SELECT 1 FROM duties WHERE name = 'tidy output' AND due_at > clock_timestamp()"
    due = "UPDATE duties SET due_at = clock_timestamp() WHERE name = 'tidy output'"

    def done() -> int:
        return int(installation.execute("SELECT count(*) FROM tidied")[0][0])

    # What was under way at the beginning is over with this one.
    installation.execute(due)
    until(done)
    installation.execute("TRUNCATE tidied")
    times = 10
    for number in range(1, times + 1):
        installation.execute(due)
        # Taken, and not only done: what is done twice must not pass for the next time.
        until(lambda: installation.execute(taken))
        until(lambda number=number: done() >= number)
    # More than a tick of each process: all of them have looked again.
    stays(lambda: done() == times, 1.25)
