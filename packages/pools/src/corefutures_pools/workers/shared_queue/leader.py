"""`Leadership`: who reads what the workers of a pool say: its collector, or for a while the one thread that waits.

Touches epoll (Linux). Guarantees: one reader at a time; a reader that a signal handler or finaliser interrupts can be
relieved at any point, by that or by another thread, so that the handler may wait for calls, and for threads that wait
for calls (F8).
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from contextlib import ExitStack
from itertools import islice

from corefutures._blocking import system
from corefutures_pools.descriptors import lifted

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from corefutures_pools.workers.future import CallFuture

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on


def new_poll() -> select.epoll:
    """Returns a new epoll, not on one of the standard descriptors."""
    with select.epoll() as poll:
        return select.epoll.fromfd(lifted(system.dup(poll.fileno())))


class LeaderTerm:
    """One turn of one thread in the chair.

    Args:
        size: How much to read, once. None for the collector, which works in its turn also while it runs foreign code,
            and so is not to be relieved.
        future: Of the call that a thread waits for.
    """

    __slots__ = ("ended", "future", "has_read", "source", "thread", "to_read")

    def __init__(self, size: int | None = None, future: CallFuture[Any] | None = None) -> None:
        self.thread = threading.get_ident()
        # Who takes the size out of this may read, or has seen to it that nobody will: to take it, to read and to store
        # what was read is one operation, which no signal handler comes between.
        self.to_read = [] if size is None else [size]
        self.source: deque[bytes] | None = None  # where that is stored
        self.has_read = False  # that operation is over
        self.future = future
        self.ended: list[object] = []  # not empty: that call was, and nobody was told yet

    @property
    def reads(self) -> Iterator[int]:
        """Yields the size, and takes it, if it is there; IndexError if not."""
        return islice(iter(self.to_read.pop, None), 1)

    def stop_reading(self) -> bool:
        """Sees to it that this turn reads no more, from any thread; False if it is reading at this moment."""
        try:
            self.to_read.pop()
        except IndexError:
            return self.has_read or bool(self.source)
        return True


class Leadership:
    """Decides who reads from the descriptors registered here.

    Waking two threads for each result, one that reads it and one that waits for it, takes several times as long as
    the call. So a thread that waits for the only call there is takes the chair and reads itself. The collector stays
    asleep meanwhile: it sleeps on `outer`, in which all of this is one entry that is switched off and on.

    Args:
        outer: What the collector sleeps on.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, outer: select.epoll) -> None:
        self._outer = outer
        with ExitStack() as opened:  # closed again unless all of it can be had
            self._inner = opened.enter_context(new_poll())
            self.number = self._inner.fileno()
            self._bell = lifted(system.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
            opened.callback(system.close, self._bell)
            self._inner.register(self._bell, select.EPOLLIN)
            outer.register(self.number, select.EPOLLIN)
            opened.pop_all()
        # Its first entry has the chair. A queue rather than a lock: each step is one operation that can't be
        # interrupted, and removing oneself twice does no harm.
        self._queue: deque[LeaderTerm] = deque()
        # Of threads that wait, and have the chair or want it: they may be asleep in `listen`, and the bell is theirs.
        self.listeners: list[LeaderTerm] = []
        self._over = False
        self._closing = deque([self._bell])  # who takes it out closes everything

    def register(self, descriptor: int) -> None:
        """Has readers told when there is something to read."""
        self._inner.register(descriptor, select.EPOLLIN)

    def unregister(self, descriptor: int) -> None:
        """Takes that back."""
        self._inner.unregister(descriptor)

    def take(self, sitter: LeaderTerm) -> bool:
        """Sits down if the chair is free. To be called within what ends with `leave`, whatever it returned."""
        if sitter.future is not None:
            self.listeners.append(sitter)
        self._queue.append(sitter)
        return self.has(sitter)

    def has(self, sitter: LeaderTerm, *, alone: bool = False) -> bool:
        """Returns whether `sitter` has the chair (still); `alone`: and nobody else wants it."""
        try:
            return self._queue[0] is sitter and not (alone and len(self._queue) > 1)
        except IndexError:
            return False

    def wants(self, sitter: LeaderTerm) -> bool:
        """Returns whether `sitter` has the chair, or has come to take it."""
        return bool(self._queue) and sitter in self._queue.copy()

    def leave(self, sitter: LeaderTerm) -> None:
        """Stands up; does nothing if `sitter` has no turn any more. A thread that waits has to `go` after that."""
        try:
            self._queue.remove(sitter)
            while sitter in self._queue:  # the collector may have come to it twice, see `SharedQueuePool._turn`
                self._queue.remove(sitter)
        except ValueError:
            pass

    def go(self, sitter: LeaderTerm) -> None:
        """Gives up the bell, once all that has been read is in other hands: until then we may have to be relieved."""
        try:
            self.listeners.remove(sitter)
        except ValueError:
            pass
        sitter.future = None  # a turn may be remembered for longer, and would keep what the call returned
        if self._over and not self.listeners:
            self._close_now()

    def unseat(self, sitter: LeaderTerm) -> None:
        """Ends a turn for good; only of a sitter that will read no more."""
        self.leave(sitter)
        self.mute(on=False)
        self.ring()

    def mute(self, *, on: bool) -> None:
        """Has the collector sleep on when there is something to read, or not any more."""
        try:
            self._outer.modify(self.number, 0 if on else select.EPOLLIN)
        except (ValueError, OSError):  # closed
            pass

    def sitters(self) -> list[LeaderTerm]:
        """Returns the turns of threads that wait, of which one may have the chair."""
        return self.listeners.copy()

    def step_down_current_thread(self) -> list[LeaderTerm]:
        """Ends the turn of this very thread, which we then interrupt as a signal handler or finaliser.

        Returns:
            Those who were relieved: they may have read what nobody knows of.
        """
        thread, relieved = threading.get_ident(), []
        for sitter in self.sitters():  # also one that only wants the chair: it would get it, and not know
            if sitter.thread == thread:
                sitter.to_read.clear()
                self.mute(on=False)
                try:
                    self._queue.remove(sitter)  # but it may go on listening when we return
                except ValueError:
                    pass
                relieved.append(sitter)
        return relieved

    def listen(self, sitter: LeaderTerm, timeout: float | None) -> Iterable[int]:
        """Returns the descriptors from which there is something to read, after waiting for one of them or `ring`."""
        found = [descriptor for descriptor, _ in self._inner.poll(timeout)]
        if not found:
            return found
        if self._bell in found:
            found.remove(self._bell)
            # Another listener may be one that we interrupted, just before it went to sleep: it may have rung for that.
            if not self.listeners or self.listeners == [sitter]:
                try:
                    system.eventfd_read(self._bell)
                except BlockingIOError:
                    pass
        return found

    def has_news(self) -> bool:
        """Returns whether there is something to read."""
        return any(descriptor != self._bell for descriptor, _ in self._inner.poll(0))

    def ring(self) -> None:
        """Has whoever listens look around."""
        try:
            system.eventfd_write(self._bell, 1)
        except (OSError, ValueError):  # so often that it is full, or closed: there is nobody any more
            pass

    release = ring  # as the lock that a waiting thread is woken by: it may listen instead

    def close(self, *, in_child: bool = False) -> None:
        """Closes everything, once nobody listens any more; for when every call has ended.

        Whoever was woken by the bell may not have run since: if that is closed now, the kernel finds nothing to wake up
        for, and puts the thread back to sleep for ever. So whoever goes last closes.

        Args:
            in_child: Whether this is a forked child, in which no other thread is left.
        """
        self._over = True
        self.ring()
        if in_child or not self.listeners:
            self._close_now()

    def _close_now(self) -> None:
        try:
            bell = self._closing.pop()
        except IndexError:
            return
        self._inner.close()
        self._bell = -1
        system.close(bell)
