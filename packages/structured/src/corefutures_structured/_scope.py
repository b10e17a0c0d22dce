"""`scope`: calls that end before the block does that submitted them, whatever executor runs them.

Touches the public interface of `corefutures`, `_deadline` and `_timer`. Guarantees: no call outlives its block unless
the block was told to abandon it; no foreign code runs under a lock.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures as standard
from contextvars import Token
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import corefutures
from corefutures.backend import Capabilities, add_cancel_probe, add_note, clock, in_worker, register_for_dump
from corefutures_structured._deadline import ScopedCall, Surroundings, call_name, surroundings
from corefutures_structured._retrying import RetryingExecutor
from corefutures_structured._timer import Alarm, timer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_T = TypeVar("_T")

Until = Literal["all", "first_success", "all_settled"]
Leave = Literal["wait", "abandon"]

_UNTIL: Final = ("all", "first_success", "all_settled")
_LEAVE: Final = ("wait", "abandon")
#: Seconds between two looks whether the call that opened the scope has been asked to stop, while the scope waits.
_LOOK_EVERY: Final = 0.05
#: Seconds that stopped calls have to end before a block with leave="abandon" goes without them.
GRACE: Final = 0.5

# By which means a call was stopped, for the notes.
_WITHDRAWN: Final = "was withdrawn before it started"
_KILLED: Final = "was killed with its worker"
_ASKED: Final = "was asked to stop"
_LEFT: Final = "could not be stopped, and was waited for"
_ABANDONED: Final = "could not be stopped, and was abandoned: it still runs"


def scope(
    executor: standard.Executor | None = None,
    *,
    deadline: float | None = None,
    until: Until | Callable[[standard.Future[Any]], object] = "all",
    leave: Leave = "wait",
    name: str | None = None,
) -> Scope:
    """Open a scope: a `with` block that ends only when all calls submitted through it have ended.

    Args:
        executor: Runs the calls that name no other; None for the one of `default_executor`.
        deadline: Seconds from the beginning of the block; the calls that are left then are stopped. None for none.
        until: When the calls that are left are stopped. "all": at the first error. "first_success": once a call has
            returned; errors count only if none does. "all_settled": never; errors of calls are left to their futures.
            A callable: it is called with the future of each call that has ended, and stops the rest by returning a
            true value; errors of calls are left to their futures.
        leave: What a block does with stopped calls that don't react, such as a thread that computes. "wait": it waits
            for them. "abandon": it goes without them after half a second, and names them.
        name: What errors and `repr` call the scope.

    Returns:
        The scope, for `with` or `async with`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `deadline` is not positive, or `until` or `leave` is none of the words.
    """
    return Scope(executor, deadline=deadline, until=until, leave=leave, name=name)


class ScopeSnapshot(NamedTuple):
    """An open scope; `str` makes a tree of it.

    Attributes:
        name: What the scope is called.
        state: "open" or "stopping".
        seconds_left: Until its own deadline; None if it has none.
        calls: Its calls that have not ended, and whether they run.
        children: The scopes inside it.
    """

    name: str
    state: str
    seconds_left: float | None
    calls: tuple[str, ...]
    children: tuple[ScopeSnapshot, ...]

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f", {self.seconds_left:.1f} s left"
        lines = [f"{self.name} ({self.state}{left}): {len(self.calls)} calls"]
        lines += [f"  {call}" for call in self.calls[:10]]
        if len(self.calls) > 10:
            lines.append(f"  and {len(self.calls) - 10} more")
        for child in self.children:
            lines += [f"  {line}" for line in str(child).splitlines()]
        return "\n".join(lines)


class _OpenScopes:
    """The open scopes that are inside no other, for `corefutures.dump`."""

    def __init__(self) -> None:
        self._scopes: set[Scope] = set()
        register_for_dump(self)

    def add(self, scope: Scope) -> None:
        self._scopes.add(scope)

    def discard(self, scope: Scope) -> None:
        self._scopes.discard(scope)

    def snapshot(self, *, timeout: float = 1.0) -> str:
        """Return the trees, in the form that `dump` prints."""
        return "\n".join(["open scopes", *(str(scope.snapshot()) for scope in self._scopes.copy())])


_open_scopes = _OpenScopes()


class _WatchingCall(ScopedCall):
    """A function that runs inside a scope and tells the scope of its error: cheaper than a callback for each call."""

    __slots__ = ()
    around: Scope

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        around = self.around
        token = surroundings.set(around)
        try:
            return self.fn(*args, **kwargs)
        except BaseException as exc:
            if not around._stopping:
                around.stop(exc)
            raise
        finally:
            surroundings.reset(token)
            del self, around  # no cycle through the traceback


class _Target:
    """The function of calls and the executor that runs them: one object for many calls.

    Attributes:
        call: What is submitted. A call that leaves this process is wrapped only if it takes a deadline along.
        watches: Whether the calls tell of their errors themselves. Then only the first of them gets a callback, for the
            case that the executor breaks.
    """

    __slots__ = ("call", "executor", "fn", "submit", "watches")

    def __init__(self, fn: Callable[..., Any], around: Scope, executor: standard.Executor) -> None:
        self.fn = fn
        self.executor = executor
        self.submit = executor.submit
        self.watches = around._may_watch and _runs_each_call_once(executor)
        self.call: Callable[..., Any] = fn
        if self.watches:
            self.call = _WatchingCall(fn, around)
        elif around.earliest is not None or _runs_here(executor):
            self.call = ScopedCall(fn, around)

    @property
    def name(self) -> str:
        return repr(call_name(self.fn))


def _runs_each_call_once(executor: standard.Executor) -> bool:
    """Return whether an error of a function is for certain the error of its call, and the function runs here."""
    if type(executor) is standard.ThreadPoolExecutor:
        return True
    try:
        return type(executor) is corefutures.ThreadPoolExecutor
    except (AttributeError, corefutures.BackendError):  # the backend is not installed
        return False


def _runs_here(executor: Any) -> bool:
    """Return whether calls of an executor may run in this process and interpreter, where they find their scope."""
    while isinstance(executor, RetryingExecutor):
        executor = executor.executor
    if isinstance(executor, _ISOLATING):  # before threads: the standard interpreter pool is a pool of threads
        return False
    if isinstance(executor, standard.ThreadPoolExecutor):
        return True
    capabilities = getattr(executor, "capabilities", None)
    return isinstance(capabilities, Capabilities) and capabilities.shares_memory


_ISOLATING: Final = tuple(
    pool for name in ("ProcessPoolExecutor", "InterpreterPoolExecutor") if (pool := getattr(standard, name, None))
)


class Scope:
    """A block that its calls don't outlive; made by `scope`, which has the arguments.

    On the first error, the deadline, an exception of the body, Ctrl-C or the end of the scope around it, the calls that
    are left are stopped by the strongest means that their executor has: withdrawn, killed, or asked to stop. The block
    then waits for them, and raises an `ExceptionGroup` of all errors, the body's own included. Notes of the group say
    for each stopped call by which means that was done. A `KeyboardInterrupt` or `SystemExit` of the body is raised as
    it is.

    Thread safety: `submit` may be called from any thread, also from calls and callbacks of the scope. The block is
    entered and left by one thread (or asyncio task).
    """

    def __init__(
        self,
        executor: standard.Executor | None = None,
        *,
        deadline: float | None = None,
        until: Until | Callable[[standard.Future[Any]], object] = "all",
        leave: Leave = "wait",
        name: str | None = None,
    ) -> None:
        if executor is not None:
            _check_executor("scope()", executor)
        if deadline is not None:
            if isinstance(deadline, bool) or not isinstance(deadline, (int, float)):
                raise TypeError(f"deadline must be a number of seconds or None, not {type(deadline).__name__}")
            if not deadline > 0:
                raise ValueError(f"deadline must be greater than 0 seconds, not {deadline!r}")
        if not callable(until) and until not in _UNTIL:
            raise ValueError(f"until must be a callable or one of {', '.join(map(repr, _UNTIL))}, not {until!r}")
        if leave not in _LEAVE:
            raise ValueError(f"leave must be one of {', '.join(map(repr, _LEAVE))}, not {leave!r}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {type(name).__name__}")
        self._executor = executor
        self._seconds = deadline
        self._until = until
        self._leave = leave
        self._name = name
        self._parent: Scope | None = None
        self._children: set[Scope] = set()
        # No lock: each of the lists only grows, by one step in C. The scope is settled when each call has ended and the
        # last two lists are equally long.
        #
        # Nothing outlives the block:
        # 1. `submit` puts a call into `_calls`, and then looks whether the scope is open: if not, it submits nothing;
        # 2. the block finds the scope settled, closes it, and then looks once more: if a call has come, it opens it
        # again. So either `submit` sees that the scope is closed, or the block sees the call.
        self._calls: list[list[Any]] = []  # of each its target and its future, None if it was refused; empty until then
        self._callbacks: list[None] = []  # one for each callback that was added
        self._settled: list[None] = []  # one for each that has been called
        # So many of the calls, from the first on, are known to have ended; written by the thread that leaves alone.
        self._passed = 0
        self._means: dict[standard.Future[Any], str] = {}  # by which calls were stopped
        self._last: _Target | None = None  # of the call submitted last
        self._wake: Callable[[], object] | None = None  # called when the scope is settled
        self._entered = self._closed = self._open = False
        self._alert = False  # whether `submit` has more to do: the scope is being stopped, or its block waits
        self._may_watch = until == "all"  # see `_Target`
        self._in_worker = False  # the block runs in a call of an executor, which may be asked to stop
        self._stopped: BaseException | None = None  # why the rest was stopped, None for a success
        self._stopping = False
        self._succeeded = False
        self._until_error: BaseException | None = None
        self._alarm: Alarm | None = None
        self._token: Token[Surroundings | None] | None = None
        self._deadline: float | None = None  # its own, by `time.monotonic`
        self.earliest: float | None = None  # of its own and those around it
        self._callback = self._on_end if until == "all" else self._on_end_until  # made once, not for each call
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._interrupted = False  # the body's task was, by this scope

    def __repr__(self) -> str:
        state = (
            "closed" if self._closed else "stopping" if self._stopping else "open" if self._entered else "not entered"
        )
        return f"<Scope{'' if self._name is None else f' {self._name!r}'}: {len(self._calls)} calls, {state}>"

    @property
    def name(self) -> str | None:
        """The name that was given, or None."""
        return self._name

    @property
    def futures(self) -> tuple[standard.Future[Any], ...]:
        """The futures of the calls so far, in the order submitted."""
        return tuple(future for _, future in self._submitted())

    @property
    def children(self) -> tuple[Scope, ...]:
        """The scopes that were opened inside this one, in this process, and are open."""
        return tuple(self._children)

    def snapshot(self) -> ScopeSnapshot:
        """Return which calls of this scope and of those inside it have not ended; `str` of it is a tree.

        Thread safety: may be called from any thread or signal handler.
        """
        left = [
            f"{target.name} {'runs' if future.running() else 'waits'}"
            for target, future in self._submitted() if not future.done()
        ]  # fmt: skip
        return ScopeSnapshot(
            "a scope" if self._name is None else f"scope {self._name!r}",
            "stopping" if self._stopping else "open",
            None if self._deadline is None else max(0.0, self._deadline - clock.monotonic()),
            tuple(left),
            tuple(child.snapshot() for child in list(self._children)),
        )

    # ── submitting ───────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, fn: Callable[..., _T], /, *args: Any, on: standard.Executor | None = None, **kwargs: Any
    ) -> standard.Future[_T]:
        """Have `fn(*args, **kwargs)` run as a call of this scope.

        Args:
            fn: The function.
            *args: Its positional arguments.
            on: The executor; None for the one of the scope.
            **kwargs: Its keyword arguments, of any name but `on`.

        Returns:
            The future of the call, an ordinary one. In a scope that is being stopped it is stopped at once.

        Raises:
            RuntimeError: The block has not begun or has ended, or the executor takes no calls.
            TypeError: `fn` is not callable, or `on` is no executor.

        Thread safety: may be called from any thread while the block is open.
        """
        target = self._last
        call: list[Any] = []
        self._calls.append(call)
        first = False
        try:
            if target is None or fn is not target.fn or on is not None or not self._open:
                target = self._make_target(fn, on)
                first = True
            future = target.submit(target.call, *args, **kwargs)
        except BaseException:
            call += target, None
            if self._wake is not None:
                self._wake_if_settled()
            raise
        call += target, future
        if first or not target.watches:
            self._callbacks.append(None)
            future.add_done_callback(self._callback)
        if self._alert:
            self._submit_late(future, target)
        return future

    def _submit_late(self, future: standard.Future[Any], target: _Target) -> None:
        if self._stopping:  # whoever stops sets this first, and then goes through the calls
            self._stop_call(target, future)
        if self._wake is not None:
            self._wake_if_settled()

    def _submitted(self) -> list[tuple[_Target, standard.Future[Any]]]:
        """Return the calls that have been submitted so far."""
        return [(call[0], call[1]) for call in list(self._calls) if call and call[1] is not None]

    def _make_target(self, fn: Callable[..., Any], on: standard.Executor | None) -> _Target:
        if not callable(fn):
            raise TypeError(f"submit() needs a callable, not {type(fn).__name__}")
        if on is not None:
            _check_executor("on", on)
        if not self._open:
            raise RuntimeError(
                f"cannot submit to {self!r}: " + ("its block has ended" if self._closed else "its block has not begun")
            )
        executor = self._executor if on is None else on
        if executor is not None:
            target = _Target(fn, self, executor)
            if on is None:
                self._last = target
            return target
        from corefutures_structured._default import default_executor  # here for start-up time only

        return _Target(fn, self, default_executor())  # another one, perhaps, for the next call

    def results(self) -> list[Any]:
        """Return the results of the calls that returned, in the order submitted.

        Raises:
            RuntimeError: The block has not ended.
        """
        if not self._closed:
            raise RuntimeError(f"the results of {self!r} are there when its block has ended")
        returned = [
            future for future in self.futures
            if future.done() and not future.cancelled() and future.exception() is None
        ]  # fmt: skip
        return [future.result() for future in returned]

    # ── ends of calls ────────────────────────────────────────────────────────────────────────────────────

    def _on_end(self, future: standard.Future[Any]) -> None:
        """Look at a call that has ended, with until="all"; runs in the thread that ended it."""
        try:
            if not self._stopping and (error := future.exception()) is not None:
                self.stop(error)
        except standard.CancelledError:
            pass
        finally:
            self._settle()

    def _on_end_until(self, future: standard.Future[Any]) -> None:
        """Look at a call that has ended, with another `until`; runs in the thread that ended it."""
        try:
            if self._stopping or self._until == "all_settled":
                return
            if self._until != "first_success":
                self._ask(future)
            elif not future.cancelled() and future.exception() is None:
                self._succeeded = True
                self.stop()
        finally:
            self._settle()

    def _ask(self, future: standard.Future[Any]) -> None:
        """Ask the callable whether the rest is to be stopped."""
        try:
            if self._until(future):  # type: ignore[operator]
                self._succeeded = True
                self.stop()
        except BaseException as exc:
            self._until_error = exc
            self.stop(exc)

    def _settle(self) -> None:
        self._settled.append(None)
        if self._wake is not None:
            self._wake_if_settled()

    def _wake_if_settled(self) -> None:
        wake = self._wake
        if wake is not None and len(self._settled) == len(self._callbacks):
            wake()

    def _close_or_wake(self, wake: Callable[[], object]) -> bool:
        """Close the scope if no call is left; else have `wake` called once none is, perhaps more than once."""
        self._wake = wake
        self._alert = True
        if self._is_settled():
            self._open = False
            if self._is_settled():
                self._closed = True
                return True
            self._open = True
        return False

    def _is_settled(self) -> bool:
        if self._first_left() is not None or not all(self._calls):
            return False
        # An interrupt may have hit a callback before it could do anything.
        interrupted = self._stopped is not None and not isinstance(self._stopped, Exception)
        return interrupted or len(self._settled) == len(self._callbacks)

    # ── stopping ─────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, reason: BaseException | None = None) -> None:
        """Stop all calls that are left, and those that will be submitted; returns without waiting for them.

        Args:
            reason: The error for which it is done; None for none.

        Thread safety: may be called from any thread, signal handler or callback, more than once.
        """
        if not self._stopping:
            self._stopped = reason
            self._stopping = self._alert = True
        for target, future in self._submitted():
            self._stop_call(target, future)
        for child in list(self._children):
            child._stop_from_outside()
        self._interrupt_task()

    def _stop_from_outside(self) -> None:
        self.stop(standard.CancelledError("the scope around this one was stopped"))

    def _stop_call(self, target: _Target, future: standard.Future[Any]) -> None:
        if future.done() or self._means.get(future) in (_KILLED, _ASKED):
            return
        if future.cancel():
            self._means[future] = _WITHDRAWN
            return
        for method, means in (("kill", _KILLED), ("request_cancel", _ASKED)):
            stop = getattr(target.executor, method, None)
            if stop is None:
                continue
            # Noted first: the call may end, and its error be looked at, before the method returns.
            self._means[future] = means
            try:
                if not stop(future):
                    self._means.pop(future, None)  # it had ended by itself
                return
            except corefutures.UnsupportedError:
                continue
        # In this process the request reaches any call: see `_is_around_stopping`.
        self._means[future] = _ASKED if isinstance(target.call, ScopedCall) and _runs_here(target.executor) else _LEFT
        if future.done():
            self._means.pop(future, None)

    def _at_earliest(self) -> None:
        if self.earliest == self._deadline:
            self.stop(TimeoutError(f"the deadline of the scope has passed ({self._seconds:g} s)"))
        else:
            self._stop_from_outside()

    # ── entering and leaving ─────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError(f"{self!r} can be entered once: make another one")
        around = surroundings.get()
        self._in_worker = in_worker()
        self._parent = around if isinstance(around, Scope) else None
        self.earliest = None if around is None else around.earliest
        if self._seconds is not None:
            self._deadline = clock.monotonic() + self._seconds
            if self.earliest is None or self._deadline < self.earliest:
                self.earliest = self._deadline
        if self.earliest is not None and (self._parent is None or self.earliest == self._deadline):
            self._alarm = timer.call_at(self.earliest, self._at_earliest)
        self._entered = self._open = True
        if self._parent is None:
            _open_scopes.add(self)
        else:
            self._parent._children.add(self)
            if self._parent._stopping:  # whoever stops sets this first, and then goes through the children
                self._stop_from_outside()
        self._token = surroundings.set(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        try:
            if error is not None:
                self.stop(error)
            interrupt = self._await_all()
        finally:
            self._detach()
        return self._raise_errors(error if interrupt is None else interrupt, error)

    def _detach(self) -> None:
        self._closed, self._open = True, False
        self._wake = None
        if self._alarm is not None:
            self._alarm.cancel()
        if self._parent is None:
            _open_scopes.discard(self)
        else:
            self._parent._children.discard(self)
        if self._token is not None:
            surroundings.reset(self._token)
            self._token = None

    def _await_all(self) -> BaseException | None:
        """Wait until all calls have ended, or, abandoning them, until they have had time to.

        Returns:
            The interrupt that came meanwhile.
        """
        interrupt: BaseException | None = None
        leave_at: float | None = None
        while True:
            try:
                if self._is_time_to_go(leave_at) or self._await_some(leave_at):
                    return interrupt
                if self._stopping and self._leave == "abandon" and leave_at is None:
                    leave_at = clock.monotonic() + GRACE
            except BaseException as exc:
                if interrupt is not None:  # the second one: whoever interrupts means it
                    raise
                interrupt = exc
                self.stop(exc)

    def _is_time_to_go(self, leave_at: float | None) -> bool:
        """Look at the clock and at requests; return whether the block goes without the calls that are left."""
        if leave_at is not None:
            return clock.monotonic() >= leave_at
        if not self._stopping:
            if self.earliest is not None and clock.monotonic() >= self.earliest:
                self._at_earliest()
            elif corefutures.cancel_requested():
                self._stop_from_outside()
        return False

    def _await_some(self, leave_at: float | None) -> bool:
        """Wait for a while; return whether all calls have ended and the scope is closed."""
        timeout = self._until_next_look(leave_at)
        left = self._first_left()
        if left is not None:
            # One by one, as they were submitted. A worker thread runs a call of its own pool instead of sleeping, so
            # that scopes in calls can't deadlock.
            try:
                left.exception(timeout)
            except (TimeoutError, standard.CancelledError):
                pass
            return False
        parker = _thread.allocate_lock()
        parker.acquire()
        if self._close_or_wake(partial(_unpark, parker)):
            return True
        parker.acquire(timeout=_LOOK_EVERY if timeout is None else timeout)
        return False

    def _first_left(self) -> standard.Future[Any] | None:
        """Return the first future that has not ended, None if there is none."""
        calls, passed = self._calls, self._passed
        while passed < len(calls):
            call = calls[passed]
            if not call:  # it is being submitted
                return next((future for _, future in self._submitted() if not future.done()), None)
            if call[1] is not None and not call[1].done():
                self._passed = passed
                future: standard.Future[Any] = call[1]
                return future
            passed += 1
        self._passed = passed
        return None

    def _until_next_look(self, leave_at: float | None) -> float | None:
        """Return the seconds that the block may sleep before something is to be looked at; None for any time."""
        if leave_at is not None:
            return max(0.0, leave_at - clock.monotonic())
        if self._stopping:
            return None if self._leave == "wait" else 0.0
        if not self._in_worker or (self._parent is not None and self._leave == "wait"):
            return None  # the timer, or the one that stops the outer scope, stops this one
        return _LOOK_EVERY  # the call that opened the scope may be asked to stop; only a look tells

    # ── errors ───────────────────────────────────────────────────────────────────────────────────────────

    def _raise_errors(self, error: BaseException | None, own: BaseException | None) -> bool:
        """Raise the errors of the scope, if there are any.

        Args:
            error: The body's error, or the interrupt that came while the block waited.
            own: The body's error.

        Returns:
            Whether the body's error goes no further.
        """
        if not self._stopping and self._may_watch:
            self._look_for_error()
        notes = self._notes()
        if error is not None and not isinstance(error, Exception):
            # KeyboardInterrupt, SystemExit, GeneratorExit, asyncio's CancelledError: the interpreter's, not the calls'
            for note in notes:
                add_note(error, note)
            if error is own:
                return False
            raise error
        errors: list[BaseException] = []
        if error is not None and not self._is_consequence(error):
            errors.append(error)
        if self._until_error is not None and self._until_error is not error:
            errors.append(self._until_error)
        stopped = self._stopped
        if isinstance(stopped, (TimeoutError, standard.CancelledError)) and all(stopped is not e for e in errors):
            errors.append(stopped)
        errors += self._call_errors(errors)
        if not errors:
            return True
        what = "a scope" if self._name is None else f"the scope {self._name!r}"
        group = BaseExceptionGroup(f"{what} failed", errors)
        for note in notes:
            group.add_note(note)
        try:
            raise group from None
        finally:
            del group, errors, error  # no cycle through the traceback

    def _look_for_error(self) -> None:
        """Stop the scope if a call has failed without telling it: because its executor broke."""
        for call in self._calls:
            if call[1] is not None:
                try:
                    if (error := call[1].exception()) is not None:
                        self.stop(error)
                        return
                except standard.CancelledError:
                    pass

    def _call_errors(self, known: list[BaseException]) -> list[BaseException]:
        if self._until == "first_success":
            if any(
                future.done() and not future.cancelled() and future.exception() is None
                for _, future in self._submitted()
            ):
                return []
        elif self._until != "all" or not self._stopping:
            return []
        found: list[BaseException] = []
        for target, future in self._submitted():
            if not future.done() or future.cancelled():
                continue
            error = future.exception()
            if error is None or (future in self._means and error is not self._stopped and _is_loss(error)):
                continue
            add_note(error, f"raised by the call {target.name} of the scope")
            if not any(error is other for other in (*known, *found)):
                found.append(error)
        return found

    def _is_consequence(self, error: BaseException) -> bool:
        """Return whether the body's error only says that a call of the scope was stopped."""
        if not self._stopping or self._stopped is error or self._succeeded:
            return False
        if _only_cancelled(error):
            return True
        return any(
            future.done() and not future.cancelled() and future.exception() is error and _is_loss(error)
            for future in list(self._means)
        )

    def _notes(self) -> list[str]:
        if not self._means:
            return []
        return [
            f"the call {target.name} {means if future.done() else _ABANDONED}"
            for target, future in self._submitted()
            if (means := self._means.get(future)) is not None and not self._is_reason(future)
        ]

    def _is_reason(self, future: standard.Future[Any]) -> bool:
        """Return whether the error of a call is the one for which the scope was stopped."""
        return future.done() and not future.cancelled() and future.exception() is self._stopped is not None

    # ── asyncio ──────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        self._may_watch = False  # the end of each call wakes the task
        self.__enter__()
        task = asyncio.current_task()
        assert task is not None
        self._task = asyncio.get_running_loop(), task
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._task is not None
        task = self._task[1]
        self._task = None  # from here on the body is not interrupted any more
        own = error
        try:
            if self._interrupted and isinstance(error, asyncio.CancelledError):
                self._interrupted = False
                if task.uncancel() == 0:
                    error = None  # the scope itself interrupted its body
            if error is not None:
                self.stop(error)
            error = await self._await_all_in_task(task) or error
        finally:
            self._detach()
        return self._raise_errors(error, own)

    async def _await_all_in_task(self, task: asyncio.Task[Any]) -> BaseException | None:
        """As `_await_all`, without blocking the event loop; a cancelled task stops the calls and goes on waiting."""
        loop = asyncio.get_running_loop()
        cancelled: BaseException | None = None
        leave_at: float | None = None
        while True:
            if self._is_time_to_go(leave_at):
                return cancelled
            if self._stopping and self._leave == "abandon" and leave_at is None:
                leave_at = clock.monotonic() + GRACE
            settled = asyncio.Event()
            if self._close_or_wake(partial(_call_in_loop, loop, settled.set)):
                return cancelled
            try:
                async with asyncio.timeout(self._until_next_look(leave_at)):
                    await settled.wait()
            except TimeoutError:
                pass
            except asyncio.CancelledError as exc:
                if self._interrupted:  # by the scope, too late for the body
                    self._interrupted = False
                    if task.uncancel() == 0:
                        continue
                cancelled = cancelled or exc
                self.stop(exc)

    def _interrupt_task(self) -> None:
        """Have the task of an `async with` block interrupted in its body, as `asyncio.TaskGroup` does."""
        entered = self._task
        if entered is None or self._succeeded:
            return
        loop, task = entered

        def interrupt() -> None:
            if self._task is not None and not self._interrupted:
                self._interrupted = True
                task.cancel()

        _call_in_loop(loop, interrupt)


def _is_around_stopping() -> bool:
    """Return whether the scope around the code that runs here is being stopped: a probe for `cancel_requested`."""
    around = surroundings.get()
    return isinstance(around, Scope) and around._stopping


add_cancel_probe(_is_around_stopping)


def _call_in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # the loop has been closed: its tasks are gone
        pass


def _unpark(parker: Any) -> None:
    try:
        parker.release()
    except RuntimeError:  # somebody else has
        pass


def _is_loss(error: BaseException) -> bool:
    """Return whether an error of a stopped call only says that it was stopped."""
    return isinstance(error, standard.BrokenExecutor) or _only_cancelled(error)


def _only_cancelled(error: BaseException) -> bool:
    """Return whether an error, or each in a group of a scope inside this one, says that something was cancelled."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_only_cancelled, error.exceptions))
    return isinstance(error, standard.CancelledError)


def _check_executor(what: str, executor: object) -> None:
    if not callable(getattr(executor, "submit", None)):
        raise TypeError(f"{what} needs an executor, an object with submit(), not {type(executor).__name__}")
