"""Which of the two ways to reach workers there is here, and the pairs of connections that the portable one is made of.

Touches nothing; `connection_pair` imports `multiprocessing`.
"""

from __future__ import annotations

import _thread
import os
import select
import sys

from corefutures._isolated.descriptors import lifted
from corefutures._originals import original, system

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def has_fast_path() -> bool:
    """Returns whether there is what `TicketPool` needs here; COREFUTURES_PORTABLE=1 denies it."""
    if os.environ.get("COREFUTURES_PORTABLE") == "1" or not sys.platform.startswith("linux"):
        return False
    needed = hasattr(system, "memfd_create"), hasattr(system, "eventfd"), hasattr(select, "epoll")
    return all(needed) and not threads_are_replaced() and _exists("/proc/self/fd")


def threads_are_replaced() -> bool:
    """Returns whether threads are those of a library such as gevent: one that waits in the kernel stops all others."""
    replaced: object = _thread.start_new_thread
    return not isinstance(replaced, type(len))


def waiting_is_replaced() -> bool:
    """Returns whether `multiprocessing`, too, has others go on while it waits, where threads are replaced."""
    import selectors
    from multiprocessing import connection

    return hasattr(select, "poll") or getattr(connection, "_WaitSelector", None) is selectors.SelectSelector


def start_native_thread(function: Callable[[], object], name: str) -> None:
    """Starts a daemon thread of the operating system, in a worker: see `worker_end`."""
    if threads_are_replaced():
        original("_thread").start_new_thread(function, ())
        return
    import threading

    threading.Thread(target=function, name=name, daemon=True).start()


def worker_end(connection: Any) -> Any:
    """Returns the connection that a worker is to wait at, in place of the one that it got.

    Where a library has replaced threads, what waits makes way for them. In a forked worker these would be copies of the
    parent's threads, going on with what their originals do: so it waits in the kernel, and starts no such thread.
    """
    if sys.platform == "win32" or not threads_are_replaced():
        return connection
    from multiprocessing.connection import Connection

    class WorkerEnd(Connection):
        def _send(self, buf: Any, write: Any = system.write) -> None:
            super()._send(buf, write)  # type: ignore[misc]

        def _recv(self, size: int, read: Any = system.read) -> Any:
            return super()._recv(size, read)  # type: ignore[misc]

    end = WorkerEnd(connection.fileno())
    connection._handle = None
    return end


def _exists(path: str) -> bool:
    try:
        system.stat(path)
    except OSError:
        return False
    return True


def connection_pair() -> tuple[Any, Any]:
    """Returns two connections that are connected, as `multiprocessing.Pipe`, whatever has become of `socket.socket`."""
    if sys.platform == "win32":
        from multiprocessing import Pipe

        return Pipe()
    import _socket
    from multiprocessing.connection import Connection

    ends = _socket.socketpair()
    for end in ends:
        end.settimeout(None)  # whatever the program has for a default
    near, far = (Connection(lifted(end.detach())) for end in ends)
    return near, far
