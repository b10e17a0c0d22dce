"""Bounded admission: room for calls that wait (C4).

Touches the core's exceptions. Guarantees: an interrupted submitter loses no place.
"""

from __future__ import annotations

import queue
from collections import deque
from itertools import starmap
from typing import Final

from corefutures._exceptions import PoolFullError
from corefutures._options import check_choice, check_count
from corefutures_pools.options import WHEN_FULL


class PendingLimiter:
    """PendingLimiter for `max_pending` calls that wait to be started; submitters beyond that are held up.

    A token for each place, in a queue whose methods may be called from anywhere, also from finalisers and signal
    handlers that interrupt them.

    One of the pool's own threads, which may be the one that would free a place, never waits for one: with "block" it
    runs the call itself where it runs calls in any case, and is let in without a place where it only serves workers.
    """

    def __init__(self, places: int, when_full: str) -> None:
        self._places = places
        self._when_full = when_full
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        for _ in range(places):
            self._tokens.put(_PLACE)

    def close(self) -> None:
        """Lets everybody in who is held up, and who comes later: the pool takes no calls any more."""
        self._tokens.put(_CLOSED)


class Permit:
    """The place of one call in a `PendingLimiter`: none, until it is taken, and once it was left.

    A token moves between the room and the place in one operation, which an interrupt comes before or after: so
    whoever is interrupted calls `leave`, and none is lost.
    """

    __slots__ = ("_held", "_room")

    def __init__(self, room: PendingLimiter) -> None:
        self._room = room
        self._held: list[bool] = []

    def take(self, own_thread: bool = False) -> bool:
        """Takes the place, after waiting for it; returns whether it could be had, or need not.

        Args:
            own_thread: Whether this is one of the pool's own threads, which is not held up.

        Raises:
            PoolFullError: There is no place, and `when_full` says so.
        """
        room = self._room
        try:
            self._held.extend(starmap(room._tokens.get_nowait, _NO_ARGUMENTS))
        except queue.Empty:
            if room._when_full == "raise":
                raise PoolFullError(f"{room._places} calls are waiting already (max_pending)") from None
            if room._when_full == "caller_runs" or own_thread:
                return False
            self._held.extend(starmap(room._tokens.get, _NO_ARGUMENTS))
        if self._held[0] is _CLOSED:
            self.leave()
        return True

    def leave(self) -> None:
        """Gives the place back, if it is held."""
        try:
            deque(map(self._room._tokens.put, starmap(self._held.pop, _NO_ARGUMENTS)), 0)
        except IndexError:
            pass

    @property
    def runs_caller(self) -> bool:
        """Whether a call without a place is to be run by whoever submits it."""
        return self._room._when_full == "caller_runs"


_NO_ARGUMENTS: Final = ((),)
_PLACE: Final = True
_CLOSED: Final = False


def make_limiter(max_pending: int | None, when_full: str, besides: int = 0) -> PendingLimiter | None:
    """Checks the two options of a pool and returns its `PendingLimiter`, None if there is no limit.

    Args:
        max_pending: How many calls may wait.
        when_full: What becomes of submitters beyond that.
        besides: How many more places there are, for calls that run.

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
    return PendingLimiter(max_pending + besides, when_full)
