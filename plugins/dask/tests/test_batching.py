"""The parts of the dispatcher that need no cluster: batches, queues and pending calls."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import pytest

from corefutures_dask._batching import Batch, BatchSizer, InFlight, SubmissionQueue, TaskOptions
from corefutures_dask._completion import CompletionThread
from corefutures_dask._exceptions import BrokenDaskPool, broken_pool
from corefutures_dask._future import DaskFuture
from corefutures_dask._pending import PendingCalls

CALL = (b"call", None)


def _fail(*_: object) -> None:
    raise AssertionError("not to be called")


def _queue(count: int, **options: Any) -> SubmissionQueue:
    queue = SubmissionQueue(TaskOptions(**options), InFlight())
    queue.calls.extend(DaskFuture(CALL, number, "call", 1) for number in range(count))
    return queue


def _fill(sizer: BatchSizer, queue: SubmissionQueue, cancel: Callable[[list[Any]], None] = _fail) -> list[int]:
    batch = Batch(0, queue)
    sizer.fill(batch, 1, cancel)
    return [future.number for future in batch.futures]


def _sizer(*seconds: float) -> BatchSizer:
    """Return a sizer that knows what calls cost, in batches of ten."""
    sizer, batch = BatchSizer(), Batch(0, _queue(0))
    batch.futures = list(_queue(len(seconds)).calls)
    sizer.record(batch, array("f", seconds), sum(seconds) + 0.01)
    return sizer


def test_calls_of_unknown_cost_go_alone() -> None:
    queue = _queue(5)
    assert [_fill(BatchSizer(), queue) for _ in range(2)] == [[0], [1]]


@pytest.mark.parametrize(
    ("seconds", "options", "size"),
    [
        ([0.001] * 10, {}, 80),  # eight times the largest earlier batch
        ([0.01] * 10, {}, 10),  # ten times the round trip of 10 ms
        ([0.3], {}, 1),
        ([0.001] * 10, {"retries": 1}, 1),
    ],
)
def test_a_batch_is_worth_its_round_trip(seconds: list[float], options: dict[str, int], size: int) -> None:
    assert _fill(_sizer(*seconds), _queue(1000, **options)) == list(range(size))


def test_a_call_that_may_end_its_worker_goes_alone() -> None:
    queue = _queue(5)
    queue.calls[1].alone = True
    assert [_fill(_sizer(*[0.001] * 10), queue) for _ in range(3)] == [[0], [1], [2, 3]]


def test_calls_that_are_given_back_keep_their_place_and_may_be_cancelled() -> None:
    queue, sizer = _queue(12), _sizer(*[0.001] * 10)
    cancelled: list[DaskFuture[Any]] = []
    batch = Batch(0, queue)
    sizer.fill(batch, 1, _fail)
    assert len(batch.futures) == 6  # half of the calls: the others are for the next batch
    for future in batch.futures:
        future.give_back(CALL)
    queue.put_back(batch.futures[3:])
    queue.put_back(batch.futures[:3])
    assert [future.number for future in queue.calls] == list(range(12))
    queue.calls[2].cancel_on_return()
    assert queue.calls[4].cancel()
    assert _fill(sizer, queue, cancelled.extend) == [0, 1, 3, 5, 6, 7]
    assert [future.number for future in cancelled] == [2]


def test_pending_calls_take_turns_by_priority_and_fail_with_the_pool() -> None:
    completion = CompletionThread("pool", lambda: None, lambda: None)
    pending = PendingCalls(completion, limited=False)
    later, first = [pending.add_queue(TaskOptions(priority=priority)) for priority in (0, 1)]
    scarce = pending.add_queue(TaskOptions(resources=(("GPU", 1),)))
    futures = [pending.add(queue, CALL, "call", 1) for queue in (later, first, scarce)]
    batches = [pending.new_batch(2) for _ in range(3)]
    assert [batch and batch.queue for batch in batches] == [
        first,
        first,
        scarce,
    ]  # a queue of its own has its own slots
    assert not pending.is_full(2)
    pending.fail(broken_pool("broken", None))
    completion.end()
    completion.start()
    completion.join(30)
    errors = [future.exception(0) for future in futures]
    assert all(isinstance(error, BrokenDaskPool) for error in errors)
    assert len(set(map(id, errors))) == 3
    with pytest.raises(BrokenDaskPool, match="broken"):
        pending.add(first, CALL, "call", 1)
