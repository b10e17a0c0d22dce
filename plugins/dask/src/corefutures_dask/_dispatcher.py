"""The scheduler of one pool: takes calls in any thread, sends batches in Dask's loop, and sends lost batches again.

Touches the files beside it; Dask only through `_transport`. Guarantees: at most as many batches are in flight as the
workers have threads; an internal failure breaks the pool, and leaves no future pending (E8).
"""

from __future__ import annotations

import asyncio
import pickle
import secrets
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from distributed import CancelledError as DaskCancelledError
from distributed.scheduler import KilledWorker

from corefutures_dask._batching import BatchSizer
from corefutures_dask._completion import CompletionThread
from corefutures_dask._exceptions import arguments_lost, broken_pool, task_refused, worker_lost
from corefutures_dask._future import non_blocking
from corefutures_dask._pending import PendingCalls
from corefutures_dask._transport import NotStored, Transport
from corefutures_dask._wire import load_outcome
from corefutures_dask._worker_plugin import CallFailed
from corefutures_pools.blocking import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from corefutures_dask._batching import Batch, TaskOptions
    from corefutures_dask._cluster import Connection
    from corefutures_dask._future import Call, DaskFuture

#: Seconds between two counts of the cluster's threads, while there are calls.
_COUNT_INTERVAL: Final = 1.0
#: Seconds until a call whose worker was lost is sent again: by then it is known whether the scheduler was lost as well.
_RESEND_DELAY: Final = 0.1


class LoopWakeup:
    """An event that runs a callback in Dask's loop when it is set; the callback clears `is_set` first."""

    def __init__(self, loop: Any, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self.is_set = False

    def set(self) -> None:
        """Schedule the callback, or raise RuntimeError if the loop is closed."""
        try:
            self.is_set = True
            self._loop.add_callback(self._callback)
        except BaseException:  # also an interrupt: the next caller schedules it
            self.is_set = False
            raise


class Dispatcher:
    """Sends calls to the cluster and passes their results on.

    Args:
        connection: The connection to the cluster; closed when the last call has ended.
        limit: How many calls may run at once; None for as many as the cluster has threads.
        initializer: The initializer as a pickled call; None if there is none.

    Thread safety: the methods before `_dispatch` may be called from any thread, the others run in Dask's loop.
    """

    def __init__(self, connection: Connection, limit: int | None, initializer: bytes | None) -> None:
        self.pool = f"corefutures-{secrets.token_hex(8)}"  # the name of the pool in the cluster
        self.connection = connection
        self._limit = limit
        self._closed = False  # end once no call is pending
        self._ended = False
        self._sizer = BatchSizer()
        self._counted = 0.0  # when the threads of the cluster were counted last
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps none alive
        self.transport = Transport(connection, self.pool)
        self.completion = CompletionThread(self.pool, partial(connection.close, self.pool), self._check)
        self.pending = PendingCalls(self.completion, limit is not None)
        self._wakeup = LoopWakeup(self.transport.loop, self._dispatch)
        try:
            self.slots = self._limited(self.transport.set_up(initializer, self._on_split))
            self.completion.start()
        except BaseException:
            connection.close(self.pool)
            raise

    def _limited(self, threads: int) -> int:
        """Return how many batches may be in flight."""
        return max(1, threads if self._limit is None else min(threads, self._limit))

    def submit(self, options: TaskOptions, call: Call, task_name: str, cost_key: int) -> DaskFuture[Any]:
        """Take a call, or raise RuntimeError if calls are refused."""
        queue = self.pending.queues.get(options)
        if queue is None:
            queue = self.pending.add_queue(options)
            self._wake()  # `_dispatch` may have left the event set, without knowing this queue
        future = self.pending.add(queue, call, task_name, cost_key)
        # 1. `_dispatch` clears the event, then reads the queues. 2. This method has appended a call, then reads the
        # event. So either `_dispatch` finds the call, or this method finds the event cleared.
        if not self._wakeup.is_set:
            self._wake()
        return future

    def close(self, refusal: Exception, cancel: bool = False) -> None:
        """Refuse calls from now on, `cancel` those that have not started, and end when the others have ended.

        A signal handler may raise at any point. Before `_closed` is set, the next `close` begins again, and `join` does
        not wait. After that, the regular check of the completion thread wakes the loop if this method has not.
        """
        self.pending.close(refusal)
        self._closed = True
        try:
            if cancel:
                self.pending.cancel()
        finally:
            self._wake()

    def join(self) -> None:
        """Wait for the end of the completion thread, unless `close` was left before it could have that thread end."""
        if self._closed:
            self.completion.join()

    def fail(self, message: str, cause: BaseException | None = None) -> None:
        """Break the pool: fail every pending call, each with an error of its own, and refuse calls from now on."""
        self.pending.fail(broken_pool(message, cause))
        self._end()

    def after_fork_in_child(self, make_error: Callable[[], Exception]) -> None:
        """In a forked child (E11): leave the calls and the connection to the parent."""
        self.connection.after_fork_in_child()
        self.pending.fail_after_fork(make_error)

    def _wake(self) -> None:
        try:
            self._wakeup.set()
        except RuntimeError as exc:  # the loop is closed
            if not self._ended:
                self.fail("Dask's client was closed", exc)

    def _end(self) -> None:
        """Cancel the tasks in Dask's loop, and have the completion thread end; a second call is harmless."""
        self._ended = True
        try:
            self.transport.loop.add_callback(self._cancel_tasks)
        except RuntimeError:  # the loop is closed, and has cancelled them
            pass
        self.completion.end()

    def _check(self) -> None:
        if self._is_lost():
            self._on_scheduler_lost()
        elif self._closed and not self._ended:
            self._wake()

    def _is_lost(self) -> bool:
        return self.transport.is_lost and not self._ended

    def _on_scheduler_lost(self) -> None:
        self.fail("the connection to Dask's scheduler was lost: the calls that were pending are lost with it")

    def _dispatch(self) -> None:
        """Send every batch that may leave now."""
        non_blocking.active = True
        pending, wakeup = self.pending, self._wakeup
        try:
            wakeup.is_set = False
            if self._is_lost():
                self._on_scheduler_lost()
            while (batch := pending.new_batch(self.slots)) is not None:
                self._sizer.fill(batch, self.slots, self.completion.cancel)
                if batch.futures:
                    self._send(batch)
                else:  # all calls were cancelled
                    pending.remove_batch(batch)
            # While no queue has a free slot, no call need wake the loop: the end of a batch leads here.
            wakeup.is_set = pending.is_full(self.slots)
            if pending.is_empty():
                if self._closed:
                    self._end()
            elif not self._ended and clock.monotonic() - self._counted >= _COUNT_INTERVAL:
                self._counted = clock.monotonic()
                self._start(self._count_slots())
        except BaseException as exc:
            self.fail("the dispatcher failed", exc)
            raise

    def _send(self, batch: Batch) -> None:
        batch.futures[0].start()
        self.pending.check_batch(batch)
        self._start(self._run(batch))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, batch: Batch) -> None:
        """Run a batch, and complete its futures or send them again."""
        try:
            try:
                report = await self.transport.run(batch)
            except KilledWorker as exc:
                self._send_again(batch, partial(worker_lost, exc), True)
            except CallFailed as exc:
                self.completion.complete(batch, 0, [exc.outcome])
            except (DaskCancelledError, NotStored) as exc:
                await self._on_arguments_lost(batch, exc)
            except asyncio.CancelledError as exc:
                self.fail("Dask has given up the pool's calls: its scheduler or its client has ended", exc)
            except Exception as exc:
                self.completion.fail(batch.futures, partial(task_refused, exc))
            else:
                self._on_report(batch, report)
        except BaseException as exc:
            self.fail("the dispatcher failed", exc)
            raise
        finally:
            self.pending.remove_batch(batch)
            self._dispatch()

    def _on_report(self, batch: Batch, report: bytes) -> None:
        fault, first, outcomes, taken = pickle.loads(report)
        if fault is not None:
            _, error, text = load_outcome(fault)
            self.fail(f"an initializer failed, the pool is not usable any more\n{text}", error)
            return
        seconds = array("f")
        seconds.frombytes(taken)
        self._sizer.record(batch, seconds, clock.monotonic() - batch.sent)
        self.completion.complete(batch, first, outcomes)

    def _send_again(self, batch: Batch, make_error: Callable[[], Exception], final: bool) -> None:
        """Send the calls of a batch again whose worker was lost.

        If that has happened too often (`final`) the call fails. Of several calls each is sent alone once more, so that
        only the one fails that has ended the workers.
        """
        if final and len(batch.futures) == 1:
            self.completion.fail(batch.futures, make_error)
            return
        for future in batch.futures:
            future.losses = 1 if final else future.losses + 1
            future.alone = future.alone or final
        self.pending.take_back(batch, 0)

    async def _on_arguments_lost(self, batch: Batch, error: Exception) -> None:
        """Send a batch again of which Dask has nothing any more.

        Arguments that are stored at a worker are lost with the worker, and Dask then cancels their task; but the pool
        still has the calls. Dask also cancels tasks when another client asks for that (`Client.restart`).
        """
        await asyncio.sleep(_RESEND_DELAY)
        if self._is_lost():
            self._on_scheduler_lost()
            return
        allowed = await self.transport.allowed_failures()
        runs = 1 + max((future.losses for future in batch.futures), default=0)
        self._send_again(batch, partial(arguments_lost, runs, error), runs > allowed)

    def _on_split(self, event: tuple[float, Any]) -> None:
        """Take back the calls that a worker has given back because another call of their batch takes long."""
        try:
            message = event[1]
            batch = self.pending.batches.get(message["batch"])
            if batch is None:
                return
            kept: int = message["kept"]
            if len(batch.futures) > kept:
                self.pending.take_back(batch, kept)
            for future in batch.futures:
                future.start()
            batch.start_known.set()
            self._sizer.record_long(batch.futures[-1])
            if kept > 1:
                self._start(self._fetch(batch, message["worker"]))
            self._dispatch()
        except Exception as exc:
            self.fail("the dispatcher failed", exc)

    async def _fetch(self, batch: Batch, worker: str) -> None:
        """Fetch the results before a call that takes long; results that are lost on the way come with the report."""
        delivered = 0
        while outcomes := await self.transport.fetch(batch, delivered, worker):
            self.completion.complete(batch, delivered, outcomes)
            delivered += len(outcomes)

    async def _count_slots(self) -> None:
        """Count the threads of the cluster, and use new ones at once."""
        try:
            threads = await self.transport.count_threads()
        except Exception:  # the loss of the scheduler is noticed elsewhere
            return
        before, self.slots = self.slots, self._limited(threads)
        if not threads and not self._ended and self.connection.has_no_workers:
            self.fail("the workers of the pool's cluster have ended, and Dask starts no others")
            return
        if self.slots <= before:
            await asyncio.sleep(_COUNT_INTERVAL)
        self._dispatch()
