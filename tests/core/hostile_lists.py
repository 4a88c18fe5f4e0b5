"""Lists of hosts that are as dear to read as their size allows."""

from collections.abc import Callable

from testum.core.ansible_yaml import MAX_TEXT as YAML_SIZE

SIZE = 4_000_000
"""Characters: what an import takes at most."""


def numbered(count: int, text: Callable[[int], str]) -> str:
    """The text for each number below."""
    return "".join(text(number) for number in range(count))


def chain(number: int) -> str:
    """Groups, each in the one before."""
    return numbered(number, lambda n: f"[g{n}:children]\ng{n + 1}\n") + f"[g{number}]\nh\n"


def diamonds(number: int) -> str:
    """Each two groups stand in each of the two before: twice as many ways with every step."""
    steps = (f"[{one}{each}:children]\na{each + 1}\nb{each + 1}\n" for each in range(number) for one in "ab")
    return "".join(steps) + f"[a{number}]\nh\n"


def _rings(number: int) -> str:
    """Groups that contain each other."""
    return numbered(number, lambda n: f"[g{n}:children]\ng{(n + 1) % number}\n") + "[g0]\nh\n"


def _wide(number: int) -> str:
    """Hosts and groups, all of them in one."""
    groups = numbered(number, lambda n: f"g{n}\n")
    return f"[top:children]\n{groups}" + numbered(number, lambda n: f"[g{n}]\nh{n} x=1\n")


def _variables_of_groups(number: int) -> str:
    """Forty groups, each with so many variables, and twice as many hosts, who have them all."""
    variables = numbered(number, lambda n: f"v{n}=1\n")
    groups = numbered(39, lambda n: f"[g{n}:vars]\n{variables}[g{n}:children]\ng{n + 1}\n")
    return f"{groups}[g39:vars]\n{variables}[g39]\n" + numbered(2 * number, lambda n: f"h{n}\n")


def _merges(number: int) -> str:
    """Each mapping is twice in the next."""
    levels = numbered(number, lambda n: f"  v{n + 1}: &v{n + 1} {{<<: [*v{n}, *v{n}], k{n + 1}: 1}}\n")
    return f"all:\n  vars: &v0 {{k: 1}}\nx:\n{levels}"


def _in_groups(section: str, size: int) -> str:
    """Names that are in one group, and by an alias in many more."""
    names = numbered(size // 21, lambda n: f"k{n}: , ")
    return f"a: {{{section}: &c {{{names}}}}}\n" + numbered(
        size // 43, lambda n: f"g{n}: {{{section}: *c}}\n"
    )


_SIGNS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _padded(text: str, size: int) -> str:
    """With comments behind it."""
    return text + ("#" * 99 + "\n") * ((size - len(text)) // 100)


def _own_groups(size: int) -> str:
    """Each host in a group of its own, and all of these at the end of a chain."""
    hosts, links = size // 210, max(2, 45 * size // SIZE)
    groups = numbered(hosts, lambda n: f"g{n}\n")
    chained = numbered(links, lambda n: f"[c{n + 1}:children]\nc{n}\n")
    own = numbered(hosts, lambda n: f"[g{n}]\nh{n}\n")
    return f"[c0:children]\n{groups}{chained}" + _padded(own, size - len(groups) - len(chained) - 14)


def _each_for_each(size: int, block: Callable[[int], str], name: str = "h{}") -> str:
    """As many blocks as hosts, and each may be for each."""
    count = size // len(block(155_555) + f"Host {name.format(155_555)}\n")
    return numbered(count, block) + numbered(count, lambda n: f"Host {name.format(n)}\n")


def _aliases(number: int) -> str:
    """Each group is twice in the next."""
    levels = numbered(
        number, lambda n: f"l{n + 1}: &l{n + 1} {{children: {{a{n + 1}: *l{n}, b{n + 1}: *l{n}}}}}\n"
    )
    return f"l0: &l0 {{hosts: {{h: {{}}}}}}\n{levels}"


# Each takes the size in characters.
YAML: dict[str, Callable[[int], str]] = {
    "hosts": lambda size: "all:\n  hosts:\n" + numbered(size // 12, lambda n: f"    h{n}:\n"),
    "groups": lambda size: numbered(size // 9, lambda n: f"g{n}:\n"),
    "merges": lambda size: _merges(size // 52),
    "diamonds": lambda size: _aliases(size // 60),
    "flow": lambda size: "a: " + "[" * (size - 3),
    "maps": lambda size: "{a: " * (size // 4),
    "quotes": lambda size: "a: '" + "''" * (size // 2 - 2),
    "anchors": lambda size: "a:\n" + numbered(size // 21, lambda n: f"  b{n}: &x{n} {{}}\n"),
    "one host by aliases": lambda size: (
        "a: {hosts: &h {h: {}}}\n" + numbered(size // 22, lambda n: f"g{n}: {{hosts: *h}}\n")
    ),
    "ranges": lambda size: "a:\n  hosts:\n" + numbered(size // 22, lambda n: f"    n{n}[1:10000]:\n"),
    "one range of a long name": lambda size: "g:\n  hosts: " + "x" * (size - 24) + "[1:10000]\n",
    "brackets": lambda size: "g:\n  hosts: '" + "[" * (size - 15) + "'\n",
    "a number of base 60": lambda size: "g:\n  vars: {ansible_user: 1" + ":30" * (size // 3 - 20) + "}\n",
    "arguments for all": lambda size: (
        f"all:\n  vars: {{ansible_ssh_common_args: '{'-o a=b ' * (size // 14)}'}}\n  hosts:\n"
        + numbered(size // 24, lambda n: f"    h{n}:\n")
    ),
    "groups by aliases": lambda size: (
        f"a: &x {{{numbered(size // 21, lambda n: f'k{n}: , ')}}}\n"
        + numbered(size // 22, lambda n: f"g{n}: *x\n")
    ),
    "hosts by aliases": lambda size: _in_groups("hosts", size),
    "children by aliases": lambda size: _in_groups("children", size),
    "variables by aliases": lambda size: (
        f"a: {{vars: &c {{{numbered(size // 18, lambda n: f'k{n}: 1, ')}}}}}\n"
        + numbered(size // 48, lambda n: f"g{n}: {{vars: *c}}\n")
    ),
    "names without values": lambda size: "{" + "a," * (size // 2 - 2) + "}",
    "questions in brackets": lambda size: "g: {" + "?," * (size // 2 - 4) + "}",
    "numbers in brackets": lambda size: "g: [" + "1," * (size // 2 - 4) + "]",
    "ranges that end wrong": lambda size: (
        "all:\n hosts:\n" + numbered(size // 25, lambda n: f"  'n[1:9999][b:a]{n % 9000:04}':\n")
    ),
    "arguments for all and one's own": lambda size: _padded(
        f"all:\n vars: {{ansible_ssh_common_args: '{'-vv ' * 950}'}}\n hosts:\n"
        + numbered(19_000 * size // YAML_SIZE, lambda n: f"  h{n}: {{ansible_ssh_extra_args: X{n}}}\n"),
        size,
    ),
}
_CSV: dict[str, Callable[[int], str]] = {
    "one host again and again": lambda size: "name,host\n" + "a,b\n" * (size // 4),
    "rows": lambda size: "name,host\n" + numbered(size // 10, lambda n: f"a{n},b\n"),
    "columns": lambda size: "name,host" + ",x" * (size // 2),
    # Each row opens a quote that nothing closes.
    "quotes": lambda size: "name,host\n" + numbered(size // 11, lambda n: f'"h{n},a\n'),
    "long cells": lambda size: "name,host\n" + numbered(size // 15, lambda n: f'"h{n}\n\n\n",a\n'),
    "delimiters": lambda size: "name,host\n" + ",;\t" * (size // 3),
    "long quotes": lambda size: "name,host\n" + ("a" * 3990 + '","\n') * (size // 3994),
    "wide rows of many lines": lambda size: (
        "name,host\n"
        + "".join("a" * (size // 1020 - 5) + '","\n' for _ in range(498))
        + 'x"\n'
        + "".join("a" * (size // 1020 - 5) + '","\n' for _ in range(498))
        + 'x"\n'
    ),
}
_SSH_CONFIG: dict[str, Callable[[int], str]] = {
    "Host lines": lambda size: numbered(size // 13, lambda n: f"Host a{n}\n"),
    "one Host line": lambda size: "Host " + numbered(size // 8, lambda n: f"a{n} "),
    "names and patterns": lambda size: (
        f"Host {numbered(size // 17, lambda n: f'a{n}* ')}\nHost {numbered(size // 17, lambda n: f'a{n} ')}"
    ),
    "names in names": lambda size: (
        f"Match originalhost {numbered(size // 30, lambda n: f'a{n},')}x\n"
        + numbered(size // 20, lambda n: f"Host a{n}\n")
    ),
    "blocks": lambda size: numbered(size // 32, lambda n: f"Host h{n} x*{n}\n Port 1\n"),
    "values": lambda size: (
        "Host *\n" + " IdentityFile /k\n" * (size // 34) + numbered(size // 26, lambda n: f"Host h{n}\n")
    ),
    "stars": lambda size: "Host " + "*a" * (size // 2) + "b\n Port 1\nHost " + "a" * 60 + "\n",
    "arguments for all": lambda size: (
        f"Host *\n ProxyCommand ssh {'-v ' * min(size // 6, 300)} -W %h:%p gate\n"
        + numbered(size // 13, lambda n: f"Host h{n}\n")
    ),
    "names from names": lambda size: (
        f"Host *\n HostName {'%h' * 20}\n IdentityFile {'%h' * 20}\n"
        + numbered(size // 310, lambda n: f"Host {'a' * 290}{n}\n")
    ),
    "a long value for all": lambda size: (
        f"Host *\n HostName {'a' * (size // 2)}\n User {'u' * 900}\nMatch user {numbered(40, lambda n: f'*x{n},')}y\n"
        + numbered(size // 26, lambda n: f"Host h{n}\n")
    ),
    "commas": lambda size: "Match host " + "," * (size - 40) + "\n Port 1\nHost a\n",
    "conditions": lambda size: "Match " + "user a " * (size // 7) + "\n",
    "ways for all": lambda size: (
        f"Host *\n ProxyJump {','.join(['a' * 16] * 50)}\n" + numbered(size // 13, lambda n: f"Host h{n}\n")
    ),
    "runs of many": lambda size: (
        numbered(size // 1400, lambda n: f"Host *{'a' * 480}b{n}\n")
        + numbered(size // 1400, lambda n: f"Host {'a' * 890}{n}\n")
    ),
    "many lists for long names": lambda size: (
        numbered(size // 1100, lambda n: "Host aaa*b " + numbered(17, lambda m: f"*q{m}x{n} ") + "\n")
        + numbered(size // 1100, lambda n: f"Host {'a' * 890}{n}\n")
    ),
    "stars of many": lambda size: (
        numbered(size // 940, lambda n: f"Host {'*a' * 400}{n}\n") + f"Host {'a' * 900} " * (size // 9400)
    ),
    "blocks for all": lambda size: _each_for_each(size, lambda _: "Host *\n Port 1\n"),
    "blocks for nobody": lambda size: _each_for_each(size, lambda n: f"Host * !h*\n Port {n % 999}\n"),
    "blocks for others": lambda size: _each_for_each(size, lambda n: f"Match user u{n}\n Port 1\n"),
    "blocks by HostName": lambda size: _each_for_each(size, lambda n: f"Match host x*,y?{n}\n Port 1\n"),
    "files for each": lambda size: _each_for_each(size, lambda n: f"Host h*\n IdentityFile {n}\n"),
    "short runs": lambda size: _each_for_each(
        size, lambda n: "Host *{}*{}*{}*\n Port 1\n".format(*f"{n % 1000:03}"), "0123456789{}"
    ),
    "any signs": lambda size: _each_for_each(
        size, lambda n: f"Host h?*{'?' * (n % 9)}\n Port 1\n", "h{}abcdefgh"
    ),
    "key files for all": lambda size: (
        "Host *\n"
        + numbered(99, lambda n: f" IdentityFile {'%r' * 19}{n}\n")
        + _padded(numbered(size // 220, lambda n: f"Host h{n}\n"), size - 5_600)
    ),
    "hops for all": lambda size: (
        f"Host *\n ProxyJump {'u@[::1]:22,' * 48}%h\n"
        + _padded(numbered(size // 220, lambda n: f"Host h{n}\n"), size - 600)
    ),
    "conditions that ask for HostName": lambda size: (
        f"Host *\n HostName {'%h' * 20}\nMatch {'!host zz ' * 49}\n Port 1\n"
        + _padded(numbered(size // 220, lambda n: f"Host h{n}\n"), size - 500)
    ),
    "many signs in names": lambda size: (
        "Host *zzzzzzzzq\n"
        + numbered(size // 210, lambda n: f"Host {_SIGNS[n % 9 :]}{n:06}\n" + "#" * 140 + "\n")
    ),
    "backslashes": lambda size: "Host " + "\\a " * (size // 3 - 2) + "\n",
    "included again and again": lambda size: "Include " + "a " * (size // 2 - 4) + "\n",
    "commands": lambda size: numbered(
        size // 1032, lambda n: f"Host h{n}\n ProxyCommand ssh {'-v ' * 325} -W %h:%p g{n}\n"
    ),
    "a long name": lambda size: "Host *b *c *d ?e\n Port 1\nHost " + "a" * (size - 50) + "\n",
    "long names": lambda size: (
        numbered(size // 40, lambda n: f"Host *b{n} *c\n") + "\n" + f"Host {'a' * 900}\n" * (size // 1900)
    ),
    "undecided in each pass": lambda size: (
        "CanonicalizeHostname yes\n" + "Match exec x\n Port 1\n" * (size // 21 - 2) + "Host a\n"
    ),
    "conditions of many lines": lambda size: ("Match " + "user a " * 49 + "\n") * (size // 350),
    "conditions without values": lambda size: ("Match " + "final " * 49 + "\n") * (size // 301),
    "one name again": lambda size: "Host " + "a " * (size // 2 - 4) + "\n",
    "few names again": lambda size: "Host a b a b a b a\n" * (size // 19),
}
_ANSIBLE: dict[str, Callable[[int], str]] = {
    "ranges": lambda size: "[a]\n" + numbered(size // 20, lambda n: f"n{n}x[1:10000]\n"),
    "own groups in a chain": _own_groups,
    "colons in brackets": lambda size: numbered(size // 297, lambda n: f"{'[:' * 145}{n:06}\n"),
    "brackets and colons": lambda size: numbered(size // 292, lambda n: f"{'[' * 95}{':' * 190}{n:06}\n"),
    "literals": lambda size: numbered(
        size // 142, lambda n: f"h{n % 19000} ansible_user={'[' * 60}{']' * 60}\n"
    ),
    "literals of many parts": lambda size: numbered(
        size // 225, lambda n: f"h{n % 19000} ansible_user={'1,' * 98}1\n"
    ),
    "a range in many groups": lambda size: numbered(size // 21, lambda n: f"[g{n}]\nn[1:10000]\n"),
    "one range again and again": lambda size: "[a]\n" + "n[1:10000]\n" * (size // 11),
    "words in one line": lambda size: "h " + "a=1 " * (size // 4),
    "variables": lambda size: "[all:vars]\n" + numbered(size // 20, lambda n: f"v{n}={{'a':[1,2]}}\n"),
    "variables of hosts": lambda size: numbered(size // 16, lambda n: f"h{n % 19000} v{n}=1\n"),
    "variables of groups": lambda size: _variables_of_groups(size // 360),
    "chain": lambda size: chain(size // 30),
    "diamonds": lambda size: diamonds(size // 70),
    "wide": lambda size: _wide(size // 29),
    "rings": lambda size: _rings(size // 30),
    "one range of a long name": lambda size: "[g]\n" + ("x" * 98_000 + "[1:10000]\n") * (size // 98_010),
    "names of a range": lambda size: "[g]\n" + ("x" * 280 + "[1:10000]\n") * (size // 290),
    "arguments for all": lambda size: (
        f"[all:vars]\nansible_ssh_common_args={'-o a=b ' * (size // 14)}\n[g]\n"
        + numbered(size // 16, lambda n: f"h{n}\n")
    ),
    "long values for all": lambda size: (
        f"[all:vars]\nansible_ssh_common_args={'-v ' * 1000}\nansible_user={'u' * 900}\n[g]\n"
        + numbered(size // 8, lambda n: f"h{n}\n")
    ),
    "brackets": lambda size: (
        "[" * 99_000 + "x\n" + numbered(size // 20_600, lambda n: "[" * 19_900 + f"{n}\n")
    ),
    "long values in quotes": lambda size: numbered(size // 99_100, lambda n: f"h{n} a='{'x' * 99_000}'\n"),
    "signs before a number": lambda size: numbered(
        size // 420, lambda n: f"h{n} ansible_user={'-' * 390}1\n"
    ),
    "quotes that nothing closes": lambda size: numbered(size // 12, lambda n: f"h{n} a='\n"),
    "all hosts in forty groups": lambda size: numbered(
        40, lambda n: f"[g{n}]\n" + numbered(size // 260, lambda m: f"h{m}\n")
    ),
    "colons": lambda size: numbered(size // 5_000, lambda n: "[" + ":" * 4_900 + f"x]{n}\n"),
    "ranges that end wrong": lambda size: (
        "[g]\n" + numbered(size // 20, lambda n: f"n[1:9999][b:a]{n % 9000:04}\n")
    ),
    "ranges of ranges": lambda size: (
        "[g]\n" + numbered(size // 23, lambda n: f"n[1:9999][1:9999]{n % 9000:04}\n")
    ),
    "arguments for all and one's own": lambda size: _padded(
        "[all:vars]\nansible_ssh_common_args="
        + "-vv " * 950
        + "\n[g]\n"
        + numbered(19_000 * size // SIZE, lambda n: f"h{n} ansible_ssh_extra_args=X{n}\n"),
        size,
    ),
}
KINDS = {"csv": _CSV, "ssh-config": _SSH_CONFIG, "ansible": _ANSIBLE, "yaml": YAML}
LISTS: dict[str, tuple[str, Callable[[int], str], int]] = {
    f"{kind}, {name}": (
        "ansible" if kind == "yaml" else kind,
        shape,
        YAML_SIZE if kind == "yaml" else SIZE,
    )
    for kind, shapes in KINDS.items()
    for name, shape in shapes.items()
}
"""The format, the text of a size, and the size that is taken at most."""
