"""`Stats`: the counts of a pool.

Touches nothing.
"""

from __future__ import annotations

from typing import NamedTuple


class Stats(NamedTuple):
    """The counts of a pool; exact while no call starts or ends. `submitted` is the sum of the five after it.

    Attributes:
        submitted: Calls that the pool has taken.
        waiting: Calls that have not started.
        running: Calls that run.
        finished: Calls that returned.
        failed: Calls that raised, or were lost with a worker or the pool.
        cancelled: Calls that were cancelled.
        workers: Workers that are alive.
        lost_workers: Workers that ended without being asked to.
        uptime: Seconds since the pool was made.
        cpu_time: Processor time of the living workers, in seconds, also between calls and before the first one. None
            where the platform does not tell. It is read now, at no cost for calls.
        spares: Workers that are alive besides, and take no calls until a worker is needed.
        refused: Those among them that a worker could not load, and that a pool of another kind ran: see `on_refusal` of
            interpreter pools.
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
    spares: int = 0
    refused: int = 0


def total(seconds: list[float | None]) -> float | None:
    """Return the sum of the known times; None if there are times and none of them is known."""
    known = [part for part in seconds if part is not None]
    return None if seconds and not known else sum(known)
