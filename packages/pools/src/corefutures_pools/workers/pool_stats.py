"""`PoolStats`: counts how the calls of a pool with isolated workers have ended.

Touches `stats`. Guarantees: counting takes no lock, so a signal handler may wait for a call that another thread counts.
"""

from __future__ import annotations

from collections import defaultdict

from corefutures._blocking import clock, threading

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from corefutures_pools.stats import Stats
    from corefutures_pools.workers.future import CallFuture


class PoolStats:
    """The counts of one pool.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self._started = clock.monotonic()
        # (what, thread) → how many. Calls that return are not counted: they are what is left.
        self._counts: defaultdict[tuple[str, int], int] = defaultdict(int)

    def count(self, *whats: str) -> None:
        """Count "failed", "cancelled", "refused", "unsent" (a call outside the table), or "lost" (a worker)."""
        counts, thread = self._counts, threading.get_ident()
        for what in whats:
            counts[what, thread] += 1  # nothing is called here, after which a handler could count as well

    def counted(self, what: str) -> int:
        """Return how often `what` was counted."""
        return sum(number for (counted, _), number in list(self._counts.items()) if counted == what)

    def summary(
        self, taken: int, calls: Collection[CallFuture[Any]], workers: Collection[Any], spares: Collection[Any] = ()
    ) -> Stats:
        """Return the counts.

        Args:
            taken: How many calls have entered the table.
            calls: The calls that are in it.
            workers: The connections of the workers that live.
            spares: Those of the spares.
        """
        from corefutures_pools.stats import Stats, total  # here for start-up time only

        failed, cancelled = self.counted("failed"), self.counted("cancelled")
        submitted = taken + self.counted("unsent")
        running = sum(call.running() for call in calls)
        return Stats(
            submitted=submitted,
            waiting=len(calls) - running,
            running=running,
            finished=submitted - len(calls) - failed - cancelled,
            failed=failed,
            cancelled=cancelled,
            workers=len(workers),
            lost_workers=self.counted("lost"),
            uptime=clock.monotonic() - self._started,
            cpu_time=total([worker.cpu_seconds() for one in list(workers) if (worker := one.worker) is not None]),
            spares=len(spares),
            refused=self.counted("refused"),
        )
