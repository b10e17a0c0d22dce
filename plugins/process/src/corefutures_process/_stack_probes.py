"""How the pool's process asks a worker for its stack, also one that is stuck: by a signal, or through a connection.

Touches the door and `multiprocessing`. Guarantees: nobody waits for a worker beyond the deadline; an earlier answer
that came late is not taken for a new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from multiprocessing import reduction

from corefutures_pools.blocking import clock, system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.transport import connection_pair
from corefutures_process import _worker_process

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final, Protocol

    from corefutures_pools.inspection.stacks import Frame

    class Line(Protocol):
        """The caller's end of what a worker tells its stack through."""

        @property
        def child_end(self) -> Any:
            """The worker's end, to be sent to it while it starts; closed here by `close_child_end` once it has it."""
            ...

        def close_child_end(self) -> None:
            """Closes our copy of the worker's end."""
            ...

        def ask(self, pid: int) -> None:
            """Asks for the stack; never blocks."""
            ...

        def answer(self, deadline: float) -> tuple[list[Frame], str | None]:
            """Returns the stack, innermost last, or none and why there is none."""
            ...

        def close(self) -> None:
            """Closes the caller's end."""
            ...


_SILENT: Final = "it does not answer: stopped, stuck in C code that holds the GIL, or not far enough in starting"

#: The outermost line of interest, or that `faulthandler` leaves the rest out.
_END: Final = re.compile(r'_worker_process\.py", line \d+ in serve\n|^  \.\.\.\n', re.MULTILINE)


def open_line() -> Line:
    """Returns a line to a worker that is about to be started."""
    if sys.platform == "win32" or os.environ.get("COREFUTURES_PORTABLE") == "1":
        return _AskedLine()
    return _SignalledLine()


class _Descriptor(int):
    """A descriptor that goes along with the process that is being started."""

    def __reduce__(self) -> Any:
        if sys.platform == "win32":
            raise TypeError("descriptors don't travel here")
        return _worker_process.take_line, (reduction.DupFd(int(self)),)


def travelling(end: Any) -> Any:
    """Returns an end that can be sent to a process that is being started: a descriptor or a connection."""
    return _Descriptor(end) if isinstance(end, int) else end


class _SignalledLine:
    """A pipe that `faulthandler` writes to, in the worker, when a signal comes: whatever else the worker does."""

    def __init__(self) -> None:
        self._outlet, inlet = map(above_standard, system.pipe())
        system.set_blocking(self._outlet, False)
        system.set_blocking(inlet, False)  # a worker never waits for somebody to read
        self.child_end = _Descriptor(inlet)
        # Held by whoever asks and reads, who must not read another's answer. Only waited for as long as for the worker:
        # a signal handler may interrupt its holder, and dump while that can't go on.
        self._turn = threading.Lock()
        self._asked: list[int] = []  # one entry while somebody has the turn, and the answer is not yet read

    def close_child_end(self) -> None:
        system.close(self.child_end)

    def ask(self, pid: int) -> None:
        """Does what can be done at once; `answer` does it if somebody else is at it."""
        self._pid = pid
        if self._turn.acquire(blocking=False):
            self._asked.append(pid)
            self._signal()

    def _signal(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # it has ended, or we have
                from corefutures_pools.inspection.stacks import discard_stacks  # here for start-up time only

                discard_stacks(self._outlet)
                system.kill(self._pid, _worker_process.STACK_SIGNAL)

    def answer(self, deadline: float) -> tuple[list[Frame], str | None]:
        try:
            self._asked.pop()  # ours, or that of somebody who then asks once more
        except IndexError:
            if not self._turn.acquire(timeout=max(0.0, deadline - clock.monotonic())):
                return [], "somebody else is asking it"
            self._signal()
        try:
            from corefutures_pools.inspection.stacks import collect_stack  # here for start-up time only

            frames = collect_stack(self._outlet, deadline, _END) if self._outlet >= 0 else []
        except OSError:
            frames = []
        finally:
            self._turn.release()
        return (frames, None) if frames else ([], _SILENT)

    def close(self) -> None:
        outlet, self._outlet = self._outlet, -1
        if outlet >= 0:
            system.close(outlet)


class _AskedLine:
    """A connection to a thread of the worker, which needs its GIL to answer: the portable way."""

    def __init__(self) -> None:
        self._connection, self.child_end = connection_pair()
        self._turn = threading.Lock()  # as in `_SignalledLine`
        self._owes = False  # the worker was asked, and has not answered

    def close_child_end(self) -> None:
        self.child_end.close()

    def ask(self, pid: int) -> None:
        """Asks, unless an answer is owed: there is never more than one question, so that writing it can't block."""
        if self._turn.acquire(blocking=False):
            try:
                if self._owes and self._connection.poll(0):  # it came too late for who asked
                    self._connection.recv_bytes()
                    self._owes = False
                if not self._owes:
                    self._owes = True
                    self._connection.send_bytes(b"")
            except (OSError, EOFError):
                pass
            finally:
                self._turn.release()

    def answer(self, deadline: float) -> tuple[list[Frame], str | None]:
        if not self._turn.acquire(timeout=max(0.0, deadline - clock.monotonic())):
            return [], "somebody else is asking it"
        try:
            if self._connection.poll(max(0.0, deadline - clock.monotonic())):
                self._owes = False
                from corefutures_pools.inspection.stacks import read_frames  # here for start-up time only

                return read_frames(self._connection.recv_bytes().decode().splitlines()), None
        except (OSError, EOFError):
            pass
        finally:
            self._turn.release()
        return [], _SILENT

    def close(self) -> None:
        self._connection.close()
