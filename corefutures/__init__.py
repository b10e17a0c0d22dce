"""The users' door of corefutures: names only, those of `concurrent.futures` and the registry of backends.

`import corefutures as futures` is a drop-in for `from concurrent import futures`. Everything is imported when it is
first asked for (R3): a worker that passes through this file pays for nothing, and starts in half the time.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is much of what a worker would import; type checkers know the name

if TYPE_CHECKING:
    import sys

    if sys.version_info >= (3, 14):
        from concurrent.futures import InterpreterPoolExecutor as InterpreterPoolExecutor

    from corefutures._adapting import adapt as adapt
    from corefutures._comparing.compare import compare as compare
    from corefutures._comparing.report import Comparison as Comparison, Trial as Trial
    from corefutures._control import Stats as Stats
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
    from corefutures._hosting import cancel_requested as cancel_requested
    from corefutures._observing import add_observer as add_observer, remove_observer as remove_observer
    from corefutures._progress import progress as progress, track as track
    from corefutures._registry import (
        BackendStatus as BackendStatus,
        backends as backends,
        create_executor as create_executor,
        get_backend as get_backend,
        register_backend as register_backend,
    )
    from corefutures._snapshots import (
        CallSnapshot as CallSnapshot,
        Snapshot as Snapshot,
        WorkerSnapshot as WorkerSnapshot,
        dump as dump,
        dump_on_signal as dump_on_signal,
    )
    from corefutures._telemetry import instrument as instrument
    from corefutures._tracing.recording import trace as trace
    from corefutures._waiting import (
        ALL_COMPLETED as ALL_COMPLETED,
        FIRST_COMPLETED as FIRST_COMPLETED,
        FIRST_EXCEPTION as FIRST_EXCEPTION,
        as_completed as as_completed,
        wait as wait,
    )
    from corefutures_process import ProcessPoolExecutor as ProcessPoolExecutor
    from corefutures_thread import ThreadPoolExecutor as ThreadPoolExecutor

__version__ = "0.1.0"

_HOMES = {
    "ALL_COMPLETED": "_waiting",
    "FIRST_COMPLETED": "_waiting",
    "FIRST_EXCEPTION": "_waiting",
    "BackendBrokenError": "_exceptions",
    "BackendConflictError": "_exceptions",
    "BackendDisabledError": "_exceptions",
    "BackendError": "_exceptions",
    "BackendNotFoundError": "_exceptions",
    "BackendStatus": "_registry",
    "BackendUnavailableError": "_exceptions",
    "BrokenExecutor": "_exceptions",
    "CancelledError": "_exceptions",
    "CallSnapshot": "_snapshots",
    "Comparison": "_comparing.report",
    "DeadlockError": "_exceptions",
    "Executor": "_executor",
    "Future": "_future",
    "InvalidStateError": "_exceptions",
    "TimeoutError": "_exceptions",
    "PoolFullError": "_exceptions",
    "Snapshot": "_snapshots",
    "Stats": "_control",
    "Trial": "_comparing.report",
    "UnsupportedError": "_exceptions",
    "WorkerSnapshot": "_snapshots",
    "WorkerLostError": "_exceptions",
    "adapt": "_adapting",
    "add_observer": "_observing",
    "as_completed": "_waiting",
    "backends": "_registry",
    "cancel_requested": "_hosting",
    "compare": "_comparing.compare",
    "create_executor": "_registry",
    "dump": "_snapshots",
    "dump_on_signal": "_snapshots",
    "get_backend": "_registry",
    "instrument": "_telemetry",
    "progress": "_progress",
    "register_backend": "_registry",
    "remove_observer": "_observing",
    "trace": "_tracing.recording",
    "track": "_progress",
    "wait": "_waiting",
}
_POOLS = {
    "ThreadPoolExecutor": "thread",
    "ProcessPoolExecutor": "process",
    "InterpreterPoolExecutor": "interpreter",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module  # here for start-up time only

        value: object = getattr(import_module(f"corefutures.{_HOMES[name]}"), name)
    elif name in _POOLS:
        from corefutures._registry import pool_class  # here for start-up time only

        return pool_class(_POOLS[name])  # not kept: what is installed or registered may change (R4)
    elif name == "__all__":  # lists installed pools only: metadata alone decides (R1)
        return [*_HOMES, *_installed_pools()]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HOMES, *_installed_pools()})


def _installed_pools() -> list[str]:
    from corefutures._registry import installed_backend_names  # here for start-up time only

    installed = installed_backend_names()
    return [pool for pool, backend in _POOLS.items() if backend in installed]
