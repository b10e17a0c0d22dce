"""`SharedQueuePool`: the fast way to reach workers: one queue of tasks for all of them, and a result pipe for each.

Touches the parts beside it and epoll (Linux). Guarantees: calls start in the order submitted, by whichever worker is
free first (E2); a lost worker is noticed at once, and which call it ran is known for certain (E5).
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from functools import partial

from corefutures._blocking import select, threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, start_thread, system
from corefutures._exceptions import WorkerLostError
from corefutures._foreign_code import copied, for_each
from corefutures_pools.descriptors import above_standard
from corefutures_pools.wakeup import WakeupEvent
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.messages import SPARE, STOP
from corefutures_pools.workers.shared_queue.call_killer import CallKiller
from corefutures_pools.workers.shared_queue.claims import ClaimResolver
from corefutures_pools.workers.shared_queue.ends import SharedQueueEnds
from corefutures_pools.workers.shared_queue.event_loop import EventLoop
from corefutures_pools.workers.shared_queue.frame_reader import FrameReader
from corefutures_pools.workers.shared_queue.inline_wait import InlineWaitPool
from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm, new_epoll
from corefutures_pools.workers.shared_queue.status_table import StatusTable
from corefutures_pools.workers.shared_queue.task_queue import TaskQueue

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.workers.interface import PayloadChannel, WorkerLauncher
    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.shared_queue.connection import WorkerConnection
    from corefutures_pools.workers.snapshot import Occupation

#: Calls in the backlog are sent on by `submit` itself while workers may be idle, or once there are so many.
_BURST: Final = 32
#: So many tasks may be sent before more are left to the result thread.
_MANY: Final = 512
#: Seconds between asking the workers of a broken pool to end, and killing them.
_GRACE: Final = 1.0


class SharedQueuePool(InlineWaitPool):
    """A pool over a shared queue; see `WorkerPool` for the arguments.

        caller's process                                                       workers
        ┌──────────────────────────────────────────────────────────────┐     ┌────────────┐
        │ submit ─▶ table of calls ─▶ backlog ─▶ TaskQueue ────────────┼─┬──▶│ claim      │
        │              │                          └▶ Arena ───────────┼─┼──▶│ decode     │
        │              │            StatusTable ◀─────────────────────┼─┼───│ enter, run │
        │              ▼                                              │ │   │            │
        │ futures ◀─ FrameReader ◀─ leader ◀── one result pipe each ◀─┼─┼───│ send       │
        └─────────────────────────────────────────────────────────────┘ │   └────────────┘
                                                                        └──▶ other workers

    A call is *queued* (in the backlog or in the queue), *claimed* (a worker has read its descriptor), *running* (the
    worker has entered it in the status table), and *delivered* (its result was read); or *revoked* while it is queued,
    or *orphaned* if the worker that had claimed it was lost.

    The parts, each in its module: `TaskQueue`, `Arena` and `StatusTable` are shared with the workers. `Leadership`
    decides which thread reads results: the `EventLoop` of the result thread, or one that waits (`InlineWaitPool`);
    `StallWatchdog` takes leadership from one that is interrupted. `FrameReader` parses what was read.
    `ConnectionTable` has a `WorkerConnection` for each worker. `ClaimResolver` finds out which call a lost worker
    had, and `CallKiller` which worker to kill for a call.

    Args:
        options: See `WorkerPool`.
        make_channel: Makes what carries payloads to one worker and back.
        **parts: See `WorkerPool`.
    """

    opens_descriptors = True

    def __init__(self, options: PoolOptions, *, make_channel: Callable[[], PayloadChannel], **parts: Any) -> None:
        super().__init__(options, **parts)
        self._make_channel = make_channel
        self._most_workers = self.size + options.spares
        self.claims = ClaimResolver(self)
        self.reader = FrameReader(self, self.claims)
        self.killer = CallKiller(self, self.reader)
        self._loop: EventLoop | None = None

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, future: CallFuture[Any]) -> None:
        """See `WorkerPool.dispatch`."""
        queue = self.queue
        if queue is None:  # the thread that opens it finds the call
            return
        if queue.revoked or self.leadership.waiting:  # type: ignore[union-attr]
            self.step_down()
        if not future._cf_dispatched:
            if not future._postponed:  # submitted before there was a queue
                queue.defer_encoding(future)
            if queue.sent < 2 * len(self._workers):  # or else a result will wake the result thread
                self.wake()
            return
        sent = queue.sent
        if sent < 2 * len(self._workers) or (len(self._backlog) >= _BURST and sent < _MANY):
            queue.flush()

    def _send(self, queue: TaskQueue) -> None:
        """Go on with what other threads left, or were interrupted in; for the result thread."""
        if queue.revoked or self.revocations.are_late:
            self.revocations.finish_late(queue)
            self.watchdog.requested = self.watchdog.requested or bool(queue.revoked)
        for future in queue.encode_deferred():
            self.discard(future)
        if queue.sent < max(_MANY, 2 * len(self._workers)):  # after a cancellation there may be fewer than the workers
            queue.flush()

    def discard(self, future: CallFuture[Any]) -> None:
        """See `WorkerPool.discard`."""
        if self.queue is not None:
            self.queue.discard(future._number)
        super().discard(future)

    def is_running(self, future: CallFuture[Any]) -> bool:
        """See `WorkerPool.is_running`."""
        table = self.status_table
        return table is not None and table.is_claimed(future._number)

    def request_stop(self, future: CallFuture[Any]) -> bool:
        """See `WorkerPool.request_stop`."""
        table = self.status_table
        return table is not None and table.request_stop(future._number)

    def grant(self, connection: WorkerConnection, number: int, count: int) -> None:
        """See `WorkerPool.grant`: the result thread sends it, which alone closes payload channels."""
        self.grants.append((connection, number, count))
        self.wake()

    def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool:
        """See `WorkerPool.kill_running`."""
        return self.killer.kill(future, error)

    def occupations(self) -> Iterable[Occupation]:
        """See `WorkerPool.occupations`."""
        from corefutures_pools.workers.snapshot import Occupation  # here for start-up time only

        table = self.status_table
        if table is None:
            return []
        occupations = []
        for connection in sorted(self.connections, key=lambda connection: connection.index, reverse=True):
            worker = connection.worker
            if worker is not None:
                serving = connection in self._workers
                number, since = table.current_task_since(connection.index) if serving else (0, 0.0)
                spare = connection in self.supervisor.spares
                occupations.append(Occupation(worker, connection.ready, self.calls.get(number), since, spare))
        return occupations

    def body_of(self, future: CallFuture[Any]) -> Any:
        """See `WorkerPool.body_of`."""
        queue = self.queue
        return super().body_of(future) or (None if queue is None else queue.arena.beginning(future._number))

    def revoke(self, future: CallFuture[Any]) -> None:
        """See `WorkerPool.revoke`."""
        if self.queue is not None:
            # Only what the workers need goes back to the pipe: the next call to be cancelled may be the one behind it.
            self.revocations.cancel(self.queue, future, 2 * len(self._workers))

    def cancel_waiting(self) -> None:
        """See `WorkerPool.cancel_waiting`."""
        queue = self.queue
        try:
            if queue is not None and not self.supervisor.closed:
                self.revocations.cancel_all(queue)
        finally:
            for_each(CallFuture._cancel_waiting, copied(self._backlog))  # those that were not encoded

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    def open_transport(self) -> None:
        """See `WorkerPool.open_transport`."""
        with ExitStack() as opened:  # closed again unless all of it can be had
            queue = TaskQueue(self._most_workers, self._backlog)
            opened.callback(queue.close)
            # Nothing is ever written to it: it ends when this process does, and with it the workers.
            self._parent_death_pipe, self._parent_death_pipe_end = map(above_standard, system.pipe())
            opened.callback(system.close, self._parent_death_pipe)
            opened.callback(system.close, self._parent_death_pipe_end)
            self._outer = opened.enter_context(new_epoll())
            wakeup = WakeupEvent()
            opened.callback(wakeup.close)
            self._outer.register(wakeup.waitable, select.EPOLLIN)
            self.leadership = Leadership(self._outer)
            opened.pop_all()
        arena = queue.arena
        self.status_table = StatusTable(memoryview(arena.map)[: arena.reserved], self._most_workers)
        self.connections.open(self._outer, self.leadership)
        self.wakeup = wakeup
        # 1. A submitter enters its call, then checks whether there is a queue.
        # 2. This thread sets the queue, then goes through the calls that were entered. So no call is missed.
        self.queue = queue
        for future in copied(self._backlog):
            queue.defer_encoding(future)
        self._prepare = queue.encode

    def start_threads(self) -> None:
        """See `WorkerPool.start_threads`."""
        self._loop = EventLoop(
            self, self.reader, self.claims, self.killer,
            outer=self._outer, send=self._send, reap=self._reap, shut_down=self._shut_down,
        )  # fmt: skip
        thread = threading.Thread(target=self._loop.run, name=f"{self.name} results", daemon=self.daemons)
        start_thread(thread)
        self.thread = thread
        if self.closing:  # the last call may have been cancelled before there was a thread to wake
            self.wake()

    def start_worker(self, launcher: WorkerLauncher, *, spare: bool = False) -> None:
        """See `WorkerPool.start_worker`."""
        queue, table, connections = self.queue, self.status_table, self.connections
        assert queue is not None
        assert table is not None
        channel = self._make_channel()
        try:
            frames, child_frames = map(above_standard, system.pipe())
        except BaseException:
            channel.close_child_end()
            channel.close()
            raise
        system.set_blocking(frames, False)
        connection = connections.add(frames, channel, spare=spare)
        table.clear(connection.index)
        arena = queue.arena
        ends = SharedQueueEnds(
            queue.reader, child_frames, arena.descriptor, arena.size, arena.reserved, arena.starts, connection.index,
            self._parent_death_pipe, channel.child_end, spare,
        )  # fmt: skip
        try:
            worker = launcher.launch(ends)
        except BaseException:
            system.close(child_frames)
            channel.close_child_end()
            connections.remove(connection)
            raise
        # The worker may have ended already, and may have claimed tasks before: had it ended, its result pipe would say
        # so as soon as our copy of its end is closed.
        connection.worker = worker
        system.close(child_frames)
        channel.close_child_end()
        try:
            connections.watch(connection, worker)
        except BaseException:  # an error in the result thread has closed the pool
            worker.kill()
            worker.reap()
            connections.remove(connection)
            raise
        self.supervisor.stop_if_forced(worker)
        if connection.frames < 0:  # disconnected, when there was no handle to kill it by
            worker.kill()
        connection.watched = True  # only from now on it may be reaped, which closes the sentinels
        if connection.frames < 0:
            connections.expect_end(connection)
            self.wake()

    def promote(self, connection: WorkerConnection) -> None:
        """See `WorkerPool.promote`: the spare waits for this grant."""
        self.grant(connection, SPARE, 1)

    def _reap(self, connection: WorkerConnection) -> None:
        """Take in the end of a worker, whatever the reason, and fail the calls that are lost with it."""
        worker = connection.worker
        assert worker is not None
        self.reader.read(connection)
        if connection not in self.connections:  # a turn within this one has done so
            return
        held = self.claims.held(connection)
        was_spare = self.connections.remove(connection)
        code = worker.reap()
        stopping = self._loop is not None and self._loop.stopping
        self.supervisor.on_worker_end(
            connection,
            code,
            expected=(connection.exiting and not held) or stopping,
            killed=connection.killed_for is not None,
            fail_calls=partial(self._fail_calls, connection, held),
            spare=was_spare,
        )

    def _fail_calls(self, connection: WorkerConnection, held: int, loss: WorkerLostError) -> None:
        """Fail the calls of a worker that was lost, or killed for its call; the pool goes on."""
        if connection.killed_for is not None and connection.killed_for[0] in self.calls:
            self.claims.fail(*connection.killed_for)  # the worker ran that call, and so had no other
            return
        # Also if a call is held: the row may have been overwritten, and the worker may have claimed another one.
        self.claims.begin(loss)
        if held:
            self.claims.fail(held, loss)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def _shut_down(self) -> None:
        """Bring the workers to their end once the calls have ended or failed; for the result thread.

        1. No call is taken any more (`closing`), and no worker is started any more (`supervisor.close`).
        2. A pool that is closed, and has no calls, writes STOP for each worker. It claims that after its last task, and
           a spare as its first.
        3. A broken pool terminates the workers, and kills them after a time.
        4. Workers are reaped as they end; once the last one is, the result thread releases everything.
        """
        queue, loop = self.queue, self._loop
        assert queue is not None
        assert loop is not None
        if self.broken_reason is not None:
            if not loop.stopping:
                if not self.supervisor.close():
                    return
                loop.stopping = True
                queue.revoke_all()
                self.end_workers("terminate")
                loop.kill_at = clock.monotonic() + _GRACE
            elif loop.kill_at is not None and clock.monotonic() >= loop.kill_at:
                self.end_workers("kill")
                loop.kill_at = None
            return
        if not self.calls and not loop.stopping and self.supervisor.close():
            loop.stopping = True
            for connection in copied(self.supervisor.spares):
                with suppress(OSError):  # it has ended
                    connection.channel.grant(SPARE, 1)
            queue.send_control(STOP, len(self.connections))

    def wake(self) -> None:
        """See `WorkerPool.wake`."""
        wakeup = self.wakeup
        if wakeup is not None:
            wakeup.set()

    def end_workers(self, how: str) -> None:
        """See `WorkerPool.end_workers`."""
        for connection in self.connections:
            if connection.worker is not None:
                getattr(connection.worker, how)()

    def release_resources(self, *, in_child: bool = False) -> None:
        """See `WorkerPool.release_resources`."""
        wakeup, self.wakeup = self.wakeup, None
        if wakeup is None:
            return
        leadership, queue, table = self.leadership, self.queue, self.status_table
        assert leadership is not None
        assert queue is not None
        assert table is not None
        if not in_child:
            self.watchdog.acquire(leadership, LeaderTerm())  # no thread reads any more
            for term in leadership.waiting.copy():
                self.defer_callbacks(term)
        leadership.close(in_child=in_child)
        system.close(self._parent_death_pipe_end)
        self._outer.close()  # before what it watches: in a child, nothing may be unregistered in the parent's name
        self.connections.close()
        queue.after_fork_in_child() if in_child else queue.close_pool_end()
        if not (in_child and self.thread is None):  # a worker that was just forked needs the rest
            system.close(self._parent_death_pipe)
            table.close()
            queue.close()
