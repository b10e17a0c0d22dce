"""`Stats`: the counts of a pool.

Touches nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Stats(NamedTuple):
    """What became of the calls of a pool; exact whenever nothing moves. `submitted` is the sum of the five after it.

    Attributes:
        submitted: Calls that were taken.
        waiting: Those that have not started.
        running: Those that run.
        finished: Those that returned.
        failed: Those that raised, or were lost with a worker or the pool.
        cancelled: Those that were cancelled.
        workers: Workers that live.
        lost_workers: Workers that ended unasked.
        uptime: Seconds since the pool was made.
        cpu_time: Seconds that the workers which live have had a processor, all together: what they do between calls and
            before the first one included. None where the platform doesn't tell: it is asked for now, and costs calls
            nothing.
    """

    submitted: int
    waiting: int
    running: int
    finished: int
    failed: int
    cancelled: int
    workers: int
    lost_workers: int
    uptime: float
    cpu_time: float | None


def total(seconds: list[float | None]) -> float | None:
    """Returns the sum of what is known; None if nothing is, of several."""
    known = [part for part in seconds if part is not None]
    return None if seconds and not known else sum(known)
