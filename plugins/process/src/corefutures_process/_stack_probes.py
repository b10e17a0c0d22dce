"""Stack probes: how the pool's process reads the stack of a worker, also of a stuck one: by a signal or a connection.

Touches the toolkit and `multiprocessing`. Guarantees: no caller waits beyond its deadline; a late answer to an earlier
request is not taken for a new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from multiprocessing import reduction

from corefutures_pools.blocking import clock, system, threading
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.transport import connection_pair
from corefutures_process import _worker_process

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final, Protocol

    from corefutures_pools.inspection.stacks import Frame

    class StackProbe(Protocol):
        """The pool's end of the channel through which a worker sends its stack."""

        @property
        def child_end(self) -> Any:
            """The worker's end, an argument of the process that is being started."""
            ...

        def close_child_end(self) -> None:
            """Close this process's copy of the worker's end."""
            ...

        def request(self, pid: int) -> None:
            """Request the stack; never blocks."""
            ...

        def read(self, deadline: float) -> tuple[list[Frame], str | None]:
            """Return the stack, innermost frame last, or no frames and the reason."""
            ...

        def close(self) -> None:
            """Close the pool's end."""
            ...


_SILENT: Final = "it does not answer: stopped, stuck in C code that holds the GIL, or not far enough in starting"

#: The last line of interest: the outermost frame of the call, or `faulthandler`'s ellipsis for the rest.
_END: Final = re.compile(r'_worker_process\.py", line \d+ in serve\n|^  \.\.\.\n', re.MULTILINE)


def make_probe() -> StackProbe:
    """Return a probe for a worker that is about to be started."""
    if sys.platform == "win32" or os.environ.get("COREFUTURES_PORTABLE") == "1":
        return PollingStackProbe()
    return SignalStackProbe()


class _Descriptor(int):
    """A descriptor as an argument of the process that is being started."""

    def __reduce__(self) -> Any:
        if sys.platform == "win32":
            raise TypeError("descriptors can't be sent on Windows")
        return _worker_process.receive_descriptor, (reduction.DupFd(int(self)),)


def as_argument(end: Any) -> Any:
    """Return a descriptor or connection as an argument of the process that is being started."""
    return _Descriptor(end) if isinstance(end, int) else end


class SignalStackProbe:
    """A pipe that `faulthandler` writes to, in the worker, on a signal: also while the worker is stuck in C code."""

    def __init__(self) -> None:
        self._outlet, inlet = map(above_standard, system.pipe())
        system.set_blocking(self._outlet, False)
        system.set_blocking(inlet, False)  # writing never blocks the worker
        self.child_end = _Descriptor(inlet)
        # Held from a request to its answer: no thread may read another's answer. Acquired with a timeout: a signal
        # handler may interrupt the holder, which can't go on meanwhile, and request a stack itself.
        self._lock = threading.Lock()
        self._unread: list[int] = []  # one entry from a request until a thread begins to read the answer

    def close_child_end(self) -> None:
        """See `StackProbe.close_child_end`."""
        system.close(self.child_end)

    def request(self, pid: int) -> None:
        """Request the stack, unless another request is under way: then `read` sends it."""
        self._pid = pid
        if self._lock.acquire(blocking=False):
            self._unread.append(pid)
            self._signal()

    def _signal(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # the worker has ended, or the probe is closed
                from corefutures_pools.inspection.stacks import discard_stacks  # here for start-up time only

                discard_stacks(self._outlet)
                system.kill(self._pid, _worker_process.STACK_SIGNAL)

    def read(self, deadline: float) -> tuple[list[Frame], str | None]:
        """See `StackProbe.read`."""
        try:
            self._unread.pop()  # this thread's request, or that of a thread which then requests once more
        except IndexError:
            if not self._lock.acquire(timeout=max(0.0, deadline - clock.monotonic())):
                return [], "another thread is asking it"
            self._signal()
        try:
            from corefutures_pools.inspection.stacks import collect_stack  # here for start-up time only

            frames = collect_stack(self._outlet, deadline, _END) if self._outlet >= 0 else []
        except OSError:
            frames = []
        finally:
            self._lock.release()
        return (frames, None) if frames else ([], _SILENT)

    def close(self) -> None:
        """See `StackProbe.close`."""
        outlet, self._outlet = self._outlet, -1
        if outlet >= 0:
            system.close(outlet)


class PollingStackProbe:
    """A connection to a thread of the worker, which needs the GIL to answer: for all platforms."""

    def __init__(self) -> None:
        self._connection, self.child_end = connection_pair()
        self._lock = threading.Lock()  # as in `SignalStackProbe`
        self._is_pending = False  # the worker has not answered a request

    def close_child_end(self) -> None:
        """See `StackProbe.close_child_end`."""
        self.child_end.close()

    def request(self, pid: int) -> None:
        """Request the stack, unless a request is pending: with one request at a time, writing it can't block."""
        if self._lock.acquire(blocking=False):
            try:
                if self._is_pending and self._connection.poll(0):  # too late for the thread that requested it
                    self._connection.recv_bytes()
                    self._is_pending = False
                if not self._is_pending:
                    self._is_pending = True
                    self._connection.send_bytes(b"")
            except (OSError, EOFError):
                pass
            finally:
                self._lock.release()

    def read(self, deadline: float) -> tuple[list[Frame], str | None]:
        """See `StackProbe.read`."""
        if not self._lock.acquire(timeout=max(0.0, deadline - clock.monotonic())):
            return [], "another thread is asking it"
        try:
            if self._connection.poll(max(0.0, deadline - clock.monotonic())):
                self._is_pending = False
                from corefutures_pools.inspection.stacks import read_frames  # here for start-up time only

                return read_frames(self._connection.recv_bytes().decode().splitlines()), None
        except (OSError, EOFError):
            pass
        finally:
            self._lock.release()
        return [], _SILENT

    def close(self) -> None:
        """See `StackProbe.close`."""
        self._connection.close()
