"""Keeps what pools open off the descriptors 0, 1 and 2, which a program may have closed.

Touches the kernel only; used on both sides. Guarantees: what is opened within `standard_reserved`, or passed through
`above_standard`, has a number of 3 or more, so that no output of the program is written to it.
"""

from __future__ import annotations

import os
import sys

from corefutures._blocking import RLock, system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Final
else:
    from _collections import deque  # the one of `collections`, which would be imported for this alone

_STANDARD: Final = (0, 1, 2)


class Descriptor:
    """A descriptor that is closed when its last user is gone: no user finds another file under its number.

    Args:
        number: The open descriptor.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self, close: Callable[[int], None] = system.close) -> None:
        """Close it now; the caller knows that nobody else uses it."""
        number, self.number = self.number, -1
        if number >= 0:
            close(number)

    __del__ = close


#: Descriptors of memory files that were sent, to be used again once no receiver has them: see `KeptMemfd`.
kept_memfds: Final[deque[Any]] = deque()
#: The event loops of pools, or the worker, that release them in time. Nothing is kept while there are none.
memfd_releasers: Final[set[object]] = set()


def above_standard(descriptor: int) -> int:
    """Return the descriptor if it is 3 or more; otherwise close it and return another one for the same file."""
    if descriptor > _STANDARD[-1] or sys.platform == "win32":  # there, the standard handles are no descriptors
        return descriptor
    import fcntl  # hardly any program needs it

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD[-1] + 1)
    finally:
        system.close(descriptor)


def open_standard() -> None:
    """Open the null device as each of the standard descriptors that is closed: for processes that are ours."""
    for number in _closed():
        opened = system.open(os.devnull, os.O_RDWR)
        if opened != number:  # another thread has opened that number
            system.close(opened)


def _closed() -> list[int]:
    closed = []
    for number in _STANDARD:
        try:
            system.fstat(number)
        except OSError:
            closed.append(number)
    return closed


class _StandardReserved:
    """Keeps the closed standard descriptors open while any thread is in the block."""

    def __init__(self) -> None:
        self._renewed_in_children = False
        self._reset()

    def _reset(self) -> None:
        # Guards what follows. Reentrant, because a signal handler or finaliser may interrupt its holder; nothing
        # that blocks or is foreign runs under it.
        self._lock = RLock()
        self._users = 0
        self._opened: list[tuple[int, tuple[int, int]]] = []  # descriptors, and the identities of their files

    def __enter__(self) -> None:
        if not self._renewed_in_children:
            from corefutures_pools.lifecycle import renew_in_child  # here: workers do without it

            self._renewed_in_children = True
            renew_in_child(self._after_fork_in_child)
        with self._lock:
            if not self._users:
                try:
                    for number in _closed():
                        self._open(number)
                except BaseException:
                    self._close()
                    raise
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users = max(0, self._users - 1)
            if not self._users:
                self._close()

    def _open(self, number: int) -> None:
        # Opens the end of a pipe without another end. No other descriptor has the same identity, so that `_close` does
        # not close a file that the program opens under the number meanwhile.
        outlet, inlet = system.pipe()
        system.close(inlet)
        if outlet == number:
            self._opened.append((number, _identity(number)))
        else:  # another thread has opened that number
            system.close(outlet)

    def _close(self) -> None:
        while self._opened:
            number, identity = self._opened.pop()
            try:
                if _identity(number) == identity:
                    system.close(number)
            except OSError:  # the program has closed it
                pass

    def closed(self) -> list[int]:
        """Return the standard descriptors that the program has closed.

        One that was closed when the program began has no stream, though it may have a file now that another thread
        reads.
        """
        streams = (sys.__stdin__, sys.__stdout__, sys.__stderr__)
        with self._lock:
            opened = {number for number, _ in self._opened}
        return sorted({*_closed(), *opened, *(number for number in _STANDARD if streams[number] is None)})

    def _after_fork_in_child(self) -> None:
        """Close what is open here; no thread of this process is in the block."""
        self._close()
        self._reset()


def _identity(descriptor: int) -> tuple[int, int]:
    status = system.fstat(descriptor)
    return status.st_dev, status.st_ino


standard_reserved: Final = _StandardReserved()
