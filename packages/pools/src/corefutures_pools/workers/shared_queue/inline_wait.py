"""`InlineWaitPool`: a thread that waits for the only pending call reads its result itself, instead of sleeping.

Touches `Leadership`, `WorkerPool` and the workers' connections. Guarantees: a thread that a signal handler or finaliser
interrupts at any point here blocks neither the handler nor other threads (F8).
"""

from __future__ import annotations

import sys
from collections import deque

from corefutures._blocking import threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, nested_loops, system
from corefutures._future import FINISHED, PENDING
from corefutures_pools.blocking import at_once
from corefutures_pools.workers.messages import (
    ERROR,
    FRAME,
    INLINE_LIMIT,
    RESULT_MARSHAL,
    RESULT_PICKLE,
    RESULT_SLOT,
    SLOT_RESULT,
)
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.shared_queue.connection import READ_SIZE, WorkerConnection
from corefutures_pools.workers.shared_queue.connection_table import ConnectionTable
from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm
from corefutures_pools.workers.shared_queue.revocation import Revocations
from corefutures_pools.workers.shared_queue.watchdog import StallWatchdog

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

    from corefutures_pools.wakeup import WakeupEvent
    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.shared_queue.status_table import StatusTable
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue

#: Seconds that a thread polls without sleeping for a worker's answer.
SPIN_SECONDS: Final = 0.00005
#: Seconds that the kernel can be asked to wait.
_LONGEST_POLL: Final = 1e6


class InlineWaitPool(WorkerPool):
    """A pool whose results may be read by a thread that waits for one, instead of by the result thread.

    What happens to the call of a thread that waits inline:

    1. The thread *acquires* leadership, disarms the result thread, and polls the result pipes.
    2. It reads one result into the connection's inbox, where every frame is stored, whichever thread reads it.
    3. It settles its own future, and then drops the frame from the inbox. Any other frame it leaves to the result
       thread: callbacks of others must not run in a thread that may hold any lock.
    4. It *releases* leadership, rearms the result thread, and *retires*. Callbacks and other waiters of its own
       future are left to the result thread (`deferred`).

    A signal handler may interrupt that thread for long, and join another thread that waits for the same call. One of
    both requests a check by the watchdog, as each first writes and then looks:

    - The leader enters its term into `Leadership.waiting`, and looks at `Future._cf_watched`; only then it disarms the
      result thread, which would notice unread input by itself.
    - The other thread sets `_cf_watched` and looks at `Leadership.waiting` (`CallFuture`, `step_down`); then it sleeps.

    Args:
        options: See `WorkerPool`.
        **parts: See `WorkerPool`.
    """

    def __init__(self, options: PoolOptions, **parts: Any) -> None:
        super().__init__(options, **parts)
        self.leadership: Leadership | None = None
        self.queue: TaskQueue | None = None
        self.status_table: StatusTable | None = None
        self.wakeup: WakeupEvent | None = None  # wakes the result thread
        self.watchdog = StallWatchdog(self)
        self.revocations = Revocations(self)
        self.connections = ConnectionTable(self._workers, self.supervisor.spares, self.size + options.spares)
        self.settling: CallFuture[Any] | None = None  # the result thread has taken it off `calls`, and settles it
        #: For the result thread: a worker, the number of a call, and how many more items of its stream it may send.
        self.grants: deque[tuple[WorkerConnection, int, int]] = deque()
        self._spin_next = True  # the last answer that a thread waited for came soon

    # ── a thread that waits ──────────────────────────────────────────────────────────────────────────────

    def wait_inline(self, future: CallFuture[Any], timeout: float | None) -> tuple[float | None, bool]:
        """Read results, in a thread that waits for the only pending call, until it ends or another thread must lead.

        See `WorkerPool.wait_inline`. Foreign code is left to the result thread, except what decoding this call's
        result runs.
        """
        leadership = self.leadership
        if leadership is None:
            return timeout, False
        self.step_down()
        if (
            len(self.calls) != 1
            or not future._cf_dispatched
            or self.thread is None
            or threading.get_ident() in nested_loops
        ):
            return timeout, False
        deadline = None if timeout is None else clock.monotonic() + timeout
        term = LeaderTerm(READ_SIZE, future)
        led = False
        try:
            if leadership.acquire(term):
                led = True
                if future._cf_watched:
                    self.watchdog.request()
                leadership.disarm()
                future._cf_add_parked(leadership.wakeup.set)
                while future._state == PENDING and leadership.is_leader(term, alone=True):
                    left = None if deadline is None else deadline - clock.monotonic()
                    if future._cf_callbacks or future._cf_listeners or (left is not None and left <= 0):
                        break
                    if self.has_unparsed_input():  # read by a thread that was interrupted
                        break
                    if not self._read_own_result(leadership, term, future, left):
                        break
                self._end_term(leadership, term)
            else:
                leadership.release(term)
                leadership.retire(term)
        except BaseException as exc:  # of a signal handler; also in `_end_term`, of which each step may be repeated
            if future._state == FINISHED:
                term.settled.append(future)
            self._end_term(leadership, term)
            self.wake()
            if not isinstance(exc, (ValueError, OSError)) or self.wakeup is not None:
                raise  # or else all was closed: the call has failed, or is about to
        return None if deadline is None else deadline - clock.monotonic(), led

    def _end_term(self, leadership: Leadership, term: LeaderTerm) -> None:
        future = term.future
        if future is not None:
            if future._cf_parked:
                future._cf_remove_parked(leadership.wakeup.set)
            if future._ended_for is term:
                future._ended_for = None
        self.defer_callbacks(term)
        leadership.release(term)  # before `rearm`: the result thread may run at once, and would find another leader
        # Also if a handler has made this thread step down: that may have been just before it called `disarm`.
        # If another thread leads by now, the result thread wakes up in vain until that term ends.
        leadership.rearm()
        if self.closing or self._backlog or self.deferred or self.has_unparsed_input():
            self.wake()
        leadership.retire(term)

    def defer_callbacks(self, term: LeaderTerm) -> None:
        """Have the result thread announce the end of a call that was settled inline, if anything waits for that."""
        future = term.future
        if future is None:
            return
        if term.settled and future._has_to_tell():
            self.deferred.append(future)
        term.settled.clear()

    def has_unparsed_input(self) -> bool:
        """Return whether frames were read, and not parsed yet."""
        return any(connection.inbox for connection in self.connections)

    def _read_own_result(
        self, leadership: Leadership, term: LeaderTerm, future: CallFuture[Any], timeout: float | None
    ) -> bool:
        """Wait for a worker to write; return whether all it wrote was the result of that call, or nothing.

        Another thread may take leadership at any point, and then the result thread reads. So each of these steps either
        is one operation or works on objects of this thread alone:

        1. reading and storing, if no thread has forbidden it;
        2. looking at the stored chunk, and going on only if it is the result of that call, and nothing else;
        3. settling that call; only then the frame is dropped. If another thread has taken leadership meanwhile, the
           result thread parses the frame as well, and of two threads that settle a call the second does nothing.
        """
        for descriptor in self._poll(leadership, term, future, timeout):
            connection = self.connections.by_descriptor.get(descriptor)
            if connection is None or connection.has_input:
                return False
            term.inbox = connection.inbox
            try:
                connection.receive(term.reads)
                term.has_read = True
                data = connection.inbox[0]
            except (BlockingIOError, IndexError):  # another thread has read it, or will
                term.has_read = True
                return False
            if len(data) < FRAME.size:
                return False
            size, kind, number = FRAME.unpack_from(data)
            if (
                number != future._number
                or kind not in (RESULT_MARSHAL, RESULT_PICKLE, RESULT_SLOT, ERROR)
                or len(data) != FRAME.size + size
            ):
                return False
            body: bytes | None = data[FRAME.size :]
            if kind == RESULT_SLOT:
                kind, body = self._copy_slot(number, data)
                if body is None:
                    return False
            value, error = self.decoder.outcome(kind, body)
            if error is not None and (kind != ERROR or not issubclass(type(error), Exception)):
                # Raised by a signal handler, or by what is unpickled: then one is raised again, perhaps another one, as
                # of an import that is tried twice. If none is, or this is an interrupt, it is raised here, and the
                # result thread decodes the frame.
                _, again = self.decoder.outcome(kind, body)
                if type(again) is not type(error) and not (issubclass(type(error), Exception) and again is not None):
                    raise error
            future._cf_remove_parked(leadership.wakeup.set)  # this thread is awake
            future._ended_for = term
            future._cf_settle(value, error)
            self.queue.arena.free(number)  # type: ignore[union-attr]
            if self.calls.pop(number, None) is not None:
                self.supervisor.has_finished_calls = True
            try:
                connection.inbox.remove(data)
            except ValueError:
                return False
        return True

    def _copy_slot(self, number: int, frame: bytes) -> tuple[int, bytes | None]:
        """Return kind and body of the result that a RESULT_SLOT frame tells of; no body if another thread takes it."""
        size = kind = 0
        if len(frame) == FRAME.size + SLOT_RESULT.size:
            size, kind = SLOT_RESULT.unpack_from(frame, FRAME.size)
        if kind not in (RESULT_MARSHAL, RESULT_PICKLE) or size > INLINE_LIMIT:
            return kind, None
        return kind, self.queue.arena.copy(number, size)  # type: ignore[union-attr]

    def _poll(
        self, leadership: Leadership, term: LeaderTerm, future: CallFuture[Any], timeout: float | None
    ) -> list[int]:
        """Poll as `Leadership.poll` does, but without sleeping at first if workers were quick to answer the last time.

        To be put to sleep and woken takes longer than a tiny call.
        """
        began = clock.perf_counter()
        found: list[int] = []
        if self._spin_next:
            until = began + SPIN_SECONDS if timeout is None else began + min(SPIN_SECONDS, timeout)
            while not found and clock.perf_counter() < until:
                system.sched_yield()
                found = leadership.poll(term, 0)  # which may have cleared the wake-up event
                if future._state != PENDING or not leadership.is_leader(term, alone=True):
                    return found
        found = found or leadership.poll(term, at_once(timeout if timeout is None else min(timeout, _LONGEST_POLL)))
        self._spin_next = clock.perf_counter() - began < 2 * SPIN_SECONDS
        return found

    # ── other threads ────────────────────────────────────────────────────────────────────────────────────

    def step_down(self) -> None:
        """See `WorkerPool.step_down`."""
        queue = self.queue
        if queue is not None and queue.revoked:
            self.revocations.finish_own(queue)
            self.watchdog.request()
        leadership = self.leadership
        if leadership is None or not leadership.waiting:
            return
        released = leadership.step_down_current_thread()
        for term in released:
            self.defer_callbacks(term)
        if released:
            self.wake()  # for what was read, and not parsed
        self.watchdog.request()

    def _unfinished(self) -> list[CallFuture[Any]]:
        settling = [] if self.settling is None else [self.settling]
        return [*super()._unfinished(), *settling]
