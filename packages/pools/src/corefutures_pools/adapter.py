"""`adapt`: gives an executor that has only `submit` and `shutdown` what of the contract can be added from outside.

Touches `_executor`, `_future` and the foreign executor's public methods. Guarantees: no lock of ours is held while
foreign code runs; a call that the foreign executor has neither started nor pickled can be cancelled; every future
ends when the foreign one does.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any, Final, ParamSpec, Protocol, TypeVar

from corefutures._blocking import Lock, Parker, start_thread
from corefutures._exceptions import BrokenExecutor, CancelledError
from corefutures._executor import Executor
from corefutures._foreign_code import for_each, log_failure
from corefutures._future import DONE, LOGGER, PENDING, RUNNING, Future
from corefutures._instrumentation import instrumentation
from corefutures._options import check_flag, not_callable, shown
from corefutures.registry._description import Capabilities
from corefutures_pools.cpu import usable_processors
from corefutures_pools.exceptions import drop_frame
from corefutures_pools.executor import PoolExecutor
from corefutures_pools.future import PoolFuture
from corefutures_pools.helping import run_call
from corefutures_pools.lifecycle import Lifecycle
from corefutures_pools.workers.chunking import CostModel, chunked_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from corefutures._results import ResultIterator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AFTER_SHUTDOWN: Final = "cannot schedule new futures after shutdown"
_AFTER_EXIT: Final = "cannot schedule new futures after interpreter shutdown"
_FORKED: Final = "the process was forked, and the workers of an adapted executor stay with the parent"


class Adaptable(Protocol):
    """What `adapt` needs of an executor; whatever else it has is not asked for."""

    @property
    def submit(self) -> Callable[..., Any]: ...

    @property
    def shutdown(self) -> Callable[..., Any]: ...


def adapt(executor: Adaptable, /, *, capabilities: Capabilities | None = None) -> AdaptedExecutor:
    """Wraps an executor of any origin, so that it keeps as much of the contract as can be added from outside.

    Args:
        executor: Anything with `submit(fn)`, whose futures have `add_done_callback` or at least `result`, and
            `shutdown()`, with or without the arguments `wait` and `cancel_futures`.
        capabilities: What it can do. None: what its own attribute `capabilities` says or, for the standard
            library's pools, is known; of others nothing is promised.

    Returns:
        An executor whose `shutdown` shuts `executor` down; dropping it does not. One that has been adapted already
        is returned as it is.

    Raises:
        TypeError: `executor` is a class, lacks one of the two methods, or `capabilities` are none.

    Thread safety: may be called from any thread.
    """
    if capabilities is not None and not isinstance(capabilities, Capabilities):
        raise TypeError(f"capabilities must be a Capabilities or None, not {shown(capabilities)}")
    if isinstance(executor, AdaptedExecutor) and capabilities is None:
        return executor
    check_adaptable("adapt", executor)
    return AdaptedExecutor(executor, capabilities or _known_capabilities(executor))


def check_adaptable(taker: str, executor: object) -> None:
    """Raises TypeError if `executor` is none, for the function `taker`."""
    if isinstance(executor, type):
        raise TypeError(f"{taker}() takes an executor, not its class: {taker}({executor.__name__}(...))")
    for verb in ("submit", "shutdown"):
        if not callable(getattr(executor, verb, None)):
            kind = type(executor).__name__
            raise TypeError(f"{taker}() takes an executor, not {shown(executor)}: {kind} has no {verb}()")


def _known_capabilities(executor: Adaptable) -> Capabilities:
    own = getattr(executor, "capabilities", None)
    if isinstance(own, Capabilities):
        return own
    # By their own names: programs put other classes in the places of the standard ones.
    standard = {kind.__name__ for kind in type(executor).__mro__ if kind.__module__.startswith("concurrent.futures.")}
    if "InterpreterPoolExecutor" in standard:  # a thread pool by type, so it is first
        return Capabilities(same_process=True, pickles=True)
    if "ThreadPoolExecutor" in standard:
        return Capabilities(same_process=True, shares_memory=True)
    if "ProcessPoolExecutor" in standard:
        return Capabilities(pickles=True)
    return Capabilities()


class _Whereabouts(threading.local):
    """The adapted executors that the current thread is inside of: in `submit`, in a call or in a callback."""

    executors: tuple[AdaptedExecutor, ...] = ()


_here = _Whereabouts()

#: At the end of the interpreter, pending calls run to their end, as those of the standard pools do.
_adapters = Lifecycle(
    close=lambda adapter: adapter._close_at_exit(), after_fork=lambda adapter: adapter._cf_after_fork_in_child()
)


class AdaptedExecutor(PoolExecutor):
    """What `adapt` returns: another executor behind our `submit`, `map`, `shutdown` and futures.

    Attributes:
        capabilities: What is known of the executor; false means not promised.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    @property
    def _max_workers(self) -> int:
        """How many workers there are, as far as is known: for those that divide their work by it."""
        known = getattr(self._cf_adapted, "_max_workers", None)
        return known if isinstance(known, int) and known > 0 else usable_processors()

    def __init__(self, executor: Adaptable, capabilities: Capabilities) -> None:
        self.capabilities: Final = capabilities
        self._cf_adapted = executor
        self._pace = CostModel()
        # Where functions travel without memory being shared they may travel as code, but not as parts of an object.
        self._sends_bare = capabilities.same_process and not capabilities.shares_memory
        # Guards the seven below: a call is entered only while the executor is open, and nobody waits for the last
        # call after it has gone. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._refusal: str | None = None  # why submit raises, once it does
        self._calls: dict[AdaptedFuture[Any], None] = {}  # those that have not ended, in the order submitted
        self._parked: list[Parker] = []  # of the threads that wait for the last call to end
        self._watchers: list[threading.Thread] = []  # for futures that can't tell of their end; some have done it
        self._most_watchers = 16
        self._closes_later = False
        self._closing: _Closing | None = None
        self._inherited = False  # in a forked child
        _adapters.add(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    def __repr__(self) -> str:
        return f"<adapted {self._cf_adapted!r}>"

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Has the adapted executor run `fn(*args, **kwargs)`.

        Args:
            fn: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names, also those that the adapted executor would keep.

        Returns:
            The future of the call.

        Raises:
            TypeError: `fn` is not callable, or the adapted executor returned what is no future.
            RuntimeError: The executor has been shut down, or is broken (`BrokenExecutor`).
            BaseException: Whatever else the adapted executor's `submit` raised.
        """
        if not callable(fn):
            raise not_callable("submit", fn)
        future: AdaptedFuture[_T] = AdaptedFuture(self, fn, args, kwargs)
        future._cf_dispatched = self._sends_bare
        if instrumentation.enabled:
            instrumentation.track_call(self, fn, future)
        before, _here.executors = _here.executors, (*_here.executors, self)
        try:
            refusal = None
            if self._lock.taken:
                refusal = self._refusal
                if refusal is None:
                    self._calls[future] = None
                self._lock.release()
            if refusal is not None:
                raise BrokenExecutor(refusal) if self._inherited else RuntimeError(refusal)
            if self._sends_bare:
                future._follow(self._cf_adapted.submit(fn, *args, **kwargs))
            else:
                future._call = _Call(future)
                future._follow(self._cf_adapted.submit(future._call))
        except BaseException:
            self._strike(future)
            if future._cf_observed is not None:
                future._cancel_as_told()
            raise
        finally:
            _here.executors = before
        return future

    def _cf_map(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
    ) -> ResultIterator[_T]:
        if chunksize == 1 or not self.capabilities.pickles or self._sends_bare:
            return super()._cf_map(submit, fn, iterables, timeout, chunksize, buffersize)
        return chunked_map(
            submit,
            fn,
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
            workers=getattr(self._cf_adapted, "_max_workers", None) or usable_processors(),
            pace=self._pace,
            remote_traceback=_RemoteTraceback,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls, and shuts the adapted executor down once those it has are done.

        Args:
            wait: Whether to return only when that has happened. Called from a call, a callback or a signal handler
                that interrupts `submit`, it does not wait.
            cancel_futures: Whether to cancel the calls that have not started.

        Raises:
            BaseException: Whatever the adapted executor's `shutdown` raised, the first time; a thread that nobody
                waits for logs it.
        """
        check_flag("wait", wait)
        check_flag("cancel_futures", cancel_futures)
        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        self._end(_AFTER_SHUTDOWN, wait and self not in _here.executors, cancel_futures)

    def _end(self, refusal: str, wait: bool, cancel_futures: bool) -> None:
        if self._lock.taken:
            self._refusal = self._refusal or refusal
            self._lock.release()
        try:
            if cancel_futures:
                self._cancel_all()
        finally:
            if wait:
                self._await_calls()
                self._close()
            else:
                self._close_later()

    def _cancel_all(self) -> None:
        """Cancels the calls that have not started; what their callbacks raise is raised at the end (F4)."""
        for_each(lambda future: future.cancel(), list(self._calls))

    def _await_calls(self) -> None:
        """Returns when no call is left: the adapted executor is shut down with nothing that it could lose."""
        parker = Parker()
        added, waits = (parker,), False
        if self._lock.taken:
            if self._calls:
                waits = True
                self._parked += added
            self._lock.release()
        if waits:
            parker.park()

    def _strike(self, future: AdaptedFuture[Any]) -> None:
        """Takes a call off the list, and lets those pass who wait for the last one."""
        parked: list[Parker] = []
        self._calls.pop(future, None)
        if self._lock.taken:
            if not self._calls:
                parked, self._parked = self._parked, parked
            self._lock.release()
        for parker in parked:
            parker.unpark()

    def _close(self) -> None:
        """Shuts the adapted executor down: one thread does it, the others wait for that."""
        closing = own = _Closing()
        if self._lock.taken:
            self._closing = closing = self._closing or own
            self._lock.release()
        if closing is not own:
            if closing.thread != threading.get_ident():  # not from within the foreign shutdown, which it would wait for
                closing.over.wait()
            return
        try:
            for watcher in list(self._watchers):
                watcher.join()
            if not self._inherited:
                self._shut_adapted_down(wait=True)
        except Exception:
            raise
        except BaseException:
            self._closing = None  # interrupted: the next shutdown tries again
            raise
        finally:
            closing.over.set()

    def _close_later(self) -> None:
        """Shuts the adapted executor down when its calls are done, in a thread of its own; does not wait for it."""
        known = False
        if self._lock.taken:
            known, self._closes_later = self._closes_later, True
            self._lock.release()
        if known:
            return

        def close() -> None:
            try:
                self._await_calls()
                self._close()
            except BaseException:
                log_failure(LOGGER, "shutting down %r failed", self)

        try:
            # A daemon: at the end of the interpreter `_close_all` waits for the calls; it waits for nothing more.
            start_thread(threading.Thread(target=close, name="corefutures-closing", daemon=True))
        except RuntimeError:  # no thread can be started, as at the end of the interpreter
            if not self._inherited:
                self._shut_adapted_down(wait=False)

    def _shut_adapted_down(self, wait: bool) -> None:
        shutdown = self._cf_adapted.shutdown
        if _takes_wait(shutdown):
            shutdown(wait=wait)
        elif wait:
            shutdown()

    def _close_at_exit(self) -> None:
        try:
            self._end(_AFTER_EXIT, wait=True, cancel_futures=False)
        except Exception:
            log_failure(LOGGER, "shutting down %r failed", self)

    def _cf_after_fork_in_child(self) -> None:
        """Leave the calls to the parent, and refuse others at once: the workers are missing here (E11)."""
        if isinstance(self._cf_adapted, Executor):  # ours: it goes on by itself
            refusal = self._refusal
        else:
            self._inherited = True
            refusal = self._refusal or _FORKED
        self._lock = Lock()
        self._refusal = refusal
        self._parked, self._watchers, self._closing = [], [], None
        calls, self._calls = list(self._calls), {}
        for future in calls:
            future._cf_renew_lock()
            future._cf_abandon(BrokenExecutor(f"{_FORKED}: this call, pending then, runs there only"))
            future._on_worker_exiting()


class _RemoteTraceback(Exception):
    """The traceback of an exception that an item of a chunk raised elsewhere."""


class _Closing:
    """One shutdown of an adapted executor: who does it, and when it is over."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.over = threading.Event()


class AdaptedFuture(PoolFuture[_T]):
    """The future of a call that another executor runs, fed by that executor's own future."""

    _call: _Call | None = None  # what the other executor has of it
    _foreign: Any = None  # the other executor's future, until this one has ended
    _recalled_in = 0  # the thread that asks it to cancel, and ends this one itself if that succeeds
    _executor: AdaptedExecutor | None  # keeps it alive while the call is pending

    def __init__(
        self, executor: AdaptedExecutor, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Makes a pending future for `fn(*args, **kwargs)`."""
        super().__init__(fn, args, kwargs)
        self._executor = executor

    # `_cf_dispatched` is true once somebody else may have a copy of the call: it was pickled, or went out bare.
    #
    # A waiting call is cancelled in one of two ways. While this future alone has it, here: the foreign executor's
    # workers find nothing to do, and its own future is left alone, because there are workers that don't survive the end
    # of a future before their own. Once a copy has been made, only the foreign executor can say whether it has started,
    # and `_foreign.cancel()` decides.

    def cancel(self) -> bool:
        """Cancels the call unless it runs or has ended; every waiter is awake when this returns.

        Returns:
            True if the call is cancelled now, False if it runs, has finished, or is past recall.
        """
        if self._state in DONE:
            return self.cancelled()
        if self._cf_try_cancel(notified=True):
            self._end_cancelled()
        elif self._cf_dispatched and (foreign := self._foreign) is not None and not _asked(foreign, "running"):
            self._recalled_in = threading.get_ident()
            if _asked(foreign, "cancel") or _asked(foreign, "cancelled"):
                self._cancel_as_told()
        return self.cancelled()

    def running(self) -> bool:
        """Returns True while the call is known to run: its start was seen, or the foreign future says so."""
        if self._state == PENDING and self._cf_dispatched and (foreign := self._foreign) is not None:
            return bool(_asked(foreign, "running")) and self._state not in DONE
        return self._state == RUNNING

    def _start(self) -> tuple[Callable[..., _T], tuple[Any, ...], dict[str, Any]] | None:
        """Marks the call as running and returns it; None if it has been cancelled.

        An executor may call it again, to repeat what has failed: the call is kept until the future ends.
        """
        call = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is not done afterwards
        return call if self._cf_try_start() or self._state == RUNNING else None  # type: ignore[return-value]

    def _copy(self) -> tuple[Any, ...] | None:
        """Returns how to pickle the call: as the standard library's `partial`, which any worker can import.

        Returns:
            What `__reduce__` returns; None if the call was cancelled.
        """
        fn, args, kwargs = self._cf_fn, self._cf_args, self._cf_kwargs  # whole, if the future is not done afterwards
        if not self._cf_try_dispatch():
            return None
        return functools.partial(fn, *args, **kwargs).__reduce__()  # type: ignore[arg-type, misc, return-value]

    def _follow(self, foreign: Any) -> None:
        """Takes over the outcome of `foreign` when it has one."""
        self._foreign = foreign
        if self._state in DONE:  # cancelled meanwhile
            self._foreign = None
            return
        subscribe = getattr(foreign, "add_done_callback", None)
        if callable(subscribe):
            subscribe(self._take_over)
        elif callable(getattr(foreign, "result", None)):
            self._watch(foreign)
        else:
            raise TypeError(
                f"submit() of the adapted executor returned {foreign!r:.80}, which is no future: it has neither "
                "add_done_callback() nor result()"
            )

    def _watch(self, foreign: Any) -> None:
        """Has a thread wait for the end of a future that can't tell of it."""
        executor = self._executor
        if executor is None:
            return
        # A daemon: whether the process may end is for the executor to say.
        watcher = threading.Thread(target=self._take_over, args=(foreign,), name="corefutures-watching", daemon=True)
        try:
            start_thread(watcher)
        except RuntimeError:  # the call has been taken: rather wait here than leave its future without an end
            LOGGER.warning("no thread could be started to wait for a call: submit() does", exc_info=True)
            self._take_over(foreign)
            return
        executor._watchers.append(watcher)
        if len(executor._watchers) > executor._most_watchers:  # looked through seldom: many calls cost the same each
            for thread in list(executor._watchers):
                if not thread.is_alive():
                    with contextlib.suppress(ValueError):  # another thread was faster
                        executor._watchers.remove(thread)
            executor._most_watchers = 2 * len(executor._watchers) + 16

    def _take_over(self, foreign: Any) -> None:
        """Ends as `foreign` has ended; runs in a thread of the foreign executor, or in one that waits for it."""
        executor = self._executor
        if executor is None:
            return
        before, _here.executors = _here.executors, (*_here.executors, executor)
        error: BaseException | None = None
        try:
            cancelled, result, error = _outcome(foreign)
            if cancelled and self._recalled_in == threading.get_ident():
                return
            if cancelled:
                self._cancel_as_told()
            elif self._cf_settle(result, error):
                self._cf_notify_in_worker()
            self._on_worker_exiting()
        except BaseException:  # of a callback: a worker of the other executor's logs it (F4)
            log_failure(LOGGER, "exception calling callback for %r", self)
        finally:
            _here.executors = before
            del error, executor, before  # no cycle from an error's traceback to this frame

    def _cancel_as_told(self) -> None:
        """Ends because the foreign future was cancelled; if the call had started, with that as its error (F1)."""
        if self._cf_try_cancel(notified=True, recalled=True):
            self._end_cancelled()
        else:
            self._cf_abandon(CancelledError("the executor gave the call up while it ran"))
            self._on_worker_exiting()

    def _end_cancelled(self) -> None:
        self._on_worker_exiting()
        if self._cf_watched:
            self._cf_notify()

    def _on_worker_exiting(self) -> None:
        """Drops whatever the ended future holds, and tells the executor."""
        self._cf_forget_call()
        executor, self._executor, self._foreign = self._executor, None, None
        call, self._call = self._call, None
        if call is not None:
            call.future = None  # frames in the traceback of an error may refer to the call: no cycle (F6)
        if executor is not None:
            executor._strike(self)


class _Call:
    """What the foreign executor gets to call, without arguments.

    Where it arrives as it is, it tells its future of the start. Where it is pickled, the bare call travels.
    """

    __slots__ = ("future",)

    def __init__(self, future: AdaptedFuture[Any]) -> None:
        self.future: AdaptedFuture[Any] | None = future  # None once it has ended

    @property
    def __name__(self) -> str:
        """What listings and keys of the foreign executor may show."""
        future = self.future
        fn = None if future is None else future._cf_fn
        return str(getattr(fn, "__name__", type(fn).__name__))

    def __call__(self) -> Any:
        future = self.future
        executor = None if future is None else future._executor
        call = None if future is None else future._start()
        if call is None or executor is None:
            return None  # cancelled; an error might be logged, or the call repeated
        error = None
        before, _here.executors = _here.executors, (*_here.executors, executor)
        try:
            result, error = run_call(future, *call)
            if error is not None:
                raise error
            return result
        finally:
            _here.executors = before
            del self, call, future, executor, error  # an exception's traceback refers to this frame: no cycle (F6)

    def __reduce__(self) -> tuple[Any, ...]:
        future = self.future
        # One that was cancelled does nothing, wherever it is unpickled and called.
        copy = None if future is None else future._copy()
        return copy or (functools.partial, (bool,))


def _outcome(foreign: Any) -> tuple[bool, Any, BaseException | None]:
    """Whether a foreign future was cancelled, what its call returned, what it raised: by public methods alone."""
    try:
        if _asked(foreign, "cancelled"):
            return True, None, None
        # Not by result() alone: raising a stored exception would lengthen its traceback.
        ask = getattr(foreign, "exception", None)
        error: Any = ask() if callable(ask) else None
        return False, (foreign.result() if error is None else None), error
    except BaseException as exc:
        drop_frame(exc)  # this one
        return bool(_asked(foreign, "cancelled")), None, exc


def _asked(foreign: Any, question: str) -> Any:
    """What a method of a foreign future answers; None if it has none, or fails."""
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


def _takes_wait(shutdown: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(shutdown).parameters
    except (TypeError, ValueError):  # one that can't be looked into
        return False
    return "wait" in parameters or any(given.kind is given.VAR_KEYWORD for given in parameters.values())
