"""`AdaptedExecutor`: the executor that `adapt` returns; its table of calls and its end.

Touches the core's `Executor`, and the foreign executor's `submit` and `shutdown`. Guarantees: the foreign executor is
shut down once, when no call is left that it could lose.
"""

from __future__ import annotations

import contextlib
import logging
import weakref
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from corefutures._blocking import Lock, Parker, start_thread, threading
from corefutures._exceptions import BrokenExecutor
from corefutures._executor import Executor
from corefutures._foreign_code import for_each, log_failure
from corefutures._future import LOGGER, Future
from corefutures._instrumentation import instrumentation
from corefutures._options import check_flag, not_callable, shown
from corefutures.registry._description import Capabilities
from corefutures_pools.adapter.call import entered
from corefutures_pools.adapter.capabilities import check_adaptable, known_capabilities, takes_wait
from corefutures_pools.adapter.future import AdaptedFuture
from corefutures_pools.adapter.initializing import ThreadInitializer
from corefutures_pools.adapter.waiting import WaitingCalls
from corefutures_pools.blocking import at_once, join_thread
from corefutures_pools.cpu import usable_processors
from corefutures_pools.executor import PoolExecutor
from corefutures_pools.lifecycle import Lifecycle, register_at_exit
from corefutures_pools.options import check_count, check_initializer
from corefutures_pools.workers.chunking import CHUNK_SECONDS, CostModel, chunked_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from corefutures._results import ResultIterator
    from corefutures_pools.adapter.capabilities import Adaptable
    from corefutures_pools.adapter.encoding import CallEncoding
    from corefutures_pools.future import Call

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AFTER_SHUTDOWN: Final = "cannot schedule new futures after shutdown"
_AFTER_EXIT: Final = "cannot schedule new futures after interpreter shutdown"
_NOT_INITIALIZED: Final = "an initializer failed, and the executor is not usable anymore"
_FORKED: Final = "the process was forked, and the workers of an adapted executor stay with the parent"

#: The living adapters. At exit, pending calls run to their end, as those of the standard pools do.
_adapters = Lifecycle(
    close=lambda adapter: adapter._close_at_exit(),
    after_fork=lambda adapter: adapter._cf_after_fork_in_child(),
    # No `outlive_main`: the executor's threads, which end with it, can't be told from those that may submit calls.
)


#: The kinds of executors for which our step at exit has been registered after their own.
_steps_at_exit: weakref.WeakSet[type] = weakref.WeakSet()


def adapt(
    executor: Adaptable,
    /,
    *,
    capabilities: Capabilities | None = None,
    max_workers: int | None = None,
    serializer: str | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> AdaptedExecutor:
    """Wrap an executor of any origin, so that it keeps as much of the contract as can be added from outside.

    Args:
        executor: Anything with `submit(fn)`, whose futures have `add_done_callback` or at least `result`, and
            `shutdown()`, with or without the arguments `wait` and `cancel_futures`.
        capabilities: What it can do. None: what its own attribute `capabilities` says or, for the standard
            library's pools, is known; of others nothing is promised.
        max_workers: The number of calls that it runs at once: it gets no more than that. All others wait here, where
            they can be cancelled; a call that it has counts as running. For executors that cancel calls which run,
            that can't cancel at all, or that lose calls in their shutdown. None: it gets every call at once, which
            is faster where its workers take calls ahead.
        serializer: "cloudpickle": calls are pickled by `submit` and outcomes by the worker, by reference where that
            is possible, and the executor transports bytes. For executors that lose calls and exceptions which can't
            be pickled, or change others. Workers have to be able to import this package and cloudpickle. None: the
            executor pickles, if it has to.
        initializer: Called in each worker, by its first call and before it; if it raises, the executor is broken. For
            executors that have no initializers, or go on when one has failed. Workers that are no threads of this
            process need `serializer`.
        initargs: The arguments of `initializer`.

    Returns:
        An executor whose `shutdown` shuts `executor` down; dropping it does not. One that has been adapted already
        is returned as it is.

    Raises:
        TypeError: `executor` is a class or lacks one of the two methods, or an argument is of the wrong type.
        ValueError: `max_workers` is not positive, there is no such serializer or it is not installed, or an
            initializer can't be run for want of one.

    Thread safety: may be called from any thread.
    """
    if capabilities is not None and not isinstance(capabilities, Capabilities):
        raise TypeError(f"capabilities must be a Capabilities or None, not {shown(capabilities)}")
    check_count("max_workers", max_workers)
    initargs = check_initializer(initializer, initargs)
    options = (capabilities, max_workers, serializer, initializer)
    if isinstance(executor, AdaptedExecutor) and options == (None,) * len(options):
        return executor
    check_adaptable("adapt", executor)
    known = capabilities or known_capabilities(executor)
    encoding = initialize_thread = None
    if serializer is not None:
        from corefutures_pools.adapter.encoding import CallEncoding, check_serializer  # few executors need it

        check_serializer(serializer)
        encoding = CallEncoding(initializer, initargs)
    elif initializer is not None:
        if not known.shares_memory:
            raise ValueError(
                "initializer needs serializer='cloudpickle': without it, only executors whose capabilities say "
                "shares_memory can be given an initializer"
            )
        initialize_thread = ThreadInitializer(initializer, initargs)
    return AdaptedExecutor(executor, known, max_workers, encoding, initialize_thread)


class _RemoteTraceback(Exception):
    """The traceback of an exception that an item of a chunk raised elsewhere."""


class AdaptedExecutor(PoolExecutor):
    """What `adapt` returns: another executor behind our `submit`, `map`, `shutdown` and futures.

    Attributes:
        capabilities: What is known of the executor; false means not promised.
        encoding: How calls and outcomes travel; None if the executor pickles them, if it has to.
        waiting: The calls that the executor has no worker for; None if it gets every call at once.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    _remote_traceback: type[Exception] = _RemoteTraceback  # as in `chunked_map`
    _chunk_seconds = CHUNK_SECONDS  # as in `chunked_map`

    def __init__(
        self,
        executor: Adaptable,
        capabilities: Capabilities,
        max_workers: int | None = None,
        encoding: CallEncoding | None = None,
        initialize_thread: Callable[[], None] | None = None,
    ) -> None:
        self.capabilities: Final = capabilities
        self._cf_adapted = executor
        self.encoding = encoding
        self.initialize_thread = initialize_thread
        self.waiting = None if max_workers is None else WaitingCalls(max_workers, self._hand_over_later)
        self._cost_model = CostModel()
        # Where functions are pickled within one process, they may travel as code, but not as parts of an object.
        self._submits_bare = capabilities.same_process and not capabilities.shares_memory
        # Guards the eight below: a call is entered only while the executor is open, and no thread waits for the last
        # call after that has ended. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._refusal: str | None = None  # why submit raises, once it does
        self._breakage: BaseException | None = None  # what an initializer raised
        self._calls: dict[AdaptedFuture[Any], None] = {}  # those that have not ended, in the order submitted
        self._parked: list[Parker] = []  # of the threads that wait for the last call to end
        self._waiters: list[threading.Thread] = []  # threads that wait for futures without callbacks, and ended ones
        self._closes_later = False
        self._closing: _Closing | None = None
        self._most_waiters = 16  # the length of `_waiters` at which the ended threads are removed
        self._inherited = False  # in a forked child
        self._has_step_at_exit = False  # as in `_steps_at_exit`
        _adapters.add(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    def __repr__(self) -> str:
        return f"<adapted {self._cf_adapted!r}>"

    @property
    def _max_workers(self) -> int:
        """The number of workers, as far as it is known: for programs that divide their work by it."""
        if self.waiting is not None:
            return self.waiting.max_workers
        known = getattr(self._cf_adapted, "_max_workers", None)
        return known if isinstance(known, int) and known > 0 else usable_processors()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have the adapted executor run `fn(*args, **kwargs)`.

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
        call: Call = (fn, args, kwargs)
        unsent = None
        if self.encoding is not None:
            call, unsent = self.encoding.call(call)
        future: AdaptedFuture[_T] = AdaptedFuture(self, call, bare=self._submits_bare)
        if instrumentation.enabled:
            instrumentation.track_call(self, fn, future)
        before = entered.executors
        entered.executors = (*before, self)
        try:
            refusal = None
            if self._lock.taken:
                refusal = self._refusal
                if refusal is None:
                    self._calls[future] = None
                self._lock.release()
            if refusal is not None:
                raise self._refusal_error(refusal)
            if unsent is not None:
                future.fail(unsent)
            elif self.waiting is None or self.waiting.enter(future):
                self._hand_over(future)
        except BaseException:
            self.discard(future)
            if future._cf_observed is not None:
                future.end_revoked()
            raise
        finally:
            entered.executors = before
            del unsent  # no cycle from its traceback to this frame
        return future

    def _refusal_error(self, refusal: str) -> RuntimeError:
        if self._breakage is not None:
            return self._broken_error(self._breakage)
        return BrokenExecutor(refusal) if self._inherited else RuntimeError(refusal)

    def _broken_error(self, cause: BaseException) -> BrokenExecutor:
        error = BrokenExecutor(_NOT_INITIALIZED)
        error.__cause__ = cause
        return error

    def _cf_mark_broken(self, error: BaseException) -> BaseException:
        """Take no more calls, and fail those that wait, because an initializer raised `error`.

        Returns:
            The exception of the call whose worker could not be initialized.
        """
        calls, is_first = [], False
        if self._lock.taken:
            if is_first := self._breakage is None:
                self._breakage, self._refusal = error, _NOT_INITIALIZED
                calls = [*self._calls]
            self._lock.release()
        if is_first:
            log_failure(LOGGER, "Exception in initializer:", level=logging.CRITICAL, error=error)
        for future in calls:
            if not future.running():
                future.fail(self._broken_error(error))
        return self._broken_error(error)

    def _hand_over(self, future: AdaptedFuture[Any]) -> None:
        """Submit a call to the adapted executor.

        Raises:
            BaseException: Whatever its `submit` raises.
        """
        call = future.call
        if self.waiting is not None and not future._cf_try_start():
            self.waiting.leave(future)  # it was cancelled
        elif self._submits_bare:
            fn, args, kwargs = future._cf_fn, future._cf_args, future._cf_kwargs
            future.follow(self._cf_adapted.submit(fn, *args, **kwargs))  # type: ignore[misc, arg-type]
        elif call is not None:  # else it was cancelled
            future.follow(self._cf_adapted.submit(call))
        if self.waiting is not None and not self._has_step_at_exit:
            if (kind := type(self._cf_adapted)) not in _steps_at_exit:
                # Its own step at exit, which refuses calls, may have been registered just now. Ours has to run first.
                _steps_at_exit.add(kind)
                with contextlib.suppress(RuntimeError):  # the interpreter ends already
                    register_at_exit()
            self._has_step_at_exit = True

    def _hand_over_later(self, future: AdaptedFuture[Any]) -> None:
        """Submit a call that has waited; if that fails, the call fails."""
        before = entered.executors
        entered.executors = (*before, self)
        try:
            self._hand_over(future)
        except BaseException as exc:
            future.fail(exc)
        finally:
            entered.executors = before

    def _cf_map(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
    ) -> ResultIterator[_T]:
        if chunksize == 1 or not self.capabilities.pickles or self._submits_bare:
            return super()._cf_map(submit, fn, iterables, timeout, chunksize, buffersize)
        return chunked_map(
            submit,
            fn,
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
            workers=self._max_workers,
            pace=self._cost_model,
            remote_traceback=self._remote_traceback,
            chunk_seconds=self._chunk_seconds,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and shut the adapted executor down once the calls it has are done.

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
        self._end(_AFTER_SHUTDOWN, wait and self not in entered.executors, cancel_futures)

    def _end(self, refusal: str, wait: bool, cancel_futures: bool) -> None:
        if self._lock.taken:
            self._refusal = self._refusal or refusal
            self._lock.release()
        try:
            if cancel_futures:
                for_each(lambda future: future.cancel(), list(self._calls))
        finally:
            if wait:
                self._await_calls()
                self._close()
            else:
                self._close_later()

    def _await_calls(self) -> None:
        """Return when no call is left: the adapted executor is shut down with nothing that it could lose."""
        parker = Parker()
        added, waits = (parker,), False
        if self._lock.taken:
            if self._calls:
                waits = True
                self._parked += added
            self._lock.release()
        if waits:
            parker.park()

    def discard(self, future: AdaptedFuture[Any]) -> None:
        """Remove a call that has ended, and wake the threads that wait for the last one."""
        parked: list[Parker] = []
        self._calls.pop(future, None)
        if self.waiting is not None:
            self.waiting.leave(future)
        if self._lock.taken:
            if not self._calls:
                parked, self._parked = self._parked, parked
            self._lock.release()
        for parker in parked:
            parker.unpark()

    def wait_in_thread(self, wait: Callable[[], object]) -> None:
        """Have a thread call `wait`, which returns when a call has ended; the executor's end waits for that thread."""
        # A daemon: whether the process may end is for the executor to say.
        waiter = threading.Thread(target=wait, name="corefutures-waiting", daemon=True)
        try:
            start_thread(waiter)
        except RuntimeError:  # the foreign executor has the call: wait here rather than leave its future without an end
            LOGGER.warning("no thread could be started to wait for a call: submit() does", exc_info=True)
            wait()
            return
        self._waiters.append(waiter)
        if len(self._waiters) > self._most_waiters:  # seldom, so that each of many calls costs the same
            for thread in list(self._waiters):
                if not thread.is_alive():
                    with contextlib.suppress(ValueError):  # another thread has removed it
                        self._waiters.remove(thread)
            self._most_waiters = 2 * len(self._waiters) + 16

    def _close(self) -> None:
        """Shut the adapted executor down: one thread does it, the others wait for that thread."""
        closing = own = _Closing()
        if self._lock.taken:
            self._closing = closing = self._closing or own
            self._lock.release()
        if closing is not own:
            if closing.thread != threading.get_ident():  # in the foreign shutdown, this thread would wait for itself
                while not closing.over.wait(at_once()):
                    pass
            return
        try:
            for waiter in list(self._waiters):
                join_thread(waiter)
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
        """Have a thread shut the adapted executor down when its calls have ended."""
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
            # A daemon: at the end of the interpreter `_close_at_exit` waits for the calls, and for nothing more.
            start_thread(threading.Thread(target=close, name="corefutures-closing", daemon=True))
        except RuntimeError:  # no thread can be started, as at the end of the interpreter
            if not self._inherited:
                self._shut_adapted_down(wait=False)

    def _shut_adapted_down(self, wait: bool) -> None:
        shutdown = self._cf_adapted.shutdown
        if takes_wait(shutdown):
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
        if isinstance(self._cf_adapted, Executor):  # one of ours renews itself
            refusal = self._refusal
        else:
            self._inherited = True
            refusal = self._refusal or _FORKED
        self._lock = Lock()
        self._refusal = refusal
        self._parked, self._waiters, self._closing = [], [], None
        if self.waiting is not None:
            self.waiting = WaitingCalls(self.waiting.max_workers, self._hand_over_later)
        calls, self._calls = list(self._calls), {}
        for future in calls:
            future._cf_renew_lock()
            future._cf_abandon(BrokenExecutor(f"{_FORKED}: this call, pending then, runs there only"))
            future.release()


class _Closing:
    """One shutdown of an adapted executor: the thread that does it, and its end."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.over = threading.Event()
