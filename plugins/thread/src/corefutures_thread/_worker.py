"""What runs in a worker thread.

Imports almost nothing. Guarantees: no exception of a call ends a worker; a failure of its own is never silent
(E8); between calls a worker keeps nothing alive of the last one (F6).
"""

from __future__ import annotations

import _thread
import logging
import threading
from sys import getrefcount

from corefutures_pools.blocking import Parker, clock, current_workers, spin_until
from corefutures_pools.exceptions import drop_frame
from corefutures_pools.foreign_code import log_failure
from corefutures_pools.future import FINISHED, PENDING, RUNNING
from corefutures_pools.helping import WorkerThread, call_frames, run_call
from corefutures_pools.instrumentation import instrumentation

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_pools.future import PoolFuture
    from corefutures_thread._crew import Crew

LOGGER = logging.getLogger("concurrent.futures")


def _count_alone() -> int:
    current = [object()]
    return getrefcount(current[0])


#: What `getrefcount` says of a future that nobody refers to but the list of calls that its worker is busy with.
_ALONE = _count_alone()


def work(crew: Crew, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    """The life of a worker: initialises, then runs calls until the crew is closed."""
    current: list[PoolFuture[Any]] = []  # the one that it is busy with, and those that this runs in place
    host: WorkerThread = WorkerThread(
        current, crew.claim, lambda call: _run_in_place(host, call), crew.current_workers.values
    )
    crew.current_workers[_thread.get_ident()] = current_workers[_thread.get_ident()] = host
    crew.enlist(threading.current_thread())
    try:
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as exc:
                log_failure(LOGGER, "Exception in initializer:", level=logging.CRITICAL)
                crew.fail("A thread initializer failed, the thread pool is not usable anymore", exc)
                return
        del initializer, initargs
        host.runs_calls = True
        if instrumentation.enabled:
            instrumentation.worker_started(crew.owner(), threading.current_thread().name)
        _run_calls(crew, host)
    except BaseException as exc:
        log_failure(LOGGER, "Exception in worker", level=logging.CRITICAL)
        instrumentation.worker_lost(crew.owner(), threading.current_thread().name, exc)
        crew.fail("A worker thread died of an unexpected error", exc)
        for future in current:
            if not future._cf_abandon(crew.refuse()):
                future._cf_notify_in_worker()  # it had ended, but perhaps nobody was told
    finally:
        crew.dismiss(_thread.get_ident())
        current_workers.pop(_thread.get_ident(), None)


def _run_calls(crew: Crew, host: WorkerThread) -> None:
    calls, current = crew.calls, host.calls
    # Takes the oldest call out of `calls` into `current`, in one step of the interpreter: no fork (E11), no
    # error of ours (E8) can come when it is in neither. Raises IndexError if there is none.
    take = map(current.append, iter(calls.popleft, None)).__next__
    idle = crew.idle
    parker = Parker()
    unpark = parker.unpark
    fn: Any = None
    args: Any = None
    kwargs: Any = None
    listed = False  # whether this worker has entered itself into `idle`
    host.mark_busy()
    while True:
        if listed:
            closed = crew.closed  # before the last look for a call: see Crew
            try:
                take()
            except IndexError:
                if not closed:
                    if not spin_until(parker.try_park):  # whoever unparks it has taken it out of `idle`
                        parker.park()
                    host.mark_busy()
                    listed = False
                elif _leave(idle, parker):
                    return
                else:
                    listed = False
                continue
            _leave(idle, parker)
        else:
            try:
                take()
            except IndexError:
                idle.append(unpark)
                listed = True
                continue

        # What `PoolFuture._cf_begin` and `_cf_settle` do, written out: without the two calls a worker is a quarter
        # faster, with and without the GIL.
        future = current[0]
        lock = future._cf_lock
        begun = False
        if lock.taken:
            if begun := future._state == PENDING:
                future._state = RUNNING
                fn, args, kwargs = future._cf_fn, future._cf_args, future._cf_kwargs
            lock.release()
        if not begun:  # cancelled
            host.cancelled += 1
            listed = False
            current.clear()
            del future, lock
            continue
        future._cf_fn = future._cf_args = future._cf_kwargs = None
        if future._cf_on_departure is not None:
            future._cf_forget_call()
        observed = future._cf_observed
        if observed is not None:
            observed.begin(threading.current_thread().name)
        result = error = None
        try:
            result = fn(*args, **kwargs) if kwargs else fn(*args)
            host.finished += 1
        except BaseException as exc:
            drop_frame(exc)  # this one, which outlives the call (F6)
            error = exc
            host.failed += 1
        if observed is not None:
            observed.finished = clock.perf_counter()
        fn = args = kwargs = observed = None

        # Whoever sees the result shall find this worker idle already, and not start another one for the next
        # call. That is true unless callbacks are still to be run: then it takes itself off the list again.
        if listed := not calls:
            idle.append(unpark)
        watched = False
        if lock.taken:
            if future._state == RUNNING:  # not abandoned meanwhile
                if error is None:
                    future._result = result
                else:
                    future._exception = error
                future._state = FINISHED
                watched = future._cf_watched
                if future._cf_listeners:
                    future._cf_to_notify = [*future._cf_listeners]
            lock.release()
        if watched:
            if listed and future._cf_callbacks:
                listed = False
                if not _leave(idle, parker):
                    crew.staff()  # somebody counts on this worker
            future._cf_notify_in_worker()
        del future, lock, result, error
        # If nobody else has the future, the result goes with it, here and now. Its finaliser may take long, or wait for
        # other calls: those that come meanwhile are for others.
        if listed and getrefcount(current[0]) == _ALONE:
            listed = False
            if not _leave(idle, parker):
                crew.staff()
        current.clear()


def _run_in_place(host: WorkerThread, future: PoolFuture[Any]) -> None:
    """Runs a call, entered into `host.calls` already, while another one waits for it in this thread."""
    result = error = None
    call = future._cf_begin()
    if call is None:
        host.cancelled += 1
    else:
        result, error = run_call(future, *call)
        del call
        if error is None:
            host.finished += 1
        else:
            host.failed += 1
    try:
        if future._cf_settle(result, error):
            future._cf_notify_in_worker()
    finally:
        host.calls.pop()  # only now: a child that is forked before it fails what it finds there


call_frames.add(_run_calls.__code__)


def _leave(idle: Any, parker: Parker) -> bool:
    """Takes a worker out of `idle`; False if somebody else has, who has woken it or is about to."""
    try:
        idle.remove(parker.unpark)
    except ValueError:
        parker.park()
        return False
    return True
