"""Whose executors are surveyed: for each a name, what the kit is called with, and how its executors are made.

Each has a bare form, and an adapted form: the same executor through `adapt`, see `tools/survey/adapted.py`.

The factories here stand in where making an executor takes more than calling a class with `max_workers`; each does as
little as it can. Nothing is imported until it is surveyed.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

HERE = __name__
ADAPTED = "tools.survey.adapted"


@dataclass(frozen=True)
class Subject:
    """One executor in the survey.

    Attributes:
        name: What the page calls it.
        target: What the kit is called with.
        distribution: What it is installed as; empty for the standard library.
        note: How it was made, where that needs saying.
        arguments: Further arguments for the kit, for both forms.
        adapted: What the kit is called with for the adapted form; empty: the factory in `tools.survey.adapted` that
            has the executor's name.
        adapted_note: What the adapted form is, where it is more than a call of `adapt`.
        installs: What it needs besides its distribution.
        seen: What was seen besides broken rules: a whole sentence.
    """

    name: str
    target: str
    distribution: str = ""
    note: str = ""
    arguments: tuple[str, ...] = ()
    adapted: str = ""
    adapted_note: str = ""
    installs: tuple[str, ...] = ()
    seen: str = ""

    @property
    def requires(self) -> tuple[str, ...]:
        """The distributions that it needs."""
        return (self.distribution, *self.installs) if self.distribution else self.installs

    @property
    def has_adapted_form(self) -> bool:
        """Whether the executor is one to adapt: ours are not."""
        return not self.distribution.startswith("corefutures")

    def command(self, slug: str, *, adapted: bool) -> tuple[str, ...]:
        """Return the target of a form, and the further arguments for the kit."""
        by_name = f"{ADAPTED}:{slug.replace('-', '_')}"
        return (self.adapted or by_name if adapted else self.target, *self.arguments)

    def version(self) -> str:
        """The distribution and its version; empty for the standard library."""
        return f"{self.distribution} {metadata.version(self.distribution)}" if self.distribution else ""


SUBJECTS: dict[str, Subject] = {
    "stdlib-thread": Subject("concurrent.futures.ThreadPoolExecutor", "concurrent.futures:ThreadPoolExecutor"),
    "stdlib-process": Subject("concurrent.futures.ProcessPoolExecutor", "concurrent.futures:ProcessPoolExecutor"),
    "stdlib-interpreter": Subject(
        "concurrent.futures.InterpreterPoolExecutor",
        "concurrent.futures:InterpreterPoolExecutor",
        seen="In three of five runs of the whole kit CPython 3.15.2 crashed, in a garbage collection that met freed "
        "memory, after some hundred rules in one process; the rule of that moment is kept when it runs alone.",
    ),
    "thread": Subject("corefutures thread", "thread", "corefutures-thread"),
    "process": Subject("corefutures process", "process", "corefutures-process"),
    "interpreter": Subject("corefutures interpreter", "interpreter", "corefutures-interpreter"),
    "dask": Subject(
        "corefutures dask",
        "dask",
        "corefutures-dask",
        "each executor on a cluster of its own, of processes with one thread each",
    ),
    "mpi": Subject("corefutures mpi", "mpi", "corefutures-mpi", "with MPICH, on one machine"),
    "ray": Subject(
        "corefutures ray",
        "ray",
        "corefutures-ray",
        "each executor connects to the Ray of this machine, which was started before (`ray start --head`); a call "
        "takes none of what Ray counts as CPUs",
        ("-o", "address=auto", "-o", "cpus=0"),
    ),
    "slurm": Subject(
        "corefutures slurm",
        "slurm",
        "corefutures-slurm",
        "with workers on this machine (`cluster='local'`), which need no SLURM",
        ("-o", "cluster=local", "-o", "folder=build/survey"),
    ),
    "loky": Subject("loky.ProcessPoolExecutor", "loky:ProcessPoolExecutor", "loky"),
    "loky-reusable": Subject(
        "loky.get_reusable_executor",
        f"{HERE}:loky_reusable",
        "loky",
        "loky keeps one executor for each thread and resizes it on demand. Here each executor is new (`reuse=False`), "
        "because each rule shuts its executor down; the previous one ends then",
    ),
    "joblib": Subject(
        "joblib's reusable executor",
        f"{HERE}:joblib_reusable",
        "joblib",
        "joblib keeps one executor for the whole process; calls submitted to the previous one go to it. "
        "Made like loky's",
    ),
    "distributed": Subject(
        "Dask's ClientExecutor",
        f"{HERE}:dask_client_executor",
        "distributed",
        "`Client.get_executor(pure=False)`, on a local cluster of worker processes with one thread each. After a "
        "shutdown the next executor gets the same cluster",
        ("--capabilities", "remote=yes,survives_worker_loss=yes"),
    ),
    "mpi4py": Subject(
        "mpi4py.futures.MPIPoolExecutor",
        "mpi4py.futures:MPIPoolExecutor",
        "mpi4py",
        "with MPICH, on one machine",
        installs=("mpich",),
    ),
    "executorlib": Subject(
        "executorlib.SingleNodeExecutor",
        "executorlib:SingleNodeExecutor",
        "executorlib",
        "one process for each call, which takes half a second; the deadline of each rule was 100 s",
    ),
    "executorlib-block": Subject(
        "executorlib.SingleNodeExecutor, in blocks",
        f"{HERE}:executorlib_in_blocks",
        "executorlib",
        "`block_allocation=True`: workers stay, instead of one process for each call",
        adapted=f"{ADAPTED}:executorlib_in_blocks",
    ),
    "more-executors": Subject(
        "more_executors.Executors.thread_pool", f"{HERE}:more_executors_threads", "more-executors"
    ),
    "more-executors-retry": Subject(
        "more_executors, with_retry",
        f"{HERE}:more_executors_with_retry",
        "more-executors",
        "`Executors.thread_pool(…).with_retry(max_attempts=1)`",
        adapted=f"{ADAPTED}:more_executors_with_retry",
    ),
    "pebble-process": Subject(
        "pebble.ProcessPool",
        f"{HERE}:PebbleProcesses",
        "pebble",
        "pebble's interface is `schedule`, `close`, `stop` and `join`; an adapter of 20 lines adds `submit` and "
        "`shutdown`",
        adapted=f"{ADAPTED}:pebble_processes",
    ),
    "pebble-thread": Subject(
        "pebble.ThreadPool",
        f"{HERE}:PebbleThreads",
        "pebble",
        "through the same adapter",
        adapted=f"{ADAPTED}:pebble_threads",
    ),
    "deadpool": Subject("deadpool.Deadpool", "deadpool:Deadpool", "deadpool-executor"),
    "bounded-thread": Subject(
        "bounded_pool_executor.BoundedThreadPoolExecutor",
        "bounded_pool_executor:BoundedThreadPoolExecutor",
        "bounded-pool-executor",
        "`submit` waits while `max_workers` calls have not ended, by design",
    ),
    "bounded-process": Subject(
        "bounded_pool_executor.BoundedProcessPoolExecutor",
        "bounded_pool_executor:BoundedProcessPoolExecutor",
        "bounded-pool-executor",
        "`submit` waits while `max_workers` calls have not ended, by design",
    ),
    "billiard": Subject(
        "billiard.Pool, the pool of Celery",
        f"{HERE}:BilliardProcesses",
        "billiard",
        "billiard's interface is that of `multiprocessing.Pool`; an adapter of 20 lines makes `submit` of "
        "`apply_async`, and `shutdown` of `close` and `join`. A call ends 1 s after its worker was lost "
        "(`lost_worker_timeout`)",
    ),
    "ipyparallel": Subject(
        "ipyparallel's ViewExecutor",
        f"{HERE}:ipyparallel_view_executor",
        "ipyparallel",
        "`Client.load_balanced_view().executor`, on a local cluster of one engine for each worker. After a shutdown "
        "the next executor gets the same cluster. The deadline of each rule was 40 s, because a cluster takes 10 s to "
        "start",
        ("--capabilities", "remote=yes"),
    ),
    "parsl": Subject(
        "parsl.concurrent.ParslPoolExecutor",
        f"{HERE}:parsl_pool_executor",
        "parsl",
        "on Parsl's executor of threads, `parsl.executors.ThreadPoolExecutor`; its kernel ends with it",
    ),
    "aio-process-pool": Subject(
        "aio_process_pool.Executor",
        f"{HERE}:AioProcesses",
        "aio-process-pool",
        "its `submit` is for the thread of a running event loop; an adapter of 20 lines has a loop in a thread of its "
        "own, and calls it there",
    ),
    "ray-pool": Subject(
        "ray.util.multiprocessing.Pool",
        f"{HERE}:RayProcesses",
        "ray",
        "Ray has no executor of its own; its pool has the interface of `multiprocessing.Pool`, and the adapter is that "
        "for billiard",
        ("--capabilities", "remote=yes"),
    ),
}
"""Slug → subject, in the order of the page."""

NOT_CERTIFIED: dict[str, str] = {
    "Celery 5.7.0": "its process pool is that of billiard; the rest of it needs a broker",
    "futures-actors 0.0.5": "an actor takes messages, one after the other; it has no `submit` and no number of workers",
    "cf-taskpool 0.2.0": "`TaskPoolExecutor.submit` takes coroutines and gives futures of asyncio: it runs no calls",
    "ipyparallel 9.2.0": (
        "a cluster takes up to 20 s to start, longer than a rule may by default; `run ipyparallel --deadline 40` has "
        "not been run yet"
    ),
    "Ray 2.60.0": (
        "on two cores it takes up to 20 s to connect and up to 7 s to start the workers of a pool; `run ray-pool "
        "--deadline 60` has not been run yet, and our backend was certified chapter by chapter, not in one report"
    ),
}
"""What was looked at and has no report, with the reason."""


def loky_reusable(max_workers: int, **options: Any) -> Executor:
    """loky's reusable executor, never the one of before."""
    made: Executor = import_module("loky").get_reusable_executor(max_workers=max_workers, reuse=False, **options)
    return made


def joblib_reusable(max_workers: int, **options: Any) -> Executor:
    """The copy of loky that joblib uses."""
    made: Executor = import_module("joblib.externals.loky").get_reusable_executor(
        max_workers=max_workers, reuse=False, **options
    )
    return made


_dask_clients: list[tuple[int, Any, Any]] = []


def dask_client_executor(max_workers: int) -> Executor:
    """Dask's executor; by default it takes equal calls for one (`pure`), which nobody expects of an executor."""
    dask = import_module("distributed")
    idle = [
        entry for entry in _dask_clients if entry[0] == max_workers and ((used := entry[2]()) is None or used._shutdown)
    ]
    if idle:
        client = idle[0][1]
        _dask_clients.remove(idle[0])
    else:
        client = dask.Client(dask.LocalCluster(n_workers=max_workers, threads_per_worker=1, dashboard_address=None))
    made: Executor = client.get_executor(pure=False)
    _dask_clients.append((max_workers, client, weakref.ref(made)))
    return made


def executorlib_in_blocks(max_workers: int) -> Executor:
    """executorlib with workers that stay."""
    made: Executor = import_module("executorlib").SingleNodeExecutor(max_workers=max_workers, block_allocation=True)
    return made


def more_executors_threads(max_workers: int, **options: Any) -> Executor:
    """more-executors' thread pool."""
    made: Executor = import_module("more_executors").Executors.thread_pool(max_workers=max_workers, **options)
    return made


def more_executors_with_retry(max_workers: int, **options: Any) -> Executor:
    """The same with a layer of its own."""
    made: Executor = (
        import_module("more_executors")
        .Executors.thread_pool(max_workers=max_workers, **options)
        .with_retry(max_attempts=1)
    )
    return made


class _Pebble(Executor):
    """submit() is schedule(), shutdown() is close() and join(), in a thread of its own if nobody waits for it."""

    kind: str

    def __init__(self, max_workers: int, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        self.pool = getattr(import_module("pebble"), self.kind)(max_workers, initializer=initializer, initargs=initargs)
        self.futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule the call."""
        future: Future[Any] = self.pool.schedule(fn, args, kwargs)
        self.futures.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close the pool; `stop` would end calls that run as well."""
        for future in list(self.futures) if cancel_futures else ():
            if not future.running():
                future.cancel()
        self.pool.close()
        joining = threading.Thread(target=self.pool.join)
        joining.start()
        if wait:
            joining.join()


class PebbleProcesses(_Pebble):
    """pebble.ProcessPool as an executor."""

    kind = "ProcessPool"


class PebbleThreads(_Pebble):
    """pebble.ThreadPool as an executor."""

    kind = "ThreadPool"


class _ApplyAsync(Executor):
    """submit() is apply_async() of a pool, shutdown() is close() and join(), in a thread if nobody waits for it."""

    pool: Any

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have the pool call the function; a pool can't say when a call begins."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.pool.apply_async(
            fn, args, kwargs, callback=future.set_result, error_callback=lambda error: _fail(future, error)
        )
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close the pool; `terminate` would end calls that run as well."""
        self.pool.close()
        joining = threading.Thread(target=self.pool.join)
        joining.start()
        if wait:
            joining.join()


def _fail(future: Future[Any], error: Any) -> None:
    future.set_exception(getattr(error, "exception", error))  # billiard tells the error with its traceback


class BilliardProcesses(_ApplyAsync):
    """billiard.Pool as an executor."""

    def __init__(self, max_workers: int, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        # By default a call ends 10 s after its worker was lost.
        self.pool = import_module("billiard").Pool(max_workers, initializer, initargs, lost_worker_timeout=1.0)


class RayProcesses(_ApplyAsync):
    """ray.util.multiprocessing.Pool as an executor."""

    def __init__(self, max_workers: int, initializer: Callable[..., object] | None = None, initargs: Any = ()) -> None:
        self.pool = import_module("ray.util.multiprocessing").Pool(max_workers, initializer, initargs)


_clusters: list[tuple[int, Any, Any]] = []


def ipyparallel_view_executor(max_workers: int) -> Executor:
    """ipyparallel's executor; a cluster whose executor is not used any more serves again."""
    free = [entry for entry in _clusters if entry[0] == max_workers and entry[2]() is None]
    if free:
        client = free[0][1]
        _clusters.remove(free[0])
    else:
        cluster = import_module("ipyparallel").Cluster(n=max_workers, log_level=40, engine_timeout=120)
        client = cluster.start_and_connect_sync()
        client.kept = cluster
    made: Executor = client.load_balanced_view().executor
    _clusters.append((max_workers, client, weakref.ref(made)))
    return made


def parsl_pool_executor(max_workers: int) -> Executor:
    """Parsl's executor with a kernel of its own, which ends with the executor."""
    parsl, directory = import_module("parsl"), import_module("tempfile").mkdtemp()
    threads = import_module("parsl.executors").ThreadPoolExecutor(max_threads=max_workers)
    settings = parsl.Config([threads], run_dir=directory, usage_tracking=0, initialize_logging=False)
    kernel = parsl.DataFlowKernel(settings)

    class Managed(import_module("parsl.concurrent").ParslPoolExecutor):  # type: ignore[misc]
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            self._config = settings  # the executor ends its kernel if it knows the settings
            super().shutdown(wait, cancel_futures=cancel_futures)

    made: Executor = Managed(dfk=kernel)
    return made


class AioProcesses(Executor):
    """aio_process_pool.Executor with an event loop in a thread of its own."""

    def __init__(self, max_workers: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.pool = self._in_loop(import_module("aio_process_pool").Executor, max_workers)

    def _in_loop(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        async def call() -> Any:
            return fn(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit in the thread of the loop."""
        made: Future[Any] = self._in_loop(self.pool.submit, fn, *args, **kwargs)
        return made

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut down in the thread of the loop."""
        ending = self.pool.shutdown_async(wait, cancel_futures=cancel_futures)
        asyncio.run_coroutine_threadsafe(ending, self.loop).result()
