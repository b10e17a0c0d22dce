"""Bounded waits for rules: nothing in a rule waits for ever, and no rule measures time.

Each function waits for something that a correct executor does soon, and raises `Overdue`, naming what it
waited for, when that has not come after `limit()` seconds. Worker modules use it, so it imports little of the
standard library: each new interpreter of a pool imports all again.
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing` and `concurrent.futures`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any, TypeVar

    T = TypeVar("T")

_limit: float = 20.0


class Overdue(AssertionError):
    """What a rule waited for did not come in time: reported as overdue, with the stacks of every thread."""


def limit() -> float:
    """Seconds that a rule waits for one thing."""
    return _limit


def short_limit() -> float:
    """Seconds for what is promised beyond the manual, and often missing: advice should not cost a long wait."""
    return _limit / 4


def set_limit(seconds: float) -> None:
    """Set what `limit()` returns; called once in the process that runs the rules."""
    global _limit
    _limit = seconds


def until(predicate: Callable[[], object], what: str, seconds: float | None = None) -> None:
    """Wait until `predicate()` is true.

    Args:
        predicate: asked again and again; it should be cheap.
        what: what is awaited, as a clause: "the call to start".
        seconds: the limit; `limit()` by default.

    Raises:
        Overdue: when it did not become true in time.
    """
    seconds = _limit if seconds is None else seconds
    end = time.monotonic() + seconds
    pause = 0.0002
    while not predicate():
        if time.monotonic() > end:
            raise Overdue(f"waited {seconds:g} s for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)


def finishes(call: Callable[[], T], what: str, seconds: float | None = None) -> T:
    """Run `call()` in a daemon thread of its own and return its result, or raise its exception.

    For calls that an executor with a defect may never return from: `finishes(lambda: executor.shutdown(),
    "shutdown()")`.

    Raises:
        Overdue: when the call did not return in time; its thread is abandoned.
    """
    seconds = _limit if seconds is None else seconds
    box: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            box.append((True, call()))
        except BaseException as error:
            box.append((False, error))

    thread = threading.Thread(target=run, name=f"awaiting {what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise Overdue(f"waited {seconds:g} s for {what} to return")
    succeeded, value = box.pop()
    if succeeded:
        return value  # type: ignore[no-any-return]
    try:
        raise value
    finally:
        del value  # the exception's traceback refers to this frame: leave no cycle


def joined(threads: Iterable[threading.Thread], what: str) -> None:
    """Wait until every one of `threads` has ended."""
    waiting = list(threads)
    until(lambda: not any(thread.is_alive() for thread in waiting), f"{what} to return")


def done(future: Future[Any], what: str = "the future to end") -> None:
    """Wait until `future.done()`.

    Raises:
        Overdue: when it stays pending or running.
    """
    until(future.done, what)


def all_done(futures: Iterable[Future[Any]], what: str = "every future to end") -> None:
    """Wait until every one of `futures` is done."""
    waiting = list(futures)
    until(lambda: all(future.done() for future in waiting), what)


class _Woken:
    """A block in which a thread waits for a future: it must be woken before its time is over."""

    def __init__(self, future: Future[Any], what: str, method: str) -> None:
        self._future = future
        self._what = what
        self._method = method

    def __enter__(self) -> None:
        self._end = time.monotonic() + _limit

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError) and not self._future.done():
            raise Overdue(f"waited {_limit:g} s for {self._what}") from None
        if time.monotonic() >= self._end:  # it ended, but its end woke nobody
            raise Overdue(f"waited {_limit:g} s for {self._what}: nothing woke {self._method}") from None


def result_of(future: Future[T], what: str = "the result of the call") -> T:
    """`future.result()`, or `Overdue` if the future does not end.

    It waits inside `result(timeout=…)`, as users do. Everything that the call raised comes through as it is.
    """
    with _Woken(future, what, "result()"):
        return future.result(timeout=_limit)


def error_of(future: Future[Any], what: str = "the call's exception") -> BaseException:
    """Return the exception that `future.exception()` returns.

    Raises:
        AssertionError: when the call succeeded.
        Overdue: when the future does not end.
        concurrent.futures.CancelledError: when it was cancelled.
    """
    with _Woken(future, what, "exception()"):
        error = future.exception(timeout=_limit)
    assert error is not None, f"the call should have failed, but returned {brief(future.result(timeout=0))}"
    return error


def brief(value: object, most: int = 200) -> str:
    """Return a `repr` that is short and never raises."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= most else text[: most - 1] + "…"
