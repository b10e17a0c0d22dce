"""The choice between the two transports, shared queue and pipes; connections and waiting where threads are replaced.

Touches the kernel; `connection_pair` imports `multiprocessing`. Guarantees: `supports_shared_queue` tries all that the
shared queue needs: on every platform a kernel, a sandbox or a limit may refuse a part of it.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import ExitStack

from corefutures._blocking import _thread, original, select, system
from corefutures_pools.descriptors import above_standard

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: Errors of a shortage, which may pass, not of a missing feature.
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

#: For more workers the shared queue would need much memory, though few of them may ever be started.
_WORKERS_AT_MOST = 1 << 14


def supports_shared_queue(workers: int = 64) -> bool:
    """Return whether a `SharedQueuePool` of that size works here; False if COREFUTURES_PORTABLE=1 is set.

    Without the GIL it does not: the submitter and the thread of the results, on two processors, take the locks of its
    lists and dicts from each other, and a call takes twice as long as over pipes.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    if os.environ.get("COREFUTURES_PORTABLE") == "1" or sys.platform != "linux" or threads_are_replaced():
        return False
    if workers > _WORKERS_AT_MOST:
        return False
    try:
        _try_features(workers)
    except OSError as exc:
        return exc.errno in _SHORTAGES
    except AttributeError:  # this build of Python lacks a function, or the program has removed it
        return False
    return True


def _try_features(workers: int) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has shared queues")
    import _socket

    with ExitStack() as opened:

        def closed_later(descriptor: int) -> int:
            opened.callback(system.close, descriptor)
            return descriptor

        memory = closed_later(system.memfd_create("corefutures", system.MFD_CLOEXEC))
        size = (10 << 20) + workers * (1 << 18) + min(2 + 2 * workers, 64) * (9 << 17)  # more than `TaskQueue` needs
        system.ftruncate(memory, size)
        outlet, _inlet = map(closed_later, system.pipe())
        closed_later(system.open(f"/proc/self/fd/{outlet}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        event = closed_later(system.eventfd(1, system.EFD_NONBLOCK | system.EFD_CLOEXEC))
        poll = opened.enter_context(select.epoll())
        poll.register(event, select.EPOLLIN)
        for link in _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET):
            closed_later(link.detach())


def threads_are_replaced() -> bool:
    """Return whether a library such as gevent has replaced threads: one that waits in the kernel stops all others."""
    # What debuggers put in place of `start_new_thread` starts threads of the operating system, and leaves this alone.
    identity: object = _thread.get_ident
    return not isinstance(identity, type(len))


def waiting_is_replaced() -> bool:
    """Return whether waiting in `multiprocessing` lets other threads run, where threads are replaced."""
    from multiprocessing import connection

    from corefutures._blocking import selectors

    if isinstance(select.select, type(len)):  # threads alone are
        return False
    return hasattr(select, "poll") or getattr(connection, "_WaitSelector", None) is selectors.SelectSelector


def start_native_thread(function: Callable[[], object], name: str) -> None:
    """Start a daemon thread of the operating system, in a worker: see `worker_end`."""
    if threads_are_replaced():
        original("_thread").start_new_thread(function, ())
        return
    from corefutures._blocking import threading

    threading.Thread(target=function, name=name, daemon=True).start()


def wait_natively(connections: list[Any], timeout: float) -> list[Any]:
    """Return the connections or sentinels that are ready, as `multiprocessing.connection.wait`, but wait in the kernel.

    Where a library has replaced threads, two threads of the operating system that call its waiting functions for the
    first time would deadlock.
    """
    if sys.platform == "win32" or not threads_are_replaced():
        from corefutures._blocking import wait_ready  # here for start-up time only

        return wait_ready(connections, timeout)
    poll = original("select").poll()
    watched = {one if isinstance(one, int) else one.fileno(): one for one in connections}
    for number in watched:
        poll.register(number, 1)  # POLLIN
    return [watched[number] for number, _ in poll.poll(timeout * 1000)]


def worker_end(connection: Any) -> Any:
    """Return the connection for a worker to wait at, in place of the one that it received.

    Where a library has replaced threads, waiting runs other threads. In a forked worker these would be copies of the
    parent's threads, which would repeat the work of the originals. So the worker waits in the kernel.
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
    """Return two connected connections, as `multiprocessing.Pipe`, also if the program has replaced `socket.socket`."""
    if sys.platform == "win32":
        from multiprocessing import Pipe

        return Pipe()
    import _socket
    from multiprocessing.connection import Connection

    ends = _socket.socketpair()
    for end in ends:
        end.settimeout(None)  # whatever the program's default is
    near, far = (Connection(above_standard(end.detach())) for end in ends)
    return near, far
