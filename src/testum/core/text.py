"""Rules for the names and other short texts that people give to things."""

import unicodedata

from testum.errors import InvalidInput

MAX_NAME = 200
# Invisible or direction-changing characters could make one name look like another (Unicode TR 36).
_DECEPTIVE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def is_plain(text: str) -> bool:
    """Whether the text has no control, format, surrogate or unassigned characters."""
    return not any(unicodedata.category(character) in _DECEPTIVE for character in text)


def check_name(name: str, field: str, *, longest: int = MAX_NAME) -> str:
    """The name without space around it. Raises InvalidInput for an empty, long or deceptive one."""
    plain = name.strip()
    if not plain:
        raise InvalidInput.field(field, "must not be empty.")
    if len(plain) > longest:
        raise InvalidInput.field(field, f"takes at most {longest} characters.")
    if not is_plain(plain):
        raise InvalidInput.field(field, "must not contain control or invisible characters.")
    return plain
