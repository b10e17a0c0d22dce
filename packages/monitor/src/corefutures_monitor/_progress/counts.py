"""The numbers of one progress display, and how they read as text.

Guarantees: the thread that draws them needs no lock.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from corefutures.backend import clock

#: Seconds over which the rate is taken.
_WINDOW: Final = 30.0


class ProgressCounts:
    """How far some calls are.

    Args:
        description: What stands in front.
        total: How many there will be; None if that grows.

    Thread safety: written by one thread and read by another; each number is right by itself.
    """

    def __init__(self, description: str, total: int | None) -> None:
        self.description = description
        self.expected = total
        self.submitted: int | None = None  # None: not known apart from what has ended
        self.running = 0
        self.done = 0
        self.failed = 0
        self.cancelled = 0
        self.began = clock.monotonic()
        self.closed = False
        self._past: deque[tuple[float, int]] = deque([(self.began, 0)])

    @property
    def ended(self) -> int:
        """The number of those that have ended, in whatever way."""
        return self.done + self.failed + self.cancelled

    @property
    def total(self) -> int | None:
        """The number of all, as far as it is known."""
        if self.expected is None:
            return self.submitted
        return max(self.expected, self.submitted or 0, self.ended)

    @property
    def waiting(self) -> int | None:
        """The number of those that have not started; None if it can't be known."""
        return None if self.submitted is None else max(0, self.submitted - self.ended - self.running)

    def rate(self) -> tuple[float, float | None]:
        """Return how many end a second, lately, and the seconds that are left; for the thread that draws."""
        now, ended, past = clock.monotonic(), self.ended, self._past
        while len(past) > 1 and now - past[0][0] > _WINDOW:
            past.popleft()
        if past[-1][1] != ended:
            past.append((now, ended))
        since, before = past[0]
        if self.closed:
            since, before = self.began, 0
        rate = (ended - before) / (now - since) if now > since else 0.0
        total = self.total
        left = None if total is None or not rate else max(0, total - ended) / rate
        return rate, left

    def summary(self) -> str:
        """Return description, numbers, rate and time as text."""
        return f"{self.description}: {self.numbers()}, {self.times()}"

    def numbers(self) -> str:
        """Return the numbers as text, without those that are 0."""
        total = self.total
        parts = [f"{self.ended} of {total} done" if total is not None else f"{self.ended} done"]
        parts += [
            f"{number} {what}"
            for number, what in (
                (self.failed, "failed"),
                (self.cancelled, "cancelled"),
                (self.running, "running"),
                (self.waiting or 0, "waiting"),
            )
            if number
        ]
        return ", ".join(parts)

    def times(self) -> str:
        """Return the rate, and the time that is left or was taken, as text."""
        rate, left = self.rate()
        text = f"{rate:.3g}/s" if rate < 1000 else f"{rate:,.0f}/s"
        if self.closed:
            return f"{text}, {format_duration(clock.monotonic() - self.began)}"
        return text if left is None else f"{text}, {format_duration(left)} left"


def format_duration(seconds: float) -> str:
    """Return a time as people read it: `9.5 s`, `42 s`, `1:02`, `1:00:00`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
