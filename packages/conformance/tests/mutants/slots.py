"""Defects in slots: held twice, told wrong, never freed; calls that hold up others, or that nobody waits for."""

from __future__ import annotations

from typing import Any, ClassVar

import corefutures
from corefutures_pools import slots
from mutants import mutant
from mutants.control import Able, Promising
from mutants.streaming import Sent


class Granting(Able):
    """A correct executor with slots, whose scheduler a mutant replaces."""

    scheduler: type[slots.SlotScheduler] = slots.SlotScheduler

    def _cf_make_scheduler(self) -> Any:
        return None if self._cf_slots is None else self.scheduler(self._cf_slots)


@mutant("slots.a_call_is_told_its_slots", says="was told", also=("slots.a_slot_is_held_by_one_call_at_a_time",))
class TellsAllSlots(Granting):
    """Each call is told all slots of the executor's first name."""

    def _cf_demand(self, given: Any) -> Any:
        demand = super()._cf_demand(given)
        told = tuple((name, ids, number, variable) for name, ids, number, variable in demand.layout[:1])
        return slots.Demand(demand.amount, demand.mask, told)


class _GrantsAll(slots.SlotScheduler):
    def _claim(self, demand: Any) -> bool:
        for name, ids in self.slots.ids.items():  # there are enough for every call
            self._free_indexes[name].extend(range(len(ids)))
        return True


@mutant("slots.a_slot_is_held_by_one_call_at_a_time", says="at the same time", also=("slots.*",))
class Oversubscribes(Granting):
    """Slots are granted whether they are free or not."""

    scheduler = _GrantsAll


@mutant("slots.a_call_that_waits_for_slots_holds_up_no_other", says="result", deadline=2)
class OneQueue(Granting):
    """A call waits for a slot of the executor's first name, whatever it demands."""

    def _cf_demand(self, given: Any) -> Any:
        demand = super()._cf_demand(given)
        assert self._cf_slots is not None
        name = next(iter(self._cf_slots.ids))
        if name in given:
            return demand
        both = super()._cf_demand({**given, name: 1})
        return slots.Demand(both.amount, demand.mask, demand.layout)


class _Rotates(slots.SlotScheduler):
    def _take(self, event: Any) -> None:
        super()._take(event)
        for waiting in self._waiting.values():
            waiting.rotate(1)


@mutant("slots.calls_with_equal_demands_keep_their_order", says="in the order")
class LastFirst(Granting):
    """The call that came last is the next."""

    scheduler = _Rotates


class _KeepsFailed(slots.SlotScheduler):
    def _release(self, future: Any) -> None:
        if future.cancelled() or future.exception() is None:
            super()._release(future)


@mutant(
    "slots.slots_are_free_after_calls_that_fail_or_are_cancelled",
    says="to start",
    also=("slots.*",),
    deadline=2,
)
class KeepsSlotsOfFailures(Granting):
    """The slots of a call that fails are never free again."""

    scheduler = _KeepsFailed


class Isolated(corefutures.ProcessPoolExecutor):
    """A correct executor that survives the loss of workers."""

    abilities: ClassVar[dict[str, bool]] = {**Sent.abilities, "survives_worker_loss": True}

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        super().__init__(max_workers, on_worker_loss="replace", **options)


@mutant("slots.slots_are_free_after_a_lost_worker", says="waited", also=("slots.*",), deadline=3)
class KeepsSlotsOfTheLost(Isolated):
    """The slots of a call whose worker was lost are never free again."""

    def _cf_make_scheduler(self) -> Any:
        return None if self._cf_slots is None else _KeepsLost(self._cf_slots)


class _KeepsLost(slots.SlotScheduler):
    def _release(self, future: Any) -> None:
        if future.cancelled() or not isinstance(future.exception(), corefutures.WorkerLostError):
            super()._release(future)


@mutant("slots.shutdown_waits_for_calls_that_wait_for_slots", says="before the calls", also=("slots.*",), deadline=3)
class ForgetsCallsThatWait(Granting):
    """shutdown() cancels the calls that wait for slots."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        for future in self._cf_pool.held_calls():
            future.cancel()
        super().shutdown(wait, cancel_futures=cancel_futures, timeout=timeout)


@mutant("slots.shutdown_cancels_calls_that_wait_for_slots", says="was not cancelled")
class RunsCallsThatWait(Granting):
    """shutdown(cancel_futures=True) leaves out the calls that wait for slots."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        scheduler = self._cf_pool.slots
        if cancel_futures and scheduler is not None:
            self._cf_pool.closed = True
            held, scheduler.held = scheduler.held, {}
            super().shutdown(False, cancel_futures=True)
            scheduler.held = held
            return
        super().shutdown(wait, cancel_futures=cancel_futures, timeout=timeout)


@mutant("slots.slots_that_make_no_sense_are_refused", says="was accepted")
class TakesAnyDemand(Granting):
    """What can't be had is cut down to what there is."""

    def _cf_demand(self, given: Any) -> Any:
        assert self._cf_slots is not None
        name, ids = next(iter(self._cf_slots.ids.items()))
        try:
            return super()._cf_demand(given)
        except (TypeError, ValueError):
            return super()._cf_demand({name: len(ids)})


@mutant("slots.slots_are_refused", says="was accepted")
class IgnoresSlots(Promising):
    """slots= has no effect."""

    def __init__(self, max_workers: int = 1, *, slots: Any = None, **options: Any) -> None:
        super().__init__(max_workers, **options)
