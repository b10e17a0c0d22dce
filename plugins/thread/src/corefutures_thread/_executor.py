"""`ThreadPoolExecutor`: the manual's thread pool, on a `ThreadPool`.

Touches the toolkit and `_thread_pool`, which is imported with the first executor. Guarantees: a dropped executor runs
the calls that it has and ends its threads; in a forked child it gets new ones.
"""

from __future__ import annotations

import concurrent.futures.thread as _standard
import itertools
import warnings
import weakref
from concurrent.futures.thread import BrokenThreadPool
from types import FunctionType

from corefutures_pools.blocking import queue, threading
from corefutures_pools.executor import PoolExecutor, check_at_exit, register_pool, unreachable, unsupported
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
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, TypeVar

    from corefutures.backend import Future
    from corefutures_pools.future import PoolFuture
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.instrumentation import instrumentation
    from corefutures_pools.options import AtExit, ContextOption, SlotsOption, WhenFull
    from corefutures_pools.sharing import Shared, Sharer
    from corefutures_pools.stats import Stats
    from corefutures_pools.streams.stream import Stream
    from corefutures_thread._thread_pool import ThreadPool

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"

#: Seconds that calls have to stop at exit before they are abandoned.
_GRACE = 0.3

#: The living executors. At exit their threads, which are no daemons, end once their calls have ended.
_executors = Lifecycle(
    close=lambda executor: executor._cf_close_at_exit(),
    join=lambda executor: executor._cf_join_at_exit(),
    after_fork=lambda executor: executor._cf_after_fork_in_child(),
    outlive_main=lambda executor: executor._cf_outlives_main(),
)

StandardPool = _standard.ThreadPoolExecutor


_imported = False


def _import_pool() -> None:
    """Import the modules that an executor needs and its class does not."""
    global PoolFuture, ThreadPool, _imported, instrumentation
    from corefutures_pools.future import PoolFuture
    from corefutures_pools.instrumentation import instrumentation  # pyright: ignore[reportGeneralTypeIssues]
    from corefutures_thread._thread_pool import ThreadPool

    _imported = True


def _stand_in(executor: ThreadPoolExecutor) -> Any:
    from corefutures_thread._stand_in import stand_in_class  # here for start-up time only

    return stand_in_class(StandardPool)(executor)


_submit = StandardSubmit(StandardPool, "_work_queue", _stand_in)


class _StandardAttributes:
    """Private attributes of the standard class that programs read, set or override, computed from a `ThreadPool`."""

    BROKEN: type[Exception]
    _cf_pool: ThreadPool
    _cf_is_special: bool

    @property
    def _threads(self) -> dict[threading.Thread, int]:
        return self._cf_pool.threads

    @property
    def _work_queue(self) -> Any:
        return self._cf_pool.queue

    @_work_queue.setter
    def _work_queue(self, other: Any) -> None:
        places = getattr(other, "maxsize", 0)
        in_order = isinstance(other, queue.Queue) and not isinstance(other, queue.LifoQueue | queue.PriorityQueue)
        if not in_order or places <= 0:
            raise AttributeError("calls start in the order submitted here, in no other queue than the pool's own")
        warnings.warn(f"for a queue of {places} places pass max_pending={places} to the pool", stacklevel=2)
        from corefutures_pools.admission import make_limiter  # here for start-up time only

        self._cf_pool.limiter = make_limiter(places, "block")
        self._cf_is_special = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_adjust_thread_count" in vars(cls):
            from corefutures_thread._standard_threads import use_standard_threads  # few programs need it

            use_standard_threads(cls, StandardPool)

    @property
    def _shutdown(self) -> bool:
        return self._cf_pool.closed and not self._broken

    @property
    def _broken(self) -> bool | str:
        return str(self._cf_pool.refusal) if self._cf_pool.is_broken() else False


class ThreadPoolExecutor(_StandardAttributes, PoolExecutor, _standard.ThreadPoolExecutor):  # type: ignore[misc, override]
    """An executor that runs calls in a pool of threads.

    A subclass of the standard library's class by type only: no method is inherited.

    Args:
        max_workers: How many threads at most; None for `min(32, n + 4)`, where n is the number of processors that
            this process may use, by its affinity and its container's limit.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called in each thread before its first call. If it fails, the pool is broken.
        initargs: The arguments for `initializer`.
        context: "copy" runs each call in a copy of its submitter's context variables, a list of names such as
            `["package.module:variable"]` in a context of only those variables; None leaves that to the running Python,
            as the standard library does.
        max_pending: How many calls may wait to be started; None for any number.
        when_full: What `submit` does beyond that: "block" until fewer calls wait (a call of the pool itself runs the
            new call instead), "raise" a `PoolFullError`, or "caller_runs" the call in the submitter's thread.
        at_exit: What happens to the calls when the interpreter ends: "wait" for them, "cancel" the calls that wait and
            ask those that run to stop (see `cancel_requested`), or "abandon" those that go on after that: the program
            ends without them, and a warning names them.
        inner_threads: Only None: the threads of BLAS and OpenMP can be limited for a process only.
        forward_logs: Without effect: the log records of threads are handled in this process in any case.
        slots: Named resources that calls may demand with `options(slots=…)`, such as `{"gpu": [0, 1], "db": 3}`: for
            each name a list of ids, or a number.

    Raises:
        ValueError: `max_workers` or `max_pending` is not positive, an option is none of those named, or `slots` makes
            no sense.
        TypeError: `max_workers` or `max_pending` is no number, `initializer` is not callable, or a name in `context`
            is not that of a variable.
        UnsupportedError: `at_exit` is "kill": threads can't be killed. Or there are `inner_threads`.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    BROKEN = BrokenThreadPool
    _cf_can_have_slots = True
    _cf_is_special = False  # calls have a context of their own, are limited in number, or may demand slots
    _cf_make_context: Callable[[], Any] | None = None
    _cf_at_exit: AtExit = "wait"
    _cf_starts_threads = False  # True in a subclass that starts its threads itself: see `_standard_threads`

    _cf_sharer: Sharer | None = None  # of the shared objects, once there is one

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
        slots: SlotsOption = None,
    ) -> None:
        if self._cf_starts_threads:
            from corefutures_thread._standard_threads import initialise  # few programs need it

            initialise(
                StandardPool, self, max_workers, thread_name_prefix, initializer, initargs,
                context=context, inner_threads=inner_threads, max_pending=max_pending, when_full=when_full,
                at_exit=at_exit, forward_logs=forward_logs, slots=slots,
            )  # fmt: skip
            return
        if not _imported:
            _import_pool()
        max_workers = check_max_workers(max_workers)
        if thread_name_prefix is not None:  # as the standard library takes it
            check_text("thread_name_prefix", thread_name_prefix)
        initargs = check_initializer(initializer, initargs)
        if forward_logs is not False:
            check_flag("forward_logs", forward_logs)
        if inner_threads is not None:
            raise unsupported(self, "limit the threads of BLAS and OpenMP")
        if at_exit != "wait":
            check_at_exit(self, at_exit, "threads", abandons=True)
            self._cf_at_exit = at_exit
        if context is not None or max_pending is not None or slots is not None or when_full != "block":
            self._cf_is_special = True
            self._cf_limiter_options = (max_pending, when_full)
            if context is not None:
                self._cf_make_context = _context_maker(context)
            if slots is not None:
                self._cf_set_slots(slots, when_full)
        self._max_workers = max_workers
        self._thread_name_prefix: str = thread_name_prefix or f"ThreadPoolExecutor-{self._counter()}"
        self._initializer: Callable[..., object] | None = initializer  # type: ignore[assignment, unused-ignore]
        self._initargs = initargs
        self._cf_pool = self._cf_make_pool()
        if _executors.exiting:
            self._cf_pool.close(RuntimeError(AFTER_EXIT))
        _executors.add(self)
        register_pool(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Run `fn(*args, **kwargs)` in one of the threads.

        Args:
            fn: The function to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call.

        Raises:
            TypeError: `fn` is not callable.
            BrokenThreadPool: An initializer has failed.
            RuntimeError: The pool has been shut down, the interpreter ends, or no thread can be started.
        """
        pool = self._cf_pool
        if pool.idle or not pool.fully_started:
            if pool.closed:
                raise pool.make_refusal()
            _submit.is_recoded()
        if type(fn) is not FunctionType and not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        if StandardPool.submit is not _submit.function:  # a tool has replaced it
            if type(fn) is not Seen:
                return _submit.seen(self, ThreadPoolExecutor.submit, fn, args, kwargs)  # type: ignore[no-any-return]
            fn = fn.function  # pyright: ignore[reportFunctionMemberAccess] # a Seen
        special = self._cf_is_special
        future: PoolFuture[_T] = (
            self._cf_future_for(fn, args, kwargs) if special else PoolFuture(fn, args, kwargs or None)
        )
        try:
            if special and self._cf_is_handled(future, fn, pool):
                return future
            if instrumentation.enabled:
                instrumentation.track_call(self, fn, future)
            pool.queue.append(future)
            if pool.idle or not pool.fully_started:
                pool.ensure_worker()
                if pool.closed:
                    pool.withdraw(future)
        except BaseException:  # also of a signal handler: no caller has the future, or will; its permit is released
            future.cancel()
            pool.replace_interrupted_start()
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Take no more calls, and let the threads end once all calls have ended.

        Args:
            wait: Whether to return only after that. A thread of the pool itself never waits.
            cancel_futures: Whether to cancel the calls that have not started.
            timeout: Seconds to wait at most; None waits without limit.

        Raises:
            KeyboardInterrupt: Ctrl-C during the wait: calls that wait are cancelled, and calls that run are asked to
                stop.
            TimeoutError: Calls still ran after `timeout` seconds; the message names them. The pool stays shut down.
            TypeError: `timeout` is no number.
            ValueError: `timeout` is negative.
        """
        if wait is not True:
            check_flag("wait", wait)
        if cancel_futures is not False:
            check_flag("cancel_futures", cancel_futures)
        if timeout is not None:
            check_seconds("timeout", timeout, least=0)
        pool = self._cf_pool
        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        try:
            pool.close(RuntimeError("cannot schedule new futures after shutdown"))
            if self._cf_sharer is not None:
                self._cf_sharer.close()
            try:
                if cancel_futures:
                    pool.cancel_pending()
            finally:
                if wait and not pool.owns_current_thread():
                    pool.end_unread_streams()
                    pool.join(timeout)
        except KeyboardInterrupt:
            if wait:
                self._cf_interrupt()
            raise

    def _cf_interrupt(self) -> None:
        super()._cf_interrupt()
        self._cf_pool.ask_to_stop()

    def request_cancel(self, future: Future[Any]) -> bool:
        """See `PoolExecutor.request_cancel`."""
        from corefutures_pools.future import ask_to_stop  # here for start-up time only

        if not isinstance(future, PoolFuture):
            raise TypeError(
                f"request_cancel() takes a future that submit() of a thread pool returned, not {shown(future)}"
            )
        if future.done():
            return False
        if not future.cancel():
            if future.done():
                return False
            ask_to_stop(future)  # which may end it at once
        return True

    def _cf_stream(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., Iterable[_T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        buffer: int,
    ) -> Stream[_T]:
        from corefutures_pools.streams.threads import stream_from_threads  # here for start-up time only

        return stream_from_threads(submit, fn, args, kwargs, buffer)

    def __reduce__(self) -> Any:
        raise unreachable(self)

    def stats(self) -> Stats:
        """See `PoolExecutor.stats`."""
        from corefutures_thread._inspection import make_stats  # here for start-up time only

        return make_stats(self._cf_pool)

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """See `PoolExecutor.snapshot`: of threads it is made at once."""
        check_seconds("timeout", timeout)
        from corefutures_pools.instrumentation import executor_info  # here for start-up time only
        from corefutures_thread._inspection import make_snapshot  # here for start-up time only

        return make_snapshot(self._cf_pool, executor_info(self).name)

    def _cf_future_for(self, fn: Callable[..., _T], args: Any, kwargs: Any) -> PoolFuture[_T]:
        """Return the future of a call, which runs in its submitter's context if `context=` says so."""
        sharer = self._cf_sharer
        if sharer is not None:
            from corefutures_pools.sharing import UnusableHandle  # here for start-up time only

            try:
                fn, args, kwargs = sharer.in_place(fn), sharer.in_place(args), sharer.in_place(kwargs)
            except UnusableHandle as exc:  # fails the call alone
                return PoolFuture(_raise, (exc,), None)
        if self._cf_make_context is not None:
            return PoolFuture(self._cf_make_context().run, (fn, *args), kwargs or None)
        return PoolFuture(fn, args, kwargs or None)

    def share(self, obj: _T) -> Shared[_T]:
        """Return a handle, in whose place calls get the very object: see `PoolExecutor.share`."""
        from corefutures_pools.sharing import InPlace, Sharer  # here for start-up time only

        pool = self._cf_pool
        if pool.closed:
            raise pool.make_refusal()
        self._cf_is_special = True
        sharer: Sharer = vars(self).setdefault("_cf_sharer", Sharer())
        handle = sharer.add(obj, InPlace(obj))
        if pool.closed:
            raise pool.make_refusal()
        return handle

    def _cf_is_handled(self, future: PoolFuture[Any], fn: Callable[..., Any], pool: ThreadPool) -> bool:
        """Wait until the call may be queued (`max_pending`), or run it if its submitter must, or hold it for its slots.

        Returns:
            Whether it is not to be queued.
        """
        held = None
        if pool.slots is not None:
            from corefutures_pools.slot_call import SlotCall  # here for start-up time only

            held = fn if isinstance(fn, SlotCall) else None
        runs_here = False
        if pool.limiter is not None:
            from corefutures_pools.admission import Permit  # here for start-up time only
            from corefutures_pools.future import on_departure  # here for start-up time only

            permit = Permit(pool.limiter)
            on_departure(future, permit.release)
            runs_here = not permit.acquire(pool.owns_current_thread(), own_thread_runs=held is None)
        if held is not None:
            if instrumentation.enabled:
                instrumentation.track_call(self, fn, future)
            pool.hold(future, held)
            return True
        if not runs_here:
            return False
        if instrumentation.enabled:
            instrumentation.track_call(self, fn, future)
        from corefutures_pools.future import begin  # here for start-up time only
        from corefutures_pools.helping import run_call  # here for start-up time only

        call = begin(future)
        assert call is not None
        result, error = run_call(future, *call)
        del call
        if error is None:
            pool.ended.add(finished=1)
            future.set_result(result)
            return True
        try:
            pool.ended.add(failed=1)
            future.set_exception(error)
            if not isinstance(error, Exception):  # meant for this thread
                raise error
        finally:
            del error  # no cycle from its traceback to this frame (F6)
        return True

    def _cf_make_pool(self) -> ThreadPool:
        pool = ThreadPool(
            self._max_workers,
            self._thread_name_prefix,
            self._initializer,
            self._initargs,
            self.BROKEN,
            self._cf_make_limiter() if self._cf_is_special else None,
            self._cf_make_scheduler() if self._cf_is_special else None,
        )
        pool.executor = weakref.ref(self, pool.on_executor_dropped)
        pool.daemons = self._cf_at_exit == "abandon"
        return pool

    def _cf_join_at_exit(self) -> None:
        if self._cf_at_exit == "abandon":
            self._cf_pool.abandon(_GRACE)
        else:
            self._cf_pool.join()

    def _cf_outlives_main(self) -> bool:
        """Return whether the pool takes calls after the main thread has ended, as long as a thread may submit some."""
        if self._cf_at_exit != "wait":
            return False
        for thread in list(self._cf_pool.threads):
            # Or else the step of the standard library would wait for them, and keep the steps after it from running.
            _standard._threads_queues.pop(thread, None)  # type: ignore[attr-defined]
        return True

    def _cf_close_at_exit(self) -> None:
        self._cf_pool.close(RuntimeError(AFTER_EXIT))
        self._cf_pool.end_unread_streams()
        if self._cf_at_exit != "wait":
            self._cf_pool.ask_to_stop()
            self._cf_pool.cancel_pending()

    def _cf_after_fork_in_child(self) -> None:
        """Leave the calls to the parent, and give the executor new workers (E11)."""
        from corefutures_pools.future import fail_after_fork  # here for start-up time only

        pool = self._cf_pool
        inherited = pool.unfinished_calls()
        self._cf_pool = self._cf_make_pool()
        if pool.closed:
            self._cf_pool.close(pool.make_refusal())
        pool.slots = None  # the parent's
        pool.refuse_calls()  # a worker that forked leaves once its call has ended
        for future in inherited:
            error = self.BROKEN("the process was forked while this call was pending; it runs in the parent only")
            fail_after_fork(future, error)


def _raise(error: Exception) -> Any:
    """Be the call of a handle that can't be used."""
    raise error


def _context_maker(context: ContextOption) -> Callable[[], Any]:
    """Return a function that makes the context of a call in its submitter's thread, for `context=`."""
    from contextvars import copy_context  # here for start-up time only

    from corefutures_pools.context import check_context  # here for start-up time only

    carried = check_context(context)
    from corefutures_pools.context import ContextVariables  # here for start-up time only

    return carried.context if isinstance(carried, ContextVariables) else copy_context
