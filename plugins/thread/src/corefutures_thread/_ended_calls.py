"""`EndedCalls`: how many calls of a pool have ended.

Touches nothing. Guarantees: no count is lost, and no lock is held, whichever thread counts.
"""

from __future__ import annotations

from collections import deque

from corefutures_pools.foreign_code import copied

#: How many records are kept before they are added up.
_MAX_RECORDS = 64


class EndedCalls:
    """How many calls have ended, but for those that a living worker counts itself.

    Thread safety: takes no lock; may be used by any thread, signal handler or finaliser. Appending to a deque and
    popping from it are atomic, so of several threads that add records up each adds the records that it has popped.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: deque[tuple[int, int, int]] = deque()

    def add(self, finished: int = 0, failed: int = 0, cancelled: int = 0) -> None:
        """Count calls."""
        records = self._records
        records.append((finished, failed, cancelled))
        if len(records) > _MAX_RECORDS:
            taken = [(0, 0, 0)]
            try:
                while len(records) > _MAX_RECORDS // 2:
                    taken.append(records.popleft())
            except IndexError:  # other threads have popped the rest
                pass
            finally:
                records.append(tuple(map(sum, zip(*taken, strict=True))))  # type: ignore[arg-type]

    def totals(self) -> dict[str, int]:
        """Return how many calls have finished, failed and been cancelled, by these names."""
        records = [*copied(self._records), (0, 0, 0)]
        return dict(zip(("finished", "failed", "cancelled"), map(sum, zip(*records, strict=True)), strict=True))
