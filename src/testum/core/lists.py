"""Reading a list of hosts, of whatever kind."""

from testum.core.ansible import parse_ansible
from testum.core.inventory import Inventory, parse_csv, sniff
from testum.core.ssh_config import Include
from testum.core.ssh_hosts import parse_ssh_config

FORMATS = ("csv", "ssh-config", "ansible")


def read_list(
    text: str, kind: str = "", *, filename: str = "", include: Include | None = None, local_user: str = ""
) -> Inventory:
    """The hosts in a list of a kind; one that is none of `FORMATS` is judged by the file's name and the first lines.

    `include` and `local_user` are for OpenSSH's configuration; without them nothing is included.
    """
    if kind not in FORMATS:
        kind = sniff(text, filename)
    if kind == "csv":
        return parse_csv(text)
    if kind == "ansible":
        return parse_ansible(text)
    return parse_ssh_config(text, include, local_user)
