"""Inventories from a seeded generator, and what `ansible-inventory` reads in them."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from testum.core.lists import read_list

Host = tuple[str, str, str, tuple[str, ...]]
"""Address, port, user and groups."""

_NAMES = (
    *(f"h{number}" for number in range(1, 7)),
    *("w[1:5]", "w[3:4]", "x[01:03]", "db-[a:c].example.com", "e[:2]", "10.1.1.1", "10.1.1.9"),
    *("h1:2201", "h4:2201", "[2001:db8::1]:2202", "2001:db8::4"),
)
_GROUPS = tuple(f"g{number}" for number in range(1, 7))
_MAPPED = ("ansible_user", "ansible_port", "ansible_host", "ansible_group_priority", "other")


def by_ansible(text: str, kind: str, folder: Path) -> dict[str, Host] | None:
    """The hosts as Ansible has them, or None where it refuses the inventory. `kind`: ini or yaml."""
    file = folder / f"hosts.{kind}"
    file.write_text(text)
    program = str(Path(sys.executable).with_name("ansible-inventory"))
    settings = {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "1",
        "ANSIBLE_INVENTORY_ENABLED": kind,
    }
    done = subprocess.run(
        [program, "-i", str(file), "--list"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], **settings},
    )
    if done.returncode != 0:
        assert "No inventory was parsed" in done.stderr, done.stderr
        return None
    groups = json.loads(done.stdout)
    said = groups.pop("_meta")["hostvars"]
    found: dict[str, Host] = {}
    for name in {name for group in groups.values() for name in group.get("hosts", ())}:
        inside = {group for group, each in groups.items() if name in each.get("hosts", ())}
        while (
            above := {
                group for group, each in groups.items() if inside.intersection(each.get("children", ()))
            }
            - inside
        ):
            inside |= above
        values = {key: _plain(value) for key, value in said.get(name, {}).items()}
        found[name] = (
            values.get("ansible_host") or name,
            values.get("ansible_port") or "22",
            values.get("ansible_user", ""),
            tuple(sorted(inside - {"all", "ungrouped"})),
        )
    return found


def _plain(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("__ansible_unsafe", value)
    return "" if value is None else str(value)


def by_us(text: str) -> tuple[dict[str, Host], int]:
    """The hosts as testum has them, and how many problems it names."""
    found = read_list(text, "ansible")
    hosts = {
        draft.name: (draft.host, str(draft.port), draft.username, tuple(draft.tags))
        for draft in found.drafts
        if not draft.hop
    }
    return hosts, len(found.problems)


def ini(seed: int) -> str:
    """An inventory in INI form."""
    chance = random.Random(seed)

    def variable() -> tuple[str, str]:
        return chance.choice(
            [
                ("ansible_user", chance.choice(["u1", "u2", "'a b'", '"q"'])),
                ("ansible_port", chance.choice(["22", "2222"])),
                ("ansible_host", f"10.0.0.{chance.randint(1, 9)}"),
                ("host", "x"),
            ]
        )

    def host() -> str:
        own = dict(variable() for _ in range(chance.randint(0, 2)))
        words = [chance.choice(_NAMES), *(f"{name}={value}" for name, value in own.items())]
        return " ".join(words) + chance.choice(["", " # note"])

    lines = [host() for _ in range(chance.randint(0, 2))]
    groups = _GROUPS[: chance.randint(1, 6)]
    for group in groups:
        lines += [
            f"[{group}]{chance.choice(['', '  # why'])}",
            *(host() for _ in range(chance.randint(0, 4))),
        ]
        if chance.random() < 0.6:
            lines.append(f"[{group}:vars]")
            for _ in range(chance.randint(1, 3)):
                name, value = chance.choice(
                    [variable(), ("ansible_group_priority", str(chance.randint(0, 9)))]
                )
                comment = chance.choice(["", " # why"]) if value.isdigit() or value[0] in "\"'" else ""
                lines.append(chance.choice([f"{name}={value}", f"{name} = {value}"]) + comment)
        if (later := [each for each in groups if each > group]) and chance.random() < 0.4:
            lines += [f"[{group}:children]", *chance.sample(later, chance.randint(1, len(later)))]
    if chance.random() < 0.4:
        lines += ["[all:vars]", "=".join(variable())]
    return "\n".join(lines) + "\n"


def yaml(seed: int) -> str:
    """An inventory in YAML."""
    return _Yaml(random.Random(seed)).text()


class _Yaml:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._anchors: list[str] = []

    def text(self) -> str:
        lines = ["---"] if self._chance.random() < 0.5 else ["# hosts"]
        for group in self._chance.sample(["all", *_GROUPS[:3], "ungrouped"], self._chance.randint(1, 3)):
            lines += [f"{group}:{self._chance.choice(['', ' # why'])}", *self._group(group, "  ", 0)]
        return "\n".join(lines) + "\n"

    def _value(self, name: str, indent: str) -> str:
        match name:
            case "ansible_port":
                return self._chance.choice(["22", "2222", '"2200"', "02222"])
            case "ansible_host":
                return f"10.0.0.{self._chance.randint(1, 9)}"
            case "ansible_group_priority":
                return str(self._chance.randint(0, 5))
            case "other":
                return "[1, {a: b}]"
        texts = [
            "u1",
            "u2",
            '"q"',
            "'a b'",
            "yes",
            "no",
            "~",
            "null",
            "''",
            "017",
            "1.50",
            "12:30",
            "2024-01-02",
        ]
        return self._chance.choice([*texts, "!unsafe x", f"|-\n{indent}  block"])

    def _variables(self, indent: str) -> list[str]:
        names = self._chance.sample(_MAPPED, self._chance.randint(1, 3))
        return [f"{indent}{name}: {self._value(name, indent)}" for name in names]

    def _hosts(self, indent: str) -> list[str]:
        lines: list[str] = []
        for name in self._chance.sample([*_NAMES, "7"], self._chance.randint(1, 4)):
            key = (
                f'{indent}"{name}":'
                if name == "7" or ":" in name or self._chance.random() < 0.2
                else f"{indent}{name}:"
            )
            match self._chance.randint(0, 5):
                case 0:
                    lines.append(key)
                case 1:
                    lines.append(f"{key} {{}}")
                case 2 if self._anchors:
                    lines.append(f"{key} *{self._chance.choice(self._anchors)}")
                case 3 if self._anchors:
                    some = [f"*{self._chance.choice(self._anchors)}" for _ in range(2)]
                    merged = self._chance.choice([some[0], f"[{', '.join(some)}]"])
                    lines += [key, f"{indent}  <<: {merged}", *self._variables(f"{indent}  ")]
                case 4:
                    # It can be used from the next host on.
                    lines += [f"{key} &a{len(self._anchors)}", *self._variables(f"{indent}  ")]
                    self._anchors.append(f"a{len(self._anchors)}")
                case _:
                    lines += [key, *self._variables(f"{indent}  ")]
        return lines

    def _group(self, group: str, indent: str, depth: int) -> list[str]:
        lines: list[str] = []
        inner = f"{indent}  "
        if self._chance.random() < 0.7:
            lines += [f"{indent}hosts:", *(self._hosts(inner) if self._chance.random() < 0.9 else [])]
        elif self._chance.random() < 0.3:
            lines.append(f"{indent}hosts: alone")
        if self._chance.random() < 0.5:
            lines += [f"{indent}vars:", *(self._variables(inner) if self._chance.random() < 0.9 else [])]
        # Ansible forgets that children of `ungrouped` are in it.
        if depth < 3 and group != "ungrouped" and self._chance.random() < 0.6:
            lines.append(f"{indent}children:")
            for child in self._chance.sample(_GROUPS, self._chance.randint(1, 2)):
                lines += [f"{inner}{child}:", *self._group(child, f"{inner}  ", depth + 1)]
        if self._chance.random() < 0.1:
            lines.append(f"{indent}odd: {{a: 1}}")
        return lines
