"""`SlotScheduler`: finalisers that wait for calls, and so interrupt a grant at any step."""

from __future__ import annotations

from collections import deque
from typing import Any

from corefutures import Future
from corefutures_pools.slots import SlotScheduler, SlotSet


class Pool:
    """Notes which calls are dispatched."""

    def __init__(self) -> None:
        self.dispatched: list[Any] = []

    def dispatch_held(self, future: Any, grant: bytes) -> None:
        self.dispatched.append(future)

    def on_held_ended(self, future: Any) -> None: ...

    def on_held_left(self) -> None: ...


def entered(scheduler: SlotScheduler, pool: Pool, future: Any) -> Any:
    """Hold a call, as its submission does; the event is not taken yet."""
    held = scheduler.enter(future, scheduler.slots.demand({"gpu": 1}).call(abs), pool)
    held.number = next(scheduler._numbers)
    return held


def test_a_call_behind_one_that_has_ended_is_not_lost() -> None:
    scheduler, pool = SlotScheduler(SlotSet({"gpu": 1}, {})), Pool()

    class Interrupted(Future[Any]):
        def done(self) -> bool:
            if first in waiting:
                waiting.remove(first)  # as a grant in a nested loop does
            return super().done()

    first, second = entered(scheduler, pool, Interrupted()), entered(scheduler, pool, Future())
    waiting = scheduler._waiting[first.demand] = deque([first, second])
    Future.cancel(first.future)
    scheduler._grant()
    assert pool.dispatched == [second.future]


def test_the_slots_of_a_call_that_ends_while_it_gets_them_are_free_again() -> None:
    scheduler, pool = SlotScheduler(SlotSet({"gpu": 1}, {})), Pool()
    held = entered(scheduler, pool, Future())
    counts = list(held.demand.counts)

    class Interrupting:
        def __iter__(self) -> Any:
            if held.future.cancel():
                scheduler._take(held.future)  # as a nested loop
            return iter(counts)

    held.demand.counts = Interrupting()
    scheduler._take(held)
    assert held.future.cancelled()
    assert pool.dispatched == []
    assert not scheduler.held
    assert not scheduler.granted
    assert scheduler._free == scheduler.slots.all
    assert list(scheduler._free_indexes["gpu"]) == [0]
