"""Defects in what futures tell to those who wait for them."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from typing import Any, ClassVar

from reference import ThreadExecutor

from mutants import mutant


class _Mute(Future[Any]):
    """Tells its waiters nothing."""

    def set_result(self, result: Any) -> None:
        waiters, self._waiters = self._waiters, []
        try:
            Future.set_result(self, result)
        finally:
            self._waiters = waiters


@mutant(
    "waiting.wait_returns_when_all_have_ended",
    says="waited",
    also=(
        "waiting.wait_returns_at_the_first_that_completes",
        "waiting.wait_after_a_timeout_wakes_again",
        "waiting.wait_with_enough_time_returns_early",
        "waiting.*",
    ),
    deadline=2,
)
class ResultsWakeNobody(ThreadExecutor):
    """A result does not wake who waits."""

    future_type = _Mute


class _MuteInFailure(Future[Any]):
    def set_exception(self, exception: BaseException | None) -> None:
        waiters, self._waiters = self._waiters, []
        try:
            super().set_exception(exception)
        finally:
            self._waiters = waiters


@mutant(
    "waiting.wait_takes_a_failed_call_as_the_first_that_completes",
    says="waited",
    also=(
        "waiting.wait_for_all_counts_failed_calls",
        "waiting.wait_returns_at_the_first_exception",
        "waiting.wait_for_an_exception_goes_on_after_a_success",
        "waiting.wait_of_corefutures_takes_the_futures",
    ),
    deadline=2,
)
class FailuresWakeNobody(ThreadExecutor):
    """An exception does not wake who waits."""

    future_type = _MuteInFailure


class _Unnoticed(Future[Any]):
    def set_running_or_notify_cancel(self) -> bool:
        return not self.cancelled() and super().set_running_or_notify_cancel()


@mutant(
    "waiting.wait_takes_cancelled_futures_as_done",
    says="wait() to return",
    also=(
        "waiting.wait_wakes_for_a_cancellation",
        "waiting.wait_does_not_take_a_cancelled_call_for_an_exception",
        "as_completed.as_completed_gives_cancelled_futures",
    ),
    deadline=2,
)
class CancellationsAreNotNoticed(ThreadExecutor):
    """The executor skips cancelled calls without a word."""

    future_type = _Unnoticed


class _Told:
    """A waiter that is told something else than what happened."""

    def __init__(self, waiter: Any, **instead: str) -> None:
        self.waiter = waiter
        self.instead = instead

    def __getattr__(self, name: str) -> Any:
        return getattr(self.waiter, self.instead.get(name, name))

    def __eq__(self, other: object) -> bool:
        return other is self or other is self.waiter

    def __hash__(self) -> int:
        return hash(self.waiter)


class _Telling(list[Any]):
    instead: ClassVar[dict[str, str]] = {}

    def append(self, waiter: Any) -> None:
        super().append(_Told(waiter, **self.instead))


class _FailureAsResult(_Telling):
    instead: ClassVar[dict[str, str]] = {"add_exception": "add_result"}


class _ResultAsFailure(_Telling):
    instead: ClassVar[dict[str, str]] = {"add_result": "add_exception"}


def _telling(kind: type[_Telling]) -> type[Future[Any]]:
    class Teller(Future[Any]):
        def __init__(self) -> None:
            super().__init__()
            self._waiters = kind()

    return Teller


@mutant(
    "waiting.wait_returns_at_the_first_exception",
    says="wait() to return",
    deadline=2,
)
class FailuresAreToldAsResults(ThreadExecutor):
    """Who waits for an exception is told of a result."""

    future_type = _telling(_FailureAsResult)


@mutant(
    "waiting.wait_for_an_exception_goes_on_after_a_success",
    says="returned for a call that succeeded",
    also=("waiting.wait_for_an_exception_that_does_not_come_waits_for_all",),
    deadline=3,
)
class ResultsAreToldAsFailures(ThreadExecutor):
    """Who waits for an exception is woken by a result."""

    future_type = _telling(_ResultAsFailure)


class _CancelledAsFailed(Future[Any]):
    """Says that it failed, where it was cancelled."""

    def cancelled(self) -> bool:
        return False

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return ValueError() if super().cancelled() else super().exception(timeout)


@mutant(
    "waiting.wait_does_not_take_a_cancelled_call_for_an_exception",
    says="returned for a cancelled call",
    deadline=3,
)
class CancellationsLookLikeFailures(ThreadExecutor):
    """A cancelled future claims to have failed."""

    future_type = _CancelledAsFailed


@mutant(
    "waiting.wait_wakes_for_many_futures",
    says="wait() to return",
    also=("waiting.*", "as_completed.as_completed_gives_every_future_once", "as_completed.*"),
    deadline=2,
)
class LateOnesOfManyWakeNobody(ThreadExecutor):
    """The ends of calls far behind in the queue are not told."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        late = isinstance(result, int) and result > 40
        if late:
            threading.Event().wait(0.002)  # until who submits them waits for them
        (_Mute if late else Future).set_result(future, result)  # type: ignore[arg-type]


class _Forgiving(list[Any]):
    def remove(self, waiter: Any) -> None:
        if waiter in self:
            super().remove(waiter)


class _WakesOne(Future[Any]):
    def __init__(self) -> None:
        super().__init__()
        self._waiters = _Forgiving()

    def set_result(self, result: Any) -> None:
        del self._waiters[1:]
        super().set_result(result)


@mutant(
    "waiting.wait_in_several_threads_wakes_them_all",
    says="wait() to return",
    also=("as_completed.as_completed_in_two_threads_gives_all_to_both",),
    deadline=2,
)
class OnlyOneWaiterIsWoken(ThreadExecutor):
    """A result wakes the first of several threads."""

    future_type = _WakesOne


class _ShowsDoneAtStart(Future[Any]):
    """Takes the final state when the call starts."""

    def set_running_or_notify_cancel(self) -> bool:
        runs = super().set_running_or_notify_cancel()
        if runs:
            with self._condition:
                self._state = "FINISHED"
        return runs

    def set_result(self, result: Any) -> None:
        with self._condition:
            self._state = "RUNNING"
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        with self._condition:
            self._state = "RUNNING"
        super().set_exception(exception)


@mutant(
    "waiting.wait_times_out_with_what_is_done",
    says="did not tell done from not done",
    also=(
        "waiting.wait_returns_at_once_after_an_exception",
        "waiting.wait_returns_at_once_when_the_first_has_completed",
        "as_completed.as_completed_times_out",
        "as_completed.as_completed_gives_failed_futures",
        "waiting.*",
        "as_completed.*",
    ),
    deadline=3,
)
class RunningLooksFinished(ThreadExecutor):
    """A future takes its final state when its call starts."""

    future_type = _ShowsDoneAtStart


class _OwnState(Future[Any]):
    """Calls its final state otherwise, and is consistent in itself."""

    def set_result(self, result: Any) -> None:
        super().set_result(result)
        self._state = "SUCCEEDED"

    def set_exception(self, exception: BaseException | None) -> None:
        super().set_exception(exception)
        self._state = "FAILED"

    def done(self) -> bool:
        return super().done() or self._state in ("SUCCEEDED", "FAILED")

    def result(self, timeout: float | None = None) -> Any:
        self.exception(timeout)
        if self._exception:
            raise self._exception
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if self._state not in ("SUCCEEDED", "FAILED"):
            with self._condition:
                if self._state not in ("SUCCEEDED", "FAILED") and not self._condition.wait_for(self.done, timeout):
                    raise TimeoutError
        return self._exception if self.done() and not self.cancelled() else super().exception(0)


@mutant(
    "waiting.wait_returns_at_once_when_all_have_ended_before",
    says="waited",
    also=(
        "as_completed.as_completed_gives_the_ended_ones_first",
        "waiting.*",
        "as_completed.*",
    ),
    deadline=2,
)
class EndedFuturesAreNotRecognised(ThreadExecutor):
    """Futures that ended before do not look ended to wait()."""

    future_type = _OwnState


class _Equal(Future[Any]):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Future)

    def __hash__(self) -> int:
        return 1


@mutant(
    "waiting.wait_tells_futures_with_equal_results_apart",
    says="of three calls with equal results",
    also=(
        "waiting.wait_takes_futures_of_several_executors",
        "as_completed.as_completed_gives_every_future_once",
        "as_completed.as_completed_says_how_many_are_unfinished",
        "waiting.*",
        "as_completed.*",
    ),
    deadline=2,
)
class AllFuturesAreEqual(ThreadExecutor):
    """Every future equals every other."""

    future_type = _Equal


class _Unstable(Future[Any]):
    def __hash__(self) -> int:
        return random.getrandbits(30)


@mutant(
    "waiting.wait_reports_a_duplicate_once",
    says="wait()",
    also=("as_completed.as_completed_gives_a_duplicate_once", "waiting.*", "as_completed.*"),
    deadline=2,
)
class HashesAreUnstable(ThreadExecutor):
    """A future has another hash each time."""

    future_type = _Unstable


class _Ready:
    """Looks like a future, and is none."""

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def __getattr__(self, name: str) -> Any:
        if name in ("_condition", "_waiters", "_state"):
            raise AttributeError(name)
        return getattr(self._future, name)


@mutant(
    "waiting.wait_takes_futures_of_several_executors",
    says="AttributeError",
    also=("as_completed.as_completed_takes_futures_of_several_executors", "waiting.*", "as_completed.*"),
    deadline=2,
)
class ReturnsForeignFutures(ThreadExecutor):
    """submit() returns what is a future by its methods alone."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return _Ready(super().submit(fn, *args, **kwargs))
