"""The executors of the survey behind `corefutures_pools.adapt`: what the kit is called with, and how each is made.

Nothing is imported until it is surveyed. Each factory says to `adapt` what is known of the executor from its manual.
It is named after the executor, with underscores, or a subject's attribute `adapted` names it. For an executor without
a factory here, `adapt` is called without more.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from corefutures.backend import Capabilities
from corefutures_pools import adapt
from tools.survey import subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

PROCESSES = Capabilities(pickles=True, accepts_initializer=True)
THREADS = Capabilities(same_process=True, shares_memory=True, accepts_initializer=True)


def loky(max_workers: int, **options: Any) -> Executor:
    """loky's pool."""
    return adapt(import_module("loky").ProcessPoolExecutor(max_workers, **options), capabilities=PROCESSES)


def loky_reusable(max_workers: int, **options: Any) -> Executor:
    """loky's reusable executor."""
    return adapt(subjects.loky_reusable(max_workers, **options), capabilities=PROCESSES)


def joblib(max_workers: int, **options: Any) -> Executor:
    """The reusable executor of joblib's copy of loky."""
    return adapt(subjects.joblib_reusable(max_workers, **options), capabilities=PROCESSES)


def distributed(max_workers: int) -> Executor:
    """Dask's executor."""
    return adapt(
        subjects.dask_client_executor(max_workers),
        capabilities=Capabilities(pickles=True, remote=True),
        max_workers=max_workers,
        serializer="cloudpickle",
    )


def mpi4py(max_workers: int, **options: Any) -> Executor:
    """mpi4py's pool."""
    return adapt(import_module("mpi4py.futures").MPIPoolExecutor(max_workers, **options), capabilities=PROCESSES)


def executorlib(max_workers: int) -> Executor:
    """executorlib with one process for each call."""
    return adapt(
        import_module("executorlib").SingleNodeExecutor(max_workers=max_workers),
        capabilities=Capabilities(pickles=True),
        max_workers=max_workers,
        serializer="cloudpickle",
    )


def executorlib_in_blocks(max_workers: int) -> Executor:
    """executorlib with workers that stay."""
    return adapt(
        subjects.executorlib_in_blocks(max_workers),
        capabilities=Capabilities(pickles=True),
        max_workers=max_workers,
        serializer="cloudpickle",
    )


def more_executors(max_workers: int, **options: Any) -> Executor:
    """more-executors' thread pool."""
    return adapt(subjects.more_executors_threads(max_workers, **options), capabilities=THREADS)


def more_executors_with_retry(max_workers: int, **options: Any) -> Executor:
    """more-executors' thread pool with a layer of its own."""
    retrying = subjects.more_executors_with_retry(max_workers)
    return adapt(retrying, capabilities=THREADS, max_workers=max_workers, **options)


def pebble_processes(max_workers: int, **options: Any) -> Executor:
    """pebble's process pool."""
    pool = subjects.PebbleProcesses(max_workers)
    return adapt(pool, capabilities=PROCESSES, max_workers=max_workers, serializer="cloudpickle", **options)


def pebble_threads(max_workers: int, **options: Any) -> Executor:
    """pebble's thread pool."""
    return adapt(subjects.PebbleThreads(max_workers), capabilities=THREADS, max_workers=max_workers, **options)


def __getattr__(name: str) -> Callable[..., Executor]:
    """Return the factory of an adapted form that needs no function of its own.

    Raises:
        AttributeError: No subject of the survey has this name.
    """
    subject = subjects.SUBJECTS.get(name.replace("_", "-"))
    if subject is None or ":" not in subject.target:
        raise AttributeError(name)
    target = subject.target

    def adapted_executor(max_workers: int, **options: Any) -> Executor:
        return adapt(resolve_name(target)(max_workers=max_workers, **options))

    return adapted_executor
