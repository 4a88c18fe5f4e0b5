"""Reading ~/.ssh/config: held against `ssh -G`, and what is done with what ssh alone can know."""

import ipaddress
import random
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from testum.core.hops import split_hop
from testum.core.inventory import Inventory
from testum.core.ssh_conditions import Asked
from testum.core.ssh_config import SshConfig
from testum.core.ssh_hosts import parse_ssh_config
from testum.core.ssh_patterns import Patterns


def problems(found: Inventory) -> list[tuple[int, str]]:
    return [(problem.line, problem.name) for problem in found.problems]


def test_ssh_config_takes_the_first_value() -> None:
    found = parse_ssh_config(
        "# comment\n"
        "Host web1 web2 !web3\n"
        "  HostName %h.example.com  # the real one\n"
        "  port=2222\n"
        '  IdentityFile "~/my keys/%r@%h"\n'
        "Host web2\n"
        "  Port 9\n"
        "Host web* !web2\n"
        "  User deploy\n"
        "Match all\n"
        "  IdentityFile ~/.ssh/id\n"
        "Host *\n"
        "  User root\n"
        "  ProxyJump gate,%h-inner\n"
        "Host gate\n"
        "  ProxyJump none\n"
    )
    web1, web2, gate, *inner = found.drafts
    assert (web1.name, web1.host, web1.port, web1.username) == ("web1", "web1.example.com", 2222, "deploy")
    assert web1.key_files == ("~/my keys/deploy@web1.example.com", "~/.ssh/id")
    assert (web2.port, web2.username, web2.line) == (2222, "root", 2)
    assert web1.jumps == ("gate", "web1.example.com-inner") and gate.name == "gate"
    # What has no block of its own is a host as ssh would use it, behind the hop before it.
    assert [(hop.name, hop.username, hop.jumps) for hop in inner][:2] == [
        ("web1.example.com-inner", "deploy", ("gate",)),
        ("web2.example.com-inner", "deploy", ("gate",)),
    ]
    assert problems(found) == []


def test_a_jump_host_named_for_all_does_not_jump_over_itself() -> None:
    found = parse_ssh_config("Host *\n  ProxyJump gate\nHost gate\nHost a\n")
    assert {draft.name: draft.jumps for draft in found.drafts} == {"gate": (), "a": ("gate",)}


def test_ssh_config_notes_what_it_leaves_out() -> None:
    found = parse_ssh_config(
        "Match exec true\n  Port 1\nHost a\n  ProxyCommand connect -H x %h %p\nHost b\n  Port x\nHost\nHost c\n"
    )
    assert [(draft.name, draft.port) for draft in found.drafts] == [("c", 22)]
    assert [(note.line, note.message) for note in found.notes] == [
        (1, "Match is not used: it depends on the moment. It may be about a, b, c")
    ]
    assert [(item.line, item.name) for item in found.problems] == [(7, ""), (3, "a"), (5, "b")]
    assert "its ProxyCommand is not understood: connect -H" in found.problems[1].message


def test_ssh_config_includes_apply_where_they_stand() -> None:
    files = {"one": "Host inner\n  User i\n", "two": "User everyone\n"}

    def include(pattern: str) -> list[tuple[str, str]]:
        return [(pattern, files[pattern])] if pattern in files else []

    found = parse_ssh_config("Include one missing\nHost a\n  Include two\nHost b\n", include)
    assert {draft.name: draft.username for draft in found.drafts} == {"inner": "i", "a": "everyone", "b": ""}


def test_ssh_config_that_cannot_be_followed_says_so() -> None:
    found = parse_ssh_config("Include conf.d/* ~/more\nHost a\n")
    assert [(note.line, note.message) for note in found.notes] == [
        (1, "Include conf.d/* is not read here: add what is in those files"),
        (1, "Include ~/more is not read here: add what is in those files"),
    ]
    assert [draft.name for draft in found.drafts] == ["a"]


def test_an_include_without_a_path_is_a_problem() -> None:
    found = parse_ssh_config('Include ""\nHost a\n', lambda path: [(path[:1], "Host b")])
    assert [draft.name for draft in found.drafts] == ["a"] and len(found.problems) == 1


def test_ssh_config_that_includes_itself_ends() -> None:
    text = "Host a\nInclude x\n"
    found = parse_ssh_config(text, lambda pattern: [("x", text)])
    assert [draft.name for draft in found.drafts] == ["a"]
    assert "nested too deeply" in found.problems[0].message


def test_ten_thousand_hosts_are_read_at_once() -> None:
    """Each held against the options of all others, they took minutes. In processor time: other tests run beside it."""
    number = 10_000
    blocks = (
        f"Host h{each} alias-{each}\n HostName 192.0.2.1\n Port {each % 9 + 1}\n" for each in range(number)
    )
    begun = time.process_time()
    found = parse_ssh_config("".join(blocks) + "Host *\n User everyone\n", lambda _pattern: ())
    assert time.process_time() - begun < 3
    assert len(found.drafts) == 2 * number
    assert {draft.username for draft in found.drafts} == {"everyone"}
    assert [draft.port for draft in found.drafts if draft.name in ("h8", "alias-8")] == [9, 9]


# -- beside ssh itself -----------------------------------------------------------------------------------------

NAMES = ["web", "web1", "WEB", "db", "gate", "a.example", "b-1", "10.0.0.1"]
PATTERNS = ["*", "web*", "?eb", "!web1", "*.example", "w*b*", "[w]eb", "db,web"]
LISTS = ["web*", "192.0.2.*", "*", "!web,*", "WEB", "deploy", "root", "a.example,db", "10.0.0.?", "*.EXAMPLE"]
VALUES = {
    "HostName": ["192.0.2.1", "%h.example", "WEB.example", "h%%x", '"a b"', "2001:DB8::1"],
    "Port": ["22", "2222", "0022", "'2200'"],
    "User": ["deploy", r"CORP\\deploy", r"o\'b", "'ro ot'", r"ro\ ot", 'a"b c"d', "root # not me"],
    "IdentityFile": ["/k/a", '"/k/b c"', "none", "/k/%h", "/k/a", "/k/'b c'/id", "/k#1 # a comment"],
    "ProxyJump": ["gate", "op@gate:22", "none", "x,gate", "gate # c", "gate#c"],
    "CanonicalizeHostname": ["yes", "no", "always"],
    "ProxyCommand": ["ssh -W %h:%p gate", "none", "nc %h %p # no comment"],
}


def configuration(chance: random.Random, folder: Path, depth: int = 0) -> str:
    """A configuration as people write them, and as they do not; it may include files of the folder."""
    lines = []

    def directive(keyword: str, value: str) -> str:
        keyword = chance.choice([keyword, keyword.lower(), keyword.upper(), f'"{keyword}"'])
        # After a keyword in quotes OpenSSH takes no `=`.
        between = chance.choice([" ", " ", "  ", "\t"] + ["=", " = ", "= "] * (keyword[0] != '"'))
        return (
            chance.choice(["", "  ", "\t"])
            + keyword
            + between
            + value
            + chance.choice(["", "", " ", "\t \f"])
        )

    for _ in range(chance.randrange(2, 9)):
        kind = chance.random()
        if kind < 0.5:
            patterns = chance.sample(NAMES, chance.randrange(1, 3)) + chance.sample(
                PATTERNS, chance.randrange(2)
            )
            quoted = (chance.choice(["{}", "{}", '"{}"', "'{}'"]).format(pattern) for pattern in patterns)
            lines.append(directive("Host", " ".join(quoted) + chance.choice(["", "", " # c"])))
        elif kind < 0.75:
            criteria = []
            for _ in range(chance.randrange(1, 3)):
                name = chance.choice(["host", "originalhost", "user", "final", "canonical", "localuser"])
                argument = (
                    "" if name in ("final", "canonical") else chance.choice([" ", "="]) + chance.choice(LISTS)
                )
                criteria.append(chance.choice(["", "", "!"]) + name + argument)
            lines.append(directive("Match", " ".join(criteria) if chance.random() < 0.9 else "all"))
        for _ in range(chance.randrange(4)):
            keyword = chance.choice(list(VALUES))
            lines.append(directive(keyword, chance.choice(VALUES[keyword])))
        if depth < 2 and chance.random() < 0.3:
            included = folder / f"included-{depth}-{chance.randrange(3)}"
            if not included.exists():
                included.touch(mode=0o600)
                included.write_text(configuration(chance, folder, depth + 1))
            lines.append(directive("Include", f'"{included}" {folder}/missing'))
    return "\n".join(lines) + "\n"


def of_ssh(config: Path, name: str) -> dict[str, list[str]] | None:
    """What ssh would use for a name; None where it refuses the configuration."""
    done = subprocess.run(
        ["ssh", "-G", "-F", str(config), name],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        return None
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def of_testum(text: str, name: str) -> dict[str, Any]:
    def include(path: str) -> Sequence[tuple[str, str]]:
        return [(path, Path(path).read_text())] if Path(path).exists() else []

    config = SshConfig(include, Inventory())
    config.read(text)
    asked = Asked(name, name, local_user="root")
    assert config.ask(asked) == [], "nothing is left to know"
    host = asked.hostname()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        host = host.lower()
    return {
        "hostname": host,
        "port": str(int(asked.values.get("port", "22"))),
        "user": asked.values.get("user", "root"),
        "identityfile": asked.key_files,
        "proxyjump": asked.values.get("proxyjump", "none"),
        "proxycommand": asked.values.get("proxycommand", "none"),
    }


def test_each_name_gets_what_ssh_gives_it(tmp_path: Path) -> None:
    """60 configurations and more, five names in each."""
    compared = 0
    for seed in range(80):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        text = configuration(chance, folder)
        config = folder / "config"
        config.touch(mode=0o600)
        config.write_text(text)
        for name in [*chance.sample(NAMES, 3), "other"]:
            theirs = of_ssh(config, name)
            if theirs is None:
                continue
            ours = of_testum(text, name)
            # Without any, ssh names the files that it would try.
            ours["identityfile"] = ours["identityfile"] or theirs["identityfile"]
            wanted = {key: theirs.get(key, ["none"])[0] for key in ours} | {
                "identityfile": theirs["identityfile"]
            }
            assert ours == wanted, f"seed {seed}, {name}:\n{text}"
            compared += 1
    assert compared > 240


@pytest.mark.parametrize(
    ("match", "port"),
    [
        ("final all", 2222),
        ("canonical all", 22),
        ("!canonical all", 2222),
        ("user root all", 22),
        ("all", 2222),
    ],
)
def test_all_stands_alone_or_behind_one_other(match: str, port: int) -> None:
    found = parse_ssh_config(f"Host web\n User deploy\nMatch {match}\n Port 2222\n")
    assert [draft.port for draft in found.drafts] == [port] and found.problems == []
    assert parse_ssh_config(f"Match final user root {match}\n Port 1\n").problems


def test_what_is_completed_by_the_network_is_told() -> None:
    """With CanonicalizeHostname ssh goes over the file again with the host's name; which name that is, DNS may say."""
    text = "Host a b.c.d 10.0.0.1\nHost *\n  CanonicalizeHostname yes\nHost x\n  HostName a.y\nMatch canonical\n  User u\n"
    found = parse_ssh_config(text)
    assert [draft.username for draft in found.drafts] == ["u"] * 4 and found.notes == []
    found = parse_ssh_config(f"{text}Host *\n  CanonicalDomains example.com example.net\n")
    assert [(note.line, note.message) for note in found.notes] == [
        (9, "CanonicalDomains is not used: it depends on the network. It may be about a, x")
    ]


def test_a_pattern_or_name_that_ssh_would_not_take_is_told() -> None:
    """Longer than a name may be: it is neither compiled nor compared, and only its own block is left out."""
    found = parse_ssh_config(f"Host {'*a' * 501}\n Port 1\nHost {'a' * 1001}\nHost b\n")
    assert [(draft.name, draft.port) for draft in found.drafts] == [("b", 22)]
    assert [problem.line for problem in found.problems] == [1, 3]


@pytest.mark.parametrize("many", [5, 40])
def test_few_and_many_patterns_fit_alike(many: int) -> None:
    """Of many only those are compared of which a name holds a part."""
    fill = " ".join(f"x{number}?*" for number in range(many))
    found = parse_ssh_config(
        f"Host {fill} *b?d* a* *z !*y* ab[c]?\n Port 1\nHost bcd abc b z yz az ay x12 cab ab[c]d\n"
    )
    assert {draft.name for draft in found.drafts if draft.port == 1} == {
        "bcd", "abc", "z", "az", "x12", "ab[c]d",
    }  # fmt: skip


def test_patterns_fit_what_regular_expressions_would() -> None:
    chance = random.Random(7)
    fitting = 0
    for signs in ("ab*?", "ab*", "a*", "ab[*?]", "\u00e4\u00e9*?", "abc**?"):
        for _ in range(2_000):
            pattern = "".join(chance.choices(signs, k=chance.randint(0, 9)))
            name = "".join(chance.choices(signs.replace("*", "").replace("?", ""), k=chance.randint(0, 10)))
            expression = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
            fits = re.fullmatch(expression, name) is not None
            fitting += fits
            assert Patterns([pattern]).fit(name, lambda _: None) is fits, (pattern, name)
    assert fitting > 1_000


LARGE = {
    "blocks that end alike": (3_000, 60, lambda n: f"Host srv*-{n:02}\n"),
    "users": (3_000, 30, lambda n: f"Match user u{n}\n"),
    "users of few hosts": (1_000, 60, lambda n: f"Match user u{n}\n"),
    "in the last pass": (3_000, 20, lambda n: f"Match final host 10.{n}.*\n"),
    "where HostName leads": (3_000, 25, lambda n: f"Match host *.dc{n}.example.com,10.{n}.*\n"),
    "all but one": (3_000, 60, lambda n: f"Host s* !srv{n:05}*\n"),
}
"""Files as large sites have them: hosts, blocks, and how each block begins."""


@pytest.mark.parametrize("name", LARGE)
def test_large_files_of_real_life_are_read(name: str) -> None:
    """What is bounded against hostile lists leaves room for them."""
    hosts, blocks, begin = LARGE[name]
    found = parse_ssh_config(
        "".join(
            f"Host srv{n:05}-{n % 60:02}\n HostName 10.{n % 20}.{n // 20}.1\n User u{n % 30}\n"
            for n in range(hosts)
        )
        + "".join(f"{begin(n)} IdentityFile k{n}\n Port {n + 1}\n" for n in range(blocks))
    )
    assert len(found.drafts) == hosts and found.problems == []
    assert any(draft.key_files for draft in found.drafts)


def test_what_is_set_before_is_no_matter_of_an_open_condition() -> None:
    found = parse_ssh_config("Host a\n User u\nHost b\nMatch exec true\n User v\n")
    assert [note.message.rpartition("about ")[2] for note in found.notes] == ["b"]


def test_the_first_twenty_key_files_count() -> None:
    (draft,) = parse_ssh_config("Host a\n" + "".join(f" IdentityFile k{n}\n" for n in range(30))).drafts
    assert draft.key_files == tuple(f"k{n}" for n in range(20))


def test_what_includes_itself_has_an_end() -> None:
    """Hostile lists of one file are in test_hostile_lists.py."""
    begun = time.process_time()
    including = "Host a\n" + "\n" * 1000 + "Include x\n" * 20
    found = parse_ssh_config(including, lambda _: [("x", including)])
    assert any("lines" in item.message for item in found.problems)
    assert time.process_time() - begun < 3


# -- jump hosts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "jumps"),
    [
        ("ProxyJump op@bastion.example:2200", ("op@bastion.example:2200",)),
        ("ProxyJump ssh://op@bastion.example:2200", ("op@bastion.example:2200",)),
        ("ProxyJump gate-%n", ("gate-a",)),
        ("ProxyJump one, [2001:db8::1]:22,two # a way", ("one", "[2001:db8::1]:22", "two")),
        ("ProxyCommand ssh -W %h:%p gate", ("gate",)),
        ("ProxyCommand exec /usr/bin/ssh -q -l op -p2200 -W [%h]:%p gate", ("op@gate:2200",)),
        ("ProxyCommand ssh op@gate nc -w 5 %h %p", ("op@gate",)),
        ("ProxyJump none", ()),
        ("ProxyCommand none\n ProxyJump gate", ()),
        ("ProxyCommand ssh -W other:22 gate", None),
        ("ProxyCommand ssh -F other -W %h:%p gate", None),
        ("ProxyCommand ssh -W %h:%p gate; true", None),
        ("ProxyCommand ssh -W %h:%p 'gate", None),
        ("ProxyJump a b", None),
        ("ProxyJump gate:0", None),
        ("ProxyJump " + "a," * 600 + "b", None),
        ("ProxyJump gate#" + "a" * 1000, None),
        ("ProxyCommand ssh -W %h:%p gate" + " " * 1000 + "-v", None),
        ("ProxyCommand ssh " + "-v " * 400 + "-W %h:%p gate", None),
        ("ProxyJump gate:65536", None),
        ("ProxyJump ::1", None),
        ("User bob\n ProxyCommand ssh -W %h:%p %r@gate", ("bob@gate",)),
        ("ProxyCommand ssh -W %h:%p gate-%n", ("gate-a",)),
        ("ProxyCommand ssh -l op -W %h:%p other@gate", ("op@gate",)),
        ("ProxyCommand ssh -W %h:%p other@gate -l op", ("other@gate",)),
        ("ProxyCommand ssh -p 2200 -p 22 -W %h:%p gate", ("gate:2200",)),
        ("ProxyCommand ssh -W %h:%p gate:2200", None),
        ("ProxyCommand ssh -p 22 -W %h:%p me@2001:db8::1", ("me@[2001:db8::1]:22",)),
    ],
)
def test_the_way_is_the_one_that_is_written_or_none(said: str, jumps: tuple[str, ...] | None) -> None:
    """Never directly, and never as another user or to another port."""
    found = parse_ssh_config(f"Host a\n {said}\n")
    written = {draft.name: draft.hop for draft in found.drafts}
    ways = [draft.jumps for draft in found.drafts if not draft.hop]
    assert [tuple(map(written.get, way)) for way in ways] == ([] if jumps is None else [jumps])
    for draft in found.drafts:
        if draft.hop:
            user, host, port = split_hop(draft.hop)
            assert (draft.username, draft.host, draft.port) == (user, host, port or 22)
    assert len(found.problems) == (jumps is None)


HOSTILE_WAYS = {
    "each twice as long": "Host a\nHost *\n ProxyJump %h%h\n",
    "each a little longer": "Host a\nHost *\n ProxyJump x%h\n",
    "two of each": "Host a\nHost *\n ProxyJump x%h,y%h\n",
    "a long way": "Host a\n ProxyJump " + ",".join(f"h{number}" for number in range(20_000)) + "\n",
    "a long port": "Host a\n ProxyJump x:" + "9" * 5000 + "\n",
}


@pytest.mark.parametrize("way", HOSTILE_WAYS)
def test_a_way_has_an_end(way: str) -> None:
    begun = time.process_time()
    found = parse_ssh_config(HOSTILE_WAYS[way])
    assert time.process_time() - begun < 3
    assert len(found.drafts) <= 20_000 and max((len(draft.host) for draft in found.drafts), default=0) <= 256


def test_a_hop_that_cannot_be_read_costs_only_those_behind_it() -> None:
    found = parse_ssh_config(
        "Host web\n ProxyJump bast.corp\nHost db\n ProxyJump gate2\n"
        "Host *.corp\n ProxyCommand cloudflared access ssh --hostname %h\n"
    )
    assert {draft.name: bool(draft.problem) for draft in found.drafts} == {
        "web": False, "db": False, "bast.corp": True, "gate2": False,
    }  # fmt: skip


def test_what_cannot_be_read_leaves_nothing_to_the_block_before() -> None:
    found = parse_ssh_config(
        "Host a\n Port 1\nHost 'b\n Port 2\n User no\nMatch nonsense x\n User no\nHost c\n"
    )
    assert [(draft.name, draft.port, draft.username) for draft in found.drafts] == [
        ("a", 1, ""),
        ("c", 22, ""),
    ]
    assert [problem.line for problem in found.problems] == [3, 6]


@pytest.mark.parametrize(
    ("text", "hop", "login"),
    [
        # By its address ssh uses none of what `Host web` says.
        (
            "Host web\n HostName 10.0.0.5\n User admin\nHost db\n ProxyJump 10.0.0.5\nHost 10.*\n User ops\n Port 2222\n",
            "10.0.0.5",
            ("ops", 2222),
        ),
        ("Host gate\n User x\nHost db\n ProxyJump GATE\n", "GATE", ("", 22)),
        ("Host gate\n HostName 10.0.0.5\n User x\nHost db\n ProxyJump 10.0.0.5\n", "10.0.0.5", ("", 22)),
        # Where it is the same login, it is the same platform.
        ("Host gate\n HostName 10.0.0.5\n User x\nHost db\n ProxyJump x@10.0.0.5\n", "gate", ("x", 22)),
        ("Host gate\n HostName 10.0.0.5\nHost db\n ProxyJump 10.0.0.5\n", "gate", ("", 22)),
    ],
)
def test_a_hop_is_who_ssh_would_log_in_as(text: str, hop: str, login: tuple[str, int]) -> None:
    drafts = {draft.name: draft for draft in parse_ssh_config(text).drafts}
    assert drafts["db"].jumps == (hop,)
    assert (drafts[hop].username, drafts[hop].port) == login
