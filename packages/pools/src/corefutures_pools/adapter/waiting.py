"""`WaitingCalls`: the calls that wait until an executor has a worker for them; and the thread that hands them over.

Touches the futures of the calls. Guarantees: calls are handed over in the order submitted, at most so many at once; no
call is handed over in a callback, in which the executor may hold locks of its own.
"""

from __future__ import annotations

import contextlib
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

    The thread that hands calls over is started for the first call that waits, and ends with the last one. A signal
    handler may raise before it is started, or has begun. So whoever notes the end of a call starts another one if calls
    wait and none has begun; the one before, should it begin after all, finds another number than its own, and ends.
    """

    def __init__(self, max_workers: int, hand_over: Callable[[Any], object]) -> None:
        self.max_workers = max_workers
        self._hand_over = hand_over
        # Guards those below. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._free = max_workers  # workers without a call
        self._queue: dict[int, WaitingCall | None] = {}  # place → future; None where a call was cancelled
        self._first = 0  # the first place in the queue
        self._next = 0  # the place of the next call
        self._threads = 0  # how many threads were started: the number of the last one
        self._thread = 0  # the number of the thread that serves; 0 if none does
        self._begun = 0  # the number of the thread that has begun to serve
        self._parked: Parker | None = None  # of the thread, while it waits for a worker

    def enter(self, future: WaitingCall) -> bool:
        """Return whether a worker is free for the call, which is handed over now; otherwise it waits here."""
        is_next, thread = False, 0
        if self._lock.taken:
            if self._free > 0 and self._first == self._next:
                self._free -= 1
                is_next = future.has_worker = True
            else:
                future.place = self._next
                self._queue[self._next] = future
                self._next += 1
                if not self._thread or (self._free > 0 and self._begun != self._thread):
                    self._threads += 1
                    self._thread = thread = self._threads
            self._lock.release()
        if thread:
            self._start_thread(thread)
        return is_next

    def leave(self, future: WaitingCall) -> None:
        """Take note that a call has ended, or has been cancelled; may be repeated."""
        parked, thread = None, 0
        if self._lock.taken:
            if future.has_worker:
                future.has_worker = False
                self._free += 1
                parked = self._parked  # which the thread takes out itself: this method may be left before `unpark`
            elif future.place in self._queue and self._queue[future.place] is future:
                self._queue[future.place] = None
            if self._first != self._next and (not self._thread or self._begun != self._thread):
                self._threads += 1
                self._thread = thread = self._threads
            self._lock.release()
        if parked is not None:
            with contextlib.suppress(RuntimeError):  # another thread has unparked it
                parked.unpark()
        if thread:
            self._start_thread(thread)

    def _start_thread(self, number: int) -> None:
        try:
            # A daemon: the executor's end waits for the calls.
            name = "corefutures-handing-over"
            start_thread(threading.Thread(target=self._serve, args=(number,), name=name, daemon=True))
        except RuntimeError:  # no thread can be started: this one does, and so does the thread in which a call ends
            self._serve(number, waits=False)

    def _serve(self, number: int, *, waits: bool = True) -> None:
        """Hand calls over until none is left, or no worker is free and the thread does not wait for one."""
        parker = Parker()
        while True:
            future, parks, ends = None, False, False
            if self._lock.taken:
                if self._thread != number:
                    ends = True  # another one was started meanwhile
                else:
                    self._begun, self._parked = number, None
                    if self._first == self._next or not (self._free > 0 or waits):
                        ends, self._thread = True, 0
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
