"""`DeferredCallbacks`: futures that have ended in a thread that must not run their callbacks.

Touches nothing. Guarantees: each future is announced, and once, by a thread of the pool or in a forked child.
"""

from __future__ import annotations

from collections import deque

from corefutures._blocking import threading

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

    from corefutures_pools.workers.future import CallFuture

#: Callbacks that may wait within each other in one thread before no more are begun there.
_NESTED_MOST: Final = 10


class DeferredCallbacks:
    """The futures of one pool whose callbacks are still to be run.

    Two kinds of threads defer: one that waits for its own call and reads the result itself, and a thread of the pool
    in which `_NESTED_MOST` callbacks wait already, each within the last.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self.futures: deque[CallFuture[Any]] = deque()
        self.full: set[int] = set()  # threads that begin no more callbacks, by ident

    def __bool__(self) -> bool:
        return bool(self.futures)

    def append(self, future: CallFuture[Any]) -> None:
        """Leave the callbacks of a future that has ended to a thread of the pool."""
        self.futures.append(future)

    def run(self) -> None:
        """Run the callbacks that were deferred, unless this thread may begin no more; for threads of the pool."""
        while self.futures and threading.get_ident() not in self.full:
            try:
                future = self.futures[0]
                future._announce_safely()  # does nothing twice, also if a callback waits and this loop is entered again
                self.futures.remove(future)  # only now: a forked child announces what it finds here
            except (IndexError, ValueError):  # another thread has done so
                pass

    def enter_nested(self, depth: int, pool: str) -> None:
        """Note that `depth` callbacks or finalisers wait in this thread, each within the last.

        Raises:
            RuntimeError: They are too many.
        """
        if depth > 2 * _NESTED_MOST:
            raise RuntimeError(
                f"{depth} callbacks or finalisers wait for calls in a thread of the {pool}, each within the last"
            )
        if depth > _NESTED_MOST:
            self.full.add(threading.get_ident())

    def leave_nested(self, depth: int) -> None:
        """Note that the last of `depth` callbacks has stopped waiting."""
        if depth <= _NESTED_MOST + 1:
            self.full.discard(threading.get_ident())
