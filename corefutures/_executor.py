"""`Executor`: submit is abstract; map, shutdown and `with` are built on it (promises E6, E9 of the design).

Touches `_results`, once `map` is called. Guarantees: to import a pool's class costs what the standard class costs.
"""

from __future__ import annotations

import concurrent.futures as _standard
from itertools import repeat

from corefutures._blocking import clock
from corefutures._options import check_seconds

TYPE_CHECKING = False  # as in `corefutures`: spawned workers run the main module's imports, and do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import Any, Literal, ParamSpec, Self, TypeVar

    from corefutures._future import Future
    from corefutures._results import ResultIterator

    _P = ParamSpec("_P")
    _T = TypeVar("_T")


class Executor(_standard.Executor):
    """The interface of all objects that run calls elsewhere.

    A backend overrides `submit` and `shutdown`; it may override `_cf_map`, by which `map` and the views of an executor
    submit, and `_cf_interrupt`. A subclass of the standard library's `Executor` by type only: no method is inherited.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` run.

        Args:
            fn: The function to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call.

        Raises:
            RuntimeError: The executor has been shut down, or is broken (`BrokenExecutor`).

        Thread safety: may be called from any thread, signal handler or finaliser.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override submit()")

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | Literal["auto"] = 1,
        buffersize: int | None = None,
    ) -> ResultIterator[_T]:
        """Call `fn` with the items of the iterables, like the built-in `map`, but concurrently.

        Args:
            fn: Called with one item of each iterable.
            *iterables: Collected at once without `buffersize`; with it, collected as results are taken.
            timeout: Seconds from this call on, in which all results must be there; None for no limit.
            chunksize: How many items travel to a worker as one call; "auto" measures how many pay. If calls don't
                travel, as in threads, each item is a call.
            buffersize: How many calls may be ahead of the results taken; None for no limit.

        Returns:
            A `ResultIterator`. It yields the results in the order of the input. In the place of a call that raised, it
            raises the same exception, and the next step goes on with the next call. It cancels the calls that have not
            started when it is closed, has timed out, or is dropped between two results; if it is dropped before the
            first one, they run.

        Raises:
            TypeError: `fn` is not callable, an argument is not iterable, `buffersize` is no int or `timeout`
                is no number.
            ValueError: `chunksize` or `buffersize` is not positive.
            RuntimeError: The executor has been shut down, or is broken.

        Thread safety: the call may be made in any thread; the iterator is for one thread at a time.
        """
        return self._cf_map(self.submit, fn, iterables, timeout, chunksize, buffersize)

    def _cf_map(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
        /,
    ) -> ResultIterator[_T]:
        """Do what `map` does by way of `submit`: this executor's, or that of a view of it."""
        from corefutures._results import (  # here for start-up time only
            ResultIterator,
            check_buffersize,
            check_chunksize,
            check_iterables,
        )

        check_iterables(iterables)
        check_seconds("timeout", timeout)
        check_chunksize(chunksize)
        check_buffersize(buffersize)
        deadline = None if timeout is None else clock.monotonic() + timeout
        # Without iterables there is no item; the built-in `map` would call `fn` without end.
        submissions = map(submit, repeat(fn), *iterables) if iterables else iter(())
        return ResultIterator(submissions, deadline, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and free the executor's resources once all calls have ended.

        Args:
            wait: Whether to return only after that.
            cancel_futures: Whether to cancel the calls that have not started.

        Thread safety: may be called from any thread, more than once; also from a call or a callback, where it does not
        wait.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Shut down and wait; on KeyboardInterrupt, cancel the calls that wait and stop those that run."""
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._cf_interrupt()
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:  # during the wait
            self._cf_interrupt()
            raise

    def _cf_interrupt(self) -> None:
        """After Ctrl-C in the `with` block: cancel the calls that wait, and stop those that run if that is possible."""
        self.shutdown(wait=False, cancel_futures=True)
