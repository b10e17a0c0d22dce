"""`CallFuture`: the future of a call that a pool with isolated workers has taken.

Touches the core's `Future`. Guarantees: `cancel` works until a worker has claimed the call, `running` is true from
then on (E3); a future that is done keeps neither its call nor its pool (F6).
"""

from __future__ import annotations

from corefutures._blocking import Lock, _thread
from corefutures._foreign_code import log_failure
from corefutures._future import DONE, FINISHED, LOGGER, PENDING, SHARED_LOCK, Future
from corefutures._options import shown

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    from corefutures_pools.workers.payload import Payload

    _T = TypeVar("_T")

    class _Deferred(Protocol):
        """See `DeferredCallbacks`."""

        full: set[int]

        def append(self, future: CallFuture[Any]) -> None: ...

    class _CallOwner(Protocol):
        """What a call needs of the pool that has taken it; `PoolTransport` and `WorkerPool` say what the methods do."""

        kill_on_cancel: bool

        @property
        def deferred(self) -> _Deferred: ...
        @property
        def count(self) -> Callable[..., None]: ...
        @property
        def kill(self) -> Callable[[CallFuture[Any]], bool]: ...
        def is_running(self, future: CallFuture[Any]) -> bool: ...
        def revoke(self, future: CallFuture[Any]) -> None: ...
        def finish_cancellation(self, future: CallFuture[Any]) -> None: ...
        def wait_inline(self, future: CallFuture[Any], timeout: float | None) -> tuple[float | None, bool]: ...
        def step_down(self) -> None: ...


class CallFuture(Future["_T"]):
    """The future of one call; made by `WorkerPool.submit`.

    Thread safety: as `Future`.
    """

    def __init__(self, pool: _CallOwner | None = None, body: bytes | Payload | None = None) -> None:
        """Make a pending future for a call of `pool`."""
        self._cf_lock = SHARED_LOCK[0] or Lock()
        self._state = PENDING
        self._result = self._exception = None
        self._cf_watched = False
        self._pool = pool
        self._body = body

    # While `_cf_dispatched` is False no worker can have the call, and cancelling it is a change of state; once it is
    # True, the pool must be asked to revoke the call.
    _postponed: bool = False  # the result thread is to encode its task
    _number: int = 0
    _body: bytes | Payload | None = None
    _pool: _CallOwner | None = None
    _stream: Any = None  # an `ItemBuffer`, if the call is a stream
    _stop_asked = False  # where a pool has to pass requests on: see `Fallback`
    _kept: Any = None  # function and arguments, as long as what they hold may be needed
    _ended_for: Any = None  # a `LeaderTerm`, whose thread must not run callbacks: the result thread does
    _cf_on_departure: Callable[[], object] | None = None  # called once when the call has ended

    def cancel(self) -> bool:
        """Cancel the call unless it runs or has ended; every waiter is awake when this returns.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        pool = self._pool
        if pool is not None and pool.kill_on_cancel and self.running():
            pool.kill(self)
        return self._cancel_waiting()

    def _cancel_waiting(self) -> bool:
        """Cancel the call unless it runs or has ended; return whether it is cancelled now."""
        pool = self._pool
        try:
            if self._cf_try_cancel(notified=True):
                self._tell_cancelled(pool)
            elif self._state == PENDING and pool is not None:
                pool.revoke(self)
        except BaseException:  # of a signal handler, or of a callback
            if self.cancelled():
                self._tell_cancelled(pool)
            raise
        return self.cancelled()

    def _tell_cancelled(self, pool: _CallOwner | None) -> None:
        """Finish a cancellation, after the state of the call has changed; do nothing twice."""
        if pool is not None:
            pool.finish_cancellation(self)
        else:
            self._cf_forget_call()
            if self._cf_watched:
                self._cf_notify()
        self._kept = None

    def _cf_await_end(self, timeout: float | None) -> None:
        pool, waited = self._pool, False
        if pool is not None:
            timeout, waited = pool.wait_inline(self, timeout)
            if self._state == PENDING:
                self._cf_watched = True  # before the look at the threads that read: see `InlineWaitPool`
                pool.step_down()
        if waited and self._state not in DONE:  # it was awake for long enough
            self._cf_sleep_until_end(timeout)
        if self._state != FINISHED:
            super()._cf_await_end(timeout)

    def _cf_subscribe(self, waiter: Any) -> bool:
        pool = self._pool
        subscribed = super()._cf_subscribe(waiter)
        if pool is not None:
            pool.step_down()
        return subscribed

    @property
    def _condition(self) -> Any:  # type: ignore[override]  # the standard library's `wait` subscribes under it
        pool = self._pool
        condition = Future._condition.fget(self)  # type: ignore[attr-defined]
        if pool is not None:
            pool.step_down()
        return condition

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """See `Future.add_done_callback`."""
        pool = self._pool
        super().add_done_callback(fn)
        if pool is not None:
            pool.step_down()

    @property
    def _done_callbacks(self) -> list[Any]:
        pool = self._pool
        callbacks = Future._done_callbacks.fget(self)  # type: ignore[attr-defined]
        if pool is not None:
            pool.step_down()
        return callbacks  # type: ignore[no-any-return]

    def running(self) -> bool:
        """Return True while a worker runs the call."""
        pool = self._pool
        return self._state == PENDING and self._cf_dispatched and pool is not None and pool.is_running(self)

    def _cf_settle(self, result: Any, exception: BaseException | None) -> bool:
        """End the call unless it has ended; what a callback raises is logged (F4).

        Returns:
            True if this ended it.
        """
        pool = self._pool
        if self._state in DONE:
            return False
        if exception is not None and pool is not None:
            pool.count("failed")  # before it can be seen
        thread, term = _thread.get_ident(), self._ended_for
        if term is not None and term.thread != thread:
            term = None
        if not self._cf_try_finish(result, exception, None if term is None else term.settled):
            return False
        self._body = self._pool = None
        if self._cf_on_departure is not None:
            self._depart()
        if term is None and (self._cf_watched or self._kept is not None):
            if pool is not None and thread in pool.deferred.full:
                pool.deferred.append(self)
            else:
                self._announce_safely()
        return True

    def _announce_safely(self) -> None:
        try:
            self._cf_notify()
        except BaseException:
            log_failure(LOGGER, "exception calling callback for %r", self)
        self._kept = None

    def _has_to_tell(self) -> bool:
        """Return whether waiters or callbacks are to be notified, or finalisers may run after the end."""
        if self._kept is not None:
            return True
        return bool(self._cf_parked or self._cf_callbacks or self._cf_to_notify or self._cf_own_condition._waiters)

    def _cf_forget_call(self) -> None:
        self._body = self._pool = None
        self._depart()

    def _depart(self) -> None:
        on_departure, self._cf_on_departure = self._cf_on_departure, None
        if on_departure is not None:
            on_departure()


def check_call(future: object) -> CallFuture[Any]:
    """Return `future` if it is of a pool with isolated workers.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(future, CallFuture):
        raise TypeError(f"this takes a future that submit() of the pool returned, not {shown(future)}")
    return future
