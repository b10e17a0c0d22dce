"""The users' door of corefutures: names only, those of `concurrent.futures` and the registry of backends.

`import corefutures as futures` is a drop-in for `from concurrent import futures`. The registry and the pools
are imported when they are first asked for (R3): a worker that imports the core pays for neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corefutures._exceptions import (
    BackendBrokenError as BackendBrokenError,
    BackendConflictError as BackendConflictError,
    BackendDisabledError as BackendDisabledError,
    BackendError as BackendError,
    BackendNotFoundError as BackendNotFoundError,
    BackendUnavailableError as BackendUnavailableError,
    BrokenExecutor as BrokenExecutor,
    CancelledError as CancelledError,
    InvalidStateError as InvalidStateError,
    TimeoutError as TimeoutError,
    WorkerLostError as WorkerLostError,
)
from corefutures._executor import Executor as Executor
from corefutures._future import Future as Future
from corefutures._waiting import (
    ALL_COMPLETED as ALL_COMPLETED,
    FIRST_COMPLETED as FIRST_COMPLETED,
    FIRST_EXCEPTION as FIRST_EXCEPTION,
    as_completed as as_completed,
    wait as wait,
)

if TYPE_CHECKING:
    import sys

    if sys.version_info >= (3, 14):
        from concurrent.futures import InterpreterPoolExecutor as InterpreterPoolExecutor

    from corefutures._registry import (
        BackendStatus as BackendStatus,
        backends as backends,
        create_executor as create_executor,
        get_backend as get_backend,
        register_backend as register_backend,
    )
    from corefutures_process import ProcessPoolExecutor as ProcessPoolExecutor
    from corefutures_thread import ThreadPoolExecutor as ThreadPoolExecutor

__version__ = "0.1.0"

_REGISTRY = ("BackendStatus", "backends", "create_executor", "get_backend", "register_backend")
_POOLS = {
    "ThreadPoolExecutor": "thread",
    "ProcessPoolExecutor": "process",
    "InterpreterPoolExecutor": "interpreter",
}
_HERE = [
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
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "TimeoutError",
    "WorkerLostError",
    "as_completed",
    "backends",
    "create_executor",
    "get_backend",
    "register_backend",
    "wait",
]


def __getattr__(name: str) -> object:
    if name in _REGISTRY:
        from corefutures import _registry  # here for start-up time only

        value = getattr(_registry, name)
    elif name in _POOLS:
        from corefutures._registry import pool_class  # here for start-up time only

        return pool_class(_POOLS[name])  # not kept: what is installed or registered may change (R4)
    elif name == "__all__":  # lists installed pools only: metadata alone decides (R1)
        return [*_HERE, *_installed_pools()]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_HERE, *_installed_pools()})


def _installed_pools() -> list[str]:
    from corefutures._registry import installed_backend_names  # here for start-up time only

    installed = installed_backend_names()
    return [pool for pool, backend in _POOLS.items() if backend in installed]
