"""Chapter "as_completed": an executor's futures, handed out as they end."""

from __future__ import annotations

import concurrent.futures
import gc
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from typing import Any

import corefutures
from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import all_done, brief, finishes, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate

SHORT_SECONDS = 0.01
LONG_ENOUGH = 8
"""So many waiting calls that an executor which sends some ahead has the last one at hand still."""


def completed(futures: Iterable[Future[Any]], count: int | None = None) -> list[Future[Any]]:
    """What as_completed() gives, or the first `count` of it."""
    return finishes(lambda: list(islice(concurrent.futures.as_completed(futures), count)), "as_completed()")


def following(iterator: Iterator[Future[Any]]) -> BackgroundCall[Future[Any]]:
    """Ask for the next future in a thread of its own."""
    return BackgroundCall(lambda: next(iterator), "next() of as_completed()")


def gone(watch: weakref.ref[Any]) -> bool:
    """Whether what was watched has been freed."""
    gc.collect()
    return watch() is None


class AsCompleted:
    """Rules on `concurrent.futures.as_completed` over the executor's futures."""

    def test_as_completed_gives_every_future_once(self, make: ExecutorFactory) -> None:
        """as_completed() MUST give every future once. (manual: as_completed)"""
        executor = make(max_workers=2)
        futures = [executor.submit(calls.echo, number) for number in range(50)]
        found = completed(futures)
        assert len(found) == 50, f"as_completed() over 50 futures gave {len(found)}"
        assert set(found) == set(futures), "as_completed() did not give the futures that it was given"

    def test_as_completed_gives_ended_futures_only(self, make: ExecutorFactory) -> None:
        """as_completed() MUST give futures that have ended. (manual: as_completed)"""
        executor = make(max_workers=2)
        futures = [executor.submit(calls.echo, number) for number in range(20)]
        states = finishes(
            lambda: [future.done() for future in concurrent.futures.as_completed(futures)], "as_completed()"
        )
        assert all(states), "as_completed() gave a future that had not ended"

    def test_as_completed_gives_the_ended_ones_first(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST give futures first that had ended before. (manual: as_completed)"""
        ended = [executor.submit(calls.echo, number) for number in range(3)]
        all_done(ended)
        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        iterator = concurrent.futures.as_completed([running, *ended])
        found = {following(iterator).outcome() for _ in ended}
        assert found == set(ended), "as_completed() did not give the futures first that had ended before"
        gate.open()
        assert following(iterator).outcome() is running, "as_completed() did not give the last future"

    def test_as_completed_follows_the_order_of_completion(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """as_completed() MUST give futures as they end, whatever their order. (manual: as_completed)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        futures = [executor.submit(calls.pass_gate, first), executor.submit(calls.pass_gate, second)]
        first.await_arrivals()
        second.await_arrivals()
        iterator = concurrent.futures.as_completed(futures)
        taking = following(iterator)
        assert taking.goes_on(), "as_completed() gave a future while both calls were running"
        second.open()
        assert taking.outcome() is futures[1], "as_completed() did not give the future that ended first"
        taking = following(iterator)
        assert taking.goes_on(), "as_completed() gave a future whose call was running"
        first.open()
        assert taking.outcome() is futures[0], "as_completed() did not give the future that ended last"

    def test_as_completed_gives_failed_futures(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST give the futures of calls that raised. (manual: as_completed)"""
        future = executor.submit(calls.pass_gate_and_raise, gate, ValueError("x"))
        gate.await_arrivals()
        taking = following(concurrent.futures.as_completed([future]))
        assert taking.goes_on(), "as_completed() gave a future whose call was running"
        gate.open()
        assert taking.outcome() is future, "as_completed() did not give the future of a call that raised"

    def test_as_completed_gives_cancelled_futures(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST give cancelled futures, at the latest when their turn has come. (manual:
        as_completed)
        """
        first = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [first, *(executor.submit(calls.pass_gate, gate) for _ in range(LONG_ENOUGH))]
        taking = following(concurrent.futures.as_completed(futures[-1:]))
        assert taking.goes_on(), "as_completed() gave a future whose call was pending"
        assert futures[-1].cancel(), "a call that waited behind others could not be cancelled"
        gate.open()
        assert taking.outcome() is futures[-1], "as_completed() did not give a cancelled future"
        found = completed(futures)
        assert set(found) == set(futures), "as_completed() over futures of which one is cancelled did not give all"

    def test_as_completed_gives_a_duplicate_once(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST give a future once that is given more than once. (manual: as_completed)"""
        ended = executor.submit(calls.nothing)
        result_of(ended)
        running = executor.submit(calls.pass_gate, gate)
        given = [ended, running, ended, running]
        taking = BackgroundCall(lambda: list(concurrent.futures.as_completed(iter(given))), "as_completed()")
        assert taking.goes_on(), "as_completed() ended while a call was running"
        gate.open()
        found = taking.outcome()
        assert found == [ended, running], (
            f"as_completed() over two futures, each given twice, gave {len(found)} futures"
        )

    def test_as_completed_times_out(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST raise TimeoutError when a future does not end in time. (manual:
        as_completed)
        """
        ended = executor.submit(calls.nothing)
        result_of(ended)
        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for timeout in (0, SHORT_SECONDS):
            iterator = concurrent.futures.as_completed([running, ended], timeout)
            assert following(iterator).outcome() is ended, "as_completed() with a timeout lost what had ended before"
            try:
                found = following(iterator).outcome()
            except TimeoutError:
                continue
            raise AssertionError(f"as_completed(timeout={timeout}) gave {brief(found)} while the call was blocked")

    def test_as_completed_says_how_many_are_unfinished(self, executor: Executor, gate: Gate) -> None:
        """The TimeoutError of as_completed() SHOULD count the futures that have not ended. (manual:
        as_completed)
        """
        ended = [executor.submit(calls.nothing) for _ in range(2)]
        all_done(ended)
        running = [executor.submit(calls.pass_gate, gate) for _ in range(2)]
        gate.await_arrivals()
        for function in (concurrent.futures.as_completed, corefutures.as_completed):
            as_completed: Callable[..., Any] = function
            said = ""
            try:
                finishes(lambda: list(as_completed(ended + running, SHORT_SECONDS)), "as_completed()")  # noqa: B023
            except TimeoutError as error:
                said = str(error)
            assert said == "2 (of 4) futures unfinished", f"as_completed() said {said!r} when two of four were blocked"

    def test_as_completed_with_enough_time_gives_everything(self, executor: Executor, gate: Gate) -> None:
        """as_completed() with a timeout that is not reached MUST give every future. (manual: as_completed)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        taking = following(concurrent.futures.as_completed([future], timeout=1000.5))
        assert taking.goes_on(), "as_completed() with a timeout did not wait for the call"
        gate.open()
        assert taking.outcome() is future, "as_completed() with a timeout did not give the future"

    def test_as_completed_works_again_after_a_timeout(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST give a future also after an earlier one on it timed out. (manual:
        as_completed)
        """
        future = executor.submit(calls.pass_gate, gate)
        try:
            finishes(lambda: list(concurrent.futures.as_completed([future], SHORT_SECONDS)), "as_completed()")
        except TimeoutError:
            pass
        taking = following(concurrent.futures.as_completed([future]))
        assert taking.goes_on(), "as_completed() gave a future whose call was blocked"
        gate.open()
        assert taking.outcome() is future, "as_completed() did not give the future after an earlier one timed out"

    def test_as_completed_takes_futures_of_several_executors(
        self, make: ExecutorFactory, gates: GateFactory, foreign: Executor
    ) -> None:
        """as_completed() MUST take futures of different executors together. (manual: as_completed)"""
        barriers = [gates(), gates(), gates()]
        executors: list[Executor] = [make(max_workers=1), foreign, make(max_workers=1)]
        futures = [executor.submit(calls.pass_gate, gate) for executor, gate in zip(executors, barriers, strict=True)]
        iterator = concurrent.futures.as_completed(futures)
        for number in (2, 1, 0):
            taking = following(iterator)
            assert taking.goes_on(), "as_completed() over three executors gave a future whose call was blocked"
            barriers[number].open()
            assert taking.outcome() is futures[number], "as_completed() over three executors gave the wrong future"

    def test_as_completed_lets_new_calls_be_submitted(self, executor: Executor) -> None:
        """An executor MUST take new calls while as_completed() hands out earlier ones. (manual:
        as_completed)
        """
        futures = [executor.submit(calls.echo, number) for number in range(3)]

        def squared() -> list[int]:
            later = [executor.submit(calls.square, f.result()) for f in concurrent.futures.as_completed(futures)]
            return sorted(future.result() for future in concurrent.futures.as_completed(later))

        found = finishes(squared, "as_completed() with submit() in its loop")
        assert found == [0, 1, 4], f"calls submitted while as_completed() went on gave {brief(found)}"

    def test_as_completed_in_two_threads_gives_all_to_both(self, make: ExecutorFactory, gate: Gate) -> None:
        """as_completed() MUST give every future to each of two threads that iterate over the same. (manual:
        as_completed)
        """
        executor = make(max_workers=2)
        futures = [executor.submit(calls.pass_gate, gate) for _ in range(6)]
        threads = [
            BackgroundCall(lambda: list(concurrent.futures.as_completed(futures)), "as_completed()") for _ in range(2)
        ]
        gate.await_arrivals(2)
        assert all(taking.goes_on() for taking in threads), "as_completed() ended while calls were blocked"
        gate.open()
        for taking in threads:
            assert set(taking.outcome()) == set(futures), "as_completed() in one of two threads lost futures"

    def test_as_completed_that_is_dropped_leaves_the_futures_well(self, executor: Executor, gate: Gate) -> None:
        """Futures MUST end well after an iterator of as_completed() over them was dropped. (manual:
        as_completed)
        """
        ended = executor.submit(calls.nothing)
        result_of(ended)
        running = executor.submit(calls.pass_gate, gate, "ran")
        iterator = concurrent.futures.as_completed([ended, running])
        following(iterator).outcome()
        del iterator
        gc.collect()
        gate.open()
        assert result_of(running) == "ran", "a future lost its result after an iterator of as_completed() was dropped"

    def test_as_completed_futures_are_freed(self, executor: Executor) -> None:
        """A future that as_completed() has given SHOULD not be kept alive. (promise F6)"""
        iterator = concurrent.futures.as_completed([executor.submit(calls.echo, number) for number in range(3)])
        for _ in range(3):
            box = [following(iterator).outcome()]
            result_of(executor.submit(calls.nothing))  # the executor has turned to another call
            watch = weakref.ref(box.pop())
            until(partial(gone, watch), "an ended future to be freed")

    def test_as_completed_of_corefutures_takes_the_futures(
        self, make: ExecutorFactory, gates: GateFactory, foreign: Executor
    ) -> None:
        """corefutures.as_completed() SHOULD take the executor's futures, mixed with others. (promise F5)"""
        as_completed: Callable[..., Any] = corefutures.as_completed
        executor = make(max_workers=1)
        first, second = gates(), gates()
        ended = executor.submit(calls.nothing)
        result_of(ended)
        futures = [executor.submit(calls.pass_gate, first), foreign.submit(calls.pass_gate, second)]
        iterator = as_completed([*futures, ended, ended])
        assert following(iterator).outcome() is ended, "corefutures.as_completed() did not give what had ended first"
        for number, gate in ((1, second), (0, first)):
            taking = following(iterator)
            assert taking.goes_on(), "corefutures.as_completed() gave a future whose call was blocked"
            gate.open()
            assert taking.outcome() is futures[number], "corefutures.as_completed() gave the wrong future"
