"""The thread that completes a pool's futures and runs their callbacks, so that Dask's loop runs no foreign code.

Touches `_wire` and `_future`. Guarantees: the thread notices within a second that the client has lost the scheduler or
was closed; it ends last, and closes the connection of the pool.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Final

from corefutures_dask import _wire
from corefutures_dask._future import DaskFuture, non_blocking
from corefutures_pools.blocking import clock, nested_loops
from corefutures_pools.foreign_code import for_each, log_failure, set_cause

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_dask._batching import Batch

LOGGER = logging.getLogger("concurrent.futures")

#: Seconds between two checks of the pool.
_CHECK_INTERVAL: Final = 0.5
#: Seconds between two checks of the condition that a callback waits for: another thread may fulfil it.
_POLL_INTERVAL: Final = 0.01
#: The number of callbacks that may wait within each other.
_MOST_NESTED: Final = 20


class CompletionThread(threading.Thread):
    """Completes futures.

    Args:
        pool: The name of the pool.
        close: Called at the end.
        check: Called regularly while there is nothing to do.

    Thread safety: every method may be called from any thread.
    """

    def __init__(self, pool: str, close: Callable[[], None], check: Callable[[], None]) -> None:
        super().__init__(name=f"{pool} completion", daemon=True)
        self._jobs: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._close = close
        self._check = check
        self._numbers = itertools.count().__next__
        self._nested = 0  # the number of callbacks that wait here, each within the last
        self._futures: dict[int, list[DaskFuture[Any]]] = {}  # the futures of each job: for a forked child

    def complete(self, batch: Batch, first: int, outcomes: list[bytes]) -> None:
        """Complete the futures of `batch` from `first` on, unless they have ended."""
        futures = batch.futures[first : first + len(outcomes)]
        self._add(futures, lambda: self._complete(batch, futures, outcomes))

    def fail(self, futures: list[DaskFuture[Any]], make_error: Callable[[], Exception]) -> None:
        """End futures with an error each, unless they have ended."""
        self._add(futures, lambda: for_each(lambda future: future.fail(make_error()), futures))

    def cancel(self, futures: list[DaskFuture[Any]]) -> None:
        """Cancel calls that their batches have given back."""
        self._add(futures, lambda: for_each(DaskFuture.cancel_returned, futures))

    def end(self) -> None:
        """Have the thread end after the jobs that were added before."""
        self._jobs.put(None)

    def unfinished(self) -> list[DaskFuture[Any]]:
        """Return the futures of the jobs that are not done."""
        return [future for futures in self._futures.values() for future in futures]

    def _add(self, futures: list[DaskFuture[Any]], work: Callable[[], None]) -> None:
        number = self._numbers()
        self._futures[number] = futures
        self._jobs.put((number, work))

    def run(self) -> None:
        """Do jobs until the end."""
        non_blocking.active = True
        nested_loops[threading.get_ident()] = self._work_until
        try:
            while self._do_job(_CHECK_INTERVAL):
                pass
        finally:
            del nested_loops[threading.get_ident()]
            self._close()

    def _do_job(self, timeout: float) -> bool:
        """Do one job, or check the pool if there is none within `timeout` seconds; return False at the end."""
        try:
            job = self._jobs.get(timeout=timeout)
        except queue.Empty:
            try:
                self._check()
            except BaseException:  # the next check tries again
                log_failure(LOGGER, "Exception in the check of the connection to the scheduler")
            return True
        if job is None:
            return False
        number, work = job
        try:
            work()
        except BaseException:
            log_failure(LOGGER, "Exception in the completion of futures", level=logging.CRITICAL)
        finally:
            del self._futures[number], job, work
        return True

    def _work_until(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Do jobs while a callback that runs in this thread waits."""
        if self._nested >= _MOST_NESTED:
            raise RuntimeError(f"{self._nested} callbacks wait for calls in {self.name!r}, each within the last")
        self._nested += 1
        try:
            while not enough():
                left = _POLL_INTERVAL if deadline is None else min(_POLL_INTERVAL, deadline - clock.monotonic())
                if left <= 0:
                    return
                if not self._do_job(left):
                    self.end()
                    return
        finally:
            self._nested -= 1

    def _complete(self, batch: Batch, futures: list[DaskFuture[Any]], outcomes: list[bytes]) -> None:
        # First all outcomes are stored, then the callbacks run: a callback of the first future may ask about the last.
        watched = []
        try:
            # The scheduler may lack our plugin, and repeat calls that a batch has given back: those have ended already.
            for future, body in zip(futures, outcomes, strict=False):
                result, error, text = _wire.load_outcome(body)
                if error is not None and text:
                    try:
                        set_cause(error, _wire.RemoteTraceback(text))
                    except Exception:  # not every class allows it
                        pass
                if future.finish(result, error):
                    watched.append(future)
        except BaseException as exc:  # E8
            for future in futures:
                future.fail(RuntimeError(f"the outcome of the call could not be delivered: {exc!r}"))
            raise
        finally:
            batch.start_known.set()
            result = error = None
            for future in watched:
                future.notify()
