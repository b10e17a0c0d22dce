"""Drop-in: every public name of `concurrent.futures` is here; no method of its classes is ever used by ours."""

from __future__ import annotations

import concurrent.futures as standard
import inspect
import types
from collections.abc import Callable
from typing import Any

import pytest
from races import LIMIT

import corefutures

#: Methods of the standard classes that ours inherit: nothing calls them but other methods that are overridden.
#: `test_no_method_of_the_standard_classes_is_used` proves it.
INERT = {
    "Future": {"_Future__get_result"},
    "Executor": set(),
    "ThreadPoolExecutor": {"_adjust_thread_count", "_initializer_failed", "prepare_context"},
}
CLASSES = {
    "Future": (corefutures.Future, standard.Future),
    "Executor": (corefutures.Executor, standard.Executor),
    "ThreadPoolExecutor": (corefutures.ThreadPoolExecutor, standard.ThreadPoolExecutor),
}


def methods_of(cls: type) -> set[str]:
    return {
        name
        for name, value in vars(cls).items()
        if isinstance(value, types.FunctionType | classmethod | staticmethod | property)
    }


@pytest.mark.parametrize("name", CLASSES)
def test_each_method_is_overridden_or_inert(name: str) -> None:
    ours, theirs = CLASSES[name]
    assert issubclass(ours, theirs)
    standard_classes = [cls for cls in theirs.__mro__ if cls.__module__.startswith("concurrent.futures")]
    inherited = set()
    for method in set().union(*map(methods_of, standard_classes)):
        owner = next(cls for cls in ours.__mro__ if method in vars(cls))
        if not owner.__module__.startswith("corefutures"):
            inherited.add(method)
    assert inherited <= INERT[name], "a newer standard library has methods that ours would inherit"


def poisoned(monkeypatch: pytest.MonkeyPatch, cls: type, name: str, used: list[str]) -> None:
    def poison(*args: object, **kwargs: object) -> None:
        used.append(f"{cls.__name__}.{name}")
        raise AssertionError(used[-1])

    value = inspect.getattr_static(cls, name)
    replacement: Any = poison
    if isinstance(value, property):
        replacement = property(poison)
    elif isinstance(value, classmethod | staticmethod):
        replacement = type(value)(poison)
    monkeypatch.setattr(cls, name, replacement)


def use_everything() -> None:
    pool = corefutures.ThreadPoolExecutor(2, initializer=int)
    with pool:
        futures = [pool.submit(divmod, 7, number) for number in range(5)]
        for future in futures:
            future.add_done_callback(repr)
        corefutures.wait(futures, LIMIT)
        list(corefutures.as_completed(futures, LIMIT))
        assert isinstance(futures[0].exception(LIMIT), ZeroDivisionError)
        assert futures[1].result(LIMIT) == (7, 0)
        assert list(pool.map(abs, range(5), timeout=LIMIT, buffersize=2)) == list(range(5))
        pool.map(abs, range(5)).close()
    corefutures.ThreadPoolExecutor().shutdown(cancel_futures=True)
    bare: corefutures.Future[int] = corefutures.Future()
    assert bare.cancel()
    assert bare.cancelled()
    assert bare.done()
    assert not bare.running()
    bare.set_running_or_notify_cancel()
    failed: corefutures.Future[int] = corefutures.Future()
    failed.set_exception(OSError())
    assert failed._get_snapshot()[0]
    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        failed.result()
    assert len({bare, failed}) == 2

    def fail() -> None:
        raise ValueError

    broken = corefutures.ThreadPoolExecutor(1, initializer=fail)
    with pytest.raises(corefutures.BrokenExecutor):
        broken.submit(int).result(LIMIT)


def test_no_method_of_the_standard_classes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interoperation: nothing is delegated to the base, not even `__init__`; its methods are poison here."""
    used: list[str] = []
    for _, theirs in CLASSES.values():
        # A `submit` that was replaced belongs to a tool, and is gone through: tests/tools/test_tracing_tools.py.
        for name in methods_of(theirs) - {"__class_getitem__", "submit"}:
            poisoned(monkeypatch, theirs, name, used)
    use_everything()
    assert used == []


def test_a_use_of_the_standard_classes_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    poisoned(monkeypatch, standard.Future, "done", used)
    with pytest.raises(AssertionError, match=r"Future\.done"):
        standard.Future().done()
    assert used == ["Future.done"]


def test_every_public_name_is_here() -> None:
    for name in standard.__all__:
        if name in ("ProcessPoolExecutor", "InterpreterPoolExecutor"):
            continue  # with their backends, which need not be installed
        assert hasattr(corefutures, name), name
        assert name in corefutures.__all__ or name.endswith("Executor")
    for name in ("ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"):
        assert getattr(corefutures, name) == getattr(standard, name)


@pytest.mark.parametrize("name", ["BrokenExecutor", "CancelledError", "InvalidStateError", "TimeoutError"])
def test_the_exceptions_are_the_standard_library_s(name: str) -> None:
    assert getattr(corefutures, name) is getattr(standard, name)
    assert corefutures.ThreadPoolExecutor.BROKEN is standard.thread.BrokenThreadPool


def without_annotations(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    return [
        (parameter.name, parameter.kind, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (getattr(ours, name), getattr(theirs, name))
        for ours, theirs in CLASSES.values()
        for name in sorted(methods_of(theirs))
        if not name.startswith("_") and name != "prepare_context"
    ]
    + [(corefutures.wait, standard.wait), (corefutures.as_completed, standard.as_completed)]
    + [(corefutures.ThreadPoolExecutor, standard.ThreadPoolExecutor)],
    ids=lambda function: function.__qualname__,
)
def test_the_parameters_are_the_standard_library_s(ours: Any, theirs: Any) -> None:
    expected = [
        parameter for parameter in without_annotations(theirs) if parameter[1] is not inspect.Parameter.VAR_KEYWORD
    ]
    found = without_annotations(ours)
    if theirs.__name__ == "map":  # on every Python as on the newest
        found = [parameter for parameter in found if parameter[0] != "buffersize"]
        expected = [parameter for parameter in expected if parameter[0] != "buffersize"]
    found = [parameter for parameter in found if parameter[1] is not inspect.Parameter.VAR_KEYWORD]
    # What we add is keyword-only, comes last and changes nothing unless it is given.
    added = found[len(expected) :]
    assert found[: len(expected)] == expected
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in added)
    assert all(default is not inspect.Parameter.empty for _, _, default in added)


def test_types_can_be_parameterised() -> None:
    assert str(corefutures.Future[int]) == "corefutures._future.Future[int]"
    assert isinstance(corefutures.Future(), corefutures.Future)


def test_the_submodules_that_handlers_name_are_there() -> None:
    from concurrent.futures.process import BrokenProcessPool

    import corefutures.process as named

    assert corefutures.process.BrokenProcessPool is named.BrokenProcessPool is BrokenProcessPool
    assert corefutures.process.ProcessPoolExecutor is corefutures.ProcessPoolExecutor
    assert corefutures.thread.BrokenThreadPool is standard.thread.BrokenThreadPool
    assert corefutures.thread.ThreadPoolExecutor is corefutures.ThreadPoolExecutor
    assert hasattr(corefutures.interpreter, "BrokenInterpreterPool") is hasattr(standard, "InterpreterPoolExecutor")
    with pytest.raises(AttributeError):
        corefutures.process.nonsense  # noqa: B018
