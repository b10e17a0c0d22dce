"""`AdaptedFuture`: the future of a call that a foreign executor runs; it ends when the foreign future ends.

Touches the foreign future's public methods. Guarantees: an exception of theirs never leaves the future without an end.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from corefutures._blocking import _thread, current_workers, run_nested_loop, threading
from corefutures._exceptions import CancelledError
from corefutures._foreign_code import log_failure
from corefutures._future import DONE, LOGGER, PENDING, RUNNING
from corefutures_pools.adapter.call import AdaptedCall, CarriedError, WorkerOwner, entered
from corefutures_pools.adapter.initializing import WorkerNotInitialized
from corefutures_pools.foreign_code import drop_frame
from corefutures_pools.future import PoolFuture

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures.backend import Capabilities
    from corefutures_pools.adapter.encoding import CallEncoding

_T = TypeVar("_T")


class CallOwner(WorkerOwner, Protocol):
    """The adapted executor, as its futures see it."""

    @property
    def capabilities(self) -> Capabilities:
        """What is known of the foreign executor."""
        ...

    def discard(self, future: AdaptedFuture[Any]) -> None:
        """Remove the future of a call that has ended."""

    def _cf_end_of_run(self, future: AdaptedFuture[Any]) -> None:
        """Take note that the foreign executor has ended its future of a call."""

    def _cf_mark_broken(self, error: BaseException) -> BaseException:
        """Take note that an initializer raised `error`; return the exception of the call."""
        ...

    def wait_in_thread(self, wait: Callable[[], object]) -> None:
        """Have a thread wait for the end of a future that has no callbacks."""


class AdaptedFuture(PoolFuture[_T]):
    """The future of a call that another executor runs."""

    _foreign: Any = None  # the other executor's future, until this one has ended
    _cancelling_thread = 0  # the thread that cancels `_foreign`, and ends this future itself if that succeeds
    _encoding: CallEncoding | None = None
    place = -1
    has_worker = False

    def __init__(
        self, executor: CallOwner, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any], *, bare: bool
    ) -> None:
        """Make a pending future for `fn(*args, **kwargs)`.

        Args:
            executor: The executor, which is kept alive while the call is pending.
            fn: The function to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            bare: Whether the foreign executor gets the function itself, and not `call`.
        """
        super().__init__(fn, args, kwargs)
        self.executor: CallOwner | None = executor
        self._cf_dispatched = bare
        self.call = None if bare else AdaptedCall(self)

    def encode(self, encoding: CallEncoding) -> BaseException | None:
        """Put the encoded call in the place of the call; return the exception that this raised."""
        call, error = encoding.call(self._cf_fn, self._cf_args, self._cf_kwargs)  # type: ignore[arg-type]
        if call is not None:
            self._cf_fn, self._cf_args, self._cf_kwargs = *call, {}
            self._encoding = encoding
        return error

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

    def reduce(self) -> tuple[Any, ...] | None:
        """Return how to pickle the call: as the standard library's `partial`, which any worker can import.

        Returns:
            What `__reduce__` returns; None if the call was cancelled.
        """
        fn, args, kwargs = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is not done afterwards
        if not self._cf_try_dispatch():
            return None
        return functools.partial(fn, *args, **kwargs).__reduce__()  # type: ignore[arg-type, misc, return-value]

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
        before, entered.executors = entered.executors, (*entered.executors, executor)
        try:
            self._take_outcome(foreign)
        except BaseException:  # of a callback: a worker of the other executor's logs it (F4)
            if self._state not in DONE:
                self._take_outcome(foreign)
            executor.discard(self)
            if executor in before:
                raise
            log_failure(LOGGER, "exception calling callback for %r", self)
        finally:
            entered.executors = before
            del executor, before  # no cycle from an exception's traceback to this frame

    def _take_outcome(self, foreign: Any) -> None:
        error: BaseException | None = None
        try:
            cancelled, result, error = _outcome(foreign)
            if self.executor is not None:
                self.executor._cf_end_of_run(self)  # first: callbacks may take their time
            if self._encoding is not None and error is None and not cancelled:
                result, error = self._encoding.outcome(result)
            if type(error) is CarriedError:
                error = error.error
            elif type(error) is WorkerNotInitialized and self.executor is not None:
                error = self.executor._cf_mark_broken(error.error)
            if cancelled and self._cancelling_thread == threading.get_ident():
                return
            if cancelled:
                self.end_revoked()
            elif self._cf_settle(result, error):
                self._cf_notify_in_worker()
            self.release()
        finally:
            del error  # no cycle, as above

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
        if _ask(foreign, "cancelled"):
            return True, None, None
        # Not by result() alone: raising a stored exception would lengthen its traceback.
        ask = getattr(foreign, "exception", None)
        error: Any = ask() if callable(ask) else None
        return False, (foreign.result() if error is None else None), error
    except BaseException as exc:
        drop_frame(exc)  # this one
        return bool(_ask(foreign, "cancelled")), None, exc


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
