"""`WorkQueue`: the calls of a pool that wait for a worker.

Touches nothing. Guarantees: what programs do with the standard pool's `_work_queue` works here.
"""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

from corefutures_pools.blocking import queue

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.future import PoolFuture


class WorkQueue(deque["PoolFuture[Any]"]):
    """The calls that wait for a worker, oldest first.

    Its additional methods are those of the standard pool's queue: programs read its size, and take out calls that
    wait, to cancel them.
    """

    __slots__ = ()

    qsize = deque.__len__

    def empty(self) -> bool:
        """Return True if no call waits."""
        return not self

    def get_nowait(self) -> Any:
        """Take out the oldest call; return an object whose `future` the caller cancels.

        Raises:
            queue.Empty: No call waits.
        """
        try:
            return SimpleNamespace(future=self.popleft())
        except IndexError:
            raise queue.Empty from None

    def put(self, item: object) -> None:
        """Do nothing: the standard pool wakes its workers by items that are no calls, and ours need none."""
