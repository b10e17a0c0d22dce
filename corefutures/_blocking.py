"""The one place from which core and pools take locks, threads, queues, clocks, sleeps, waits and system calls.

Touches nothing: every worker imports this module. Tools for tests replace clocks and system calls in `time` and `os`,
and in every module that has imported them by name: so both are kept in namespaces of our own. Libraries with green
threads replace functions of `threading`, `_thread`, `select` and `time`: so these are looked up there at each use. An
explorer of schedules replaces what stands here: see tests/explore/world.py.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

try:
    from _thread import RLock
except ImportError:  # an interpreter without the C lock
    from threading import RLock

__all__ = [
    "Lock",
    "Parker",
    "RLock",
    "_thread",
    "add_cancel_probe",
    "cancel_requested",
    "clock",
    "current_workers",
    "in_worker",
    "is_service_thread",
    "mark_service_thread",
    "nested_loops",
    "original",
    "queue",
    "run_nested_loop",
    "select",
    "selectors",
    "set_cancel_probe",
    "sleep",
    "spin_until",
    "start_thread",
    "system",
    "threading",
    "wait_ready",
]

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

# ── the standard library's modules, clocks and system calls ──────────────────────────────────────────────────


def original(name: str) -> Any:
    """Return a new copy of a module that is written in C, as it was before any tool changed it."""
    from importlib.util import find_spec, module_from_spec  # few programs need it

    specification = find_spec(name)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import os as system
    import queue
    import select
    import selectors
    import threading
    import time as clock
    from collections.abc import Callable
    from multiprocessing.connection import wait as wait_ready
    from typing import Any, Final
else:
    _Namespace = type(sys.implementation)
    _patched = type(time.monotonic) is not type(len)  # a tool for tests has replaced the clocks
    clock = _Namespace(**vars(original("time") if _patched else time))
    # The module that `os` is made of: tools replace the names in `os`.
    system = _Namespace(**vars(__import__("nt" if sys.platform == "win32" else "posix")))

    def __getattr__(name: str) -> Any:
        """Import what most workers do without when another module first takes it from here."""
        if name == "wait_ready":
            from multiprocessing.connection import wait as found
        elif name in ("queue", "select", "selectors", "threading"):
            found = __import__(name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def sleep(seconds: float) -> None:
    """Block this thread for that time."""
    time.sleep(seconds)


# ── locks and threads ────────────────────────────────────────────────────────────────────────────────────────


class Lock(RLock):  # type: ignore[misc]
    """A lock that no signal handler and no finaliser finds held by the thread that it interrupts (F8).

    It is for sections in which nothing is called:

        if lock.taken:
            self._state = FINISHED
            lock.release()

    `taken` waits for the lock, acquires it and is true. The argument, for CPython:

    1. Handlers and finalisers run, and interrupts raise, at the beginning of a function, where a loop jumps back, and
       after a call: not after an attribute was read, which is how this lock is acquired.
    2. A section of attributes, tests and displays, without a call, has no such point, and nothing in it raises.
    3. After the call of `release` there is such a point, and the lock is free by then.

    A section within a section ends with `_ = lock.freed`, which releases the lock as well, without a call.

    So an interrupt that raises leaves the lock free, and a thread that waits for the lock waits for code that runs,
    never for a handler, which may itself wait for anything. With `with`, or a call of `acquire`, a handler can come
    between the acquisition and the section. While `taken` waits for another thread, handlers do run; if one raises,
    that thread keeps the lock.

    The lock is reentrant: CPython 3.11 collects garbage also where a tuple or list is made, and a finaliser may enter
    the same section. So an item that a section appends is made before the section.
    """

    __slots__ = ()

    taken = property(RLock.acquire)
    freed = property(RLock.release)


# ── waits in the main thread ─────────────────────────────────────────────────────────────────────────────────

#: Seconds after which the main thread looks for signals while it waits.
SIGNAL_INTERVAL: Final = 1.0


#: The ident of the main thread.
_main_thread: Final = [
    sys.modules["threading"].main_thread().ident if "threading" in sys.modules else _thread.get_ident()
]


class Parker:
    """Blocks one thread until another one, or a signal handler, unparks it.

    Named after the parker of tokio and of Java's `LockSupport`. An `unpark` before `park` is kept: `park` then
    returns at once. It is a lock that is held from the start; as the methods of a lock are C functions, `unpark`
    allocates nothing and no signal handler runs within it.

    Attributes:
        unpark: Wakes the thread that parks, or will; raises RuntimeError if it has been called since the last park.

    Thread safety: `park` and `try_park` are for the thread that blocks, `unpark` for any.
    """

    __slots__ = ("_lock", "unpark")

    def __init__(self) -> None:
        lock = _thread.allocate_lock()
        lock.acquire()
        self._lock = lock
        self.unpark: Callable[[], None] = lock.release

    def park(self, timeout: float | None = None) -> bool:
        """Block until unparked; return False if `timeout` seconds have passed before that.

        Args:
            timeout: Seconds; None for no limit.
        """
        if _thread.get_ident() == _main_thread[0]:  # it looks for signals: see `corefutures_pools.blocking.at_once`
            deadline = None if timeout is None else clock.monotonic() + timeout
            while timeout is None or timeout > SIGNAL_INTERVAL:
                if self._lock.acquire(True, SIGNAL_INTERVAL):
                    return True
                timeout = None if deadline is None else deadline - clock.monotonic()
        if timeout is None:
            return self._lock.acquire()
        return timeout > 0 and self._lock.acquire(True, min(timeout, _thread.TIMEOUT_MAX))

    def try_park(self) -> bool:
        """Consume an `unpark` without blocking; return False if there was none."""
        return self._lock.acquire(False)

    def is_unparked(self) -> bool:
        """Return True if `park` would not block."""
        return not self._lock.locked()


def start_thread(thread: threading.Thread) -> None:
    """Start a thread that works for others than the thread that starts it: under an empty context.

    Tools that follow a request from thread to thread replace `Thread.start`, and so do builds of Python whose threads
    inherit a context. Either way a worker would belong to the request in which it was started for all its life.

    Raises:
        RuntimeError: The system can't start a thread.
    """
    from _contextvars import Context  # here for workers, which do without

    mark_service_thread(thread)
    Context().run(thread.start)


def mark_service_thread(thread: threading.Thread) -> None:
    """Note that a thread serves a pool: the program may end without waiting for what the thread submits."""
    thread._cf_serves_pool = True  # type: ignore[attr-defined]


def is_service_thread(thread: threading.Thread) -> bool:
    """Return whether `mark_service_thread` was called with a thread."""
    return hasattr(thread, "_cf_serves_pool")


# ── before a thread blocks ───────────────────────────────────────────────────────────────────────────────────

if sys.platform == "win32":

    def yield_processor() -> None:
        """Let other threads have the GIL and the processor for a moment."""
        time.sleep(0)

else:
    yield_processor = system.sched_yield

#: How often `spin_until` checks its condition.
SPINS: Final = 20
#: If all checks together take more than these seconds, other programs are using the processor …
SLOW_SPIN: Final = 0.0005
#: … and this many calls don't spin.
SKIPPED_SPINS: Final = 1000

_spins_to_skip = 0  # roughly: written by all threads, without a lock


def spin_until(condition: Callable[[], object], spins: int = SPINS) -> bool:
    """Return whether `condition()` becomes true within some microseconds.

    Waking a blocked thread costs more than a short call; a thread that yields the processor and checks again need
    often not block. Where processors are scarce, so that yielding costs milliseconds, spinning is skipped.

    Args:
        condition: What to check.
        spins: How often.

    Thread safety: may be called by any number of threads; they share a rough count only.
    """
    global _spins_to_skip
    if _spins_to_skip > 0:
        _spins_to_skip -= 1
        return False
    limit = clock.perf_counter() + SLOW_SPIN
    for _ in range(spins):
        yield_processor()
        met = condition()
        if clock.perf_counter() > limit:
            _spins_to_skip = SKIPPED_SPINS
            return bool(met)
        if met:
            return True
    return False


#: Thread ident → the worker of a pool that this thread is. Before it blocks it helps: it runs calls that the pool has
#: not started, among them the one that is awaited (a "managed blocker" in Java's fork/join pool). The core calls two
#: methods of it, `help_until` before the thread blocks and `end_blocking` after that, and reads `calls`, the futures of
#: the calls that the thread runs: see `corefutures_pools.helping.WorkerThread`.
current_workers: dict[int, Any] = {}

#: Thread ident → the nested event loop of a thread that serves a pool. While foreign code in that thread (a callback,
#: a finaliser) waits for a future, the loop goes on serving. It is called with a test whether the wait is over, and
#: the deadline of the wait by `time.monotonic`, None for none.
nested_loops: dict[int, Callable[[Callable[[], bool], float | None], None]] = {}


def run_nested_loop(ended: Callable[[], bool], timeout: float | None) -> float | None:
    """Run the nested loop of this thread, if it has one, until `ended()`: called before the thread blocks.

    Args:
        ended: Returns whether the thread need not block any more.
        timeout: Seconds that the thread would block at most; None for no limit.

    Returns:
        The rest of `timeout`, seconds.
    """
    loop = nested_loops.get(_thread.get_ident())
    if loop is None:
        return timeout
    deadline = None if timeout is None else clock.monotonic() + timeout
    loop(ended, deadline)
    return None if deadline is None else max(0.0, deadline - clock.monotonic())


# ── requests to cancel a running call ────────────────────────────────────────────────────────────────────────

#: In a worker process or interpreter: returns whether its call was asked to stop. None elsewhere.
_cancel_probe: Callable[[], bool] | None = None


def set_cancel_probe(probe: Callable[[], bool]) -> None:
    """Make this process or interpreter a worker, whose calls learn from `probe` that they are asked to stop."""
    global _cancel_probe
    _cancel_probe = probe
    current_workers.clear()  # this process may have been forked by a worker thread, which runs no call here


#: What may have asked code to stop that runs in no worker thread of ours: see `add_cancel_probe`.
_more_cancel_probes: list[Callable[[], bool]] = []


def add_cancel_probe(probe: Callable[[], bool]) -> None:
    """Have `cancel_requested` return True where `probe()` does, in threads that are no workers of our pools."""
    _more_cancel_probes.append(probe)


def cancel_requested() -> bool:
    """Return whether the code that runs here was asked to stop, by `PoolExecutor.request_cancel` or by its scope.

    For functions that run in an executor, which call it now and then. False outside of calls and scopes. In a thread
    it must be called by the thread of the call; in a worker process or interpreter any thread may call it.

    Thread safety: may be called from any thread, signal handler or finaliser.
    """
    worker = current_workers.get(_thread.get_ident())
    if worker is not None:
        return bool(worker.calls) and worker.calls[-1]._cf_cancel_requested
    if _cancel_probe is not None and _cancel_probe():
        return True
    return bool(_more_cancel_probes) and any(probe() for probe in _more_cancel_probes)


def in_worker() -> bool:
    """Return whether this thread, process or interpreter runs calls of an executor, which may be asked to stop."""
    return _cancel_probe is not None or _thread.get_ident() in current_workers


def _after_fork_in_child() -> None:
    _main_thread[0] = _thread.get_ident()
    nested_loops.clear()
    own = current_workers.get(_thread.get_ident())
    current_workers.clear()
    if own is not None:
        current_workers[_thread.get_ident()] = own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
