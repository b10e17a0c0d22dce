"""`EngineExecutor`: the executor of a backend on another project's scheduler.

Touches `queue` and the adapter. Guarantees: an executor that is dropped without a shutdown ends its engine once its
pending calls have ended.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from corefutures._blocking import system
from corefutures.registry._description import Capabilities
from corefutures_pools.adapter.executor import AdaptedExecutor
from corefutures_pools.engines.queue import EngineQueue
from corefutures_pools.wire import RemoteTraceback

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_pools.engines.queue import Engine


class EngineExecutor(AdaptedExecutor):
    """Runs calls on an engine.

    `map(chunksize="auto")` makes chunks that are worth a round trip; other calls travel one by one.

    Args:
        name: The name of the backend.
        engine: The engine; ended with the executor.
        capabilities: What the backend can do.
        max_workers: How many calls run at once, at most.
        initializer: Called in each worker before its first call; None if there is none.
        initargs: Its arguments.
        chunk_seconds: The seconds of work that a chunk is to hold, when that is measured.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    _remote_traceback = RemoteTraceback

    def __init__(
        self,
        name: str,
        engine: Engine,
        capabilities: Capabilities,
        max_workers: int,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        chunk_seconds: float,
    ) -> None:
        queue = EngineQueue(name, engine, max_workers, initializer, initargs)
        super().__init__(queue, capabilities)
        self._chunk_seconds = chunk_seconds
        # The pending calls refer to the executor, so that none is left then.
        weakref.finalize(self, _end, queue, system.getpid()).atexit = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} max_workers={self._max_workers}>"


def _end(queue: EngineQueue, pid: int) -> None:
    if system.getpid() == pid:  # a forked child leaves the engine to its parent
        queue.shutdown(wait=False)
