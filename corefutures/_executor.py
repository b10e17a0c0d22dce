"""`Executor`: submit is abstract; map, shutdown and `with` are built on it (promises E6, E9 of the design).

Touches `_exceptions`. Guarantees: `map` behaves on every Python as in 3.16, and leaves nothing running that it
could cancel, whichever way it ends.
"""

from __future__ import annotations

import concurrent.futures as _standard
import sys
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from corefutures._exceptions import UnsupportedError
from corefutures._loops import for_each
from corefutures._options import check_seconds, check_text, shown
from corefutures._originals import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from corefutures._control import Stats
    from corefutures._future import Future
    from corefutures._snapshots import Snapshot

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

    def options(self, *, timeout: float | None = None, name: str | None = None) -> Executor:
        """Returns a view of this executor with options for the calls that are submitted through it.

        Args:
            timeout: Seconds that each call may run. One that runs longer is stopped, and its future fails with
                `TimeoutError`.
            name: What the calls are called in `repr` and in messages.

        Returns:
            An executor with the same workers, whose `shutdown` does nothing.

        Raises:
            TypeError: An option is of the wrong type.
            ValueError: `timeout` is not positive.
            UnsupportedError: `timeout` is given, and calls can't be stopped here.
        """
        from corefutures._control import OptionsView  # here for start-up time only

        check_seconds("timeout", timeout, positive=True)
        if name is not None:
            check_text("name", name)
        if timeout is not None:
            self._cf_begin_limiting()
        return OptionsView(self, timeout=timeout, name=name)

    def _cf_begin_limiting(self) -> None:
        """Called when `options` is given a `timeout`; raises UnsupportedError where calls can't be stopped."""
        raise unsupported(self, "limit how long a call runs")

    def _cf_submit_with(
        self,
        timeout: float | None,
        name: str | None,
        fn: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[_T]:
        """`submit` for views: `timeout` is None unless `_cf_begin_limiting` accepts one."""
        future = self.submit(fn, *args, **kwargs)
        future._cf_name = name
        if (observed := getattr(future, "_cf_observed", None)) is not None:
            observed.given = name
        return future

    def kill(self, future: Future[Any]) -> bool:
        """Stops a call, even if it runs.

        Args:
            future: What `submit` returned. If the call waits it is cancelled; if it runs, the future fails with
                `WorkerLostError`.

        Returns:
            Whether the call was stopped; False if it had ended.

        Raises:
            UnsupportedError: Running calls can't be stopped here.
        """
        raise unsupported(self, "stop a call that runs")

    def request_cancel(self, future: Future[Any]) -> bool:
        """Asks a call to stop: in it, `corefutures.cancel_requested()` is true from now on.

        Args:
            future: What `submit` returned. If the call waits it is cancelled.

        Returns:
            Whether the call was cancelled or asked; False if it had ended.

        Raises:
            UnsupportedError: Running calls can't be asked here.
        """
        raise unsupported(self, "ask a call to stop", by="thread")

    def stats(self) -> Stats:
        """Returns how many calls wait, run, and have ended how.

        Raises:
            UnsupportedError: They are not counted here.
        """
        raise unsupported(self, "count its calls")

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """Returns which calls run where, since when and at which line, and which wait.

        Args:
            timeout: Seconds to wait at most for workers to tell their stacks; those that have not are shown without.

        Raises:
            UnsupportedError: Nothing is known of the workers here.

        Thread safety: may be called from any thread or signal handler, also while the pool hangs.
        """
        raise unsupported(self, "be looked into", by="thread")

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
        self.shutdown(wait=True)

    def _cf_interrupt(self) -> None:
        """Ctrl-C has left the `with` block: cancels what waits, and stops what runs, as far as that can be done."""
        self.shutdown(wait=False, cancel_futures=True)


def unsupported(executor: object, what: str, by: str = "process") -> UnsupportedError:
    """Returns the error that refuses what this executor can't do, and names a backend `by` which it can be done."""
    kind = type(executor).__name__
    wrapped = getattr(executor, "_cf_adapted", None)
    if isinstance(wrapped, Executor):
        return UnsupportedError(f"{kind} can't {what}: ask the {type(wrapped).__name__} that it wraps")
    return UnsupportedError(f"{kind} can't {what}; create_executor({by!r}) makes a pool that can")


def unreachable(executor: object) -> TypeError:
    """Returns the error of an executor that is to be pickled, which is to be reached from elsewhere."""
    kind = type(executor).__name__
    others = "" if kind == "ThreadPoolExecutor" else ", or use create_executor('thread'), whose calls may submit others"
    return TypeError(
        f"{kind} can't be pickled, so a call elsewhere can't reach its pool: have the call return what is to be called"
        f" next, which its caller submits{others}"
    )


def check_buffersize(buffersize: int | None) -> None:
    """Raises what the standard library raises for a `buffersize` that makes no sense."""
    if buffersize is None:
        return
    if isinstance(buffersize, bool) or not isinstance(buffersize, int):
        raise TypeError(f"buffersize must be an integer or None, not {shown(buffersize)}")
    if buffersize < 1:
        raise ValueError(f"buffersize must be None or > 0, not {shown(buffersize)}")


def check_iterables(iterables: tuple[Any, ...]) -> None:
    """Raises TypeError if one of what `map` is to take its items from is not iterable."""
    for one in iterables:
        if not hasattr(type(one), "__iter__") and not hasattr(type(one), "__getitem__"):
            raise TypeError(
                f"map() takes iterables after the function, not {shown(one)}: write [{shown(one)}] for one item"
            )


def check_chunksize(chunksize: int | str) -> None:
    """Raises TypeError or ValueError if `chunksize` is neither a positive int nor "auto"."""
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
        # None once they are exhausted. While it lasts it keeps the executor alive: calls are still to come.
        self._submissions: Iterator[Future[_T]] | None = submissions
        self._deadline = deadline
        self._futures: deque[Future[_T]] = deque()
        self._error: BaseException | None = None  # of the input: raised where its item would have come
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
                if future.done():  # the call itself raised it, or has ended a moment ago
                    return future.result()
                try:
                    future.cancel()
                finally:
                    self.close()
                raise
        except BaseException as exc:
            # Of an interrupt while waiting: its result would be lost in any case, and the rest is not waited for.
            try:
                if not future.done() and not isinstance(exc, Exception):
                    self.close()
            finally:
                future.cancel()
            raise
        finally:
            if self._submissions is not None:
                self._refill()
            # Whoever leaves a loop by what is raised here drops us, and so cancels the rest: before the `with` block
            # around the loop ends, though the traceback has our frame.
            del future, self

    def close(self) -> None:
        """Ends the iteration: cancels the calls that have not started; nothing more is yielded."""
        self._submissions = None
        self._error = None
        futures, self._futures = self._futures, deque()
        for_each(lambda future: future.cancel(), reversed(futures))

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # Nobody wants the results that are left. But who never asked for one may have called `map` for what
        # the calls do: they run. At the end of the interpreter there is nothing left to cancel them with.
        if self.__dict__.get("_begun") and not is_finalizing():
            self.close()

    def _refill(self) -> None:
        """Submits the call that may follow the result just taken."""
        submissions = self._submissions
        if submissions is None:
            return
        try:
            self._futures.append(next(submissions))
        except StopIteration:
            self._submissions = None
        except Exception as exc:  # nothing is lost: the results before it come first
            self._submissions = None
            self._error = exc
