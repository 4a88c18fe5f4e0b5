"""The SSH engine: connections with checked host keys, programs with live output, and an end that is
looked at. Uses asyncssh; knows nothing of the rest of testum."""

from testum.ssh.authorized_keys import DeployResult, deploy_keys
from testum.ssh.endpoint import Endpoint, HostKey, HostTrust, KeyAuth, PasswordAuth, Timeouts
from testum.ssh.errors import ConnectionLost, HostKeyChanged, HostKeyUnknown, NotBegun, SSHError
from testum.ssh.execution import Execution, Exit, Output, Progress
from testum.ssh.fifo_slots import Places
from testum.ssh.pool import Pool, PoolLimits, Probe
from testum.ssh.program import Command, Program, Script
from testum.ssh.termination import Found, Sought, Termination

__all__ = [
    "Command",
    "ConnectionLost",
    "DeployResult",
    "Endpoint",
    "Execution",
    "Exit",
    "Found",
    "HostKey",
    "HostKeyChanged",
    "HostKeyUnknown",
    "HostTrust",
    "KeyAuth",
    "NotBegun",
    "Output",
    "PasswordAuth",
    "Places",
    "Pool",
    "PoolLimits",
    "Probe",
    "Program",
    "Progress",
    "SSHError",
    "Script",
    "Sought",
    "Termination",
    "Timeouts",
    "deploy_keys",
]
