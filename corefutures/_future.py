"""`Future`: its states, its waiters, its callbacks (promises F1-F8 of the design).

Touches the standard library's type, for `isinstance`, `_hosting`, `_spinning`. Guarantees: the outcome is stored before
the final state can be seen; whoever subscribes before the end is told exactly once; no foreign code runs
under a lock of ours; reading a finished future takes no lock at all.
"""

from __future__ import annotations

import concurrent.futures as _standard
import logging
import os
import types
import weakref
from _thread import allocate_lock, get_ident
from threading import TIMEOUT_MAX, Condition
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from corefutures._exceptions import CancelledError, InvalidStateError
from corefutures._hosting import hosts
from corefutures._spinning import spin_until

try:
    from _thread import RLock
except ImportError:  # an interpreter without the C lock
    from threading import RLock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_T = TypeVar("_T")

# F1. A future moves only along these arrows:
#
#     PENDING ──set_running──> RUNNING ──set_result / set_exception──> FINISHED
#        ├────cancel()───> CANCELLED ──noticed by the executor──> CANCELLED_AND_NOTIFIED
#        └────set_result / set_exception──> FINISHED
#
# The strings are the standard library's: its `wait` reads them from our futures.
PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
CANCELLED: Final = "CANCELLED"
CANCELLED_AND_NOTIFIED: Final = "CANCELLED_AND_NOTIFIED"
FINISHED: Final = "FINISHED"

#: Done for whoever holds the future.
DONE: Final = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})
#: Done for `wait` and `as_completed` as well: the executor has noticed (F5).
ENDED: Final = frozenset({CANCELLED_AND_NOTIFIED, FINISHED})

_DESCRIPTIONS: Final = {
    PENDING: "pending",
    RUNNING: "running",
    CANCELLED: "cancelled",
    CANCELLED_AND_NOTIFIED: "cancelled",
    FINISHED: "finished",
}

#: The standard library's logger, so that existing logging configurations keep working.
LOGGER = logging.getLogger("concurrent.futures")

#: How many forks lie between the first process and this one: callbacks belong to the process that added them (F4).
_forks = 0


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class Waiter(Protocol):
    """What may be put into `Future._waiters`: the standard library's waiters and ours."""

    def add_result(self, future: Any, /) -> None: ...

    def add_exception(self, future: Any, /) -> None: ...

    def add_cancelled(self, future: Any, /) -> None: ...


class Future(_standard.Future[_T], Generic[_T]):
    """The outcome of a call that runs elsewhere.

    Made by `Executor.submit`; to be made by hand only in executors and tests. A subclass of the standard
    library's `Future` by type only: no method is inherited.

    Thread safety: every method may be called from any thread, and from a signal handler or a finaliser that
    interrupts another of them.
    """

    # Guards every change of state and every subscription of this future. Innermost: no other lock is taken
    # and no foreign code runs while it is held. Reentrant, because a signal handler or finaliser may interrupt
    # its holder (F8). Each guarded block therefore looks at the state and acts on it with nothing in between
    # at which a handler could run: what may allocate or call is done before that look or after the block.
    _cf_lock: Any

    # Defaults live in the class: a future that nobody waits for costs no more than its lock.
    _state: str = PENDING
    _result: _T | None = None
    _exception: BaseException | None = None
    _cf_watched: bool = False  # somebody may have to be told of the end
    _cf_parked: list[Any] | None = None  # a locked lock for each thread that blocks in result() or exception()
    _cf_listeners: list[Any] | None = None  # behind `_waiters`
    _cf_to_tell: list[Any] | None = None  # those of them that wait for the end, once it has come
    _cf_callbacks: list[Callable[[Any], object]] | None = None  # behind `_done_callbacks`
    _cf_callbacks_forks: int = 0  # the process that `_cf_callbacks` belongs to
    _cf_own_condition: Condition | None = None  # behind `_condition`
    _cf_observed: Any = None  # what observers know of the call: see `_audience`
    _cf_name: str | None = None  # given with `Executor.options`
    _cf_seen: float | None = None  # when a snapshot first found the call running
    _cf_cancel_requested: bool = False  # the call was asked to stop

    def __init__(self) -> None:
        """Makes a pending future."""
        self._cf_lock = RLock()

    def __repr__(self) -> str:
        state = self._state
        text = f"<{type(self).__name__} at {id(self):#x} state={_DESCRIPTIONS.get(state, state)}"
        if self._cf_name is not None:
            text = f"{text} name={self._cf_name!r}"
        if state == FINISHED:
            if self._exception is not None:
                return f"{text} raised {type(self._exception).__name__}>"
            return f"{text} returned {type(self._result).__name__}>"
        return f"{text}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{type(self).__name__} can't be pickled: wait for it where it was made, and pass its result on, or use"
            " create_executor('thread'), whose calls may wait for others"
        )

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(types.GenericAlias)

    # ── for whoever waits for the outcome ────────────────────────────────────────────────────────────────

    def cancel(self) -> bool:
        """Cancels the call unless it runs or has ended.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        if self._state in DONE:
            return self.cancelled()
        with self._cf_lock:
            state = self._state
            if state != PENDING:
                return state in (CANCELLED, CANCELLED_AND_NOTIFIED)
            self._state = CANCELLED
        if self._cf_watched:
            self._cf_announce_cancellation()
        return True

    def cancelled(self) -> bool:
        """Returns True if the call was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Returns True while the call runs and can't be cancelled."""
        return self._state == RUNNING

    def done(self) -> bool:
        """Returns True if the call was cancelled or has finished."""
        return self._state in DONE

    def result(self, timeout: float | None = None) -> _T:
        """Returns what the call returned, after waiting for it.

        Args:
            timeout: Seconds to wait at most; None waits without limit.

        Returns:
            The value that the call returned.

        Raises:
            CancelledError: The call was cancelled.
            TimeoutError: The call has not ended after `timeout` seconds.
            BaseException: Whatever the call raised.
        """
        if self._state != FINISHED:
            self._cf_await_end(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                self = None  # type: ignore[assignment]  # the traceback refers to this frame: no cycle (F6)
        return self._result  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what the call raised, or None if it returned, after waiting for it.

        Args:
            timeout: Seconds to wait at most; None waits without limit.

        Returns:
            The exception that the call raised, None if it raised none.

        Raises:
            CancelledError: The call was cancelled.
            TimeoutError: The call has not ended after `timeout` seconds.
        """
        if self._state != FINISHED:
            self._cf_await_end(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Has `fn(future)` called when the future ends, or now if it has.

        Callbacks run in the order added, each exactly once, in the thread that ends the future, and only in
        the process that added them. An `Exception` that one of them raises is logged. Any other
        `BaseException` is raised to whoever ends the future, after the other callbacks ran (a worker logs it).

        Args:
            fn: Called with this future as its only argument.

        Raises:
            TypeError: `fn` is not callable.
        """
        if not callable(fn):
            raise TypeError(f"a callback must be callable, not {type(fn).__name__}")
        if self._state not in DONE:
            callbacks = self._done_callbacks
            with self._cf_lock:
                if self._state not in DONE:
                    callbacks.append(fn)
                    return
        try:
            fn(self)
        except Exception:
            LOGGER.exception("exception calling callback for %r", self)

    # ── for executors and tests ──────────────────────────────────────────────────────────────────────────

    def set_running_or_notify_cancel(self) -> bool:
        """Marks the future as running, or tells the waiters that it was cancelled.

        For executors, once for each future, before the call starts.

        Returns:
            True if the call is to be run, False if it was cancelled.

        Raises:
            RuntimeError: The future is in neither of the states in which that makes sense.
        """
        with self._cf_lock:
            state = self._state
            if state == PENDING:
                self._state = RUNNING
                return True
            if state == CANCELLED:
                self._state = CANCELLED_AND_NOTIFIED
                self._cf_close_list()
        if state == CANCELLED:
            self._cf_tell_waiters()
            return False
        LOGGER.critical("Future %s in unexpected state: %s", id(self), state)
        raise RuntimeError(f"Future in unexpected state: {state}")

    def set_result(self, result: _T) -> None:
        """Ends the future with a value. For executors and tests.

        Args:
            result: What `result()` returns from now on.

        Raises:
            InvalidStateError: The future has already ended.
        """
        self._cf_finish(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """Ends the future with an exception. For executors and tests.

        Args:
            exception: What `result()` raises from now on.

        Raises:
            InvalidStateError: The future has already ended.
        """
        self._cf_finish(None, exception)

    def _cf_finish(self, result: _T | None, exception: BaseException | None) -> None:
        with self._cf_lock:
            state = self._state
            if state not in DONE:
                self._result = result
                self._exception = exception
                self._state = FINISHED  # F2: after the outcome
                self._cf_close_list()
        if state in DONE:
            raise InvalidStateError(f"{state}: {self!r}")
        if self._cf_watched:
            self._cf_announce()

    def _get_snapshot(self) -> tuple[bool, bool, _T | None, BaseException | None]:
        """Returns (done, cancelled, result, exception) as of one moment; asyncio reads it from 3.15 on."""
        state = self._state
        if state == FINISHED:
            return True, False, self._result, self._exception
        return state in DONE, state in DONE, None, None

    # ── subscriptions ────────────────────────────────────────────────────────────────────────────────────
    #
    # F5, no lost wake-up: a subscription is entered under `_cf_lock` together with a look at the state, and the
    # state is changed under `_cf_lock`. So either the subscriber sees the end, or the end sees the subscriber.
    # The announcement itself happens after the lock is given back: by then nobody can subscribe any more.

    def _cf_await_end(self, timeout: float | None) -> None:
        """Blocks until the future is done.

        Raises:
            CancelledError: It was cancelled.
            TimeoutError: The time is up.
        """
        if (timeout is not None and timeout <= 0) or not spin_until(self.done):
            self._cf_sleep_until_end(timeout)
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError

    def _cf_sleep_until_end(self, timeout: float | None) -> None:
        """Blocks until the future is done; raises TimeoutError if the time is up."""
        turnstile = allocate_lock()
        turnstile.acquire()
        fresh: list[Any] = []
        with self._cf_lock:
            if self._cf_parked is None:
                self._cf_parked = fresh
            self._cf_watched = True
            if waits := self._state not in DONE:
                self._cf_parked.append(turnstile)
        if waits and not self._cf_pass(turnstile, timeout):
            raise TimeoutError

    def _cf_pass(self, turnstile: Any, timeout: float | None) -> bool:
        """Waits until the end releases `turnstile`; returns whether the future is done."""
        passed = False
        try:
            if timeout is None:
                passed = turnstile.acquire()
            else:
                passed = turnstile.acquire(True, min(timeout, TIMEOUT_MAX)) if timeout > 0 else False
        finally:
            if not passed:  # timed out or interrupted: leave nothing behind
                with self._cf_lock:
                    parked = self._cf_parked
                    if parked is not None and turnstile in parked:
                        parked.remove(turnstile)
        return passed or self._state in DONE

    def _cf_subscribe(self, waiter: Waiter) -> bool:
        """Has `waiter` told of the end; returns False, and tells nothing, if `wait` already counts it as done."""
        listeners = self._waiters
        with self._cf_lock:
            if self._state in ENDED:
                return False
            listeners.append(waiter)
            return True

    def _cf_unsubscribe(self, waiter: Waiter) -> None:
        """Takes back `_cf_subscribe`; it is no error if the waiter is not there any more."""
        listeners = self._cf_listeners
        if listeners is not None:
            with self._cf_lock:
                if waiter in listeners:
                    listeners.remove(waiter)

    def _cf_announce(self) -> None:
        """Tells everybody that the future has ended, waiters first; called once, by whoever ended it."""
        self._cf_tell_waiters()
        self._cf_wake_parked()
        self._invoke_callbacks()

    def _cf_announce_cancellation(self) -> None:
        """The same for a bare future's `cancel`: the waiters are told when the executor notices."""
        self._cf_wake_parked()
        self._invoke_callbacks()

    def _cf_close_list(self) -> None:
        """Notes who is to be told of the end: under `_cf_lock`, in the block that brings a state of `ENDED`.

        The standard library's `wait` puts its waiter on the list of finished futures as well, and miscounts
        if one of these tells it.
        """
        if self._cf_listeners:
            self._cf_to_tell = [*self._cf_listeners]

    def _cf_tell_waiters(self) -> None:
        listeners, self._cf_to_tell = self._cf_to_tell, None
        for waiter in listeners or ():
            if self._state == CANCELLED_AND_NOTIFIED:
                waiter.add_cancelled(self)
            elif self._exception is not None:
                waiter.add_exception(self)
            else:
                waiter.add_result(self)

    def _cf_wake_parked(self) -> None:
        self._cf_release_parked()
        if self._cf_own_condition is not None:  # somebody from outside may wait on it
            with self._cf_own_condition:
                self._cf_own_condition.notify_all()

    def _cf_release_parked(self) -> None:
        # Under the lock: who gives up waiting finds the list whole or not at all, and takes nothing out of
        # the list that is walked here, which would pass over a neighbour.
        with self._cf_lock:
            parked, self._cf_parked = self._cf_parked, None
        if parked is not None:
            for turnstile in parked:
                turnstile.release()

    def _invoke_callbacks(self) -> None:
        callbacks, self._cf_callbacks = self._cf_callbacks, None
        if callbacks is None or self._cf_callbacks_forks != _forks:
            return
        raised: BaseException | None = None
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                LOGGER.exception("exception calling callback for %r", self)
            except BaseException as exc:
                raised = raised or exc
        if raised is not None:
            try:
                raise raised
            finally:
                del raised

    # The standard names of the standard library's private parts, made on demand: `concurrent.futures.wait`
    # and `as_completed` use them on any Future. Whoever asks for one of them counts as a watcher.

    @property
    def _condition(self) -> Condition:  # type: ignore[override]
        if self._cf_own_condition is None:
            fresh = _OwnCondition(self)
            with self._cf_lock:
                self._cf_watched = True
                if self._cf_own_condition is None:
                    self._cf_own_condition = fresh
        return self._cf_own_condition

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._cf_listeners is None:
            fresh: list[Any] = []
            with self._cf_lock:
                self._cf_watched = True
                if self._cf_listeners is None:
                    self._cf_listeners = fresh
        return self._cf_listeners

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        fresh: list[Callable[[Any], object]] = []
        with self._cf_lock:
            self._cf_watched = True
            if self._cf_callbacks is None or self._cf_callbacks_forks != _forks:
                self._cf_callbacks_forks = _forks
                self._cf_callbacks = fresh
            return self._cf_callbacks


class _OwnCondition(Condition):
    """`Future._condition`: who ends a future by hand and notifies wakes the threads in `result` as well."""

    def __init__(self, future: Future[Any]) -> None:
        super().__init__(future._cf_lock)
        self._future = weakref.ref(future)  # no cycle: a future goes with its last reference

    def notify(self, n: int = 1) -> None:
        super().notify(n)
        future = self._future()
        if future is not None and future._state in DONE:
            future._cf_release_parked()


class PoolFuture(Future[_T]):
    """The future that a pool hands out: it carries its call until the call starts or is cancelled.

    Its executor notices a cancellation at once (F5), and drops the call with its arguments.
    """

    _cf_fn: Callable[..., _T] | None
    _cf_args: tuple[Any, ...] | None
    _cf_kwargs: dict[str, Any] | None
    _cf_on_departure: Callable[[], object] | None = None  # called once when the call starts or is dropped

    def __init__(self, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        """Makes a pending future for `fn(*args, **kwargs)`; `kwargs` may be None for none."""
        self._cf_lock = RLock()
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
        with self._cf_lock:
            state = self._state
            if state != PENDING:
                return state in (CANCELLED, CANCELLED_AND_NOTIFIED)
            self._state = CANCELLED_AND_NOTIFIED
            self._cf_close_list()
        self._cf_forget_call()
        if self._cf_watched:
            self._cf_announce()
        return True

    def _cf_begin(self) -> tuple[Callable[..., _T], tuple[Any, ...], dict[str, Any] | None] | None:
        """Marks the call as running and takes it out of the future; None if it was cancelled."""
        with self._cf_lock:
            if self._state != PENDING:
                return None
            self._state = RUNNING
            call = self._cf_fn, self._cf_args, self._cf_kwargs
        self._cf_forget_call()
        return call  # type: ignore[return-value]

    def _cf_await_end(self, timeout: float | None) -> None:
        host = hosts.get(get_ident())
        if host is None or (timeout is not None and timeout <= 0):
            super()._cf_await_end(timeout)
            return
        timed, deadline = timeout is not None, monotonic() + (timeout or 0)
        try:
            host.work_off((self,), self.done, timed=timed, firm=not timed)
            super()._cf_await_end(deadline - monotonic() if timed else None)
        finally:
            host.wake()

    def _cf_forget_call(self) -> None:
        self._cf_fn = self._cf_args = self._cf_kwargs = None
        on_departure, self._cf_on_departure = self._cf_on_departure, None
        if on_departure is not None:
            on_departure()

    def _cf_settle(self, result: _T | None, exception: BaseException | None) -> bool:
        """Stores the outcome of the call, if the future has not been abandoned meanwhile.

        Returns:
            True if somebody is to be told: the caller owes `_cf_announce_in_worker`.
        """
        with self._cf_lock:
            if self._state in DONE:
                return False
            if exception is None:
                self._result = result
            else:
                self._exception = exception
            self._state = FINISHED
            if watched := self._cf_watched:
                self._cf_close_list()
        return watched

    def _cf_announce_in_worker(self) -> None:
        """`_cf_announce` for a pool's own threads: a callback's BaseException is logged, not raised (F4)."""
        try:
            self._cf_announce()
        except BaseException:
            LOGGER.exception("exception calling callback for %r", self)

    def _cf_abandon(self, exception: BaseException) -> bool:
        """Ends the future with `exception` unless it has ended: for pools that break.

        Returns:
            True if this call ended it.
        """
        with self._cf_lock:
            if self._state in DONE:
                return False
            self._exception = exception
            self._state = FINISHED
            self._cf_close_list()
        self._cf_forget_call()
        if self._cf_watched:
            self._cf_announce_in_worker()
        return True

    def _cf_renew_lock(self) -> None:
        """In a forked child, where the thread that held the lock may not exist: replaces it (E11)."""
        self._cf_lock = RLock()
        self._cf_own_condition = None
