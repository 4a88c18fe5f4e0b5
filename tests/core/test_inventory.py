"""Reading CSV and OpenSSH client configuration."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testum.core.csv_hosts import parse_csv
from testum.core.inventory import Inventory
from testum.core.lists import decode_list, sniff
from testum.core.ssh_hosts import parse_ssh_config


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


TABLES = {
    "Excel's sep=": "sep=;\r\nname;host;username\r\nweb1;192.0.2.1;u\r\n",
    "sep with another": "SEP=|\nname|host|username\nweb1|192.0.2.1|u\n",
    "sep and a delimiter": "sep=;;\r\nname;host;username\r\nweb1;192.0.2.1;u\r\n",
    "sep as a row of three": "sep=;;;\nname;host;username\nweb1;192.0.2.1;u\n",
    "sep of commas as a row": "sep=,,,\nname,host,username\nweb1,192.0.2.1,u\n",
    "sep in quotes": '"sep=;"\r\nname;host;username\r\nweb1;192.0.2.1;u\r\n',
    "sep in quotes as a row": '"sep=;";;\nname;host;username\nweb1;192.0.2.1;u\n',
    "sep of tabs as a row": "sep=\t\t\nname\thost\tusername\nweb1\t192.0.2.1\tu\n",
    "delimiters behind it": "name;host;username;;\nweb1;192.0.2.1;u;\n",
    "more behind a row": "name;host;username\nweb1;192.0.2.1;u;;;\n",
    "a port of a spreadsheet": "name,host,username,port\nweb1,192.0.2.1,u,22.0\n",
    "other names": "Hostname,IP,User\nweb1,192.0.2.1,u\n",
    "both names": "Name,Hostname,Login\nweb1,192.0.2.1,u\n",
    "space around": " name , host , username \n web1 , 192.0.2.1 , u \n",
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_as_programs_write_them(table: str) -> None:
    found = parse_csv(TABLES[table])
    assert found.problems == [] and sniff(TABLES[table]) == "csv"
    (draft,) = found.drafts
    assert (draft.name, draft.host, draft.username, draft.port) == ("web1", "192.0.2.1", "u", 22)


def test_values_of_tables() -> None:
    found = parse_csv(
        "name,host,port,password,description\n"
        'a,[2001:db8::1],2222.0," p w ",x\u2028y\u0085z\x0bw\x0cv\n'
        "b,h,2222.5,,\n"
        "c,h,22,p,d,more\n"
    )
    (draft,) = found.drafts
    assert (draft.host, draft.port, draft.password) == ("2001:db8::1", 2222, " p w ")
    assert draft.description == "x\u2028y\u0085z\x0bw\x0cv", "none of them ends a line"
    assert [(problem.line, problem.name) for problem in found.problems] == [(3, "b"), (4, "c")]


WRITTEN = "name;host;description\r\nweb1;192.0.2.1;Сервер приложений\r\n"
FILES = [
    (WRITTEN.encode(), ""),
    (b"\xef\xbb\xbf" + WRITTEN.encode(), ""),
    (WRITTEN.encode("utf-16"), "UTF-16-LE"),
    (b"\xfe\xff" + WRITTEN.encode("utf-16-be"), "UTF-16-BE"),
    (WRITTEN.replace("Сервер приложений", "Server").encode("utf-16-le"), "UTF-16-LE"),
    (WRITTEN.replace("Сервер приложений", "Server").encode("utf-16-be"), "UTF-16-BE"),
    (WRITTEN.encode("windows-1251"), "Windows-1251"),
    (WRITTEN.replace("Сервер приложений", "Büro in Zürich, café").encode("windows-1252"), "Windows-1252"),
]


@pytest.mark.parametrize(("data", "encoding"), FILES, ids=range(len(FILES)))
def test_files_of_any_encoding(data: bytes, encoding: str) -> None:
    text, told = decode_list(data)
    assert told == encoding
    (draft,) = parse_csv(text).drafts
    assert (draft.name, draft.host) == ("web1", "192.0.2.1")
    assert draft.description in ("Сервер приложений", "Server", "Büro in Zürich, café")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Я и ты", "windows-1251"),
        ("В ДЦ у ёлки", "windows-1251"),
        ("IP-адрес и web1_сервер №1", "windows-1251"),
        ("«Сервер» – Cервер с латинской C", "windows-1251"),
        ("сервіс їжі", "windows-1251"),
        ("Größe", "windows-1252"),
        ("«été»", "windows-1252"),
        ("Größe ÄÖÜ", "windows-1252"),
        ("ÄÖÜ", "windows-1252"),
        ("ÅÄÖ 1", "windows-1252"),
        ("Informações à mão", "windows-1252"),
        ("Serveur à Paris", "windows-1252"),
        ("3×4 m², 5 °C – «x»", "windows-1252"),
    ],
)
def test_short_texts_of_either_code_page(text: str, encoding: str) -> None:
    table = f"name;host;description\na;b;{text}\n"
    assert decode_list(table.encode(encoding)) == (table, encoding.title())


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\x01\x00", b"\x89PNG\r\n\x1a\n\x00", b"\xff\xfe\x00"])
def test_what_is_no_text(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode_list(data)


def test_of_columns_that_say_the_same_the_first_that_says_something_counts() -> None:
    found = parse_csv("name,host,address,ip\na,192.0.2.1,,\nb,,192.0.2.2,x\n")
    assert [draft.host for draft in found.drafts] == ["192.0.2.1", "192.0.2.2"]
    assert [note.message for note in found.notes] == [
        "several columns are host: the first that says something counts"
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sep=;\nHost Name;IP;User\n", "csv"),
        ("Host Name;IP;User\n", "csv"),
        ('"Name","Other"\n', "csv"),
        ("hostname\nweb1\n", "csv"),
        ("Host name\n User x\n", "ssh-config"),
        ("Host a,b\n", "ssh-config"),
        ("web1 ansible_host=x\n", "ansible"),
        ("," * 4_000_000, "ansible"),
    ],
    ids=range(8),
)
def test_what_kind_of_list_it_is(text: str, kind: str) -> None:
    begun = time.process_time()
    assert sniff(text) == kind
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("host", "port", "read"),
    [
        ("[2001:db8::1]", "", ("2001:db8::1", 22)),
        ("[2001:db8::1]:2222", "", ("2001:db8::1", 2222)),
        ("[2001:db8::1]:2222", "2222.0", ("2001:db8::1", 2222)),
        ("[web1.example.com]:2222", "", ("web1.example.com", 2222)),
        ("2001:db8::1", "2222", ("2001:db8::1", 2222)),
        ("[2001:db8::1]:22", "2222", "port: 2222 in its column, but 22 behind the address"),
        ("[2001:db8::1]:70000", "", "port: a number from 1 to 65535"),
        ("[2001:db8::1]:70000", "22", "port: a number from 1 to 65535"),
        ("[2001:db8::1]:0", "", "port: a number from 1 to 65535"),
    ],
)
def test_a_port_behind_an_address(host: str, port: str, read: object) -> None:
    found = parse_csv(f"name,host,port\na,{host},{port}\n")
    told = [(draft.host, draft.port) for draft in found.drafts] + [each.message for each in found.problems]
    assert told == [read]


def test_an_address_without_a_name_is_read_as_well() -> None:
    (draft,) = parse_csv("host\n[2001:db8::1]:2222\n").drafts
    assert (draft.host, draft.port) == ("2001:db8::1", 2222)


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


def test_what_ends_a_line_in_a_table() -> None:
    """RFC 4180 knows CR LF; what Unicode calls an end of a line, too, is a part of a value."""
    odd = "a\u2028b\x85c\x0bd\x0ce"
    found = parse_csv(f"name,host,description\r\none,h,{odd}\rtwo,h,x\nthree,h,y")
    assert [(draft.name, draft.description) for draft in found.drafts] == [
        ("one", odd),
        ("two", "x"),
        ("three", "y"),
    ]
    assert found.problems == []


def test_a_large_table_with_keys_is_read() -> None:
    """The command line takes more than an import by the API. Nothing is raised where it is too much."""
    key = "k" * 2000
    found = parse_csv("name,host,private_key\n" + "".join(f"h{n},a,{key}\n" for n in range(9000)))
    assert len(found.drafts) == 9000 and found.problems == []
    found = parse_csv("name,host,password\n" + "".join(f"h{n},a,{key}\n" for n in range(9000)))
    assert "too long for so many" in found.problems[-1].message
