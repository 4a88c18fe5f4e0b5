"""Lines of OpenSSH's client configuration, taken apart as readconf.c and misc.c (`strdelim`, `argv_split`) of OpenSSH 9 do
it."""

import re

from testum.core.shell_words import is_plain

SPACE = " \t\r\n"
_KEYWORD = re.compile(f'[{SPACE}"=]')


class Unreadable(Exception):
    """What ssh would not read: it would stop there."""


def first_word(line: str) -> tuple[str | None, str | None]:
    """A line's first word and what follows it, as strdelim() gives them; None where there is none."""
    found = _KEYWORD.search(line)
    if found is None:
        return line, None
    place = found.start()
    if line[place] == '"':
        end = line.find('"', place + 1)
        if end < 0:
            return None, None
        return line[:place] + line[place + 1 : end], line[end + 1 :].lstrip(SPACE)
    rest = line[place + 1 :].lstrip(SPACE)
    if line[place] != "=" and rest.startswith("="):
        rest = rest[1:].lstrip(SPACE)
    return line[:place], rest


def directive(line: str) -> tuple[str, str] | None:
    """A line's keyword, in lower case, and its arguments; None where it says nothing. Raises Unreadable."""
    line = line.rstrip(SPACE + "\f")
    keyword, rest = first_word(line)
    if keyword == "" and rest is not None:
        keyword, rest = first_word(rest)
    if not keyword or keyword.startswith("#"):
        return None
    if not (rest or "").strip(SPACE):
        raise Unreadable(f"{keyword[:60]}: its value is missing")
    return keyword.lower(), (rest or "").lstrip(SPACE)


_WORD = re.compile(r"""\\(?P<escaped>['"\\ ])|(?P<quote>['"])|(?P<space>[ \t]+)|(?P<text>[^\\'" \t]+|\\)""")
_IN_QUOTES = {
    quote: re.compile(rf"""\\(?P<escaped>['"\\])|(?P<end>{quote})|(?P<text>[^\\{quote}]+|\\)""")
    for quote in "'\""
}


def words(text: str) -> list[str]:
    """A directive's arguments, as argv_split() gives them: up to a word that begins with `#`. Raises Unreadable."""
    if is_plain(text):
        return text.split()
    words: list[str] = []
    word: list[str] | None = None
    quote = ""
    place = 0
    while place < len(text):
        if word is None and text[place] == "#":
            break
        found = (_IN_QUOTES[quote] if quote else _WORD).match(text, place)
        assert found is not None
        place = found.end()
        kind = found.lastgroup
        if kind == "space":
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        word = [] if word is None else word
        if kind == "quote":
            quote = found["quote"]
        elif kind == "end":
            quote = ""
        else:
            word.append(found[kind or "text"])
    if quote:
        raise Unreadable("a quote is not closed")
    if word is not None:
        words.append("".join(word))
    return words
