"""`PoolFuture`: the future of a pool, which holds its call until the call starts; and what a pool does with it.

Touches the core's `Future`. Guarantees: a cancellation is noticed at once (F5); a worker thread that waits for a
future helps, see `helping`; a finished future holds neither its callable nor its arguments (F6).
"""

from __future__ import annotations

from corefutures._blocking import Lock, _thread, clock, current_workers
from corefutures._foreign_code import log_failure
from corefutures._future import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    DONE,
    FINISHED,
    LOGGER,
    PENDING,
    RUNNING,
    SHARED_LOCK,
    Future,
)

__all__ = [
    "CANCELLED",
    "CANCELLED_AND_NOTIFIED",
    "DONE",
    "FINISHED",
    "LOGGER",
    "PENDING",
    "RUNNING",
    "Future",
    "PoolFuture",
    "ask_to_stop",
    "begin",
    "fail",
    "fail_after_fork",
    "fail_or_notify",
    "finish",
    "on_departure",
    "pending_call",
]

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")
    #: Function, arguments, keyword arguments.
    Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any] | None]


class PoolFuture(Future["_T"]):
    """The future of a pool: it holds its call until the call starts or is cancelled.

    Its executor notices a cancellation at once (F5) and drops the call with its arguments. A pool uses the functions of
    this module. A subclass may call the transitions of `Future` and the methods here whose names begin with `_cf_`.
    """

    _cf_fn: Callable[..., _T] | None
    _cf_args: tuple[Any, ...] | None
    _cf_kwargs: dict[str, Any] | None
    _cf_on_departure: Callable[[], object] | None = None  # called once, when the call starts or is dropped
    _cf_notices_cancel = True
    _cf_stream: Any = None  # an `ItemBuffer`, if the call is a stream
    _cf_held: Any = None  # a `HeldCall`, while the call waits for slots

    def __init__(self, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        """Make a pending future for `fn(*args, **kwargs)`; `kwargs` may be None for none."""
        self._cf_lock = SHARED_LOCK[0] or Lock()
        self._state = PENDING
        self._result = self._exception = None
        self._cf_watched = False
        self._cf_fn = fn
        self._cf_args = args
        self._cf_kwargs = kwargs

    def _cf_complete_cancel(self) -> None:
        self._cf_forget_call()
        if self._cf_watched:
            self._cf_notify()

    def _cf_await_end(self, timeout: float | None) -> None:
        worker = current_workers.get(_thread.get_ident())
        if worker is None or (timeout is not None and timeout <= 0):
            super()._cf_await_end(timeout)
            return
        timed, deadline = timeout is not None, clock.monotonic() + (timeout or 0)
        try:
            worker.help_until((self,), self.done, timed=timed, needs_all=not timed)
            super()._cf_await_end(deadline - clock.monotonic() if timed else None)
        finally:
            worker.end_blocking()

    def _cf_begin(self) -> Call | None:
        """Start the call and take it out of the future; return None if it was cancelled."""
        call = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is pending after that
        if not self._cf_try_start():
            return None
        self._cf_forget_call()
        return call  # type: ignore[return-value]

    def _cf_settle(self, result: _T | None, exception: BaseException | None) -> bool:
        """Store the outcome of the call unless the future is done; return whether to call `_cf_notify_in_worker`."""
        return self._cf_try_finish(result, exception) and self._cf_watched

    def _cf_abandon(self, exception: BaseException) -> bool:
        """End the future with `exception`, and notify, unless the future is done; return whether this call ended it."""
        ended = self._cf_try_finish(None, exception)
        if ended:
            self._cf_forget_call()
            if self._cf_watched:
                self._cf_notify_in_worker()
        return ended

    def _cf_notify_in_worker(self) -> None:
        """Notify in a thread of a pool: a callback's BaseException is logged, not raised (F4)."""
        try:
            self._cf_notify()
        except BaseException:
            log_failure(LOGGER, "exception calling callback for %r", self)

    def _cf_forget_call(self) -> None:
        """Drop the call, which has started or never will; may be repeated."""
        self._cf_fn = self._cf_args = self._cf_kwargs = None
        release = self._cf_on_departure
        if release is not None:
            on_departure(self, None)
            release()


# ── what a pool does with its futures ────────────────────────────────────────────────────────────────────────


def pending_call(future: PoolFuture[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the function of a pending call and its positional arguments; (None, ()) if it has started or ended."""
    return future._cf_fn, future._cf_args or ()


def on_departure(future: PoolFuture[Any], release: Callable[[], object] | None) -> None:
    """Have `release()` called once, when the call starts or is dropped; None for nothing."""
    future._cf_on_departure = release
    future._cf_watched = True


def begin(future: PoolFuture[_T]) -> Call | None:
    """Start the call of a future; return function, arguments and keyword arguments, or None if it was cancelled."""
    return future._cf_begin()


def finish(future: PoolFuture[_T], result: _T | None, error: BaseException | None) -> None:
    """Store the outcome of a call that `helping.run_call` has returned, and notify, unless the future is done.

    What callbacks raise is logged, as in every thread of a pool (F4).
    """
    if future._cf_settle(result, error):
        future._cf_notify_in_worker()


def fail(future: PoolFuture[Any], error: BaseException) -> bool:
    """End a future with `error` unless it is done: for pools that break; return whether this call ended it."""
    return future._cf_abandon(error)


def fail_or_notify(future: PoolFuture[Any], error: BaseException) -> None:
    """End a future with `error`; if it is done, notify: the thread that ended it may have died before it did so."""
    if not future._cf_abandon(error):
        future._cf_notify_in_worker()


def fail_after_fork(future: PoolFuture[Any], error: BaseException) -> None:
    """In a forked child, `fail_or_notify` a future whose lock a thread of the parent may hold (E11)."""
    future._cf_renew_lock()
    fail_or_notify(future, error)


def ask_to_stop(future: PoolFuture[Any]) -> None:
    """Have `cancel_requested` return True in the call of a future."""
    future._cf_cancel_requested = True
    if future._cf_stream is not None:
        future._cf_stream.end()  # it may wait for its consumer
