"""The calls of one pool that have not ended: in queues until they leave, in batches until their results arrive.

Touches `_batching`, `_completion` and `_future`. Guarantees: no call is added once calls are refused; a forked child finds
each pending future, which is at each moment in one collection at least: queue, batch or job of the completion thread.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from corefutures.backend import Lock, copied
from corefutures_dask._batching import Batch, InFlight, SubmissionQueue
from corefutures_dask._future import DaskFuture

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_dask._batching import TaskOptions
    from corefutures_dask._completion import CompletionThread
    from corefutures_dask._future import Call


class PendingCalls:
    """The table of the pending calls.

    Args:
        completion: The thread that completes the futures.
        limited: Whether the user has limited how many calls run at once.

    Attributes:
        refusal: The reason why calls are refused; None while they are taken.

    Thread safety: every method may be called from any thread, unless it says otherwise.
    """

    def __init__(self, completion: CompletionThread, limited: bool) -> None:
        self._completion = completion
        self._limited = limited
        # Guards `refusal` and `_failed` together with `_queues`, the calls that are appended to them, and `_batches`.
        # Nothing is called under it where the main thread passes, see `Lock`.
        self._lock = Lock()
        self.refusal: Exception | None = None
        self._failed = False
        self._shared = InFlight()
        self._queues: dict[TaskOptions, SubmissionQueue] = {}
        self._numbers = itertools.count().__next__
        self._filling: Batch | None = None  # the batch that takes calls out of a queue, until it is in flight
        self._batches: dict[int, Batch] = {}  # in flight

    def queue(self, options: TaskOptions) -> SubmissionQueue | None:
        """Return the queue of the calls with these options; None if there is none yet."""
        return self._queues.get(options)

    def add_queue(self, options: TaskOptions) -> SubmissionQueue:
        """Return the queue of the calls with these options, after adding it."""
        # Calls that only some workers may run wait in Dask, and must not take the slots of other calls (E2), unless
        # the number of calls is limited: the limit comes first.
        own = options.restricts_workers and not self._limited
        return self._queues.setdefault(options, SubmissionQueue(options, InFlight() if own else self._shared))

    def add(self, queue: SubmissionQueue, call: Call, task_name: str, cost_key: int) -> DaskFuture[Any]:
        """Append a call to a queue.

        Raises:
            RuntimeError: Calls are refused.
        """
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
        """Cancel the calls that have not started; raise at the end what a callback raises (F4)."""
        queued = [future for queue in copied(self._queues.values()) for future in copied(queue.calls)]
        raised: BaseException | None = None
        for batch in copied(self._batches.values()):
            for future in copied(batch.futures):
                future.cancel_on_return()
        for future in queued:
            try:
                future.cancel_queued()
            except BaseException as exc:
                raised = raised or exc
        if raised is not None:
            raise raised

    def fail(self, error: Exception) -> None:
        """Fail every pending call, each with an error of its own, and refuse calls from now on."""
        with self._lock:
            if not self._failed:
                self._failed, self.refusal = True, error
            batches = copied(self._batches.values())
            pending = [future for batch in batches for future in batch.futures]
            for queue in copied(self._queues.values()):
                pending += copied(queue.calls)
                queue.calls.clear()
        self._completion.fail(pending, self.refusal_error)
        for batch in batches:
            batch.start_known.set()

    def fail_after_fork(self, make_error: Callable[[], Exception]) -> None:
        """In a forked child: fail every pending call, each with an error of its own (E11)."""
        batches = [*self._batches.values(), *([] if self._filling is None else [self._filling])]
        futures = [future for batch in batches for future in batch.futures]
        futures += [future for queue in self._queues.values() for future in [*queue.calls, *queue.returning]]
        for future in [*futures, *self._completion.unfinished()]:
            future.fail_after_fork(make_error())

    # ── in Dask's loop ───────────────────────────────────────────────────────────────────────────────────

    def is_full(self, slots: int) -> bool:
        """Return whether no queue may send another batch."""
        return all(queue.in_flight.count >= slots for queue in copied(self._queues.values()))

    def is_empty(self) -> bool:
        """Return whether no call is queued or in flight."""
        return not self._batches and not any(queue.calls for queue in copied(self._queues.values()))

    def new_batch(self, slots: int) -> Batch | None:
        """Return an empty batch for the queue that comes next, by priority and then by age; None if there is none."""
        best, turn = None, (0, 0)
        for queue in copied(self._queues.values()):
            if queue.in_flight.count < slots and (head := queue.head()) is not None:
                own = (-queue.options.priority, head.number)
                if best is None or own < turn:
                    best, turn = queue, own
        if best is None:
            return None
        self._filling = Batch(self._numbers(), best)
        return self._filling

    def add_batch(self, batch: Batch) -> None:
        """Enter a filled batch that leaves now."""
        batch.queue.in_flight.count += 1
        with self._lock:
            self._batches[batch.number] = batch
            if self._failed:  # while the batch was being filled
                self._completion.fail(batch.futures, self.refusal_error)
        self._filling = None

    def batch(self, number: int) -> Batch | None:
        """Return a batch in flight; None if it has come back."""
        return self._batches.get(number)

    def remove_batch(self, batch: Batch) -> None:
        """Remove a batch that has come back."""
        self._batches.pop(batch.number, None)
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
