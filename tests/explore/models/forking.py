"""Models of a fork at any step of another thread: the child is forked for real, see `Run.fork`.

In the child every inherited future has ended, or ends, and the pool takes calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import in_process
from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model, outcome
from world import Mutex

from models.thread_pool import POOL, THREADS

QUEUE_MODULES, PIPE_MODULES = (*CORE, *in_process.MODULES), (*CORE, *in_process.PIPE_MODULES)

KEEPS_LOCKS = Fault(
    "a forked child takes the lock of a future that a thread of the parent holds", "corefutures_pools.future",
    right="    future._cf_renew_lock()\n", wrong="",
)  # fmt: skip
TAKES_IN_STEPS = Fault(
    "a call is neither in the queue nor with its worker for a moment", "corefutures_thread._worker",
    right="take = map(current.append, iter(queue.popleft, None)).__next__",
    wrong="take = lambda: current.append(queue.popleft())",
)  # fmt: skip


def _fork_against(
    run: Run, our: Any, act: Callable[[Any, list[Any]], object], *, workers: int = 1, keeps: bool = True
) -> Check:
    """One thread does something with a pool of threads, another one forks."""
    got, futures = Answers(), []  # type: ignore[var-annotated]

    def child(pool: Any) -> None:
        for future in futures:
            expect(outcome(future), 7, "BrokenThreadPool", "cancelled")
        expect(pool.submit(int, 3).result(), 3)
        pool.shutdown()

    def main() -> None:
        with run.settled():
            pool, gate = our.executor.ThreadPoolExecutor(workers), Mutex()
            gate.acquire()
            pool.submit(gate.acquire)
            run.wait(lambda: bool(pool._cf_pool.fully_started or workers > 1))
            gate.release()
            run.wait(lambda: bool(pool._cf_pool.idle))
            run.spawn("actor", got.say("act", lambda: act(pool, futures)))
            run.spawn("forker", lambda: run.fork(lambda: child(pool)))

    run.spawn("main", main)
    run.idle_threads_may_wait = True
    return lambda: expect(got["act"], True)


FILES = (*THREADS, "pools/future.py", "_future.py", "helping.py")


@model("E11", modules=POOL, files=THREADS, preemptions=1, quick=None, faults=(KEEPS_LOCKS, TAKES_IN_STEPS))
def fork_against_submit_to_threads(run: Run, our: Any) -> Check:
    def act(pool: Any, futures: list[Any]) -> bool:
        futures.append(pool.submit(int, 7))
        return bool(futures[0].result() == 7)

    return _fork_against(run, our, act)


@model("E11", modules=POOL, files=FILES, preemptions=1, quick=0)
def fork_against_cancel_in_threads(run: Run, our: Any) -> Check:
    def act(pool: Any, futures: list[Any]) -> bool:
        futures.append(pool.submit(int, 7))
        futures[0].cancel()
        return True

    return _fork_against(run, our, act)


@model("E11 C8", modules=POOL, files=FILES, preemptions=1, quick=0)
def fork_against_a_call_that_waits_for_another(run: Run, our: Any) -> Check:
    def act(pool: Any, futures: list[Any]) -> bool:
        futures.append(pool.submit(lambda: pool.submit(int, 7).result()))
        return bool(futures[0].result() == 7)

    return _fork_against(run, our, act)


# ── pools with isolated workers ──────────────────────────────────────────────────────────────────────────────────

POOL_KEEPS_LOCKS = Fault(
    "a forked child takes the lock of a call that a thread of the parent holds", "corefutures_pools.workers.pool",
    right="            future._cf_renew_lock()\n", wrong="",
)  # fmt: skip
POOL_KEEPS_ITS_LOCK = Fault(
    "a forked child takes the pool's lock, which a thread of the parent holds", "corefutures_pools.workers.pool",
    right="        self.lock = Lock()\n        self.supervisor.after_fork_in_child()\n",
    wrong="        self.supervisor.after_fork_in_child()\n",
)  # fmt: skip
FORGETS_WHAT_ENDS = Fault(
    "a call that is just off the table never ends in a forked child", "corefutures_pools.workers.pool",
    right="return [*self.calls.values(), *self.in_transition, *self.deferred.futures]",
    wrong="return [*self.calls.values()]",
)  # fmt: skip


def _fork_of_a_pool(run: Run, our: Any, pipes: bool, act: Callable[[Any, list[Any]], object]) -> Check:
    """One thread does something with a pool of isolated workers, another one forks."""
    got, futures = Answers(), []  # type: ignore[var-annotated]

    def child(owner: Any) -> None:
        for future in futures:
            expect(outcome(future), 7, "BrokenExecutor", "cancelled", "WorkerLostError")
        expect(outcome(owner._cf_pool.submit(int, (3,), {})), 3)
        owner._cf_pool.close(wait=True)

    def main() -> None:
        with run.settled():
            owner = in_process.Owner(lambda: in_process.make_pool(run, our, 1, pipes=pipes, on_loss="replace"))
            outcome(owner._cf_pool.submit(int, (0,), {}))
            actor = run.spawn("actor", got.say("act", lambda: act(owner._cf_pool, futures)))
            forker = run.spawn("forker", lambda: run.fork(lambda: child(owner)))
        run.wait(lambda: actor.ended and forker.ended)
        with run.settled():
            owner._cf_pool.close(wait=True)

    run.spawn("main", main)
    return lambda: expect(got["act"], True)


SENDS = ("workers/pool.py", "workers/future.py", "_future.py")


@model(
    "E11", modules=QUEUE_MODULES, files=("shared_queue/pool.py", "task_queue.py", *SENDS), delays=True, preemptions=1,
    quick=None, faults=(POOL_KEEPS_LOCKS, POOL_KEEPS_ITS_LOCK),
)  # fmt: skip
def fork_against_submit_over_a_queue(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, False, _submit)


@model(
    "E11", modules=PIPE_MODULES, files=("workers/pool.py", "workers/future.py"), delays=True, preemptions=1,
    quick=None, faults=(FORGETS_WHAT_ENDS,),
)  # fmt: skip
def fork_against_submit_over_pipes(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, True, _submit)


def _submit(pool: Any, futures: list[Any]) -> bool:
    futures.append(pool.submit(int, (7,), {}))
    return bool(outcome(futures[0]) == 7)


@model(
    "E11", modules=QUEUE_MODULES, files=("shared_queue/pool.py", "task_queue.py", "revocation.py", *SENDS), delays=True,
    preemptions=1, quick=None,
)  # fmt: skip
def fork_against_cancel_over_a_queue(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, False, _submit_and_cancel)


@model("E11", modules=PIPE_MODULES, files=("pipes/pool.py", *SENDS), delays=True, preemptions=1, quick=None)
def fork_against_cancel_over_pipes(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, True, _submit_and_cancel)


def _submit_and_cancel(pool: Any, futures: list[Any]) -> bool:
    futures.append(pool.submit(int, (7,), {}))
    return futures[0].cancel() in (True, False)


@model(
    "E11 C2", modules=QUEUE_MODULES, files=("call_killer.py", "call_control.py", "event_loop.py", "claims.py"),
    delays=True, preemptions=1, quick=None,
)  # fmt: skip
def fork_against_kill_over_a_queue(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, False, _submit_and_kill)


@model(
    "E11 C2", modules=PIPE_MODULES, files=("pipes/pool.py", "call_control.py"), delays=True, preemptions=1, quick=None
)
def fork_against_kill_over_pipes(run: Run, our: Any) -> Check:
    return _fork_of_a_pool(run, our, True, _submit_and_kill)


def _submit_and_kill(pool: Any, futures: list[Any]) -> bool:
    futures.append(pool.submit(int, (7,), {}))
    return pool.kill(futures[0]) in (True, False)
