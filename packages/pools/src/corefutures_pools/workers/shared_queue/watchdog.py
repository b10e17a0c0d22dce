"""`StallWatchdog`: takes leadership from a thread that was interrupted while it waited inline, and does not go on.

Touches `Leadership`. Guarantees: a leader that is interrupted, for however long, delays no other thread for longer than
`STALL_TIMEOUT` (F8); while no thread asks for it, the watchdog costs nothing.
"""

from __future__ import annotations

import sys

from corefutures._blocking import sleep

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Final, Protocol

    from corefutures_pools.workers.shared_queue.leader import Leadership, LeaderTerm

    class WatchedPool(Protocol):
        """What the watchdog needs of its pool."""

        def wake(self) -> None:
            """Wake the result thread."""
            ...

        def defer_callbacks(self, term: LeaderTerm) -> None:
            """Have the result thread announce the end of a call that was settled inline."""
            ...

        def has_unparsed_input(self) -> bool:
            """Return whether frames were read, and not parsed yet."""
            ...


#: Seconds for which a leader may leave input unread before leadership is taken from it.
STALL_TIMEOUT: Final = 0.05
#: Seconds between two attempts of the result thread to become the leader; the leader was asked to release.
POLL_INTERVAL: Final = 0.0001


class StallWatchdog:
    """Checks on threads that wait inline, in the result thread.

    A leader may be interrupted by a signal handler, and that may wait for another thread, which needs the pool. The
    leader itself can't know. So any thread that uses the pool meanwhile requests a check:

    1. `request`: a thread that submits, cancels or waits has found another one that waits inline.
    2. `check`, in the result thread: all that wait inline now become suspects.
    3. `check`, STALL_TIMEOUT later: a suspect whose term has ended since is cleared. From any other, leadership is
       taken if there is something to read. It is checked again as long as there are suspects.

    Args:
        pool: The pool.

    Thread safety: `request` may be called from any thread, signal handler or finaliser; the rest is for the result
    thread.
    """

    def __init__(self, pool: WatchedPool) -> None:
        self._pool = pool
        self.requested = False
        self._next_check = 0.0  # when the result thread checks again; 0 if it has to be woken for that
        self.suspects: dict[LeaderTerm, float] = {}  # → since when

    def request(self) -> None:
        """Have the result thread check on threads that wait inline."""
        self.requested = True
        if not self._next_check:
            self._pool.wake()

    def run(self, leadership: Leadership) -> None:
        """Check if it is time; called in every turn of the result thread."""
        if (self.requested or self._next_check) and clock.monotonic() >= self._next_check:
            if self.requested or self.suspects:
                self.check(leadership)
                self._next_check = clock.monotonic() + STALL_TIMEOUT
            else:
                self._next_check = 0.0
                if self.requested:  # by another thread just now, which did not wake us
                    self._next_check = clock.monotonic()

    def limit(self, timeout: float | None) -> float | None:
        """Return how long the result thread may sleep, if it would for `timeout`."""
        if not self.requested and not self._next_check:
            return timeout
        left = max(0.0, self._next_check - clock.monotonic())
        return left if timeout is None else min(timeout, left)

    def check(self, leadership: Leadership, *, needed: bool = False) -> None:
        """Take leadership from threads that don't do what a leader should.

        Args:
            leadership: The pool's.
            needed: Whether the result thread has to become the leader in any case.
        """
        waiting = leadership.waiting.copy()
        now = clock.monotonic()
        if self.requested or needed:
            self.requested = False
            for term in waiting:
                self.suspects.setdefault(term, now)
        for term, since in list(self.suspects.items()):
            if term not in waiting:
                del self.suspects[term]
            elif now - since >= STALL_TIMEOUT:
                self._pool.defer_callbacks(term)
                stalled = needed or leadership.has_input() or self._pool.has_unparsed_input()
                if stalled and term.forbid_reading():
                    leadership.revoke(term)
                elif not leadership.is_leader(term):
                    leadership.rearm()

    def acquire(self, leadership: Leadership, term: LeaderTerm) -> None:
        """Become the leader, whichever thread is it: for the result thread, and for the end of the pool."""
        if not leadership.is_queued(term):
            leadership.acquire(term)
        while not leadership.is_leader(term):
            leadership.wakeup.set()
            sleep(POLL_INTERVAL)
            self.check(leadership, needed=True)
