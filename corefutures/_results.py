"""`ResultIterator`, the results of `map`, and the checks of the arguments of `map` (promise E9).

Touches futures by their public methods. Guarantees: the iterator behaves on every Python as in 3.16, and leaves no call
pending that it could cancel, whichever way it ends.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from corefutures._blocking import clock
from corefutures._foreign_code import for_each
from corefutures._options import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from corefutures._future import Future

_T = TypeVar("_T")


def check_buffersize(buffersize: int | None) -> None:
    """Raise TypeError or ValueError if `buffersize` is neither None nor a positive int."""
    if buffersize is None:
        return
    if isinstance(buffersize, bool) or not isinstance(buffersize, int):
        raise TypeError(f"buffersize must be an integer or None, not {shown(buffersize)}")
    if buffersize < 1:
        raise ValueError(f"buffersize must be None or > 0, not {shown(buffersize)}")


def check_iterables(iterables: tuple[Any, ...]) -> None:
    """Raise TypeError if an argument of `map` after the function is not iterable."""
    for one in iterables:
        if not hasattr(type(one), "__iter__") and not hasattr(type(one), "__getitem__"):
            raise TypeError(
                f"map() takes iterables after the function, not {shown(one)}: write [{shown(one)}] for one item"
            )


def check_chunksize(chunksize: int | str) -> None:
    """Raise TypeError or ValueError if `chunksize` is neither a positive int nor "auto"."""
    if isinstance(chunksize, str):
        if chunksize != "auto":
            raise ValueError(f"chunksize must be a number of items or 'auto', not {shown(chunksize)}")
    elif isinstance(chunksize, bool) or not hasattr(type(chunksize), "__index__"):
        raise TypeError(f"chunksize must be an integer or 'auto', not {shown(chunksize)}")
    elif chunksize < 1:
        raise ValueError(f"chunksize must be >= 1, not {shown(chunksize)}")


class ResultIterator(Generic[_T]):
    """The results of `map`, in order (E9).

    Args:
        submissions: Yields a future for each call; advancing it submits the call.
        deadline: When the last result is due, by `time.monotonic`; None for never.
        buffersize: How many futures may be ahead of the results taken; None advances to the end at once.

    Thread safety: for one thread at a time.
    """

    def __init__(self, submissions: Iterator[Future[_T]], deadline: float | None, buffersize: int | None) -> None:
        # None once exhausted. Until then it keeps the executor alive: calls are still to be submitted.
        self._submissions: Iterator[Future[_T]] | None = submissions
        self._deadline = deadline
        self._futures: deque[Future[_T]] = deque()
        self._error: BaseException | None = None  # an error of the input: raised in the place of its item
        self._begun = False
        try:
            if buffersize is None:
                self._futures.extend(submissions)
                self._submissions = None
            else:
                for _ in range(buffersize):
                    self._futures.append(next(submissions))
        except StopIteration:
            self._submissions = None
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        self._begun = True
        try:
            future = self._futures.popleft()
        except IndexError:
            error, self._error = self._error, None
            if error is None:
                raise StopIteration from None
            try:
                raise error
            finally:
                del error
        try:
            if self._deadline is None:
                return future.result()
            try:
                return future.result(self._deadline - clock.monotonic())
            except TimeoutError:
                if future.done():  # the call itself raised it, or has just ended
                    return future.result()
                try:
                    future.cancel()
                finally:
                    self.close()
                raise
        except BaseException as exc:
            # After an interrupt of the wait the result is lost in any case, and the caller waits for no other one.
            try:
                if not future.done() and not isinstance(exc, Exception):
                    self.close()
            finally:
                future.cancel()
            raise
        finally:
            if self._submissions is not None:
                self._refill()
            # If the exception leaves the caller's loop, the loop drops this iterator, which cancels the rest before the
            # `with` block around the loop ends. The traceback refers to this frame, so the frame must not refer to it.
            del future, self

    def close(self) -> None:
        """End the iteration, and cancel the calls that have not started."""
        self._submissions = None
        self._error = None
        futures, self._futures = self._futures, deque()
        for_each(lambda future: future.cancel(), reversed(futures))

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # The results that are left are not needed. But a caller that never took a result may have called `map` for the
        # effects of the calls: these run. At the end of the interpreter there is nothing left to cancel calls with.
        if self.__dict__.get("_begun") and not is_finalizing():
            self.close()

    def _refill(self) -> None:
        """Submit the call that may follow the result just taken."""
        submissions = self._submissions
        if submissions is None:
            return
        try:
            self._futures.append(next(submissions))
        except StopIteration:
            self._submissions = None
        except Exception as exc:  # raised after the results that come before it
            self._submissions = None
            self._error = exc
