"""The seam: locks, threads, clocks and system calls, and what a thread does before it blocks.

Touches nothing: every worker imports this. Core, toolkit and thread backend take all of these from here alone.
Tools for tests replace clocks and system calls in `time` and `os`, and under their own names in every module that has
imported them: so they are kept in two objects, into which nobody looks. Sleeping, `threading.Lock` and `Thread` are
looked up at each use: libraries with green threads replace them so that all goes on.
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

__all__ = ["Lock", "cancel_requested", "clock", "original", "spin_until", "start_thread", "system"]

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

# ── clocks and system calls ──────────────────────────────────────────────────────────────────────────────────


def original(name: str) -> Any:
    """Return a new copy of a module that is written in C, as it was before anybody changed it."""
    from importlib.util import find_spec, module_from_spec  # hardly any program needs it

    specification = find_spec(name)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import os as system
    import time as clock
    from collections.abc import Callable
    from threading import Thread
    from typing import Any, Final
else:
    _Namespace = type(sys.implementation)
    _patched = type(time.monotonic) is not type(len)  # the clocks stand still just now
    clock = _Namespace(**vars(original("time") if _patched else time))
    # The module that `os` is made of; nobody else uses it.
    system = _Namespace(**vars(__import__("nt" if sys.platform == "win32" else "posix")))


# ── locks and threads ────────────────────────────────────────────────────────────────────────────────────────


class Lock(RLock):  # type: ignore[misc]
    """A lock that no signal handler and no finaliser finds taken by the thread that it interrupts (F8).

    It is for sections in which nothing is called:

        if lock.taken:
            self._state = FINISHED
            lock.release()

    `taken` waits for the lock, takes it and is true. The argument, for CPython:

    1. handlers and finalisers run, and interrupts raise, at the beginning of a function, where a loop jumps back, and
       after a call: not after an attribute was read, which is how this lock is taken;
    2. a section of attributes, tests and displays, without a call, has no such point, and nothing in it raises;
    3. after the call of `release` there is one, and the lock is free by then.

    So an interrupt that raises leaves the lock free, and a thread that waits for the lock waits for code that runs,
    never for a handler that may wait for anything. With `with`, or a call of `acquire`, a handler can come between
    taking the lock and the section. While `taken` waits for another thread handlers do run; if one raises, the lock is
    left to that thread.

    It is reentrant: CPython 3.11 collects garbage also where a tuple or list is made, and a finaliser may come here.
    So an item that is to be appended is made beforehand.
    """

    __slots__ = ()

    taken = property(RLock.acquire)


def start_thread(thread: Thread) -> None:
    """Start a thread that will work for others than the one that starts it: under an empty context.

    Tools that follow a request from thread to thread replace `Thread.start`, and so do builds of Python whose threads
    inherit a context: either way a worker would for all its life belong to the request that it happened to start in.

    Raises:
        RuntimeError: The system can't start a thread.
    """
    from contextvars import Context  # here for workers, which do without

    Context().run(thread.start)


# ── before a thread blocks ───────────────────────────────────────────────────────────────────────────────────

if sys.platform == "win32":

    def give_way() -> None:
        """Let other threads have the GIL and the processor for a moment."""
        time.sleep(0)

else:
    give_way = system.sched_yield

LOOKS: Final = 20
#: Seconds for all of them, after which others are using the processor …
SLOW: Final = 0.0005
#: … and this many waits go to sleep at once.
SOUND_SLEEPS: Final = 1000

_sound_sleeps = 0


def spin_until(condition: Callable[[], object]) -> bool:
    """Return whether `condition()` becomes true within some microseconds.

    Waking a sleeping thread costs more than a short call; a thread that yields and looks again is often spared the
    sleep. Where processors are scarce, so that yielding costs milliseconds, it is left out.

    Thread safety: may be called by any number of threads; they share a rough count only.
    """
    global _sound_sleeps
    if _sound_sleeps > 0:
        _sound_sleeps -= 1
        return False
    begun = clock.perf_counter()
    met = False
    for _ in range(LOOKS):
        give_way()
        if condition():
            met = True
            break
    if clock.perf_counter() - begun > SLOW:
        _sound_sleeps = SOUND_SLEEPS
    return met


#: Thread ident → the worker of a pool that this thread is: it helps in place of blocking, see
#: `corefutures_pools.helping`.
current_workers: dict[int, Any] = {}

#: Thread ident → the loop of a thread of ours, which goes on in place of blocking while foreign code there (a callback,
#: a finaliser) waits: a nested event loop. Called with a test whether that wait is over, and its deadline by
#: `time.monotonic`.
nested_loops: dict[int, Callable[[Callable[[], bool], float | None], None]] = {}


def run_nested_loop(enough: Callable[[], bool], timeout: float | None) -> float | None:
    """Run the nested loop of this thread, if it has one, until `enough()`: called by a thread that is about to block.

    Returns:
        The rest of `timeout`, seconds.
    """
    server = nested_loops.get(_thread.get_ident())
    if server is None:
        return timeout
    deadline = None if timeout is None else clock.monotonic() + timeout
    server(enough, deadline)
    return None if deadline is None else max(0.0, deadline - clock.monotonic())


# ── a request to stop ────────────────────────────────────────────────────────────────────────────────────────

#: In a worker process or interpreter: returns whether its call was asked to stop; None elsewhere.
_probe: Callable[[], bool] | None = None


def ask_by(asked: Callable[[], bool]) -> None:
    """Make this the worker of a pool, whose calls learn from `asked` that they should stop."""
    global _probe
    _probe = asked
    current_workers.clear()  # forked, perhaps by a thread that ran a call of a pool: it runs none here


def cancel_requested() -> bool:
    """Return whether the call that runs here was asked to stop: see `PoolExecutor.request_cancel`.

    For functions that run in an executor, which call it now and then. False outside of a call. In a pool of threads
    it is asked in the call's own thread; in a worker process or interpreter any thread may ask for the call there.

    Thread safety: may be called from any thread, signal handler or finaliser.
    """
    host = current_workers.get(_thread.get_ident())
    if host is not None:
        return bool(host.calls) and host.calls[-1]._cf_cancel_requested
    return _probe is not None and _probe()


def _after_fork_in_child() -> None:
    nested_loops.clear()
    own = current_workers.get(_thread.get_ident())
    current_workers.clear()
    if own is not None:
        current_workers[_thread.get_ident()] = own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
