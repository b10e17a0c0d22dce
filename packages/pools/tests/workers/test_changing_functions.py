"""Functions that are sent by value arrive as they are when they are submitted, whatever was sent of them before."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from typing import Any

import pytest

Make = Any
LIMIT = 50

FACTOR = 2


def _made() -> tuple[Any, Any, Callable[[int], None]]:
    """Return two functions that can't be imported, and one that changes what their closure has."""
    cell = 1

    def made(item: int, more: int = 10, *, last: int = 100) -> tuple[int, ...]:
        return item, cell, FACTOR, more, last, made.note  # type: ignore[attr-defined]

    def other(item: int, more: int = 10, *, last: int = 100) -> tuple[int, ...]:
        return -item, cell, FACTOR, more, last, made.note  # type: ignore[attr-defined]

    def change(value: int) -> None:
        nonlocal cell
        cell = value

    made.note = 1000  # type: ignore[attr-defined]
    return made, other, change


def test_a_function_with_all_that_belongs_to_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    pool = make(1, serializer="cloudpickle")
    made, other, change = _made()

    def result() -> Any:
        return pool.submit(made, 7).result(LIMIT)

    for _ in range(2):
        assert result() == (7, 1, 2, 10, 100, 1000)
    change(3)
    assert result() == (7, 3, 2, 10, 100, 1000)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 4)
    assert result() == (7, 3, 4, 10, 100, 1000)
    made.__defaults__ = (11,)
    assert result() == (7, 3, 4, 11, 100, 1000)
    made.__kwdefaults__ = {"last": 101}
    assert result() == (7, 3, 4, 11, 101, 1000)
    made.note = 1001
    assert result() == (7, 3, 4, 11, 101, 1001)
    made.__code__ = other.__code__
    assert result() == (-7, 3, 4, 11, 101, 1001)


def _first(item: int) -> tuple[int, str]:
    return item, "first"


def _second(item: int) -> tuple[int, str]:
    return item, "second"


@pytest.mark.parametrize("module", [__name__, "__main__"])
def test_a_function_of_code_alone(make: Make, module: str) -> None:
    pool = make(1)
    if "Interpreter" not in type(pool).__name__:
        pytest.skip("processes are sent functions by name")
    function: Any = lambda item: (item, "first")  # noqa: E731
    function.__module__ = module
    for _ in range(2):
        assert pool.submit(function, 1).result(LIMIT) == (1, "first")
    function.__code__ = (lambda item: (item, "second")).__code__
    for item in (1, [2]):  # marshalled, and pickled
        assert pool.submit(function, item).result(LIMIT) == (item, "second")
    function.__code__ = (lambda item: (len(str(item)), "third")).__code__  # of builtins
    for item in (1, [2]):
        assert pool.submit(function, item).result(LIMIT) == (len(str(item)), "third")
    function.__defaults__ = (5,)
    assert pool.submit(function, 1).exception(LIMIT) is not None  # there is more to it than its code
    function.__defaults__ = None
    assert pool.submit(function, 1).result(LIMIT) == (1, "third")


def test_a_name_that_is_no_builtin_any_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(1)
    if "Interpreter" not in type(pool).__name__:
        pytest.skip("processes are sent functions by name")
    function: Any = lambda: made_up  # type: ignore[name-defined]  # noqa: E731, F821
    function.__module__ = "__main__"
    assert "made_up" not in str(pool.submit(function).exception(LIMIT).__cause__ or "")  # it was not sent
    monkeypatch.setattr(builtins, "made_up", 1, raising=False)
    assert isinstance(pool.submit(function).exception(LIMIT), NameError)  # it was: it is no builtin there
    monkeypatch.undo()
    assert not isinstance(pool.submit(function).exception(LIMIT), NameError)


def test_a_name_that_leads_to_another_function_since(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is refused, as by any pickler; the worker has a module of its own."""
    pool = make(1)
    assert pool.submit(_first, 1).result(LIMIT) == (1, "first")
    first = _first
    monkeypatch.setattr(sys.modules[__name__], "_first", _second)
    if "Interpreter" in type(pool).__name__:
        assert pool.submit(first, 1).result(LIMIT) == (1, "first")  # by its code
    else:
        assert pool.submit(first, 1).exception(LIMIT) is not None
    assert pool.submit(_second, 1).result(LIMIT) == (1, "second")
    monkeypatch.undo()
    assert pool.submit(_first, 1).result(LIMIT) == (1, "first")
