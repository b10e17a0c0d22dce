"""Chapter "callbacks": `add_done_callback`: when, how often, in which order, where, and what happens if one
raises.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from corefutures_conformance.deadlines import all_done, brief, done, finishes, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import patient
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate


class Collector:
    """A callback that remembers what it was called with; equal to every other object."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, future: Future[Any]) -> None:
        self.seen.append(future)

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class Callbacks:
    """Rules on `Future.add_done_callback`."""

    def _behind_others(self, executor: Executor, gate: Gate) -> Future[Any]:
        for _ in range(10):
            executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        return executor.submit(calls.nothing)

    def _called(self, seen: list[Any], count: int = 1) -> None:
        until(lambda: len(seen) >= count, f"{count} callback(s) to be called: {len(seen)} were")

    # When

    def test_callback_runs_after_a_result(self, executor: Executor, gate: Gate) -> None:
        """A callback MUST be called with the future as its only argument when the call finishes. (manual:
        Future.add_done_callback)
        """
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate, 42)
        future.add_done_callback(lambda *args: seen.append(args))
        gate.open()
        result_of(future)
        self._called(seen)
        assert seen == [(future,)], f"the callback was called with {brief(seen[0])}"

    def test_callback_runs_after_an_exception(self, executor: Executor, gate: Gate) -> None:
        """A callback MUST be called when the call raises. (manual: Future.add_done_callback)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate_and_raise, gate, ValueError("x"))
        future.add_done_callback(seen.append)
        gate.open()
        done(future)
        self._called(seen)
        assert seen == [future], f"the callback was called with {brief(seen)}"

    def test_callback_runs_after_a_cancellation(self, executor: Executor, gate: Gate) -> None:
        """A callback MUST be called when the call is cancelled. (manual: Future.add_done_callback)"""
        seen: list[Any] = []
        future = self._behind_others(executor, gate)
        future.add_done_callback(lambda it: seen.append((it, it.cancelled())))
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        self._called(seen)
        assert seen == [(future, True)], f"the callback saw future and cancelled(): {brief(seen)}"

    def test_callback_does_not_run_before_the_end(self, executor: Executor, gate: Gate) -> None:
        """A callback MUST NOT be called before the call has finished. (manual: Future.add_done_callback)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(seen.append)
        gate.await_arrivals()
        assert seen == [], "the callback was called while the call was running"
        gate.open()
        self._called(seen)

    def test_callback_sees_a_finished_future(self, executor: Executor, gate: Gate) -> None:
        """In a callback the future MUST be done, not running, with its result there. (manual:
        Future.add_done_callback)
        """
        seen: list[Any] = []

        def look(future: Future[Any]) -> None:
            try:
                seen.append((future.done(), future.running(), future.cancelled(), future.result(timeout=0)))
            except BaseException as error:
                seen.append(error)

        future = executor.submit(calls.pass_gate, gate, 42)
        future.add_done_callback(look)
        gate.open()
        self._called(seen)
        assert seen == [(True, False, False, 42)], f"in the callback done, running, cancelled, result: {brief(seen[0])}"

    def test_callback_sees_the_exception(self, executor: Executor, gate: Gate) -> None:
        """In a callback the exception of the call MUST be there. (manual: Future.add_done_callback)"""
        seen: list[Any] = []

        def look(future: Future[Any]) -> None:
            try:
                seen.append(type(future.exception(timeout=0)))
            except BaseException as error:
                seen.append(error)

        future = executor.submit(calls.pass_gate_and_raise, gate, KeyError("x"))
        future.add_done_callback(look)
        gate.open()
        self._called(seen)
        assert seen == [KeyError], f"the callback saw {brief(seen)} as the exception's type"

    def test_late_callback_runs_at_once_after_a_result(self, executor: Executor) -> None:
        """A callback added to a finished future MUST be called immediately. (manual:
        Future.add_done_callback)
        """
        future = executor.submit(calls.echo, 42)
        done(future)
        self._immediately(future)

    def test_late_callback_runs_at_once_after_an_exception(self, executor: Executor) -> None:
        """A callback added after the call raised MUST be called immediately. (manual:
        Future.add_done_callback)
        """
        future = executor.submit(calls.raise_new, ValueError, "x")
        done(future)
        self._immediately(future)

    def test_late_callback_runs_at_once_after_a_cancellation(self, executor: Executor, gate: Gate) -> None:
        """A callback added after the call was cancelled MUST be called immediately. (manual:
        Future.add_done_callback)
        """
        future = self._behind_others(executor, gate)
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        self._immediately(future)

    def _immediately(self, future: Future[Any]) -> None:
        seen: list[Any] = []
        finishes(lambda: future.add_done_callback(seen.append), "add_done_callback() on a finished future")
        assert seen == [future], f"a callback added to a finished future was called with {brief(seen)} by the return"

    # How often and in which order

    def test_callbacks_run_in_the_order_added(self, executor: Executor, gate: Gate) -> None:
        """Callbacks MUST be called in the order that they were added. (manual: Future.add_done_callback)"""
        seen: list[int] = []
        future = executor.submit(calls.pass_gate, gate)
        for number in range(20):
            future.add_done_callback(lambda _, number=number: seen.append(number))  # type: ignore[misc]
        gate.open()
        self._called(seen, 20)
        assert seen == list(range(20)), f"callbacks added as 0 to 19 were called as {seen}"

    def test_callbacks_of_a_cancelled_call_run_in_the_order_added(self, executor: Executor, gate: Gate) -> None:
        """Callbacks of a cancelled call MUST be called in the order that they were added. (manual:
        Future.add_done_callback)
        """
        seen: list[int] = []
        future = self._behind_others(executor, gate)
        for number in range(20):
            future.add_done_callback(lambda _, number=number: seen.append(number))  # type: ignore[misc]
        assert future.cancel() is True, "cancel() did not return True for a waiting call"
        self._called(seen, 20)
        assert seen == list(range(20)), f"callbacks added as 0 to 19 were called as {seen}"

    def test_each_callback_runs_once(self, make: ExecutorFactory) -> None:
        """Each callback SHOULD be called exactly once. (promise F4)"""
        executor = make(max_workers=2)
        seen: list[Any] = []
        futures = [executor.submit(calls.echo, number) for number in range(60)]
        for future in futures:
            future.add_done_callback(seen.append)
        all_done(futures)
        self._called(seen, 60)
        finishes(executor.shutdown, "shutdown()")
        counts = [seen.count(future) for future in futures]
        assert counts == [1] * 60, f"the callbacks of 60 futures were called so often: {counts}"

    def test_a_callback_of_a_cancelled_call_runs_once(self, executor: Executor, gate: Gate) -> None:
        """The callback of a cancelled call SHOULD NOT be called again when the executor comes to it. (promise
        F4)
        """
        seen: list[Any] = []
        future = self._behind_others(executor, gate)
        future.add_done_callback(seen.append)
        future.cancel()
        future.cancel()
        gate.open()
        finishes(executor.shutdown, "shutdown() after a cancellation")
        assert len(seen) == 1, f"the callback of a cancelled call was called {len(seen)} times"

    def test_the_same_callback_added_twice_runs_twice(self, executor: Executor, gate: Gate) -> None:
        """A callback that was added twice MUST be called twice. (manual: Future.add_done_callback)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(seen.append)
        future.add_done_callback(seen.append)
        gate.open()
        finishes(executor.shutdown, "shutdown()")
        assert seen == [future, future], f"a callback added twice was called {len(seen)} times"

    @patient(2)
    def test_a_callback_added_at_the_end_is_not_lost(self, make: ExecutorFactory) -> None:
        """A callback that is added just when the call finishes MUST be called. (manual:
        Future.add_done_callback)
        """
        executor = make(max_workers=2)
        seen: list[Any] = []
        futures = []
        for number in range(300):
            future = executor.submit(calls.echo, number)
            future.add_done_callback(seen.append)
            futures.append(future)
            future.add_done_callback(seen.append)
        all_done(futures)
        self._called(seen, 600)
        finishes(executor.shutdown, "shutdown()")
        assert len(seen) == 600, f"600 callbacks added beside the end of their calls were called {len(seen)} times"

    # Where, and what may be one

    def test_callback_runs_in_the_process_that_added_it(self, executor: Executor, gate: Gate) -> None:
        """A callback MUST be called in a thread of the process that added it. (manual:
        Future.add_done_callback)
        """
        seen: list[int] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(lambda _: seen.append(os.getpid()))
        gate.open()
        self._called(seen)
        assert seen == [os.getpid()], f"the callback ran in process {seen[0]}, added in {os.getpid()}"

    def test_callback_may_be_any_callable(self, executor: Executor, gate: Gate) -> None:
        """Any callable MUST do as a callback: an object, a partial, a bound method. (manual:
        Future.add_done_callback)
        """
        one, two, three = Collector(), Collector(), Collector()
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        for callback in (one, two.__call__, functools.partial(three), seen.append):
            future.add_done_callback(callback)
        gate.open()
        self._called(seen)
        got = [one.seen, two.seen, three.seen, seen]
        assert got == [[future]] * 4, f"of four kinds of callables these were called: {[len(each) for each in got]}"

    def test_what_a_callback_returns_is_ignored(self, executor: Executor, gate: Gate) -> None:
        """What a callback returns MUST NOT change the result. (manual: Future.result)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate, 42)
        future.add_done_callback(lambda _: 43)
        future.add_done_callback(seen.append)
        gate.open()
        self._called(seen)
        got = result_of(future)
        assert got == 42, f"a callback that returned 43 changed the result to {brief(got)}"

    # When one raises

    def test_a_raising_callback_does_not_stop_the_others(self, executor: Executor, gate: Gate) -> None:
        """An Exception in a callback MUST be ignored: the other callbacks are called. (manual:
        Future.add_done_callback)
        """
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate, 42)
        future.add_done_callback(seen.append)
        future.add_done_callback(_fail)
        future.add_done_callback(seen.append)
        gate.open()
        self._called(seen, 2)
        got = result_of(future)
        assert got == 42, f"a callback that raised changed the result to {brief(got)}"

    def test_a_raising_callback_is_logged(
        self, executor: Executor, gate: Gate, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An Exception in a callback MUST be logged. (manual: Future.add_done_callback)"""
        seen: list[Any] = []
        with caplog.at_level(logging.DEBUG):
            future = executor.submit(calls.pass_gate, gate)
            future.add_done_callback(_fail)
            future.add_done_callback(seen.append)
            gate.open()
            self._called(seen)
        assert self._logged(caplog), f"the exception of a callback was not logged; there is {caplog.messages}"

    def test_a_late_raising_callback_is_logged(self, executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
        """An Exception in a callback that is called immediately MUST be logged, not raised. (manual:
        Future.add_done_callback)
        """
        future = executor.submit(calls.nothing)
        done(future)
        with caplog.at_level(logging.DEBUG):
            try:
                future.add_done_callback(_fail)
            except Exception as error:
                pytest.fail(f"add_done_callback() raised the callback's own {type(error).__name__}")
        assert self._logged(caplog), f"the exception of a late callback was not logged; there is {caplog.messages}"

    def test_a_raising_callback_does_not_reach_cancel(self, executor: Executor, gate: Gate) -> None:
        """An Exception in a callback MUST NOT come out of cancel(). (manual: Future.add_done_callback)"""
        future = self._behind_others(executor, gate)
        future.add_done_callback(_fail)
        try:
            said = future.cancel()
        except Exception as error:
            pytest.fail(f"cancel() raised the callback's own {type(error).__name__}")
        assert said is True, "cancel() did not return True for a waiting call"

    def test_workers_outlive_raising_callbacks(self, executor: Executor) -> None:
        """After callbacks that raised, calls MUST still be executed. (manual: Future.add_done_callback)"""
        for number in range(10):
            executor.submit(calls.echo, number).add_done_callback(_fail)
        got = result_of(executor.submit(calls.echo, 42), "a call after callbacks that raised")
        assert got == 42, f"a call after callbacks that raised gave {brief(got)}"

    def test_workers_outlive_callbacks_that_exit(self, executor: Executor, gate: Gate) -> None:
        """A SystemExit in a callback SHOULD stop neither a worker nor the other callbacks. (promise F4)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(_exit)
        future.add_done_callback(seen.append)
        gate.open()
        until(lambda: seen, "a callback behind one that raised SystemExit", short_limit())
        waiting = executor.submit(calls.echo, 42)
        until(waiting.done, "a call after a callback that raised SystemExit", short_limit())

    def _logged(self, caplog: pytest.LogCaptureFixture) -> bool:
        return any(
            "planted" in record.getMessage() or (record.exc_info and "planted" in str(record.exc_info[1]))
            for record in caplog.records
        )

    # What a callback may do

    def test_a_callback_may_add_a_callback(self, executor: Executor, gate: Gate) -> None:
        """A callback that adds another to its finished future MUST see it called. (manual:
        Future.add_done_callback)
        """
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(lambda it: it.add_done_callback(seen.append))
        gate.open()
        self._called(seen)
        assert seen == [future], f"the callback added by a callback was called with {brief(seen)}"

    def test_a_callback_may_submit(self, executor: Executor, gate: Gate) -> None:
        """A callback SHOULD be able to submit to the executor, for no lock is held. (promise F3)"""
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(lambda _: seen.append(executor.submit(calls.echo, 42)))
        gate.open()
        self._called(seen)
        got = result_of(seen[0], "a call that a callback submitted")
        assert got == 42, f"a call that a callback submitted gave {brief(got)}"

    def test_a_callback_may_cancel(self, executor: Executor, gate: Gate, gates: Any) -> None:
        """A callback SHOULD be able to cancel another call, for no lock is held. (promise F3)"""
        second_gate = gates()
        seen: list[Any] = []
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for _ in range(10):
            executor.submit(calls.pass_gate, second_gate)
        other = executor.submit(calls.nothing)
        future.add_done_callback(lambda _: seen.append(other.cancel()))
        gate.open()
        self._called(seen)
        assert seen == [True], f"cancel() of a waiting call in a callback said {seen}"

    def test_a_callback_may_wait_for_its_future(self, executor: Executor, gate: Gate) -> None:
        """A callback SHOULD be able to ask its future from another thread, for no lock is held. (promise F3)"""
        seen: list[Any] = []

        def ask(future: Future[Any]) -> None:
            asking = threading.Thread(target=lambda: seen.append(future.result(timeout=2)), daemon=True)
            asking.start()
            asking.join(2)
            if not seen:
                seen.append("nothing: result() in another thread blocked")

        future = executor.submit(calls.pass_gate, gate, 42)
        future.add_done_callback(ask)
        gate.open()
        self._called(seen)
        assert seen == [42], f"a thread that asked for the result during a callback got {seen[0]}"

    def test_a_callback_may_shut_down(self, executor: Executor, gate: Gate) -> None:
        """A callback SHOULD be able to call shutdown(wait=False). (promise E6)"""
        seen: list[Any] = []

        def shut_down(future: Future[Any]) -> None:
            executor.shutdown(wait=False)
            seen.append("returned")

        future = executor.submit(calls.pass_gate, gate)
        future.add_done_callback(shut_down)
        gate.open()
        self._called(seen)
        finishes(executor.shutdown, "shutdown() after one in a callback")


def _fail(future: Future[Any]) -> None:
    raise ValueError("planted by the rule")


def _exit(future: Future[Any]) -> None:
    raise SystemExit("planted by the rule")
