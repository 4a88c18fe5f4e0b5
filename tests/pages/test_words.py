"""Languages: nothing is left untranslated, plural forms are right, and every sentence of the services is known."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hatch_build
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from hatchling.builders.wheel import WheelBuilder

from testum.installed import INSTALLED
from testum.web import catalogues
from testum.web.pages.languages import choose, languages
from testum.web.pages.said import ENDED
from testum.web.pages.words import ACTIONS, ERRORS, OBJECTS, SAID, Words, _pattern

ROOT = Path(__file__).parents[2]
FILES = [path for _, path in catalogues.sources()]
PLACES = re.compile(r"%\(\w+\)s")


def catalog(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """What the sources say, as `make messages` finds it."""
    target = tmp_path_factory.mktemp("messages") / "testum.pot"
    command = ["-q", "extract", "-F", "pyproject.toml", "-k", "N_", "-o", str(target), "src", "frontend/src"]
    subprocess.run([sys.executable, "-m", "babel.messages.frontend", *command], cwd=ROOT, check=True)
    return catalog(target)


def texts(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string)


def test_every_action_of_the_audit_log_has_words() -> None:
    """What is checked at the gate and noted there; jobs have theirs of their kinds."""
    found: set[str] = set()
    for path in (ROOT / "src" / "testum").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr in ("check", "log", "refused"):
                texts = [str(each.value) for each in call.args if isinstance(each, ast.Constant)]
                found.update(text for text in texts if re.fullmatch(r"[a-z_]+\.[a-z_]+", text))
    assert len(found) > 25 and found - set(ACTIONS) - set(INSTALLED.audit_actions) == set()


def test_no_feature_says_another_word_for_what_the_core_has() -> None:
    for feature in INSTALLED.features.values():
        assert not {*feature.audit_actions, *feature.audit_objects, *feature.task_errors} & {
            *ACTIONS, *OBJECTS, *ERRORS
        }  # fmt: skip


def test_there_are_translations() -> None:
    assert {path.parts[-3] for path in FILES} >= {"ru"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parts[-3])
def test_everything_is_translated(path: Path, template: Catalog) -> None:
    wanted = {message.id for message in template if message.id}
    found = {message.id: message for message in catalog(path) if message.id}
    assert wanted - set(found) == set(), "run `make messages` and translate what is new"
    assert set(found) - wanted == set(), "run `make messages`: nobody says this any more"
    for key, message in found.items():
        assert all(texts(message)) and not message.fuzzy, f"not translated: {key}"
        source = key if isinstance(key, str) else key[1]
        for text in texts(message):
            assert set(PLACES.findall(text)) == set(PLACES.findall(source)), (
                f"other places than {key}: {text}"
            )


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 платформ"), (1, "1 платформа"), (2, "2 платформы"), (5, "5 платформ"), (11, "11 платформ"), (21, "21 платформа"), (22, "22 платформы"), (112, "112 платформ")],
)  # fmt: skip
def test_russian_counts_as_russians_do(number: int, said: str) -> None:
    russian = languages()["ru"]
    assert russian.ngettext("%(num)s platform", "%(num)s platforms", number) % {"num": number} == said


def test_numbers_moments_and_spans_are_written_as_in_the_language() -> None:
    english, russian = languages()["en"], languages()["ru"]
    assert (english.number(12345.6), russian.number(12345.6)) == ("12,345.6", "12\xa0345,6")
    assert english.duration(3725) == "1 hr 2 min" and russian.duration(3725) == "1 ч 2 мин"
    assert english.size(1) == "1 byte" and english.size(7) == "7 bytes" and russian.size(7) == "7 байт"
    assert english.size(1_500_000) == "1.5 MB" and russian.size(1_500_000) == "1,5 МБ"


@pytest.mark.parametrize(
    ("kept", "accepted", "code"),
    [
        ("ru", "en", "ru"),
        ("", "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("", "de,fr;q=0.5", "en"),
        ("", "en;q=0.1,ru;q=0.9", "ru"),
        ("xx", "", "en"),
        ("", ";q=,,;q=x,\x00", "en"),
    ],
)
def test_the_language_is_the_kept_one_or_the_browsers(kept: str, accepted: str, code: str) -> None:
    assert choose(kept, accepted).code == code


_RAISES = {
    "InvalidInput",
    "Conflict",
    "NotFound",
    "Throttled",
    "Unauthenticated",
    "Forbidden",
    "FieldProblem",
}
_RAISES |= {
    "StorageFull",
    "StorageUnavailable",
    "WritesRefused",
    "field",
    "problem",
    "Problem",
    "ValueError",
    "Unreadable",
    "TooMuch",
}


ELSEWHERE = (
    "after:", "output: must be", "no parameter of a stream", "values §", "a frame of", "of another list", "not a number of a row", "§: more than", "[§]: ",
    "The expression cannot be read", "This Idempotency-Key", "must be one text of",
    "The task's stored output", "The database does not have what"
)  # fmt: skip
"""How sentences begin that reach no page: a stream, a header or the command line alone says them, they are caught where
they are raised, or a script says it by their code."""


def sentences(folder: str) -> Iterator[str]:
    """What the errors raised in a folder say, `§` standing for what is filled in."""
    for path in sorted((ROOT / "src" / "testum" / folder).glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call):
                continue
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            for argument in call.args if name in _RAISES else ():
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    said = argument.value
                elif isinstance(argument, ast.JoinedStr):
                    said = "".join(
                        part.value if isinstance(part, ast.Constant) else "§"  # type: ignore[misc]
                        for part in argument.values
                    )
                else:
                    continue
                if " " in said and not said.startswith("§: §"):
                    yield said


@pytest.mark.parametrize("folder", ["services", "core", "db", "web", "web/pages"])
def test_every_sentence_of_the_services_is_known(folder: str) -> None:
    patterns = [_pattern(said) for said in SAID]
    told = list(sentences(folder))
    missing = [
        said
        for said in told
        if not said.startswith(ELSEWHERE)
        and not any(
            pattern.fullmatch(text)
            for pattern in patterns
            for text in (said, re.sub(r"^[a-z_.]+: ", "", said))
        )
    ]
    assert missing == [], "add them to web/pages/said.py"
    assert told


def test_what_is_known_of_how_tasks_end_is_what_is_stored() -> None:
    stored = {
        each.value
        for folder in ("execution", "db")
        for path in (ROOT / "src" / "testum" / folder).glob("*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Constant)
    }
    assert set(ENDED) - stored == set()


def test_a_sentence_is_translated_with_what_fills_it() -> None:
    words = Words(languages()["ru"], INSTALLED)
    assert words.message("A platform named x-1 is there already.") == "Платформа с именем x-1 уже есть."
    assert words.message("password: needs at least 8 characters.") == "нужно не меньше 8 символов."
    assert words.message("something new") == "something new"


CALL = re.compile(r"""\bn?gettext\(\s*("(?:[^"\\]|\\.)*")?""")


def asked_by_scripts() -> Iterator[tuple[Path, str | None]]:
    """The first word of every call in the scripts, wherever it stands; None for one that is no plain string."""
    for path in sorted((ROOT / "frontend" / "src").rglob("*.ts")):
        for call in CALL.finditer(re.sub(r"function n?gettext\(", "", path.read_text())):
            yield path, json.loads(call[1]) if call[1] else None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parts[-3])
def test_a_page_has_all_words_that_its_scripts_ask_for(path: Path) -> None:
    """Also those that a template says, too: only where the .po file names the script are they put into the page."""
    asked = list(asked_by_scripts())
    assert len(asked) > 50 and [path for path, message in asked if message is None] == []
    told = json.loads(languages()[path.parts[-3]].messages)["messages"]
    missing = {message for _, message in asked if not told.get(message or "")}
    assert missing == set(), "run `make messages`, and see that it finds them"


def test_the_browsers_words_are_told_with_their_plural_forms() -> None:
    messages = json.loads(languages()["ru"].messages)
    assert messages["messages"]["Download"] == "Скачать"
    assert messages["plurals"] == {"one": 0, "few": 1, "many": 2}


def test_a_language_is_read_from_what_was_compiled_of_its_text_and_else_from_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "ru" / "LC_MESSAGES" / "testum.po"
    source.parent.mkdir(parents=True)
    text = FILES[0].read_text("utf-8")
    source.write_text(text, "utf-8")
    whole = catalogues.read(source)
    assert not catalogues.is_current(source) and whole.name == "Русский" and len(whole.mo) > 50_000
    catalogues.build(source)
    assert catalogues.is_current(source)
    with monkeypatch.context() as patch:
        patch.setattr(catalogues, "_compile", lambda _: pytest.fail("compiled anew"))
        assert catalogues.read(source) == whole
        catalogues.build(source)
    for damage in (b"", b"[]", b'{"source": 1}'):
        source.with_suffix(".json").write_bytes(damage)
        assert catalogues.read(source) == whole
    catalogues.build(source)
    source.write_text(text.replace('msgstr "Не начато"', 'msgstr "Ещё не начато"'), "utf-8")
    assert not catalogues.is_current(source) and catalogues.read(source) != whole
    catalogues.build(source)
    source.with_suffix(".mo").unlink()
    assert not catalogues.is_current(source) and catalogues.read(source) != whole


def test_a_package_has_the_compiled_languages() -> None:
    hatch_build.compile_languages()
    packed = {Path(file.path) for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    for path in FILES:
        assert {path, path.with_suffix(".mo"), path.with_suffix(".json")} <= packed
        assert catalogues.is_current(path)
