"""`DaskExecutor`: the executor of the manual on Dask's scheduler, its views, and its end at exit or after a fork.

Touches the door, `_cluster` and `_dispatcher`. Guarantees: a call is pickled before `submit` returns (E4).
"""

from __future__ import annotations

import inspect
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from corefutures_dask import _cluster, _wire
from corefutures_dask._batching import TaskOptions
from corefutures_dask._dispatcher import Dispatcher
from corefutures_dask._exceptions import BrokenDaskPool
from corefutures_dask._future import DaskFuture, non_blocking
from corefutures_pools.blocking import system
from corefutures_pools.executor import OptionsView, PoolExecutor, unsupported, with_retries
from corefutures_pools.instrumentation import instrumentation
from corefutures_pools.lifecycle import Lifecycle, renew_in_child
from corefutures_pools.options import check_count, check_flag, check_initializer, check_seconds, not_callable
from corefutures_pools.workers.chunking import CostModel, chunked_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from corefutures.backend import Future
    from corefutures_pools.results import ResultIterator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
_AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"

#: Options of our other executors, and their effect; `LocalCluster` would refuse them much later, in other words.
_UNSUPPORTED = {
    "at_exit": "choose what becomes of its calls at exit: it waits for them",
    "context": "carry context variables",
    "forward_logs": "forward its workers' logs",
    "inner_threads": "limit the threads of BLAS and OpenMP",
    "kill_on_cancel": "kill calls that run",
    "kill_tree": "kill calls that run, and what they have started",
    "max_pending": "limit the calls that wait",
    "max_tasks_per_child": "replace workers after some calls",
    "mp_context": "choose where its processes come from",
    "on_worker_loss": "choose what the loss of a worker means: its calls run again on another, as Dask is configured",
    "serializer": "choose a serializer: it always uses cloudpickle where pickle does not do",
    "slots": "have slots of its own: its workers have resources, which `options(slots=…)` demands",
    "spares": "keep spare workers",
    "thread_name_prefix": "name its threads",
    "warm": "fork its workers from a process that has imported modules",
    "when_full": "limit the calls that wait",
}

#: The dispatchers that have not ended. At exit each of them ends once its calls have ended.
_dispatchers = Lifecycle(
    close=lambda dispatcher: dispatcher.close(RuntimeError(_AFTER_EXIT)),
    join=lambda dispatcher: dispatcher.join(),
    # No `outlive_main`: Dask's scheduler, in this process, uses a pool of asyncio, which takes no calls then.
)
#: The living pools.
_pools = Lifecycle(after_fork=lambda pool: pool._cf_after_fork_in_child())


class DaskExecutor(PoolExecutor):
    """Runs calls on Dask's distributed scheduler.

    Without `address`, `scheduler_file` or `client` the executor starts a cluster of its own on this machine, with
    worker processes of one thread each, and stops it at shutdown. Otherwise it uses the cluster that is named, and
    leaves that running.

    Args:
        max_workers: How many calls run at once, at most; None for the number of threads of the cluster. A cluster of
            the executor's own has one thread for each CPU.
        initializer: Called in each worker before its first call, also in workers that join later. If it fails, the
            pool is broken.
        initargs: The arguments for `initializer`.
        address: The address of a scheduler that runs, such as "tcp://10.0.0.1:8786".
        scheduler_file: A file in which a scheduler that runs has written its address.
        client: A `distributed.Client` that is connected.
        resources: The resources of a worker that each call needs, as Dask counts them: {"GPU": 1}.
        retries: How often a call that raises is tried again.
        priority: Calls with a higher priority go first.
        security: A `distributed.Security`, for clusters that use TLS.
        timeout: Seconds that joining may take; None for Dask's setting.
        check_versions: Whether to refuse a cluster with another Python or another version of `distributed`.
        **cluster: Options of `distributed.LocalCluster`, for a cluster of the executor's own.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense, or arguments contradict each other.
        BackendUnavailableError: There is no scheduler, or one of another version.
        UnsupportedError: An option of other backends is given that this backend lacks.

    Thread safety: every method may be called from any thread.
    """

    BROKEN = BrokenDaskPool

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        address: str | None = None,
        scheduler_file: str | None = None,
        client: Any = None,
        resources: Mapping[str, float] | None = None,
        retries: int = 0,
        priority: int = 0,
        security: Any = None,
        timeout: float | None = None,
        check_versions: bool = True,
        **cluster: Any,
    ) -> None:
        check_count("max_workers", max_workers)
        initargs = check_initializer(initializer, initargs)
        check_seconds("timeout", timeout, positive=True)
        check_flag("check_versions", check_versions)
        for name in ("n_jobs", "num_workers", "jobs", "pool_size"):
            if name in cluster:
                raise TypeError(f"DaskExecutor has no option {name!r}: here it is called 'max_workers'")
        for name, effect in _UNSUPPORTED.items():
            if name in cluster:
                raise unsupported(self, effect)
        own_names = [*inspect.signature(DaskExecutor).parameters][:-1]
        self._cf_cluster = _cluster.choose(
            cluster, own_names, max_workers=max_workers, address=address, scheduler_file=scheduler_file, client=client,
            security=security, timeout=timeout, check_versions=check_versions,
        )  # fmt: skip
        self._cf_limit = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._cf_pickled_initializer = None if initializer is None else _wire.dumps((initializer, initargs))
        self._cf_task_options = TaskOptions().changed(resources, retries, priority, None)
        self._cf_cluster.check_resources(self._cf_task_options.resources)
        self._cf_cost_model = CostModel()
        self._cf_fork_refusal = self._cf_cluster.fork_refusal  # the reason why a forked child can't connect
        # Guards `_cf_dispatcher`: a forked child makes a new one, and only one.
        self._cf_connecting = threading.RLock()
        self._cf_dispatcher: Dispatcher | None = None
        self._cf_connect()
        _pools.add(self)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` run by one of the workers.

        Args:
            fn: The function to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call. A call that can't be pickled fails at once.

        Raises:
            TypeError: `fn` is not callable.
            BrokenDaskPool: The scheduler is gone, or an initializer has failed.
            RuntimeError: The pool has been shut down, or the interpreter ends.
        """
        return self._cf_submit_task(self._cf_task_options, None, fn, args, kwargs)

    def _cf_submit_task(
        self, options: TaskOptions, label: str | None, fn: Any, args: Any, kwargs: Any
    ) -> DaskFuture[Any]:
        dispatcher = self._cf_dispatcher or self._cf_connect()
        if dispatcher.pending.refusal is not None:
            raise dispatcher.pending.refusal_error()
        if not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        try:
            body = _wire.dumps((fn, args, kwargs))
        except Exception as exc:
            failed: DaskFuture[Any] = DaskFuture((b"", None), 0, "", 0)
            failed.fail(BaseException.with_traceback(exc, None))
            return failed
        function = fn.pickled if isinstance(fn, _wire.MapFunction) else None
        timed = _timed_as(fn)
        name = label or getattr(timed, "__name__", None) or "call"
        future = dispatcher.submit(options, (body, function), name, id(timed))
        if label is not None:
            future.set_label(label)
        if instrumentation.enabled:
            instrumentation.track_call(self, fn, future, len(body))
        return future

    def _cf_map(self, submit: Callable[..., Future[Any]], fn: Callable[..., _T], *rest: Any) -> ResultIterator[_T]:
        iterables, timeout, chunksize, buffersize = rest
        if not callable(fn):
            raise not_callable("map", fn)
        if chunksize == 1:
            return super()._cf_map(submit, _for_map(fn), *rest)
        run_chunk: Callable[..., Any] | None = None

        def submit_chunk(run: Callable[..., Any], fn: Callable[..., _T], *columns: Any) -> Future[Any]:
            nonlocal run_chunk
            run_chunk = run_chunk or _for_map(partial(run, fn))
            return submit(run_chunk, *columns)

        return chunked_map(
            submit_chunk, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize,
            workers=self._max_workers, pace=self._cf_cost_model, remote_traceback=_wire.RemoteTraceback,
        )  # fmt: skip

    def options(
        self,
        *,
        timeout: float | None = None,
        name: str | None = None,
        slots: Mapping[str, int] | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int | None = None,
        workers: Sequence[str | int] | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float | Callable[[Any], float] | None = None,
    ) -> Any:
        """Return a view of the pool with options for the calls that are submitted through the view.

        Options that are not given are those of the pool.

        Args:
            timeout: Not supported: running calls can't be stopped.
            name: The name of the calls in `repr`, in messages and in Dask's dashboard.
            slots: The same as `resources`: as other pools call it.
            resources: The resources of a worker that each call needs: {"GPU": 1}.
            retries: How often a call that raises is tried again, by the cluster itself unless one of the last two
                options is given.
            priority: Calls with a higher priority go first.
            workers: The addresses or names of the workers that may run the calls.
            retry_on: The exceptions after which a call is tried again: see `corefutures.retrying`.
            backoff: Seconds before the next attempt, or a callable that gives them: see `corefutures.retrying`.

        Returns:
            An executor with the same workers, whose `shutdown` does nothing.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: A value makes no sense.
            UnsupportedError: `timeout` is given.
        """
        return self._cf_view(
            self._cf_task_options, timeout, name, _with_slots(resources, slots), retries, priority, workers, retry_on,
            backoff,
        )  # fmt: skip

    def _cf_view(
        self, around: TaskOptions, timeout: float | None, name: str | None, resources: Any, retries: Any, priority: Any,
        workers: Any, retry_on: Any, backoff: Any,
    ) -> Any:  # fmt: skip
        """Return a view with the options of `around` where others are not given."""
        own = retry_on is None and backoff is None
        task_options = around.changed(resources, retries if own else 0, priority, workers)
        super().options(timeout=timeout, name=name)  # for its checks
        self._cf_cluster.check_resources(task_options.resources)
        if task_options.workers and self._cf_cluster.owned:
            self._cf_connect().connection.check_workers(task_options.workers)
        view = DaskView(self, task_options, name)
        return view if own else with_retries(view, retries, retry_on, backoff)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse calls from now on; once the pending calls have ended, release the cluster, or stop the pool's own.

        Args:
            wait: Whether to return only then. A callback or one of the pool's own calls never waits.
            cancel_futures: Whether to cancel the calls that have not started.
        """
        dispatcher = self._cf_dispatcher
        if dispatcher is None:  # in a forked child, before its first call
            with self._cf_connecting:
                dispatcher = self._cf_dispatcher
                if dispatcher is None:
                    self._cf_fork_refusal = _AFTER_SHUTDOWN
                    return
        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        try:
            dispatcher.close(RuntimeError(_AFTER_SHUTDOWN), cancel_futures)
        finally:  # an exception of a callback is raised after that
            own = getattr(_wire.current, "pool", None) == dispatcher.pool
            if wait and not own and not getattr(non_blocking, "active", False):
                dispatcher.join()

    def _cf_connect(self) -> Dispatcher:
        with self._cf_connecting:
            if self._cf_dispatcher is None:
                if self._cf_fork_refusal is not None and system.getpid() != getattr(self, "_cf_pid", system.getpid()):
                    raise RuntimeError(self._cf_fork_refusal)
                self._cf_pid = system.getpid()
                connection = self._cf_cluster.connect()
                try:
                    dispatcher = Dispatcher(connection, self._cf_limit, self._cf_pickled_initializer)
                except BaseException as exc:
                    # The scheduler passes on the text of a worker's exception, or closes the connection if it can't.
                    if isinstance(exc, OSError) or "ModuleNotFoundError" in f"{type(exc)} {exc}":
                        raise _cluster.unprepared_workers(exc) from exc
                    raise
                self._cf_dispatcher = dispatcher
                _dispatchers.add(dispatcher)
                # A pool that is dropped without a shutdown runs its pending calls, and ends.
                dropped = RuntimeError("the executor was dropped")
                self._cf_finalizer = weakref.finalize(self, dispatcher.close, dropped)
                self._cf_finalizer.atexit = False
                if _dispatchers.exiting:
                    dispatcher.close(RuntimeError(_AFTER_EXIT))
            return self._cf_dispatcher

    def _cf_after_fork_in_child(self) -> None:
        """In a forked child (E11): leave the calls to the parent; the next `submit` joins the cluster anew."""
        dispatcher, self._cf_dispatcher = self._cf_dispatcher, None
        self._cf_connecting = threading.RLock()
        if dispatcher is None:
            return
        self._cf_finalizer.detach()
        if dispatcher.pending.refusal is not None:
            self._cf_fork_refusal = str(dispatcher.pending.refusal)
        dispatcher.after_fork_in_child(
            lambda: BrokenDaskPool("the process was forked while this call was pending; it is the parent's only")
        )

    # The standard names of private attributes that other libraries read.

    @property
    def _max_workers(self) -> int:
        dispatcher = self._cf_dispatcher
        return self._cf_limit or (dispatcher.slots if dispatcher is not None else 1)

    @property
    def _shutdown(self) -> bool:
        dispatcher = self._cf_dispatcher
        return dispatcher is not None and dispatcher.pending.refusal is not None and not self._broken

    @property
    def _broken(self) -> bool | str:
        refusal = None if self._cf_dispatcher is None else self._cf_dispatcher.pending.refusal
        return str(refusal) if isinstance(refusal, BrokenDaskPool) else False


class DaskView(OptionsView):
    """A view of a pool with options for the calls that are submitted through the view: see `DaskExecutor.options`."""

    _cf_target: DaskExecutor

    def __init__(self, pool: DaskExecutor, task_options: TaskOptions, name: str | None) -> None:
        super().__init__(pool, timeout=None, name=name)
        self._cf_task_options = task_options

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` run by one of the workers: see `DaskExecutor.submit`."""
        return self._cf_target._cf_submit_task(self._cf_task_options, self._cf_name, fn, args, kwargs)

    def options(  # type: ignore[override]
        self,
        *,
        timeout: float | None = None,
        name: str | None = None,
        slots: Mapping[str, int] | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int | None = None,
        workers: Sequence[str | int] | None = None,
        retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
        backoff: float | Callable[[Any], float] | None = None,
    ) -> Any:
        """Return a view with these options, and those of this view where they are not given."""
        return self._cf_target._cf_view(
            self._cf_task_options, timeout, self._cf_name if name is None else name, _with_slots(resources, slots),
            retries, priority, workers, retry_on, backoff,
        )  # fmt: skip


def _with_slots(resources: Mapping[str, float] | None, slots: Mapping[str, int] | None) -> Any:
    return resources if slots is None else slots if resources is None else {**resources, **slots}


def _for_map(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for the calls of a map; `fn` itself if it can't be pickled: then each call fails."""
    try:
        return _wire.MapFunction(fn)
    except Exception:
        return fn


def _timed_as(fn: Any) -> Any:
    """Return the object that calls of about equal duration have in common: the function behind `fn`, or its class."""
    if isinstance(fn, _wire.MapFunction):
        fn = fn.function
    fn = getattr(fn, "func", fn)  # of a partial
    fn = getattr(fn, "__func__", fn)  # of a method
    if hasattr(fn, "__code__"):
        return fn.__code__ if fn.__name__ == "<lambda>" else fn
    return fn if hasattr(fn, "__name__") else type(fn)


renew_in_child(_cluster.after_fork_in_child)
renew_in_child(_dispatchers.clear)  # they are the parent's
