"""Bounded admission: the number of calls that wait is limited, and so are their submitters (C4).

Touches the core's exceptions. Guarantees: an interrupted submitter loses no place.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from itertools import starmap
from typing import Any, Final

from corefutures._blocking import queue
from corefutures._exceptions import PoolFullError
from corefutures._options import check_choice, check_count
from corefutures_pools.blocking import at_once
from corefutures_pools.options import WHEN_FULL


class PendingLimiter:
    """Admits calls while fewer than `limit` of them wait to be started; use one `Permit` for each call.

    The free places are tokens in a queue whose methods may be called from anywhere, also from finalisers and signal
    handlers that interrupt one of them.

    Args:
        limit: How many calls hold a place at once.
        when_full: What becomes of the submitters of more: "block", "raise" or "caller_runs".
    """

    def __init__(self, limit: int, when_full: str) -> None:
        self._limit = limit
        self._when_full = when_full
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        for _ in range(limit):
            self._tokens.put(_PLACE)

    def close(self) -> None:
        """Admit every submitter that waits or comes later: the pool refuses their calls itself."""
        self._tokens.put(_CLOSED)


class Permit:
    """The right of one call to wait for its start: held from `acquire` to `release`. Without a limiter all have it.

    A token moves between the limiter and the permit in one operation, which an interrupt comes before or after. So no
    token is lost if the submitter calls `release` when it is interrupted.
    """

    __slots__ = ("_held", "_limiter")

    def __init__(self, limiter: PendingLimiter | None) -> None:
        self._limiter = limiter
        self._held: list[bool] = []

    def acquire(self, own_thread: bool = False, *, own_thread_runs: bool = True) -> bool:
        """Wait for a place, and take it; return False if the submitter is to run the call in its own thread.

        A thread of the pool never waits for a place, because it may be the thread that would free one. Nor does a
        signal handler or finaliser that has interrupted another submitter of the pool in this thread: that may have
        taken the last place for a call that it has not queued yet. The handler's call is admitted without a place.

        Args:
            own_thread: Whether the submitter is a thread of the pool.
            own_thread_runs: Whether such a thread is to run the call where others would wait. If not, the call is
                admitted without a place.

        Raises:
            PoolFullError: There is no place, and `when_full` is "raise".
        """
        limiter = self._limiter
        if limiter is None:
            return True
        try:
            self._held.extend(starmap(limiter._tokens.get_nowait, _NO_ARGUMENTS))
        except queue.Empty:
            if limiter._when_full == "raise":
                raise PoolFullError(f"{limiter._limit} calls are waiting already (max_pending)") from None
            if limiter._when_full == "caller_runs":
                return False
            if own_thread:
                return not own_thread_runs
            if _interrupts_submitter(limiter):
                return True
            while not self._held:
                with suppress(queue.Empty):
                    self._held.extend(starmap(limiter._tokens.get, ((True, at_once()),)))
        if self._held[0] is _CLOSED:
            self.release()
        return True

    def release(self) -> None:
        """Give the place back, if it is held."""
        if self._limiter is None:
            return
        try:
            deque(map(self._limiter._tokens.put, starmap(self._held.pop, _NO_ARGUMENTS)), 0)
        except IndexError:
            pass

    def _holds(self, future: Any) -> bool:
        """Return whether the call is to be held; if so, `_submit` is called once it is in the table of its pool."""
        return False

    def _submit(self, future: Any) -> None:
        """Take over the call."""
        raise NotImplementedError


def _interrupts_submitter(limiter: PendingLimiter) -> bool:
    """Return whether this thread submits to the pool twice, one submit within the other: only a handler does so."""
    submits = 0
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_name
        if name == "submit_admitted":
            submits += frame.f_locals.get("limiter") is limiter
        elif name == "submit" and "special" in frame.f_locals:  # of a thread pool, and not yet on a replaced submit
            submits += getattr(frame.f_locals.get("pool"), "limiter", None) is limiter
        frame = frame.f_back  # type: ignore[assignment]
    return submits > 1


_NO_ARGUMENTS: Final = ((),)
_PLACE: Final = True
_CLOSED: Final = False


def make_limiter(max_pending: int | None, when_full: str, extra: int = 0) -> PendingLimiter | None:
    """Check the two options of a pool and return its `PendingLimiter`; None if there is no limit.

    Args:
        max_pending: How many calls may wait.
        when_full: What becomes of the submitters of more.
        extra: How many more places there are, for calls that run.

    Raises:
        TypeError: `max_pending` is no int.
        ValueError: `max_pending` is not positive, or `when_full` none of the three, or given alone.
    """
    check_choice("when_full", when_full, WHEN_FULL)
    check_count("max_pending", max_pending)
    if max_pending is None:
        if when_full != "block":
            raise ValueError(
                f"when_full={when_full!r} says what becomes of calls beyond max_pending, which is not given: add"
                " max_pending, the number of calls that may wait"
            )
        return None
    return PendingLimiter(max_pending + extra, when_full)
