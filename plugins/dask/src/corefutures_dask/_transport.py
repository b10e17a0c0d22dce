"""How batches reach Dask's workers, and how their results come back.

Touches Dask's client and the plugins of the pool. Guarantees: a batch that is back leaves nothing in the cluster.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final

import dask.config

from corefutures.backend import describe_error
from corefutures_dask import _scheduler_plugin, _worker_plugin
from corefutures_dask._scheduler_plugin import PoolSchedulerPlugin
from corefutures_dask._worker_plugin import BatchHeader, PoolWorkerPlugin
from corefutures_pools.blocking import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_dask._batching import Batch
    from corefutures_dask._cluster import Connection

#: Bytes from which the calls of a batch are stored at a worker first, and are no part of the task graph.
_SCATTER_SIZE: Final = 1 << 18
#: Seconds until Dask is told to release a batch that has come back. Dask's client sends every 10 ms at most: a release
#: that is sent at once would delay the next batch.
_RELEASE_DELAY: Final = 0.05


class NotStored(Exception):
    """The calls of a batch could not be stored at a worker: the worker has ended."""


class Transport:
    """Runs the batches of a pool as tasks of Dask.

    Thread safety: the coroutines run in Dask's loop; the other methods may be called from any thread.
    """

    def __init__(self, connection: Connection, pool: str) -> None:
        self.client = connection.client
        self.loop: Any = connection.client.loop
        self._pool = pool
        self._owns_workers = connection.cluster is not None
        # A client that loses its scheduler may connect to another one at the same address, which knows no pool of ours.
        self._scheduler_comm = self.client.scheduler_comm
        self._spent: list[Any] = []  # Dask's futures that are to be released

    @property
    def is_lost(self) -> bool:
        """Whether the client was closed, or has lost the scheduler that the pool began with."""
        return self.client.status != "running" or self.client.scheduler_comm is not self._scheduler_comm

    def set_up(self, initializer: bytes | None, on_event: Callable[[tuple[float, Any]], None]) -> int:
        """Install the plugins; return the number of threads of the cluster.

        Args:
            initializer: The initializer as a pickled call.
            on_event: Called in Dask's loop with each message of a worker to the pool.
        """
        client, pool = self.client, self._pool
        cleaned_for = None if self._owns_workers else client.id
        client.register_plugin(PoolSchedulerPlugin(pool, cleaned_for), name=pool)
        client.register_plugin(PoolWorkerPlugin(pool, initializer, self._owns_workers), name=pool)
        client.subscribe_topic(pool, on_event)
        return sum(client.nthreads().values())

    async def count_threads(self) -> int:
        """Return the number of threads of the cluster."""
        return sum((await self.client.nthreads()).values())

    async def allowed_failures(self) -> int:
        """Return how often a call may lose its worker and be run again."""
        try:
            return int(await self.client.run_on_scheduler(_scheduler_plugin.allowed_failures))
        except Exception:  # the scheduler is being lost as well, or refuses to run functions
            return int(dask.config.get("distributed.scheduler.allowed-failures"))

    async def run(self, batch: Batch) -> bytes:
        """Run a batch; return the report of `PoolWorkerPlugin.run`, or raise NotStored or whatever Dask raises."""
        client, options = self.client, batch.queue.options
        bodies = [body for body, _ in batch.calls]
        functions = dict([function for _, function in batch.calls if function is not None])
        single = len(bodies) == 1 and not functions
        payload: Any = bodies[0] if single else pickle.dumps((functions, bodies))
        if stored := len(payload) >= _SCATTER_SIZE:
            payload = await self._store(payload)
        header = BatchHeader(self._pool, batch.number, single, bool(options.retries), batch.expected)
        batch.sent = clock.monotonic()
        future = client.submit(
            _worker_plugin.run_batch,
            tuple(header),
            payload,
            key=f"{batch.futures[0].task_name}-{self._pool}-{batch.number}",
            pure=False,
            retries=options.retries,
            priority=options.priority,
            resources=dict(options.resources) or None,
            workers=list(options.workers) or None,
        )
        self._release()
        try:
            return await client.gather(future, asynchronous=True)  # type: ignore[no-any-return]
        finally:
            self._spent += [future, payload] if stored else [future]
            self.loop.call_later(_RELEASE_DELAY, self._release)

    async def _store(self, payload: bytes) -> Any:
        """Store the calls of a batch at a worker, after waiting for one if there is none."""
        while True:
            try:
                return await self.client.scatter(payload, hash=False, asynchronous=True)
            except TimeoutError as exc:
                if self.is_lost:
                    raise NotStored("the scheduler was lost") from exc
            except (OSError, KeyError) as exc:  # the connection broke, or the scheduler has removed the worker
                raise NotStored(describe_error(exc)) from exc

    def _release(self) -> None:
        spent, self._spent = self._spent, []
        for future in spent:
            future.release()

    async def fetch(self, batch: Batch, delivered: int, worker: str) -> list[bytes] | None:
        """Fetch the outcomes of a running batch without those delivered; return None if it has ended, or its worker."""
        fetch = _worker_plugin.fetch_outcomes
        try:
            found = await self.client.run(fetch, self._pool, batch.number, delivered, workers=[worker])
        except Exception:  # the worker is lost: `run` learns the fate of the batch
            return None
        return found.get(worker)  # type: ignore[no-any-return]
