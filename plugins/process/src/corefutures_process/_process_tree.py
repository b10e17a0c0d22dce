"""The process tree of a worker: the programs that it has started, and their programs, which are stopped with it.

Touches `/proc`, or `ps` where /proc is missing. Guarantees: only descendants of the worker get a signal. A daemon,
which has no parent any more, is not found and goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from corefutures_pools.blocking import clock, sleep, system

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

#: The maximum number of searches for new descendants; the second finds none, as a rule.
_ROUNDS: Final = 10
#: Seconds to wait for the end of the killed processes.
_END_TIMEOUT: Final = 1.0
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
#: The helper process of multiprocessing that cleans up after a process has ended.
_TRACKER: Final = b"multiprocessing.resource_tracker"

#: Killed processes that may not have ended: this process has to reap those whose parent it has become.
_dying: list[int] = []


def kill_tree(pid: int, kill: Callable[[], object]) -> None:
    """Kill process `pid` and its descendants; `kill` kills the process itself, by one call in C.

    A process group for each worker would be simpler, but calls could not get Ctrl-C or Ctrl-Z or read from the terminal
    then. So the descendants are searched for:

    1. The process is stopped: it starts no program any more, and reaps none, so no pid is reused.
    2. Each descendant that is found is stopped too, until a search finds no new one.
    3. All of them are killed and reaped, because not every init process reaps orphans soon.
    """
    if sys.platform == "win32":
        kill()
        return
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        try:
            _send([pid], signal.SIGSTOP)
            for _ in range(_ROUNDS):
                new = [number for number in descendants(pid) if number not in found]
                if not new:
                    break
                if not found:
                    stack.enter_context(_adopting())
                found += new
                _send(new, signal.SIGSTOP)
        finally:  # one call in C: a signal handler that raises runs before it, or when no process is stopped any more
            try:
                kill()
            except OSError:  # the process has ended
                pass
            found = _send(found, signal.SIGKILL)
            _dying.extend(found)
        deadline = clock.monotonic() + _END_TIMEOUT
        while any(number in found for number in wait_for_dying()) and clock.monotonic() < deadline:
            sleep(0.001)


def wait_for_dying() -> list[int]:
    """Reap the killed processes that have ended; return the others."""
    for number in _dying.copy():
        if _has_gone(number):
            with contextlib.suppress(ValueError):  # another thread has removed it
                _dying.remove(number)
    return _dying.copy()


def _has_gone(pid: int) -> bool:
    """Return whether a process has ended; reap it if it is a child of this process."""
    if sys.platform == "win32":
        return True
    with contextlib.suppress(ChildProcessError):
        return system.waitpid(pid, os.WNOHANG)[0] == pid
    try:
        system.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Make this process the parent of its orphaned descendants (a child subreaper), where the platform can."""
    prctl = None
    before = 1
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            value = ctypes.c_int(1)
            prctl = ctypes.CDLL(None).prctl
            prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(value), 0, 0, 0)
            before = value.value
    if prctl is None or before:
        yield
        return
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def terminate_tree(pid: int, terminate: Callable[[], object]) -> None:
    """Send SIGTERM to process `pid`, by `terminate`, and then to its descendants."""
    found = descendants(pid) if sys.platform != "win32" else []
    terminate()
    _send(found, signal.SIGTERM)


def _send(pids: list[int], number: int) -> list[int]:
    """Send a signal to processes; return those that got it."""
    reached = []
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has ended, or has other privileges
            system.kill(pid, number)
            reached.append(pid)
    return reached


def descendants(pid: int) -> list[int]:
    """Return the descendants of process `pid`, as far as they can be known."""
    found: list[int] = []
    table: dict[int, list[int]] | None = None
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = _children(parent) if table is None else table.get(parent, [])
        if children is None:
            table = _table()
            children = table.get(parent, [])
        children = [child for child in children if child not in found and not _is_tracker(child)]
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int] | None:
    """Return the children of a process; None if the kernel does not list them."""
    own = system.getpid()
    if not system.access(f"/proc/{own}/task/{own}/children", os.F_OK):
        return None
    children: list[int] = []
    with contextlib.suppress(OSError):  # the process has ended
        for thread in system.listdir(f"/proc/{pid}/task"):
            children += map(int, (_content(f"/proc/{pid}/task/{thread}/children") or b"").split())
    return children


def _table() -> dict[int, list[int]]:
    """Return the children of every process, by pid."""
    import subprocess  # few programs need it

    table: dict[int, list[int]] = {}
    try:
        lines = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, timeout=5, check=False
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # the descendants are not found
        return table
    for line in lines:
        child, parent = map(int, line.split())
        table.setdefault(parent, []).append(child)
    return table


def _is_tracker(pid: int) -> bool:
    return _TRACKER in (_content(f"/proc/{pid}/cmdline") or b"")


def _content(path: str) -> bytes | None:
    if sys.platform == "win32":
        return None
    try:
        descriptor = system.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return system.read(descriptor, 1 << 16)
    except OSError:
        return None
    finally:
        system.close(descriptor)
