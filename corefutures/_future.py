"""`Future`: its states, its waiters, its callbacks (promises F1-F8 of the design).

Touches the standard library's type, for `isinstance`, and `_blocking`. Guarantees: the outcome is stored before
the final state can be seen; whoever subscribes before the end is told exactly once; no foreign code runs
under a lock of ours; reading a finished future takes no lock at all.
"""

from __future__ import annotations

import concurrent.futures as _standard
import logging
import os
import types
import weakref
from collections import deque
from operator import call
from threading import Condition

from corefutures._blocking import Lock, Parker, run_nested_loop, spin_until
from corefutures._exceptions import CancelledError, InvalidStateError
from corefutures._foreign_code import class_name, for_each, log_failure
from corefutures._options import check_seconds, shown

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol, Self, TypeVar

    _T = TypeVar("_T")

    class Waiter(Protocol):
        """What may be put into `Future._waiters`: the standard library's waiters and ours."""

        def add_result(self, future: Any, /) -> None: ...

        def add_exception(self, future: Any, /) -> None: ...

        def add_cancelled(self, future: Any, /) -> None: ...


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


class Future(_standard.Future["_T"]):
    """The outcome of a call that runs elsewhere.

    Made by `Executor.submit`; to be made by hand only in executors and tests. A subclass of the standard
    library's `Future` by type only: no method is inherited.

    Thread safety: every method may be called from any thread, and from a signal handler or a finaliser that
    interrupts another of them.
    """

    # Guards every change of state and every subscription of this future. Innermost: no other lock is taken
    # and no foreign code runs while it is held. Nor does a signal handler or finaliser (F8): nothing is called in a
    # guarded block, see `Lock`. What may allocate or call is done before the block or after it.
    _cf_lock: Lock

    # Defaults live in the class: a future that nobody waits for costs no more than its lock.
    _state: str = PENDING
    _result: _T | None = None
    _exception: BaseException | None = None
    _cf_watched: bool = False  # somebody may have to be told of the end
    _cf_parked: list[Any] | None = None  # what wakes each thread that blocks in result() or exception()
    _cf_listeners: list[Any] | None = None  # behind `_waiters`
    _cf_to_notify: list[Any] | None = None  # those of them that wait for the end, once it has come
    _cf_notices_cancel: bool = False  # the executor notices at once: cancelled is CANCELLED_AND_NOTIFIED (F5)
    _cf_dispatched: bool = False  # a worker may start the call at any time: see `_cf_try_dispatch`
    _cf_callbacks: list[Callable[[Any], object]] | None = None  # behind `_done_callbacks`
    _cf_callbacks_forks: int = 0  # the process that `_cf_callbacks` belongs to
    _cf_own_condition: Condition | None = None  # behind `_condition`
    _cf_observed: Any = None  # what observers know of the call: see `_audience`
    _cf_name: str | None = None  # given with `Executor.options`
    _cf_seen: float | None = None  # when a snapshot first found the call running
    _cf_cancel_requested: bool = False  # the call was asked to stop

    def __init__(self) -> None:
        """Makes a pending future."""
        self._cf_lock = Lock()

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

    # ── for whoever waits for the outcome ────────────────────────────────────────────────────────────────

    def cancel(self) -> bool:
        """Cancels the call unless it runs or has ended.

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
            TypeError: `timeout` is no number.
            BaseException: Whatever the call raised.
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
        """Returns what the call raised, or None if it returned, after waiting for it.

        Args:
            timeout: Seconds to wait at most; None waits without limit.

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
            raise TypeError(f"add_done_callback() takes a callable, not {shown(fn)}")
        if self._state not in DONE:
            callbacks, added, waits = self._done_callbacks, (fn,), False
            if self._cf_lock.taken:
                if waits := self._state not in DONE:
                    callbacks += added
                self._cf_lock.release()
            if waits:
                return
        try:
            fn(self)
        except Exception:
            log_failure(LOGGER, "exception calling callback for %r", self)

    # ── for executors and tests ──────────────────────────────────────────────────────────────────────────

    def set_running_or_notify_cancel(self) -> bool:
        """Marks the future as running, or tells the waiters that it was cancelled.

        For executors, once for each future, before the call starts.

        Returns:
            True if the call is to be run, False if it was cancelled.

        Raises:
            RuntimeError: The future is in neither of the states in which that makes sense.
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
            TypeError: It is no exception.
            InvalidStateError: The future has already ended.
        """
        if exception is not None and not isinstance(exception, BaseException) and not _is_exception_class(exception):
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
        """Returns (done, cancelled, result, exception) as of one moment; asyncio reads it from 3.15 on."""
        state = self._state
        if state == FINISHED:
            return True, False, self._result, self._exception
        return state in DONE, state in DONE, None, None

    # ── the transitions ──────────────────────────────────────────────────────────────────────────────────
    #
    # Nobody else writes `_state`. Each changes the state under the lock, and only along an arrow of F1; stores an
    # outcome before the state (F2); and notes, where a state of `ENDED` is reached, which waiters are to be notified.
    # The notification is a step of its own, without the lock: whoever has made a transition that ends the future owes
    # `_cf_notify` then, if `_cf_watched` is true by that time.

    def _cf_try_start(self) -> bool:
        """PENDING → RUNNING; return whether this call did it."""
        started = False
        if self._cf_lock.taken:
            if started := self._state == PENDING:
                self._state = RUNNING
            self._cf_lock.release()
        return started

    def _cf_try_dispatch(self) -> bool:
        """Note that a worker may start the call at any time from now on; return False if the future is done.

        The state stays. `_cf_try_cancel` needs `recalled` from now on.
        """
        dispatched = False
        if self._cf_lock.taken:
            if dispatched := self._state not in DONE:
                self._cf_dispatched = True
            self._cf_lock.release()
        return dispatched

    def _cf_try_cancel(self, *, notified: bool, recalled: bool = False) -> bool:
        """PENDING → CANCELLED or CANCELLED_AND_NOTIFIED; return whether this call did it.

        Args:
            notified: Whether the executor has noticed the cancellation: the caller owes `_cf_notify` then, and
                `_cf_notify_cancelled` otherwise.
            recalled: Whether the call, if it was dispatched, has been taken back: no worker can start it any more.
        """
        cancelled = False
        if self._cf_lock.taken:
            if cancelled := self._state == PENDING and (recalled or not self._cf_dispatched):
                self._state = CANCELLED_AND_NOTIFIED if notified else CANCELLED
                if notified and self._cf_listeners:
                    self._cf_to_notify = [*self._cf_listeners]
            self._cf_lock.release()
        return cancelled

    def _cf_try_acknowledge(self) -> bool:
        """CANCELLED → CANCELLED_AND_NOTIFIED; return whether this call did it. It owes `_cf_notify_waiters`."""
        acknowledged = False
        if self._cf_lock.taken:
            if acknowledged := self._state == CANCELLED:
                self._state = CANCELLED_AND_NOTIFIED
                if self._cf_listeners:
                    self._cf_to_notify = [*self._cf_listeners]
            self._cf_lock.release()
        return acknowledged

    def _cf_try_finish(
        self, result: _T | None, exception: BaseException | None, finished_calls: list[Any] | None = None
    ) -> bool:
        """PENDING or RUNNING → FINISHED; return whether this call did it. It owes `_cf_notify`.

        Args:
            result: What the call returned.
            exception: What it raised.
            finished_calls: A list to which the future is appended in the same step, if it is this one.
        """
        finished = False
        if self._cf_lock.taken:
            if finished := self._state not in DONE:
                self._result = result
                self._exception = exception
                self._state = FINISHED
                if self._cf_listeners:
                    self._cf_to_notify = [*self._cf_listeners]
                if finished_calls is not None:
                    finished_calls += (self,)
            self._cf_lock.release()
        return finished

    # ── subscriptions ────────────────────────────────────────────────────────────────────────────────────
    #
    # F5, no lost wake-up: a subscription is entered under `_cf_lock` together with a look at the state, and the
    # state is changed under `_cf_lock`. So either the subscriber sees the end, or the end sees the subscriber.
    # The announcement itself happens after the lock is given back: by then nobody can subscribe any more.
    #
    # Who is to be told is noted in the block that brings a state of `ENDED`: the standard library's `wait` puts its
    # waiter on the list of finished futures as well, and miscounts if one of these tells it.

    def _cf_await_end(self, timeout: float | None) -> None:
        """Blocks until the future is done.

        Raises:
            CancelledError: It was cancelled.
            TimeoutError: The time is up.
        """
        if (timeout is not None and timeout <= 0) or not spin_until(self.done):
            self._cf_sleep_until_end(run_nested_loop(self.done, timeout))
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError

    def _cf_sleep_until_end(self, timeout: float | None) -> None:
        """Blocks until the future is done; raises TimeoutError if the time is up."""
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
        parked = self._cf_parked
        if parked is not None:
            try:
                parked.remove(unpark)
            except ValueError:
                pass

    def _cf_subscribe(self, waiter: Waiter) -> bool:
        """Has `waiter` told of the end; returns False, and tells nothing, if `wait` already counts it as done."""
        listeners, added, waits = self._waiters, (waiter,), False
        if self._cf_lock.taken:
            if waits := self._state not in ENDED:
                listeners += added
            self._cf_lock.release()
        return waits

    def _cf_unsubscribe(self, waiter: Waiter) -> None:
        """Takes back `_cf_subscribe`; it is no error if the waiter is not there any more."""
        listeners = self._cf_listeners
        if listeners is not None:
            try:
                listeners.remove(waiter)
            except ValueError:
                pass

    def _cf_notify(self) -> None:
        """Tells everybody that the future has ended, waiters first.

        Called by whoever ended it, and again where nobody knows how far that came: who was told is not told again.
        """
        try:
            self._cf_notify_waiters()
        finally:
            self._cf_notify_cancelled()

    def _cf_notify_cancelled(self) -> None:
        """The same for a bare future's `cancel`: the waiters are told when the executor notices."""
        try:
            self._cf_wake_parked()
        finally:
            self._invoke_callbacks()

    def _cf_notify_waiters(self) -> None:
        listeners: list[Any] | None = None
        if self._cf_to_notify is not None and self._cf_lock.taken:  # of two that notify, one gets the list
            listeners, self._cf_to_notify = self._cf_to_notify, None
            self._cf_lock.release()
        if listeners is None:
            return
        left = iter(listeners)
        try:
            for waiter in left:
                self._cf_notify_waiter(waiter)
        except BaseException:
            for_each(self._cf_notify_waiter, left)
            raise

    def _cf_notify_waiter(self, waiter: Waiter) -> None:
        if self._state == CANCELLED_AND_NOTIFIED:
            waiter.add_cancelled(self)
        elif self._exception is not None:
            waiter.add_exception(self)
        else:
            waiter.add_result(self)

    def _cf_wake_parked(self) -> None:
        try:
            self._cf_release_parked()
        finally:
            if self._cf_own_condition is not None:  # somebody from outside may wait on it
                with self._cf_own_condition:
                    self._cf_own_condition.notify_all()

    def _cf_release_parked(self) -> None:
        # Each is taken out and released in one operation, in which nothing is allocated (before 3.12, that may collect
        # garbage): no handler or finaliser comes between, and who gives up waiting takes its turnstile out of a list
        # that nobody walks. Nobody parks any more: the future is done.
        parked = self._cf_parked
        if parked:
            try:
                deque(map(call, iter(parked.pop, None)), 0)
            except IndexError:
                pass
            finally:
                if parked:  # a release has raised
                    self._cf_release_parked()
        self._cf_parked = None

    def _invoke_callbacks(self) -> None:
        callbacks: list[Callable[[Any], object]] | None = None
        if self._cf_callbacks is not None and self._cf_lock.taken:  # of two that notify, one gets the list
            callbacks, self._cf_callbacks = self._cf_callbacks, None
            self._cf_lock.release()
        if callbacks is not None and self._cf_callbacks_forks == _forks:
            for_each(self._cf_invoke, callbacks)

    def _cf_invoke(self, callback: Callable[[Any], object]) -> None:
        try:
            callback(self)
        except Exception:
            log_failure(LOGGER, "exception calling callback for %r", self)

    def _cf_renew_lock(self) -> None:
        """In a forked child, where the thread that held the lock may not exist: replaces it (E11)."""
        self._cf_lock = Lock()
        self._cf_own_condition = None

    # The standard names of the standard library's private parts, made on demand: `concurrent.futures.wait`
    # and `as_completed` use them on any Future. Whoever asks for one of them counts as a watcher.

    @property
    def _condition(self) -> Condition:  # type: ignore[override]
        condition: Condition | None = self._cf_own_condition
        if condition is None:
            condition = _OwnCondition(self)
            if self._cf_lock.taken:
                self._cf_watched = True
                self._cf_own_condition = condition = self._cf_own_condition or condition
                self._cf_lock.release()
        return condition

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


def _is_exception_class(exception: object) -> bool:
    return isinstance(exception, type) and issubclass(exception, BaseException)  # `raise` takes one
