"""`WaitingCalls`: the calls that wait until an executor has a worker for them; and the thread that hands them over.

Touches the futures of the calls. Guarantees: calls are handed over in the order submitted, at most so many at once; no
call is handed over in a callback, in which the executor may hold locks of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from corefutures._blocking import Lock, Parker, start_thread, threading

if TYPE_CHECKING:
    from collections.abc import Callable


class WaitingCall(Protocol):
    """The future of a call, as the queue sees it."""

    place: int  # in the queue; guarded by the queue's lock
    has_worker: bool  # it counts as one of those that were handed over; guarded by the queue's lock


class WaitingCalls:
    """The queue of the calls that a foreign executor has no worker for.

    Args:
        max_workers: The number of calls that are handed over at once.
        hand_over: Gives the call of a future to the foreign executor; raises nothing.

    Thread safety: every method may be called from any thread, signal handler or finaliser.

    The thread that hands calls over is started for the first call that waits, and ends with the last one.
    """

    def __init__(self, max_workers: int, hand_over: Callable[[Any], object]) -> None:
        self.max_workers = max_workers
        self._hand_over = hand_over
        # Guards the six below. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._free = max_workers  # workers without a call
        self._queue: dict[int, WaitingCall | None] = {}  # place → future; None where a call was cancelled
        self._first = 0  # the first place in the queue
        self._next = 0  # the place of the next call
        self._has_thread = False
        self._parked: Parker | None = None  # of the thread, while it waits for a worker

    def enter(self, future: WaitingCall) -> bool:
        """Return whether a worker is free for the call, which is handed over now; otherwise it waits here."""
        is_next = is_first = False
        if self._lock.taken:
            if self._free > 0 and self._first == self._next:
                self._free -= 1
                is_next = future.has_worker = True
            else:
                future.place = self._next
                self._queue[self._next] = future
                self._next += 1
                is_first, self._has_thread = not self._has_thread, True
            self._lock.release()
        if is_first:
            self._start_thread()
        return is_next

    def leave(self, future: WaitingCall) -> None:
        """Take note that a call has ended, or has been cancelled; may be repeated."""
        parked, needs_thread = None, False
        if self._lock.taken:
            if future.has_worker:
                future.has_worker = False
                self._free += 1
                parked, self._parked = self._parked, None
                if self._first != self._next and not self._has_thread:
                    needs_thread = self._has_thread = True
            elif future.place in self._queue and self._queue[future.place] is future:
                self._queue[future.place] = None
            self._lock.release()
        if parked is not None:
            parked.unpark()
        if needs_thread:
            self._start_thread()

    def _start_thread(self) -> None:
        try:
            # A daemon: the executor's end waits for the calls.
            start_thread(threading.Thread(target=self._serve, name="corefutures-handing-over", daemon=True))
        except RuntimeError:  # no thread can be started: this one does, and so does the thread in which a call ends
            self._serve(waits=False)

    def _serve(self, *, waits: bool = True) -> None:
        """Hand calls over until none is left, or no worker is free and the thread does not wait for one."""
        parker = Parker()
        while True:
            future, parks, ends = None, False, False
            if self._lock.taken:
                if self._first == self._next or not (self._free > 0 or waits):
                    ends, self._has_thread = True, False
                elif self._queue[self._first] is None or self._free > 0:
                    future = self._queue[self._first]
                    del self._queue[self._first]
                    self._first += 1
                    if future is not None:
                        self._free -= 1
                        future.has_worker = True
                else:
                    parks, self._parked = True, parker
                self._lock.release()
            if ends:
                return
            if parks:
                parker.park()
            elif future is not None:
                self._hand_over(future)
                del future  # else it would be kept while this thread parks
