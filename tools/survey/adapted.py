"""The executors of the survey behind `corefutures_pools.adapt`: what the kit is called with, and how each is made.

Nothing is imported until it is surveyed. Each factory says to `adapt` what is known of the executor from its manual.
It is named after the executor, with underscores, or a subject's attribute `adapted` names it. For an executor without
a factory here, `adapt` is called without more.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, TypeVar

from corefutures.backend import Capabilities
from corefutures_conformance import known_failures
from corefutures_pools import adapt
from tools.survey import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

_F = TypeVar("_F")

PROCESSES = Capabilities(pickles=True, accepts_initializer=True)
THREADS = Capabilities(same_process=True, shares_memory=True, accepts_initializer=True)


#: What executors break that are one for each thread or process.
_ONE_AT_A_TIME = dict.fromkeys(
    [
        "shutting_down.shutdown_leaves_other_executors_alone",
        "initializing.failing_initializer_breaks_one_executor_only",
        "waiting.wait_takes_futures_of_several_executors",
        "as_completed.as_completed_takes_futures_of_several_executors",
    ],
    "there is one reusable executor at a time: the next one ends it",
)


#: What MPI breaks: our own backend declares the same, but for two rules that are not asked of remote workers.
_LOST_WITH_THE_JOB = known_failures.failures("mpi")
_LOST_WITH_THE_JOB |= dict.fromkeys(
    ["worker_loss.kill_from_outside", "worker_loss.kill_while_idle"],
    _LOST_WITH_THE_JOB["worker_loss.kill_while_running"],
)


def _breaks(rules: Mapping[str, str]) -> Callable[[_F], _F]:
    """Return a decorator that declares which rules a factory's executors break: rule id → what can't be mended."""

    def declare(factory: _F) -> _F:
        factory.expected_failures = dict(rules)  # type: ignore[attr-defined]
        return factory

    return declare


def loky(max_workers: int, **options: Any) -> Executor:
    """loky's pool."""
    return adapt(import_module("loky").ProcessPoolExecutor(max_workers, **options), capabilities=PROCESSES)


@_breaks(_ONE_AT_A_TIME)
def loky_reusable(max_workers: int, **options: Any) -> Executor:
    """loky's reusable executor."""
    return adapt(subjects.loky_reusable(max_workers, **options), capabilities=PROCESSES)


@_breaks(_ONE_AT_A_TIME)
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


@_breaks(_LOST_WITH_THE_JOB)
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


@_breaks(
    {
        "worker_loss.os_exit_with_status_zero_while_running": (
            "pebble replaces a process that ends with status 0, and the future of its call never ends"
        ),
    }
)
def pebble_processes(max_workers: int, **options: Any) -> Executor:
    """pebble's process pool."""
    pool = subjects.PebbleProcesses(max_workers)
    return adapt(pool, capabilities=PROCESSES, max_workers=max_workers, serializer="cloudpickle", **options)


def pebble_threads(max_workers: int, **options: Any) -> Executor:
    """pebble's thread pool."""
    return adapt(subjects.PebbleThreads(max_workers), capabilities=THREADS, max_workers=max_workers, **options)


def ipyparallel(max_workers: int) -> Executor:
    """The executor of ipyparallel's view."""
    return adapt(
        subjects.ipyparallel_view_executor(max_workers),
        capabilities=Capabilities(pickles=True, remote=True),
        max_workers=max_workers,
        serializer="cloudpickle",
    )


@_breaks(
    {"exceptions.raised_exception_is_not_shown": "Parsl shows each exception, and loses the call if that fails"},
)
def parsl(max_workers: int) -> Executor:
    """Parsl's executor, on Parsl's threads."""
    return adapt(
        subjects.parsl_pool_executor(max_workers),
        capabilities=Capabilities(same_process=True, shares_memory=True),
        max_workers=max_workers,
    )


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
