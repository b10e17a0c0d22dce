"""`Future`: the state machine, the subscriptions and the callbacks (promises F1 to F8).

Touches the standard library's type, for `isinstance`, and `_blocking`. Guarantees: the outcome is stored before the
final state can be read; a waiter that subscribes before the end is notified exactly once; no foreign code runs under a
lock of ours; reading a finished future takes no lock.
"""

from __future__ import annotations

import concurrent.futures as _standard
import logging
import os
import sys
import types
import weakref
from collections import deque
from concurrent.futures import CancelledError, InvalidStateError
from operator import call

from corefutures._blocking import Lock, Parker, run_nested_loop, spin_until, threading
from corefutures._foreign_code import class_name, for_each, log_failure
from corefutures._options import check_seconds, shown

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol, Self, TypeVar

    _T = TypeVar("_T")

    class Waiter(Protocol):
        """An entry of `Future._waiters`: the standard library's waiters and ours."""

        def add_result(self, future: Any, /) -> None: ...

        def add_exception(self, future: Any, /) -> None: ...

        def add_cancelled(self, future: Any, /) -> None: ...


# F1. A future moves only along these arrows. Each arrow is one method of `Future`, and no other code writes `_state`:
#
#     PENDING ──try_start──> RUNNING ──try_finish──> FINISHED
#        ├──────────────────try_finish───────────────^
#        ├──try_cancel(notified=False)──> CANCELLED ──try_acknowledge──> CANCELLED_AND_NOTIFIED
#        └──try_cancel(notified=True)─────────────────────────────────────^
#
# A transition runs under the future's lock and
#
# 1. checks the state, and returns False if there is no arrow from it;
# 2. stores the outcome, then the state (F2): a thread that reads FINISHED without the lock finds the outcome;
# 3. notes in `_cf_to_notify` the waiters of that moment, if the new state is one of `ENDED`.
#
# Notification follows without the lock, because it runs foreign code (F3): waiters, then parked threads, then
# callbacks. The thread that made the transition notifies. If it is interrupted, it notifies again; the lists are taken
# out of the future first, so no waiter and no callback is called twice (F4).
#
# The strings are the standard library's: its `wait` reads them from our futures.
PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
CANCELLED: Final = "CANCELLED"
CANCELLED_AND_NOTIFIED: Final = "CANCELLED_AND_NOTIFIED"
FINISHED: Final = "FINISHED"

#: Done, as `done()` says.
DONE: Final = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})
#: Done for `wait` and `as_completed` as well: the executor has noticed a cancellation (F5).
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

#: How many forks lie between the first process and this one: a callback belongs to the process that added it (F4).
_forks = 0  # written by the one thread that a forked child begins with


#: The lock of all futures, where threads have a GIL: no thread is switched within the short sections under it, so
#: nobody waits for it, and a future is made without a lock of its own. None on free-threaded builds, where each future
#: has its own, so that threads that work with different futures don't wait for each other. In a tuple, because eventlet
#: puts locks of another class in the places of all that it finds in modules, lists and attributes.
SHARED_LOCK: Final[tuple[Lock | None]] = (Lock() if getattr(sys, "_is_gil_enabled", lambda: True)() else None,)


def _after_fork_in_child() -> None:
    global _forks
    _forks += 1
    if SHARED_LOCK[0] is not None:
        SHARED_LOCK[0]._at_fork_reinit()  # type: ignore[attr-defined]  # a thread of the parent may have had it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


class _NoCondition:
    """In the place of a future's own condition until there is one: everybody has it."""

    taken = True
    freed = None
    _waiters = ()


class Future(_standard.Future["_T"]):
    """The outcome of a call that runs elsewhere.

    Made by `Executor.submit`; made directly only by executors and tests. A subclass of the standard library's `Future`
    by type only: no method is inherited.

    For authors of futures, these methods are protected: a subclass and its pool may call them, and override those
    marked with an asterisk. Their prefix keeps other subclasses free of clashes.

    - `_cf_try_start`, `_cf_try_dispatch`, `_cf_try_cancel`, `_cf_try_acknowledge`, `_cf_try_finish`: the transitions;
    - `_cf_notify`, `_cf_notify_cancelled`, `_cf_notify_waiters`: the notification after them;
    - `_cf_complete_cancel`*, `_cf_await_end`*, `_cf_subscribe`*, `_cf_unsubscribe`;
    - `_cf_add_parked`, `_cf_remove_parked`, `_cf_sleep_until_end`, `_cf_renew_lock`.

    Thread safety: every method may be called from any thread, and from a signal handler or a finaliser that
    interrupts another of them.
    """

    # Guards every change of the state and every subscription of this future: `SHARED_LOCK`, or a lock of its own.
    # Innermost: no other lock is taken and nothing is called while it is held, so no signal handler, no finaliser and
    # no other foreign code runs (F3, F8): see `Lock`. An item that a section needs is made before the section.
    _cf_lock: Lock
    # Guards, before `_cf_lock`, the transitions to a state of `ENDED`, from the moment when the standard library or a
    # program asks for `_condition`. Foreign code may run under it.
    _cf_own_condition: Any = _NoCondition

    # What every call changes is set by each instance: CPython stores an attribute that has a default in the class by
    # a slower way. The other defaults are attributes of the class: a future that no thread waits for goes without.
    _state: str
    _result: _T | None
    _exception: BaseException | None
    _cf_watched: bool  # there may be waiters, parked threads or callbacks to notify, or an own condition
    _cf_parked: list[Any] | None = None  # `Parker.unpark` of each thread that blocks in result() or exception()
    _cf_listeners: list[Any] | None = None  # behind `_waiters`
    _cf_to_notify: list[Any] | None = None  # the waiters that a transition has noted
    _cf_notices_cancel: bool = False  # the executor notices at once: `cancel` makes CANCELLED_AND_NOTIFIED (F5)
    _cf_dispatched: bool = False  # a worker may start the call at any time: see `_cf_try_dispatch`
    _cf_callbacks: list[Callable[[Any], object]] | None = None  # behind `_done_callbacks`
    _cf_callbacks_forks: int = 0  # `_forks` of the process that `_cf_callbacks` belongs to
    _cf_observed: Any = None  # the `CallRecord` for observers: see `_instrumentation`
    _cf_name: str | None = None  # given with `PoolExecutor.options`
    _cf_seen: float | None = None  # when a snapshot first found the call running
    _cf_cancel_requested: bool = False  # the call was asked to stop

    def __init__(self) -> None:
        """Make a pending future."""
        self._cf_lock = SHARED_LOCK[0] or Lock()
        self._state = PENDING
        self._result = self._exception = None
        self._cf_watched = False

    def __repr__(self) -> str:
        state = self._state
        text = f"<{type(self).__name__} at {id(self):#x} state={_DESCRIPTIONS.get(state, state)}"
        if self._cf_name is not None:
            text = f"{text} name={self._cf_name!r}"
        if state == FINISHED:
            if self._exception is not None:
                return f"{text} raised {class_name(self._exception)}>"
            return f"{text} returned {class_name(self._result)}>"
        return f"{text}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{type(self).__name__} can't be pickled: wait for it where it was made, and pass its result on, or use"
            " threads, whose calls may wait for others"
        )

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(types.GenericAlias)

    # ── for callers ──────────────────────────────────────────────────────────────────────────────────────

    def cancel(self) -> bool:
        """Cancel the call unless it runs or has ended.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        if self._state in DONE:
            return self.cancelled()
        try:
            if self._cf_try_cancel(notified=self._cf_notices_cancel):
                self._cf_complete_cancel()
        except BaseException:  # of a signal handler, or of a callback
            if self.cancelled():
                self._cf_complete_cancel()
            raise
        return self.cancelled()

    def _cf_complete_cancel(self) -> None:
        """Take the steps after a cancellation; each may be repeated."""
        if self._cf_watched:
            self._cf_notify_cancelled()

    def cancelled(self) -> bool:
        """Return True if the call was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Return True while the call runs and can't be cancelled."""
        return self._state == RUNNING

    def done(self) -> bool:
        """Return True if the call was cancelled or has finished."""
        return self._state in DONE

    def result(self, timeout: float | None = None) -> _T:
        """Wait for the call, and return the value that it returned.

        Args:
            timeout: Seconds to wait at most; None for no limit.

        Returns:
            The value that the call returned.

        Raises:
            CancelledError: The call was cancelled.
            TimeoutError: The call has not ended after `timeout` seconds.
            TypeError: `timeout` is no number.
            BaseException: The exception that the call raised.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._state != FINISHED:
            self._cf_await_end(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                self = None  # type: ignore[assignment]  # the traceback refers to this frame: no cycle (F6)
        return self._result  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call, and return the exception that it raised; None if it returned.

        Args:
            timeout: Seconds to wait at most; None for no limit.

        Returns:
            The exception that the call raised, None if it raised none.

        Raises:
            CancelledError: The call was cancelled.
            TimeoutError: The call has not ended after `timeout` seconds.
            TypeError: `timeout` is no number.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        if self._state != FINISHED:
            self._cf_await_end(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Self], object]) -> None:
        """Have `fn(future)` called when the future ends, or now if it has ended.

        Callbacks run in the order added, each exactly once, in the thread that ends the future, and only in the
        process that added them. An `Exception` that a callback raises is logged. Any other `BaseException` is raised
        in the thread that ends the future, after the other callbacks have run (a worker logs it).

        Args:
            fn: Called with this future as its only argument.

        Raises:
            TypeError: `fn` is not callable.
        """
        if not callable(fn):
            raise TypeError(f"add_done_callback() takes a callable, not {shown(fn)}")
        if self._state not in DONE:
            added, waits = [fn], False
            if self._cf_lock.taken:
                if waits := self._state not in DONE:
                    self._cf_watched = True
                    if self._cf_callbacks is None or self._cf_callbacks_forks != _forks:
                        self._cf_callbacks_forks = _forks
                        self._cf_callbacks = added
                    else:
                        self._cf_callbacks += added
                self._cf_lock.release()
            if waits:
                return
        try:
            fn(self)
        except Exception:
            log_failure(LOGGER, "exception calling callback for %r", self)

    # ── for executors and tests ──────────────────────────────────────────────────────────────────────────

    def set_running_or_notify_cancel(self) -> bool:
        """Mark the future as running, or notify the waiters that it was cancelled.

        For executors, once for each future, before the call starts.

        Returns:
            True if the call is to be run, False if it was cancelled.

        Raises:
            RuntimeError: The future is neither pending nor cancelled without notification.
        """
        if self._cf_try_start():
            return True
        if self._cf_try_acknowledge():
            self._cf_notify_waiters()
            return False
        state = self._state
        LOGGER.critical("Future %s in unexpected state: %s", id(self), state)
        raise RuntimeError(f"Future in unexpected state: {state}")

    def set_result(self, result: _T) -> None:
        """End the future with a value. For executors and tests.

        Args:
            result: The value that `result()` returns from now on.

        Raises:
            InvalidStateError: The future has already ended.
        """
        self._cf_finish(result, None)

    def set_exception(self, exception: BaseException | None) -> None:
        """End the future with an exception. For executors and tests.

        Args:
            exception: The exception that `result()` raises from now on.

        Raises:
            TypeError: `exception` is no exception.
            InvalidStateError: The future has already ended.
        """
        is_class = isinstance(exception, type) and issubclass(exception, BaseException)  # `raise` takes one
        if exception is not None and not isinstance(exception, BaseException) and not is_class:
            raise TypeError(f"set_exception() takes an exception, not {shown(exception)}")
        self._cf_finish(None, exception)

    def _cf_finish(self, result: _T | None, exception: BaseException | None) -> None:
        finished = True
        try:
            finished = self._cf_try_finish(result, exception)
            if finished and self._cf_watched:
                self._cf_notify()
        except BaseException:  # of a signal handler, or of a callback
            if self._state in ENDED:
                self._cf_notify()
            raise
        if not finished:
            raise InvalidStateError(f"{self._state}: {self!r}")

    def _get_snapshot(self) -> tuple[bool, bool, _T | None, BaseException | None]:
        """Return (done, cancelled, result, exception) of one moment; asyncio reads it from Python 3.15 on."""
        state = self._state
        if state == FINISHED:
            return True, False, self._result, self._exception
        return state in DONE, state in DONE, None, None

    # ── the transitions: see the diagram above ───────────────────────────────────────────────────────────

    def _cf_try_start(self) -> bool:
        """Move from PENDING to RUNNING; return False if the future is not pending."""
        started = False
        if self._cf_lock.taken:
            if started := self._state == PENDING:
                self._state = RUNNING
            self._cf_lock.release()
        return started

    def _cf_try_dispatch(self) -> bool:
        """Note that a worker may start the call at any time from now on; return False if the future is done.

        The state stays the same, and `cancel` no longer succeeds by itself: the pool must recall the call first.
        """
        dispatched = False
        if self._cf_lock.taken:
            if dispatched := self._state not in DONE:
                self._cf_dispatched = True
            self._cf_lock.release()
        return dispatched

    def _cf_try_cancel(self, *, notified: bool, recalled: bool = False) -> bool:
        """Move from PENDING to CANCELLED or CANCELLED_AND_NOTIFIED; return False if the future did not move.

        Args:
            notified: Whether the executor has noticed the cancellation. The caller then calls `_cf_notify`, otherwise
                `_cf_notify_cancelled`.
            recalled: Whether the call, if it was dispatched, has been recalled: no worker can start it any more.
        """
        if self._state in DONE:  # without the lock, as in `_cf_add_parked`
            return False
        return self._cf_try_end((PENDING,), CANCELLED_AND_NOTIFIED if notified else CANCELLED, recalled=recalled)

    def _cf_try_acknowledge(self) -> bool:
        """Move from CANCELLED to CANCELLED_AND_NOTIFIED; return False if the future did not move.

        The caller then calls `_cf_notify_waiters`.
        """
        return self._cf_try_end((CANCELLED,), CANCELLED_AND_NOTIFIED)

    def _cf_try_finish(
        self, result: _T | None, exception: BaseException | None, finished_calls: list[Any] | None = None
    ) -> bool:
        """Move from PENDING or RUNNING to FINISHED; return False if the future is done.

        The caller then calls `_cf_notify`.

        Args:
            result: The value that the call returned.
            exception: The exception that it raised.
            finished_calls: A list that gets the future in the same step, for a thread that may be interrupted before it
                notifies.
        """
        return self._cf_try_end((PENDING, RUNNING), FINISHED, result, exception, finished_calls)

    def _cf_try_end(
        self,
        states: tuple[str, ...],
        state: str,
        result: _T | None = None,
        exception: BaseException | None = None,
        finished_calls: list[Any] | None = None,
        *,
        recalled: bool = True,
    ) -> bool:
        """Move from one of `states` to `state`, one that ends the call; return False if the future did not move."""
        moved = exclusive = False
        while not exclusive:  # once, or again if another thread has asked for `_condition` meanwhile
            condition = self._cf_own_condition
            if condition.taken:
                try:
                    if self._cf_lock.taken:
                        exclusive = condition is self._cf_own_condition
                        if moved := exclusive and self._state in states and (recalled or not self._cf_dispatched):
                            self._result = result
                            self._exception = exception
                            self._state = state
                            if self._cf_listeners and state in ENDED:
                                self._cf_to_notify = [*self._cf_listeners]
                            if finished_calls is not None:
                                finished_calls += (self,)
                        _ = self._cf_lock.freed
                finally:
                    _ = condition.freed
        return moved

    # ── subscriptions ────────────────────────────────────────────────────────────────────────────────────
    #
    # F5, no lost wake-up:
    #
    # 1. A subscriber reads the state and enters itself in one section under `_cf_lock`.
    # 2. A transition changes the state in one section under `_cf_lock`.
    # 3. If 1 comes first, the notification after 2 finds the subscriber; otherwise the subscriber reads the new state.
    #
    # Waiters are noted in the section of 2: the standard library's `wait` puts its waiter on the list of a future that
    # has ended as well, and miscounts if that waiter is notified.

    def _cf_await_end(self, timeout: float | None) -> None:
        """Block until the future is done.

        Raises:
            CancelledError: The call was cancelled.
            TimeoutError: The future is not done after `timeout` seconds.
        """
        if (timeout is not None and timeout <= 0) or not spin_until(self.done):
            self._cf_sleep_until_end(run_nested_loop(self.done, timeout))
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError

    def _cf_sleep_until_end(self, timeout: float | None) -> None:
        """Block until the future is done; raise TimeoutError after `timeout` seconds. Don't spin, don't help."""
        parker, ended = Parker(), False
        try:
            ended = not self._cf_add_parked(parker.unpark) or parker.park(timeout)
        finally:
            if not ended:  # timed out or interrupted
                self._cf_remove_parked(parker.unpark)
        if not ended and self._state not in DONE:
            raise TimeoutError

    def _cf_add_parked(self, unpark: Callable[[], object]) -> bool:
        """Have `unpark()`, a C function, called when the future is done; return False, and do nothing, if it is."""
        if self._state in DONE:  # without the lock: in a forked child, a thread of the parent may still have it
            return False
        fresh: list[Any] = []
        added, waits = (unpark,), False
        if self._cf_lock.taken:
            if waits := self._state not in DONE:
                self._cf_watched = True
                if self._cf_parked is None:
                    self._cf_parked = fresh
                self._cf_parked += added
            self._cf_lock.release()
        return waits

    def _cf_remove_parked(self, unpark: Callable[[], object]) -> None:
        """Undo `_cf_add_parked`; do nothing if the end has already taken `unpark`."""
        _discard(self._cf_parked, unpark)

    def _cf_subscribe(self, waiter: Waiter) -> bool:
        """Have `waiter` notified of the end; return False, and do nothing, if the state is one of `ENDED`."""
        if self._state in ENDED:  # without the lock, as above
            return False
        fresh: list[Any] = []
        added, waits = (waiter,), False
        if self._cf_lock.taken:
            if waits := self._state not in ENDED:
                self._cf_watched = True
                if self._cf_listeners is None:
                    self._cf_listeners = fresh
                self._cf_listeners += added
            self._cf_lock.release()
        return waits

    def _cf_unsubscribe(self, waiter: Waiter) -> None:
        """Undo `_cf_subscribe`; do nothing if the notification has begun."""
        _discard(self._cf_listeners, waiter)

    # ── notification ─────────────────────────────────────────────────────────────────────────────────────

    def _cf_notify(self) -> None:
        """Notify waiters, parked threads and callbacks; may be repeated after an interrupt."""
        try:
            if self._cf_to_notify is not None:
                self._cf_notify_waiters()
        finally:
            self._cf_notify_cancelled()

    def _cf_notify_cancelled(self) -> None:
        """Notify parked threads and callbacks: `wait` and `as_completed` count a bare cancelled future as pending."""
        try:
            self._cf_release_parked()
        finally:
            try:
                if (condition := self._cf_own_condition)._waiters:  # programs may wait on it
                    with condition:
                        condition.notify_all()
            finally:
                if self._cf_callbacks is not None:
                    self._invoke_callbacks()

    def _cf_notify_waiters(self) -> None:
        """Notify the waiters that a transition has noted."""
        listeners: list[Any] = []
        try:
            if self._cf_to_notify is not None and self._cf_lock.taken:  # of two threads that notify, one gets the list
                listeners, self._cf_to_notify = self._cf_to_notify or listeners, None
                self._cf_lock.release()
        finally:
            if listeners:
                for_each(self._cf_notify_waiter, listeners)

    def _cf_notify_waiter(self, waiter: Waiter) -> None:
        if self._state == CANCELLED_AND_NOTIFIED:
            waiter.add_cancelled(self)
        elif self._exception is not None:
            waiter.add_exception(self)
        else:
            waiter.add_result(self)

    def _cf_release_parked(self) -> None:
        # Each `unpark` is taken out of the list and called in one step of the interpreter, which allocates nothing
        # (before 3.12, an allocation may collect garbage): no handler or finaliser runs between the two. A thread that
        # times out may remove its own meanwhile. No thread is added any more: the future is done.
        parked = self._cf_parked
        if parked:
            unpark_one = map(call, iter(parked.pop, None)).__next__
            try:
                while parked:
                    unpark_one()
            except IndexError:
                pass
            finally:
                if parked:  # an `unpark` has raised
                    self._cf_release_parked()
        self._cf_parked = None

    def _invoke_callbacks(self) -> None:
        callbacks: list[Any] = []
        try:
            if self._cf_callbacks is not None and self._cf_lock.taken:
                callbacks, self._cf_callbacks = self._cf_callbacks or callbacks, None
                self._cf_lock.release()
        finally:
            if callbacks and self._cf_callbacks_forks == _forks:
                if len(callbacks) == 1:
                    self._cf_invoke(callbacks[0])
                else:
                    for_each(self._cf_invoke, callbacks)

    def _cf_invoke(self, callback: Callable[[Any], object]) -> None:
        try:
            if not (_is_asyncio_s(callback) and _tell_loop(callback, self)):
                callback(self)
        except Exception:
            log_failure(LOGGER, "exception calling callback for %r", self)

    def _cf_has_long_callbacks(self) -> bool:
        """Return whether there are callbacks that may take long: all but asyncio's."""
        return not all(map(_is_asyncio_s, self._cf_callbacks or ()))

    def _cf_renew_lock(self) -> None:
        """Replace the lock: in a forked child, where the thread that held it does not exist (E11)."""
        self._cf_lock = SHARED_LOCK[0] or Lock()
        self._cf_own_condition = _NoCondition

    # ── private names of the standard library ────────────────────────────────────────────────────────────
    #
    # `concurrent.futures.wait` and `as_completed` use them on every future. They are made on demand; a future that has
    # been asked for one of them is watched.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        condition: Any = self._cf_own_condition
        if condition is _NoCondition:
            if self._state not in DONE:
                _await_for_a_moment(self)
            condition = _OwnCondition()
            condition.future = weakref.ref(self)  # no cycle: a future is freed with its last reference
            if self._cf_lock.taken:
                self._cf_watched = True
                if self._cf_own_condition is _NoCondition:
                    self._cf_own_condition = condition
                condition = self._cf_own_condition
                self._cf_lock.release()
        return condition  # type: ignore[no-any-return]

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        listeners = self._cf_listeners
        if listeners is None:
            listeners = []
            if self._cf_lock.taken:
                self._cf_watched = True
                if self._cf_listeners is None:
                    self._cf_listeners = listeners
                listeners = self._cf_listeners
                self._cf_lock.release()
        return listeners

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        callbacks: list[Callable[[Any], object]] = []
        if self._cf_lock.taken:
            self._cf_watched = True
            if self._cf_callbacks is None or self._cf_callbacks_forks != _forks:
                self._cf_callbacks_forks = _forks
                self._cf_callbacks = callbacks
            callbacks = self._cf_callbacks
            self._cf_lock.release()
        return callbacks


#: How many times `_await_for_a_moment` is not worth a try, after one that was in vain.
_MOMENTS_SKIPPED: Final = 100

_moments_to_skip = 0  # roughly: written by all threads, without a lock


def _await_for_a_moment(future: Future[Any]) -> None:
    """Let a worker end the future: the standard library's `wait` asks for the condition of each of its futures.

    Of futures that have ended by then it does not wait for a notification, which costs more than a short call.
    """
    global _moments_to_skip
    if _moments_to_skip > 0:
        _moments_to_skip -= 1
    elif not spin_until(future.done):
        _moments_to_skip = _MOMENTS_SKIPPED


class _OwnCondition(Lock, threading.Condition):  # type: ignore[misc]
    """`Future._condition`: a condition that is its own lock, so that taking it is a call of C.

    While a thread has it, the future does not end. Code that ends a future by hand and notifies wakes the threads in
    `result` as well.
    """

    future: weakref.ref[Future[Any]]
    _waiters: Any = ()  # until a thread waits on it

    __init__ = Lock.__init__  # pyright: ignore[reportAssignmentType] # a condition over another lock has more to do

    def wait(self, timeout: float | None = None) -> bool:
        if not self._waiters:
            self._waiters = deque()
        return threading.Condition.wait(self, timeout)

    def notify(self, n: int = 1) -> None:
        threading.Condition.notify(self, n)
        future = self.future()
        if future is not None and future._state in DONE:
            if future._cf_lock.taken:  # a subscriber has done so, or reads the new state
                future._cf_lock.release()
            future._cf_release_parked()


def _is_asyncio_s(callback: Callable[[Any], object]) -> bool:
    """Return whether asyncio has added a callback, as far as its type and module tell."""
    return type(callback) is types.FunctionType and callback.__module__ == "asyncio.futures"


def _tell_loop(callback: Callable[[Any], object], future: Any) -> bool:
    global _tell_loop
    from corefutures._event_loops import tell_loop as _tell_loop  # here for programs without asyncio

    return _tell_loop(callback, future)


def _discard(items: list[Any] | None, item: object) -> None:
    if items is not None:
        try:
            items.remove(item)
        except ValueError:
            pass
