"""Rules for the names and other short texts that people give to things."""

import re
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


def login_address(username: str, host: str, port: int | None = None) -> str:
    """`user@host:port`, for people; an IPv6 address in brackets (RFC 3986, section 3.2.2)."""
    place = f"[{host}]" if ":" in host else host
    return f"{username}@{place}" + (f":{port}" if port is not None else "")


# C0 but tab and newline, DEL, C1, half surrogates, and what is invisible or turns the direction of writing
# (general categories Cf, Zl and Zp of Unicode 17).
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with all that cannot be seen, or would make the rest look different, as marks: `\u241b` for an
    escape character, `\u27e8U+202E\u27e9` for one that turns the direction of writing. Tabs and newlines stay."""
    if text.isprintable():
        # Most is. It is told many times quicker, and nothing that is looked for is printable.
        return text
    return _HIDDEN.sub(lambda match: _mark(ord(match[0])), text)


def _mark(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"\u27e8U+{code:04X}\u27e9"
