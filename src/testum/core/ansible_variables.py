"""Variables of Ansible inventories that say how to log in, and the drafts of platforms that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from testum.core.inventory import Draft, Inventory, Problem, TooMuch, parse_port
from testum.core.ssh_lines import Unreadable
from testum.core.ssh_way import Arguments, arguments_of

_MOST_OF_ARGUMENTS = 1_000_000
"""Characters of different arguments for ssh."""
_LONGEST_VALUE = 4_000
"""Characters of a variable that says how to log in: it may be said once for all hosts."""
USED = frozenset(
    [
        *("ansible_connection", "ansible_host", "ansible_ssh_host", "ansible_port", "ansible_ssh_port"),
        *("ansible_user", "ansible_ssh_user", "ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
        *("ansible_ssh_private_key_file", "ansible_private_key_file", "ansible_group_priority"),
        *("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
    ]
)
"""Variables that say how to log in; the others are not looked at."""
ENCRYPTED = "$ANSIBLE_VAULT"
"""So begins a value that Ansible Vault has encrypted."""


def check_value(name: str, text: str) -> None:
    """Raises ValueError for one that is too long."""
    if len(text) > _LONGEST_VALUE:
        raise ValueError(f"{name}: a value has at most {_LONGEST_VALUE} characters")


class Ways:
    """What hosts' arguments for ssh say. Many hosts have the same ones; what is read of others is counted."""

    def __init__(self) -> None:
        self._known: dict[str, Arguments | str] = {}
        """What each text says, or why it cannot be read."""
        self._read = 0

    def of(self, *texts: str) -> Arguments:
        """What these arguments say (ssh_way.arguments_of). Raises Unreadable, and TooMuch."""
        arguments = " ".join(filter(None, texts))
        if arguments not in self._known:
            self._read += len(arguments)
            if self._read > _MOST_OF_ARGUMENTS:
                raise TooMuch("what is said for all hosts is too long for so many: split the list")
            try:
                self._known[arguments] = arguments_of(arguments)
            except Unreadable as error:
                self._known[arguments] = str(error)
        way = self._known[arguments]
        if isinstance(way, str):
            raise Unreadable(way)
        return way


def add_draft(
    name: str, line: int, values: Mapping[str, str], tags: Sequence[str], ways: Ways, found: Inventory
) -> None:
    """Make a draft of a host by its variables, those that win; or tell in `found` why there is none. Raises TooMuch."""

    def value(*keys: str) -> str:
        return next((values[key] for key in keys if values.get(key)), "")

    connection = value("ansible_connection")
    # With the collection's name or without.
    if connection and connection.rpartition(".")[2] not in ("ssh", "smart", "paramiko", "paramiko_ssh"):
        found.note(Problem(line, f"{name}: its connection is {connection}, not SSH; left out", name))
        return
    # Of two names of one variable the older one wins, whoever says it.
    port = value("ansible_ssh_port", "ansible_port")
    username = value("ansible_ssh_user", "ansible_user")
    key_file = value("ansible_ssh_private_key_file", "ansible_private_key_file")
    # In this order ssh gets them; the port and user of the variables come behind the first.
    first = value("ansible_ssh_args")
    others = value("ansible_ssh_common_args"), value("ansible_ssh_extra_args")
    draft = Draft(
        name=name,
        host=value("ansible_ssh_host", "ansible_host") or name,
        line=line,
        port=parse_port(port) or 0,
        username=username,
        password=value("ansible_ssh_password", "ansible_ssh_pass", "ansible_password"),
        key_files=(key_file,) if key_file else (),
        tags=tuple(tags),
    )
    texts = (draft.host, port, draft.username, draft.password, key_file, first, *others)
    if any("{{" in text for text in texts):
        found.problems.append(Problem(line, "a {{ template }} cannot be filled in here", name))
        return
    if any(text.startswith(ENCRYPTED) for text in texts):
        found.problems.append(
            Problem(line, "a value that Ansible Vault has encrypted cannot be read here", name)
        )
        return
    try:
        draft = replace(draft, jumps=ways.of(first, *others).hops)
        theirs = {"port": str(draft.port), "user": draft.username, "hostname": draft.host}
        for arguments, before in (
            (ways.of(first), ()),
            (ways.of(*others), (port and "port", username and "user")),
        ):
            for option, text in arguments.named.items():
                if option not in before and text != theirs[option]:
                    raise Unreadable(
                        f"its arguments for ssh say {option} {text[:100]}: write ansible_port, ansible_user or ansible_host"
                    )
    except Unreadable as error:
        found.problems.append(Problem(line, str(error), name))
        return
    if draft.password and draft.key_files:
        # Ansible would try the key first; so does the platform.
        draft = replace(draft, password="")
    found.add(draft)
