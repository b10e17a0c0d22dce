"""`WakeupEvent`: wakes a thread that waits for descriptors; an eventfd, with a self-pipe where there is none.

Touches the kernel only. Guarantees: `set` never blocks, is one system call, and may be called from any thread, signal
handler or finaliser; however often the event was set, the waiting thread wakes up once and clears it once.
"""

from __future__ import annotations

import sys

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

#: What an eventfd adds to its counter; for a pipe, any eight bytes.
_ONE: Final = (1).to_bytes(8, sys.byteorder)
#: Bytes: all that a pipe holds, as a rule.
_READ_SIZE: Final = 1 << 16


class WakeupEvent:
    """An event that is readable, for `select`, `epoll` or `multiprocessing.connection.wait`, while it is set.

    Its descriptors are closed with the last reference to it: a thread that is about to set it holds one, and so can't
    write to another file that got the same number.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    __slots__ = ("_connections", "_is_set", "_reader", "_writer")

    def __init__(self) -> None:
        self._reader = self._writer = -1
        self._connections: Any = None
        self._is_set = False
        if sys.platform == "linux":
            self._reader = self._writer = above_standard(system.eventfd(0, system.EFD_NONBLOCK | system.EFD_CLOEXEC))
        elif sys.platform == "win32":  # waits for connections, not for descriptors
            from multiprocessing.connection import Pipe

            self._connections = Pipe(duplex=False)
        else:
            self._reader, self._writer = map(above_standard, system.pipe())
            for end in (self._reader, self._writer):
                system.set_blocking(end, False)

    @property
    def waitable(self) -> Any:
        """What to wait for: a descriptor, or a connection on Windows."""
        return self._connections[0] if self._connections is not None else self._reader

    def set(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        try:
            if self._connections is None:
                system.write(self._writer, _ONE)
            elif not self._is_set:  # the pipe must not fill up
                self._is_set = True
                self._connections[1].send_bytes(b"")
        except OSError:  # set so often that it is full; or closed: no thread waits
            pass

    def clear(self) -> None:
        """Make it unreadable until it is set again: call this first, then handle what `set` announced."""
        try:
            if self._connections is None:
                system.read(self._reader, _READ_SIZE)
            elif self._connections[0].poll(0):
                self._connections[0].recv_bytes()
                self._is_set = False
        except BlockingIOError:  # it was not set
            pass

    def close(self, close: Any = system.close) -> None:
        """Close it now: for a thread that knows that no other uses it."""
        connections, self._connections = self._connections, None
        ends, self._reader, self._writer = {self._reader, self._writer} - {-1}, -1, -1
        for end in ends:
            close(end)
        for connection in connections or ():
            connection.close()

    __del__ = close
