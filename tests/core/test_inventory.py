"""Reading CSV and OpenSSH client configuration."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.inventory import Inventory, parse_csv, parse_ssh_config, sniff


def problems(found: Inventory) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in found.problems]


def test_csv_takes_every_column() -> None:
    (draft,) = parse_csv(
        "Name,host,port,username,auth_method,password,private_key,passphrase,key_file,tags,description\n"
        'a,h,2222,u,private_key,,"-----BEGIN\nx\n-----END",pp,,"web, prod;eu","says ""hi"""\n'
    ).drafts
    assert (draft.name, draft.host, draft.port, draft.username) == ("a", "h", 2222, "u")
    assert draft.private_key == "-----BEGIN\nx\n-----END"
    assert (draft.passphrase, draft.tags, draft.description) == ("pp", ("web", "prod", "eu"), 'says "hi"')
    assert "BEGIN" not in repr(draft) and "pp" not in repr(draft)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_any_spreadsheet(delimiter: str) -> None:
    text = "\ufeffname,host,tags\r\n\r\na,h,x\r\nb,,\r\n".replace(",", delimiter)
    drafts = parse_csv(text).drafts
    assert [(draft.name, draft.host, draft.line, draft.tags) for draft in drafts] == [
        ("a", "h", 3, ("x",)),
        ("b", "b", 4, ()),
    ]


def test_a_bad_row_costs_only_itself() -> None:
    found = parse_csv(
        'name,host,port\na,h,22\nb,"open,22\nc,h,0\nd,h,22,extra\n,h,22\na,other,22\ne,h\nf,"h",22\n'
    )
    assert [draft.name for draft in found.drafts] == ["a", "e", "f"]
    assert [line for line, _ in problems(found)] == [3, 4, 5, 6, 7]
    assert problems(found)[-1] == (7, "a is already on line 2")


def test_csv_without_names_is_refused_and_unknown_columns_are_noted() -> None:
    assert problems(parse_csv("a,b\n1,2\n"))[0][0] == 1
    found = parse_csv("name,colour\na,red\n")
    assert [note.message for note in found.notes] == ["column 'colour' is not known and not used"]
    assert len(found.drafts) == 1
    assert parse_csv("") == Inventory()


def test_a_password_and_a_key_need_a_choice() -> None:
    rows = "a,p,k,\nb,p,k,password\nc,p,,magic\nd,p,k,key_and_password\n"
    found = parse_csv("name,password,key_file,auth_method\n" + rows)
    assert [draft.name for draft in found.drafts] == ["b", "d"]
    assert [line for line, _ in problems(found)] == [2, 4]


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
    web1, web2, gate = found.drafts
    assert (web1.name, web1.host, web1.port, web1.username) == ("web1", "web1.example.com", 2222, "deploy")
    assert web1.key_files == ("~/my keys/deploy@web1.example.com", "~/.ssh/id")
    assert (web2.port, web2.username, web2.line) == (2222, "root", 2)
    assert web1.jumps == ("gate", "%h-inner") and gate.name == "gate"
    assert problems(found) == []


def test_a_jump_host_named_for_all_does_not_jump_over_itself() -> None:
    found = parse_ssh_config("Host *\n  ProxyJump gate\nHost gate\nHost a\n")
    assert {draft.name: draft.jumps for draft in found.drafts} == {"gate": (), "a": ("gate",)}


def test_ssh_config_notes_what_it_leaves_out() -> None:
    found = parse_ssh_config(
        "Match host x\n  Port 1\nHost a\n  ProxyCommand nc %h %p\nHost b\n  Port x\nwhat\n"
    )
    assert [draft.name for draft in found.drafts] == ["a"]
    assert found.drafts[0].port == 22
    assert [note.line for note in found.notes] == [1, 3]
    assert sorted(line for line, _ in problems(found)) == [5, 7]


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


def test_ssh_config_that_includes_itself_ends() -> None:
    text = "Host a\nInclude x\n"
    found = parse_ssh_config(text, lambda pattern: [("x", text)])
    assert [draft.name for draft in found.drafts] == ["a"]
    assert "nested too deeply" in found.problems[0].message


@pytest.mark.parametrize(
    ("text", "name", "format"),
    [
        ("anything", "hosts.csv", "csv"),
        ("# x\nname;host\n", "-", "csv"),
        ("Host a\n  Port 1", "config", "ssh-config"),
        ("[web]\nweb1 ansible_user=x", "hosts", "ansible"),
        ("web1\nweb2", "inventory.ini", "ansible"),
        ("", "x", "ansible"),
    ],
)
def test_sniff(text: str, name: str, format: str) -> None:
    assert sniff(text, name) == format


LINES = st.lists(
    st.text(max_size=30)
    | st.sampled_from(
        [
            "name,host",
            "Host a b",
            "Host *",
            "Match all",
            "Include x",
            '"',
            'a,"b',
            "Port 1",
            "ProxyJump a,b",
            "a,b,c",
        ]
    ),
    max_size=12,
)


@given(LINES)
def test_nothing_breaks_the_readers_and_names_stay_unique(lines: list[str]) -> None:
    for parse in (parse_csv, parse_ssh_config):
        found = parse("\n".join(lines))
        names = [draft.name for draft in found.drafts]
        assert len(names) == len(set(names)) and all(names)
        assert all(1 <= draft.port <= 65535 for draft in found.drafts)
        assert all(item.line >= 1 for item in [*found.drafts, *found.problems, *found.notes])


def test_ten_thousand_hosts_are_read_at_once() -> None:
    """Each held against the options of all others, they took minutes. In processor time: other tests run beside it."""
    number = 10_000
    blocks = (
        f"Host h{each} alias-{each}\n HostName 192.0.2.1\n Port {each % 9 + 1}\n" for each in range(number)
    )
    begun = time.process_time()
    found = parse_ssh_config("".join(blocks) + "Host *\n User everyone\n", lambda _pattern: ())
    assert time.process_time() - begun < 15
    assert len(found.drafts) == 2 * number
    assert {draft.username for draft in found.drafts} == {"everyone"}
    assert [draft.port for draft in found.drafts if draft.name in ("h8", "alias-8")] == [9, 9]
