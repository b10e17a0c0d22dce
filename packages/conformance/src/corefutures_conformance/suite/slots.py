"""Chapter "slots": named resources of an executor, of which calls demand some: `options(slots=…)`.

Owed by executors of `corefutures.Executor` that declare the capability; the others refuse, in a sentence.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, cast

import pytest

import corefutures
from corefutures_conformance.deadlines import all_done, brief, error_of, finishes, result_of, short_limit
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

_SLOTS = {"gpu": ["a", "b"], "db": 3}
_DEMANDS: tuple[dict[str, int], ...] = ({"gpu": 1}, {"gpu": 2}, {"db": 1}, {"gpu": 1, "db": 2}, {"db": 3})


class Slots:
    """Rules on `slots`."""

    def _with_slots(self, make: ExecutorFactory, max_workers: int = 2, **options: Any) -> Any:
        """An executor with slots, if it promises them; otherwise the rule does not apply."""
        options.setdefault("slots", _SLOTS)
        pool = make(max_workers=max_workers, **options)
        skip_unless_promised(pool)
        return cast(Any, pool)

    @requires("slots")
    def test_a_call_is_told_its_slots(self, make: ExecutorFactory) -> None:
        """A call SHOULD be told by held_slots() the ids of the slots that it has, and of no others. (promise C13)"""
        pool = self._with_slots(make)
        held = result_of(pool.options(slots={"gpu": 2, "db": 1}).submit(calls.held_slots))
        assert set(held) == {"gpu", "db"}, f"a call that demanded slots gpu and db was told {brief(held)}"
        assert sorted(held["gpu"]) == ["a", "b"], f"a call that has both GPUs was told {brief(held)}"
        assert len(held["db"]) == 1, f"a call that demanded one slot db was told {brief(held)}"
        others = result_of(pool.submit(calls.held_slots))
        assert others == {}, f"a call without slots was told {brief(others)}"

    @requires("slots")
    def test_a_slot_is_held_by_one_call_at_a_time(self, make: ExecutorFactory) -> None:
        """A slot SHOULD be held by one call at a time. (promise C13)"""
        pool, chance = self._with_slots(make, 4), random.Random(7)
        submitted = []
        for _ in range(150):
            demand = chance.choice(_DEMANDS)
            future = pool.options(slots=demand).submit(calls.held_slots_for, chance.choice([0, 0.001]))
            submitted.append((demand, future))
        held: dict[tuple[str, Any], list[tuple[float, float]]] = {}
        for demand, future in submitted:
            begun, ended, slots = result_of(future)
            told = {name: len(ids) for name, ids in slots.items()}
            assert told == demand, f"a call that demanded {demand} had {brief(slots)}"
            for name, ids in slots.items():
                for item in ids:
                    held.setdefault((name, item), []).append((begun, ended))
        for slot, times in held.items():
            times.sort()
            twice = [pair for pair in itertools.pairwise(times) if pair[0][1] > pair[1][0]]
            assert not twice, f"two calls had the slot {slot} at the same time"

    @requires("slots")
    def test_a_call_that_waits_for_slots_holds_up_no_other(self, make: ExecutorFactory, gate: Gate) -> None:
        """A call that waits for slots SHOULD hold up no call with other demands. (promise E2, C13)"""
        pool = self._with_slots(make)
        holding = pool.options(slots={"gpu": 2}).submit(calls.pass_gate, gate, "held")
        gate.await_arrivals()
        waiting = [pool.options(slots={"gpu": 1}).submit(calls.held_slots) for _ in range(3)]
        for other in (pool.submit(calls.echo, 1), pool.options(slots={"db": 3}).submit(calls.echo, 1)):
            assert result_of(other) == 1, "a call beside others that wait for slots lost its result"
        started = [future for future in waiting if future.running() or future.done()]
        assert not started, "a call started without its slots"
        gate.open()
        assert result_of(holding) == "held", "the call that had the slots lost its result"
        for future in waiting:
            assert set(result_of(future)) == {"gpu"}, "a call that had to wait was not told its slots"

    @requires("slots")
    def test_calls_with_equal_demands_keep_their_order(self, make: ExecutorFactory, journal: Journal) -> None:
        """Calls with the same demands SHOULD start in the order submitted. (promise E2, C13)"""
        view = self._with_slots(make, slots={"gpu": 1}).options(slots={"gpu": 1})
        all_done([view.submit(calls.note, journal, number) for number in range(30)])
        assert journal.entries == [str(number) for number in range(30)], (
            f"30 calls for one slot ran in the order {brief(journal.entries)}"
        )

    @requires("slots")
    def test_slots_are_free_after_calls_that_fail_or_are_cancelled(self, make: ExecutorFactory, gate: Gate) -> None:
        """The slots of a call SHOULD be free again when the call has failed or was cancelled. (promise C13)"""
        view = self._with_slots(make, slots={"gpu": 1}).options(slots={"gpu": 1})
        assert isinstance(error_of(view.submit(calls.raise_new, KeyError, 1)), KeyError), "a call did not fail"
        first = view.submit(calls.pass_gate, gate, 1)
        gate.await_arrivals()
        waiting = view.submit(calls.echo, 2)
        assert waiting.cancel(), "a call that waits for a slot could not be cancelled"
        last = view.submit(calls.echo, 3)
        gate.open()
        assert [result_of(first), result_of(last)] == [1, 3], "calls beside one that was cancelled lost their results"

    @requires("slots", "survives_worker_loss")
    def test_slots_are_free_after_a_lost_worker(self, make: ExecutorFactory) -> None:
        """The slots of a call SHOULD be free again when its worker was lost. (promise C13)"""
        view = self._with_slots(make, slots={"gpu": 1}).options(slots={"gpu": 1})
        lost = error_of(view.submit(calls.leave_process, 3))
        assert lost is not None, "a call whose worker left returned"
        assert result_of(view.submit(calls.echo, 1)) == 1, "a call after a lost worker lost its result"

    @requires("slots")
    def test_shutdown_waits_for_calls_that_wait_for_slots(self, make: ExecutorFactory) -> None:
        """shutdown() SHOULD wait for calls that wait for slots as for others. (promise E6, C13)"""
        pool = self._with_slots(make, slots={"gpu": 1})
        futures = [pool.options(slots={"gpu": 1}).submit(calls.held_slots_for, 0.001) for _ in range(8)]
        finishes(pool.shutdown, "shutdown() of an executor whose calls wait for slots")
        unfinished = [future for future in futures if not future.done() or future.cancelled()]
        assert not unfinished, "shutdown() returned before the calls that wait for slots"

    @requires("slots")
    def test_shutdown_cancels_calls_that_wait_for_slots(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown(cancel_futures=True) SHOULD cancel calls that wait for slots as others. (promise E6, C13)"""
        pool = self._with_slots(make, slots={"gpu": 1})
        first = pool.options(slots={"gpu": 1}).submit(calls.pass_gate, gate, 1)
        gate.await_arrivals()
        waiting = [pool.options(slots={"gpu": 1}).submit(calls.echo, 2) for _ in range(5)]
        finishes(lambda: pool.shutdown(wait=False, cancel_futures=True), "shutdown(cancel_futures=True)")
        gate.open()
        finishes(pool.shutdown, "shutdown() of an executor whose calls wait for slots")
        assert result_of(first) == 1, "the call that ran lost its result"
        assert all(future.cancelled() for future in waiting), "a call that waited for a slot was not cancelled"

    @requires("slots")
    def test_slots_that_make_no_sense_are_refused(self, make: ExecutorFactory) -> None:
        """Slots and demands that make no sense SHOULD be refused with TypeError or ValueError, at the call. (promise
        C13)
        """
        pool = self._with_slots(make)
        senseless: list[Any] = [{"gpu": 0}, {"gpu": []}, {"gpu": ["a", "a"]}, {"": 1}, "gpu", {"gpu": 1.5}]
        for slots in senseless:
            self._refuses_slots(partial(make, max_workers=1, slots=slots), f"slots={slots!r} of an executor")
        senseless = [{"gpu": 3}, {"tpu": 1}, {"gpu": 0}, {"gpu": -1}, {"gpu": "a"}, "gpu"]
        for slots in senseless:
            self._refuses_slots(partial(pool.options, slots=slots), f"slots={slots!r} of calls")

    def _refuses_slots(self, ask: Callable[[], object], what: str) -> None:
        try:
            finishes(ask, what, short_limit())
        except (TypeError, ValueError):
            return
        pytest.fail(f"{what} was accepted")

    @requires(slots=False)
    def test_slots_are_refused(self, make: ExecutorFactory, executor: Executor) -> None:
        """An executor that has no slots SHOULD refuse the option. (promise C1)"""
        skip_unless_promised(executor)
        try:
            finishes(lambda: make(max_workers=1, slots={"gpu": 1}), "the making of an executor", short_limit())
        except (corefutures.UnsupportedError, TypeError):
            return
        pytest.fail("slots= was accepted by an executor that has none")
