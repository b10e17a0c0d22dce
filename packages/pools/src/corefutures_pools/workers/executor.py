"""`IsolatedExecutor`: what executors over a `WorkerPool` have in common.

Touches `PoolExecutor` and `WorkerPool`'s public methods. Guarantees: in a forked child an executor starts over, with a
pool of its own (E11); one that can't reach its pool says so. All that only an instance needs is imported with one.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod

from corefutures._options import check_choice, check_flag, check_seconds
from corefutures_pools.executor import PoolExecutor, register_pool, unreachable
from corefutures_pools.lifecycle import Lifecycle

TYPE_CHECKING = False  # as in `corefutures`: spawned workers run the main module's imports, and do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, TypeVar

    from corefutures._future import Future
    from corefutures._results import ResultIterator
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.sharing import Shared
    from corefutures_pools.stats import Stats
    from corefutures_pools.streams.stream import Stream
    from corefutures_pools.workers.pool import WorkerPool

    _T = TypeVar("_T")

#: The pools that have not ended, also those whose executor has gone.
pools = Lifecycle(
    close=lambda pool: pool.close_at_exit(),
    join=lambda pool: pool.finish_at_exit(),
    interrupt=lambda pool: pool.control.interrupt(),
    after_fork=lambda pool: pool.after_fork_in_child(),
    outlive_main=lambda pool: pool._at_exit == "wait",
)


class IsolatedExecutor(PoolExecutor):
    """An executor whose calls a `WorkerPool` takes: a subclass sets its options, calls `_cf_begin`, and has `submit`.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    _cf_can_have_slots = True
    _cf_pool: WorkerPool
    _max_workers: int

    #: Makes the cause of an exception in a chunk of its traceback as text.
    _cf_remote_traceback: Callable[[str], BaseException]

    @abstractmethod
    def _cf_make_pool(self) -> WorkerPool:
        """Return a new pool with the executor's options."""

    def _cf_begin(self) -> None:
        """Make the pool and register the executor: the last step of its construction."""
        from corefutures._instrumentation import instrumentation  # here for start-up time only, as is the other one
        from corefutures_pools.workers.chunking import CostModel

        self._cf_pace = CostModel()
        self._cf_renew_pool()
        register_pool(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    def _cf_renew_pool(self) -> None:
        self._cf_pool = self._cf_make_pool()
        self._cf_pool.owner = weakref.ref(self)
        pools.add(self._cf_pool)

    def _cf_after_fork_in_child(self) -> None:
        """Make a pool for the calls that are submitted here; those submitted before belong to the parent (E11)."""
        closed = self._cf_pool.closed
        self._cf_renew_pool()
        if closed:
            self._cf_pool.close(wait=False)

    def _cf_submit_with(
        self,
        timeout: float | None,
        name: str | None,
        fn: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[_T]:
        def submit() -> Future[_T]:
            return super(IsolatedExecutor, self)._cf_submit_with(None, name, fn, args, kwargs)

        if timeout is None:
            return submit()
        return self._cf_pool.control.submit_limited(timeout, submit)

    def _cf_map(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
    ) -> ResultIterator[_T]:
        if chunksize == 1:
            return super()._cf_map(submit, fn, iterables, timeout, chunksize, buffersize)
        from corefutures_pools.workers.chunking import chunked_map  # here for start-up time only

        return chunked_map(
            submit,
            fn,
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
            workers=self._max_workers,
            pace=self._cf_pace,
            remote_traceback=self._cf_remote_traceback,
        )

    def _cf_stream(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., Iterable[_T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        buffer: int,
    ) -> Stream[_T]:
        from corefutures_pools.workers.streams import stream_from_workers  # here for start-up time only

        return stream_from_workers(self._cf_pool, submit, fn, args, kwargs, buffer)

    def share(self, obj: _T) -> Shared[_T]:
        """Send an object to each worker once: see `PoolExecutor.share`."""
        return self._cf_pool.share(obj)

    def request_cancel(self, future: Future[Any]) -> bool:
        """Ask a call to stop: see `PoolExecutor.request_cancel`."""
        return self._cf_pool.control.request_cancel(self._cf_pool.control.own(future))

    def stats(self) -> Stats:
        """Return how many calls wait, run, and have ended how: see `Stats`."""
        return self._cf_pool.stats()

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """Return which calls run where, since when and at which line, and which wait: see `PoolExecutor.snapshot`."""
        from corefutures._instrumentation import executor_info  # here for start-up time only

        check_seconds("timeout", timeout)
        return self._cf_pool.snapshot(executor_info(self).name, timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Take no more calls, and end the workers once the calls that were taken are done.

        Args:
            wait: Whether to return only when that has happened.
            cancel_futures: Whether to cancel the calls that have not started.
            timeout: Seconds to wait at most; None waits without limit.

        Raises:
            KeyboardInterrupt: Ctrl-C, while it waited: calls that wait are cancelled, and those that run stopped.
            TimeoutError: Calls still ran after `timeout` seconds; the message tells. The pool stays shut down.
            TypeError: `timeout` is no number.
            ValueError: `timeout` is negative.

        Thread safety: may be called from any thread, more than once, also from a callback, where it does not wait.
        """
        check_flag("wait", wait)
        check_flag("cancel_futures", cancel_futures)
        check_seconds("timeout", timeout, least=0)
        from corefutures._instrumentation import instrumentation  # here for start-up time only

        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        try:
            self._cf_pool.close(wait=wait, cancel_futures=cancel_futures, timeout=timeout)
        except KeyboardInterrupt:
            if wait:
                self._cf_interrupt()
            raise

    def _cf_interrupt(self) -> None:
        self._cf_pool.control.interrupt()

    def __reduce__(self) -> Any:
        raise unreachable(self)


def check_serializer(serializer: str, distribution: str) -> None:
    """Raise ValueError if there is no such serializer, or cloudpickle is not installed.

    Args:
        serializer: "pickle" or "cloudpickle".
        distribution: Whose extra brings cloudpickle.
    """
    check_choice("serializer", serializer, ("pickle", "cloudpickle"))
    if serializer == "cloudpickle":
        from importlib.util import find_spec  # here for start-up time only

        if find_spec("cloudpickle") is None:
            raise ValueError(
                "serializer='cloudpickle' needs cloudpickle, which is not installed: pip install cloudpickle"
            )
