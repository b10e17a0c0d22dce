"""The calls of one pool that have not ended: in queues until they leave, in batches until their results arrive.

Touches `_batching`, `_completion` and `_future`. Guarantees: no call is added once calls are refused; a pending future
is at each moment in a queue, a batch or a job of the completion thread, where a forked child finds it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from corefutures_dask._batching import Batch, InFlight, SubmissionQueue
from corefutures_dask._future import DaskFuture
from corefutures_pools.blocking import Lock
from corefutures_pools.foreign_code import copied, for_each

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_dask._batching import TaskOptions
    from corefutures_dask._completion import CompletionThread
    from corefutures_dask._future import Call


class PendingCalls:
    """The table of the calls that have not ended.

    Args:
        completion: The thread that completes the futures.
        limited: Whether the user has limited how many calls run at once.

    Thread safety: the methods before `is_full` may be called from any thread, the others in Dask's loop.
    """

    def __init__(self, completion: CompletionThread, limited: bool) -> None:
        self._completion = completion
        self._limited = limited
        # Guards `refusal` and `_failed` together with the calls that are appended to queues or put back.
        # Nothing is called under it where the main thread passes, see `Lock`.
        self._lock = Lock()
        self.refusal: Exception | None = None  # the reason why calls are refused; None while they are taken
        self._failed = False
        self._shared = InFlight()
        self.queues: dict[TaskOptions, SubmissionQueue] = {}
        self.batches: dict[int, Batch] = {}  # that are being filled or in flight, by number
        self._numbers = itertools.count().__next__

    def add_queue(self, options: TaskOptions) -> SubmissionQueue:
        """Return the queue of the calls with these options, after adding it."""
        # Calls that only some workers may run wait in Dask, and must not take the slots of other calls (E2), unless
        # the number of calls is limited: the limit comes first.
        own = options.restricts_workers and not self._limited
        return self.queues.setdefault(options, SubmissionQueue(options, InFlight() if own else self._shared))

    def add(self, queue: SubmissionQueue, call: Call, task_name: str, cost_key: int) -> DaskFuture[Any]:
        """Append a call to a queue, or raise RuntimeError if calls are refused."""
        future: DaskFuture[Any] = DaskFuture(call, self._numbers(), task_name, cost_key)
        added, taken = (future,), False
        if self._lock.taken:
            if taken := self.refusal is None:
                queue.calls += added
            self._lock.release()
        if not taken:
            raise self.refusal_error()
        return future

    def refusal_error(self) -> Exception:
        """Return an exception of its own for each call that is refused (E5)."""
        refusal = self.refusal
        assert refusal is not None
        own = type(refusal)(*refusal.args)
        own.__cause__ = refusal.__cause__
        return own

    def close(self, refusal: Exception) -> None:
        """Refuse calls from now on, with this reason unless there is one already."""
        if self._lock.taken:
            if self.refusal is None:
                self.refusal = refusal
            self._lock.release()

    def cancel(self) -> None:
        """Cancel the calls that have not started; raise the first exception of a callback at the end (F4)."""
        queued = [future for queue in copied(self.queues.values()) for future in copied(queue.calls)]
        for batch in copied(self.batches.values()):
            for future in copied(batch.futures):
                future.cancel_on_return()
        for_each(DaskFuture.cancel_queued, queued)

    def fail(self, error: Exception) -> None:
        """Fail every pending call, each with an error of its own, and refuse calls from now on."""
        with self._lock:
            if not self._failed:
                self._failed, self.refusal = True, error
            batches = copied(self.batches.values())
            pending = [future for batch in batches for future in batch.futures]
            for queue in copied(self.queues.values()):
                pending += copied(queue.calls)
                queue.calls.clear()
        self._completion.fail(pending, self.refusal_error)
        for batch in batches:
            batch.start_known.set()

    def fail_after_fork(self, make_error: Callable[[], Exception]) -> None:
        """In a forked child: fail every pending call, each with an error of its own (E11)."""
        futures = [future for batch in self.batches.values() for future in batch.futures]
        futures += [future for queue in self.queues.values() for future in [*queue.calls, *queue.returning]]
        for future in [*futures, *self._completion.unfinished()]:
            future.fail_after_fork(make_error())

    def is_full(self, slots: int) -> bool:
        """Return whether no queue may send another batch."""
        return all(queue.in_flight.count >= slots for queue in copied(self.queues.values()))

    def is_empty(self) -> bool:
        """Return whether no call is queued or in flight."""
        return not self.batches and not any(queue.calls for queue in copied(self.queues.values()))

    def new_batch(self, slots: int) -> Batch | None:
        """Add an empty batch for the queue that comes next, by priority and then by age; None if no queue may send."""
        best, turn = None, (0, 0)
        for queue in copied(self.queues.values()):
            if queue.in_flight.count < slots and (head := queue.head()) is not None:
                own = (-queue.options.priority, head.number)
                if best is None or own < turn:
                    best, turn = queue, own
        if best is None:
            return None
        best.in_flight.count += 1
        batch = Batch(self._numbers(), best)
        self.batches[batch.number] = batch
        return batch

    def check_batch(self, batch: Batch) -> None:
        """Fail the calls of a filled batch if the pool has failed while it was being filled."""
        with self._lock:
            if self._failed:
                self._completion.fail(batch.futures, self.refusal_error)

    def remove_batch(self, batch: Batch) -> None:
        """Remove a batch that is empty or has come back."""
        del self.batches[batch.number]
        batch.queue.in_flight.count -= 1

    def take_back(self, batch: Batch, kept: int) -> None:
        """Put the calls of a batch from the index `kept` on back into their queue."""
        wanted: list[DaskFuture[Any]] = []
        cancelled: list[DaskFuture[Any]] = []
        with self._lock:
            returned = batch.futures[kept:]
            for future, call in zip(returned, batch.calls[kept:], strict=True):
                future.give_back(call)
                (cancelled if future.is_cancelled_on_return else wanted).append(future)
            self._completion.cancel(cancelled)
            if self._failed:
                self._completion.fail(returned, self.refusal_error)
            else:
                batch.queue.put_back(wanted)
            del batch.futures[kept:], batch.calls[kept:]
        batch.start_known.set()
