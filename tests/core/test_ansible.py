"""Reading Ansible inventories in INI form."""

import shlex
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.hostile_lists import chain, diamonds
from testum.core.ansible_ini import parse_ansible
from testum.core.ansible_yaml import parse_yaml
from testum.core.inventory import MAX_HOSTS
from testum.core.lists import read_list, sniff
from testum.core.shell_words import shell_words

INVENTORY = """\
; comment
alone ansible_host=10.0.0.1 ansible_port=2222 ansible_password='a b' # why

[web]
web[01:03].eu:2200 ansible_user=deploy
alias ansible_ssh_host=10.0.0.9

[db]
db-[a:b]

[prod:children]
web
db

[all:vars]
ansible_user=everyone
ansible_ssh_private_key_file=~/.ssh/all

[prod:vars]
ansible_user = "prod"

[db:vars]
ansible_ssh_common_args='-o ProxyJump=me@gate:22,second'
"""


def test_groups_ranges_and_variables() -> None:
    found = parse_ansible(INVENTORY)
    assert found.problems == []
    drafts = {draft.name: draft for draft in found.drafts}
    assert list(drafts) == [
        "alone",
        "web01.eu",
        "web02.eu",
        "web03.eu",
        "alias",
        "db-a",
        "db-b",
        "gate",
        "second",
    ]
    alone, web, alias, db = (drafts[name] for name in ("alone", "web02.eu", "alias", "db-a"))
    assert (alone.host, alone.port, alone.username, alone.tags) == ("10.0.0.1", 2222, "everyone", ())
    assert (web.host, web.port, web.username, web.tags) == ("web02.eu", 2200, "deploy", ("prod", "web"))
    assert web.key_files == ("~/.ssh/all",)
    assert (alias.host, alias.username) == ("10.0.0.9", "prod")
    assert db.jumps == ("gate", "second") and db.tags == ("db", "prod")
    gate, second = drafts["gate"], drafts["second"]
    assert (gate.hop, gate.username, gate.port, second.hop, second.jumps) == (
        "me@gate:22", "me", 22, "second", ("gate",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        ("-J gate", ["gate"]),
        ("-Jme@gate:2200,second", ["me@gate:2200", "second"]),
        ("-C -qJ gate -p 22", ["gate"]),
        ("-o ProxyJump=gate", ["gate"]),
        ("-oProxyJump=gate -J other", ["gate"]),
        ("-o 'ProxyJump gate'", ["gate"]),
        ("-o proxycommand='ssh -W %h:%p -q me@gate'", ["me@gate"]),
        ("-o LogLevel=ERROR-Jx -i ~/x-Jy -E /tmp/-J", []),
        ("-o ProxyJump=none -J gate", []),
        ("-o ProxyCommand='nc -X 5 -x proxy %h %p'", None),
        ("-o ProxyCommand='ssh -W %h:%p", None),
        ("-F ~/other -J gate", None),
        ("-J ssh://me;x=1@gate:2200", ["me@gate:2200"]),
        ("-J ssh://a%20b@gate", None),
        ("-J {{gate}}", None),
    ],
)
def test_the_way_in_arguments_for_ssh(arguments: str, way: list[str] | None) -> None:
    """Never directly, where another way is written."""
    quoted = arguments
    found = parse_ansible(f"[all]\nh\n[all:vars]\nansible_ssh_common_args={quoted}\n")
    hops = {draft.name: draft.hop for draft in found.drafts}
    assert [[hops[hop] for hop in draft.jumps] for draft in found.drafts if not draft.hop] == (
        [] if way is None else [way]
    )
    assert len(found.problems) == (way is None)


@pytest.mark.parametrize("name", ["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"])
def test_the_way_is_taken_from_all_arguments_for_ssh(name: str) -> None:
    (host, gate) = parse_ansible(f"h {name}='-C -J gate'\n").drafts
    assert (host.jumps, gate.name) == (("gate",), "gate")
    for encrypted in (f"[all:vars]\n{name}=$ANSIBLE_VAULT;1.1\n[a]\nh\n", f"h {name}='-J {{{{ gate }}}}'\n"):
        found = parse_ansible(encrypted)
        assert found.drafts == [] and [problem.name for problem in found.problems] == ["h"]
    found = parse_yaml(f"all:\n  hosts:\n    h:\n      {name}: !vault |\n        $ANSIBLE_VAULT\n")
    assert found.drafts == [] and [problem.name for problem in found.problems] == ["h"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        # As `ansible -vvvv` connects: behind the variables' own in all but ansible_ssh_args, and the first one counts.
        ("ansible_ssh_common_args='-p 2222'", None),
        ("ansible_ssh_common_args='-o Port=2222 -o User=ops' ansible_port=22 ansible_user=me", ("me", 22)),
        ("ansible_ssh_extra_args='-l ops'", None),
        ("ansible_ssh_args='-p 2222' ansible_port=22", None),
        ("ansible_ssh_args='-p 2222 -l me' ansible_port=2222 ansible_user=me", ("me", 2222)),
        ("ansible_ssh_args='-o HostName=10.0.0.9'", None),
        ("ansible_ssh_args='-C -o ControlMaster=auto'", ("", 22)),
    ],
)
def test_arguments_for_ssh_that_lead_elsewhere(variables: str, said: tuple[str, int] | None) -> None:
    """Never another user, port or host than ssh would be given."""
    found = parse_ansible(f"h {variables}\n")
    assert [(draft.username, draft.port) for draft in found.drafts] == ([] if said is None else [said])
    assert len(found.problems) == (said is None)


def test_of_two_names_of_a_variable_the_older_one_wins() -> None:
    """Whoever says it, as for Ansible, which takes the last of the names that it knows."""
    (host,) = parse_ansible(
        "[g]\nh ansible_ssh_user=own ansible_ssh_port=2201 ansible_ssh_host=127.0.0.11 ansible_ssh_pass=a\n"
        "[g:vars]\nansible_user=group\nansible_port=2202\nansible_host=127.0.0.12\nansible_password=b\n"
    ).drafts
    assert (host.username, host.port, host.host, host.password) == ("own", 2201, "127.0.0.11", "a")


@pytest.mark.parametrize("pattern", ["web[1:3]x[", "web[1:3]]", "[web[1:3]"])
def test_a_bracket_beside_a_range_is_no_host(pattern: str) -> None:
    found = parse_ansible(f"[a]\n{pattern}\n")
    assert found.drafts == [] and len(found.problems) == 1


def test_a_group_in_yaml_may_name_another_as_a_word() -> None:
    found = parse_yaml("g:\n  hosts: h1\n  children: k\n")
    assert [draft.name for draft in found.drafts] == ["h1"] and found.problems == []


# Each was shown by `ansible-inventory --list` of ansible-core 2.19.
ALIKE = {
    "n[:3]": ["n0", "n1", "n2", "n3"],
    "n[01:10:4]": ["n01", "n05", "n09"],
    "n[8:11]": ["n8", "n9", "n10", "n11"],
    "n[a:e:2]": ["na", "nc", "ne"],
    "n[y:B]": ["ny", "nz", "nA", "nB"],
    "n[1:2]-[a:b]": ["n1-a", "n1-b", "n2-a", "n2-b"],
}


@pytest.mark.parametrize("pattern", ALIKE)
def test_ranges(pattern: str) -> None:
    assert [draft.name for draft in parse_ansible(f"[web]\n{pattern}\n").drafts] == ALIKE[pattern]


@pytest.mark.parametrize("pattern", ["n[1:]", "n[01:5]", "n[5:1]", "n[b:a]", "n[1:x]", "n[1:2:0]"])
def test_what_is_no_range(pattern: str) -> None:
    found = parse_ansible(f"[web]\n{pattern}\nother\n")
    assert [draft.name for draft in found.drafts] == ["other"] and len(found.problems) == 1


def test_values_and_comments() -> None:
    found = parse_ansible(
        "[web]\nw1 ansible_user='a b' host=x  # who\nw2 ansible_connection=ansible.builtin.ssh\nw3 a = b\n"
        '[web:vars]\nhost=x\nansible_user="deploy" # who\nansible_port=2222 # ssh\nansible_password=p # w\n'
    )
    assert [(draft.name, draft.username, draft.port, draft.password) for draft in found.drafts] == [
        ("w1", "a b", 2222, "p # w"), ("w2", "deploy", 2222, "p # w"),
    ]  # fmt: skip
    assert [problem.line for problem in found.problems] == [4]


def test_a_port_behind_a_name_counts_the_first_time() -> None:
    found = parse_ansible("[a]\nh:2201\ng\n[b]\ng:2202\nh:2203 ansible_user=u\n[c]\nh ansible_port=2204\n")
    assert [(draft.name, draft.port) for draft in found.drafts] == [("h", 2204), ("g", 22)]


@given(st.text(alphabet="ab'\"\\# \t\r\n=", max_size=12))
def test_words_are_those_of_a_shell(line: str) -> None:
    def attempt(read: Callable[[str], list[str]]) -> list[str] | None:
        try:
            return read(line)
        except ValueError:
            return None

    assert attempt(shell_words) == attempt(partial(shlex.split, comments=True))


@pytest.mark.parametrize(
    ("kind", "beginning", "line"),
    [("ansible", "", "h a='\n"), ("ansible", "a:\n hosts:\n", "  1:\n"), ("ssh-config", "", "Host\n")],
)
def test_lines_that_cannot_be_read_have_an_end(kind: str, beginning: str, line: str) -> None:
    lines = (line.replace("1", str(number)) for number in range(MAX_HOSTS + 10))
    found = read_list(beginning + "".join(lines), kind)
    assert len(found.problems) == MAX_HOSTS + 2
    assert found.problems[-1].message == "and so on: nothing more is read"


def test_groups_have_priorities() -> None:
    said = "[{0}]\nh\n[{0}:vars]\nansible_user={0}\n"
    text = said.format("a") + "ansible_group_priority=5\n" + said.format("b")
    assert parse_ansible(text).drafts[0].username == "a"
    assert parse_ansible(text.replace("=5", "=1")).drafts[0].username == "b"


def test_a_variable_called_host_makes_no_ssh_configuration() -> None:
    assert sniff("# of ours\n[web]\nw1\n[web:vars]\nhost = x\n") == "ansible"


def test_nearer_groups_win_whatever_the_order() -> None:
    found = parse_ansible(
        "[near:vars]\nansible_user=n\n[far:vars]\nansible_user=f\n[far:children]\nnear\n[near]\nh\n"
    )
    assert found.drafts[0].username == "n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('h "open', "a quote is not closed"),
        ("h[9:1]", "runs backwards"),
        ("h[1:99999]", "more than"),
        ("h[1:200][1:200]", "more than"),
        ("h ansible_port=x", "port"),
        ("h ansible_user={{x}}", "template"),
        ("all:", "not a host"),
        ("- hosts: x", "not a host"),
        ("[g:vars]\nnothing", "name=value"),
    ],
)
def test_a_bad_line_costs_only_itself(line: str, message: str) -> None:
    found = parse_ansible(f"before\n{line}\n[other]\nafter\n")
    assert [draft.name for draft in found.drafts] == ["before", "after"]
    assert message in found.problems[0].message and found.problems[0].line in (2, 3)


def test_groups_in_a_circle_are_a_problem_and_not_a_loop() -> None:
    found = parse_ansible("[a:children]\nb\n[b:children]\na\n[a]\nh\n")
    assert len(found.problems) == 1 and len(found.drafts) == 1


def test_what_is_not_ssh_is_left_out() -> None:
    found = parse_ansible("localhost ansible_connection=local\n")
    assert found.drafts == [] and "not SSH" in found.notes[0].message


def test_ipv6_and_steps() -> None:
    found = parse_ansible("2001:db8:0:0:0:0:0:1\n2001:db8::2:7\nn[0:10:5]:99\n[::1]:2222\nm[1:2]\n")
    assert [(draft.name, draft.port) for draft in found.drafts] == [
        ("2001:db8:0:0:0:0:0:1", 22),
        ("2001:db8::2:7", 22),
        *((f"n{number}", 99) for number in (0, 5, 10)),
        ("::1", 2222),
        ("m1", 22),
        ("m2", 22),
    ]


TEXT = st.lists(
    st.text(max_size=25)
    | st.sampled_from(
        ["[a]", "[a:vars]", "[a:children]", "a", "b", "h[1:3]", "k=v", "h x=y", "[b:children]"]
    ),
    max_size=15,
)


@given(TEXT)
def test_nothing_breaks_the_reader(lines: list[str]) -> None:
    names = [draft.name for draft in parse_ansible("\n".join(lines)).drafts]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("line", ["[a b]", "[ g ]", "[g ]", "[1:3]", "[g]; c", "[]", "[g:nodes]"])
def test_what_is_no_section_is_told(line: str) -> None:
    """ansible-inventory refuses them all. What follows is not for the section before: it would be in another group."""
    found = parse_ansible(f"[a]\nh\n{line}\nk ansible_user=u\nansible_user=u\n[b]\nm\n")
    assert [(draft.name, draft.tags) for draft in found.drafts] == [("h", ("a",)), ("m", ("b",))]
    assert [problem.line for problem in found.problems] == [3]


def test_a_group_that_is_not_there_is_told() -> None:
    """Ansible refuses such a list: a typing error there would take away what is said for a group."""
    found = parse_ansible(
        "[web]\nh\n[wbe:vars]\nansible_user=u\n[all:children]\ndb\nwebb # why\n[db:vars]\na=1\n[db]\n"
    )
    assert [(problem.line, problem.message) for problem in found.problems] == [
        (3, "there is no group wbe"),
        (7, "there is no group webb"),
    ]


def test_all_stands_in_no_group() -> None:
    found = parse_ansible("[web]\nh\n[web:children]\nall\n")
    assert [(problem.line, problem.message) for problem in found.problems] == [
        (4, "web and all contain each other")
    ]


def test_a_host_named_as_a_group_says_its_variables_for_the_group() -> None:
    """As with Ansible, from where the group is named."""
    found = parse_ansible("db ansible_port=1\n[web]\nweb:3 ansible_user=u\nk\n[db]\ndb ansible_user=d\n")
    said = [(draft.name, draft.port, draft.username) for draft in found.drafts]
    assert said == [("db", 1, "d"), ("web", 3, "u"), ("k", 22, "u")]


def test_a_priority_is_a_number() -> None:
    found = parse_ansible("[web]\nh\n[web:vars]\nansible_group_priority=high\n")
    assert [(problem.line, problem.message) for problem in found.problems] == [
        (4, "ansible_group_priority: high is not a number")
    ]


@pytest.mark.parametrize(
    ("written", "meant"), [("None", ""), ("...", "..."), ("b'x'", "x"), ("'None'", "None"), ("1e2", "100.0")]
)
def test_a_literal_is_what_ansible_makes_of_it(written: str, meant: str) -> None:
    (draft,) = parse_ansible(f"[g]\nh\n[g:vars]\nansible_user={written}\n").drafts
    assert draft.username == meant


def test_what_is_said_for_all_hosts_has_a_size() -> None:
    """Of few characters a list makes gigabytes: names of a range, and values of a group."""
    found = parse_ansible("[g]\n" + "x" * 301 + "[1:10000]\nh\n")
    assert [draft.name for draft in found.drafts] == ["h"] and "at most 300" in found.problems[0].message
    values = f"ansible_user={'u' * 4000}\n"
    found = parse_ansible(f"[g]\nh[1:9999]\n[g:vars]\n{values}")
    assert "too long for so many" in found.problems[-1].message
    found = parse_ansible(f"[g]\nh\n[g:vars]\nansible_user={'u' * 4001}\n")
    assert found.drafts[0].username == "" and "at most 4000" in found.problems[0].message


def test_as_many_groups_as_a_platform_may_have_tags() -> None:
    (draft,) = parse_ansible(chain(49)).drafts
    assert len(draft.tags) == 50
    assert parse_ansible(chain(50)).drafts == []
    (draft,) = parse_ansible(diamonds(20)).drafts
    assert len(draft.tags) == 41


def test_many_hosts_in_many_groups_are_read() -> None:
    """As many as an import takes, in as many groups as a platform has tags."""
    text = "".join(f"[g{group}]\nh[1:9999]\n" for group in range(40))
    found = parse_ansible(text)
    assert len(found.drafts) == 9_999 and len(found.drafts[0].tags) == 40 and found.problems == []
    found = parse_ansible("[g]\n" + "h[1:9999]\n" * 101)
    assert found.drafts == [] and "too often" in found.problems[0].message
