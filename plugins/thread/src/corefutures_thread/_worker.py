"""What runs in a worker thread.

Imports almost nothing. Guarantees: no exception of a call ends a worker; a failure of a worker's own code is never
silent (E8); between calls a worker keeps nothing alive of the last call (F6).
"""

from __future__ import annotations

import logging
from sys import getrefcount

from corefutures_pools.blocking import Parker, clock, current_workers, spin_until, threading
from corefutures_pools.foreign_code import drop_frame, log_failure
from corefutures_pools.future import FINISHED, PENDING, RUNNING, begin, fail_or_notify, finish
from corefutures_pools.helping import WorkerThread, call_frames, run_call
from corefutures_pools.instrumentation import instrumentation

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any, Protocol

    from corefutures_pools.future import PoolFuture

    class Pool(Protocol):
        """What a worker uses of its pool: see `_thread_pool.ThreadPool`."""

        queue: Any
        idle: deque[Any]
        workers: dict[int, WorkerThread]
        leaving: bool
        executor: Callable[[], Any]

        def claim(self, future: object) -> bool: ...

        def ensure_worker(self) -> None: ...

        def on_worker_started(self, thread: threading.Thread) -> None: ...

        def on_worker_exit(self, ident: int) -> None: ...

        def mark_broken(self, message: str, cause: BaseException) -> None: ...

        def make_refusal(self) -> Exception: ...


#: How often a worker yields before it parks: enough if the thread that is to submit the next call has the same
#: processor. If it has another one, that thread and a worker that spins take the GIL from each other; so a worker parks
#: at once this many times after it has spun in vain.
SPINS = 2
SKIPPED_SPINS = 15

LOGGER = logging.getLogger("concurrent.futures")


def _count_single_reference() -> int:
    current = [object()]
    return getrefcount(current[0])


#: What `getrefcount` returns for a future that only the list of calls of its worker refers to.
_SINGLE_REFERENCE = _count_single_reference()


def work(pool: Pool, initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    """Call the initializer, then run calls until the pool is closed: the target of a worker thread."""
    current: list[PoolFuture[Any]] = []  # the call that the worker runs, and those that it runs while that one waits
    worker: WorkerThread = WorkerThread(
        current, pool.claim, lambda future: _run_claimed(worker, future), pool.workers.values
    )
    ident = threading.get_ident()
    pool.workers[ident] = current_workers[ident] = worker
    pool.on_worker_started(threading.current_thread())
    try:
        if initializer is not None:
            try:
                initializer(*initargs)
            except BaseException as exc:
                log_failure(LOGGER, "Exception in initializer:", level=logging.CRITICAL)
                pool.mark_broken("A thread initializer failed, the thread pool is not usable anymore", exc)
                return
            worker.mark_busy()
        del initializer, initargs
        worker.runs_calls = True
        if instrumentation.enabled:
            instrumentation.worker_started(pool.executor(), threading.current_thread().name)
        _run_calls(pool, worker)
    except BaseException as exc:
        log_failure(LOGGER, "Exception in worker", level=logging.CRITICAL)
        instrumentation.worker_lost(pool.executor(), threading.current_thread().name, exc)
        pool.mark_broken("A worker thread died of an unexpected error", exc)
        for future in current:
            fail_or_notify(future, pool.make_refusal())
    finally:
        pool.on_worker_exit(ident)
        current_workers.pop(ident, None)
        if worker.values is not None:
            worker.values.close()


def _run_calls(pool: Pool, worker: WorkerThread) -> None:
    """Run calls until the pool is closed and its queue is empty."""
    queue, current, idle = pool.queue, worker.calls, pool.idle
    # Takes the oldest call out of `queue` into `current`; raises IndexError if there is none. One step of the
    # interpreter: no fork (E11) and no error of ours (E8) can come while the call is in neither.
    take = map(current.append, iter(queue.popleft, None)).__next__
    parker = Parker()
    unpark = parker.unpark
    fn: Any = None
    args: Any = None
    kwargs: Any = None
    listed = False  # whether this worker has entered itself into `idle`
    spins_to_skip = 0
    while True:
        if listed:
            if queue or pool.leaving:  # a look for a call: see `ThreadPool`
                _leave_idle(idle, parker)
            else:
                # The thread that unparks it has taken it out of `idle`. After a spin in vain, spins are left out.
                if spins_to_skip:
                    spins_to_skip -= 1
                    parker.park()
                elif not spin_until(parker.try_park, SPINS):
                    spins_to_skip = SKIPPED_SPINS
                    parker.park()
                worker.mark_busy()
            listed = False
        try:
            take()
        except IndexError:
            if not pool.leaving:
                idle.append(unpark)
                listed = True
            elif not queue:  # the last look for a call: see `ThreadPool`
                return
            continue

        # A copy of `begin` and, below, of `finish` for a future that nobody watches, with the transitions of `Future`:
        # the only other place that writes a future's state. Without the calls a worker is a quarter faster, with and
        # without the GIL. `tests/test_inlined_transitions.py` compares the copy with the originals.
        future = current[0]
        lock = future._cf_lock
        begun = False
        if lock.taken:
            if begun := future._state == PENDING:
                future._state = RUNNING
                fn, args, kwargs = future._cf_fn, future._cf_args, future._cf_kwargs
            lock.release()
        if not begun:  # cancelled
            worker.cancelled += 1
            listed = False
            current.clear()
            del future, lock
            continue
        future._cf_fn = future._cf_args = future._cf_kwargs = None
        result = error = None
        observed = None
        if future._cf_watched:
            if future._cf_on_departure is not None:
                future._cf_forget_call()
            observed = future._cf_observed
            if observed is not None:
                observed.begin(threading.current_thread().name)
        try:
            result = fn(*args, **kwargs) if kwargs else fn(*args)
            worker.finished += 1
        except BaseException as exc:
            drop_frame(exc)  # this frame, which outlives the call (F6)
            error = exc
            worker.failed += 1
        if observed is not None:
            observed.finished = clock.perf_counter()
        fn = args = kwargs = observed = None

        # A thread that sees the result and submits the next call must find this worker idle, or it would start another
        # one. That is true unless callbacks are still to be run: then the worker takes itself off the list again.
        # Asyncio's callback does not count: it does nothing but wake a loop.
        if listed := not queue:
            idle.append(unpark)
        finished = False
        if lock.taken:
            if finished := future._state == RUNNING and not future._cf_watched:
                if error is None:
                    future._result = result
                else:
                    future._exception = error
                future._state = FINISHED
            lock.release()
        if not finished and future._cf_settle(result, error):
            if listed and future._cf_callbacks and future._cf_has_long_callbacks():
                listed = False
                if not _leave_idle(idle, parker):
                    pool.ensure_worker()  # a submitter counts on this worker
            future._cf_notify_in_worker()
        del future, lock, result, error
        # If nothing else refers to the future, the result is collected below, in this thread. Its finaliser may take
        # long or wait for other calls: calls that come meanwhile are for other workers.
        if listed and getrefcount(current[0]) == _SINGLE_REFERENCE:
            listed = False
            if not _leave_idle(idle, parker):
                pool.ensure_worker()
        current.clear()


def _run_claimed(worker: WorkerThread, future: PoolFuture[Any]) -> None:
    """Run a call that is in `worker.calls` already, while another call waits for it in this thread."""
    result = error = None
    call = begin(future)
    if call is None:
        worker.cancelled += 1
    else:
        result, error = run_call(future, *call)
        if error is None:
            worker.finished += 1
        else:
            worker.failed += 1
        del call
    try:
        finish(future, result, error)
    finally:
        worker.calls.pop()  # only now: a child that is forked before fails the calls that it finds there
        del result, error  # no cycle from an error's traceback to this frame (F6)


call_frames.add(_run_calls.__code__)


def _leave_idle(idle: deque[Any], parker: Parker) -> bool:
    """Take a worker out of `idle`; return False if another thread has done so, after waiting for its unpark."""
    try:
        idle.remove(parker.unpark)
    except ValueError:
        parker.park()
        return False
    return True
