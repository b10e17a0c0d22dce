"""`retrying`: an executor whose calls are tried again when they fail.

Touches the public interface of `corefutures` and `_timer`. Guarantees: the wait for the next attempt holds no worker
and no thread; a call can be cancelled between attempts; each call ends once, with its last attempt's outcome.
"""

from __future__ import annotations

import concurrent.futures as standard
import logging
import math
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import corefutures
from corefutures.backend import add_note, attempt_number, clock, describe_error
from corefutures_structured._deadline import call_name
from corefutures_structured._timer import Alarm, timer

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger("concurrent.futures")
_P = ParamSpec("_P")
_T = TypeVar("_T")


class RetryState:
    """An attempt that failed, for `backoff`; its attributes are called as in tenacity, whose wait strategies take it.

    Attributes:
        fn: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        attempt_number: How many attempts there were, 1 after the first.
        outcome: The future of the attempt that failed.
        seconds_since_start: From the call of `submit` to the end of that attempt.
        idle_for: Seconds waited between attempts so far.
    """

    __slots__ = ("args", "attempt_number", "fn", "idle_for", "kwargs", "outcome", "seconds_since_start")

    def __init__(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], attempt_number: int,
        outcome: standard.Future[Any], seconds_since_start: float, idle_for: float,
    ) -> None:  # fmt: skip
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.attempt_number = attempt_number
        self.outcome = outcome
        self.seconds_since_start = seconds_since_start
        self.idle_for = idle_for


class RetriedFuture(corefutures.Future[_T]):
    """The outcome of a call that may be tried more than once.

    Thread safety: as `corefutures.Future`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._call_name = name
        self._current: standard.Future[_T] | None = None  # the attempt under way; None between two
        self._alarm: Alarm | None = None
        self._history: list[standard.Future[_T]] = []
        # How an attempt is stopped that begins although the call is to be stopped; None while more may begin.
        self._stop: Callable[[standard.Future[Any]], object] | None = None
        self._gates: list[corefutures.Future[None]] = []  # each ends with the pause before the next attempt
        # What to do once when the call has ended. A list, because taking it out is one step, whoever is first.
        self._on_departure: list[Callable[[RetriedFuture[_T]], object]] = []

    @property
    def attempts(self) -> int:
        """How many attempts were begun so far."""
        return len(self._history)

    @property
    def failures(self) -> tuple[BaseException, ...]:
        """The errors of the attempts that have failed, in order."""
        ended = (future for future in list(self._history) if future.done() and not future.cancelled())
        return tuple(error for future in ended if (error := future.exception()) is not None)

    def running(self) -> bool:
        """Return True while an attempt runs."""
        current = self._current
        return current is not None and current.running()

    def cancel(self) -> bool:
        """Cancel the call, unless an attempt of it runs or it has ended.

        Returns:
            True if the call is cancelled now; between two attempts, and while one waits for a worker, it can be.
        """
        current = self._current
        if current is not None and not self.done() and not current.cancel():
            return self.cancelled()
        if (alarm := self._alarm) is not None:
            alarm.cancel()
        return self._withdraw()

    def result(self, timeout: float | None = None) -> _T:
        """Wait for the call, and return the value that it returned; see `corefutures.Future.result`."""
        return super().result(self._await_attempts(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the call, and return the exception that it raised; see `corefutures.Future.exception`."""
        return super().exception(self._await_attempts(timeout))

    def _await_attempts(self, timeout: float | None = None) -> float | None:
        """Wait for one attempt after the other; return `timeout` once the call has ended, 0 if it has not in time.

        A worker of the executor that waits for the call runs the attempt itself, if no other worker is there. It must
        be woken for that when the attempt is submitted.
        """
        if timeout is not None and not _is_seconds(timeout):
            return timeout  # to be refused
        end = None if timeout is None else clock.monotonic() + timeout
        while not self.done():
            left = None if end is None else end - clock.monotonic()
            if left is not None and left <= 0:
                return 0
            # 1. The thread that waits adds its gate first, and then looks for an attempt.
            # 2. `_open_gates` finds the attempt set already, and then ends the gates. So one sees the other.
            gate: corefutures.Future[None] = corefutures.Future()
            self._gates.append(gate)
            attempt = self._current
            awaited: list[Any] = [self, gate]
            if attempt is not None and not attempt.done():  # once it is, its callback ends the call or `_current`
                awaited.append(attempt)
            try:
                corefutures.wait(awaited, left, corefutures.FIRST_COMPLETED)
            finally:
                with suppress(ValueError):  # it has been ended
                    self._gates.remove(gate)
        return timeout

    def _open_gates(self) -> None:
        """Wake those who wait through a pause: an attempt has been submitted."""
        while self._gates:
            try:
                gate = self._gates.pop()
            except IndexError:  # the waiter has removed it
                return
            gate.set_result(None)

    def _withdraw(self) -> bool:
        """Cancel the call and wake everybody who waits for it; return whether it is cancelled now."""
        cancelled = super().cancel()
        if cancelled and self._depart():
            self.set_running_or_notify_cancel()
        return cancelled

    def _depart(self) -> bool:
        """Tell the executor that the call has ended; return whether this is the first time."""
        try:
            departure = self._on_departure.pop()
        except IndexError:
            return False
        departure(self)
        return True


class _Call:
    """What is needed to try a call once more."""

    __slots__ = ("args", "fn", "future", "idle_for", "kwargs", "start")

    def __init__(self, future: RetriedFuture[Any], fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.start = clock.monotonic()
        self.idle_for = 0.0  # written by the thread that ended an attempt: there is one attempt at a time


class RetryingExecutor(corefutures.Executor):
    """A view of an executor whose calls are tried again when they fail; made by `retrying`, which has the arguments.

    Its `shutdown` refuses further calls and waits for its own; the executor underneath is ended where it was made. If
    that happens while a call waits for its next attempt, the call fails with the error of its last one.

    Thread safety: as the executor underneath.
    """

    def __init__(
        self,
        executor: standard.Executor,
        retries: int,
        retry_on: type[BaseException] | tuple[type[BaseException], ...],
        backoff: float | Callable[[RetryState], float],
    ) -> None:
        self._executor = executor
        self._retries = retries
        self._retry_on = retry_on
        self._backoff = backoff
        self._closed = False
        # Guards `_pending` and `_closed`. Reentrant, because a signal handler may interrupt its holder. Innermost.
        self._lock = threading.RLock()
        self._pending: set[RetriedFuture[Any]] = set()

    @property
    def executor(self) -> standard.Executor:
        """The executor underneath."""
        return self._executor

    @property
    def _max_workers(self) -> Any:
        return self._executor._max_workers  # type: ignore[attr-defined]

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> RetriedFuture[_T]:
        """Have `fn(*args, **kwargs)` run, again if it fails; see `corefutures.Executor.submit`.

        Returns:
            The future of the call; its `attempts` says how often the call was tried.
        """
        future: RetriedFuture[_T] = RetriedFuture(call_name(fn))
        future._on_departure.append(self._discard)
        with self._lock:
            if not (refused := self._closed):
                self._pending.add(future)
        if refused:
            raise RuntimeError("cannot schedule new futures after shutdown")
        try:
            self._attempt(_Call(future, fn, args, kwargs))
        except BaseException:
            self._discard(future)
            raise
        return future

    def stream(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: items that were taken can't be taken back.

        Raises:
            UnsupportedError: In any case.
        """
        raise corefutures.UnsupportedError(
            "a generator whose items were taken can't be tried again: ask the executor under this one for its stream()"
        )

    def _attempt(self, call: _Call) -> None:
        future = call.future
        token = attempt_number.set(len(future._history) + 1)  # for observers
        try:
            attempt = self._executor.submit(call.fn, *call.args, **call.kwargs)
        finally:
            attempt_number.reset(token)
        future._history.append(attempt)
        future._current = attempt
        future._open_gates()
        if future.cancelled():  # between the alarm and here
            attempt.cancel()
        elif future._stop is not None:  # the one that stops sets this first, and then looks for the attempt
            future._stop(attempt)
        attempt.add_done_callback(partial(self._on_end, call))

    def _on_end(self, call: _Call, attempt: standard.Future[Any]) -> None:
        """Pass on the outcome of an attempt, or plan the next one; runs in the thread that ended the attempt."""
        future = call.future
        if future.done():
            return
        if attempt.cancelled():  # by `cancel`, or because the executor withdrew it
            future._current = None
            future._withdraw()
            return
        error = attempt.exception()
        if error is None:
            self._end(future, attempt.result(), None)
            return
        if (
            not issubclass(type(error), self._retry_on)
            or len(future._history) > self._retries
            or future._stop is not None
        ):
            self._end(future, None, error)
            return
        try:
            pause = self._pause(call, attempt)
        except BaseException as exc:  # of `backoff`
            add_note(exc, f"raised by the backoff of the call {future._call_name!r}")
            self._end(future, None, exc)
            return
        call.idle_for += pause
        future._current = None
        again = partial(self._try_again, call, error)
        if pause <= 0:
            again()
            return
        try:
            future._alarm = timer.call_at(clock.monotonic() + pause, again)
        except RuntimeError as exc:  # no thread can be started: nothing is lost but the pause
            LOGGER.warning("no pause before the next attempt of the call %r: %s", future._call_name, exc)
            again()

    def _pause(self, call: _Call, attempt: standard.Future[Any]) -> float:
        """Return the seconds before the next attempt."""
        backoff = self._backoff
        if not callable(backoff):
            return backoff
        pause = backoff(
            RetryState(
                call.fn, call.args, call.kwargs,
                len(call.future._history), attempt, clock.monotonic() - call.start, call.idle_for,
            )
        )  # fmt: skip
        if not _is_seconds(pause):
            raise TypeError(f"backoff must give a number of seconds, not {pause!r}")
        return pause

    def _try_again(self, call: _Call, last: BaseException) -> None:
        future = call.future
        if future.done():
            return
        try:
            self._attempt(call)
        except BaseException as exc:  # the executor has been shut down, or is broken
            try:
                add_note(last, f"not tried again: {describe_error(exc)}")
            finally:
                self._end(future, None, last)
            if not isinstance(exc, Exception):
                raise

    def _end(self, future: RetriedFuture[Any], result: Any, error: BaseException | None) -> None:
        try:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        except standard.InvalidStateError:  # cancelled at the same moment
            pass
        finally:
            future._depart()

    def _discard(self, future: RetriedFuture[Any]) -> None:
        with self._lock:
            self._pending.discard(future)

    # ── what the executor underneath can do ──────────────────────────────────────────────────────────────

    def kill(self, future: standard.Future[Any]) -> bool:
        """Stop a call, even if an attempt of it runs; it is not tried again.

        Args:
            future: The call's. Between attempts, and while one waits for a worker, the call is cancelled.

        Returns:
            Whether the call was stopped; False if it had ended.

        Raises:
            UnsupportedError: The executor underneath can't stop running calls.
        """
        return self._stop("kill", "stop a call that runs", future)

    def request_cancel(self, future: standard.Future[Any]) -> bool:
        """Ask a call to stop, and don't try it again: in it, `corefutures.cancel_requested()` is true from now on.

        Args:
            future: The call's. Between attempts, and while one waits for a worker, the call is cancelled.

        Returns:
            Whether the call was cancelled or asked; False if it had ended.

        Raises:
            UnsupportedError: The executor underneath can't ask running calls. The call is not tried again even so.
        """
        return self._stop("request_cancel", "ask a call to stop", future)

    def _stop(self, method: str, what: str, future: standard.Future[Any]) -> bool:
        if not isinstance(future, RetriedFuture):
            raise TypeError(f"{method}() takes a future that submit() of a retrying executor returned")
        stop = getattr(self._executor, method, None)
        if stop is None and method == "kill":
            raise self._unsupported(what)
        if future.done():
            return False
        # A call whose executor has no such method ends with the attempt that runs.
        future._stop = stop or standard.Future.cancel
        if future.cancel():
            return True
        attempt = future._current
        if stop is None:
            raise self._unsupported(what)
        return attempt is not None and bool(stop(attempt))

    def stats(self) -> Any:
        """Return the numbers of the executor underneath, which counts each attempt.

        Raises:
            UnsupportedError: They are not counted there.
        """
        return self._ask("stats", "count its calls")()

    def snapshot(self, *, timeout: float = 1.0) -> Any:
        """Return what the executor underneath is doing.

        Args:
            timeout: Seconds to wait at most for the stacks of workers.

        Raises:
            UnsupportedError: Nothing is known of its workers.
        """
        return self._ask("snapshot", "be looked into")(timeout=timeout)

    def options(
        self,
        *,
        retries: int | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float | Callable[[RetryState], float] | None = None,
        **options: Any,
    ) -> RetryingExecutor:
        """Return a view with these options, and this one's where they are not given.

        Args:
            retries: As for `retrying`.
            retry_on: As for `retrying`.
            backoff: As for `retrying`.
            **options: Those of the executor underneath, such as `timeout`, for each attempt.

        Raises:
            UnsupportedError: The executor underneath has no options.
        """
        return retrying(
            self._ask("options", "limit or name its calls")(**options) if options else self._executor,
            retries=self._retries if retries is None else retries,
            retry_on=self._retry_on if retry_on is None else retry_on,
            backoff=self._backoff if backoff is None else backoff,
        )

    def _ask(self, method: str, what: str) -> Any:
        found = getattr(self._executor, method, None)
        if found is None:
            raise self._unsupported(what)
        return found

    def _unsupported(self, what: str) -> corefutures.UnsupportedError:
        return corefutures.UnsupportedError(
            f"{type(self._executor).__name__}, whose calls are tried again here, can't {what}"
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait for those that there are; the executor underneath goes on.

        Args:
            wait: Whether to return only when the calls of this view have ended.
            cancel_futures: Whether to cancel those that don't run.
        """
        with self._lock:
            self._closed = True
            pending = list(self._pending)
        if cancel_futures:
            for future in pending:
                future.cancel()
        if wait:
            for future in pending:
                future._await_attempts()


def retrying(
    executor: standard.Executor,
    *,
    retries: int = 3,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    backoff: float | Callable[[RetryState], float] = 0.0,
) -> RetryingExecutor:
    """Return a view of an executor whose calls are tried again when they fail.

    Args:
        executor: Any executor. A time limit of its `options` counts for each attempt.
        retries: How often a call is tried again after its first attempt.
        retry_on: The exceptions after which it is, such as `(OSError, WorkerLostError)`.
        backoff: Seconds before the next attempt, or a callable that gives them: it is called with a `RetryState`, whose
            attributes are tenacity's, so that `tenacity.wait_exponential()` and the like can be given. No worker and no
            thread is held meanwhile.

    Returns:
        The view. What it returns from `submit` has `attempts` and `failures`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `retries` is negative, or `backoff` is.
    """
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(f"retrying() needs an executor, an object with submit(), not {type(executor).__name__}")
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise TypeError(f"retries must be an integer, not {type(retries).__name__}")
    if retries < 0:
        raise ValueError(f"retries must not be negative, not {retries!r}")
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    given: tuple[object, ...] = kinds
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on must be exception classes, not {kind!r}")
    if not callable(backoff):
        if not _is_seconds(backoff):
            raise TypeError(f"backoff must be a finite number of seconds or a callable, not {backoff!r}")
        if backoff < 0:
            raise ValueError(f"backoff must not be negative, not {backoff!r}")
    return RetryingExecutor(executor, retries, kinds, backoff)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
