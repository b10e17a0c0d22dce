"""`EventLoop`: the result thread of a pool over a shared queue: reads results, keeps workers busy, notices their end.

Touches epoll (Linux), `Leadership` and the pool's parts. Guarantees: an error in the result thread breaks the pool,
with that error as cause (E8); a callback or finaliser that runs in the result thread may wait for any call of the pool.
"""

from __future__ import annotations

import sys

from corefutures._blocking import select, threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, nested_loops
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER
from corefutures_pools.descriptors import kept_memfds, memfd_releasers
from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm
from corefutures_pools.workers.shared_queue.memfds import release_idle

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from corefutures_pools.workers.shared_queue.call_killer import CallKiller
    from corefutures_pools.workers.shared_queue.claims import ClaimResolver
    from corefutures_pools.workers.shared_queue.connection import WorkerConnection
    from corefutures_pools.workers.shared_queue.frame_reader import FrameReader
    from corefutures_pools.workers.shared_queue.inline_wait import InlineWaitPool
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue

#: Seconds between two checks of a worker that is expected to end, where no sentinel says so.
_PERIOD: Final = 0.01


class EventLoop:
    """What the result thread does, in turns.

        wake-up event ──▶ clear it
        sentinels ──────▶ ask the worker whether it has ended
        result pipes ───▶ parse frames, if the result thread becomes the leader ──▶ futures
                          then: answer questions about stopped workers, reap dead workers, resolve claims
        backlog ────────▶ encode tasks that had no slot, flush the task queue ──▶ workers
        grants ─────────▶ let workers send more items of streams ──▶ payload channels
                          then: run deferred callbacks; once the pool closes or breaks, stop the workers

    Wherever anything is called here, foreign code may run, and wait: then there is another turn within this one. So
    the state of what is under way is in the pool and the connections, not in local variables.

    Args:
        pool: The pool.
        reader: The pool's.
        claims: The pool's.
        killer: The pool's.
        outer: What the result thread sleeps on.
        send: Sends what can be sent.
        reap: Takes in the end of a worker.
        shut_down: Goes on with the end of the pool, which is closing; returns True once no worker is to be started.

    Thread safety: all of it is the result thread's.
    """

    def __init__(
        self,
        pool: InlineWaitPool,
        reader: FrameReader,
        claims: ClaimResolver,
        killer: CallKiller,
        *,
        outer: select.epoll,
        send: Callable[[TaskQueue], object],
        reap: Callable[[WorkerConnection], object],
        shut_down: Callable[[], object],
    ) -> None:
        self._pool = pool
        self._reader = reader
        self._claims = claims
        self._killer = killer
        self._outer = outer
        self._send = send
        self._reap = reap
        self._shut_down = shut_down
        self._term = LeaderTerm()
        # How many times foreign code waits here, each within the last; written by the result thread alone.
        self._nesting = 0
        #: The workers of a closed or broken pool have been told to stop.
        self.stopping = False
        #: When the workers of a broken pool are killed, by `time.monotonic`.
        self.kill_at: float | None = None

    def run(self) -> None:
        """Serve the pool until its last worker has been reaped; the target of the result thread."""
        pool = self._pool
        nested_loops[threading.get_ident()] = self._run_nested
        memfd_releasers.add(self)
        try:
            while not (self.stopping and not len(pool.connections)):
                self.turn()
        except BaseException as exc:
            pool.mark_broken(f"the thread that serves the {pool.name} failed", exc)
            pool.supervisor.closed = True
            pool.supervisor.await_requests()  # a worker that is being started now is the last, and its ends stay open
            pool.end_workers("kill")
            for connection in pool.connections:
                if connection.worker is not None:
                    try:
                        connection.worker.reap()
                    except Exception:
                        log_failure(LOGGER, "a worker of the %s could not be reaped", pool.name)
        finally:
            pool.supervisor.closed = True
            memfd_releasers.discard(self)
            kept_memfds.clear()
            nested_loops.pop(threading.get_ident(), None)
            try:
                pool.release_resources()
            finally:
                pool.deferred.run()

    def _run_nested(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Go on while a callback or finaliser that runs in this thread waits: see `nested_loops`."""
        self._nesting += 1
        try:
            self._pool.serve_nested(self._nesting, enough, deadline, self.turn)
        finally:
            self._nesting -= 1

    def turn(self, limit: float | None = None) -> None:
        """Wait for events, for no longer than `limit` seconds, and handle them."""
        pool = self._pool
        leadership, queue, connections = pool.leadership, pool.queue, pool.connections
        assert leadership is not None
        assert queue is not None
        readable = self._poll(leadership, limit)
        for connection in list(connections.failing):
            if connection.end_expected:
                connections.check_ended(connection)
        pool.watchdog.run(leadership)
        term = self._term
        nested = leadership.is_queued(term)  # in the turn that this one is within
        try:
            if nested or self._must_lead():
                pool.watchdog.acquire(leadership, term)
            elif not leadership.acquire(term):  # another thread reads, and leaves the rest to us
                pool.watchdog.requested = pool.watchdog.requested or readable
                readable = False
            if leadership.is_leader(term):
                self._lead(leadership, queue, readable)
        finally:
            if not nested:
                leadership.release(term)
        if queue.has_work:
            self._send(queue)
        if pool.grants:
            self._send_grants()
        pool.deferred.run()
        if pool.broken_reason is not None or pool.closing:
            self._shut_down()

    def _send_grants(self) -> None:
        grants = self._pool.grants
        while grants:
            try:
                connection, number, count = grants.popleft()
                connection.channel.grant(number, count)
            except (IndexError, OSError):  # a turn within this one has sent it; or the worker has ended
                pass

    def _poll(self, leadership: Leadership, limit: float | None) -> bool:
        """Wait for events; return whether there is something to read in the result pipes."""
        pool = self._pool
        timeout = None if self.kill_at is None else max(0.0, self.kill_at - clock.monotonic())
        if pool.connections.failing:
            timeout = min(_PERIOD, timeout or _PERIOD)
        if kept_memfds:
            due = release_idle()
            if due is not None:
                timeout = min(due, due if timeout is None else timeout)
        if limit is not None:
            timeout = min(limit, limit if timeout is None else timeout)
        readable = False
        for descriptor, _ in self._outer.poll(pool.watchdog.limit(timeout)):
            if descriptor == leadership.descriptor:
                readable = True
                continue
            connection = pool.connections.by_descriptor.get(descriptor)
            if connection is None:
                pool.wakeup.clear()  # type: ignore[union-attr]  # not kept here: a traceback would keep it open
            elif connection.watched:
                pool.connections.check_ended(connection)
        return readable

    def _must_lead(self) -> bool:
        """Return whether there is something to do that no other thread may do as the leader."""
        return bool(
            self._claims.unresolved
            or self._killer.questions
            or self._pool.connections.failing
            or any(connection.dead for connection in self._pool.connections)
        )

    def _lead(self, leadership: Leadership, queue: TaskQueue, readable: bool) -> None:
        """Do what only the leader does; `readable`: there is something to read in the result pipes."""
        connections, read = self._pool.connections, self._reader.read
        for connection in connections:
            if connection.has_input:
                self._reader.parse(connection)
        if readable:
            for descriptor in leadership.poll(self._term, 0):
                ours = connections.by_descriptor.get(descriptor)
                if ours is not None:
                    read(ours)
        if queue.has_work:  # before what may take longer
            self._send(queue)
        self._killer.answer()
        for connection in list(connections.failing):
            if not connection.end_expected:
                self._killer.kill_malformed(connection)
        for connection in connections:
            if connection.dead:
                self._reap(connection)
        if self._claims.unresolved:
            self._claims.resolve(read)
