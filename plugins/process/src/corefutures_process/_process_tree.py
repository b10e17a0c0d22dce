"""The programs that a worker process has started, and those that these have started: stopped with it.

Touches `/proc`, or `ps` where there is none. Guarantees: only what descends from the worker is signalled; what has no
parent any more, as a daemon, is not found; not knowing costs nothing but that they go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from corefutures_pools.blocking import clock, system

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

#: Looks for what was started meanwhile, at most; one finds nothing more, as a rule.
_ROUNDS: Final = 10
#: Seconds to wait until they are gone, at most.
_PATIENCE: Final = 1.0
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
#: What multiprocessing starts to clean up after a process, once that has ended.
_TRACKER: Final = b"multiprocessing.resource_tracker"


#: Those that were killed, and perhaps are there still: ours to wait for if we have become their parent.
_dying: list[int] = []


def kill_tree(pid: int, kill: Callable[[], object]) -> None:
    """Kills process `pid`, by `kill`, which is one call in C, and all that it has started.

    A process group for each worker would be simpler, and would take Ctrl-C, Ctrl-Z and reading from the terminal away
    from calls. So they are looked for:

    1. the process is stopped: it starts nothing any more, and nothing of it is waited for, so that no number is reused;
    2. so is each that was found, until no new one is;
    3. then all of them are killed, and waited for: not every init does so soon.
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
        finally:  # by one call in C: a signal handler that raises can only come before it, or when nothing is stopped
            try:
                kill()
            except OSError:  # it has ended
                pass
            found = _send(found, signal.SIGKILL)
            _dying.extend(found)
        deadline = clock.monotonic() + _PATIENCE
        while any(number in found for number in wait_for_dying()) and clock.monotonic() < deadline:
            time.sleep(0.001)


def wait_for_dying() -> list[int]:
    """Waits for those that were killed and have ended; returns those that have not."""
    for number in _dying.copy():
        if _has_gone(number):
            with contextlib.suppress(ValueError):  # another thread has seen it
                _dying.remove(number)
    return _dying.copy()


def _has_gone(pid: int) -> bool:
    """Returns whether a process is there no more; waits for it if that is up to us."""
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
    """Makes this process the one that orphans of its descendants get for a parent, where it can be."""
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
    """Sends SIGTERM to process `pid`, by `terminate`, and then to all that it has started."""
    found = descendants(pid) if sys.platform != "win32" else []
    terminate()
    _send(found, signal.SIGTERM)


def _send(pids: list[int], number: int) -> list[int]:
    """Sends a signal to processes; returns those that got it."""
    reached = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended, or has other privileges
            system.kill(pid, number)
            reached.append(pid)
    return reached


def descendants(pid: int) -> list[int]:
    """Returns the processes that descend from `pid`, as far as that can be known."""
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
    """Returns the children of a process; None if the kernel lists none."""
    own = system.getpid()
    if not system.access(f"/proc/{own}/task/{own}/children", os.F_OK):
        return None
    children: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in system.listdir(f"/proc/{pid}/task"):
            children += map(int, (_content(f"/proc/{pid}/task/{thread}/children") or b"").split())
    return children


def _table() -> dict[int, list[int]]:
    """Returns the children of every process, by its number."""
    import subprocess  # hardly any program needs it

    table: dict[int, list[int]] = {}
    try:
        lines = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, timeout=5, check=False
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # then they go on
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
