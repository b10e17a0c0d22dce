"""The plugin of a pool at Dask's scheduler: notes the calls that a batch gives back, and cleans up after a lost client.

Runs in the scheduler. Guarantees: a worker that repeats a batch, after the loss of its first worker, finds in the
annotations of the task how many calls are still in the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin

if TYPE_CHECKING:
    from distributed import Scheduler

#: The annotation of a task: how many calls of the batch have not been given back.
KEPT: Final = "corefutures-kept"
#: Seconds from the loss of a pool's client to the removal of the pool.
_REMOVAL_DELAY: Final = 1.0


class PoolSchedulerPlugin(SchedulerPlugin):
    """A pool's plugin at the scheduler.

    Args:
        pool: The name of the pool, of its plugins, and of the topic under which workers report returned calls.
        client: The id of the pool's client; None if the cluster ends with the pool, and so needs no clean-up.
    """

    def __init__(self, pool: str, client: str | None) -> None:
        self.name = pool
        self._client = client

    async def start(self, scheduler: Scheduler) -> None:
        """Keep the scheduler; Dask calls this method in the scheduler."""
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """Note how many calls are still in a batch; Dask calls this method for each event.

        1. A worker gives calls back, and logs that here. 2. The worker dies; the scheduler learns that from the same
        stream, and so later. 3. The scheduler has another worker run the batch: by then the note is there.
        """
        if topic == self.name and (task := self._scheduler.tasks.get(msg["key"])) is not None:
            task.annotations = {**(task.annotations or {}), KEPT: msg["kept"]}

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Remove the pool when its client has gone, even if it was killed; Dask calls this method.

        A client often goes just before its cluster: a worker that is ending would report the removal as an error.
        """
        if client == self._client:
            scheduler.loop.call_later(_REMOVAL_DELAY, remove_pool, self.name, scheduler)


async def remove_pool(pool: str, dask_scheduler: Any) -> None:
    """Remove the plugins and the topic of a pool; for `Client.run_on_scheduler`."""
    if dask_scheduler.plugins.pop(pool, None) is not None and dask_scheduler.status == Status.running:
        if pool in dask_scheduler.worker_plugins:
            await dask_scheduler.unregister_worker_plugin(comm=None, name=pool)
        broker = getattr(dask_scheduler, "_broker", None)  # Dask itself removes no topic
        if broker is not None:
            broker.truncate(pool)


def allowed_failures(dask_scheduler: Any) -> int:
    """Return how often a call may lose its worker and be run again; for `Client.run_on_scheduler`."""
    return int(dask_scheduler.allowed_failures)
