"""Defects that show when the executor works together with others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, cast

from reference import ThreadExecutor

from mutants import mutant


class _Lookalike:
    """Has an executor's methods, and is none."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        self.inner = ThreadExecutor(max_workers, **options)
        self.submit, self.map, self.shutdown = self.inner.submit, self.inner.map, self.inner.shutdown

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()


@mutant("interoperation.executor_is_of_the_standard_type", says="is no concurrent.futures.Executor")
class LooksLikeAnExecutor(cast("type[Executor]", _Lookalike)):  # type: ignore[misc]
    """An executor that is not derived from Executor."""


class _Alike(Future[Any]):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike)

    def __hash__(self) -> int:
        return 1


@mutant("interoperation.future_is_hashable_and_equals_itself_alone", says="in a set", also=("interoperation.*",))
class FuturesAreAllEqual(ThreadExecutor):
    """All futures equal one another."""

    future_type = _Alike


@mutant("interoperation.executor_is_used_from_another_thread", says="RuntimeError", also=("interoperation.*",))
class BelongsToOneThread(ThreadExecutor):
    """submit() works only in the thread that made the executor."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers, **options)
        self.owner = threading.get_ident()

    def check_open(self) -> None:
        super().check_open()
        if threading.get_ident() != self.owner:
            raise RuntimeError("this executor belongs to another thread")


class _Mute(Future[Any]):
    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        pass


ASYNCIO = (
    "run_in_executor_returns_the_result", "run_in_executor_raises_the_exception", "run_in_executor_runs_many",
    "wrap_future_returns_the_result", "cancelled_future_cancels_its_asyncio_future", "asyncio_goes_on_while_calls_run",
)  # fmt: skip


@mutant(
    "interoperation.run_in_executor_returns_the_result",
    says="asyncio.run()",
    deadline=3,
    also=(*(f"interoperation.{name}" for name in ASYNCIO), "interoperation.*"),
)
class CallsNobodyBack(ThreadExecutor):
    """Callbacks are never called, and event loops wait for ever."""

    future_type = _Mute


class _Uncancellable(Future[Any]):
    def cancel(self) -> bool:
        raise NotImplementedError("cannot cancel")


@mutant("interoperation.asyncio_cancels_a_waiting_call", says="waited", also=("interoperation.*",), deadline=3)
class CancelIsNotImplemented(ThreadExecutor):
    """cancel() raises NotImplementedError."""

    future_type = _Uncancellable


class _Overwritten(Future[Any]):
    def cancel(self) -> bool:
        if super().cancel():
            return True
        with self._condition:
            if self._state == "RUNNING":
                self._state = "CANCELLED_AND_NOTIFIED"
                self._condition.notify_all()
        return self.cancelled()


@mutant(
    "interoperation.asyncio_gives_up_on_a_running_call",
    says="Cancelled",
    also=("interoperation.*",),
    deadline=4,
)
class CancelsRunningCalls(ThreadExecutor):
    """cancel() cancels calls that run, and their workers stumble over it."""

    future_type = _Overwritten


@mutant("interoperation.asyncio_goes_on_while_calls_run", says="waited", also=("interoperation.*",), deadline=3)
class SubmitWaitsForTheCall(ThreadExecutor):
    """submit() returns when the call has ended."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        future.exception()
        return future


class _Unwatched(Future[Any]):
    """Tells nobody but its own methods when it ends."""

    def set_result(self, result: Any) -> None:
        self._waiters.clear()
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        self._waiters.clear()
        super().set_exception(exception)


@mutant(
    "interoperation.standard_wait_wakes_at_an_exception",
    says="wait() for the first exception",
    deadline=3,
    also=("interoperation.*",),
)
class WakesNoWaiters(ThreadExecutor):
    """Ending futures do not wake wait()."""

    future_type = _Unwatched


class _Solitary(Future[Any]):
    @property
    def _condition(self) -> Any:
        if threading.current_thread().name.startswith(
            ("awaiting wait", "awaiting as_completed", "awaiting corefutures")
        ):
            raise TypeError("this future cannot be waited for with others")
        return self._own

    @_condition.setter
    def _condition(self, condition: Any) -> None:
        self._own = condition


@mutant(
    "interoperation.standard_wait_takes_a_mixture",
    says="cannot be waited for with others",
    also=(
        "interoperation.standard_as_completed_takes_a_mixture",
        "interoperation.standard_wait_wakes_at_an_exception",
        "interoperation.*",
    ),
)
class RefusesToBeWaitedFor(ThreadExecutor):
    """Its futures raise in wait() and as_completed()."""

    future_type = _Solitary


class _DoneNever(Future[Any]):
    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        if threading.current_thread().name.startswith("awaiting corefutures"):
            raise TypeError("this future cannot be waited for with others")
        super().add_done_callback(fn)

    def done(self) -> bool:
        if threading.current_thread().name.startswith("awaiting corefutures"):
            raise TypeError("this future cannot be waited for with others")
        return super().done()

    @property
    def _condition(self) -> Any:
        if threading.current_thread().name.startswith("awaiting corefutures"):
            raise TypeError("this future cannot be waited for with others")
        return self._own

    @_condition.setter
    def _condition(self, condition: Any) -> None:
        self._own = condition


@mutant(
    "interoperation.corefutures_wait_takes_a_mixture",
    says="cannot be waited for with others",
    also=("interoperation.corefutures_as_completed_takes_a_mixture",),
)
class RefusesToBeWaitedForByCorefutures(ThreadExecutor):
    """Its futures raise in corefutures.wait() and corefutures.as_completed()."""

    future_type = _DoneNever


class _OwnErrors(Future[Any]):
    def result(self, timeout: float | None = None) -> Any:
        try:
            return super().result(timeout)
        except TimeoutError:
            if self.done():
                raise
            raise ConnectionError("too slow") from None


@mutant("interoperation.standard_errors_are_raised", says="no TimeoutError")
class TimeoutIsAConnectionError(ThreadExecutor):
    """A timeout raises an error of the executor's own."""

    future_type = _OwnErrors


class _Possessive(Future[Any]):
    def result(self, timeout: float | None = None) -> Any:
        if threading.current_thread().name.startswith("ThreadPoolExecutor"):
            raise RuntimeError("ask in a thread of your own")
        return super().result(timeout)


@mutant("interoperation.future_of_one_executor_completes_another", says="RuntimeError")
class ResultsAreForMainThreads(ThreadExecutor):
    """result() raises in other executors' threads."""

    future_type = _Possessive


class _Forgiving(Future[Any]):
    def set_result(self, result: Any) -> None:
        if self.done():
            self._result, self._exception = result, None
        else:
            super().set_result(result)


@mutant("interoperation.invalid_state_is_refused", says="was given another outcome")
class OutcomesAreOverwritten(ThreadExecutor):
    """A finished future takes another result."""

    future_type = _Forgiving
