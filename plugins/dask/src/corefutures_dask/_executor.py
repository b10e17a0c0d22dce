"""`DaskExecutor`: the executor of the manual on Dask's scheduler; its end at exit, when dropped, and after a fork.

Touches the door, `_cluster` and `_dispatcher`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from corefutures_dask import _cluster, _wire
from corefutures_dask._dispatcher import Dispatcher, Wishes
from corefutures_dask._exceptions import BrokenDaskPool, RemoteTraceback
from corefutures_dask._future import DaskFuture, never_waits
from corefutures_pools.blocking import system
from corefutures_pools.executor import PoolExecutor, unsupported
from corefutures_pools.instrumentation import instrumentation
from corefutures_pools.options import check_count, check_flag, check_seconds, check_start, not_callable
from corefutures_pools.workers.chunking import CostModel, chunked_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from corefutures.backend import Future
    from corefutures_dask._cluster import Connection
    from corefutures_pools.results import ResultIterator

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AFTER_SHUTDOWN = "cannot schedule new futures after shutdown"
_AFTER_EXIT = "cannot schedule new futures after interpreter shutdown"

#: Options of our other executors, and what they do there; `LocalCluster` would fail much later, with words of its own.
_ELSEWHERE = {
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
    "thread_name_prefix": "name its threads",
    "when_full": "limit the calls that wait",
}

#: The options that are not `LocalCluster`'s.
_OPTIONS = (
    "max_workers", "initializer", "initargs", "address", "scheduler_file", "client", "resources", "retries", "priority",
    "security", "timeout", "check_versions",
)  # fmt: skip

#: Every living pool, for forked children; and every dispatcher that has not ended, for the end of the interpreter.
_pools: weakref.WeakSet[DaskExecutor] = weakref.WeakSet()
_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_exiting = False


class _Alias:
    """Another name of a private attribute, which gives way to what a subclass keeps under that name itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, executor: object, kind: type | None = None) -> Any:
        return self if executor is None else getattr(executor, self._name)


class _Submitter(PoolExecutor):
    """What a pool and its views have in common: calls with certain wishes go into a lane."""

    _cf_wishes: Wishes
    _cf_label: str | None = None

    @property
    def _cf_pool(self) -> DaskExecutor:
        raise NotImplementedError

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Has `fn(*args, **kwargs)` run by one of the workers.

        Args:
            fn: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call. What can't be pickled fails it at once.

        Raises:
            TypeError: `fn` is not callable.
            BrokenDaskPool: The scheduler is gone, or an initializer has failed.
            RuntimeError: The pool has been shut down, or the interpreter ends.
        """
        pool = self._cf_pool
        dispatcher = pool._cf_dispatcher or pool._cf_connect()
        if dispatcher.refusal is not None:
            raise dispatcher.refuse()
        if not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        try:
            body = _wire.dumps((fn, args, kwargs))
        except Exception as exc:
            return _failed(exc)
        function = fn.pickled if isinstance(fn, _wire.Carried) else None
        kind = _kind_of(fn)
        label = self._cf_label
        shown = label or getattr(kind, "__name__", None) or "call"
        future = dispatcher.take(dispatcher.lane(self._cf_wishes), (body, function), shown, id(kind))
        if label is not None:
            future._cf_name = label
        if instrumentation.present:
            instrumentation.track_call(self._cf_pool, fn, future, len(body))
        return future

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = 1,
        buffersize: int | None = None,
    ) -> ResultIterator[_T]:
        """Calls `fn` with the items of the iterables, like the built-in `map`, but concurrently.

        Args:
            fn: Called with one item of each iterable; pickled once.
            *iterables: Collected at once without `buffersize`, as results are taken with it.
            timeout: Seconds, from this call on, in which each result is to be had; None sets no limit.
            chunksize: How many items make one call; "auto" for as many as pays, as measured. Calls that are
                short travel together in any case.
            buffersize: How many calls may be under way or waiting to be taken; None sets no limit.

        Returns:
            An iterator as of `Executor.map`. A chunk's items fail one by one.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: `chunksize` or `buffersize` is not positive.
            RuntimeError: The executor has been shut down, or is broken.
        """
        if not callable(fn):
            raise not_callable("map", fn)
        if chunksize == 1:
            return super().map(_carried(fn), *iterables, timeout=timeout, buffersize=buffersize)
        run_chunk: Callable[..., Any] | None = None

        def submit_chunk(run: Callable[..., Any], fn: Callable[..., _T], *columns: Any) -> Future[Any]:
            nonlocal run_chunk
            run_chunk = run_chunk or _carried(partial(run, fn))
            return self.submit(run_chunk, *columns)

        return chunked_map(
            submit_chunk,
            fn,
            iterables,
            timeout=timeout,
            chunksize=chunksize,
            buffersize=buffersize,
            workers=self._cf_pool._max_workers,
            pace=self._cf_pool._cf_pace,
            remote_traceback=RemoteTraceback,
        )

    def options(
        self,
        *,
        timeout: float | None = None,
        name: str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int | None = None,
        workers: Sequence[str | int] | None = None,
    ) -> DaskView:
        """Returns a view of the pool with options for the calls that are submitted through it.

        What is not given is as in the pool or the view that this is called on.

        Args:
            timeout: Not to be had: running calls can't be stopped.
            name: What the calls are called in `repr`, in messages and in Dask's dashboard.
            resources: What each call needs of a worker: {"GPU": 1}.
            retries: How often a call that raises is tried again.
            priority: Calls with a higher one go first.
            workers: The addresses or names of the workers that may run the calls.

        Returns:
            An executor with the same workers, whose `shutdown` does nothing.

        Raises:
            TypeError: A value is of the wrong type.
            ValueError: A value makes no sense.
            UnsupportedError: `timeout` is given.
        """
        super().options(timeout=timeout, name=name)  # for its checks
        own = self._cf_wishes
        wishes = _wishes(
            dict(own.resources) if resources is None else resources,
            own.retries if retries is None else retries,
            own.priority if priority is None else priority,
            own.workers if workers is None else workers,
        )
        pool = self._cf_pool
        if pool._cf_own:
            _cluster.check_own_resources(wishes.resources)
            if wishes.workers:
                pool._cf_connect().check_workers(wishes.workers)
        return DaskView(pool, wishes, self._cf_label if name is None else name)


class DaskExecutor(_Submitter):
    """Runs calls on Dask's distributed scheduler.

    Without `address`, `scheduler_file` or `client` it starts a cluster of its own on this machine, worker processes
    with one thread each, and stops it at shutdown. With one of them it uses the cluster that is there, and leaves
    it running.

    Args:
        max_workers: How many calls run at once, at most; None for as many as the cluster has threads, and that is
            as many as there are CPUs where it is started here.
        initializer: Called in each worker before its first call, also in those that join later. If it fails, the
            pool is broken.
        initargs: The arguments for `initializer`.
        address: Of a scheduler that runs, such as "tcp://10.0.0.1:8786".
        scheduler_file: A file in which a scheduler that runs has written its address.
        client: A `distributed.Client` that is connected.
        resources: What each call needs of a worker, as Dask counts it: {"GPU": 1}.
        retries: How often a call that raises is tried again.
        priority: Calls with a higher one go first.
        security: A `distributed.Security`, for clusters that use TLS.
        timeout: Seconds that joining may take; None for what Dask is configured to.
        check_versions: Whether to refuse a cluster with another Python or another version of `distributed`.
        **cluster: Options of `distributed.LocalCluster`, where a cluster is started.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense, or they contradict each other.
        BackendUnavailableError: There is no scheduler, or one of another version.
        UnsupportedError: An option of the other backends is given that this one has not.

    Thread safety: every method may be called from any thread.
    """

    _dispatcher = _Alias("_cf_dispatcher")

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
        initargs = check_start(initializer, initargs)
        check_seconds("timeout", timeout, positive=True)
        check_flag("check_versions", check_versions)
        for name in ("n_jobs", "num_workers", "jobs", "pool_size"):
            if name in cluster:
                raise TypeError(f"DaskExecutor has no option {name!r}: here it is called 'max_workers'")
        for name, what in _ELSEWHERE.items():
            if name in cluster:
                raise unsupported(self, what)
        if address is not None and not address:
            raise ValueError("address must not be empty")
        if scheduler_file is not None and not isinstance(scheduler_file, (str, os.PathLike)):
            raise TypeError(f"scheduler_file must be a path, not {type(scheduler_file).__name__}")
        places = {"address": address, "scheduler_file": scheduler_file, "client": client}
        given = [name for name, place in places.items() if place is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} can't be given together")
        if given and cluster:
            raise TypeError(f"{given[0]} names a cluster that runs: it takes no option {sorted(cluster)[0]!r}")
        self._cf_own = not given
        useless = {"timeout": timeout is not None, "security": client is not None and bool(security)}
        for name, set_in_vain in useless.items():
            if set_in_vain and (self._cf_own or client is not None):
                who = "a cluster of the pool's own" if self._cf_own else "a client that is connected"
                raise TypeError(f"{name}= is for joining a cluster by address or scheduler_file: {who} takes none")
        if security is not None and not isinstance(security, (bool, _cluster.Security)):
            raise TypeError(f"security must be a distributed.Security, not {type(security).__name__}")
        if self._cf_own:
            if not check_versions:
                raise TypeError("check_versions= is for clusters that run: one of the pool's own has the same versions")
            _cluster.check_own_options(cluster, _OPTIONS)
        self._cf_limit = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._cf_preparation = None if initializer is None else _wire.dumps((initializer, self._initargs))
        self._cf_wishes = _wishes(resources, retries, priority, None)
        if self._cf_own:
            _cluster.check_own_resources(self._cf_wishes.resources)
        self._cf_pace = CostModel()
        self._cf_fork_refusal: str | None = None
        # Guards the making of a dispatcher, in a forked child: one only.
        self._cf_connecting = threading.RLock()
        self._cf_dispatcher: Dispatcher | None = None
        if client is not None:
            self._cf_open: Callable[[], Connection] = lambda: _cluster.given_client(client, check_versions)
            self._cf_fork_refusal = "the pool's client belongs to the process that was forked"
        elif given:
            how = {"security": security, "timeout": timeout}
            how = {name: value for name, value in how.items() if value is not None}
            self._cf_open = lambda: _cluster.joined_cluster(address, scheduler_file, how, check_versions)
        else:
            if security is not None:
                cluster["security"] = security
            self._cf_open = lambda: _cluster.own_cluster(max_workers, cluster)
            self._cf_fork_refusal = (
                "the pool's cluster belongs to the process that was forked: create_executor('dask') starts another here"
            )
        self._cf_connect()
        _pools.add(self)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls, and lets go of the cluster, or stops it, once those it has are done.

        Args:
            wait: Whether to return only when that has happened. A callback or one of the pool's own calls never
                waits.
            cancel_futures: Whether to cancel the calls that have not started.
        """
        dispatcher = self._cf_dispatcher
        if dispatcher is None:  # in a forked child, before its first call
            with self._cf_connecting:
                dispatcher = self._cf_dispatcher
                if dispatcher is None:
                    self._cf_fork_refusal = _AFTER_SHUTDOWN
                    return
        if instrumentation.present:
            instrumentation.executor_shut_down(self)
        dispatcher.close(RuntimeError(_AFTER_SHUTDOWN))
        try:
            if cancel_futures:
                dispatcher.cancel_waiting()
        finally:  # what a callback raises comes after the end
            own = getattr(_wire.current, "pool", None) == dispatcher.pool
            if wait and not own and not getattr(never_waits, "yes", False):
                dispatcher.delivery.join()

    def _cf_connect(self) -> Dispatcher:
        with self._cf_connecting:
            if self._cf_dispatcher is None:
                if self._cf_fork_refusal is not None and system.getpid() != getattr(self, "_cf_pid", system.getpid()):
                    raise RuntimeError(self._cf_fork_refusal)
                self._cf_pid = system.getpid()
                connection = self._cf_open()
                try:
                    dispatcher = Dispatcher(connection, self._cf_limit, self._cf_preparation)
                except BaseException as exc:
                    # The scheduler hands on the text of what a worker raised, or can't do even that and hangs up.
                    if isinstance(exc, OSError) or "ModuleNotFoundError" in f"{type(exc)} {exc}":
                        raise _cluster.lacking(exc) from exc
                    raise
                self._cf_dispatcher = dispatcher
                _dispatchers.add(dispatcher)
                # A pool that is dropped without a shutdown runs the calls it has, and ends.
                dropped = RuntimeError("the executor was dropped")
                self._cf_finalizer = weakref.finalize(self, dispatcher.close, dropped)
                self._cf_finalizer.atexit = False
                if _exiting:
                    dispatcher.close(RuntimeError(_AFTER_EXIT))
            return self._cf_dispatcher

    def _cf_continue_in_child(self) -> None:
        """In a forked child (E11): the calls stay with the parent; a new submit starts or joins a cluster anew."""
        dispatcher, self._cf_dispatcher = self._cf_dispatcher, None
        self._cf_connecting = threading.RLock()
        if dispatcher is None:
            return
        self._cf_finalizer.detach()
        if dispatcher.refusal is not None:
            self._cf_fork_refusal = str(dispatcher.refusal)
        dispatcher.leave_to_parent(
            lambda: BrokenDaskPool("the process was forked while this call was pending; it is the parent's only")
        )

    @property
    def _cf_pool(self) -> DaskExecutor:
        return self

    # The standard names of private parts that the world reads.

    @property
    def _max_workers(self) -> int:
        dispatcher = self._cf_dispatcher
        return self._cf_limit or (dispatcher.slots if dispatcher is not None else 1)

    @property
    def _shutdown(self) -> bool:
        dispatcher = self._cf_dispatcher
        return dispatcher is not None and dispatcher.refusal is not None and not self._broken

    @property
    def _broken(self) -> bool | str:
        refusal = None if self._cf_dispatcher is None else self._cf_dispatcher.refusal
        return str(refusal) if isinstance(refusal, BrokenDaskPool) else False


class DaskView(_Submitter):
    """A pool, seen with options for the calls submitted through here: made by `DaskExecutor.options`."""

    def __init__(self, pool: DaskExecutor, wishes: Wishes, label: str | None) -> None:
        self._cf_viewed = pool
        self._cf_wishes = wishes
        self._cf_label = label

    @property
    def _cf_pool(self) -> DaskExecutor:
        return self._cf_viewed

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Does nothing: the pool is its maker's to shut down.

        Args:
            wait: Without effect.
            cancel_futures: Without effect.
        """


def _wishes(
    resources: Mapping[str, float] | None, retries: int, priority: int, workers: Sequence[str | int] | None
) -> Wishes:
    for name, value in (("retries", retries), ("priority", priority)):
        if not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if retries < 0:
        raise ValueError("retries must not be negative")
    if isinstance(workers, str):
        raise TypeError("workers must be a sequence of addresses, not one str")
    if not isinstance(resources or {}, Mapping):
        raise TypeError(f"resources must be a mapping of names to amounts, not {type(resources).__name__}")
    for name, amount in (resources or {}).items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise TypeError(f"resources[{name!r}] must be a number, not {type(amount).__name__}")
        if not amount > 0:
            raise ValueError("resources must be positive amounts")
    return Wishes(tuple(sorted((resources or {}).items())), retries, priority, tuple(workers or ()))


def _carried(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function of a map for its calls; itself if it can't be pickled: each call fails with the reason."""
    try:
        return _wire.Carried(fn)
    except Exception:
        return fn


def _failed(error: Exception) -> Future[Any]:
    """Returns a future that has failed: its call could not be pickled."""
    future: DaskFuture[Any] = DaskFuture((b"", None), 0, "", 0)
    future._cf_abandon(BaseException.with_traceback(error, None))
    return future


def _kind_of(fn: Any) -> Any:
    """Returns what calls that are expected to take equally long have in common."""
    fn = getattr(fn, "carried", fn)
    fn = getattr(fn, "func", fn)  # of a partial
    fn = getattr(fn, "__func__", fn)  # of a method
    if hasattr(fn, "__code__"):
        return fn.__code__ if fn.__name__ == "<lambda>" else fn
    return fn if hasattr(fn, "__name__") else type(fn)


def _close_all() -> None:
    """At the end of the interpreter: the clusters end once their calls are done."""
    global _exiting
    _exiting = True
    living = list(_dispatchers)
    for dispatcher in living:
        dispatcher.close(RuntimeError(_AFTER_EXIT))
    for dispatcher in living:
        dispatcher.delivery.join()


def _continue_all_in_child() -> None:
    _cluster.renew_after_fork()
    for pool in list(_pools):
        pool._cf_continue_in_child()
    _dispatchers.clear()


# Before the non-daemon threads are joined, and so before any `atexit` handler of Dask's runs.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_continue_all_in_child)
