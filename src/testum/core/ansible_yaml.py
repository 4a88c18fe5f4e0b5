"""Reading an Ansible inventory in YAML (or JSON, which is a part of it), as Ansible's yaml inventory plugin does."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from testum.core.ansible import Listed
from testum.core.ansible_hosts import hosts_of
from testum.core.ansible_variables import ENCRYPTED, USED, check_value
from testum.core.inventory import Inventory, Problem, TooMuch

MAX_TEXT = 1_000_000
"""Characters: a second or two. YAML takes many times as long to read as the other forms."""
_MOST_NODES = 300_000
"""Names, values, lists and mappings. 1,000,000 characters of hosts with their variables have 100,000, of names alone 140,000."""
_LONGEST_NUMBER = 1_000
"""Characters. What is longer is text, whatever it looks like: numbers of base 60 take time by the square."""
_MOST_MERGED = 100_000
_MOST_AGAIN = 20_000
"""What stands in further places by aliases, in all: twice the list could be four times the work. A list of hosts that many
groups have is written as a group in them."""
_SECTIONS = ("vars", "children", "hosts")


_FIRST_LINE = re.compile(
    # A document or its directive, a mapping in braces, or a name with a colon, which may have a tag, an anchor or `?` before it.
    r"---.*|%YAML .*|\?\s.*|(!!map\s+)?\{.*"
    r"|([&!?]\S*\s+)*([\"']?)[^\s\[\]=#;:\"'{][^\[\]=:\"']*\3\s*:(\s.*)?"
)


def is_yaml(text: str) -> bool:
    """Whether an inventory is in YAML and not in INI form, judged by its first line that says something."""
    lines = (line.strip("\ufeff \t\r") for line in text.split("\n"))
    first = next((line for line in lines if line and line[0] not in "#;"), "")
    return _FIRST_LINE.fullmatch(first[:1000]) is not None


def parse_yaml(text: str) -> Inventory:
    """An inventory in YAML: groups become tags, and `ansible_*` variables say how to log in."""
    import yaml

    found = Inventory()
    if len(text) > MAX_TEXT:
        found.problems.append(
            Problem(
                1, f"an inventory in YAML has at most {MAX_TEXT} characters: write it in INI form, or as CSV"
            )
        )
        return found
    try:
        root = yaml.compose(text, Loader=_loader())
        if root is not None and not _is_null(root):
            _Reader(found).read(root)
    except TooMuch as error:
        found.problems.append(Problem(1, str(error)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found.problems.append(Problem(mark.line + 1 if mark else 1, f"this is no YAML: {error.problem}"))
    except yaml.YAMLError:
        found.problems.append(Problem(1, "this is no YAML: it has characters that may not be in it"))
    return found


@cache
def _loader() -> Any:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(loader):  # type: ignore[misc]
        """Does not look whether a long text is a number or a date, and counts what stands in the text."""

        nodes = 0

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            self.nodes += 1
            if self.nodes > _MOST_NODES:
                raise TooMuch("the text has too many values: split the list")
            if kind is yaml.ScalarNode and len(value) > _LONGEST_NUMBER:
                value = "text"
            return super().resolve(kind, value, implicit)

    return Loader


class _Reader:
    """Goes through the nodes of a document. What stands there by aliases is looked at once for each name."""

    def __init__(self, found: Inventory) -> None:
        self._found = found
        self._listed = Listed()
        self._merged: dict[int, dict[str, tuple[Any, Any]]] = {}
        self._merges = 0
        self._seen: set[tuple[str, int]] = set()
        self._kept: dict[int, dict[str, str]] = {}
        self._gone_through: set[int] = set()
        self._again = 0

    def read(self, root: Any) -> None:
        """Raises YAMLError."""
        if root.id != "mapping":
            return self._problem(root, "an inventory in YAML begins with the names of groups")
        groups = self._entries(root)
        if "plugin" in groups:
            return self._problem(root, "this says how a plugin finds the hosts, and lists none")
        # What stands in a group comes before what follows it, as with Ansible.
        stack = [iter(groups.values())]
        while stack:
            if (group := next(stack[-1], None)) is None:
                stack.pop()
            else:
                stack.append(self._group(*group))
        self._listed.draft(self._found)
        return None

    def _group(self, name: Any, group: Any) -> Iterator[tuple[Any, Any]]:
        """Read a group; those that stand in it are given where they stand, each with its name."""
        if not self._is_name(name) or (name.value, id(group)) in self._seen:
            return
        self._seen.add((name.value, id(group)))
        self._listed.begin(name.value, _line(name))
        if group is None or _is_null(group):
            return
        if group.id != "mapping":
            self._problem(name, f"{name.value}: a group has hosts, children and vars")
            return
        sections = self._entries(group)
        self._count(group, len(sections))
        for key, (key_node, section) in sections.items():
            if key not in _SECTIONS:
                self._found.note(
                    Problem(
                        _line(key_node),
                        f"{name.value}: {key[:100]} is passed over; a group has hosts, children and vars",
                    )
                )
                continue
            if _is_null(section):
                continue
            if section.id == "scalar" and section.tag.endswith(":str"):
                entries = {section.value: (section, None)}
            elif section.id == "mapping":
                entries = self._entries(section)
                self._count(section, len(entries))
            else:
                self._problem(
                    key_node, f"{name.value}: {key} is a list of names, each with a colon behind it"
                )
                continue
            if key == "vars":
                for variable, value in self._variables(section, entries).items():
                    try:
                        self._listed.say(name.value, variable, value)
                    except ValueError as error:
                        self._problem(key_node, str(error))
            elif key == "children":
                for child, (child_node, _) in entries.items():
                    try:
                        self._listed.put(child, name.value, _line(child_node))
                    except ValueError as error:
                        self._problem(child_node, str(error))
                yield from entries.values()
            else:
                self._hosts(name.value, entries)

    def _count(self, section: Any, entries: int) -> None:
        """Raises TooMuch."""
        if id(section) in self._gone_through:
            self._again += entries
            if self._again > _MOST_AGAIN:
                raise TooMuch("too much stands in several places by aliases: split the list")
        self._gone_through.add(id(section))

    def _hosts(self, group: str, entries: dict[str, tuple[Any, Any]]) -> None:
        for pattern, (node, said) in entries.items():
            if not self._is_name(node):
                continue
            own: dict[str, str] = {}
            if said is not None and said.id == "mapping":
                own = self._variables(said, self._entries(said))
            elif said is not None and not _says_nothing(said):
                self._problem(node, f"{pattern[:100]}: its variables are written as name: value below it")
                continue
            try:
                self._listed.add(hosts_of(pattern), group, own, _line(node))
            except ValueError as error:
                self._problem(node, str(error))

    def _is_name(self, node: Any) -> bool:
        if node.id == "scalar" and node.tag.endswith(":str") and node.value:
            return True
        text = node.value[:100] if node.id == "scalar" else ""
        self._problem(node, f"{text}: a name that is no word is written in quotes")
        return False

    def _entries(self, mapping: Any) -> dict[str, tuple[Any, Any]]:
        """Keys as they are written, with the nodes of key and value; the last of a name counts, and what is merged (`<<`,
        YAML 1.1) is overwritten by what stands there. Raises YAMLError."""
        kept = self._merged.get(id(mapping))
        if kept is not None:
            return kept
        # A mapping that is merged into itself gives nothing to itself.
        self._merged[id(mapping)] = {}
        merged: dict[str, tuple[Any, Any]] = {}
        own: dict[str, tuple[Any, Any]] = {}
        for key, value in mapping.value:
            if key.id == "scalar" and key.tag.endswith(":merge"):
                # Of several the last one counts, as Ansible has it.
                for source in self._sources(value):
                    merged.update(self._all_of(source))
            else:
                own[key.value if key.id == "scalar" else f"[{_line(key)}]"] = (key, value)
        self._merged[id(mapping)] = merged | own
        return self._merged[id(mapping)]

    def _sources(self, value: Any) -> Iterator[Any]:
        for source in value.value if value.id == "sequence" else [value]:
            if source.id != "mapping":
                self._fail(source, "what is merged (<<) has names and values")
            yield source

    def _all_of(self, source: Any) -> dict[str, tuple[Any, Any]]:
        try:
            entries = self._entries(source)
        except RecursionError:
            self._fail(source, "what is merged (<<) is nested too deep")
        self._merges += 1 + len(entries)
        if self._merges > _MOST_MERGED:
            self._fail(source, "too much is merged (<<)")
        return entries

    def _variables(self, section: Any, entries: dict[str, tuple[Any, Any]]) -> dict[str, str]:
        """The variables of a section, which may stand in many places by aliases."""
        if id(section) not in self._kept:
            self._kept[id(section)] = self._texts(entries)
        return self._kept[id(section)]

    def _texts(self, entries: dict[str, tuple[Any, Any]]) -> dict[str, str]:
        """The variables that say how to log in, where they are simple values, as text."""
        texts: dict[str, str] = {}
        for name, (_, node) in entries.items():
            if name not in USED or node is None or (text := _text(node)) is None:
                continue
            if node.tag == "tag:yaml.org,2002:value":
                self._problem(node, f"{name}: write = in quotes")
                continue
            try:
                check_value(name, text)
            except ValueError as error:
                self._problem(node, str(error))
            else:
                texts[name] = text
        return texts

    def _problem(self, node: Any, message: str) -> None:
        self._found.refuse(Problem(_line(node), message))

    def _fail(self, node: Any, message: str) -> Any:
        from yaml import MarkedYAMLError

        raise MarkedYAMLError(problem=message, problem_mark=node.start_mark)


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _is_null(node: Any) -> bool:
    return bool(node.id == "scalar" and node.tag.endswith(":null"))


def _says_nothing(node: Any) -> bool:
    """Whether Ansible takes it for no variables at all: what is empty, false or zero to Python."""
    if node.id != "scalar":
        return not node.value
    return _text(node) in ("", "False", "0", "0.0") and (node.value == "" or not node.tag.endswith(":str"))


def _text(node: Any) -> str | None:
    """A simple value as Ansible would write it; None for one that is no such."""
    from yaml import YAMLError
    from yaml.constructor import SafeConstructor

    if node.id != "scalar":
        return None
    if node.tag in ("!vault", "!vault-encrypted"):
        return ENCRYPTED
    if _is_null(node):
        return ""
    if not node.tag.startswith("tag:yaml.org,2002:") or len(node.value) > _LONGEST_NUMBER:
        return str(node.value)
    try:
        return str(SafeConstructor().construct_object(node))
    except (ValueError, OverflowError, YAMLError):
        return str(node.value)
