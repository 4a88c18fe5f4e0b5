"""Reading Ansible inventories in YAML, and both forms beside `ansible-inventory`."""

from pathlib import Path

import pytest

from tests.core import inventories
from testum.core.ansible_yaml import MAX_TEXT, is_yaml, parse_yaml
from testum.core.inventory import Inventory
from testum.core.lists import read_list

INVENTORY = """\
---
all:
  vars:
    ansible_user: everyone
    ansible_ssh_private_key_file: ~/.ssh/all
  hosts:
    alone: {ansible_host: 10.0.0.1, ansible_port: 2222, ansible_password: !unsafe 'a b'}
  children:
    prod:
      vars: {ansible_user: prod}
      children:
        web:
          hosts:
            web[01:02].eu:
            "[2001:db8::1]:2200":
              ansible_user: null
        db:
          hosts: db-1
          vars:
            ansible_ssh_common_args: -o ProxyJump=me@gate:22
"""


def test_groups_hosts_and_variables() -> None:
    found = read_list(INVENTORY, filename="hosts.yml")
    assert found.problems == []
    assert [(each.name, each.host, each.port, each.username, each.tags, each.line) for each in found.drafts[:5]] == [
        ("alone", "10.0.0.1", 2222, "everyone", (), 7),
        ("web01.eu", "web01.eu", 22, "prod", ("prod", "web"), 14),
        ("web02.eu", "web02.eu", 22, "prod", ("prod", "web"), 14),
        ("2001:db8::1", "2001:db8::1", 2200, "", ("prod", "web"), 15),
        ("db-1", "db-1", 22, "prod", ("db", "prod"), 18),
    ]  # fmt: skip
    assert found.drafts[4].jumps and found.drafts[4].key_files == ("~/.ssh/all",)
    assert [each.host for each in found.drafts if each.hop] == ["gate"]


@pytest.mark.parametrize(
    "text",
    [
        "---\nall:\n",
        "all:\n  hosts:\n",
        "# x\n\n'all': {}\n",
        '{"all": {}}',
        "web-1: # y\n",
        "%YAML 1.1\n---\n",
        "my group:\n",
        "all :\n",
        "&a all:\n",
        "? all\n: {hosts: {h: }}\n",
        "!!map {all: {hosts: {h: }}}\n",
    ],
)
def test_what_is_yaml(text: str) -> None:
    assert is_yaml(text) and read_list(text, "ansible").problems == []


@pytest.mark.parametrize(
    "text", ["[all]\nh\n", "h ansible_host=x\n", "h:22\n", "2001:db8::1\n", "", "# all:\nh\n"]
)
def test_what_is_ini(text: str) -> None:
    assert not is_yaml(text)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("---\n- a\n", 2, "begins with the names of groups"),
        ("plugin: aws_ec2\nregions: [x]\n", 1, "a plugin"),
        ("all:\n  hosts:\n    - a\n", 2, "a list of names"),
        ("all:\n  hosts:\n    7:\n", 3, "in quotes"),
        ("all:\n  hosts:\n    a: b\n", 3, "name: value"),
        ("all:\n  hosts:\n    n[5:1]:\n", 3, "backwards"),
        ("a:\n  children:\n    a:\n", 3, "contains itself"),
        ("a:\n  children:\n    b:\n      children:\n        a:\n", 5, "contain each other"),
        ("all: 7\n", 1, "hosts, children and vars"),
        ("all:\n  hosts: [\n", 3, "no YAML"),
        ("all:\n\thosts:\n", 2, "no YAML"),
        ("---\na:\n---\nb:\n", 3, "no YAML"),
        ("all:\n  hosts: *x\n", 2, "no YAML"),
        ("all:\n  hosts: {a: {<<: [7]}}\n", 2, "merged"),
        ("all:\n  hosts: {a: {ansible_user: " + "u" * 4001 + "}}\n", 2, "at most 4000"),
        ("all:\n  hosts: {" + "a" * 301 + ": }\n", 2, "at most 300"),
        ("all:\n  hosts: {a: {ansible_user: '{{ x }}'}}\n", 2, "template"),
        ("all:\n  hosts: {a: {ansible_password: !vault $ANSIBLE_VAULT;1.1}}\n", 2, "Vault"),
        ("all:\n  hosts: {a: {ansible_port: 70000}}\n", 2, "port"),
        ("all:\n  hosts: {a: {ansible_user: =}}\n", 2, "= in quotes"),
        ("---\na: \x00\n", 1, "no YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, line: int, message: str) -> None:
    found = read_list(text, "ansible")
    assert [(problem.line, message in problem.message) for problem in found.problems] == [(line, True)], (
        found.problems
    )


def test_of_what_is_merged_the_last_counts() -> None:
    """As with ansible-inventory."""
    found = parse_yaml(
        "all:\n  hosts:\n    h: &h {ansible_port: 2, ansible_user: a}\n    g: &g {ansible_port: 3}\n"
        "    p: {<<: [*h, *g]}\n    q: {<<: [*g, *h]}\n    r: {<<: [*h, {ansible_port: 4}], ansible_user: b}\n"
    )
    said = {draft.name: (draft.port, draft.username) for draft in found.drafts}
    assert said == {"h": (2, "a"), "g": (3, ""), "p": (3, "a"), "q": (2, "a"), "r": (4, "b")}


def test_the_last_that_stands_there_counts() -> None:
    """Children before hosts, and the other way round: both as with ansible-inventory."""
    children = "  children: {web: {hosts: {h: {ansible_user: inner}}}}\n"
    hosts = "  hosts: {h: {ansible_user: outer}}\n"
    assert parse_yaml(f"all:\n{children}{hosts}").drafts[0].username == "outer"
    assert parse_yaml(f"all:\n{hosts}{children}").drafts[0].username == "inner"


@pytest.mark.parametrize("nothing", ["", "{}", "[]", "''", "0", "false", "null"])
def test_a_host_may_have_no_variables(nothing: str) -> None:
    found = parse_yaml(f"all: {{hosts: {{web: {nothing}}}}}")
    assert ([draft.name for draft in found.drafts], found.problems) == (["web"], [])


def test_a_text_that_is_too_long_is_not_read() -> None:
    found: Inventory = parse_yaml("a:\n" + " " * MAX_TEXT)
    assert found.drafts == [] and "at most" in found.problems[0].message


FORMS = {"ini": inventories.ini, "yaml": inventories.yaml}


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 60), marks=pytest.mark.slow)], ids=["some", "many"]
)
@pytest.mark.parametrize("form", FORMS)
def test_hosts_are_those_of_ansible_inventory(form: str, seeds: range, tmp_path: Path) -> None:
    alike = 0
    for seed in seeds:
        text = FORMS[form](seed)
        theirs = inventories.by_ansible(text, form, tmp_path)
        ours, problems = inventories.by_us(text)
        if theirs is None:
            # What it refuses as a whole we tell by its line.
            assert problems, f"seed {seed}:\n{text}"
            continue
        assert ours == theirs, f"seed {seed}:\n{text}"
        alike += 1
    assert alike >= len(seeds) // 2
