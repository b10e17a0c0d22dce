"""`ClaimResolver`: whose a claimed task was, after a worker was lost.

Touches `TaskQueue`, `StatusTable` and the connections. Guarantees: a call fails with a lost worker only if it was that
worker's, or if every other worker is known not to have it (E5).
"""

from __future__ import annotations

import sys

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures_pools.workers.messages import PING

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures._exceptions import WorkerLostError
    from corefutures_pools.workers.shared_queue.connection import WorkerConnection
    from corefutures_pools.workers.shared_queue.inline_wait import InlineWaitPool


class ClaimResolution:
    """Tasks that a lost worker may have claimed, and had not entered in the status table: *orphaned*, perhaps.

    Args:
        ping: The number of the PING that the candidates are asked with.
        tasks: The calls that were claimed when the worker was lost, less those found to be another worker's, or ended.
        candidates: The workers that may have claimed one of them instead. A worker is cleared once it is known to have
            none of them.
        loss: What those calls fail with that remain when no candidate does.
    """

    def __init__(self, ping: int, tasks: set[int], candidates: set[WorkerConnection], loss: WorkerLostError) -> None:
        self.ping = ping
        self.tasks = tasks
        self.candidates = candidates
        self.losses = [loss]


class ClaimResolver:
    """Finds out which claimed tasks are orphaned.

    A worker reads a task descriptor first, and enters the task in the status table then. If it is lost in between, no
    table says which task was its own:

    1. The tasks in question are those that were claimed (`TaskQueue.claimed`); all workers are candidates.
    2. Tasks that another worker has entered in the status table, and tasks that end, are that worker's.
    3. A worker that runs a task which it has entered is cleared: it claims one task at a time.
    4. All others are asked: as many PINGs are written to the queue as there are candidates. A worker that reads one is
       between two tasks, and answers PONG. Since one worker may read several of them, PINGs are written again.
    5. When no candidate remains, the tasks that remain are orphaned, and fail with the loss.

    Args:
        pool: The pool.

    Thread safety: for the result thread, as the leader.
    """

    def __init__(self, pool: InlineWaitPool) -> None:
        self._pool = pool
        self.unresolved: list[ClaimResolution] = []
        self.pings = 0  # how many were begun; written by the result thread alone

    def held(self, connection: WorkerConnection) -> int:
        """Return the task that a worker has entered in the status table, if it may have that one; 0 otherwise.

        The table may have been overwritten: of a task that two workers have entered, neither is believed to have it.
        """
        pool = self._pool
        assert pool.queue is not None
        assert pool.status_table is not None
        current_task = pool.status_table.current_task
        serving = pool.connections.serving
        task = current_task(connection.index) if connection in serving else 0
        if task not in pool.calls or task not in pool.queue.claimed((task,)):
            return 0
        others = (other for other in pool.connections if other is not connection and other in serving)
        return 0 if any(current_task(other.index) == task for other in others) else task

    def begin(self, loss: WorkerLostError) -> None:
        """Begin to find out which task a lost worker may have claimed; `resolve` goes on."""
        pool = self._pool
        assert pool.queue is not None
        self.pings += 1
        tasks = pool.queue.claimed(pool.calls.copy())
        # Afterwards: a worker that has been started meanwhile may have claimed one of them.
        candidates = {connection for connection in pool.connections if not connection.exiting}
        resolution = ClaimResolution(self.pings | PING, tasks, candidates, loss)
        for other in self.unresolved:  # the lost worker was a candidate, and can't answer any more
            other.losses.append(loss)
        self.unresolved.append(resolution)

    def resolve(self, read: Callable[[WorkerConnection], object]) -> None:
        """Clear the candidates that can be cleared by now, and fail the tasks that are orphaned.

        The status table is read first, then the result pipes. A task that is in the table and still has no result is
        running; all tasks that the worker claimed earlier have been delivered.

        Args:
            read: Reads and parses what a worker has written.
        """
        pool = self._pool
        queue, table, serving = pool.queue, pool.status_table, pool.connections.serving
        assert queue is not None
        assert table is not None
        candidates = {candidate for resolution in self.unresolved for candidate in resolution.candidates}
        current = {candidate: table.current_task(candidate.index) for candidate in candidates if candidate in serving}
        for candidate in candidates:
            read(candidate)
        for resolution in list(self.unresolved):
            if resolution not in self.unresolved:  # resolved meanwhile, in a turn that a callback has caused
                continue
            resolution.tasks.intersection_update(pool.calls)
            resolution.tasks.difference_update(current.values())
            for candidate in list(resolution.candidates):
                runs = candidate not in serving or current.get(candidate) in pool.calls
                if runs or candidate.last_pong >= resolution.ping:
                    resolution.candidates.discard(candidate)
            if not resolution.tasks:
                self.unresolved.remove(resolution)
            elif not resolution.candidates:
                self.unresolved.remove(resolution)
                for index, number in enumerate(sorted(resolution.tasks)):
                    self.fail(number, resolution.losses[min(index, len(resolution.losses) - 1)])
            else:
                queue.ping(resolution.ping, len(resolution.candidates))

    def fail(self, number: int, error: BaseException) -> None:
        """Give back the slot of a task, and fail its call."""
        pool = self._pool
        assert pool.queue is not None
        pool.queue.arena.free(number)
        pool.finish_call(number, None, error)
