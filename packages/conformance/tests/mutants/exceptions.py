"""Defects in what calls raise."""

from __future__ import annotations

import asyncio
import copy
import queue
from concurrent.futures import BrokenExecutor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from reference import Job, Pool, ProcessExecutor, PromptFuture, ThreadExecutor

from mutants import mutant


@mutant(
    "exceptions.result_raises_what_the_call_raised",
    says="the call raised a ValueError, result() RuntimeError",
    also=(
        "exceptions.exception_returns_what_the_call_raised",
        "exceptions.raised_exception_of_own_class_arrives",
        "exceptions.raised_os_error_keeps_its_fields",
        "exceptions.raised_exception_keeps_its_attributes",
        "exceptions.raised_unicode_error_arrives",
        "exceptions.raised_group_arrives",
        "exceptions.raised_recursion_error_arrives",
        "exceptions.raised_stop_iteration_arrives",
        "exceptions.raised_timeout_error_arrives",
        "exceptions.raised_cancelled_error_is_no_cancellation",
        "exceptions.raised_system_exit_arrives",
        "exceptions.raised_keyboard_interrupt_arrives",
        "exceptions.raised_base_exception_arrives",
        "exceptions.exceptions_do_not_touch_neighbours",
        "exceptions.waiting_threads_get_the_exception",
        "*",
    ),
)
class WrapsExceptions(ThreadExecutor):
    """Every exception arrives as RuntimeError."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, RuntimeError(f"the call raised a {type(error).__name__}"))


class _RaisesOnce(PromptFuture):
    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = super().exception(timeout)
        self._exception = None
        return error


@mutant("exceptions.exception_can_be_asked_again", says="raised nothing but returned None", also=("*",))
class GivesExceptionsOnce(ThreadExecutor):
    """The exception is gone once it was asked for."""

    future_type = _RaisesOnce


@mutant(
    "exceptions.submit_does_not_raise_for_the_call",
    says="submit() raised the exception of the call",
    also=("*",),
)
class RaisesInSubmit(ThreadExecutor):
    """submit() waits a little, and raises what the call raised by then."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        if wait([future], timeout=0.1).done and not future.cancelled() and (error := future.exception()):
            raise error
        return future


@mutant(
    "exceptions.exception_is_the_very_object",
    says="returned another object than the call raised",
    also=("*",),
)
class CopiesExceptions(ThreadExecutor):
    """exception() gives a copy."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        twin = copy.copy(error)
        super().settle_error(future, twin.with_traceback(error.__traceback__))


@mutant(
    "exceptions.raised_exception_keeps_its_attributes",
    says="the attribute set by the call is {}",
    also=(
        "exceptions.exception_is_the_very_object",
        "exceptions.traceback_shows_where_the_call_raised",
        "exceptions.cause_of_an_exception_is_shown",
        "*",
    ),
)
class RebuildsExceptions(ThreadExecutor):
    """An exception is made anew from its class and args."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, type(error)(*error.args))


class _LooksForTruth(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        if error:
            raise error
        return self._result


@mutant(
    "exceptions.raised_falsy_exception_arrives",
    says="raised nothing but returned None",
    also=("exceptions.raised_empty_exception_arrives", "*"),
)
class OverlooksFalsyExceptions(ThreadExecutor):
    """An exception that is false is not raised."""

    future_type = _LooksForTruth


@mutant("exceptions.raised_exception_is_not_compared", says="raised nothing but returned None", also=("*",))
class ComparesExceptions(ThreadExecutor):
    """An exception that equals a marker is swallowed."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if error == "executor's own marker":
            super().settle(future, None)
        else:
            super().settle_error(future, error)


@mutant("exceptions.raised_exception_is_not_shown", says="waited", also=("*",), deadline=2)
class ShowsExceptions(ThreadExecutor):
    """Every exception is turned into text on its way; a worker whose attempt fails dies."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        assert isinstance(str(error), str)
        super().settle_error(future, error)


@mutant(
    "exceptions.raised_system_exit_arrives",
    says="waited",
    also=(
        "exceptions.raised_keyboard_interrupt_arrives",
        "exceptions.raised_base_exception_arrives",
        "exceptions.workers_outlive_base_exceptions",
        "*",
    ),
    deadline=2,
)
class CatchesExceptionsOnly(ThreadExecutor):
    """What is no Exception ends the worker, and the future stays running."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        try:
            result = job.fn(*job.args, **job.kwargs)
        except Exception as error:
            cls.settle_error(job.future, error)
        except BaseException:
            raise SystemExit from None
        else:
            cls.settle(job.future, result)


@mutant("exceptions.workers_outlive_exceptions", says="waited", also=("*",), deadline=2)
class WorkersDieOfExceptions(ThreadExecutor):
    """A worker ends after a call that raised, and nobody replaces it."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, error)
        raise SystemExit


@mutant(
    "exceptions.exceptions_do_not_touch_neighbours",
    says="BrokenThreadPool",
    also=("exceptions.workers_outlive_exceptions", "exceptions.workers_outlive_base_exceptions", "*"),
)
class ExceptionsBreakThePool(ThreadExecutor):
    """A call that raises breaks the pool."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        future = job.future
        super().perform(pool, station, job)
        error = future.exception()
        if error is not None:
            cls.break_pool(pool, error)


class _FailedIsCancelled(PromptFuture):
    def cancelled(self) -> bool:
        return super().cancelled() or self._exception is not None


@mutant(
    "exceptions.states_after_an_exception",
    says="done, running, cancelled after an exception: (True, False, True)",
    also=("exceptions.raised_cancelled_error_is_no_cancellation", "*"),
)
class FailedCountsAsCancelled(ThreadExecutor):
    """cancelled() is True for a call that raised."""

    future_type = _FailedIsCancelled


@mutant("exceptions.raised_cancellation_of_asyncio_is_no_cancellation", says="counts as cancelled")
class AsyncioCancelsCalls(ThreadExecutor):
    """A call that raises asyncio.CancelledError is cancelled."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            future._state = "PENDING"
            future.cancel()
        else:
            super().settle_error(future, error)


@mutant("exceptions.raised_broken_executor_breaks_nothing", says="BrokenThreadPool")
class BrokenErrorsBreakThePool(ThreadExecutor):
    """A call that raises BrokenExecutor breaks the pool."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        try:
            return super().call(pool, station, job)
        except BrokenExecutor as error:
            cls.break_pool(pool, error)
            raise


@mutant("exceptions.raised_errors_that_executors_catch_arrive", says="waited", deadline=2)
class EmptyMeansThatNothingWaits(ThreadExecutor):
    """A worker takes queue.Empty, which a call raised, for an empty queue."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if not isinstance(error, queue.Empty):
            super().settle_error(future, error)


@mutant(
    "exceptions.raised_errors_that_executors_catch_arrive",
    says="BrokenProcessPool",
    also=("transport.exceptions_keep_type_and_arguments", "transport.memory_error_arrives"),
)
class EofMeansThatTheWorkerIsLost(ProcessExecutor):
    """The caller's side takes EOFError, which a call raised, for the end of the pipe."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, BrokenProcessPool("lost") if isinstance(error, EOFError) else error)


@mutant("exceptions.waiting_calls_outlive_base_exceptions", says="3 of 3 calls behind")
class InterruptCancelsWhatWaits(ThreadExecutor):
    """A call that raises KeyboardInterrupt cancels those that wait."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        try:
            return super().call(pool, station, job)
        except KeyboardInterrupt:
            with pool.changed:
                for waiting in pool.jobs:
                    waiting.future.cancel()
            raise
