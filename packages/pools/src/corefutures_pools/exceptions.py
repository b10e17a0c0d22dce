"""Attributes of exceptions, whatever their classes override.

Touches the core alone.
"""

from __future__ import annotations

from corefutures._exceptions import add_note as add_note


def set_cause(error: BaseException, cause: BaseException | None) -> None:
    """Set an exception's cause, even if its class overrides that attribute."""
    BaseException.__dict__["__cause__"].__set__(error, cause)


def drop_frame(error: BaseException) -> None:
    """Remove the first frame of an exception's traceback, even if its class overrides that attribute."""
    traceback = _traceback_of(error)
    if traceback is not None:
        BaseException.with_traceback(error, traceback.tb_next)


_traceback_of = BaseException.__dict__["__traceback__"].__get__
