"""`Leadership`: which thread reads the workers' result pipes: the result thread, or for a while one that waits.

Touches epoll (Linux). Guarantees: one reader at a time; a reader that a signal handler or finaliser interrupts can be
made to step down at any point, by that or by another thread, so that the handler may wait for calls, and for threads
that wait for calls (F8).
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import ExitStack
from itertools import islice

from corefutures._blocking import select, threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures._foreign_code import copied
from corefutures_pools.descriptors import above_standard
from corefutures_pools.wakeup import WakeupEvent

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from corefutures_pools.workers.future import CallFuture


def new_epoll() -> select.epoll:
    """Return a new epoll, not on one of the standard descriptors."""
    with select.epoll() as poll:
        return select.epoll.fromfd(above_standard(system.dup(poll.fileno())))


class LeaderTerm:
    """One term of one thread as leader, from `acquire` to `retire`.

    Args:
        size: How many bytes to read, once. None for the result thread: it keeps leadership also while it runs foreign
            code, and so is not made to step down.
        future: Of the call that a thread waits for.
    """

    __slots__ = ("future", "has_read", "inbox", "read_permit", "settled", "thread")

    def __init__(self, size: int | None = None, future: CallFuture[Any] | None = None) -> None:
        self.thread = threading.get_ident()
        # Holds the size until it is taken, by this thread in order to read, or by another in order to forbid that.
        # Taking it, reading and storing is one operation, which no signal handler can split.
        self.read_permit = [] if size is None else [size]
        self.inbox: deque[bytes] | None = None  # where what is read is stored
        self.has_read = False  # that operation is over
        self.future = future
        self.settled: list[object] = []  # not empty: that future is settled, and its callbacks were not run yet

    @property
    def reads(self) -> Iterator[int]:
        """Yields the size, and takes it, if it is there; IndexError if not."""
        return islice(iter(self.read_permit.pop, None), 1)

    def forbid_reading(self) -> bool:
        """Make sure, from any thread, that this term reads no more; False if it is reading at this moment."""
        try:
            self.read_permit.pop()
        except IndexError:
            return self.has_read or bool(self.inbox)
        return True


class Leadership:
    """Decides which thread reads from the descriptors that are registered here: Leader/Followers (Schmidt, POSA2).

    Waking two threads for each result, one that reads it and one that waits for it, takes several times as long as
    a tiny call. So a thread that waits for the only call there is becomes the leader, and reads the result itself. What
    differs from the pattern: such a leader settles its own call only, and leaves everything else to the result thread;
    there is no promotion: followers wait for their own futures, and the result thread is the leader by default.

        outer epoll: the result thread sleeps here
          ├─ sentinels of the workers
          ├─ wake-up event of the pool
          └─ inner epoll: the leader sleeps here; its entry is disarmed while another thread leads
               ├─ result pipes of the workers
               └─ wake-up event of the leader

    States of a term: *candidate* (in `_queue`, not first), *leading* (first in `_queue`), *released* (not in `_queue`,
    and still in `waiting` as long as another thread may have to revoke it), *retired*.

    Args:
        outer: What the result thread sleeps on.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, outer: select.epoll) -> None:
        self._outer = outer
        with ExitStack() as opened:  # closed again unless all of it can be had
            self._inner = opened.enter_context(new_epoll())
            self.descriptor = self._inner.fileno()
            #: Wakes the leader. A future that a thread waits for inline calls `set` when it ends.
            self.wakeup = WakeupEvent()
            opened.callback(self.wakeup.close)
            self._wakeup_descriptor = self.wakeup.waitable
            self._inner.register(self._wakeup_descriptor, select.EPOLLIN)
            outer.register(self.descriptor, select.EPOLLIN)
            opened.pop_all()
        # The first entry is the leader. A queue rather than a lock: each step is one operation that can't be
        # interrupted, and removing oneself twice does no harm.
        self._queue: deque[LeaderTerm] = deque()
        #: Terms of threads that wait inline, leading or candidates: they may be asleep in `poll`.
        self.waiting: list[LeaderTerm] = []
        self._closing = False
        self._closers = deque([self._inner.close])  # the thread that takes it out closes everything

    def register(self, descriptor: int) -> None:
        """Wake the leader when there is something to read."""
        self._inner.register(descriptor, select.EPOLLIN)

    def unregister(self, descriptor: int) -> None:
        """Undo `register`."""
        self._inner.unregister(descriptor)

    def acquire(self, term: LeaderTerm) -> bool:
        """Become the leader if there is none. `release` and `retire` must follow, whatever this returned."""
        if term.future is not None:
            self.waiting.append(term)
        self._queue.append(term)
        return self.is_leader(term)

    def is_leader(self, term: LeaderTerm, *, alone: bool = False) -> bool:
        """Return whether `term` leads (still); `alone`: and there is no other candidate."""
        try:
            return self._queue[0] is term and not (alone and len(self._queue) > 1)
        except IndexError:
            return False

    def is_queued(self, term: LeaderTerm) -> bool:
        """Return whether `term` leads, or is a candidate."""
        return bool(self._queue) and term in copied(self._queue)

    def release(self, term: LeaderTerm) -> None:
        """Stop leading; do nothing if `term` doesn't any more. The term of a thread that waits ends with `retire`."""
        try:
            self._queue.remove(term)
            while self.is_queued(term):  # nested turns of the result thread share a term, see `EventLoop.turn`
                self._queue.remove(term)
        except ValueError:
            pass

    def retire(self, term: LeaderTerm) -> None:
        """End a term, once all that it has read is in other hands: until then it may have to be revoked."""
        try:
            self.waiting.remove(term)
        except ValueError:
            pass
        term.future = None  # a term may be remembered for longer, and would keep what the call returned
        if self._closing and not self.waiting:
            self._close_now()

    def revoke(self, term: LeaderTerm) -> None:
        """Take leadership from another thread; only after `LeaderTerm.forbid_reading`."""
        self.release(term)
        self.rearm()
        self.wakeup.set()

    def disarm(self) -> None:
        """Let the result thread sleep on when there is something to read."""
        self._modify(0)

    def rearm(self) -> None:
        """Wake the result thread again when there is something to read."""
        self._modify(select.EPOLLIN)

    def _modify(self, events: int) -> None:
        try:
            self._outer.modify(self.descriptor, events)
        except (ValueError, OSError):  # closed
            pass

    def step_down_current_thread(self) -> list[LeaderTerm]:
        """End the leadership of this very thread, which was interrupted by a signal handler or finaliser.

        Returns:
            The terms concerned: they may have read what no other thread knows of.
        """
        thread, released = threading.get_ident(), []
        for term in self.waiting.copy():  # also a candidate: it would become the leader, and not know
            if term.thread == thread:
                term.read_permit.clear()
                self.rearm()
                try:
                    self._queue.remove(term)  # but it may go on polling when the handler returns
                except ValueError:
                    pass
                released.append(term)
        return released

    def poll(self, term: LeaderTerm, timeout: float | None) -> list[int]:
        """Return the descriptors from which there is something to read, after waiting for one, or for `wakeup`."""
        found = [descriptor for descriptor, _ in self._inner.poll(timeout)]
        if not found:
            return found
        if self._wakeup_descriptor in found:
            found.remove(self._wakeup_descriptor)
            # The event may be meant for another term, of a thread that was interrupted just before it went to sleep.
            if not self.waiting or self.waiting == [term]:
                self.wakeup.clear()
        return found

    def has_input(self) -> bool:
        """Return whether there is something to read."""
        return any(descriptor != self._wakeup_descriptor for descriptor, _ in self._inner.poll(0))

    def close(self, *, in_child: bool = False) -> None:
        """Close everything, once no thread polls any more; for when every call has ended.

        1. `epoll_wait` checks readiness again after it was woken.
        2. If the wake-up event was closed before the woken thread has run, that would sleep again, and never wake up.
        3. So the thread that retires last closes.

        Args:
            in_child: Whether this is a forked child, in which no other thread is left.
        """
        self._closing = True
        self.wakeup.set()
        if in_child or not self.waiting:
            self._close_now()

    def _close_now(self) -> None:
        try:
            close = self._closers.pop()
        except IndexError:
            return
        close()
        self._wakeup_descriptor = -1
        self.wakeup.close()
