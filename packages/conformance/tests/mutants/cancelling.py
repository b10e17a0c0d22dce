"""Defects in cancelling."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from reference import Job, Pool, PromptFuture, ThreadExecutor

from mutants import mutant


class _SaysYes(PromptFuture):
    def cancel(self) -> bool:
        return super().cancel() or not self.done()


@mutant(
    "cancelling.cancel_returns_false_once_running",
    says="cancel() did not return False",
    also=("cancelling.*",),
)
class CancelOfRunningSaysTrue(ThreadExecutor):
    """cancel() says True for a call that runs on."""

    future_type = _SaysYes


class _Gone(PromptFuture):
    def cancel(self) -> bool:
        said = super().cancel()
        if self.running():
            self._state = "CANCELLED"
        return said

    def set_result(self, result: Any) -> None:
        if not self.cancelled():
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        if not self.cancelled():
            super().set_exception(exception)


@mutant(
    "cancelling.cancel_does_not_disturb_a_running_call",
    says="cancelled() was True for a call that runs",
    also=("cancelling.cancel_does_not_hide_an_exception", "cancelling.*"),
    deadline=2,
)
class CancelLosesRunningCalls(ThreadExecutor):
    """cancel() of a running call says False, and cancels it all the same."""

    future_type = _Gone


class _YesWhenDone(PromptFuture):
    def cancel(self) -> bool:
        return super().cancel() or self.done()


@mutant(
    "cancelling.cancel_returns_false_once_finished",
    says="did not return False for a finished call",
    also=("cancelling.cancel_returns_false_once_failed", "cancelling.*"),
)
class CancelOfFinishedSaysTrue(ThreadExecutor):
    """cancel() says True for a call that has ended."""

    future_type = _YesWhenDone


class _No(PromptFuture):
    def cancel(self) -> bool:
        return False


@mutant(
    "cancelling.cancel_returns_true_for_a_waiting_call",
    says="did not return True for a waiting call",
    also=(
        "cancelling.cancelled_is_true_after_cancel",
        "cancelling.done_is_true_after_cancel",
        "cancelling.a_cancelled_call_never_runs",
        "cancelling.cancel_again_returns_true",
        "cancelling.cancel_from_several_threads",
        "cancelling.the_executor_goes_on_after_cancellations",
        "cancelling.cancel_after_shutdown",
        "cancelling.cancel_wakes_a_thread_in_result",
        "cancelling.cancel_wakes_a_thread_in_exception",
        "cancelling.*",
    ),
    deadline=2,
)
class RefusesToCancel(ThreadExecutor):
    """cancel() always says False."""

    future_type = _No


class _NeverCancelled(PromptFuture):
    def cancelled(self) -> bool:
        return False


@mutant(
    "cancelling.cancelled_is_true_after_cancel",
    says="cancelled() was False after cancel() returned True",
    also=("cancelling.a_cancelled_future_stays_cancelled", "cancelling.cancel_races_with_the_start", "*"),
    deadline=2,
)
class NeverSaysCancelled(ThreadExecutor):
    """cancelled() is always False."""

    future_type = _NeverCancelled

    @classmethod
    def begin(cls, job: Job) -> bool:
        return not job.future.done() and super().begin(job)


class _DoneIsFinished(PromptFuture):
    def done(self) -> bool:
        return self._state == "FINISHED"


@mutant(
    "cancelling.done_is_true_after_cancel",
    says="done() was False after cancel() returned True",
    also=("*",),
    deadline=2,
)
class CancelledIsNotDone(ThreadExecutor):
    """done() is False for a cancelled call."""

    future_type = _DoneIsFinished


class _RunningOnceCancelled(PromptFuture):
    def running(self) -> bool:
        return super().running() or self.cancelled()


@mutant(
    "cancelling.running_is_false_after_cancel",
    says="running() was True after cancel()",
    also=("cancelling.*",),
)
class CancelledIsRunning(ThreadExecutor):
    """running() is True for a cancelled call."""

    future_type = _RunningOnceCancelled


class _NoneWhenCancelled(PromptFuture):
    def result(self, timeout: float | None = None) -> Any:
        try:
            return super().result(timeout)
        except BaseException:
            if self.cancelled():
                return None
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(timeout)
        except BaseException:
            if self.cancelled():
                return None
            raise


@mutant(
    "cancelling.result_raises_cancelled_error",
    says="returned None instead of raising CancelledError",
    also=(
        "resources.*",
        "cancelling.exception_raises_cancelled_error",
        "cancelling.a_cancelled_future_stays_cancelled",
        "cancelling.cancel_wakes_a_thread_in_result",
        "cancelling.cancel_wakes_a_thread_in_exception",
        "cancelling.*",
    ),
)
class CancelledGivesNone(ThreadExecutor):
    """result() and exception() of a cancelled call give None."""

    future_type = _NoneWhenCancelled


@mutant(
    "cancelling.a_cancelled_call_never_runs",
    says="after a cancellation these ran",
    also=(
        "cancelling.the_next_waiting_call_can_be_cancelled",
        "cancelling.cancel_after_shutdown",
        "cancelling.cancel_races_with_the_start",
        "cancelling.*",
    ),
)
class RunsCancelledCalls(ThreadExecutor):
    """A cancelled call is executed, and its result thrown away."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        job = super().make_job(fn, args, kwargs)
        job.future.job = None  # type: ignore[attr-defined] # so that cancel() does not drop the call
        return job

    @classmethod
    def begin(cls, job: Job) -> bool:
        if super().begin(job):
            return True
        job.fn(*job.args, **job.kwargs)
        return False


@mutant(
    "cancelling.a_cancelled_future_stays_cancelled",
    says="a cancelled future was revived",
    also=("cancelling.*",),
    deadline=3,
)
class RevivesCancelledFutures(RunsCancelledCalls):
    """A worker that comes to a cancelled call makes it run."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        job.future._state = "RUNNING"
        return True


class _CancelsOnce(PromptFuture):
    def cancel(self) -> bool:
        return not self.cancelled() and super().cancel()


@mutant(
    "cancelling.cancel_again_returns_true",
    says="called three times, said [True, False, False]",
    also=("cancelling.cancel_from_several_threads", "cancelling.*"),
)
class CancelAgainSaysFalse(ThreadExecutor):
    """cancel() of a cancelled call says False."""

    future_type = _CancelsOnce


@mutant(
    "cancelling.cancel_leaves_other_calls_alone",
    says="CancelledError",
    also=("cancelling.*",),
)
class CancelsTheNextToo(ThreadExecutor):
    """The call behind a cancelled one is cancelled too."""

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        job = super().pick(pool)
        if job.future.cancelled() and pool.jobs:
            pool.jobs.popleft().future.cancel()
        return job


@mutant(
    "cancelling.the_executor_goes_on_after_cancellations",
    says="a call behind 30 cancelled ones",
    also=(
        "concurrency.*",
        "cancelling.a_cancelled_call_never_runs",
        "cancelling.cancel_leaves_other_calls_alone",
        "cancelling.*",
    ),
    deadline=2,
)
class WorkerEndsAtCancelledCall(ThreadExecutor):
    """A worker that comes to a cancelled call ends."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        if not super().begin(job):
            raise SystemExit
        return True


class _KnowsThePool(PromptFuture):
    pool: Pool | None = None

    def cancel(self) -> bool:
        return not (self.pool is not None and self.pool.closed) and super().cancel()


@mutant("cancelling.cancel_after_shutdown", says="a call that waited at shutdown", also=("cancelling.*",))
class CancelsNothingAfterShutdown(ThreadExecutor):
    """cancel() says False once shutdown() was called."""

    future_type = _KnowsThePool

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        job = super().make_job(fn, args, kwargs)
        job.future.pool = self.pool  # type: ignore[attr-defined]
        return job


@mutant(
    "cancelling.shutdown_after_cancelling_everything",
    says="shutdown() after cancellations",
    also=("cancelling.*",),
    deadline=2,
)
class ShutdownWaitsForCancelledCalls(ThreadExecutor):
    """shutdown(wait=True) waits until as many calls ran as were submitted."""

    submitted = 0

    def enqueue(self, job: Job) -> None:
        super().enqueue(job)
        self.submitted += 1
        job.future.add_done_callback(self.count)

    def count(self, future: Future[Any]) -> None:
        if not future.cancelled():
            self.submitted -= 1

    def join(self) -> None:
        super().join()
        with self.pool.changed:
            while self.submitted:
                self.pool.changed.wait(0.1)


class _Silent(PromptFuture):
    def cancel(self) -> bool:
        with self._condition:
            if self._state in ("RUNNING", "FINISHED"):
                return False
            self._state = "CANCELLED_AND_NOTIFIED"
        self._invoke_callbacks()
        return True


@mutant(
    "cancelling.cancel_wakes_a_thread_in_result",
    says="a thread in result() to be woken by cancel()",
    also=(
        "cancelling.cancel_wakes_a_thread_in_exception",
        "cancelling.cancel_wakes_wait_at_once",
        "cancelling.*",
    ),
    deadline=3,
)
class CancelWakesNobody(ThreadExecutor):
    """cancel() does not wake threads that wait."""

    future_type = _Silent


@mutant(
    "cancelling.wait_sees_a_cancelled_future",
    says="wait() for a cancelled future",
    also=("cancelling.as_completed_yields_a_cancelled_future", "cancelling.*", "callbacks.*"),
    deadline=3,
)
class NeverNoticesCancellations(ThreadExecutor):
    """A cancelled future is skipped without a word to those who wait."""

    future_type = Future

    @classmethod
    def begin(cls, job: Job) -> bool:
        return not job.future.cancelled() and super().begin(job)


@mutant(
    "cancelling.wait_sees_a_cancellation_at_once",
    says="did not count as done before a worker came to it",
    also=("cancelling.cancel_wakes_wait_at_once", "cancelling.cancel_drops_the_arguments"),
    deadline=6,
)
class NoticesCancellationsLate(ThreadExecutor):
    """Those who wait see a cancellation only when a worker comes to it, as in the standard library."""

    future_type = Future
