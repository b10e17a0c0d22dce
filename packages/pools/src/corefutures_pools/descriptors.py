"""Keeps what we open off the descriptors 0, 1 and 2, which a program may have closed.

Touches the kernel only; used on both sides. Guarantees: what is opened within `standard_taken`, or passed through
`lifted`, has a number of 3 or more, so that what anybody prints never ends up in it.
"""

from __future__ import annotations

import _thread
import os
import sys

from corefutures._blocking import system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

_STANDARD: Final = (0, 1, 2)


class Descriptor:
    """A descriptor that is closed once nobody refers to it: whoever uses it can't find another one under its number.

    Args:
        number: It, opened.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self, close: Callable[[int], None] = system.close) -> None:
        """Closes it now: for who knows that nobody else uses it."""
        number, self.number = self.number, -1
        if number >= 0:
            close(number)

    __del__ = close


def lifted(descriptor: int) -> int:
    """Returns the descriptor if it is 3 or more, otherwise another one for the same, and closes it."""
    if descriptor > _STANDARD[-1] or sys.platform == "win32":  # there, the standard handles are no descriptors
        return descriptor
    import fcntl  # hardly any program needs it

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD[-1] + 1)
    finally:
        system.close(descriptor)


def take_standard_for_good() -> None:
    """Opens the null device as each of the standard descriptors that is closed: for processes that are ours."""
    for number in _closed():
        opened = system.open(os.devnull, os.O_RDWR)
        if opened != number:  # another thread was first
            system.close(opened)


def _closed() -> list[int]:
    closed = []
    for number in _STANDARD:
        try:
            system.fstat(number)
        except OSError:
            closed.append(number)
    return closed


class _Taken:
    """Has the standard descriptors that are closed taken while any thread is within."""

    def __init__(self) -> None:
        self._renewed = False  # whether it is in forked children
        self._reset()

    def _reset(self) -> None:
        # Guards what follows. Reentrant, because a signal handler or finaliser may interrupt its holder; nothing
        # that blocks or is foreign runs under it.
        self._lock = _thread.RLock()
        self._within = 0
        self._ours: list[tuple[int, tuple[int, int]]] = []  # descriptors, and what they are

    def __enter__(self) -> None:
        if not self._renewed:
            from corefutures_pools.lifecycle import renew_in_child  # here: workers do without it

            self._renewed = True
            renew_in_child(self._after_fork_in_child)
        with self._lock:
            if not self._within:
                try:
                    for number in _closed():
                        self._take(number)
                except BaseException:
                    self._give_back()
                    raise
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within = max(0, self._within - 1)
            if not self._within:
                self._give_back()

    def _take(self, number: int) -> None:
        # By the end of a pipe that leads nowhere: nobody else has the same, so that what the program puts there
        # meanwhile is not closed in its place.
        outlet, inlet = system.pipe()
        system.close(inlet)
        if outlet == number:
            self._ours.append((number, _identity(number)))
        else:  # another thread was first
            system.close(outlet)

    def _give_back(self) -> None:
        while self._ours:
            number, identity = self._ours.pop()
            try:
                if _identity(number) == identity:
                    system.close(number)
            except OSError:  # the program has closed it
                pass

    def closed(self) -> list[int]:
        """Returns which standard descriptors the program has closed.

        One that was closed when it began has no stream, though a file that another thread reads may be there just now.
        """
        streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        with self._lock:
            ours = {number for number, _ in self._ours}
        return sorted({*_closed(), *ours, *(number for number in _STANDARD if streams[number] is None)})

    def _after_fork_in_child(self) -> None:
        """Close what is open here; no thread of this process is within."""
        self._give_back()
        self._reset()


def _identity(descriptor: int) -> tuple[int, int]:
    status = system.fstat(descriptor)
    return status.st_dev, status.st_ino


standard_taken: Final = _Taken()
