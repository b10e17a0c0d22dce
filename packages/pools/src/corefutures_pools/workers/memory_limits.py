"""`MemoryLimit`: kills the worker of a call whose private memory exceeds the limit of its pool: the option `memory`.

Touches a pool's calls by the methods of `_WatchedPool`, and `/proc` or psutil. Guarantees: a call that is killed for
its memory fails with an error that says the limit and the peak; no thread runs while the pool has no call.
"""

from __future__ import annotations

import os
import re
import sys

from corefutures._blocking import Lock, _thread, sleep, system
from corefutures._exceptions import WorkerLostError
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER
from corefutures._options import shown
from corefutures_pools.workers.time_limits import described_call

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.snapshot import Occupation

    class _WatchedPool(Protocol):
        """What this file needs of a pool; `PoolTransport` says what the methods do."""

        name: str

        @property
        def calls(self) -> Mapping[int, object]: ...
        def occupations(self) -> Iterable[Occupation]: ...
        def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool: ...


#: Seconds between two looks at the memory of the workers, at most and at least.
_LONGEST_INTERVAL: Final = 0.05
_SHORTEST_INTERVAL: Final = 0.002
#: Bytes in a second: no process is expected to fill new memory faster. Twice as fast as one thread does.
_FASTEST_GROWTH: Final = 8 << 30

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([kmgt]?i?b?)\s*", re.IGNORECASE)
_UNITS: Final = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}  # fmt: skip


def checked_size(option: str, size: Any) -> int:
    """Check an option that is a size, and return the number of bytes.

    Raises:
        TypeError: It is neither an int nor a str.
        ValueError: It can't be read, or is not positive.
    """
    remedy = "write a number of bytes, or a str such as '4 GiB', '500 MB' or '1.5GB'"
    if isinstance(size, bool) or not isinstance(size, (int, str)):
        raise TypeError(f"{option} must be a size, not {shown(size)}: {remedy}")
    if isinstance(size, int):
        number = size
    else:
        found = _SIZE.fullmatch(size)
        unit = None if found is None else _UNITS.get(found[2].lower())
        if found is None or unit is None or (unit == 1 and "." in found[1]):
            raise ValueError(f"{option} must be a size, and {size!r} can't be read: {remedy}")
        number = round(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit
    if number <= 0:
        raise ValueError(f"{option} must be positive, not {shown(size)}: {remedy}")
    return number


def size_text(size: int) -> str:
    """Return a number of bytes as messages write it."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


# ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────


def find_meter() -> Callable[[int], int] | None:
    """Return a function that returns the private memory of a process in bytes, 0 if it has ended; None without one."""
    if sys.platform == "linux":
        try:
            if _private_on_linux(system.getpid()):
                return _private_on_linux
        except (OSError, ValueError, IndexError):  # no /proc
            pass
    try:
        import psutil  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return None

    def measure(pid: int) -> int:
        try:
            return int(psutil.Process(pid).memory_full_info().uss)
        except psutil.Error:
            return 0

    return measure


def _private_on_linux(pid: int) -> int:
    """Return the anonymous memory of a process, and that which it shares with nobody if the former is swapped out.

    Memory that several processes map, such as the arena and memory files, is not anonymous.
    """
    fields = _read(f"/proc/{pid}/statm").split()
    if len(fields) < 3:  # it has ended
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE + _swapped(pid)


def exact_private(pid: int) -> int | None:
    """Return the memory that a process shares with nobody, also none that was its parent's; None if that is not told.

    This takes about a millisecond for each gigabyte.
    """
    try:
        lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    except OSError:
        return None
    sizes = {
        name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(b":") for line in lines) if b"kB" in rest
    }
    if b"Private_Dirty" not in sizes:
        return None
    return sizes[b"Private_Dirty"] + sizes.get(b"Swap", 0)


def _swapped(pid: int) -> int:
    if not _has_swap:
        return 0
    _, _, rest = _read(f"/proc/{pid}/status").partition(b"VmSwap:")
    return int(rest.split()[0]) << 10 if rest else 0


def _read(path: str) -> bytes:
    if sys.platform != "linux":
        return b""
    try:
        descriptor = system.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return system.read(descriptor, 1 << 14)
    except ProcessLookupError:
        return b""
    finally:
        system.close(descriptor)


def _swap_is_on() -> bool:
    try:
        return len(_read("/proc/swaps").splitlines()) > 1
    except OSError:
        return True


if sys.platform == "linux":
    _PAGE: Final = system.sysconf("SC_PAGESIZE")
    _has_swap = _swap_is_on()
else:
    _PAGE, _has_swap = 4096, False


# ── watching ─────────────────────────────────────────────────────────────────────────────────────────────────


class MemoryLimit:
    """The limits of the private memory of the workers of a pool, and the thread that keeps them while there are calls.

    1. A submitter enters its call into the table of the pool, then starts a thread unless one watches.
    2. A thread that finds no call declares that it watches no more, then looks for calls again.

    Args:
        limit: Bytes for each worker; None for no limit.
        total: Bytes for all workers: no further call is admitted above that; None for no limit.
        measure: What `find_meter` returned.

    Attributes:
        on_look: Called after each look at the workers, if there is a `total`.

    Thread safety: `watch` may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, limit: int | None, total: int | None, measure: Callable[[int], int]) -> None:
        self.limit = limit
        self._total = total
        self._used = 0  # by all workers, at the last look
        self.on_look: Callable[[], object] = bool
        self._measure = measure
        # Guards that one thread watches. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._watching = False

    def admits(self) -> bool:
        """Return whether the workers have had less memory than `total` at the last look."""
        return self._total is None or self._used < self._total

    def watch(self, pool: _WatchedPool) -> None:
        """Have the calls of a pool watched, one of which has just been submitted.

        Raises:
            RuntimeError: No thread can be started.
        """
        if not self._watching:
            _thread.start_new_thread(self._watch, (pool,))

    def _watch(self, pool: _WatchedPool) -> None:
        try:
            while self._begin():
                while pool.calls:
                    sleep(self._look(pool))
                self._watching = False
                if not pool.calls:
                    return
        finally:
            if sys.version_info < (3, 12):  # there, `threading` remembers a thread that it did not start for ever
                from corefutures._blocking import threading  # here for start-up time only

                threading._active.pop(_thread.get_ident(), None)  # type: ignore[attr-defined]

    def _begin(self) -> bool:
        begun = False
        if self._lock.taken:
            if not self._watching:
                self._watching = begun = True
            self._lock.release()
        return begun

    def _look(self, pool: _WatchedPool) -> float:
        """Kill the workers whose calls have exceeded the limit; return the seconds until the next look."""
        limit = self.limit
        left, total, pids = limit, 0, []
        try:
            for occupation in pool.occupations():
                pid, call = occupation.worker.pid, occupation.call
                if pid is None:
                    continue
                used = self._measure(pid)
                if limit is not None and used > limit and call is not None:
                    exact = exact_private(pid)  # the worker may share memory with the process it was forked from
                    used = used if exact is None else exact
                    if used > limit:
                        pool.kill_running(call, self._error(call, used, limit, pid, occupation.worker.name))
                total += used
                pids.append(pid)
                if limit is not None and left is not None and call is not None:
                    left = min(left, limit - used)
            if self._total is not None:
                if total >= self._total:  # processes that were forked from one with modules share its memory
                    sizes = [exact_private(pid) for pid in pids]
                    if None not in sizes:
                        total = sum(filter(None, sizes))
                self._used = total
                self.on_look()
        except BaseException:  # it is tried again
            log_failure(LOGGER, "the memory of the workers of the %s could not be looked at", pool.name)
        if left is None:
            return _LONGEST_INTERVAL
        return min(_LONGEST_INTERVAL, max(_SHORTEST_INTERVAL, left / _FASTEST_GROWTH))

    def _error(self, call: CallFuture[Any], used: int, limit: int, pid: int, worker: str) -> WorkerLostError:
        return WorkerLostError(
            f"{described_call(call)} exceeded the memory limit of its worker, {size_text(limit)} (memory=), and"
            f" was killed with it: its peak was {size_text(used)}",
            pid=pid,
            worker=worker,
        )
