"""The statistics and the snapshot of a pool.

Touches the toolkit's `inspection`, once it is asked. Guarantees: no lock is held and no worker is stopped.
"""

from __future__ import annotations

from contextvars import Context

from corefutures_pools.blocking import clock
from corefutures_pools.foreign_code import copied
from corefutures_pools.future import pending_call
from corefutures_pools.helping import call_names
from corefutures_pools.instrumentation import name_of

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.future import PoolFuture
    from corefutures_pools.helping import WorkerThread
    from corefutures_pools.inspection.snapshots import CallSnapshot, Snapshot
    from corefutures_pools.inspection.stacks import Frame
    from corefutures_pools.stats import Stats
    from corefutures_thread._thread_pool import ThreadPool

#: How often the calls are counted, at most, until two counts agree: they may never agree while calls keep coming.
_MAX_COUNTS = 100


def make_stats(pool: ThreadPool) -> Stats:
    """Return the numbers of calls and workers of a pool."""
    from corefutures_pools.cpu import thread_seconds  # here for start-up time only
    from corefutures_pools.stats import Stats, total  # here for start-up time only

    counts = _count(pool)
    for _ in range(_MAX_COUNTS):
        before, counts = counts, _count(pool)
        if counts == before:
            break
    alive = [thread for thread in list(pool.threads) if thread.is_alive()]
    cpu_time = total([thread_seconds(thread.native_id) for thread in alive])
    return Stats(**counts, workers=len(alive), uptime=clock.monotonic() - pool.created, cpu_time=cpu_time)


def _count(pool: ThreadPool) -> dict[str, int]:
    waiting = running = 0
    counts = pool.ended.totals()
    for future in dict.fromkeys([*pool.held_calls(), *copied(pool.queue)]):
        if future.done():
            counts["cancelled"] += 1
        else:
            waiting += 1
    for worker in list(pool.workers.values()):
        running += sum(call.running() for call in list(worker.calls))
        counts["finished"] += worker.finished
        counts["failed"] += worker.failed
        counts["cancelled"] += worker.cancelled
    return {
        **counts,
        "submitted": waiting + running + sum(counts.values()),
        "waiting": waiting,
        "running": running,
        "lost_workers": 0,
    }


def make_snapshot(pool: ThreadPool, name: str) -> Snapshot:
    """Return which calls the workers of a pool run, and which calls wait.

    Args:
        pool: The pool.
        name: The name of its executor.
    """
    from corefutures_pools.inspection.snapshots import (  # here for start-up time only
        Snapshot,
        WorkerSnapshot,
        first_names,
    )
    from corefutures_pools.inspection.stacks import from_call_on, own_stacks  # here for start-up time only

    stacks = own_stacks()
    running, workers = 0, []
    for thread in list(pool.threads):
        ident = thread.ident
        if ident is not None and not thread.is_alive():
            continue
        worker = None if ident is None else pool.workers.get(ident)
        stack = () if ident is None else stacks.get(ident, ())
        calls = () if worker is None else _calls_of(worker, stacks)
        running += len(calls)
        state = "running"
        if not calls:  # a worker in its initializer has not come to the loop
            state = "idle" if any(frame.function == "_run_calls" for frame in stack) else "starting"
        shown = tuple(from_call_on(list(stack), (("_worker.py", "_run_calls"),)) or stack)
        remark = None if stack else "it has no stack yet"
        workers.append(WorkerSnapshot(thread.name, None, ident, state, calls, shown, remark))
    waiting = [future for future in [*pool.held_calls(), *copied(pool.queue)] if not future.done()]
    state = "open"
    if pool.is_broken():
        state = f"broken: {pool.refusal}"
    elif pool.closed:
        state = "shutting down" if workers else "shut down"
    names = first_names(waiting, _name_of_waiting)
    return Snapshot(name, state, pool.max_workers, tuple(workers), running, len(waiting), names)


def _calls_of(worker: WorkerThread, stacks: dict[int, list[Frame]]) -> tuple[CallSnapshot, ...]:
    from corefutures_pools.inspection.snapshots import CallSnapshot, since_when  # here for start-up time only

    futures, since = list(worker.calls), worker.running_since()
    names = call_names(worker, stacks)
    calls = []
    for index, future in enumerate(futures):
        name = names[index] if len(names) == len(futures) else "a call"
        name = f"the callbacks of {name}" if future.done() else name
        calls.append(CallSnapshot(name, *since_when(future, since if index == 0 else None)))
    return tuple(calls)


def _name_of_waiting(future: PoolFuture[Any]) -> str:
    fn, args = pending_call(future)
    if args and isinstance(getattr(fn, "__self__", None), Context):  # `context.run(function, …)`
        fn = args[0]
    return name_of(fn)
