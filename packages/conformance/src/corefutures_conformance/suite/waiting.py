"""Chapter "waiting": `wait` over an executor's futures, every return condition, time limit and mixture."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Executor, Future
from typing import Any

import corefutures
from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import all_done, brief, finishes, result_of
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate

SHORT_SECONDS = 0.01
LONG_ENOUGH = 8
"""So many waiting calls that an executor which sends some ahead has the last one at hand still."""

Split = tuple[set[Future[Any]], set[Future[Any]]]


def waiting(
    futures: Iterable[Future[Any]], timeout: float | None = None, until: str = ALL_COMPLETED
) -> BackgroundCall[Split]:
    """Wait for `futures` in a thread of its own."""
    listed = list(futures)
    return BackgroundCall(lambda: tuple(concurrent.futures.wait(listed, timeout, until)), "wait()")  # type: ignore[arg-type,return-value]


def waited(futures: Iterable[Future[Any]], timeout: float | None = None, until: str = ALL_COMPLETED) -> Split:
    """Wait for `futures`; the done ones and the others."""
    return waiting(futures, timeout, until).outcome()


class Waiting:
    """Rules on `concurrent.futures.wait` over the executor's futures."""

    # All

    def test_wait_returns_when_all_have_ended(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """wait() MUST return once every future has ended, and not before. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        futures = [executor.submit(calls.pass_gate, first), executor.submit(calls.pass_gate, second)]
        waits = waiting(futures)
        first.await_arrivals()
        second.await_arrivals()
        assert waits.goes_on(), "wait() returned while both calls were running"
        first.open()
        assert waits.goes_on(), "wait() returned while one of two calls was running"
        second.open()
        done, rest = waits.outcome()
        assert (done, rest) == (set(futures), set()), f"wait() for all returned {brief(rest)} as not done"

    def test_wait_returns_at_once_when_all_have_ended_before(self, executor: Executor) -> None:
        """wait() MUST report futures that had ended before as done. (manual: wait)"""
        futures: list[Future[Any]] = [
            executor.submit(calls.echo, 1),
            executor.submit(calls.raise_new, ValueError, "x"),
        ]
        all_done(futures)
        for condition in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
            done, rest = waited(futures, until=condition)
            assert (done, rest) == (set(futures), set()), f"wait({condition}) did not report ended futures as done"

    def test_wait_for_all_counts_failed_calls(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST take a call that raised an exception as completed. (manual: wait)"""
        futures: list[Future[Any]] = [
            executor.submit(calls.pass_gate_and_raise, gate, ValueError("x")),
            executor.submit(calls.nothing),
        ]
        waits = waiting(futures)
        gate.await_arrivals()
        assert waits.goes_on(), "wait() for all returned while a call was running"
        gate.open()
        done, _ = waits.outcome()
        assert done == set(futures), "wait() for all did not report a failed call as done"

    def test_wait_wakes_for_many_futures(self, make: ExecutorFactory) -> None:
        """wait() MUST see every one of many futures end. (manual: wait)"""
        executor = make(max_workers=2)
        futures = [executor.submit(calls.echo, number) for number in range(200)]
        done, rest = waited(futures)
        assert len(done) == 200, f"wait() for 200 futures left {len(rest)} undone"

    def test_wait_in_several_threads_wakes_them_all(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST return in every thread that waits for the same future. (manual: wait)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        threads = [waiting([future]) for _ in range(3)]
        for waits in threads:
            assert waits.goes_on(0.02), "wait() returned while the call was running"
        gate.open()
        for waits in threads:
            assert waits.outcome() == ({future}, set()), (
                "wait() in one of three threads did not report the future as done"
            )

    # The first that completes

    def test_wait_returns_at_the_first_that_completes(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """wait(FIRST_COMPLETED) MUST return when one of the futures ends. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        futures = [executor.submit(calls.pass_gate, gate) for gate in (first, second)]
        first.await_arrivals()
        second.await_arrivals()
        futures.append(executor.submit(calls.pass_gate, second))
        waits = waiting(futures, until=FIRST_COMPLETED)
        assert waits.goes_on(), "wait(FIRST_COMPLETED) returned before a call had ended"
        first.open()
        done, rest = waits.outcome()
        assert (done, rest) == ({futures[0]}, set(futures[1:])), "wait(FIRST_COMPLETED) did not report what had ended"

    def test_wait_returns_at_once_when_the_first_has_completed(self, executor: Executor, gate: Gate) -> None:
        """wait(FIRST_COMPLETED) MUST return at once when one future has ended before. (manual: wait)"""
        ended = executor.submit(calls.nothing)
        result_of(ended)
        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        done, rest = waited([running, ended], until=FIRST_COMPLETED)
        assert (done, rest) == ({ended}, {running}), (
            "wait(FIRST_COMPLETED) did not report the one that had ended before"
        )

    def test_wait_takes_a_failed_call_as_the_first_that_completes(
        self, make: ExecutorFactory, gates: GateFactory
    ) -> None:
        """wait(FIRST_COMPLETED) MUST return when one of the calls raises. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        failing = executor.submit(calls.pass_gate_and_raise, first, ValueError("x"))
        running = executor.submit(calls.pass_gate, second)
        first.await_arrivals()
        second.await_arrivals()
        waits = waiting([running, failing], until=FIRST_COMPLETED)
        assert waits.goes_on(), "wait(FIRST_COMPLETED) returned before a call had ended"
        first.open()
        assert waits.outcome() == ({failing}, {running}), "wait(FIRST_COMPLETED) did not report a failed call as done"

    # The first exception

    def test_wait_returns_at_the_first_exception(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """wait(FIRST_EXCEPTION) MUST return when one of the calls raises. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        failing = executor.submit(calls.pass_gate_and_raise, first, ValueError("x"))
        running = executor.submit(calls.pass_gate, second)
        first.await_arrivals()
        second.await_arrivals()
        waits = waiting([running, failing], until=FIRST_EXCEPTION)
        assert waits.goes_on(), "wait(FIRST_EXCEPTION) returned before a call had ended"
        first.open()
        assert waits.outcome() == ({failing}, {running}), "wait(FIRST_EXCEPTION) did not report the failed call as done"

    def test_wait_for_an_exception_goes_on_after_a_success(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """wait(FIRST_EXCEPTION) MUST not return for a call that succeeded. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        good = executor.submit(calls.pass_gate, first)
        bad = executor.submit(calls.pass_gate_and_raise, second, ValueError("x"))
        first.await_arrivals()
        second.await_arrivals()
        waits = waiting([good, bad], until=FIRST_EXCEPTION)
        first.open()
        result_of(good)
        assert waits.goes_on(), "wait(FIRST_EXCEPTION) returned for a call that succeeded"
        second.open()
        assert waits.outcome() == ({good, bad}, set()), "wait(FIRST_EXCEPTION) did not report both ended calls as done"

    def test_wait_for_an_exception_that_does_not_come_waits_for_all(
        self, make: ExecutorFactory, gates: GateFactory
    ) -> None:
        """wait(FIRST_EXCEPTION) MUST wait for all when no call raises. (manual: wait)"""
        executor = make(max_workers=2)
        first, second = gates(), gates()
        futures = [executor.submit(calls.pass_gate, first), executor.submit(calls.pass_gate, second)]
        first.await_arrivals()
        second.await_arrivals()
        waits = waiting(futures, until=FIRST_EXCEPTION)
        assert waits.goes_on(), "wait(FIRST_EXCEPTION) returned while both calls were running"
        second.open()
        result_of(futures[1])
        assert waits.goes_on(), "wait(FIRST_EXCEPTION) returned while a call was running and none had failed"
        first.open()
        assert waits.outcome() == (set(futures), set()), "wait(FIRST_EXCEPTION) did not report all calls as done"

    def test_wait_returns_at_once_after_an_exception(self, executor: Executor, gate: Gate) -> None:
        """wait(FIRST_EXCEPTION) MUST return at once when a call has failed before. (manual: wait)"""
        failed = executor.submit(calls.raise_new, ValueError, "x")
        all_done([failed])
        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        done, rest = waited([running, failed], until=FIRST_EXCEPTION)
        assert (done, rest) == ({failed}, {running}), "wait(FIRST_EXCEPTION) did not report what had failed before"

    def test_wait_does_not_take_a_cancelled_call_for_an_exception(
        self, make: ExecutorFactory, gates: GateFactory
    ) -> None:
        """wait(FIRST_EXCEPTION) MUST not return for a call that was cancelled. (manual: wait)"""
        executor = make(max_workers=1)
        first, second = gates(), gates()
        executor.submit(calls.pass_gate, first)
        first.await_arrivals()
        futures = [executor.submit(calls.pass_gate, gate) for gate in [first] * LONG_ENOUGH + [second]]
        cancelled, running = futures[-2:]
        assert cancelled.cancel(), "a call that waited behind others could not be cancelled"
        first.open()
        second.await_arrivals()  # an executor that keeps the order has gone past the cancelled call
        waits = waiting([cancelled, running], until=FIRST_EXCEPTION)
        assert waits.goes_on(), "wait(FIRST_EXCEPTION) returned for a cancelled call"
        second.open()
        done, _ = waits.outcome()
        assert done == {cancelled, running}, "wait(FIRST_EXCEPTION) did not report all ended calls as done"

    # Time limits

    def test_wait_times_out_with_what_is_done(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST return what is done and what is not when its timeout is over. (manual: wait)"""
        ended = executor.submit(calls.nothing)
        result_of(ended)
        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        pending = executor.submit(calls.nothing)
        for timeout in (0, SHORT_SECONDS):
            done, rest = waited([ended, running, pending], timeout)
            assert (done, rest) == ({ended}, {running, pending}), (
                f"wait(timeout={timeout}) did not tell done from not done"
            )

    def test_wait_after_a_timeout_wakes_again(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST see a future end also after an earlier wait() for it timed out. (manual: wait)"""
        future = executor.submit(calls.pass_gate, gate)
        for _ in range(2):
            assert waited([future], SHORT_SECONDS)[1] == {future}, "wait() reported a running call as done"
        waits = waiting([future])
        gate.await_arrivals()
        assert waits.goes_on(), "wait() returned while the call was running"
        gate.open()
        assert waits.outcome()[0] == {future}, "a second wait() did not report the ended call as done"

    def test_wait_with_enough_time_returns_early(self, executor: Executor, gate: Gate) -> None:
        """wait() with a timeout MUST return as soon as its condition holds. (manual: wait)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        waits = waiting([future], 1000.5)
        assert waits.goes_on(), "wait() with a timeout did not wait for the call"
        gate.open()
        assert waits.outcome() == ({future}, set()), "wait() with a timeout did not report the call as done"

    # Which futures

    def test_wait_reports_a_duplicate_once(self, executor: Executor) -> None:
        """wait() MUST report a future once that is given more than once. (manual: wait)"""
        future, other = executor.submit(calls.nothing), executor.submit(calls.nothing)
        done, rest = waited([future, other, future, future])
        assert done == {future, other}, f"wait() did not report what it was given: {brief(done)}"
        assert len(done) == 2, f"wait() reported {len(done)} done futures where two were given, one of them three times"
        assert rest == set(), "wait() reported an ended future as not done"

    def test_wait_tells_futures_with_equal_results_apart(self, executor: Executor) -> None:
        """wait() MUST report every future, also where calls and results are equal. (manual: wait)"""
        futures = [executor.submit(calls.echo, 1) for _ in range(3)]
        done, _ = waited(futures)
        assert len(done) == 3, f"wait() reported {len(done)} futures of three calls with equal results"

    def test_wait_takes_futures_of_several_executors(
        self, make: ExecutorFactory, gate: Gate, foreign: Executor
    ) -> None:
        """wait() MUST take futures of different executors together. (manual: wait)"""
        futures = [
            make(max_workers=1).submit(calls.pass_gate, gate),
            make(max_workers=1).submit(calls.echo, 2),
            foreign.submit(calls.echo, 3),
        ]
        all_done(futures[1:])
        done, _ = waited(futures, until=FIRST_COMPLETED)
        assert done == set(futures[1:]), "wait(FIRST_COMPLETED) over three executors did not report what had ended"
        waits = waiting(futures)
        assert waits.goes_on(), "wait() over three executors returned while one call was running"
        gate.open()
        assert waits.outcome()[0] == set(futures), "wait() over three executors did not report every future as done"

    def test_wait_takes_cancelled_futures_as_done(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST report a cancelled future as done, at the latest when its turn has come.
        (manual: wait)
        """
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.pass_gate, gate) for _ in range(LONG_ENOUGH)]
        assert futures[-1].cancel(), "a call that waited behind others could not be cancelled"
        last = executor.submit(calls.nothing)
        gate.open()
        result_of(last)
        done, rest = waited([futures[-1]])
        assert (done, rest) == ({futures[-1]}, set()), "wait() did not report a cancelled future as done"

    def test_wait_wakes_for_a_cancellation(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST return when the last future that it waits for is cancelled. (manual: wait)"""
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.pass_gate, gate) for _ in range(LONG_ENOUGH)]
        waits = waiting([futures[-1]])
        assert waits.goes_on(), "wait() returned while the call was pending"
        assert futures[-1].cancel(), "a call that waited behind others could not be cancelled"
        gate.open()
        assert waits.outcome()[0] == {futures[-1]}, "wait() did not report a cancelled future as done"

    def test_wait_of_corefutures_takes_the_futures(
        self, make: ExecutorFactory, gates: GateFactory, foreign: Executor
    ) -> None:
        """corefutures.wait() SHOULD take the executor's futures, mixed with the standard library's. (promise
        F5)
        """
        wait: Callable[..., Any] = corefutures.wait
        executor = make(max_workers=2)
        first, second = gates(), gates()
        futures = [
            executor.submit(calls.pass_gate, first),
            executor.submit(calls.pass_gate_and_raise, second, ValueError("x")),
            foreign.submit(calls.pass_gate, second),
        ]
        first.await_arrivals()
        second.await_arrivals(2)
        done, rest = finishes(lambda: wait(futures, SHORT_SECONDS), "corefutures.wait()")
        assert (done, rest) == (set(), set(futures)), "corefutures.wait() reported a running call as done"
        waits = BackgroundCall(lambda: wait(futures, return_when=FIRST_COMPLETED), "corefutures.wait()")
        assert waits.goes_on(), "corefutures.wait(FIRST_COMPLETED) returned before a call had ended"
        first.open()
        assert waits.outcome()[0] == {futures[0]}, "corefutures.wait(FIRST_COMPLETED) did not report what had ended"
        waits = BackgroundCall(lambda: wait(futures, return_when=FIRST_EXCEPTION), "corefutures.wait()")
        assert waits.goes_on(), "corefutures.wait(FIRST_EXCEPTION) returned before a call had failed"
        second.open()
        assert futures[1] in waits.outcome()[0], "corefutures.wait(FIRST_EXCEPTION) did not report what had failed"
        done, _ = finishes(lambda: wait(futures), "corefutures.wait()")
        assert done == set(futures), "corefutures.wait() did not report every future as done"
