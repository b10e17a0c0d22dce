"""An error as text in one line, for messages that cite it.

Imports nothing. Guarantees: an error whose text can't be had is described all the same.
"""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """Return the text of an error without line breaks."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return "(an error without a text)"


def describe_error(error: BaseException, *, longest: int | None = None) -> str:
    """Return the type and the text of an error in one line.

    Args:
        error: The error.
        longest: The most characters of its text; None for all of them.
    """
    text = one_line(error)
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]} …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
