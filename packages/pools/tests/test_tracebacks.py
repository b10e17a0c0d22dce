"""Tracebacks as text: the same as the standard library's, the first time and from then on."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import pytest

from corefutures_pools import tracebacks
from corefutures_pools.tracebacks import traceback_text


def _raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError("it raised nothing")


def _standard_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _fail(message: object = "no such item") -> None:
    raise ValueError(message)


def _in_several_lines() -> None:
    _fail(
        len("ab"),
    )  # fmt: skip


def _from_another() -> None:
    try:
        _fail()
    except ValueError as exc:
        raise LookupError("it was not there") from exc


def _while_handling() -> None:
    try:
        _from_another()
    except LookupError:
        raise OSError(5, "input or output")  # noqa: B904


def _from_none() -> None:
    try:
        _fail()
    except ValueError:
        raise KeyError("hidden") from None


def _repeat(times: int) -> None:
    if times:
        _repeat(times - 1)
    _fail()


def _even(times: int) -> None:
    _odd(times - 1) if times else _fail()


def _odd(times: int) -> None:
    _even(times - 1)


def _with_note() -> None:
    error = ValueError("noted")
    error.add_note("a note")
    raise error


def _with_groups() -> None:
    raise BaseExceptionGroup("several", [_raised(_fail), _raised(_from_another)])


def _cause_in_a_circle() -> None:
    first, second = _raised(_fail), _raised(_fail)
    first.__cause__, second.__context__ = second, first
    raise first


def _group_as_cause() -> None:
    raise ValueError("later") from _raised(_with_groups)


class _Outer:
    class Nested(Exception):
        pass


class _SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit("not a message")


class _OtherText(str):
    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "formatted"


class _OddError(Exception):
    def __str__(self) -> str:
        return _OtherText("odd")


class _HostileError(Exception):
    @property
    def __cause__(self) -> None:  # type: ignore[override, unused-ignore]
        raise AttributeError("__cause__")

    @property
    def __notes__(self) -> None:  # type: ignore[override]
        raise RuntimeError("__notes__")


def _nested() -> None:
    raise _Outer.Nested("one\ntwo")


def _without_module() -> None:
    raise type("Made", (Exception,), {"__module__": None})("made")


def _misspelt() -> None:
    print(_fial)  # type: ignore[name-defined]  # noqa: F821


def _missing() -> None:
    "text".splitt()  # type: ignore[attr-defined]


def _not_imported() -> None:
    from collections import OrderedDic  # type: ignore[attr-defined]  # noqa: F401


def _raise(error: BaseException) -> None:
    raise error


_ERRORS: dict[str, Callable[[], object]] = {
    "a message": _fail,
    "no message": lambda: _fail(""),
    "None": lambda: _fail(None),
    "several lines": _in_several_lines,
    "a cause": _from_another,
    "a context": _while_handling,
    "a suppressed context": _from_none,
    "three frames of the same line": lambda: _repeat(2),
    "many frames of the same line": lambda: _repeat(20),
    "two functions in turn": lambda: _even(20),
    "functions of one line": lambda: (lambda: (lambda: (lambda: (lambda: (lambda: _fail())())())())())(),
    "too deep": lambda: _repeat(1 << 20),
    "a note": _with_note,
    "a group": _with_groups,
    "a group as cause": _group_as_cause,
    "a circle": _cause_in_a_circle,
    "a nested class": _nested,
    "a class without a module": _without_module,
    "a suggestion for a name": _misspelt,
    "a suggestion for an attribute": _missing,
    "a suggestion for an import": _not_imported,
    "a module that is missing": lambda: __import__("no_such_module"),
    "code that can't be compiled": lambda: compile("a b", "a file", "exec"),
    "code without a file": lambda: exec("def made():\n    1 / 0\nmade()", {}),
    "a str() that exits": lambda: _raise(_SilentError()),
    "an odd str()": lambda: _raise(_OddError()),
    "attributes that raise": lambda: _raise(_HostileError("hostile")),
    "an exit": lambda: sys.exit(3),
    "an interrupt": lambda: _raise(KeyboardInterrupt()),
    "one that is not of Python": lambda: int("x"),
}


@pytest.mark.parametrize("what", _ERRORS)
def test_the_text_is_that_of_the_standard_library_each_time(what: str) -> None:
    for _ in range(3):
        error = _raised(_ERRORS[what])
        assert _outcome(traceback_text, error) == _outcome(_standard_text, error)


def _outcome(text: Callable[[BaseException], str], error: BaseException) -> object:
    try:
        return text(error)
    except Exception as exc:  # of an attribute of the error
        return repr(exc)


def test_an_error_that_was_not_raised() -> None:
    error = ValueError("never raised")
    assert traceback_text(error) == _standard_text(error)


def test_equal_code_of_two_files_is_told_apart() -> None:
    errors = []
    for file in ("first.py", "second.py"):
        names: dict[str, Callable[[], object]] = {}
        exec(compile("def fail():\n    1 / 0\n", file, "exec"), names)
        errors.append(_raised(names["fail"]))
    first, second = map(traceback_text, errors)
    assert ("first.py" in first, "second.py" in first) == (True, False)
    assert ("first.py" in second, "second.py" in second) == (False, True)


def test_two_lines_of_a_function_are_told_apart() -> None:
    def fail(late: bool) -> None:
        if late:
            raise ValueError("late")
        raise ValueError("early")

    for late in (True, False, True):
        error = _raised(lambda late=late: fail(late))  # type: ignore[misc]
        assert traceback_text(error) == _standard_text(error)


def test_a_limit_of_the_program_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    error = _raised(_from_another)
    whole = traceback_text(error)
    monkeypatch.setattr(sys, "tracebacklimit", 1, raising=False)
    assert traceback_text(error) == _standard_text(error) != whole


def test_functions_made_anew_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "_PLACES_AT_MOST", 8)
    tracebacks._places.clear()
    for number in range(40):
        names: dict[str, Callable[[], object]] = {}
        exec(f"def fail():\n    raise ValueError({number})", names)
        error = _raised(names["fail"])
        assert traceback_text(error) == _standard_text(error)
        assert len(tracebacks._places) <= 8


def test_the_text_of_a_place_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = traceback_text(_raised(_fail))
    monkeypatch.setattr(tracebacks, "_learn", None)
    for _ in range(2):
        assert traceback_text(_raised(_fail)) == known
