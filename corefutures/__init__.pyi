"""What type checkers see of the users' door: every name, those of other distributions too, with its own type.

Where a backend's distribution is not installed, its class is unknown to them. `create_executor` lists the options of
our backends; a test compares them with the classes.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing.context import BaseContext
from typing import Any, Literal, overload

from corefutures import interpreter as interpreter, process as process, thread as thread
from corefutures._blocking import cancel_requested as cancel_requested
from corefutures._exceptions import (
    BackendBrokenError as BackendBrokenError,
    BackendConflictError as BackendConflictError,
    BackendDisabledError as BackendDisabledError,
    BackendError as BackendError,
    BackendNotFoundError as BackendNotFoundError,
    BackendUnavailableError as BackendUnavailableError,
    BrokenExecutor as BrokenExecutor,
    CancelledError as CancelledError,
    DeadlockError as DeadlockError,
    InvalidStateError as InvalidStateError,
    PoolFullError as PoolFullError,
    TimeoutError as TimeoutError,
    UnsupportedError as UnsupportedError,
    WorkerLostError as WorkerLostError,
)
from corefutures._executor import Executor as Executor
from corefutures._future import Future as Future
from corefutures._observers import add_observer as add_observer, remove_observer as remove_observer
from corefutures._wait import (
    ALL_COMPLETED as ALL_COMPLETED,
    FIRST_COMPLETED as FIRST_COMPLETED,
    FIRST_EXCEPTION as FIRST_EXCEPTION,
    as_completed as as_completed,
    wait as wait,
)
from corefutures.registry._description import BackendStatus as BackendStatus
from corefutures.registry._registry import (
    backends as backends,
    get_backend as get_backend,
    register_backend as register_backend,
)
from corefutures_dask import DaskExecutor
from corefutures_monitor import (
    instrument as instrument,
    profile as profile,
    progress as progress,
    trace as trace,
    track as track,
)
from corefutures_mpi import MPIExecutor
from corefutures_pools.adapter import adapt as adapt
from corefutures_pools.inspection.snapshots import (
    CallSnapshot as CallSnapshot,
    Snapshot as Snapshot,
    WorkerSnapshot as WorkerSnapshot,
    dump as dump,
    dump_on_signal as dump_on_signal,
)
from corefutures_pools.options import AtExit, ContextOption, OnRefusal, SlotsOption, WhenFull
from corefutures_pools.sharing import Shared as Shared
from corefutures_pools.slot_call import held_slots as held_slots
from corefutures_pools.stats import Stats as Stats
from corefutures_pools.streams.stream import Stream as Stream
from corefutures_pools.worker_values import WorkerLocal as WorkerLocal, worker_local as worker_local
from corefutures_process import ProcessPoolExecutor as ProcessPoolExecutor
from corefutures_ray import RayExecutor
from corefutures_slurm import SlurmExecutor
from corefutures_structured import (
    completions as completions,
    default_executor as default_executor,
    imap as imap,
    retrying as retrying,
    scope as scope,
    time_left as time_left,
    use as use,
)
from corefutures_thread import ThreadPoolExecutor as ThreadPoolExecutor
from corefutures_tools import Comparison as Comparison, Trial as Trial, compare as compare

if sys.version_info >= (3, 14):
    from corefutures_interpreter import InterpreterPoolExecutor as InterpreterPoolExecutor

__version__: str

@overload
def create_executor(
    name: Literal["thread"],
    /,
    *,
    max_workers: int | None = None,
    thread_name_prefix: str = "",
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    context: ContextOption = None,
    inner_threads: None = None,
    max_pending: int | None = None,
    when_full: WhenFull = "block",
    at_exit: AtExit = "wait",
    forward_logs: bool = False,
    slots: SlotsOption = None,
) -> ThreadPoolExecutor: ...
@overload
def create_executor(
    name: Literal["process"],
    /,
    *,
    max_workers: int | None = None,
    mp_context: BaseContext | str | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    max_tasks_per_child: int | None = None,
    on_worker_loss: str = "break",
    serializer: str = "pickle",
    max_pending: int | None = None,
    when_full: WhenFull = "block",
    at_exit: AtExit = "wait",
    kill_on_cancel: bool = False,
    kill_tree: bool = True,
    context: ContextOption = None,
    inner_threads: int | None = None,
    forward_logs: bool = False,
    warm: Iterable[str] | None = None,
    memory: int | str | None = None,
    memory_total: int | str | None = None,
    slots: SlotsOption = None,
    spares: int = 0,
) -> ProcessPoolExecutor: ...

if sys.version_info >= (3, 14):
    @overload
    def create_executor(
        name: Literal["interpreter"],
        /,
        *,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        serializer: str = "pickle",
        max_pending: int | None = None,
        when_full: WhenFull = "block",
        at_exit: AtExit = "wait",
        context: ContextOption = None,
        inner_threads: None = None,
        forward_logs: bool = False,
        slots: SlotsOption = None,
        on_refusal: OnRefusal = "raise",
    ) -> InterpreterPoolExecutor: ...

@overload
def create_executor(
    name: Literal["dask"],
    /,
    *,
    max_workers: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
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
) -> DaskExecutor: ...
@overload
def create_executor(
    name: Literal["mpi"],
    /,
    *,
    max_workers: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> MPIExecutor: ...
@overload
def create_executor(
    name: Literal["slurm"],
    /,
    *,
    max_workers: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    partition: str | None = None,
    time: int = 60,
    mem_gb: float | None = None,
    cpus: int = 1,
    gpus: int | None = None,
    account: str | None = None,
    qos: str | None = None,
    constraint: str | None = None,
    setup: Sequence[str] = (),
    sbatch: Mapping[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    idle: float = 300.0,
    cluster: str = "slurm",
) -> SlurmExecutor: ...
@overload
def create_executor(
    name: Literal["ray"],
    /,
    *,
    max_workers: int | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    address: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    resources: Mapping[str, float] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
) -> RayExecutor: ...
@overload
def create_executor(name: str, /, **options: Any) -> Executor: ...

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BackendBrokenError",
    "BackendConflictError",
    "BackendDisabledError",
    "BackendError",
    "BackendNotFoundError",
    "BackendStatus",
    "BackendUnavailableError",
    "BrokenExecutor",
    "CallSnapshot",
    "CancelledError",
    "Comparison",
    "DeadlockError",
    "Executor",
    "Future",
    "InvalidStateError",
    "PoolFullError",
    "ProcessPoolExecutor",
    "Shared",
    "Snapshot",
    "Stats",
    "Stream",
    "ThreadPoolExecutor",
    "TimeoutError",
    "Trial",
    "UnsupportedError",
    "WorkerLocal",
    "WorkerLostError",
    "WorkerSnapshot",
    "adapt",
    "add_observer",
    "as_completed",
    "backends",
    "cancel_requested",
    "compare",
    "completions",
    "create_executor",
    "default_executor",
    "dump",
    "dump_on_signal",
    "get_backend",
    "held_slots",
    "imap",
    "instrument",
    "profile",
    "progress",
    "register_backend",
    "remove_observer",
    "retrying",
    "scope",
    "time_left",
    "trace",
    "track",
    "use",
    "wait",
    "worker_local",
]
if sys.version_info >= (3, 14):
    __all__ += ["InterpreterPoolExecutor"]
