"""`ThreadPoolExecutor`: the manual's thread pool on a `Crew`; its end when dropped, and after a fork.

Touches the door and `_crew`; what a pool needs, and not its class, is imported with the first one, by `_pools`.
"""

from __future__ import annotations

import concurrent.futures.thread as _standard
import itertools
import threading
import warnings
import weakref
from concurrent.futures.thread import BrokenThreadPool
from queue import LifoQueue, PriorityQueue, Queue

from corefutures_pools.executor import PoolExecutor, check_at_exit, unreachable, unsupported
from corefutures_pools.lifecycle import Lifecycle
from corefutures_pools.options import (
    check_flag,
    check_initializer,
    check_max_workers,
    check_seconds,
    check_text,
    not_callable,
    shown,
)
from corefutures_pools.replaced_submit import Seen, StandardSubmit

TYPE_CHECKING = False  # as in `corefutures`: spawned workers run the main module's imports, and do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from corefutures.backend import Future
    from corefutures_pools.future import PoolFuture
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.instrumentation import instrumentation
    from corefutures_pools.options import AtExit, ContextOption, WhenFull
    from corefutures_pools.stats import Stats
    from corefutures_thread._crew import Crew

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"

#: The living pools. At exit, the threads, which are no daemons, end once their calls are done.
pools = Lifecycle(
    close=lambda pool: pool._cf_close_at_exit(),
    join=lambda pool: pool._cf_crew.join(),
    after_fork=lambda pool: pool._cf_after_fork_in_child(),
)

_StandardPool = _standard.ThreadPoolExecutor


def _stand_in(executor: ThreadPoolExecutor) -> Any:
    from corefutures_thread._stand_in import ThreadStandIn  # here for start-up time only

    return ThreadStandIn(executor)


_submit = StandardSubmit(_StandardPool, "_work_queue", _stand_in)


class ThreadPoolExecutor(PoolExecutor, _standard.ThreadPoolExecutor):
    """Runs calls in a pool of threads.

    A subclass of the standard library's class by type only: no method is inherited.

    Args:
        max_workers: How many threads at most; None for `min(32, n + 4)`, where n is the number of processors that
            this process may use, by its affinity and its container's limit.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called in each thread before its first call. If it fails, the pool is broken.
        initargs: The arguments for `initializer`.
        context: "copy" has each call run in a copy of its submitter's context variables, a list of names such as
            `["package.module:variable"]` in a context of only those; None leaves that to the running Python, as the
            standard library does.
        max_pending: How many calls may wait to be started; None for any number.
        when_full: What `submit` does beyond that: "block" until there is room (a call of the pool itself runs the
            new one instead), "raise" a `PoolFullError`, or "caller_runs" it in the submitter's thread.
        at_exit: What becomes of the calls when the interpreter ends: "wait" for them, or "cancel" those that wait
            and ask those that run (see `cancel_requested`).
        inner_threads: Nothing but None: the threads of BLAS and OpenMP can be limited for each process only.
        forward_logs: Without effect, as in the other pools' True: what threads log is handled here in any case.

    Raises:
        ValueError: `max_workers` or `max_pending` is not positive, or an option is none of those named.
        TypeError: `max_workers` or `max_pending` is no number, `initializer` is not callable, or a name in `context`
            is not that of a variable.
        UnsupportedError: `at_exit` is "kill": threads can't be killed. Or there are `inner_threads`.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    BROKEN = BrokenThreadPool
    _cf_starts_threads = False  # a subclass does: see `_own_threads`

    _counter = itertools.count().__next__

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        context: ContextOption = None,
        inner_threads: None = None,
        max_pending: int | None = None,
        when_full: WhenFull = "block",
        at_exit: AtExit = "wait",
        forward_logs: bool = False,
    ) -> None:
        if self._cf_starts_threads:
            from corefutures_thread._own_threads import begin  # few programs need it

            begin(
                self, max_workers, thread_name_prefix, initializer, initargs,
                context=context, inner_threads=inner_threads, max_pending=max_pending, when_full=when_full,
                at_exit=at_exit, forward_logs=forward_logs,
            )  # fmt: skip
            return
        import corefutures_thread._pools  # noqa: F401 - here for start-up time only

        max_workers = check_max_workers(max_workers)
        if thread_name_prefix is not None:  # as the standard library takes it
            check_text("thread_name_prefix", thread_name_prefix)
        initargs = check_initializer(initializer, initargs)
        check_flag("forward_logs", forward_logs)
        if inner_threads is not None:
            raise unsupported(self, "limit the threads of BLAS and OpenMP")
        if context is not None:
            self._cf_take_context = _taker(context)
        check_at_exit(self, at_exit, "threads")
        self._cf_copies_context = context is not None
        self._cf_limiter_options = (max_pending, when_full)
        self._cf_is_special = context is not None or max_pending is not None
        self._cf_at_exit = at_exit
        self._max_workers = max_workers
        self._thread_name_prefix: str = thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"
        self._initializer: Callable[..., object] | None = initializer  # type: ignore[assignment, unused-ignore]
        self._initargs = initargs
        self._cf_crew = self._cf_assemble()
        if pools.exiting:
            self._cf_crew.close(RuntimeError(AFTER_EXIT))
        _submit.is_recoded()
        pools.add(self)
        from corefutures_pools.inspection.registration import register_pool  # here for start-up time only

        register_pool(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Has `fn(*args, **kwargs)` run in one of the threads.

        Args:
            fn: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call.

        Raises:
            TypeError: `fn` is not callable.
            BrokenThreadPool: An initializer has failed.
            RuntimeError: The pool has been shut down, the interpreter ends, or no thread can be started.
        """
        crew = self._cf_crew
        if crew.idle or not crew.staffed:
            if crew.closed:
                raise crew.refuse()
            _submit.is_recoded()
        if not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        if _StandardPool.submit is not _submit.function:  # a tool has replaced it
            if type(fn) is not Seen:
                return _submit.seen(self, ThreadPoolExecutor.submit, fn, args, kwargs)  # type: ignore[no-any-return]
            fn = fn.function  # pyright: ignore[reportFunctionMemberAccess] # a Seen
        future: PoolFuture[_T] = PoolFuture(fn, args, kwargs or None)
        try:
            if self._cf_is_special and self._cf_has_run_here(future, crew):
                return future
            if instrumentation.enabled:
                instrumentation.track_call(self, fn, future)
            crew.calls.append(future)
            if crew.idle or not crew.staffed:
                crew.staff()
                if crew.closed:
                    self._cf_withdraw(future, crew)
        except BaseException:  # also of a signal handler: nobody else has the future, nor will have; its place is free
            future.cancel()
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Takes no more calls and lets the threads end once those it has are done.

        Args:
            wait: Whether to return only when that has happened. One of the pool's own threads never waits.
            cancel_futures: Whether to cancel the calls that have not started.
            timeout: Seconds to wait at most; None waits without limit.

        Raises:
            KeyboardInterrupt: Ctrl-C, while it waited: calls that wait are cancelled, and those that run are asked to
                stop.
            TimeoutError: Calls still ran after `timeout` seconds; the message names them. The pool stays shut down.
            TypeError: `timeout` is no number.
            ValueError: `timeout` is negative.
        """
        check_flag("wait", wait)
        check_flag("cancel_futures", cancel_futures)
        check_seconds("timeout", timeout, least=0)
        crew = self._cf_crew
        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        try:
            crew.close(RuntimeError("cannot schedule new futures after shutdown"))
            try:
                if cancel_futures:
                    crew.cancel_waiting()
            finally:
                if wait and not crew.employs_current_thread():
                    crew.join(timeout)
        except KeyboardInterrupt:
            if wait:
                self._cf_interrupt()
            raise

    def _cf_interrupt(self) -> None:
        super()._cf_interrupt()
        self._cf_ask_all()

    def _cf_ask_all(self) -> None:
        for host in list(self._cf_crew.current_workers.values()):
            for future in list(host.calls):
                future._cf_cancel_requested = True

    def request_cancel(self, future: Future[Any]) -> bool:
        """Asks a call to stop: see `PoolExecutor.request_cancel`."""
        if not isinstance(future, PoolFuture):
            raise TypeError(
                f"request_cancel() takes a future that submit() of a thread pool returned, not {shown(future)}"
            )
        if future.done():
            return False
        if not future.cancel():
            future._cf_cancel_requested = True
        return not future.done() or future.cancelled()

    def __reduce__(self) -> Any:
        raise unreachable(self)

    def stats(self) -> Stats:
        """Returns how many calls wait, run, and have ended how: see `Stats`."""
        return self._cf_crew.stats()

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """Returns which calls run where and which wait: see `PoolExecutor.snapshot`. Threads tell at once."""
        check_seconds("timeout", timeout)
        from corefutures_pools.instrumentation import executor_info  # here for start-up time only

        return self._cf_crew.snapshot(executor_info(self).name)

    def _cf_has_run_here(self, future: PoolFuture[Any], crew: Crew) -> bool:
        """Sees to the submitter's context and to `max_pending`; runs the call if that is the submitter's part."""
        submitted = future._cf_fn
        if self._cf_copies_context:
            assert future._cf_args is not None
            future._cf_fn, future._cf_args = self._cf_take_context().run, (future._cf_fn, *future._cf_args)
        if crew.limiter is None:
            return False
        from corefutures_pools.admission import Permit  # here for start-up time only

        permit = Permit(crew.limiter)
        future._cf_on_departure = permit.release
        if permit.acquire(crew.employs_current_thread()):
            return False
        if instrumentation.enabled:
            instrumentation.track_call(self, submitted, future)
        call = future._cf_begin()
        assert call is not None
        from corefutures_pools.helping import run_call  # here for start-up time only

        result, error = run_call(future, *call)
        try:
            if error is None:
                crew.record(finished=1)
                future.set_result(result)
            else:
                crew.record(failed=1)
                future.set_exception(error)
                if not issubclass(type(error), Exception):  # meant for this thread
                    raise error
        finally:
            del error  # an exception's traceback refers to this frame: no cycle
        return True

    def _cf_assemble(self) -> Crew:
        crew = Crew(
            self._max_workers,
            self._thread_name_prefix,
            self._initializer,
            self._initargs,
            self.BROKEN,
            self._cf_make_limiter(),
        )
        crew.owner = weakref.ref(self)
        # A pool that is dropped without a shutdown runs the calls it has, and ends.
        weakref.finalize(self, crew.close, RuntimeError("the executor was dropped")).atexit = False
        return crew

    def _cf_withdraw(self, future: PoolFuture[Any], crew: Crew) -> None:
        """Takes back a call that was submitted while the pool was closed, unless a worker has it."""
        try:
            crew.calls.remove(future)
        except ValueError:
            return
        future.cancel()  # for observers: nobody else has it
        raise crew.refuse()

    def _cf_close_at_exit(self) -> None:
        self._cf_crew.close(RuntimeError(AFTER_EXIT))
        if self._cf_at_exit == "cancel":
            self._cf_ask_all()
            self._cf_crew.cancel_waiting()

    def _cf_after_fork_in_child(self) -> None:
        """Leave the calls to the parent, and give the pool new workers (E11)."""
        crew = self._cf_crew
        inherited = crew.waiting_calls()
        for host in crew.current_workers.values():
            inherited += host.calls
            if host.taking is not None:
                inherited.append(host.taking)
        self._cf_crew = self._cf_assemble()
        if crew.closed:
            self._cf_crew.close(crew.refuse())
        crew.turn_away()  # a worker that forked leaves once its call is done
        for future in inherited:
            future._cf_renew_lock()
            error = self.BROKEN("the process was forked while this call was pending; it runs in the parent only")
            if not future._cf_abandon(error):
                future._cf_notify_in_worker()  # it had ended, but perhaps nobody was told

    # The standard names of private parts that the world reads.

    @property
    def _threads(self) -> dict[threading.Thread, int]:  # type: ignore[override]
        return self._cf_crew.threads

    @property
    def _work_queue(self) -> Any:
        return self._cf_crew.calls

    @_work_queue.setter
    def _work_queue(self, queue: Any) -> None:
        places = getattr(queue, "maxsize", 0)
        if not isinstance(queue, Queue) or isinstance(queue, LifoQueue | PriorityQueue) or places <= 0:
            raise AttributeError("calls start in the order submitted here, in no other queue than the pool's own")
        warnings.warn(f"for a queue of {places} places pass max_pending={places} to the pool", stacklevel=2)
        from corefutures_pools.admission import make_limiter  # here for start-up time only

        self._cf_crew.limiter = make_limiter(places, "block")
        self._cf_is_special = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_adjust_thread_count" in vars(cls):
            from corefutures_thread._own_threads import let_start_threads  # few programs need it

            let_start_threads(cls)

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._cf_crew.closed and not self._broken

    @property
    def _broken(self) -> bool | str:  # type: ignore[override]
        refusal = self._cf_crew.refusal
        return str(refusal) if isinstance(refusal, self.BROKEN) else False


def _taker(context: ContextOption) -> Callable[[], Any]:
    """Returns what makes the context of a call where that is submitted, for `context=`."""
    from contextvars import copy_context  # here for start-up time only

    from corefutures_pools.context import check_context  # here for start-up time only

    carried = check_context(context)
    from corefutures_pools.context import ContextVariables  # here for start-up time only

    return carried.context if isinstance(carried, ContextVariables) else copy_context
