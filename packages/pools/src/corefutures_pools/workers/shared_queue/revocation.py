"""`Revocations`: cancels calls that no worker has claimed yet.

Touches `TaskQueue` and the pool's table of calls. Guarantees: of a call that is revoked, its future is cancelled and
announced once, whichever thread is interrupted in between, and for however long (E3, F8).
"""

from __future__ import annotations

import sys
from functools import partial

from corefutures._blocking import threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock
from corefutures._foreign_code import for_each
from corefutures_pools.workers.shared_queue.watchdog import STALL_TIMEOUT

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.pool import WorkerPool
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue


class Revocations:
    """The calls that were revoked, and are not yet cancelled.

    1. The queue moves the task to `TaskQueue.revoked`, with the ident of the thread that cancels it.
    2. That thread marks the future as cancelled, and announces that.
    3. The task leaves `revoked`.

    If the thread is interrupted in between, and the signal handler uses the pool, the handler finishes these
    steps first (`finish_own`). If it is interrupted for longer, the result thread does (`finish_late`).

    Args:
        pool: The pool.

    Thread safety: every method but `finish_late` may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._since: dict[int, float] = {}  # when the result thread first saw them

    @property
    def are_late(self) -> bool:
        """Whether the result thread has seen calls that were revoked, and not cancelled yet."""
        return bool(self._since)

    def cancel(self, queue: TaskQueue, future: CallFuture[Any], rewrite: int) -> None:
        """Cancel a call unless a worker has claimed it.

        Args:
            queue: The pool's.
            future: The call's.
            rewrite: See `TaskQueue.revoke`.
        """
        number = future._number
        try:
            if queue.revoke(number, rewrite):
                if future._cf_try_cancel(notified=True, recalled=True):
                    future._tell_cancelled(self._pool)
                queue.revoked.pop(number, None)
        except BaseException:  # of a signal handler, or of a callback
            self.finish_own(queue)
            self._pool.wake()
            raise

    def cancel_all(self, queue: TaskQueue) -> None:
        """Cancel every call that was encoded, and that no worker has claimed."""
        try:
            queue.revoke_all()
        finally:
            self.finish_own(queue)

    def finish_own(self, queue: TaskQueue) -> None:
        """Cancel the calls that this very thread had revoked when it was interrupted."""
        own = threading.get_ident()
        self._finish(queue, [number for number, thread in queue.revoked.copy().items() if thread == own])

    def finish_late(self, queue: TaskQueue) -> None:
        """Cancel the calls that an interrupted thread has not cancelled in time. For the result thread."""
        now = clock.monotonic()
        self._since = {number: self._since.get(number, now) for number in queue.revoked.copy()}
        self._finish(queue, [number for number, since in self._since.items() if now - since >= STALL_TIMEOUT])

    def _finish(self, queue: TaskQueue, numbers: Iterable[int]) -> None:
        """Cancel calls that were revoked, in their order.

        One thread marks a call as cancelled, and announces that. If it was interrupted just then, at least the pool
        need not wait for the call.
        """
        for_each(partial(self._finish_one, queue), sorted(numbers))

    def _finish_one(self, queue: TaskQueue, number: int) -> None:
        pool = self._pool
        future = pool.calls.get(number)
        queue.arena.free(number)
        try:
            if future is not None:
                if pool.broken_reason is not None:
                    pool.fail_call(future)  # the thread in `mark_broken`, which a callback detains, has not done so yet
                if future._cf_try_cancel(notified=True, recalled=True):
                    future._tell_cancelled(pool)
                elif future.cancelled():
                    pool.discard(future)
        except BaseException:  # of a signal handler, or of a callback
            if future is not None and future.cancelled():
                future._tell_cancelled(pool)
            raise
        finally:
            queue.revoked.pop(number, None)
