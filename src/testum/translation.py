"""Marking texts for translation. They are translated where they are shown, in the reader's language."""


def N_(message: str) -> str:
    """Mark a text for translation where it stands (gettext, "Deferred translations" in Python's manual)."""
    return message
