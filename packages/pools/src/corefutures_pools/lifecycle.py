"""The end of pools with the interpreter, and their renewal in a forked child: one step and one handler for all pools.

Touches `threading`'s at-exit steps and `os.register_at_fork`. Guarantees: pools take calls until the last thread that
the program waits for has ended; an object that fails stops no other one. Order at exit: the kind that was declared last
is first, as with `atexit`. In a child: the core's handlers; `renew_in_child`; the kinds, as they were declared.
"""

from __future__ import annotations

import os
import sys

from corefutures._blocking import is_service_thread, start_thread, threading
from corefutures._foreign_code import LiveObjects as LiveObjects, for_each

TYPE_CHECKING = False  # as in `corefutures`: importing a pool's class does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Lifecycle(LiveObjects):
    """The living objects of one kind, and their functions for the end of the interpreter and for a fork.

    Declare it beside the class of a pool: its place in the order at exit is that of the class's import.

    Args:
        close: Called with each object at exit, before any of the kind is waited for: it takes no more calls.
        join: Called with each object at exit after that: returns once its calls have ended.
        interrupt: Called with each object if a `KeyboardInterrupt` comes meanwhile; its calls are given up.
        after_fork: Called with each object in a forked child, whose threads and workers are the parent's.
        outlive_main: Called with each object if the main thread has ended and another one may submit calls; returns
            True for an object that takes calls until such threads have ended. None if no object does.

    Attributes:
        exiting: True once the kind has begun to end at exit: an object that is made after that closes itself.

    Raises:
        RuntimeError: There is a `close`, and the interpreter ends already.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(
        self,
        *,
        close: Callable[[Any], object] | None = None,
        join: Callable[[Any], object] | None = None,
        interrupt: Callable[[Any], object] | None = None,
        after_fork: Callable[[Any], object] | None = None,
        outlive_main: Callable[[Any], bool] | None = None,
    ) -> None:
        super().__init__()
        if _exiting and close is not None:
            raise RuntimeError("can't register atexit after shutdown")  # what `threading` says
        self._close, self._join, self._interrupt, self._after_fork = close, join, interrupt, after_fork
        self._outlive_main = outlive_main
        self.exiting = False
        _kinds.append(self)
        if close is not None and not _outlived:
            register_at_exit()

    def add(self, thing: Any) -> None:
        """Add an object; it leaves the set when it is collected."""
        _register_fork_handler()
        super().add(thing)

    def end(self) -> None:
        """Close every object, and then wait for each of them."""
        self.exiting = True
        living = self.all()
        try:
            self._call(self._close, living)
        finally:
            self._call(self._join, living)

    def _end_with_main(self) -> None:
        """Close those objects that take no more calls once the main thread has ended."""
        outlive = self._outlive_main
        self.exiting = outlive is None
        self._call(self._close, [thing for thing in self.all() if outlive is None or not outlive(thing)])

    def _call(self, action: Callable[[Any], object] | None, living: list[Any]) -> None:
        def act(thing: Any) -> None:
            try:
                action(thing)  # type: ignore[misc]
            except KeyboardInterrupt:
                if self._interrupt is not None:
                    for_each(self._interrupt, living)
                raise

        if action is not None:
            for_each(act, living)

    def after_fork_in_child(self) -> None:
        """Renew every object: it is the forked child's from now on."""
        if self._after_fork is not None:
            for_each(self._after_fork, self.all())


_kinds: list[Lifecycle] = []
_renewals: list[Callable[[], object]] = []
_exiting = False
_outlived = False  # the main thread has ended, and a thread waits for the others
_unregistered = [True]  # empty once the fork handler is registered


def renew_in_child(renew: Callable[[], object]) -> None:
    """Have `renew()` called in each forked child, before any pool is renewed. For the locks and pipes of a module.

    Thread safety: may be called from any thread, signal handler or finaliser.
    """
    _register_fork_handler()
    _renewals.append(renew)


def _register_fork_handler() -> None:
    if _unregistered:
        # Handlers run in the order of registration. The core's counter of forks comes first: by that number a future
        # knows the callbacks that belong to the parent (F4).
        import corefutures._future  # noqa: F401 - here for start-up time only

        try:
            _unregistered.pop()
        except IndexError:  # another thread, or a signal handler, was faster
            return
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork_in_child)


def _end_with_main() -> None:
    """End all pools, or have that done once no other thread can submit calls: when the main thread has ended.

    1. If there are such threads, a thread is started that waits for them, and then ends all pools. Python waits for it
       as for any thread that is no daemon.
    2. Further steps that were registered with `threading` run meanwhile: a thread may end by one of them.
    3. Threads that were started meanwhile are waited for as well. Nothing but those can submit calls after that.
    """
    global _outlived
    if _exiting or _outlived:
        return
    if _submitters():
        _outlived = True
        try:
            start_thread(threading.Thread(target=_end_after_submitters, name="corefutures end", daemon=False))
        except RuntimeError:  # no thread can be started
            _outlived = False
        else:
            for_each(Lifecycle._end_with_main, reversed(_kinds))
            return
    _end_all()


def _end_after_submitters() -> None:
    while others := _submitters():
        for thread in others:
            thread.join()
    _end_all()


def _submitters() -> list[threading.Thread]:
    """Return the threads besides the main one that the program waits for, and that serve no pool."""
    waiting: set[Any] = set()  # of the standard library's pools, which end by steps of their own
    for name, table in (("thread", "_threads_queues"), ("process", "_threads_wakeups")):
        waiting.update(getattr(sys.modules.get(f"concurrent.futures.{name}"), table, ()))
    return [
        thread for thread in threading.enumerate()
        if not (thread.daemon or thread is threading.main_thread() or is_service_thread(thread) or thread in waiting)
    ]  # fmt: skip


def _end_all() -> None:
    global _exiting
    if _exiting:
        return
    _exiting = True
    failure: Exception | None = None
    for kind in reversed(_kinds):
        try:
            kind.end()
        except Exception as exc:  # anything else, such as KeyboardInterrupt, ends the step at once
            failure = exc if failure is None else failure
    if failure is not None:
        raise failure


def _after_fork_in_child() -> None:
    global _outlived
    _outlived = False  # the thread that waits is the parent's
    try:
        for_each(lambda renew: renew(), _renewals)
    finally:
        for_each(Lifecycle.after_fork_in_child, _kinds)


def register_at_exit() -> None:
    """Have all kinds end before the non-daemon threads are joined, and so before any `atexit` handler.

    The step that was registered last runs first, and the first run of this one does all. It is registered for each
    kind, because `concurrent.futures.thread` may have been imported since the last one: its step joins the threads of
    our pools, which end only once they were closed.
    """
    threading._register_atexit(_end_with_main)  # type: ignore[attr-defined]


register_at_exit()  # by the import, because that is impossible once the interpreter ends
