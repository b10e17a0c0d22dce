"""Chapter "shutting_down": every combination of wait and cancel_futures, at every moment, from everywhere."""

from __future__ import annotations

import contextlib
import gc
import os
from concurrent.futures import CancelledError, Executor, Future, wait
from itertools import repeat
from typing import Any

import pytest

from corefutures_conformance import exit_program
from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import (
    Overdue,
    all_done,
    brief,
    error_of,
    finishes,
    limit,
    result_of,
    short_limit,
    until,
)
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import only_where, patient, requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

LONG_ENOUGH = 8
"""So many waiting calls that an executor which sends some ahead has the last one at hand still."""


def shut(executor: Executor, **options: bool) -> None:
    """Shut down, within a bound."""
    written = ", ".join(f"{name}={value}" for name, value in options.items())
    finishes(lambda: executor.shutdown(**options), f"shutdown({written})")


def shutting(executor: Executor, **options: bool) -> BackgroundCall[None]:
    """Shut down in a thread of its own."""
    return BackgroundCall(lambda: executor.shutdown(**options), "shutdown()")


def occupied(executor: Executor, gate: Gate, journal: Journal) -> tuple[Future[Any], list[Future[Any]]]:
    """Let the one worker run a call that waits at the gate, others wait behind it; the call, and the
    others.
    """
    running = executor.submit(calls.pass_gate_and_note, gate, journal, "running")
    gate.await_arrivals()
    waiting = [executor.submit(calls.note_and_echo, journal, number) for number in range(LONG_ENOUGH)]
    return running, waiting


def _leave_in_callback(_: object) -> None:
    raise SystemExit(3)


def refused(executor: Executor) -> bool:
    """Whether a call is refused."""
    try:
        executor.submit(calls.nothing)
    except RuntimeError:
        return True
    return False


def refuses(executor: Executor, what: str) -> None:
    """See that a call is refused after shutdown."""
    try:
        future = finishes(lambda: executor.submit(calls.nothing), "submit() after shutdown")
    except RuntimeError:
        return
    raise AssertionError(f"submit() after {what} returned {brief(future)} instead of raising RuntimeError")


class ShuttingDown:
    """Rules on `Executor.shutdown`."""

    # What it refuses

    def test_shutdown_makes_submit_fail(self, executor: Executor) -> None:
        """submit() after shutdown(), whatever its arguments, MUST raise RuntimeError. (manual:
        Executor.shutdown)
        """
        result_of(executor.submit(calls.nothing))
        shut(executor)
        refuses(executor, "shutdown()")
        refuses(executor, "shutdown()")

    def test_shutdown_of_an_unused_executor_makes_submit_fail(self, make: ExecutorFactory) -> None:
        """submit() after shutdown() of an unused executor MUST raise RuntimeError. (manual:
        Executor.shutdown)
        """
        for options in (
            {},
            {"wait": False},
            {"cancel_futures": True},
            {"wait": False, "cancel_futures": True},
        ):
            executor = make(max_workers=1)
            shut(executor, **options)
            refuses(executor, f"shutdown(**{options}) of an unused executor")

    def test_shutdown_makes_submit_fail_while_calls_run(self, executor: Executor, gate: Gate) -> None:
        """submit() after shutdown(wait=False) MUST raise RuntimeError while calls run. (manual:
        Executor.shutdown)
        """
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        shut(executor, wait=False)
        refuses(executor, "shutdown(wait=False)")
        gate.open()
        assert result_of(running) == "ran", "a call that ran during shutdown(wait=False) lost its result"

    def test_shutdown_makes_submit_fail_while_it_waits(self, executor: Executor, gate: Gate) -> None:
        """submit() MUST raise RuntimeError while a shutdown() in another thread waits. (manual:
        Executor.shutdown)
        """
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        ending = shutting(executor)
        until(lambda: refused(executor) or not ending.goes_on(0), "submit() to be refused while shutdown() waits")
        assert ending.goes_on(), "shutdown() returned while a call was running"
        gate.open()
        ending.outcome()

    def test_shutdown_makes_map_fail(self, executor: Executor) -> None:
        """map() after shutdown() MUST raise RuntimeError. (manual: Executor.shutdown)"""
        shut(executor)
        try:
            results = finishes(lambda: executor.map(calls.echo, [1, 2]), "map() after shutdown")
        except RuntimeError:
            return
        raise AssertionError(f"map() after shutdown() returned {brief(results)} instead of raising RuntimeError")

    def test_shutdown_leaves_other_executors_alone(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown() MUST touch nothing of another executor. (manual: Executor.shutdown)"""
        first, second = make(max_workers=1), make(max_workers=1)
        running = second.submit(calls.pass_gate, gate, "ran")
        waiting = second.submit(calls.echo, "waited")
        gate.await_arrivals()
        result_of(first.submit(calls.nothing))
        shut(first, cancel_futures=True)
        gate.open()
        found = result_of(running), result_of(waiting), result_of(second.submit(calls.echo, "later"))
        assert found == ("ran", "waited", "later"), f"after the shutdown of another executor calls gave {brief(found)}"

    # wait=True

    def test_shutdown_waits_for_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """shutdown(wait=True) MUST not return while a call runs. (manual: Executor.shutdown)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        ending = shutting(executor, wait=True)
        assert ending.goes_on(), "shutdown(wait=True) returned while a call was running"
        gate.open()
        ending.outcome()
        assert running.done(), "shutdown(wait=True) returned before the running call's future had ended"
        assert result_of(running) == "ran", "a call that ran during shutdown(wait=True) lost its result"

    def test_shutdown_waits_for_every_worker(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """shutdown(wait=True) MUST not return while any of several calls runs. (manual: Executor.shutdown)"""
        executor = make(max_workers=2)
        barriers = [gates(), gates()]
        futures = [executor.submit(calls.pass_gate, gate) for gate in barriers]
        for gate in barriers:
            gate.await_arrivals()
        ending = shutting(executor, wait=True)
        assert ending.goes_on(), "shutdown(wait=True) returned while two calls were running"
        for gate, future in zip(barriers[:1], futures, strict=False):
            gate.open()
            result_of(future)
            assert ending.goes_on(), "shutdown(wait=True) returned while one of two calls was running"
        barriers[1].open()
        ending.outcome()
        assert all(future.done() for future in futures), "shutdown(wait=True) returned before both calls had ended"

    def test_shutdown_waits_by_default(self, executor: Executor, gate: Gate) -> None:
        """shutdown() MUST wait unless it is told not to. (manual: Executor.shutdown)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        ending = shutting(executor)
        assert ending.goes_on(), "shutdown() without arguments returned while a call was running"
        gate.open()
        ending.outcome()
        assert running.done(), "shutdown() without arguments returned before the running call's future had ended"

    def test_shutdown_waits_for_calls_that_wait(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(wait=True) MUST not return before the waiting calls have run. (manual:
        Executor.shutdown)
        """
        running, waiting = occupied(executor, gate, journal)
        ending = shutting(executor, wait=True)
        assert ending.goes_on(), "shutdown(wait=True) returned while a call was running"
        gate.open()
        ending.outcome()
        undone = [future for future in [running, *waiting] if not future.done()]
        assert not undone, f"shutdown(wait=True) returned before {len(undone)} of {LONG_ENOUGH + 1} futures had ended"
        found = [result_of(future) for future in waiting]
        assert found == list(range(LONG_ENOUGH)), f"calls that waited at shutdown(wait=True) gave {brief(found)}"

    def test_shutdown_right_after_many_calls_completes_them(self, make: ExecutorFactory, journal: Journal) -> None:
        """shutdown(wait=True) right after many submit() calls MUST let all of them run. (manual:
        Executor.shutdown)
        """
        executor = make(max_workers=2)
        futures = [executor.submit(calls.note_and_echo, journal, number) for number in range(50)]
        shut(executor, wait=True)
        assert all(future.done() for future in futures), "shutdown() returned before all of 50 futures had ended"
        assert sorted(map(int, journal.entries)) == list(range(50)), "shutdown() lost or doubled some of 50 calls"

    def test_shutdown_waits_although_calls_fail(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(wait=True) MUST wait for the calls behind one that raised, too. (manual:
        Executor.shutdown)
        """
        failing = executor.submit(calls.pass_gate_and_raise, gate, ValueError("x"))
        last = executor.submit(calls.note_and_echo, journal, "last")
        gate.await_arrivals()
        ending = shutting(executor, wait=True)
        ending.goes_on(0.02)
        gate.open()
        ending.outcome()
        assert last.done(), "shutdown(wait=True) returned before a call behind a failed one had run"
        assert isinstance(error_of(failing), ValueError), "a call that raised during shutdown lost its exception"
        assert journal.entries == ["last"], "a call behind a failed one did not run once"

    def test_shutdown_right_after_map_keeps_the_results(self, make: ExecutorFactory) -> None:
        """The results of map() MUST be there also after a shutdown() right behind it. (manual:
        Executor.shutdown)
        """
        executor = make(max_workers=2)
        results = executor.map(calls.square, range(10))
        shut(executor)
        found = finishes(lambda: list(results), "the iterator of map() after shutdown")
        assert found == [number**2 for number in range(10)], f"after shutdown() map() gave {brief(found)}"

    def test_shutdown_after_a_cancellation_returns(self, executor: Executor) -> None:
        """shutdown(wait=True) MUST return also when the last call was cancelled. (manual:
        Executor.shutdown)
        """
        for _ in range(LONG_ENOUGH):
            executor.submit(calls.nothing).cancel()
        shut(executor, wait=True)

    def test_shutdown_takes_wait_by_position(self, executor: Executor, gate: Gate) -> None:
        """shutdown() MUST take `wait` by position. (manual: Executor.shutdown)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        finishes(lambda: executor.shutdown(False), "shutdown(False)")
        assert not running.done(), "the call ended before its gate was open"
        gate.open()
        assert result_of(running) == "ran", "a call that ran during shutdown(False) lost its result"

    # wait=False

    def test_shutdown_without_waiting_returns_at_once(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(wait=False) MUST return while calls run. (manual: Executor.shutdown)"""
        running, _ = occupied(executor, gate, journal)
        shut(executor, wait=False)
        assert not running.done(), "shutdown(wait=False) ended the running call"
        gate.open()
        assert result_of(running) == "running", "a call that ran during shutdown(wait=False) lost its result"

    def test_shutdown_without_waiting_completes_the_calls(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """After shutdown(wait=False) the waiting calls MUST still run. (manual: Executor.shutdown)"""
        _, waiting = occupied(executor, gate, journal)
        shut(executor, wait=False)
        gate.open()
        all_done(waiting)
        cancelled = sum(future.cancelled() for future in waiting)
        assert not cancelled, f"shutdown(wait=False) cancelled {cancelled} waiting calls"
        found = [result_of(future) for future in waiting]
        assert found == list(range(LONG_ENOUGH)), f"calls that waited at shutdown(wait=False) gave {brief(found)}"

    def test_shutdown_without_waiting_wakes_a_thread_in_result(self, executor: Executor, gate: Gate) -> None:
        """A thread in result() MUST get its result also after shutdown(wait=False). (manual:
        Executor.shutdown)
        """
        running = executor.submit(calls.pass_gate, gate, "ran")
        asking = BackgroundCall(running.result, "result()")
        gate.await_arrivals()
        shut(executor, wait=False)
        assert asking.goes_on(), "result() returned while the call was blocked"
        gate.open()
        assert asking.outcome() == "ran", "a thread in result() got the wrong result after shutdown(wait=False)"

    # cancel_futures=True

    def test_shutdown_with_cancel_cancels_what_waits(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(wait=True, cancel_futures=True) MUST cancel the pending calls. (manual:
        Executor.shutdown)
        """
        _, waiting = occupied(executor, gate, journal)
        ending = shutting(executor, wait=True, cancel_futures=True)
        until(lambda: refused(executor) or not ending.goes_on(0), "shutdown(wait=True, cancel_futures=True) to begin")
        ending.goes_on()
        gate.open()
        ending.outcome()
        assert waiting[-1].cancelled(), "shutdown(wait=True, cancel_futures=True) did not cancel the last waiting call"
        assert str(LONG_ENOUGH - 1) not in journal.entries, "a call that shutdown() had cancelled ran nevertheless"
        assert all(future.done() for future in waiting), "shutdown(wait=True, cancel_futures=True) left futures pending"

    def test_shutdown_with_cancel_waits_for_what_runs(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(wait=True, cancel_futures=True) MUST wait for the running call. (manual:
        Executor.shutdown)
        """
        running, _ = occupied(executor, gate, journal)
        ending = shutting(executor, wait=True, cancel_futures=True)
        assert ending.goes_on(), "shutdown(wait=True, cancel_futures=True) returned while a call was running"
        gate.open()
        ending.outcome()
        assert running.done(), "shutdown(wait=True, cancel_futures=True) returned before the running call had ended"
        assert result_of(running) == "running", "shutdown(cancel_futures=True) spoiled the result of the running call"

    def test_shutdown_with_cancel_without_waiting_cancels_what_waits(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """shutdown(wait=False, cancel_futures=True) MUST cancel the pending calls. (manual:
        Executor.shutdown)
        """
        _, waiting = occupied(executor, gate, journal)
        shut(executor, wait=False, cancel_futures=True)
        until(waiting[-1].done, "shutdown(wait=False, cancel_futures=True) to cancel the last waiting call")
        gate.open()
        all_done(waiting)
        assert waiting[-1].cancelled(), "shutdown(wait=False, cancel_futures=True) did not cancel the last waiting call"
        assert str(LONG_ENOUGH - 1) not in journal.entries, "a call that shutdown() had cancelled ran nevertheless"

    def test_shutdown_with_cancel_without_waiting_lets_the_running_call_end(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """shutdown(wait=False, cancel_futures=True) MUST return and leave a running call alone. (manual:
        Executor.shutdown)
        """
        running, _ = occupied(executor, gate, journal)
        shut(executor, wait=False, cancel_futures=True)
        assert not running.done(), "shutdown(wait=False, cancel_futures=True) ended the running call"
        gate.open()
        assert result_of(running) == "running", "shutdown(cancel_futures=True) spoiled the result of the running call"
        assert "running" in journal.entries, "shutdown(cancel_futures=True) stopped the running call"

    def test_shutdown_with_cancel_cancels_every_call_that_waits(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """shutdown(cancel_futures=True) SHOULD cancel every call that has not started. (promise E3)"""
        running, waiting = occupied(executor, gate, journal)
        shut(executor, wait=False, cancel_futures=True)
        gate.open()
        all_done([running, *waiting])
        found = sum(future.cancelled() for future in waiting)
        assert found == LONG_ENOUGH, f"shutdown(cancel_futures=True) cancelled {found} of {LONG_ENOUGH} waiting calls"
        assert journal.entries == ["running"], "calls that shutdown() had to cancel ran nevertheless"

    def test_shutdown_with_cancel_leaves_finished_calls_alone(self, executor: Executor) -> None:
        """shutdown(cancel_futures=True) MUST leave completed futures alone. (manual: Executor.shutdown)"""
        good, bad = executor.submit(calls.echo, "good"), executor.submit(calls.raise_new, ValueError, "bad")
        all_done([good, bad])
        shut(executor, cancel_futures=True)
        assert not good.cancelled(), "shutdown(cancel_futures=True) cancelled a finished call"
        assert not bad.cancelled(), "shutdown(cancel_futures=True) cancelled a finished call that had raised"
        assert result_of(good) == "good", "shutdown(cancel_futures=True) spoiled the result of a finished call"
        assert isinstance(error_of(bad), ValueError), "shutdown(cancel_futures=True) spoiled a finished call's error"

    def test_shutdown_with_cancel_wakes_a_thread_in_result(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """result() MUST raise CancelledError in a thread whose call shutdown() cancels. (manual:
        Future.result)
        """
        _, waiting = occupied(executor, gate, journal)
        asking = BackgroundCall(waiting[-1].result, "result()")
        assert asking.goes_on(), "result() returned while the call was pending"
        shut(executor, wait=False, cancel_futures=True)
        try:
            found = asking.outcome()
        except CancelledError:
            return
        finally:
            gate.open()
        raise AssertionError(f"result() gave {brief(found)} for a call that shutdown(cancel_futures=True) cancels")

    def test_shutdown_with_cancel_runs_callbacks(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """The callbacks of a call that shutdown() cancels MUST run. (manual: Future.add_done_callback)"""
        _, waiting = occupied(executor, gate, journal)
        seen: list[bool] = []
        waiting[-1].add_done_callback(lambda future: seen.append(future.cancelled()))
        shut(executor, wait=False, cancel_futures=True)
        gate.open()
        until(lambda: seen, "the callback of a call that shutdown(cancel_futures=True) cancels")
        assert seen == [True], "the callback of a call that shutdown() cancelled did not see it cancelled"

    def test_shutdown_with_cancel_wakes_wait(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """wait() SHOULD return when shutdown() has cancelled what it waits for. (promise F5)"""
        _, waiting = occupied(executor, gate, journal)
        waits = BackgroundCall(lambda: wait(waiting[-1:]), "wait()")
        assert waits.goes_on(), "wait() returned while the call was pending"
        shut(executor, wait=False, cancel_futures=True)
        gate.open()
        assert waits.outcome(short_limit()).done == set(waiting[-1:]), (
            "wait() did not report a call cancelled by shutdown() as done"
        )

    def test_shutdown_with_cancel_ends_an_iterator_of_map(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """map's iterator MUST raise CancelledError for a call that shutdown() cancels. (manual:
        Executor.shutdown)
        """
        results = executor.map(calls.note_and_pass_gate, repeat(journal), range(LONG_ENOUGH), repeat(gate))
        gate.await_arrivals()
        shut(executor, wait=False, cancel_futures=True)
        gate.open()
        seen: list[Any] = []
        for _ in range(LONG_ENOUGH):
            try:
                seen.append(finishes(lambda: next(results), "map's iterator after shutdown(cancel_futures=True)"))
            except CancelledError:
                break
            except StopIteration:
                raise AssertionError(f"map's iterator ended after {brief(seen)}, as if nothing was cancelled") from None
        else:
            raise AssertionError("no call of map() was cancelled by shutdown(cancel_futures=True)")
        assert seen == list(range(len(seen))), f"map() gave {brief(seen)} before the cancelled calls"

    # Again, and from several places

    def test_shutdown_with_cancel_outlives_callbacks_that_exit(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """shutdown(cancel_futures=True) SHOULD cancel every call that waits, and run its callbacks, also when
        callbacks of some raise SystemExit. (promise F4)
        """
        called_back: list[Future[Any]] = []
        running, waiting = occupied(executor, gate, journal)
        for number, future in enumerate(waiting):
            if number % 4 == 1:
                future.add_done_callback(_leave_in_callback)
            future.add_done_callback(called_back.append)
        with contextlib.suppress(SystemExit):  # it may come out of shutdown(), after all was done
            finishes(lambda: executor.shutdown(wait=False, cancel_futures=True), "shutdown(cancel_futures=True)")
        found = sum(future.cancelled() for future in waiting)
        assert found == len(waiting), (
            f"a callback's SystemExit left {len(waiting) - found} calls that were not cancelled"
        )
        try:
            until(lambda: len(called_back) == len(waiting), "", short_limit())
        except Overdue:
            missing = len(waiting) - len(called_back)
            raise AssertionError(f"a callback's SystemExit left {missing} calls whose callbacks did not run") from None
        gate.open()
        result_of(running)

    def test_shutdown_again_returns(self, make: ExecutorFactory) -> None:
        """shutdown() SHOULD do no harm when it is called again, whatever the arguments. (promise E6)"""
        combinations: list[dict[str, bool]] = [
            {"wait": first, "cancel_futures": second} for first in (True, False) for second in (True, False)
        ]
        executor = make(max_workers=1)
        future = executor.submit(calls.echo, "ran")
        result_of(future)
        for options in [*combinations, *reversed(combinations)]:
            shut(executor, **options)
        assert result_of(future) == "ran", "repeated shutdown() spoiled a result"
        refuses(executor, "repeated shutdown()")

    def test_shutdown_again_waits(self, executor: Executor, gate: Gate) -> None:
        """shutdown(wait=True) SHOULD wait also after shutdown(wait=False). (promise E6)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        shut(executor, wait=False)
        ending = shutting(executor, wait=True)
        assert ending.goes_on(), "shutdown(wait=True) after shutdown(wait=False) returned while a call was running"
        gate.open()
        ending.outcome()
        assert running.done(), "shutdown(wait=True) after shutdown(wait=False) returned before the call had ended"

    def test_shutdown_again_cancels(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """shutdown(cancel_futures=True) SHOULD cancel what waits also after shutdown(wait=False).
        (promise E6)
        """
        running, waiting = occupied(executor, gate, journal)
        shut(executor, wait=False)
        shut(executor, wait=False, cancel_futures=True)
        gate.open()
        all_done([running, *waiting])
        assert waiting[-1].cancelled(), "shutdown(cancel_futures=True) after shutdown(wait=False) did not cancel"

    def test_shutdown_in_two_threads_returns_in_both(self, executor: Executor, gate: Gate) -> None:
        """shutdown(wait=True) in two threads at once SHOULD wait and return in both. (promise E6)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        endings = [shutting(executor), shutting(executor)]
        for ending in endings:
            assert ending.goes_on(), "one of two shutdown() calls returned while a call was running"
        gate.open()
        for ending in endings:
            ending.outcome()
        assert result_of(running) == "ran", "two shutdown() calls at once spoiled a result"

    def test_shutdown_during_submit_loses_no_call(self, make: ExecutorFactory, journal: Journal) -> None:
        """Every future that submit() returned during a shutdown() SHOULD end with its call's result. (promise
        E1)
        """
        executor = make(max_workers=2)
        futures: list[Future[Any]] = []

        def submit_on() -> None:
            try:
                for number in range(5000):
                    futures.append(executor.submit(calls.note_and_echo, journal, number))  # noqa: PERF401
            except RuntimeError:
                pass

        submitting = BackgroundCall(submit_on, "submit()")
        until(lambda: len(futures) > 20, "some calls to be submitted")
        shut(executor, wait=True)
        submitting.outcome()
        all_done(futures, "every future that submit() returned during a shutdown()")
        found = [result_of(future) for future in futures]
        assert found == list(range(len(futures))), "a shutdown() during submit() lost or mixed up results"
        assert len(journal.entries) == len(futures), "a shutdown() during submit() lost or doubled calls"

    def test_shutdown_that_waits_returns_in_a_callback(self, executor: Executor, gate: Gate) -> None:
        """shutdown(wait=True) from a callback SHOULD act as shutdown(wait=False). (promise E6)"""
        running = executor.submit(calls.pass_gate, gate, "ran")
        waiting = executor.submit(calls.echo, "waited")
        gate.await_arrivals()
        outcome: list[BaseException | None] = []

        def end(future: Future[Any]) -> None:
            try:
                executor.shutdown(wait=True)
            except BaseException as error:
                outcome.append(error)
            else:
                outcome.append(None)

        running.add_done_callback(end)
        gate.open()
        until(lambda: outcome, "shutdown() in a callback to return", short_limit())
        assert outcome == [None], f"shutdown(wait=True) in a callback raised {brief(outcome[0])}"
        assert result_of(waiting) == "waited", "shutdown() in a callback lost a waiting call"
        refuses(executor, "shutdown() in a callback")

    @requires("shares_memory")
    def test_shutdown_from_a_call_returns(self, executor: Executor) -> None:
        """shutdown(wait=False) SHOULD be possible from one of the executor's own calls. (promise E6)"""
        result_of(executor.submit(executor.shutdown, wait=False), "shutdown(wait=False) in a call")
        refuses(executor, "shutdown(wait=False) in a call")
        shut(executor)

    @requires("shares_memory")
    def test_shutdown_that_waits_returns_in_a_call(self, executor: Executor, gate: Gate) -> None:
        """shutdown(wait=True) from one of the executor's own calls SHOULD act as shutdown(wait=False).
        (promise E6)
        """
        executor.submit(calls.pass_gate, gate)
        ending = executor.submit(executor.shutdown, wait=True)
        waiting = executor.submit(calls.echo, "waited")
        gate.open()
        until(ending.done, "shutdown(wait=True) in a call", short_limit())
        result_of(ending)
        assert result_of(waiting) == "waited", "shutdown() in a call lost a waiting call"
        refuses(executor, "shutdown(wait=True) in a call")

    @requires(shares_memory=False)
    def test_shutdown_that_does_not_travel_fails_cleanly(self, executor: Executor) -> None:
        """Where calls do not share memory, submitting shutdown() itself SHOULD fail that one call alone.
        (promise E4)
        """
        try:
            future = executor.submit(executor.shutdown)
        except Exception:
            pass
        else:
            error_of(future, "the failure of an executor's method as a call")
        assert result_of(executor.submit(calls.echo, "after")) == "after", (
            "the executor's own method, as a call, broke it"
        )

    # The context manager

    def test_with_gives_the_executor(self, make: ExecutorFactory) -> None:
        """The `with` statement MUST bind the executor itself. (PEP 3148)"""
        executor = make(max_workers=1)
        with executor as bound:
            assert bound is executor, f"`with executor as x` bound {brief(bound)}"
            assert result_of(bound.submit(calls.echo, 1)) == 1, "a call inside the with block gave a wrong result"

    def test_with_waits_for_its_calls(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """Leaving the `with` block MUST wait for the calls. (manual: Executor.shutdown)"""
        executor = make(max_workers=1)

        def block() -> None:
            with executor:
                futures.extend([executor.submit(calls.pass_gate, gate), executor.submit(calls.note, journal, "waited")])

        futures: list[Future[Any]] = []
        leaving = BackgroundCall(block, "leaving the with block")
        gate.await_arrivals()
        assert leaving.goes_on(), "the with block was left while a call was running"
        gate.open()
        leaving.outcome()
        assert all(future.done() for future in futures), "the with block was left before its calls had ended"
        assert journal.entries == ["waited"], "leaving the with block lost a waiting call"
        refuses(executor, "the with block")

    def test_with_passes_on_an_exception(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """An exception in the `with` block MUST get out of it, after the calls have ended. (manual:
        Executor.shutdown)
        """
        executor = make(max_workers=1)
        futures: list[Future[Any]] = []

        def block() -> None:
            with executor:
                futures.extend([executor.submit(calls.pass_gate, gate), executor.submit(calls.note, journal, "waited")])
                raise KeyError("from the block")

        leaving = BackgroundCall(block, "leaving the with block")
        gate.await_arrivals()
        assert leaving.goes_on(), "the with block was left by an exception while a call was running"
        gate.open()
        left_by: list[BaseException] = []
        try:
            leaving.outcome()
        except KeyError as error:
            left_by.append(error)
        assert left_by, "the with block swallowed an exception"
        assert left_by[0].args == ("from the block",), "the with block changed the exception that left it"
        assert all(future.done() for future in futures), (
            "the with block was left by an exception before its calls ended"
        )
        assert journal.entries == ["waited"], "leaving the with block by an exception lost a waiting call"
        refuses(executor, "the with block")

    def test_with_that_is_interrupted_cancels_what_waits(
        self, make: ExecutorFactory, gate: Gate, journal: Journal
    ) -> None:
        """A `with` block that is left by KeyboardInterrupt SHOULD cancel the calls that wait, so that it is left soon.
        (promise E6)
        """
        executor = make(max_workers=1)
        waiting: list[Future[Any]] = []

        def block() -> None:
            with contextlib.suppress(KeyboardInterrupt), executor:
                waiting.extend(occupied(executor, gate, journal)[1])
                raise KeyboardInterrupt

        leaving = BackgroundCall(block, "leaving the with block")
        with contextlib.suppress(Overdue):
            until(lambda: len(waiting) == LONG_ENOUGH and waiting[-1].cancelled(), "", short_limit())
        gate.open()
        leaving.outcome()
        assert waiting[-1].cancelled(), "a call that waited when an interrupt left the with block was not cancelled"
        assert str(LONG_ENOUGH - 1) not in journal.entries, "a call ran after an interrupt had left the with block"

    def test_with_passes_on_what_is_no_exception(self, make: ExecutorFactory) -> None:
        """A KeyboardInterrupt or SystemExit in the `with` block MUST get out of it. (manual: Executor.shutdown)"""
        for kind in (KeyboardInterrupt, SystemExit, GeneratorExit):
            executor = make(max_workers=1)

            def block() -> None:
                with executor:  # noqa: B023
                    raise kind("from the block")  # noqa: B023

            try:
                finishes(block, "leaving the with block")
            except kind:
                continue
            raise AssertionError(f"the with block swallowed {kind.__name__}")

    def test_with_after_shutdown_is_harmless(self, make: ExecutorFactory) -> None:
        """A `with` block whose executor was shut down inside SHOULD be left without an error. (promise E6)"""
        executor = make(max_workers=1)

        def block() -> Any:
            with executor:
                future = executor.submit(calls.echo, "ran")
                executor.shutdown(wait=False)
                return future

        assert result_of(finishes(block, "leaving the with block")) == "ran", "a call in the with block lost its result"

    # Dropped, and at interpreter exit

    def test_calls_of_a_dropped_executor_complete(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """The futures of an executor that is dropped without shutdown SHOULD end with their results. (promise
        E1)
        """
        executor = make.untracked(max_workers=1)
        running, waiting = occupied(executor, gate, journal)
        del executor
        gc.collect()
        gate.open()
        all_done([running, *waiting], "the futures of an executor that was dropped")
        found = [result_of(future) for future in waiting]
        assert found == list(range(LONG_ENOUGH)), f"the calls of an executor that was dropped gave {brief(found)}"

    @patient(2)
    def test_exit_waits_for_the_calls_after_shutdown(self, folder: str, gate: Gate, journal: Journal) -> None:
        """The program MUST not end before the pending calls after shutdown(wait=False) have run. (manual:
        Executor.shutdown)
        """
        self._leave("without waiting", folder, gate, journal, count=4)
        self._all_ran(journal, 4, "after shutdown(wait=False)")

    @patient(2)
    def test_exit_without_shutdown_waits_for_the_calls(self, folder: str, gate: Gate, journal: Journal) -> None:
        """The program SHOULD not end before pending calls have run, also without any shutdown().
        (promise E1)
        """
        self._leave("at once", folder, gate, journal, count=4)
        self._all_ran(journal, 4, "without shutdown()")

    @patient(2)
    def test_exit_after_cancelling_waits_for_the_running_call(self, folder: str, gate: Gate, journal: Journal) -> None:
        """After shutdown(wait=False, cancel_futures=True) the program SHOULD end with the running call.
        (promise E6)
        """
        self._leave("cancelling", folder, gate, journal, count=LONG_ENOUGH)
        assert "running" in journal.entries, "the program ended without the call that was running"
        assert str(LONG_ENOUGH - 1) not in journal.entries, "a call that shutdown() had cancelled ran nevertheless"

    @patient(2)
    def test_submit_works_in_a_thread_that_outlives_the_main_one(
        self, folder: str, gate: Gate, journal: Journal
    ) -> None:
        """As long as the program waits for a thread, that thread SHOULD be able to submit calls, also when the main
        thread has ended. (promise E6)
        """
        self._leave("submitting", folder, gate, journal, count=4)
        entries = [entry for entry in journal.entries if entry != "leaving"]
        assert sorted(entries) == ["0", "1", "2", "3"], (
            f"after the end of the main thread, 4 calls that another thread submitted came to {brief(entries)}"
        )

    @requires(remote=False)
    @only_where(os.name == "posix", "closing the standard streams needs POSIX")
    @patient(2)
    def test_calls_need_no_standard_streams(self, folder: str, gate: Gate, journal: Journal) -> None:
        """In a program whose standard streams are closed, arguments and results SHOULD arrive whole, whatever calls
        print. (promise E4)
        """
        self._leave("without streams", folder, gate, journal, count=30)
        found = [entry for entry in journal.entries if entry != "leaving"]
        assert found == ["right"], f"in a program without standard streams {found[0] if found else 'no call ended'}"

    def _leave(self, manner: str, folder: str, gate: Gate, journal: Journal, count: int) -> None:
        if "<locals>" in type(self).__qualname__:
            pytest.skip("the test class is inside a function: another program cannot find it")
        errors = os.path.join(folder, "errors")
        program = exit_program.start(self, manner, gate, journal, errors, count)
        try:
            if manner == "cancelling":
                until(
                    lambda: "leaving" in journal.entries or program.poll() is not None,
                    "the program to get ready",
                )
                gate.open()
            until(lambda: program.poll() is not None, "a program that used the executor to end")
        finally:
            program.kill()
            program.wait(limit())
        with open(errors, encoding="utf-8", errors="replace") as file:
            said = file.read()
        assert program.returncode == 0, (
            f"a program that used the executor ended with status {program.returncode}: {said}"
        )
        assert "Traceback" not in said, f"a program that used the executor complained as it ended: {said}"

    def _all_ran(self, journal: Journal, count: int, when: str) -> None:
        ran = sorted(entry for entry in journal.entries if entry != "leaving")
        assert ran == [str(number) for number in range(count)], (
            f"{when} the program ended when {ran} of {count} calls had run"
        )
