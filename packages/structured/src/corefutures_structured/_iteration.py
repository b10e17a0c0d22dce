"""`imap` and `completions`: iteration over calls without an end that is known in advance.

Touches the public interface of `corefutures` alone. Guarantees: memory bounded by the window; each future is reported
once; the cost of a future does not grow with their number; nothing is left running that could be cancelled.
"""

from __future__ import annotations

import concurrent.futures as standard
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import corefutures
from corefutures.backend import clock, in_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

_T = TypeVar("_T")

Errors = Literal["raise", "yield"]
_ERRORS: Final = ("raise", "yield")
#: Of the futures that are waited for, so many are shown to `wait`, for a worker thread that can run one in place.
_SHOWN: Final = 32


class Completions(Generic[_T]):
    """The futures in the order in which they end; more may be added while they are taken. Made by `completions`.

    The iterator ends when none is left, and goes on if more are added afterwards. A future that was handed out is not
    kept alive.

    Thread safety: `add` may be called from any thread; the iteration is for one thread at a time.
    """

    def __init__(self, futures: Iterable[standard.Future[_T]] = (), *, timeout: float | None = None) -> None:
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
        self._deadline = None if timeout is None else clock.monotonic() + timeout
        self._timeout = timeout
        self._pending: dict[standard.Future[_T], None] = {}
        self._ended: deque[standard.Future[_T]] = deque()
        self._gate: corefutures.Future[None] | None = None  # ends when the next one of them does
        for future in futures:
            self.add(future)

    def add(self, future: standard.Future[_T]) -> None:
        """Add a future; one that is there already is not added again.

        Args:
            future: Of any executor.

        Raises:
            TypeError: It has no `add_done_callback`.
        """
        if not callable(getattr(future, "add_done_callback", None)):
            raise TypeError(f"add() needs a future, not {type(future).__name__}")
        if future not in self._pending:
            self._pending[future] = None
            future.add_done_callback(self._on_end)

    def _on_end(self, future: standard.Future[_T]) -> None:
        # 1. Whoever waits makes the gate first, and then looks into `_ended`.
        # 2. Here the future is put into `_ended` first, and then the gate is looked for. So one sees the other.
        self._ended.append(future)
        gate = self._gate
        if gate is not None:
            try:
                gate.set_result(None)
            except standard.InvalidStateError:  # another one has ended as well
                pass

    def __len__(self) -> int:
        """Return how many have not been handed out."""
        return len(self._pending)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> standard.Future[_T]:
        """Return the next future that has ended.

        Raises:
            StopIteration: None is left.
            TimeoutError: The time is up; the iterator can be asked again, and then raises at once if nothing has ended.
        """
        while True:
            try:
                future = self._ended.popleft()
            except IndexError:
                if not self._pending:
                    raise StopIteration from None
                self._await_one()
            else:
                del self._pending[future]
                return future

    def _await_one(self) -> None:
        gate = self._gate = corefutures.Future()
        try:
            if self._ended:
                return
            left = None if self._deadline is None else max(0.0, self._deadline - clock.monotonic())
            if in_worker():
                # The first ones are shown to `wait` as well: a worker that waits runs one of them, if it is of its own
                # pool.
                shown: list[Any] = [
                    gate,
                    *islice(self._pending.copy() if len(self._pending) < _SHOWN else self._pending, _SHOWN),
                ]
                corefutures.wait(shown, left, corefutures.FIRST_COMPLETED)
            else:
                with suppress(TimeoutError):
                    gate.exception(left)
        finally:
            self._gate = None
        if not self._ended and self._deadline is not None and clock.monotonic() >= self._deadline:
            raise TimeoutError(f"{len(self._pending)} futures have not ended after {self._timeout:g} s")


def completions(futures: Iterable[standard.Future[_T]] = (), *, timeout: float | None = None) -> Completions[_T]:
    """Return an iterator over futures in the order in which they end, to which more can be added on the way.

    Like `as_completed`, for work that makes more work, such as a crawler's.

    Args:
        futures: The first ones, of any executors.
        timeout: Seconds, from this call on, in which the next one must end; None for no limit.

    Returns:
        The iterator; its `add` takes further futures.

    Raises:
        TypeError: One is no future, or `timeout` is no number.
    """
    return Completions(futures, timeout=timeout)


class ItemOutcome(Generic[_T]):
    """What became of one item of `imap(…, errors="yield")`.

    Attributes:
        item: The item of the input.
        value: The result of its call, None if it failed.
        error: The exception that its call raised, None if it returned.
    """

    __slots__ = ("error", "item", "value")

    def __init__(self, item: Any, value: _T | None, error: BaseException | None) -> None:
        self.item = item
        self.value = value
        self.error = error

    def __repr__(self) -> str:
        outcome = f"value={self.value!r}" if self.error is None else f"error={self.error!r}"
        return f"ItemOutcome(item={self.item!r}, {outcome})"


class ItemIterator(Generic[_T]):
    """The results of `imap`; closes itself when it is left, by an error of the input too.

    An error of a call is raised at its place, and the iteration goes on afterwards.

    Thread safety: for one thread at a time.
    """

    def __init__(
        self,
        submit: Callable[..., standard.Future[Any]],
        fn: Callable[[Any], _T],
        iterable: Iterable[Any],
        ordered: bool,
        window: int,
        errors: Errors,
    ) -> None:
        self._submit = submit
        self._fn = fn
        self._items: Iterator[Any] | None = iter(iterable)  # None once it is exhausted
        self._ordered = ordered
        self._window = window
        self._yields_errors = errors == "yield"
        self._input_error: BaseException | None = None  # raised after the results that are on their way
        self._queue: deque[tuple[Any, standard.Future[Any]]] = deque()  # in the order of the input
        self._item_of: dict[standard.Future[Any], Any] = {}
        self._completions: Completions[Any] = Completions()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        self._fill()
        if self._ordered:
            if not self._queue:
                self._stop()
            item, future = self._queue.popleft()
        else:
            if not self._item_of:
                self._stop()
            future = next(self._completions)
            item = self._item_of.pop(future)
        try:
            if not self._yields_errors:
                return future.result()
            try:
                return ItemOutcome(item, future.result(), None)
            except Exception as exc:
                if not future.done():  # an interrupt, not the call's
                    raise
                return ItemOutcome(item, None, exc)
        except BaseException:
            if not future.done():
                future.cancel()
                self.close()
            raise
        finally:
            del future, item

    def _fill(self) -> None:
        """Submit as many items as the window holds."""
        while self._items is not None and len(self._queue) + len(self._item_of) < self._window:
            try:
                item = next(self._items)
            except StopIteration:
                self._items = None
                return
            except Exception as exc:  # of the input: nothing is lost, the results before it come first
                self._items = None
                self._input_error = exc
                return
            try:
                future = self._submit(self._fn, item)
            except BaseException:
                self.close()
                raise
            if self._ordered:
                self._queue.append((item, future))
            else:
                self._item_of[future] = item
                self._completions.add(future)

    def _stop(self) -> None:
        error, self._input_error = self._input_error, None
        if error is None:
            raise StopIteration
        try:
            raise error
        finally:
            del error

    def close(self) -> None:
        """End the iteration: cancel the calls that have not started; nothing more is yielded."""
        self._items = None
        self._input_error = None
        while self._queue:
            self._queue.pop()[1].cancel()
        for future in list(self._item_of):
            future.cancel()
        self._item_of.clear()
        self._completions = Completions()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self.__dict__.get("_completions") is not None:
            self.close()


def imap(
    executor: standard.Executor,
    fn: Callable[[Any], _T],
    iterable: Iterable[Any],
    *,
    ordered: bool = False,
    window: int = 64,
    errors: Errors = "raise",
) -> ItemIterator[_T]:
    """Call `fn` with each item of an input that may be endless, on any executor, a window of items at a time.

    Items are taken from the input as results are taken from the iterator, so that neither side runs ahead by more than
    the window.

    Args:
        executor: Runs the calls.
        fn: Called with one item.
        iterable: The items; it is advanced in the thread that iterates.
        ordered: Whether the results come in the order of the input; else in the order in which the calls end.
        window: How many calls may be under way or waiting to be taken.
        errors: "raise": an error of a call is raised at its place. "yield": each result is an `ItemOutcome`, which has
            `item`, `value` and `error`; errors that are no `Exception` are raised all the same.

    Returns:
        An iterator with `close()`, which may be used in `with`. Closed or dropped, it cancels what has not started.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `window` is not positive, or `errors` is neither of the words.
    """
    submit: Any = getattr(executor, "submit", None)
    if submit is None:
        raise TypeError(f"imap() needs an executor, an object with submit(), not {type(executor).__name__}")
    if not callable(fn):
        raise TypeError(f"imap() needs a callable, not {type(fn).__name__}")
    if isinstance(window, bool) or not isinstance(window, int):
        raise TypeError(f"window must be an integer, not {type(window).__name__}")
    if window < 1:
        raise ValueError(f"window must be greater than 0, not {window!r}")
    if errors not in _ERRORS:
        raise ValueError(f"errors must be one of {', '.join(map(repr, _ERRORS))}, not {errors!r}")
    return ItemIterator(submit, fn, iterable, ordered, window, errors)
