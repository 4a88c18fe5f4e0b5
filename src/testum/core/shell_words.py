"""A line's words as a shell parts them: what `shlex.split(line, comments=True)` gives, in a fraction of the time: shlex
looks at each character by itself."""

import re

_PIECE = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<comment>\#[^\n]*)|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]++|\\.)*+)"|\\(?P<escaped>.)"""
    r"""|(?P<plain>[^ \t\r\n\#'"\\]+)""",
    re.DOTALL,
)
_PLAIN = re.compile(r"[ \t!$%&(-\[\]-~]*")
"""Nothing of ASCII that quotes, escapes or begins a comment: most lines. `str.split` knows more spaces than these two."""


def shell_words(line: str) -> list[str]:
    """The words, without a comment. Raises ValueError where a quote is not closed."""
    if _PLAIN.fullmatch(line):
        return line.split()
    words: list[str] = []
    word: list[str] | None = None
    place = 0
    while place < len(line):
        found = _PIECE.match(line, place)
        if found is None:
            raise ValueError("a quote is not closed")
        place = found.end()
        kind = found.lastgroup or ""
        if kind in ("space", "comment"):
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        text = found[kind]
        word = [] if word is None else word
        # Between double quotes a backslash stands for itself, but before these two.
        word.append(re.sub(r'\\(["\\])', r"\1", text) if kind == "double" else text)
    if word is not None:
        words.append("".join(word))
    return words
