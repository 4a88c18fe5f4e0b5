"""States, permissions, targets, secrets and names: the pure rules."""

import sys
import unicodedata
from fnmatch import fnmatchcase
from uuid import UUID, uuid4

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from testum.core.facts import parse_facts
from testum.core.permissions import ACCOUNT, Actor, Permission, Role, allows, require
from testum.core.script_text import for_shell
from testum.core.secrets import Opener, Sealer
from testum.core.states import FINAL, TRANSITIONS, JobStatus, TaskStatus, job_status
from testum.core.targets import Targets, is_pattern, name_matcher, pattern_to_like
from testum.core.text import check_name, visible
from testum.errors import ConfigurationError, Forbidden, InvalidInput
from testum.installed import INSTALLED
from tools.states import PAGE, drawn


def test_what_is_over_is_never_begun_again() -> None:
    assert {TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.LOST} == FINAL
    assert set(TRANSITIONS) == set(TaskStatus)
    assert all(TRANSITIONS[status] <= FINAL for status in FINAL)
    assert all(not TRANSITIONS[status] for status in FINAL - {TaskStatus.LOST})


def test_the_diagram_of_states_is_that_of_the_table() -> None:
    assert PAGE.read_text() == drawn(PAGE.read_text()), "run python -m tools.states"


@pytest.mark.parametrize(
    ("counts", "cancel", "status"),
    [
        ({TaskStatus.SUCCESS: 3}, False, JobStatus.SUCCESS),
        ({TaskStatus.SUCCESS: 3, TaskStatus.LOST: 1}, False, JobStatus.FAILED),
        ({TaskStatus.SUCCESS: 1, TaskStatus.PENDING: 1}, False, JobStatus.RUNNING),
        ({TaskStatus.PENDING: 2}, False, JobStatus.PENDING),
        ({TaskStatus.FAILED: 1, TaskStatus.CANCELLED: 1}, True, JobStatus.CANCELLED),
        ({TaskStatus.SUCCESS: 2}, True, JobStatus.SUCCESS),
    ],
)
def test_a_job_is_the_sum_of_its_tasks(
    counts: dict[TaskStatus, int], cancel: bool, status: JobStatus
) -> None:
    assert job_status(counts, cancel_requested=cancel) is status


def _actor(role: Role, **more: bool) -> Actor:
    return Actor(uuid4(), "someone", role, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", INSTALLED.permissions.values(), ids=str)
def test_require_is_the_raising_twin_of_allows(role: Role, permission: Permission) -> None:
    actor = _actor(role)
    assert allows(actor, permission) is (list(Role).index(role) >= list(Role).index(permission.role))
    if allows(actor, permission):
        require(actor, permission)
    else:
        with pytest.raises(Forbidden):
            require(actor, permission)


def test_an_account_with_a_weak_password_may_only_change_it() -> None:
    admin = _actor(Role.ADMIN, must_change_password=True)
    assert [permission for permission in INSTALLED.permissions.values() if allows(admin, permission)] == [
        ACCOUNT
    ]


def test_targets_need_a_selector() -> None:
    with pytest.raises(InvalidInput) as caught:
        Targets().check()
    assert caught.value.code == "no_targets"
    with pytest.raises(InvalidInput):
        Targets(all=True, names=("web",)).check()
    Targets(all=True, tags=("prod",)).check()


def _like(pattern: str, text: str) -> bool:
    """SQL's LIKE with escape character backslash."""
    import re

    out, escaped = "", False
    for character in pattern:
        if escaped:
            out, escaped = out + re.escape(character), False
        elif character == "\\":
            escaped = True
        else:
            out += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.fullmatch(out, text, re.DOTALL) is not None


@given(st.text("ab*?[]!-%_\\", max_size=8), st.text("ab-%_\\[]!", max_size=8))
def test_the_database_never_leaves_out_what_a_pattern_matches(pattern: str, name: str) -> None:
    if is_pattern(pattern) and fnmatchcase(name, pattern):
        assert _like(pattern_to_like(pattern), name)


def test_a_secret_opens_only_for_its_own_field_and_record() -> None:
    key = Fernet.generate_key().decode()
    owner, other = uuid4(), uuid4()
    sealed = Sealer(key).seal(owner, "password", "geheim-✓")
    assert "geheim" not in sealed
    assert Opener(key).open(owner, "password", sealed) == "geheim-✓"
    for record, field in ((other, "password"), (owner, "passphrase")):
        with pytest.raises(ConfigurationError, match="another field or record"):
            Opener(key).open(record, field, sealed)
    before = Fernet(key).encrypt(owner.bytes + b"x").decode()
    assert Opener(key).open(owner, "password", before) == "x", "of an installation that is older"
    with pytest.raises(ConfigurationError, match="FERNET_KEY"):
        Opener(Fernet.generate_key().decode()).open(owner, "password", sealed)


def test_keys_rotate_newest_first() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    owner = UUID(int=7)
    sealed = Sealer(old).seal(owner, "password", "x")
    assert Opener(f"{new},{old}").open(owner, "password", sealed) == "x"
    with pytest.raises(ConfigurationError):
        Opener(old).open(owner, "password", Sealer(f"{new},{old}").seal(owner, "password", "x"))


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "a\nb", "a\u202eb", "a\u200bb", "x" * 201])
def test_names_that_deceive_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name, "name")


def test_names_in_any_script_are_fine() -> None:
    assert check_name("  Веб-01 «прод» 東京  ", "name") == "Веб-01 «прод» 東京"


def test_facts_from_a_hostile_host_are_harmless() -> None:
    answer = (
        "hostname=a\x1b[31mb\ncpus=4\ncpus_x=1\nmemory_total_kib=" + "9" * 40 + "\nload_1m=x\nos=" + "o" * 999
    )
    facts = parse_facts(answer)
    assert facts["hostname"] == "a[31mb"
    assert facts["cpus"] == 4
    assert "memory_total_kib" not in facts
    assert "load_1m" not in facts
    assert len(facts["os"]) == 300


@given(
    st.lists(st.text("ab-1*?[]!", max_size=6), min_size=1, max_size=40), st.lists(st.text("ab-1", max_size=6))
)
def test_many_names_and_patterns_match_as_each_does_alone(wanted: list[str], names: list[str]) -> None:
    fits = name_matcher(wanted)
    for name in names:
        assert fits(name) == any(fnmatchcase(name, want) for want in wanted)


def test_nothing_that_cannot_be_seen_is_shown_as_it_is() -> None:
    hidden = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and chr(code) not in "\t\n"
    ]
    assert len(hidden) > 2000
    for character in hidden:
        shown = visible(f"a{character}b")
        assert character not in shown and shown.isprintable()
    assert visible("a\tb\nc\u00a0\u0439\u4e2d\U0001f600") == "a\tb\nc\u00a0\u0439\u4e2d\U0001f600"


@pytest.mark.parametrize(
    ("text", "interpreter", "sent"),
    [
        ("echo a\r\necho b\r\n", "/bin/sh", "echo a\necho b\n"),
        ("echo a\r\necho b\r", "/usr/bin/env bash -e", "echo a\necho b"),
        ("echo a\r\necho b", "busybox sh", "echo a\necho b"),
        ("\ufeffecho a\n", "fish", "echo a\n"),
        ("\ufeff#!/bin/sh\r\necho a\r\n", "zsh", "#!/bin/sh\necho a\n"),
        ("echo a\r\necho b\n", "/bin/sh", None),
        ("printf 'a\rb'\n", "/bin/sh", None),
        ("print(1)\r\n", "python3 -u", None),
        ("\ufeffprint(1)\n", "python3", None),
        ("echo a\r\n", "'unclosed", None),
    ],
)
def test_a_shells_script_from_windows(text: str, interpreter: str, sent: str | None) -> None:
    assert for_shell(text, interpreter) == (text if sent is None else sent)
