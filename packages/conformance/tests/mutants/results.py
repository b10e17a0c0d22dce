"""Defects in results, states and timeouts."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import time
from concurrent.futures import Future
from typing import Any

from reference import Job, Pool, PromptFuture, ThreadExecutor

from mutants import mutant


@mutant(
    "results.result_is_what_the_call_returned",
    says="the call returned (1, (2, [3]))",
    also=("*",),
    deadline=2,
)
class ResultsThroughJson(ThreadExecutor):
    """Results are what JSON makes of them."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        try:
            result = json.loads(json.dumps(result))
        except (TypeError, ValueError, RecursionError):
            pass
        super().settle(future, result)


@mutant("results.result_may_be_none", says="the call returned None, result() ()", also=("*",), deadline=2)
class NoneBecomesEmpty(ThreadExecutor):
    """None is taken for no result."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, () if result is None else result)


@mutant("results.result_may_be_falsy", says="the call returned 0, result() None", also=("*",), deadline=2)
class FalsyBecomesNone(ThreadExecutor):
    """A result that is false becomes None."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, None if result in (0, "", b"") or result == [] or result == () else result)


@mutant("results.result_may_be_an_exception", says="a value like any other", also=("*",))
class RaisesReturnedExceptions(ThreadExecutor):
    """A returned exception is raised."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if isinstance(result, Exception):
            super().settle_error(future, result)
        else:
            super().settle(future, result)


@mutant("results.result_may_be_an_exception_class", says="KeyError", also=("*",))
class RaisesReturnedClasses(ThreadExecutor):
    """A returned exception class is raised."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if isinstance(result, type) and issubclass(result, BaseException):
            super().settle_error(future, result())
        else:
            super().settle(future, result)


@mutant("results.result_is_not_compared", says="no equality", also=("*",))
class ComparesResults(ThreadExecutor):
    """A result is compared with a marker."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        result = super().call(pool, station, job)
        return None if result == "executor's own marker" else result


@mutant("results.result_is_the_very_object", says="result() returned another object", also=("*",))
class CopiesResults(ThreadExecutor):
    """result() gives a copy."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, copy.copy(result) if not isinstance(result, Future) else result)


@mutant("results.result_may_be_a_future", says="the call returned a future, result()", also=("*",))
class AdoptsReturnedFutures(ThreadExecutor):
    """A returned future is unpacked."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, result.running() if isinstance(result, Future) else result)


@mutant("results.results_belong_to_their_calls", says="80 squares came back as", also=("*",))
class MixesUpResults(ThreadExecutor):
    """Each seventh call gets the result of the one before."""

    done_so_far = 0
    before: Any = None

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        result = super().call(pool, station, job)
        cls.done_so_far += 1
        cls.before, before = result, cls.before
        return before if cls.done_so_far % 7 == 0 else result


class _Once(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        result = super().result(timeout)
        self._result = None
        return result


@mutant("results.result_can_be_asked_again", says="asked three times", also=("*",))
class GivesResultsOnce(ThreadExecutor):
    """The result is gone once it was asked for."""

    future_type = _Once


class _WakesOne(PromptFuture):
    def _finish(self) -> None:
        with self._condition:
            self._state = "FINISHED"
            for waiter in self._waiters:
                waiter.add_result(self) if self._exception is None else waiter.add_exception(self)
            self._condition.notify()
        self._invoke_callbacks()

    def set_result(self, result: Any) -> None:
        self._result = result
        self._finish()

    def set_exception(self, exception: BaseException | None) -> None:
        self._exception = exception
        self._finish()


@mutant(
    "results.result_for_several_threads",
    says="four threads",
    also=("results.a_finished_future_takes_no_result", "*"),
    deadline=2,
)
class WakesOneOfSeveral(ThreadExecutor):
    """Of several threads that wait for a result only one is woken."""

    future_type = _WakesOne


class _ZeroTimesOut(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        if timeout == 0:
            raise TimeoutError
        return super().result(timeout)


@mutant(
    "results.result_after_the_end_is_immediate",
    says="TimeoutError",
    also=("results.result_is_there_when_done", "*"),
)
class TimeoutZeroAlwaysTimesOut(ThreadExecutor):
    """result(timeout=0) never looks."""

    future_type = _ZeroTimesOut


class _Patient(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        return super().result(None)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return super().exception(None)


@mutant(
    "results.result_times_out_on_a_running_call",
    says="result(timeout=0.01) of a running call",
    also=(
        "results.result_with_timeout_zero_does_not_wait",
        "results.result_times_out_on_a_waiting_call",
        "results.exception_times_out_on_a_running_call",
        "results.exception_with_timeout_zero_does_not_wait",
        "results.a_timeout_changes_nothing",
        "*",
    ),
    deadline=2,
)
class IgnoresTimeouts(ThreadExecutor):
    """result() and exception() wait for ever, whatever the timeout."""

    future_type = _Patient


class _WantsFloats(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        if isinstance(timeout, int) and timeout:
            raise TypeError("timeout must be a float")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if isinstance(timeout, int) and timeout:
            raise TypeError("timeout must be a float")
        return super().exception(timeout)


@mutant(
    "results.timeout_may_be_an_int_or_a_float",
    says="timeout must be a float",
    also=("results.timeout_of_exception_may_be_an_int_or_a_float", "*"),
)
class RefusesIntTimeouts(ThreadExecutor):
    """A timeout must be a float."""

    future_type = _WantsFloats


class _GivesUp(PromptFuture):
    gave_up = False

    def result(self, timeout: float | None = None) -> Any:
        try:
            return super().result(timeout)
        except TimeoutError:
            self.gave_up = True
            raise

    def done(self) -> bool:
        return self.gave_up or super().done()


@mutant("results.a_timeout_changes_nothing", says="the future was done after result() timed out", also=("*",))
class TimeoutEndsTheFuture(ThreadExecutor):
    """A future whose result() timed out counts as done."""

    future_type = _GivesUp


class _NeverRunning(PromptFuture):
    def running(self) -> bool:
        return False


@mutant(
    "results.running_is_true_while_the_call_runs",
    says="running() was False while the call ran",
    also=(
        "results.running_is_true_only_for_calls_that_run",
        "cancelling.cancel_does_not_disturb_a_running_call",
        "*",
    ),
)
class NeverSaysRunning(ThreadExecutor):
    """running() is always False."""

    future_type = _NeverRunning


class _DoneOnceStarted(PromptFuture):
    def done(self) -> bool:
        return super().done() or self.running()


@mutant("results.done_is_false_while_the_call_runs", says="while the call ran", also=("*",), deadline=2)
class DoneOnceStarted(ThreadExecutor):
    """done() is True as soon as the call runs."""

    future_type = _DoneOnceStarted


class _CancelledUntilDone(PromptFuture):
    def cancelled(self) -> bool:
        return super().cancelled() or self.running()


@mutant(
    "results.cancelled_is_false_while_the_call_runs",
    says="cancelled() was True while the call ran",
    also=("*",),
    deadline=2,
)
class CancelledWhileRunning(ThreadExecutor):
    """cancelled() is True while the call runs."""

    future_type = _CancelledUntilDone


class _RunningUntilDone(PromptFuture):
    def running(self) -> bool:
        return not self.done()


@mutant(
    "results.running_is_false_while_the_call_waits",
    says="the last of ten calls on one worker said",
    also=("results.running_is_true_only_for_calls_that_run", "*"),
)
class RunningWhileWaiting(ThreadExecutor):
    """running() is True for calls that wait."""

    future_type = _RunningUntilDone


@mutant(
    "results.running_is_true_only_for_calls_that_run",
    says="running() was True for calls",
    also=("cancelling.the_next_waiting_call_can_be_cancelled", "*"),
    deadline=2,
)
class SendsCallsAhead(ThreadExecutor):
    """The first calls that wait count as running."""

    def enqueue(self, job: Job) -> None:
        if len(self.pool.jobs) < 3:
            super().begin(job)
        super().enqueue(job)

    @classmethod
    def begin(cls, job: Job) -> bool:
        return job.future.running() or super().begin(job)


class _DoneWhenAsked(PromptFuture):
    asked = False

    def result(self, timeout: float | None = None) -> Any:
        self.asked = True
        return super().result(timeout)

    def done(self) -> bool:
        return self.asked and super().done()


@mutant("results.done_after_the_end", says="waited", also=("*",), deadline=2)
class DoneWhenAsked(ThreadExecutor):
    """done() is False until somebody asked for the result."""

    future_type = _DoneWhenAsked


class _RunsForEver(PromptFuture):
    def running(self) -> bool:
        return super().running() or self._state == "FINISHED"


@mutant(
    "results.not_running_after_the_end",
    says="running() was True after the end",
    also=("results.done_as_soon_as_result_returns", "exceptions.states_after_an_exception", "*"),
)
class RunningAfterTheEnd(ThreadExecutor):
    """running() stays True."""

    future_type = _RunsForEver


class _CancelledWhenDone(PromptFuture):
    def cancelled(self) -> bool:
        return self.done()


@mutant("results.not_cancelled_after_the_end", says="cancelled() was True after the end", also=("*",), deadline=2)
class CancelledAfterTheEnd(ThreadExecutor):
    """cancelled() is True for whatever is done."""

    future_type = _CancelledWhenDone


class _DoneOnSecondThought(PromptFuture):
    asked = False

    def done(self) -> bool:
        done = super().done() and self.asked
        self.asked = super().done()
        return done


@mutant("results.done_as_soon_as_result_returns", says="done() was False after result() had returned", also=("*",))
class DoneOnSecondThought(ThreadExecutor):
    """done() is False the first time it is asked after the end."""

    future_type = _DoneOnSecondThought


class _AlwaysDone(PromptFuture):
    def done(self) -> bool:
        return True


@mutant(
    "results.result_is_there_when_done",
    says="done() was True, but result(timeout=0) raised TimeoutError",
    also=("results.done_is_false_while_the_call_runs", "results.running_is_false_while_the_call_waits", "*"),
    deadline=2,
)
class AlwaysDone(ThreadExecutor):
    """done() is True from the beginning."""

    future_type = _AlwaysDone

    @classmethod
    def begin(cls, job: Job) -> bool:
        import time

        time.sleep(0.05)  # part of the defect: results come well after done() said True
        return super().begin(job)


class _FalseForNone(PromptFuture):
    def exception(self, timeout: float | None = None) -> Any:
        return super().exception(timeout) or False


@mutant(
    "results.exception_is_none_after_success",
    says="exception() of a call that succeeded gave False",
    also=("results.timeout_of_exception_may_be_an_int_or_a_float", "*"),
)
class ExceptionIsFalseAfterSuccess(ThreadExecutor):
    """exception() gives False instead of None."""

    future_type = _FalseForNone


class _Unhashable(PromptFuture):
    __hash__ = None  # type: ignore[assignment]


@mutant("results.futures_are_hashable", says="unhashable", also=("*",), deadline=2)
class FuturesAreUnhashable(ThreadExecutor):
    """Futures have no hash."""

    future_type = _Unhashable


class _Overwritable(PromptFuture):
    def set_result(self, result: Any) -> None:
        self._state = "RUNNING"
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        self._state = "RUNNING"
        super().set_exception(exception)


@mutant(
    "results.a_finished_future_takes_no_result",
    says="DID NOT RAISE",
    also=("results.a_finished_future_takes_no_exception", "*"),
)
class OverwritesResults(ThreadExecutor):
    """A finished future takes another result."""

    future_type = _Overwritable


@mutant("results.result_may_be_awaitable", says="returned a coroutine")
class AwaitsCoroutines(ThreadExecutor):
    """A coroutine that a call returns is run."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        result = super().call(pool, station, job)
        return asyncio.run(result) if inspect.iscoroutine(result) else result


class _OnOneClock(PromptFuture):
    """Its timeouts are counted from when it was made."""

    def __init__(self) -> None:
        super().__init__()
        self.made = time.monotonic()

    def left(self, timeout: float | None) -> float | None:
        return None if timeout is None else max(0.0, self.made + timeout - time.monotonic())

    def result(self, timeout: float | None = None) -> Any:
        return super().result(self.left(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return super().exception(self.left(timeout))


@mutant(
    "results.result_does_not_time_out_early",
    says="of a running call waited 0.0",
    also=(
        "resources.*",
        "results.exception_does_not_time_out_early",
    ),
)
class TimeoutsCountFromSubmit(ThreadExecutor):
    """The timeout of result() and exception() is counted from submit()."""

    future_type = _OnOneClock
