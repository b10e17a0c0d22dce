"""Batches: calls that travel together as one task of Dask, the queues that they come from, and how many calls fit.

Touches `_future`. Guarantees: a batch takes calls in the order of their queue; a call with an unknown cost goes alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from corefutures_pools.options import check_count

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence

    from corefutures_dask._future import Call, DaskFuture

#: A batch is to hold so many times as much work as its round trip costs, within these limits in seconds.
_WORK_PER_ROUND_TRIP: Final = 10
_LEAST_WORK: Final = 0.05
MOST_WORK: Final = 0.2
#: The largest ratio between the sizes of a batch and of the largest earlier one, for calls of one function.
_GROWTH: Final = 8
#: Bytes that a batch may hold, unless its only call is larger.
_MOST_BYTES: Final = 1 << 20
#: The number of functions whose costs are remembered.
_MOST_COSTS: Final = 10_000


class TaskOptions(NamedTuple):
    """The options of Dask's tasks: see `DaskExecutor.options`."""

    resources: tuple[tuple[str, float], ...] = ()
    retries: int = 0
    priority: int = 0
    workers: tuple[str | int, ...] = ()

    def changed(
        self,
        resources: Mapping[str, float] | None,
        retries: int | None,
        priority: int | None,
        workers: Sequence[str | int] | None,
    ) -> TaskOptions:
        """Return these options with those that are given; raise TypeError or ValueError if one makes no sense."""
        check_count("retries", retries, least=0)
        if priority is not None and not isinstance(priority, int):
            raise TypeError(f"priority must be an int, not {type(priority).__name__}")
        if isinstance(workers, str):
            raise TypeError("workers must be a sequence of addresses, not one str")
        if not isinstance(resources or {}, Mapping):
            raise TypeError(f"resources must be a mapping of names to amounts, not {type(resources).__name__}")
        for name, amount in (resources or {}).items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise TypeError(f"resources[{name!r}] must be a number, not {type(amount).__name__}")
            if not amount > 0:
                raise ValueError("resources must be positive amounts")
        return TaskOptions(
            self.resources if resources is None else tuple(sorted(resources.items())),
            self.retries if retries is None else retries,
            self.priority if priority is None else priority,
            self.workers if workers is None else tuple(workers),
        )

    @property
    def restricts_workers(self) -> bool:
        """Whether some workers may be unable to run the calls."""
        return bool(self.resources or self.workers)


class InFlight:
    """The number of batches in flight, of one queue or of several; changed in Dask's loop only."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class SubmissionQueue:
    """The calls with the same options, oldest first: submitters append, Dask's loop removes."""

    __slots__ = ("calls", "in_flight", "options", "returning")

    def __init__(self, options: TaskOptions, in_flight: InFlight) -> None:
        self.options = options
        self.in_flight = in_flight
        self.calls: deque[DaskFuture[Any]] = deque()
        self.returning: list[DaskFuture[Any]] = []  # futures that `put_back` is inserting: for a forked child

    def put_back(self, futures: list[DaskFuture[Any]]) -> None:
        """Insert calls that a batch has given back at their old places."""
        self.returning = futures
        while futures and self.calls and self.calls[0].number < futures[-1].number:  # given back by another batch
            futures.append(self.calls[0])
            futures.sort(key=lambda future: future.number)
            self.calls.popleft()
        self.calls.extendleft(reversed(futures))
        self.returning = []

    def head(self) -> DaskFuture[Any] | None:
        """Remove calls that have ended from the front; return the oldest call that is left."""
        try:
            while self.calls[0].done():
                self.calls.popleft()
            return self.calls[0]
        except IndexError:  # the queue is empty, or was emptied by a failure of the pool
            return None


class Batch:
    """Calls that travel as one task: from a queue, and back to it if they are lost."""

    __slots__ = ("calls", "expected", "futures", "number", "queue", "sent", "start_known")

    def __init__(self, number: int, queue: SubmissionQueue) -> None:
        self.number = number
        self.queue = queue
        self.futures: list[DaskFuture[Any]] = []
        self.calls: list[Call] = []
        self.expected = 0.0  # seconds that the calls are expected to take
        self.sent = 0.0  # the time of departure by `time.monotonic`
        self.start_known = threading.Event()  # set once it is known which of the calls have started


class BatchSizer:
    """Decides how many calls leave together, by the cost of earlier calls of the same function.

    Thread safety: for Dask's loop only.
    """

    def __init__(self) -> None:
        self._costs: dict[int, float] = {}  # cost key → seconds that a call took, as measured last
        self._largest: dict[int, int] = {}  # cost key → the size of the largest batch of such calls that has come back
        self._round_trip = 0.0  # seconds that a batch travels to the worker and back: a moving average

    def fill(self, batch: Batch, slots: int, cancel: Callable[[list[DaskFuture[Any]]], None]) -> None:
        """Move calls from its queue into an empty batch.

        Args:
            batch: The batch.
            slots: The number of batches that may be in flight.
            cancel: Called with each call that is cancelled instead.
        """
        futures, calls, queued = batch.futures, batch.calls, batch.queue.calls
        most = 1 if batch.queue.options.retries else -(-len(queued) // (2 * slots))
        work = min(max(_WORK_PER_ROUND_TRIP * self._round_trip, _LEAST_WORK), MOST_WORK)
        expected = size = 0.0
        while queued and len(futures) < most:
            try:
                future = queued[0]
            except IndexError:  # the pool has failed
                break
            cost = self._costs.get(future.cost_key)
            if futures:
                if cost is None or future.alone or expected + cost > work or size > _MOST_BYTES:
                    break
                if len(futures) >= _GROWTH * self._largest.get(future.cost_key, 1):
                    break
            if future.is_cancelled_on_return:
                cancel([future])
            elif (call := future.leave(batch.start_known)) is not None:
                futures.append(future)
                calls.append(call)
                expected += cost or 0.0
                size += len(call[0])
            try:
                queued.popleft()  # only now: at each moment the future is in one collection at least
            except IndexError:  # the pool has failed
                break
            if futures and (cost is None or future.alone):
                break
        batch.expected = expected

    def record(self, batch: Batch, seconds: array[float], elapsed: float) -> None:
        """Record the seconds that each call of a batch has taken, and those from its departure to its return."""
        travelled = elapsed - sum(seconds)
        average = 0.8 * self._round_trip + 0.2 * travelled
        self._round_trip = min(average, 2 * self._round_trip) if self._round_trip else travelled
        if len(self._costs) > _MOST_COSTS:
            self._costs.clear()
            self._largest.clear()
        sums: dict[int, tuple[float, int]] = {}
        for future, took in zip(batch.futures, seconds, strict=False):
            total, count = sums.get(future.cost_key, (0.0, 0))
            sums[future.cost_key] = total + took, count + 1
        for key, (total, count) in sums.items():
            self._costs[key] = total / count
            self._largest[key] = max(count, self._largest.get(key, 1))

    def record_long(self, future: DaskFuture[Any]) -> None:
        """Record that a call takes longer than a batch should."""
        self._costs[future.cost_key] = max(MOST_WORK, self._costs.get(future.cost_key, 0.0))
