"""`PoolFuture`: the future that a pool hands out, which carries its call until that starts.

Touches the core's `Future`. Guarantees: a cancellation is noticed at once (F5); a worker of a pool that waits for a
future helps, see `helping`; a finished future keeps neither its callable nor its arguments (F6).
"""

from __future__ import annotations

import _thread

from corefutures._blocking import Lock, clock, current_workers
from corefutures._foreign_code import log_failure
from corefutures._future import CANCELLED, CANCELLED_AND_NOTIFIED, DONE, FINISHED, LOGGER, PENDING, RUNNING, Future

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
]

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _T = TypeVar("_T")


class PoolFuture(Future["_T"]):
    """The future that a pool hands out: it carries its call until the call starts or is cancelled.

    Its executor notices a cancellation at once (F5), and drops the call with its arguments.
    """

    _cf_fn: Callable[..., _T] | None
    _cf_args: tuple[Any, ...] | None
    _cf_kwargs: dict[str, Any] | None
    _cf_on_departure: Callable[[], object] | None = None  # called once when the call starts or is dropped

    def __init__(self, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        """Makes a pending future for `fn(*args, **kwargs)`; `kwargs` may be None for none."""
        self._cf_lock = Lock()
        self._cf_fn = fn
        self._cf_args = args
        self._cf_kwargs = kwargs

    def cancel(self) -> bool:
        """Cancels the call unless it runs or has ended; every waiter is awake when this returns.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        if self._state in DONE:
            return self.cancelled()
        try:
            if not self._cf_try_cancel(notified=True):
                return self.cancelled()
            self._cf_forget_call()
            if self._cf_watched:
                self._cf_notify()
        except BaseException:  # of a signal handler, or of a callback
            if self.cancelled():
                self._cf_forget_call()
                self._cf_notify()
            raise
        return True

    def _cf_begin(self) -> tuple[Callable[..., _T], tuple[Any, ...], dict[str, Any] | None] | None:
        """Marks the call as running and takes it out of the future; None if it was cancelled."""
        call = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if it is pending afterwards
        if not self._cf_try_start():
            return None
        self._cf_forget_call()
        return call  # type: ignore[return-value]

    def _cf_await_end(self, timeout: float | None) -> None:
        host = current_workers.get(_thread.get_ident())
        if host is None or (timeout is not None and timeout <= 0):
            super()._cf_await_end(timeout)
            return
        timed, deadline = timeout is not None, clock.monotonic() + (timeout or 0)
        try:
            host.help_until((self,), self.done, timed=timed, needs_all=not timed)
            super()._cf_await_end(deadline - clock.monotonic() if timed else None)
        finally:
            host.end_blocking()

    def _cf_forget_call(self) -> None:
        self._cf_fn = self._cf_args = self._cf_kwargs = None
        on_departure, self._cf_on_departure = self._cf_on_departure, None
        if on_departure is not None:
            on_departure()

    def _cf_settle(self, result: _T | None, exception: BaseException | None) -> bool:
        """Stores the outcome of the call, if the future has not been abandoned meanwhile.

        Returns:
            True if somebody is to be told: the caller owes `_cf_notify_in_worker`.
        """
        return self._cf_try_finish(result, exception) and self._cf_watched

    def _cf_notify_in_worker(self) -> None:
        """`_cf_notify` for a pool's own threads: a callback's BaseException is logged, not raised (F4)."""
        try:
            self._cf_notify()
        except BaseException:
            log_failure(LOGGER, "exception calling callback for %r", self)

    def _cf_abandon(self, exception: BaseException) -> bool:
        """Ends the future with `exception` unless it has ended: for pools that break.

        Returns:
            True if this call ended it.
        """
        ended = self._cf_try_finish(None, exception)
        if ended:
            self._cf_forget_call()
            if self._cf_watched:
                self._cf_notify_in_worker()
        return ended
