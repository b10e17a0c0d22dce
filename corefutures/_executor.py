"""`Executor`: submit is abstract; map, shutdown and `with` are built on it (promises E6, E9 of the design).

Touches `_results`, which `map` needs, once it does: importing a pool's class is to cost what the standard one's does.
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
    """The interface of everything that runs calls elsewhere.

    A backend overrides `submit` and `shutdown`. A subclass of the standard library's `Executor` by type only:
    no method is inherited.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Has `fn(*args, **kwargs)` run.

        Args:
            fn: What to call.
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
        """Calls `fn` with the items of the iterables, like the built-in `map`, but concurrently.

        Args:
            fn: Called with one item of each iterable.
            *iterables: Collected at once without `buffersize`, as results are taken with it.
            timeout: Seconds, from this call on, in which each result is to be had; None sets no limit.
            chunksize: How many items travel to a worker as one call, where calls travel; "auto" for as many as pays,
                as measured. Where they don't, as in threads, each item is a call.
            buffersize: How many calls may be under way or waiting to be taken; None sets no limit.

        Returns:
            A `ResultIterator`. It yields the results in the order of the input. Where a call raised, it
            raises the same at that place, and goes on with the next. It cancels the calls that have not
            started when it is closed, timed out, or dropped between two results; dropped before the first
            one it lets them run.

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
        """`map` by way of `submit`: this executor's, or that of a view of it."""
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
        # Without iterables there is no item; `map` would take that for no end of them.
        submissions = map(submit, repeat(fn), *iterables) if iterables else iter(())
        return ResultIterator(submissions, deadline, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls and frees what the executor holds once those it has are done.

        Args:
            wait: Whether to return only when that has happened.
            cancel_futures: Whether to cancel the calls that have not started.

        Thread safety: may be called from any thread, more than once, also from a call or a callback, where it
        does not wait.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Shuts down and waits; left by KeyboardInterrupt, calls that wait are cancelled and those that run stopped."""
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._cf_interrupt()
        try:
            self.shutdown(wait=True)
        except KeyboardInterrupt:  # while it waited
            self._cf_interrupt()
            raise

    def _cf_interrupt(self) -> None:
        """Ctrl-C has left the `with` block: cancels what waits, and stops what runs, as far as that can be done."""
        self.shutdown(wait=False, cancel_futures=True)
