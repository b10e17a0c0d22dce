"""The door for authors of pools: the documented names, each imported when it is first asked for.

The modules have the rest, which our backends use; `workers` is for pools of isolated workers. Workers pass through
this file: it imports nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from corefutures._instrumentation import CallRecord as CallRecord
    from corefutures._results import ResultIterator as ResultIterator
    from corefutures_pools.adapter import adapt as adapt
    from corefutures_pools.admission import (
        PendingLimiter as PendingLimiter,
        Permit as Permit,
        make_limiter as make_limiter,
    )
    from corefutures_pools.context import (
        ContextEncoder as ContextEncoder,
        ContextVariables as ContextVariables,
        check_context as check_context,
    )
    from corefutures_pools.cpu import default_threads as default_threads, usable_processors as usable_processors
    from corefutures_pools.executor import (
        ForwardingExecutor as ForwardingExecutor,
        PoolExecutor as PoolExecutor,
        register_pool as register_pool,
    )
    from corefutures_pools.future import PoolFuture as PoolFuture
    from corefutures_pools.helping import WorkerThread as WorkerThread
    from corefutures_pools.inspection.snapshots import (
        CallSnapshot as CallSnapshot,
        Snapshot as Snapshot,
        WorkerSnapshot as WorkerSnapshot,
        dump as dump,
        dump_on_signal as dump_on_signal,
    )
    from corefutures_pools.lifecycle import Lifecycle as Lifecycle
    from corefutures_pools.sharing import Shared as Shared
    from corefutures_pools.slot_call import held_slots as held_slots
    from corefutures_pools.stats import Stats as Stats
    from corefutures_pools.streams.stream import Stream as Stream
    from corefutures_pools.worker_values import WorkerLocal as WorkerLocal, worker_local as worker_local
    from corefutures_pools.workers.chunking import CostModel as CostModel, chunked_map as chunked_map
    from corefutures_pools.workers.executor import IsolatedExecutor as IsolatedExecutor
    from corefutures_pools.workers.interface import (
        PayloadChannel as PayloadChannel,
        WorkerHandle as WorkerHandle,
        WorkerLauncher as WorkerLauncher,
    )
    from corefutures_pools.workers.pipes.pool import PipePool as PipePool
    from corefutures_pools.workers.pipes.worker import serve_pipe as serve_pipe
    from corefutures_pools.workers.pool import PoolOptions as PoolOptions, WorkerPool as WorkerPool
    from corefutures_pools.workers.result_decoding import ResultDecoder as ResultDecoder
    from corefutures_pools.workers.serialization import Encoder as Encoder
    from corefutures_pools.workers.shared_queue.worker import serve_shared_queue as serve_shared_queue

    if sys.platform == "linux":
        from corefutures_pools.workers.shared_queue.pool import SharedQueuePool as SharedQueuePool

_HOMES = {
    "CallRecord": "corefutures._instrumentation",
    "CallSnapshot": "corefutures_pools.inspection.snapshots",
    "ContextEncoder": "corefutures_pools.context",
    "ContextVariables": "corefutures_pools.context",
    "CostModel": "corefutures_pools.workers.chunking",
    "Encoder": "corefutures_pools.workers.serialization",
    "ForwardingExecutor": "corefutures_pools.executor",
    "IsolatedExecutor": "corefutures_pools.workers.executor",
    "Lifecycle": "corefutures_pools.lifecycle",
    "PayloadChannel": "corefutures_pools.workers.interface",
    "PendingLimiter": "corefutures_pools.admission",
    "Permit": "corefutures_pools.admission",
    "PipePool": "corefutures_pools.workers.pipes.pool",
    "WorkerPool": "corefutures_pools.workers.pool",
    "PoolOptions": "corefutures_pools.workers.pool",
    "ResultDecoder": "corefutures_pools.workers.result_decoding",
    "PoolExecutor": "corefutures_pools.executor",
    "PoolFuture": "corefutures_pools.future",
    "ResultIterator": "corefutures._results",
    "Shared": "corefutures_pools.sharing",
    "Snapshot": "corefutures_pools.inspection.snapshots",
    "Stats": "corefutures_pools.stats",
    "Stream": "corefutures_pools.streams.stream",
    "WorkerHandle": "corefutures_pools.workers.interface",
    "WorkerLauncher": "corefutures_pools.workers.interface",
    "WorkerLocal": "corefutures_pools.worker_values",
    "WorkerSnapshot": "corefutures_pools.inspection.snapshots",
    "WorkerThread": "corefutures_pools.helping",
    "adapt": "corefutures_pools.adapter",
    "check_context": "corefutures_pools.context",
    "chunked_map": "corefutures_pools.workers.chunking",
    "default_threads": "corefutures_pools.cpu",
    "dump": "corefutures_pools.inspection.snapshots",
    "dump_on_signal": "corefutures_pools.inspection.snapshots",
    "held_slots": "corefutures_pools.slot_call",
    "make_limiter": "corefutures_pools.admission",
    "register_pool": "corefutures_pools.executor",
    "serve_pipe": "corefutures_pools.workers.pipes.worker",
    "serve_shared_queue": "corefutures_pools.workers.shared_queue.worker",
    "usable_processors": "corefutures_pools.cpu",
    "worker_local": "corefutures_pools.worker_values",
}
if sys.platform == "linux":
    _HOMES["SharedQueuePool"] = "corefutures_pools.workers.shared_queue.pool"

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the table says it once


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Not by `importlib`: a worker interpreter would have to import that first.
        value: object = getattr(__import__(_HOMES[name], fromlist=(name,)), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
