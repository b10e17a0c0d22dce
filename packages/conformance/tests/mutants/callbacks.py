"""Defects in callbacks."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import Any

from reference import Job, Pool, PromptFuture, ThreadExecutor

from mutants import mutant


class _Deaf(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        """Forget it."""


@mutant(
    "callbacks.callback_runs_after_a_result",
    says="1 callback(s) to be called: 0 were",
    also=(
        "callbacks.callback_runs_after_an_exception",
        "callbacks.callback_runs_after_a_cancellation",
        "callbacks.callback_runs_in_the_process_that_added_it",
        "callbacks.a_callback_added_at_the_end_is_not_lost",
        "callbacks.each_callback_runs_once",
        "*",
    ),
    deadline=1,
)
class ForgetsCallbacks(ThreadExecutor):
    """Callbacks are never called."""

    future_type = _Deaf


class _Eager(PromptFuture):
    def set_running_or_notify_cancel(self) -> bool:
        running = super().set_running_or_notify_cancel()
        if running:
            self._invoke_callbacks()
        return running


@mutant(
    "callbacks.callback_does_not_run_before_the_end",
    says="the callback was called while the call was running",
    also=("*",),
    deadline=3,
)
class CallsBackAtTheStart(ThreadExecutor):
    """Callbacks are called when the call starts too."""

    future_type = _Eager


class _CallsBackFirst(PromptFuture):
    def set_result(self, result: Any) -> None:
        self._invoke_callbacks()
        self._done_callbacks = []
        super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        self._invoke_callbacks()
        self._done_callbacks = []
        super().set_exception(exception)


@mutant(
    "callbacks.callback_sees_a_finished_future",
    says="in the callback done, running, cancelled, result",
    also=("callbacks.callback_sees_the_exception", "callbacks.a_callback_may_wait_for_its_future", "*"),
    deadline=3,
)
class CallsBackBeforeTheResult(ThreadExecutor):
    """Callbacks are called before the result is stored."""

    future_type = _CallsBackFirst


class _LateIsLost(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        if not self.done():
            super().add_done_callback(fn)


@mutant(
    "callbacks.late_callback_runs_at_once_after_a_result",
    says="a callback added to a finished future was called with []",
    also=(
        "callbacks.late_callback_runs_at_once_after_an_exception",
        "callbacks.late_callback_runs_at_once_after_a_cancellation",
        "callbacks.a_late_raising_callback_is_logged",
        "callbacks.a_callback_may_add_a_callback",
        "*",
    ),
    deadline=3,
)
class ForgetsLateCallbacks(ThreadExecutor):
    """A callback that is added to a finished future is never called."""

    future_type = _LateIsLost


class _Backwards(PromptFuture):
    def _invoke_callbacks(self) -> None:
        self._done_callbacks.reverse()
        super()._invoke_callbacks()


@mutant(
    "callbacks.callbacks_run_in_the_order_added",
    says="callbacks added as 0 to 19 were called as [19,",
    also=("callbacks.callbacks_of_a_cancelled_call_run_in_the_order_added", "*"),
)
class CallsBackInReverse(ThreadExecutor):
    """The last callback is called first."""

    future_type = _Backwards


class _Doubly(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        super().add_done_callback(fn)
        if not self.done():
            super().add_done_callback(fn)


@mutant(
    "callbacks.a_callback_of_a_cancelled_call_runs_once",
    says="was called 2 times",
    also=("callbacks.the_same_callback_added_twice_runs_twice", "*"),
)
class CallsBackTwice(ThreadExecutor):
    """A callback that is added before the end is called twice."""

    future_type = _Doubly


@mutant("callbacks.each_callback_runs_once", says="the callbacks of 60 futures were called so often", also=("*",))
class CallsBackAgainAfterTheResult(ThreadExecutor):
    """The worker calls callbacks once more."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, result)
        future._invoke_callbacks()


class _AsSet(PromptFuture):
    def __init__(self) -> None:
        super().__init__()
        self.added: list[Any] = []

    def add_done_callback(self, fn: Any) -> None:
        if fn not in self.added:
            self.added.append(fn)
            super().add_done_callback(fn)


@mutant(
    "callbacks.the_same_callback_added_twice_runs_twice",
    says="a callback added twice was called 1 times",
    also=("callbacks.*",),
    deadline=3,
)
class RemembersCallbacksOnce(ThreadExecutor):
    """A callback that equals an earlier one is not added."""

    future_type = _AsSet


class _Named(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        self.last = fn.__name__
        super().add_done_callback(fn)


@mutant("callbacks.callback_may_be_any_callable", says="__name__", also=("*",))
class WantsNamedCallbacks(ThreadExecutor):
    """A callback must have a name."""

    future_type = _Named


class _Replaced(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        def replacing(future: Future[Any]) -> None:
            result = fn(future)
            if result is not None and self._exception is None and not self.cancelled():
                self._result = result

        super().add_done_callback(replacing)


@mutant(
    "callbacks.what_a_callback_returns_is_ignored",
    says="a callback that returned 43 changed the result",
    also=("*",),
)
class CallbacksReplaceResults(ThreadExecutor):
    """What a callback returns becomes the result."""

    future_type = _Replaced


class _StopsAtFirst(PromptFuture):
    def _invoke_callbacks(self) -> None:
        try:
            for callback in self._done_callbacks:
                callback(self)
        except Exception:
            logging.getLogger(__name__).exception("a callback raised")


@mutant(
    "callbacks.a_raising_callback_does_not_stop_the_others",
    says="2 callback(s) to be called",
    also=("*",),
    deadline=3,
)
class StopsAtRaisingCallback(ThreadExecutor):
    """Callbacks behind one that raises are not called."""

    future_type = _StopsAtFirst


class _Swallows(PromptFuture):
    def add_done_callback(self, fn: Any) -> None:
        def silent(future: Future[Any]) -> None:
            try:
                fn(future)
            except BaseException:
                pass

        super().add_done_callback(silent)


@mutant(
    "callbacks.a_raising_callback_is_logged",
    says="the exception of a callback was not logged",
    also=("callbacks.a_late_raising_callback_is_logged",),
)
class SwallowsErrorsOfCallbacks(ThreadExecutor):
    """An exception in a callback is not logged."""

    future_type = _Swallows


class _Lets(PromptFuture):
    def _invoke_callbacks(self) -> None:
        for callback in self._done_callbacks:
            callback(self)

    def add_done_callback(self, fn: Any) -> None:
        if self.done():
            fn(self)
        else:
            super().add_done_callback(fn)


@mutant(
    "callbacks.a_raising_callback_does_not_reach_cancel",
    says="cancel() raised the callback's own ValueError",
    also=(
        "callbacks.a_late_raising_callback_is_logged",
        "callbacks.workers_outlive_raising_callbacks",
        "callbacks.a_raising_callback_does_not_stop_the_others",
        "*",
    ),
    deadline=3,
)
class LetsErrorsOfCallbacksOut(ThreadExecutor):
    """An exception in a callback goes wherever it likes."""

    future_type = _Lets


class _PlainCallbacks(PromptFuture):
    add_done_callback = Future.add_done_callback


@mutant(
    "callbacks.workers_outlive_callbacks_that_exit",
    says="behind one that raised SystemExit",
    also=("callbacks.*",),
    deadline=6,
)
class ExitsWithCallbacks(ThreadExecutor):
    """A SystemExit in a callback ends the worker, as in the standard library."""

    future_type = _PlainCallbacks


class _Locked(PromptFuture):
    def _invoke_callbacks(self) -> None:
        with self._condition:
            super()._invoke_callbacks()


@mutant(
    "callbacks.a_callback_may_wait_for_its_future",
    says="result() in another thread blocked",
    also=("*",),
    deadline=6,
)
class CallsBackUnderTheLock(ThreadExecutor):
    """Callbacks are called while the future's lock is held."""

    future_type = _Locked


@mutant(
    "callbacks.a_callback_may_submit",
    says="waited",
    also=("callbacks.a_callback_may_shut_down", "*"),
    deadline=3,
)
class SettlesUnderThePoolsLock(ThreadExecutor):
    """Futures end while the pool's lock is held, which is not reentrant."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pool.changed = threading.Condition(threading.Lock())

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        result = cls.call(pool, station, job)
        with pool.changed:
            cls.settle(job.future, result)


_ONE_FOR_ALL = threading.Lock()


class _Sharing(PromptFuture):
    def cancel(self) -> bool:
        with _ONE_FOR_ALL:
            return super().cancel()

    def set_result(self, result: Any) -> None:
        with _ONE_FOR_ALL:
            super().set_result(result)


@mutant("callbacks.a_callback_may_cancel", says="1 callback(s) to be called: 0 were", also=("*",), deadline=3)
class SharesOneLock(ThreadExecutor):
    """All futures share one lock, held while callbacks run."""

    future_type = _Sharing
