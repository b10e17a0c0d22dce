"""Chapter "results": what `result`, `done` and `running` say, before, at and after the end of a call."""

from __future__ import annotations

import inspect
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from typing import Any

import pytest

from corefutures_conformance.deadlines import all_done, brief, done, finishes, joined, result_of
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate

TIMEOUT_SECONDS = 0.2
"""A timeout that is long enough to tell it from one that was taken for milliseconds, or was over before."""


class Results:
    """Rules on the outcome of calls that return."""

    def test_result_is_what_the_call_returned(self, executor: Executor) -> None:
        """result() MUST return the value that the call returned. (manual: Future.result)"""
        for value in (42, 1.5, "text", b"bytes", (1, (2, [3])), {"a": [1]}, {1, 2}, 1 + 2j, 1 << 200):
            got = result_of(executor.submit(calls.echo, value))
            assert got == value and type(got) is type(value), f"the call returned {brief(value)}, result() {brief(got)}"

    def test_result_may_be_none(self, executor: Executor) -> None:
        """result() MUST return None when the call returned None. (manual: Future.result)"""
        got = result_of(executor.submit(calls.nothing))
        assert got is None, f"the call returned None, result() {brief(got)}"

    def test_result_may_be_falsy(self, executor: Executor) -> None:
        """result() MUST return values that are false as they are. (manual: Future.result)"""
        falsy: tuple[Any, ...] = (0, "", (), [], False, 0.0)
        for value in falsy:
            got = result_of(executor.submit(calls.echo, value))
            assert got == value and type(got) is type(value), f"the call returned {value!r}, result() {brief(got)}"

    def test_result_may_be_an_exception(self, executor: Executor) -> None:
        """An exception that the call returned, and did not raise, MUST be the result. (manual: Future.result)"""
        future = executor.submit(calls.echo, ValueError("a value like any other"))
        got = result_of(future)
        assert isinstance(got, ValueError), f"the call returned a ValueError, result() {brief(got)}"
        assert future.exception(timeout=0) is None, "a returned exception was taken for a raised one"

    def test_result_may_be_an_exception_class(self, executor: Executor) -> None:
        """An exception class that the call returned MUST be the result. (manual: Future.result)"""
        got = result_of(executor.submit(calls.echo, KeyError))
        assert got is KeyError, f"the call returned the class KeyError, result() {brief(got)}"

    def test_result_is_not_compared(self, executor: Executor) -> None:
        """A result that can't be compared, hashed or shown MUST be returned as it is. (manual: Future.result)"""
        got = result_of(executor.submit(calls.echo, hostile.Uncomparable()))
        assert type(got) is hostile.Uncomparable, f"result() returned a {type(got).__name__}"

    @requires("shares_memory")
    def test_result_is_the_very_object(self, executor: Executor) -> None:
        """Where memory is shared, result() MUST return the very object that the call returned. (manual:
        Future.result)
        """
        value = object()
        assert result_of(executor.submit(calls.echo, value)) is value, "result() returned another object"

    @requires("shares_memory")
    def test_result_may_be_a_future(self, executor: Executor) -> None:
        """A future that the call returned MUST be the result itself, not resolved. (manual: Future.result)"""
        value: Future[int] = Future()
        got = result_of(executor.submit(calls.echo, value))
        assert got is value, f"the call returned a future, result() {brief(got)}"

    @requires("shares_memory")
    def test_result_may_be_awaitable(self, executor: Executor) -> None:
        """A coroutine that the call returned MUST be the result itself, not awaited. (manual: Future.result)"""
        got = result_of(executor.submit(calls.coroutine, 42))
        assert inspect.iscoroutine(got), f"the call returned a coroutine, result() {brief(got)}"
        got.close()

    def test_results_belong_to_their_calls(self, make: ExecutorFactory) -> None:
        """Each future MUST give the result of its own call. (manual: Executor.submit)"""
        executor = make(max_workers=2)
        futures = [executor.submit(calls.square, number) for number in range(80)]
        got = [result_of(future) for future in reversed(futures)][::-1]
        assert got == [number * number for number in range(80)], f"80 squares came back as {brief(got)}"

    def test_result_can_be_asked_again(self, executor: Executor) -> None:
        """result() MUST return the result each time that it is asked. (manual: Future.result)"""
        future = executor.submit(calls.echo, [1, 2])
        got = [result_of(future) for _ in range(3)]
        assert got == [[1, 2]] * 3, f"result(), asked three times, gave {brief(got)}"

    def test_result_for_several_threads(self, executor: Executor, gate: Gate) -> None:
        """Every thread that waits in result() MUST get the result. (manual: Future.result)"""
        future = executor.submit(calls.pass_gate, gate, "for all")
        got: list[Any] = []
        threads = [threading.Thread(target=lambda: got.append(result_of(future)), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        gate.await_arrivals()
        gate.open()
        joined(threads, "result() in four threads")
        assert got == ["for all"] * 4, f"four threads that waited in result() got {brief(got)}"

    def test_result_after_the_end_is_immediate(self, executor: Executor) -> None:
        """result(timeout=0) MUST return the result of a finished call. (manual: Future.result)"""
        future = executor.submit(calls.echo, 42)
        done(future)
        got = future.result(timeout=0)
        assert got == 42, f"result(timeout=0) of a finished call gave {brief(got)}"

    # Timeouts

    def test_result_times_out_on_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """result(timeout) MUST raise TimeoutError when the call has not finished in time. (manual:
        Future.result)
        """
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        self._times_out(lambda: future.result(timeout=0.01), "result(timeout=0.01) of a running call")

    def test_result_with_timeout_zero_does_not_wait(self, executor: Executor, gate: Gate) -> None:
        """result(timeout=0) MUST raise TimeoutError for a running call. (manual: Future.result)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        self._times_out(lambda: future.result(timeout=0), "result(timeout=0) of a running call")

    def test_result_times_out_on_a_waiting_call(self, executor: Executor, gate: Gate) -> None:
        """result(timeout) MUST raise TimeoutError when the call has not even started. (manual: Future.result)"""
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        future = executor.submit(calls.nothing)
        self._times_out(lambda: future.result(timeout=0.01), "result(timeout=0.01) of a waiting call")

    def test_exception_times_out_on_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """exception(timeout) MUST raise TimeoutError when the call has not finished in time. (manual:
        Future.exception)
        """
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        self._times_out(lambda: future.exception(timeout=0.01), "exception(timeout=0.01) of a running call")

    def test_exception_with_timeout_zero_does_not_wait(self, executor: Executor, gate: Gate) -> None:
        """exception(timeout=0) MUST raise TimeoutError for a running call. (manual: Future.exception)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        self._times_out(lambda: future.exception(timeout=0), "exception(timeout=0) of a running call")

    def test_timeout_may_be_an_int_or_a_float(self, executor: Executor, gate: Gate) -> None:
        """The timeout of result() MUST be accepted as an int, a float and None, also by position. (manual:
        Future.result)
        """
        future = executor.submit(calls.echo, 42)
        done(future)
        got = [future.result(5), future.result(5.0), future.result(None), future.result(timeout=5)]
        assert got == [42] * 4, f"result() with different timeouts gave {brief(got)}"

    def test_timeout_of_exception_may_be_an_int_or_a_float(self, executor: Executor) -> None:
        """The timeout of exception() MUST be accepted as an int, a float and None. (manual: Future.exception)"""
        future = executor.submit(calls.echo, 42)
        done(future)
        got = [
            future.exception(5),
            future.exception(5.0),
            future.exception(None),
            future.exception(timeout=5),
        ]
        assert got == [None] * 4, f"exception() with different timeouts gave {brief(got)}"

    def test_a_timeout_changes_nothing(self, executor: Executor, gate: Gate) -> None:
        """After result() timed out, the call MUST go on and give its result. (manual: Future.result)"""
        future = executor.submit(calls.pass_gate, gate, 42)
        gate.await_arrivals()
        self._times_out(lambda: future.result(timeout=0.01), "result(timeout=0.01) of a running call")
        assert not future.done(), "the future was done after result() timed out"
        assert future.running(), "the future was not running after result() timed out"
        gate.open()
        got = result_of(future)
        assert got == 42, f"after a timeout, result() gave {brief(got)}"

    def test_result_does_not_time_out_early(self, executor: Executor, gate: Gate) -> None:
        """result(timeout) MUST wait for as many seconds, counted from its own call. (manual: Future.result)"""
        future = executor.submit(calls.pass_gate, gate, 42)
        gate.await_arrivals()
        for _ in range(2):  # the second time, the call has been running for longer than that
            self._waits_long_enough(future.result, "result")

    def test_exception_does_not_time_out_early(self, executor: Executor, gate: Gate) -> None:
        """exception(timeout) MUST wait for as many seconds, counted from its own call. (manual:
        Future.exception)
        """
        future = executor.submit(calls.pass_gate, gate, 42)
        gate.await_arrivals()
        for _ in range(2):
            self._waits_long_enough(future.exception, "exception")

    def _waits_long_enough(self, method: Any, name: str) -> None:
        started = time.monotonic()
        self._times_out(lambda: method(timeout=TIMEOUT_SECONDS), f"{name}(timeout={TIMEOUT_SECONDS}) of a running call")
        waited = time.monotonic() - started
        assert waited > TIMEOUT_SECONDS / 2, (
            f"{name}(timeout={TIMEOUT_SECONDS}) of a running call waited {waited:.3f} s"
        )

    def _times_out(self, call: Any, what: str) -> None:
        try:
            got = finishes(call, what)
        except TimeoutError:
            return
        except CancelledError:
            pytest.fail(f"{what} raised CancelledError instead of TimeoutError")
        pytest.fail(f"{what} did not raise TimeoutError but returned {brief(got)}")

    # States

    def test_running_is_true_while_the_call_runs(self, executor: Executor, gate: Gate) -> None:
        """running() MUST be True while the call is being executed. (manual: Future.running)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        assert future.running() is True, f"running() was {brief(future.running())} while the call ran"

    def test_done_is_false_while_the_call_runs(self, executor: Executor, gate: Gate) -> None:
        """done() MUST be False while the call is being executed. (manual: Future.done)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        assert future.done() is False, f"done() was {brief(future.done())} while the call ran"

    def test_cancelled_is_false_while_the_call_runs(self, executor: Executor, gate: Gate) -> None:
        """cancelled() MUST be False while the call is being executed. (manual: Future.cancelled)"""
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        assert future.cancelled() is False, f"cancelled() was {brief(future.cancelled())} while the call ran"

    def test_running_is_false_while_the_call_waits(self, executor: Executor, gate: Gate) -> None:
        """running() MUST be False for a call far back in the queue. (manual: Future.running)"""
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.pass_gate, gate) for _ in range(9)]
        states = [futures[-1].running(), futures[-1].done(), futures[-1].cancelled()]
        assert states == [False] * 3, f"the last of ten calls on one worker said running, done, cancelled: {states}"

    def test_running_is_true_only_for_calls_that_run(self, executor: Executor, gate: Gate) -> None:
        """running() SHOULD be False for calls that were only sent ahead. (promise E3)"""
        futures = [executor.submit(calls.pass_gate, gate, number) for number in range(6)]
        gate.await_arrivals()
        running = [number for number, future in enumerate(futures) if future.running()]
        assert running == [0], f"with one worker, running() was True for calls {running} of 6"

    def test_done_after_the_end(self, executor: Executor) -> None:
        """done() MUST be True after the call finished, although nobody asked for the result. (manual:
        Future.done)
        """
        future = executor.submit(calls.nothing)
        done(future)
        assert future.done() is True, f"done() was {brief(future.done())} after the end"

    def test_not_running_after_the_end(self, executor: Executor) -> None:
        """running() MUST be False after the call finished. (manual: Future.running)"""
        future = executor.submit(calls.nothing)
        done(future)
        assert future.running() is False, f"running() was {brief(future.running())} after the end"

    def test_not_cancelled_after_the_end(self, executor: Executor) -> None:
        """cancelled() MUST be False after the call finished. (manual: Future.cancelled)"""
        future = executor.submit(calls.nothing)
        done(future)
        assert future.cancelled() is False, f"cancelled() was {brief(future.cancelled())} after the end"

    def test_done_as_soon_as_result_returns(self, executor: Executor) -> None:
        """When result() has returned, done() MUST be True. (manual: Future.done)"""
        for number in range(20):
            future = executor.submit(calls.echo, number)
            result_of(future)
            assert future.done(), "done() was False after result() had returned"
            assert not future.running(), "running() was True after result() had returned"

    def test_result_is_there_when_done(self, make: ExecutorFactory) -> None:
        """A future that says it is done SHOULD have its outcome. (promise F2)"""
        executor = make(max_workers=2)
        for number in range(40):
            future = executor.submit(calls.echo, number)
            done(future)
            try:
                got = future.result(timeout=0)
            except TimeoutError:
                pytest.fail("done() was True, but result(timeout=0) raised TimeoutError")
            assert got == number, f"done() was True, but the result {brief(got)} instead of {number}"

    def test_exception_is_none_after_success(self, executor: Executor) -> None:
        """exception() MUST return None when the call finished without raising. (manual: Future.exception)"""
        future = executor.submit(calls.echo, 42)
        done(future)
        got = future.exception(timeout=0)
        assert got is None, f"exception() of a call that succeeded gave {brief(got)}"

    def test_futures_are_hashable(self, executor: Executor) -> None:
        """Futures MUST be hashable and distinct, for wait() returns them in sets. (manual: wait)"""
        futures = [executor.submit(calls.nothing) for _ in range(5)]
        before = set(futures)
        assert len(before) == 5, f"a set of five futures has {len(before)} elements"
        all_done(futures)
        assert before == set(futures), "the hash or equality of a future changed when it finished"

    def test_a_finished_future_takes_no_result(self, executor: Executor) -> None:
        """set_result() on a finished future MUST raise InvalidStateError and change nothing. (manual:
        Future.set_result)
        """
        future = executor.submit(calls.echo, 42)
        done(future)
        with pytest.raises(InvalidStateError):
            future.set_result(43)
        got = future.result(timeout=0)
        assert got == 42, f"a refused set_result() changed the result to {brief(got)}"

    def test_a_finished_future_takes_no_exception(self, executor: Executor) -> None:
        """set_exception() on a finished future MUST raise InvalidStateError and change nothing. (manual:
        Future.set_exception)
        """
        future = executor.submit(calls.echo, 42)
        done(future)
        with pytest.raises(InvalidStateError):
            future.set_exception(ValueError())
        got = future.result(timeout=0)
        assert got == 42, f"a refused set_exception() changed the result to {brief(got)}"
