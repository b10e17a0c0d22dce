"""Which of the two ways to reach workers there is here, and the pairs of connections that the portable one is made of.

Touches the kernel; `connection_pair` imports `multiprocessing`. Guarantees: what the fast way needs was tried, here and
now: a kernel, a sandbox or a limit may lack it on any platform.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import sys
from contextlib import ExitStack

from corefutures._blocking import original, system
from corefutures_pools.descriptors import above_standard

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: What says that there is no more of something for now, not that it can't be had here.
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

#: For more workers than this the fast way would take much memory, though few of them may ever be started.
_MOST = 1 << 14


def supports_shared_queue(workers: int = 64) -> bool:
    """Returns whether there is what a `SharedQueuePool` of that size needs; COREFUTURES_PORTABLE=1 denies it."""
    if os.environ.get("COREFUTURES_PORTABLE") == "1" or sys.platform != "linux" or threads_are_replaced():
        return False
    if workers > _MOST:
        return False
    try:
        _try_everything(workers)
    except OSError as exc:
        return exc.errno in _SCARCE
    except AttributeError:  # Python was built without it, or somebody has taken it away
        return False
    return True


def _try_everything(workers: int) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has it")
    import _socket

    with ExitStack() as opened:

        def closed_later(descriptor: int) -> int:
            opened.callback(system.close, descriptor)
            return descriptor

        memory = closed_later(system.memfd_create("corefutures", system.MFD_CLOEXEC))
        system.ftruncate(memory, (1 << 21) + workers * (1 << 18))  # as large as `TaskQueue` makes its own, and more
        outlet, _inlet = map(closed_later, system.pipe())
        closed_later(system.open(f"/proc/self/fd/{outlet}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        bell = closed_later(system.eventfd(1, system.EFD_NONBLOCK | system.EFD_CLOEXEC))
        poll = opened.enter_context(select.epoll())
        poll.register(bell, select.EPOLLIN)
        for link in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET):
            closed_later(link.detach())


def threads_are_replaced() -> bool:
    """Returns whether threads are those of a library such as gevent: one that waits in the kernel stops all others."""
    replaced: object = _thread.start_new_thread
    return not isinstance(replaced, type(len))


def waiting_is_replaced() -> bool:
    """Returns whether `multiprocessing`, too, has others go on while it waits, where threads are replaced."""
    import selectors
    from multiprocessing import connection

    if isinstance(select.select, type(len)):  # threads alone are
        return False
    return hasattr(select, "poll") or getattr(connection, "_WaitSelector", None) is selectors.SelectSelector


def start_native_thread(function: Callable[[], object], name: str) -> None:
    """Starts a daemon thread of the operating system, in a worker: see `worker_end`."""
    if threads_are_replaced():
        original("_thread").start_new_thread(function, ())
        return
    import threading

    threading.Thread(target=function, name=name, daemon=True).start()


def wait_natively(connections: list[Any], timeout: float) -> list[Any]:
    """Returns which connections or sentinels are ready, as `multiprocessing.connection.wait`, but always in the kernel.

    Where a library has replaced threads, two of the operating system's that wait in its way for the first time wait for
    each other for ever.
    """
    if sys.platform == "win32" or not threads_are_replaced():
        from multiprocessing.connection import wait

        return wait(connections, timeout)
    poll = original("select").poll()
    watched = {one if isinstance(one, int) else one.fileno(): one for one in connections}
    for number in watched:
        poll.register(number, 1)  # POLLIN
    return [watched[number] for number, _ in poll.poll(timeout * 1000)]


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
    near, far = (Connection(above_standard(end.detach())) for end in ends)
    return near, far
