"""`AdaptedFuture`: the future of a call that a foreign executor runs; it ends when the foreign future ends.

Touches the foreign future's public methods. Guarantees: an exception of theirs never leaves the future without an end.
"""

from __future__ import annotations

import concurrent.futures as _standard
import functools
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from corefutures._blocking import Lock, _thread, current_workers, run_nested_loop, threading
from corefutures._exceptions import CancelledError
from corefutures._foreign_code import log_failure
from corefutures._future import DONE, FINISHED, LOGGER, PENDING, RUNNING, SHARED_LOCK
from corefutures_pools.adapter.call import AdaptedCall, CarriedError, WorkerOwner, entered
from corefutures_pools.adapter.initializing import WorkerNotInitialized
from corefutures_pools.foreign_code import drop_frame
from corefutures_pools.future import PoolFuture

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures.backend import Capabilities
    from corefutures_pools.adapter.encoding import CallEncoding
    from corefutures_pools.adapter.waiting import WaitingCalls
    from corefutures_pools.future import Call

_T = TypeVar("_T")


class CallOwner(WorkerOwner, Protocol):
    """The adapted executor, as its futures see it."""

    @property
    def capabilities(self) -> Capabilities:
        """What is known of the foreign executor."""
        ...

    def discard(self, future: AdaptedFuture[Any]) -> None:
        """Remove the future of a call that has ended."""

    @property
    def encoding(self) -> CallEncoding | None:
        """How calls and outcomes travel; None if the foreign executor pickles them, if it has to."""
        ...

    @property
    def waiting(self) -> WaitingCalls | None:
        """The calls that the foreign executor has no worker for."""
        ...

    def _cf_mark_broken(self, error: BaseException) -> BaseException:
        """Take note that an initializer raised `error`; return the exception of the call."""
        ...

    def wait_in_thread(self, wait: Callable[[], object]) -> None:
        """Have a thread wait for the end of a future that has no callbacks."""


class AdaptedFuture(PoolFuture[_T]):
    """The future of a call that another executor runs."""

    _foreign: Any = None  # the other executor's future, until this one has ended
    _cancelling_thread = 0  # the thread that cancels `_foreign`, and ends this future itself if that succeeds
    place = -1
    has_worker = False

    def __init__(self, executor: CallOwner, call: Call, *, bare: bool) -> None:
        """Make a pending future.

        Args:
            executor: The executor, which is kept alive while the call is pending.
            call: Function, arguments, keyword arguments.
            bare: Whether the foreign executor gets the function itself, and not `AdaptedCall`.
        """
        self._cf_lock = SHARED_LOCK[0] or Lock()
        self._state = PENDING
        self._result = self._exception = None
        self._cf_watched = False
        self._cf_fn, self._cf_args, self._cf_kwargs = call
        self.executor: CallOwner | None = executor
        self._cf_dispatched = bare
        self.call = None if bare else AdaptedCall(self)

    def fail(self, error: BaseException) -> None:
        """End with an error; the foreign executor does not have the call."""
        self._cf_abandon(error)
        self.release()

    # `_cf_dispatched` is true once a copy of the call may exist elsewhere: it was pickled, or went out bare.
    #
    # A waiting call is cancelled in one of two ways. While this future alone has the call, this future ends: the
    # foreign executor's workers find nothing to do, and its own future is left alone, because some workers don't
    # survive the end of a future before their own. Once a copy has been made, only the foreign executor knows whether
    # it has started, and `_foreign.cancel()` decides.

    def cancel(self) -> bool:
        """Cancel the call unless it runs or has ended; every waiter is awake when this returns.

        Returns:
            True if the call is cancelled now, False if it runs, has finished, or can't be cancelled any more.
        """
        if self._state in DONE:
            return self.cancelled()
        if self._cf_try_cancel(notified=True):
            self._end_cancelled()
        elif (
            self._state == PENDING
            and self._cf_dispatched
            and (foreign := self._foreign) is not None
            and not _ask(foreign, "running")
        ):
            self._cancelling_thread = threading.get_ident()
            if _ask(foreign, "cancel") or _ask(foreign, "cancelled"):
                self.end_revoked()
        return self.cancelled()

    def _cf_await_end(self, timeout: float | None) -> None:
        executor, in_worker = self.executor, _thread.get_ident() in current_workers
        if executor is not None and not in_worker and not executor.capabilities.same_process:
            # Other processes take longer than a thread should spin, and the threads that serve them need the GIL.
            self._cf_sleep_until_end(run_nested_loop(self.done, timeout))
            if self._state == FINISHED:
                return
            timeout = 0.0  # the future has ended
        super()._cf_await_end(timeout)

    def running(self) -> bool:
        """Return True while the call is known to run: its start was seen, or the foreign future says so."""
        if self._state == PENDING and self._cf_dispatched and (foreign := self._foreign) is not None:
            return bool(_ask(foreign, "running")) and self._state not in DONE
        return self._state == RUNNING

    def start(self) -> tuple[Callable[..., _T], tuple[Any, ...], dict[str, Any]] | None:
        """Mark the call as running and return it; None if it has been cancelled.

        The call is kept until the future ends, because an executor may call it again, to repeat a failed call.
        """
        call = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is not done afterwards
        return call if self._cf_try_start() or self._state == RUNNING else None  # type: ignore[return-value]

    def dispatch(self) -> tuple[Callable[..., _T], tuple[Any, ...], dict[str, Any]] | None:
        """Take note that a copy of the call may run elsewhere, and return it; None if it has been cancelled."""
        call = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is not done afterwards
        return call if self._cf_try_dispatch() else None  # type: ignore[return-value]

    def follow(self, foreign: Any) -> None:
        """End as `foreign` ends."""
        self._foreign = foreign
        if self._state in DONE:  # cancelled meanwhile
            self._foreign = None
            return
        subscribe = getattr(foreign, "add_done_callback", None)
        executor = self.executor
        if callable(subscribe):
            subscribe(self._end_as)
        elif not callable(getattr(foreign, "result", None)):
            raise TypeError(
                f"submit() of the adapted executor returned {foreign!r:.80}, which is no future: it has neither "
                "add_done_callback() nor result()"
            )
        elif executor is not None:
            executor.wait_in_thread(functools.partial(self._end_as, foreign))

    def _end_as(self, foreign: Any) -> None:
        """End as `foreign` has ended; for a thread of the foreign executor, or one that waits for `foreign`.

        Also for the thread that submits, if `foreign` has ended already. A signal handler may interrupt that: the end
        is made up for, or nobody would end this future, and then the exception goes on to who submits.
        """
        executor = self.executor
        if executor is None:
            return
        before = entered.executors
        entered.executors = (*before, executor)
        try:
            self._take_outcome(foreign, executor)
        except BaseException:  # of a callback: a worker of the other executor's logs it (F4)
            if self._state not in DONE:
                self._take_outcome(foreign, executor)
            executor.discard(self)
            if executor in before:
                raise
            log_failure(LOGGER, "exception calling callback for %r", self)
        finally:
            entered.executors = before
            del executor, before  # no cycle from an exception's traceback to this frame

    def _take_outcome(self, foreign: Any, executor: CallOwner) -> None:
        error: BaseException | None = None
        try:
            cancelled, result, error = _outcome(foreign)
            if executor.waiting is not None:
                executor.waiting.leave(self)  # first: callbacks may take their time
            if executor.encoding is not None and error is None and not cancelled:
                result, error = executor.encoding.outcome(result)
            if error is None:
                pass
            elif type(error) is CarriedError:
                error = error.error
            elif type(error) is WorkerNotInitialized:
                error = executor._cf_mark_broken(error.error)
            if cancelled and self._cancelling_thread == threading.get_ident():
                return
            if cancelled:
                self.end_revoked()
            elif self._cf_try_finish(result, error) and self._cf_watched:
                self._cf_notify_in_worker()
            self.release()
        finally:
            del error, executor  # no cycle, as above

    def end_revoked(self) -> None:
        """End because the foreign future was cancelled; if the call had started, with that as its error (F1)."""
        if self._cf_try_cancel(notified=True, recalled=True):
            self._end_cancelled()
        else:
            self._cf_abandon(CancelledError("the executor gave the call up while it ran"))
            self.release()

    def _end_cancelled(self) -> None:
        self.release()
        if self._cf_watched:
            self._cf_notify()

    def release(self) -> None:
        """Drop whatever the ended future refers to, and leave the executor's table."""
        self._cf_forget_call()
        executor, self.executor, self._foreign = self.executor, None, None
        call, self.call = self.call, None
        if call is not None:
            call.future = None  # frames in the traceback of an exception may refer to the call: no cycle (F6)
        if executor is not None:
            executor.discard(self)


def _outcome(foreign: Any) -> tuple[bool, Any, BaseException | None]:
    """Return whether a foreign future was cancelled, its result and its exception, by public methods alone."""
    try:
        kind = type(foreign)
        if kind is _standard.Future or _has_standard_methods(kind):
            error: Any = foreign.exception()  # which raises CancelledError
            return False, (foreign.result() if error is None else None), error
        if _ask(foreign, "cancelled"):
            return True, None, None
        # Not by result() alone: raising a stored exception would lengthen its traceback.
        ask = getattr(foreign, "exception", None)
        error = ask() if callable(ask) else None
        return False, (foreign.result() if error is None else None), error
    except BaseException as exc:
        drop_frame(exc)  # this one
        return bool(_ask(foreign, "cancelled")), None, exc


def _has_standard_methods(kind: type) -> bool:
    """Return whether the futures of a class say by the standard library's own methods how they ended."""
    return (
        issubclass(kind, _standard.Future)
        and kind.cancelled is _standard.Future.cancelled
        and kind.exception is _standard.Future.exception
        and kind.result is _standard.Future.result
    )


def _ask(foreign: Any, question: str) -> Any:
    """Return the answer of a foreign future's method; None if it has no such method, or that fails."""
    method = getattr(foreign, question, None)
    if not callable(method):
        return None
    try:
        return method()
    except NotImplementedError:
        return None
    except Exception:
        log_failure(LOGGER, "%s() of %s failed", question, type(foreign).__name__)
        return None
