"""Chapter "cancelling": what can be cancelled, what cannot, and what everybody sees of it."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent import futures as standard
from concurrent.futures import CancelledError, Executor, Future
from typing import Any

import pytest

from corefutures_conformance.deadlines import (
    all_done,
    brief,
    done,
    error_of,
    finishes,
    joined,
    result_of,
    short_limit,
    until,
)
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import patient, requires
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

AHEAD = 10
"""So many calls wait before the one that is cancelled: executors may have sent the first few to the
worker.
"""


class Cancelling:
    """Rules on `Future.cancel`."""

    def _waiting(self, executor: Executor, gate: Gate, fn: Any = calls.nothing, *args: Any) -> Future[Any]:
        """A future whose call waits behind others, the first of which stands at the gate."""
        for _ in range(AHEAD):
            executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        return executor.submit(fn, *args)

    # What cannot be cancelled

    def test_cancel_returns_false_once_running(self, executor: Executor, gate: Gate) -> None:
        """cancel() MUST return False for a call that is being executed. (manual: Future.cancel)"""
        future = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        assert future.cancel() is False, "cancel() did not return False for a running call"

    def test_cancel_does_not_disturb_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """A call that could not be cancelled MUST go on to its result. (manual: Future.cancel)"""
        future = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        future.cancel()
        assert future.cancelled() is False, "cancelled() was True for a call that runs"
        assert future.running() is True, "running() was False after cancel() of a running call"
        assert future.done() is False, "done() was True after cancel() of a running call"
        gate.open()
        got = result_of(future)
        assert got == "ran", f"the call that could not be cancelled gave {brief(got)}"

    def test_cancel_does_not_hide_an_exception(self, executor: Executor, gate: Gate) -> None:
        """A call that could not be cancelled MUST give its own exception. (manual: Future.cancel)"""
        future = executor.submit(calls.pass_gate_and_raise, gate, ValueError("its own"))
        gate.await_arrivals()
        future.cancel()
        gate.open()
        error = error_of(future)
        assert type(error) is ValueError, f"a running call that was not cancelled ended in {brief(error)}"

    def test_cancel_returns_false_once_finished(self, executor: Executor) -> None:
        """cancel() MUST return False for a call that has finished. (manual: Future.cancel)"""
        future = executor.submit(calls.echo, 42)
        done(future)
        assert future.cancel() is False, "cancel() did not return False for a finished call"
        assert future.cancelled() is False, "cancelled() was True for a call that finished"
        got = future.result(timeout=0)
        assert got == 42, f"cancel() changed a finished call's result to {brief(got)}"

    def test_cancel_returns_false_once_failed(self, executor: Executor) -> None:
        """cancel() MUST return False for a call that has raised. (manual: Future.cancel)"""
        future = executor.submit(calls.raise_new, ValueError, "x")
        done(future)
        assert future.cancel() is False, "cancel() did not return False for a call that had raised"
        assert type(future.exception(timeout=0)) is ValueError, "cancel() changed a finished call's exception"

    # What can be cancelled

    def test_cancel_returns_true_for_a_waiting_call(self, executor: Executor, gate: Gate) -> None:
        """cancel() MUST cancel a call that is not being executed, and return True. (manual: Future.cancel)"""
        future = self._waiting(executor, gate)
        assert future.cancel() is True, "cancel() did not return True for a waiting call"

    def test_the_next_waiting_call_can_be_cancelled(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """A call that has not started SHOULD be cancellable, also when it was sent ahead to a worker. (promise
        E3)
        """
        first = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        waiting = [executor.submit(calls.note, journal, number) for number in range(3)]
        said = [future.cancel() for future in waiting]
        gate.open()
        result_of(first)
        all_done(waiting)
        assert said == [True] * 3, f"cancel() of three calls that waited for one worker said {said}"
        result_of(executor.submit(calls.nothing))
        assert journal.entries == [], f"calls {journal.entries} ran after they were cancelled"

    def test_cancelled_is_true_after_cancel(self, executor: Executor, gate: Gate) -> None:
        """cancelled() MUST be True after the call was cancelled. (manual: Future.cancelled)"""
        future = self._waiting(executor, gate)
        future.cancel()
        assert future.cancelled() is True, f"cancelled() was {brief(future.cancelled())} after cancel() returned True"

    def test_done_is_true_after_cancel(self, executor: Executor, gate: Gate) -> None:
        """done() MUST be True after the call was cancelled. (manual: Future.done)"""
        future = self._waiting(executor, gate)
        future.cancel()
        assert future.done() is True, f"done() was {brief(future.done())} after cancel() returned True"

    def test_running_is_false_after_cancel(self, executor: Executor, gate: Gate) -> None:
        """running() MUST be False after the call was cancelled. (manual: Future.running)"""
        future = self._waiting(executor, gate)
        future.cancel()
        assert future.running() is False, f"running() was {brief(future.running())} after cancel() returned True"

    def test_result_raises_cancelled_error(self, executor: Executor, gate: Gate) -> None:
        """result() MUST raise CancelledError after the call was cancelled. (manual: Future.result)"""
        future = self._waiting(executor, gate)
        future.cancel()
        self._raises_cancelled(lambda: future.result(timeout=None), "result()")
        self._raises_cancelled(lambda: future.result(timeout=0), "result(timeout=0)")

    def test_exception_raises_cancelled_error(self, executor: Executor, gate: Gate) -> None:
        """exception() MUST raise CancelledError after the call was cancelled. (manual: Future.exception)"""
        future = self._waiting(executor, gate)
        future.cancel()
        self._raises_cancelled(lambda: future.exception(timeout=None), "exception()")
        self._raises_cancelled(lambda: future.exception(timeout=0), "exception(timeout=0)")

    def test_a_cancelled_call_never_runs(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """A call that was cancelled MUST NOT be executed. (manual: Future.cancel)"""
        future = self._waiting(executor, gate, calls.note, journal, "the cancelled call")
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        last = executor.submit(calls.note, journal, "a later call")
        gate.open()
        result_of(last, "a call behind a cancelled one")
        assert journal.entries == ["a later call"], f"after a cancellation these ran: {journal.entries}"

    def test_a_cancelled_future_stays_cancelled(self, executor: Executor, gate: Gate) -> None:
        """A cancelled future MUST stay cancelled when the executor comes to its call. (manual:
        Future.cancelled)
        """
        future = self._waiting(executor, gate, calls.echo, 42)
        future.cancel()
        gate.open()
        result_of(executor.submit(calls.nothing), "a call behind a cancelled one")
        assert future.cancelled() is True, "a cancelled future was revived when its turn came"
        self._raises_cancelled(lambda: future.result(timeout=0), "result(), when the call's turn had passed,")

    def test_cancel_again_returns_true(self, executor: Executor, gate: Gate) -> None:
        """cancel() of a cancelled call MUST return True. (manual: Future.cancel)"""
        future = self._waiting(executor, gate)
        said = [future.cancel() for _ in range(3)]
        assert said == [True] * 3, f"cancel(), called three times, said {said}"
        gate.open()
        result_of(executor.submit(calls.nothing))
        assert future.cancel() is True, "cancel() of a call cancelled long ago did not return True"

    def test_cancel_from_several_threads(self, executor: Executor, gate: Gate) -> None:
        """cancel() MUST return True in every thread that cancels the same waiting call. (manual:
        Future.cancel)
        """
        future = self._waiting(executor, gate)
        called: list[object] = []
        future.add_done_callback(called.append)
        start = threading.Barrier(4)
        said: list[bool] = []

        def cancel() -> None:
            start.wait(10)
            said.append(future.cancel())

        threads = [threading.Thread(target=cancel, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        joined(threads, "cancel() in four threads")
        assert said == [True] * 4, f"cancel() in four threads said {said}"
        gate.open()
        result_of(executor.submit(calls.nothing))
        assert called == [future], f"the callback ran {len(called)} times for one cancellation"

    def test_cancel_leaves_other_calls_alone(self, executor: Executor, gate: Gate) -> None:
        """Cancelling a call MUST have no effect on others. (manual: Future.cancel)"""
        first = self._waiting(executor, gate, calls.echo, 1)
        second = executor.submit(calls.echo, 2)
        third = executor.submit(calls.echo, 3)
        assert second.cancel() is True, "cancel() did not return True for a waiting call"
        gate.open()
        got = [result_of(first), result_of(third)]
        assert got == [1, 3], f"the neighbours of a cancelled call gave {brief(got)}"

    def test_the_executor_goes_on_after_cancellations(self, executor: Executor, gate: Gate) -> None:
        """After any number of cancellations the executor MUST execute new calls. (manual: Executor.submit)"""
        self._waiting(executor, gate)
        waiting = [executor.submit(calls.echo, number) for number in range(30)]
        said = [future.cancel() for future in waiting]
        gate.open()
        got = result_of(executor.submit(calls.echo, 42), "a call behind 30 cancelled ones")
        assert got == 42, f"a call behind 30 cancelled ones gave {brief(got)}"
        assert all(said), f"cancel() of 30 waiting calls said {said}"

    def test_cancel_after_shutdown(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """A call that waits after shutdown(wait=False) MUST still be cancellable. (manual: Future.cancel)"""
        future = self._waiting(executor, gate, calls.note, journal, "ran")
        finishes(lambda: executor.shutdown(wait=False), "shutdown(wait=False)")
        assert future.cancel() is True, "cancel() did not return True for a call that waited at shutdown"
        gate.open()
        finishes(lambda: executor.shutdown(wait=True), "shutdown(wait=True) after a cancellation")
        assert journal.entries == [], "a call that was cancelled after shutdown ran"

    def test_shutdown_after_cancelling_everything(self, executor: Executor, gate: Gate) -> None:
        """shutdown() MUST return when every waiting call was cancelled. (manual: Executor.shutdown)"""
        first = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for future in [executor.submit(calls.nothing) for _ in range(5)]:
            future.cancel()
        gate.open()
        finishes(executor.shutdown, "shutdown() after cancellations")
        assert first.done(), "shutdown() returned before the running call had ended"

    # Who sees it

    def test_cancel_wakes_a_thread_in_result(self, executor: Executor, gate: Gate) -> None:
        """A thread that waits in result() MUST get CancelledError when the call is cancelled. (manual:
        Future.result)
        """
        future = self._waiting(executor, gate)
        self._wakes(future, lambda: future.result(), "result()")

    def test_cancel_wakes_a_thread_in_exception(self, executor: Executor, gate: Gate) -> None:
        """A thread that waits in exception() MUST get CancelledError when the call is cancelled. (manual:
        Future.exception)
        """
        future = self._waiting(executor, gate)
        self._wakes(future, lambda: future.exception(), "exception()")

    def _wakes(self, future: Future[Any], wait: Any, what: str) -> None:
        box: list[BaseException] = []
        waiting = threading.Event()

        def run() -> None:
            waiting.set()
            try:
                wait()
            except BaseException as error:
                box.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        waiting.wait(10)
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        until(lambda: not thread.is_alive(), f"a thread in {what} to be woken by cancel()")
        assert [type(error) for error in box] == [CancelledError], f"a thread in {what} got {brief(box)} from cancel()"

    def test_wait_sees_a_cancelled_future(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST count a cancelled future as done once the executor has come to it. (manual: wait)"""
        future = self._waiting(executor, gate)
        future.cancel()
        gate.open()
        found = finishes(lambda: standard.wait([future]), "wait() for a cancelled future")
        assert found.done == {future}, "wait() did not return the cancelled future as done"

    def test_as_completed_yields_a_cancelled_future(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST yield a cancelled future once the executor has come to it. (manual:
        as_completed)
        """
        future = self._waiting(executor, gate)
        future.cancel()
        gate.open()
        found = finishes(lambda: list(standard.as_completed([future])), "as_completed() of a cancelled future")
        assert found == [future], f"as_completed() yielded {brief(found)}"

    def test_wait_sees_a_cancellation_at_once(self, executor: Executor, gate: Gate) -> None:
        """wait() SHOULD count a cancelled future as done while every worker is still busy. (promise F5)"""
        future = self._waiting(executor, gate)
        future.cancel()
        found = finishes(lambda: standard.wait([future], timeout=0.2), "wait(timeout=0.2)")
        assert found.done == {future}, "a cancelled future did not count as done before a worker came to it"

    def test_cancel_wakes_wait_at_once(self, executor: Executor, gate: Gate) -> None:
        """cancel() on a waiting call SHOULD wake a thread in wait() while every worker is still busy. (promise
        F5)
        """
        future = self._waiting(executor, gate)
        box: list[Any] = []
        thread = threading.Thread(target=lambda: box.append(standard.wait([future])), daemon=True)
        thread.start()
        future.cancel()
        until(lambda: not thread.is_alive(), "a thread in wait() to be woken by cancel()", short_limit())
        assert box[0].done == {future}, "wait() did not return the cancelled future as done"

    @requires("shares_memory")
    def test_cancel_drops_the_arguments(self, executor: Executor, gate: Gate) -> None:
        """cancel() SHOULD drop the call and its arguments at once, while every worker is still busy. (promise
        F5)
        """
        value = hostile.Adder(1)
        dead = weakref.ref(value)
        future = self._waiting(executor, gate, calls.echo, value)
        future.cancel()
        del value

        def gone() -> bool:
            gc.collect()
            return dead() is None

        until(gone, "the argument of a cancelled call to be released", short_limit())

    @patient(2)
    def test_cancel_races_with_the_start(self, make: ExecutorFactory, journal: Journal) -> None:
        """A call MUST run if cancel() said False, and not if it said True, also when it is just starting.
        (manual: Future.cancel)
        """
        executor = make(max_workers=2)
        futures: list[Future[Any]] = []
        said: list[bool] = []
        for number in range(150):
            futures.append(executor.submit(calls.note_and_echo, journal, number))
            if number >= 3:
                said.append(futures[number - 3].cancel())
        said += [future.cancel() for future in futures[-3:]]
        all_done(futures)
        finishes(executor.shutdown, "shutdown() after cancellations")
        ran = [int(entry) for entry in journal.entries]
        assert len(ran) == len(set(ran)), "a call ran twice in a race of cancel() with its start"
        for number, (future, cancelled) in enumerate(zip(futures, said, strict=True)):
            assert future.cancelled() is cancelled, f"cancel() said {cancelled}, cancelled() says {future.cancelled()}"
            assert (number in ran) is not cancelled, (
                f"cancel() said {cancelled} for a call that {'ran' if number in ran else 'did not run'}"
            )
            if not cancelled:
                assert future.result(timeout=0) == number, "a call that could not be cancelled lost its result"

    def _raises_cancelled(self, call: Any, what: str) -> None:
        try:
            got = finishes(call, f"{what} of a cancelled future")
        except CancelledError:
            return
        except BaseException as error:
            pytest.fail(f"{what} of a cancelled future raised {type(error).__name__} instead of CancelledError")
        pytest.fail(f"{what} of a cancelled future returned {brief(got)} instead of raising CancelledError")
