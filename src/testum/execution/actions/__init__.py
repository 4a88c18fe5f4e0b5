"""The actions there are, by job type."""

from testum.core.actions import JobType
from testum.execution.actions.connection import gather_facts, test_connection
from testum.execution.actions.deploy import deploy
from testum.execution.actions.run import run_command, run_script
from testum.execution.outcome import Actions

ACTIONS: Actions = {
    JobType.RUN_COMMAND: run_command,
    JobType.RUN_SCRIPT: run_script,
    JobType.DEPLOY: deploy,
    JobType.GATHER_FACTS: gather_facts,
    JobType.TEST_CONNECTION: test_connection,
}
