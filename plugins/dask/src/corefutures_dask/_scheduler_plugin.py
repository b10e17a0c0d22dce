"""What a pool has at Dask's scheduler: it notes what a worker gave back, and removes what a lost client has left.

Runs in the scheduler. Guarantees: a worker that runs a pack again, after the death of its first worker, is told in the
task's annotations how many of its calls are still the pack's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from distributed.diagnostics.plugin import SchedulerPlugin

if TYPE_CHECKING:
    from distributed import Scheduler

#: The annotation of a task: how many calls of its pack have not been given back.
KEPT: Final = "corefutures-kept"


class PoolPlugin(SchedulerPlugin):
    """A pool's outpost at the scheduler.

    Args:
        pool: The pool's name: of its plugins, and of the topic under which workers tell what they give back.
        client: The id of the pool's client.
    """

    def __init__(self, pool: str, client: str) -> None:
        self.name = pool
        self._client = client

    async def start(self, scheduler: Scheduler) -> None:
        """Called by Dask, in the scheduler."""
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        """Called by Dask for each event.

        1. A worker gives calls back, and logs it here. 2. It dies, which the scheduler learns from the same stream,
        and so later. 3. The scheduler has another worker run the pack: by then the note is there.
        """
        if topic == self.name and (task := self._scheduler.tasks.get(msg["key"])) is not None:
            task.annotations = {**(task.annotations or {}), KEPT: msg["kept"]}

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Called by Dask when a client has gone, also one that was killed."""
        if client == self._client:
            scheduler.loop.add_callback(leave, self.name, scheduler)


async def leave(pool: str, dask_scheduler: Any) -> None:
    """Removes what a pool has at the scheduler and at the workers; for `Client.run_on_scheduler`."""
    if dask_scheduler.plugins.pop(pool, None) is not None:
        if pool in dask_scheduler.worker_plugins:
            await dask_scheduler.unregister_worker_plugin(comm=None, name=pool)
        broker = getattr(dask_scheduler, "_broker", None)  # Dask itself lets go of no topic
        if broker is not None:
            broker.truncate(pool)


def allowed_failures(dask_scheduler: Any) -> int:
    """Returns how often a call may lose its worker and be run again; for `Client.run_on_scheduler`."""
    return int(dask_scheduler.allowed_failures)
