"""Tracebacks as text, as `traceback.format_exception` writes them; the text of each place in the code is made once.

Touches `traceback` and the source files, only for places in the code that are new. Guarantees: the standard library's
text, whatever the exception; all cases but the frequent ones are left to `traceback.format_exception`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, TracebackType
    from typing import Final

    #: The code, its text, and what repeated lines have in common.
    _Place = tuple[CodeType, str, tuple[str, int | None, str]]

#: Exceptions whose text has more than their class and message: suggestions, source, other exceptions.
_SPECIAL: Final = (AttributeError, BaseExceptionGroup, ImportError, NameError, SyntaxError)
_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"
_HEADER: Final = "Traceback (most recent call last):\n"

#: The places in the code that are known, by the code's id, instruction and line. An entry keeps its code alive, so that
#: the id stays the code's. Emptied when it is full: a program that makes its functions anew adds places without end.
_places: dict[tuple[int, int, int | None], _Place] = {}
_PLACES_AT_MOST: Final = 1 << 10


#: In a worker: called with each error that is sent, to add a note.
annotators: list[Callable[[BaseException], object]] = []


def annotate(error: BaseException) -> None:
    """Add the notes to an error that is sent within the result of a call."""
    for add_notes in annotators:
        try:
            add_notes(error)
        except Exception:  # of the error's own methods: it is told as it is
            pass


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an error as text.

    Raises:
        BaseException: What attributes of the error raise.
    """
    try:
        text = _text_of_chain(error)
    except Exception:  # the class overrides attributes
        text = None
    if text is None:
        import traceback

        text = "".join(traceback.format_exception(error))
    return text


def _text_of_chain(error: BaseException) -> str | None:
    """Return the text of an exception and of what caused it; None if that takes more than this module knows."""
    if hasattr(sys, "tracebacklimit"):
        return None
    texts: list[str] = []
    seen = {id(error)}
    while True:
        text = _text_of(error)
        if text is None:
            return None
        texts.append(text)
        cause = error.__cause__
        if cause is not None:
            texts.append(_CAUSE)
        else:
            cause = error.__context__
            if cause is None or error.__suppress_context__:
                texts.reverse()
                return "".join(texts)
            texts.append(_CONTEXT)
        if id(cause) in seen:
            return None
        seen.add(id(cause))
        error = cause


def _text_of(error: BaseException) -> str | None:
    """Return the text of one exception; see `_text_of_chain`."""
    kind = type(error)
    if issubclass(kind, _SPECIAL) or getattr(error, "__notes__", None) is not None:
        return None
    name, module = kind.__qualname__, kind.__module__
    try:
        message = str(error)
    except BaseException:
        message = "<exception str() failed>"
    if not type(name) is type(module) is type(message) is str:
        return None
    frames = _text_of_frames(error.__traceback__)
    if frames is None:
        return None
    shown = name if module in ("__main__", "builtins") else f"{module}.{name}"
    return f"{frames}{shown}: {message}\n" if message else f"{frames}{shown}\n"


def _text_of_frames(traceback: TracebackType | None) -> str | None:
    """Return header and frames of a traceback; None if a line is repeated, since many repetitions are only counted."""
    text, last, step = _HEADER if traceback is not None else "", None, traceback
    while step is not None:
        code = step.tb_frame.f_code
        key = id(code), step.tb_lasti, step.tb_lineno
        place = _places.get(key)
        if place is None:
            _learn(traceback)
            place = _places.get(key)
        if place is None or place[2] == last:
            return None
        last = place[2]
        text += place[1]
        step = step.tb_next
    return text


def _learn(traceback: TracebackType | None) -> None:
    """Enter the places in the code that a traceback names."""
    from traceback import extract_tb

    summaries = extract_tb(traceback)
    step = traceback
    learned: dict[tuple[int, int, int | None], _Place] = {}
    for summary in summaries:
        assert step is not None
        code = step.tb_frame.f_code
        key = id(code), step.tb_lasti, step.tb_lineno
        if key not in _places and key not in learned:
            text = summaries.format_frame_summary(summary)
            learned[key] = code, text, (summary.filename, summary.lineno, summary.name)
        step = step.tb_next
    if len(_places) + len(learned) > _PLACES_AT_MOST:
        _places.clear()
    _places.update(learned)
