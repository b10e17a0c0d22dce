"""Models of the thread pool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model, outcome
from world import Mutex

WORKER = "corefutures_thread._worker"

SLEEPS_AT_ONCE = Fault(
    "a worker that has entered itself into the idle list does not look for a call again", WORKER,
    right="look for a call: see `ThreadPool`\n            try:\n                take()",
    wrong="look for a call\n            try:\n                raise IndexError",
)  # fmt: skip

LEAVES_TOO_SOON = Fault(
    "a worker leaves while a submitter counts on it: the pool is closed, and still called fully started", WORKER,
    right="                pool.fully_started = False  # before the very last look for a call: see `ThreadPool`\n",
    wrong="",
)  # fmt: skip

SUBMITS_BLINDLY = Fault(
    "a submitter does not look again whether the pool is closed", "corefutures_thread._executor",
    right="if pool.closed:\n                    pool.withdraw(future)",
    wrong="if False:\n                    pool.withdraw(future)",
)  # fmt: skip


POOL = (
    *CORE, "corefutures_pools.helping", "corefutures_pools.admission", "corefutures_thread._executor",
    "corefutures_thread._thread_pool", "corefutures_thread._worker",
)  # fmt: skip
THREADS = ("_thread_pool.py", "_worker.py", "corefutures_thread/_executor.py", "_work_queue.py")


def pool_model(
    promise: str,
    *,
    preemptions: int = 2,
    quick: int | None = 1,
    files: tuple[str, ...] = THREADS,
    faults: tuple[Fault, ...] = (),
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:
    """Makes a function a model of the thread pool."""
    return model(promise, modules=POOL, files=files, preemptions=preemptions, quick=quick, faults=faults)


@pool_model("E1 E2", faults=(SLEEPS_AT_ONCE,))
def submit_against_the_worker_that_goes_idle(run: Run, our: Any) -> Check:
    got = Answers()

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(1)
        first = pool.submit(int, 1)
        second = pool.submit(int, 2)
        return first.result(), second.result()

    run.spawn("main", got.say("results", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["results"], (1, 2))


def _submit_and_shut_down(
    run: Run, our: Any, close: Callable[[Any], object], *outcomes: Any, busy: bool = False
) -> Check:
    """A call is submitted to a pool with one worker, idle or about to be so, while another thread closes the pool."""
    got = Answers()

    def submit(pool: Any) -> Any:
        try:
            future = pool.submit(int, 7)
        except RuntimeError:
            return "refused"
        return outcome(future)

    def main() -> None:
        with run.settled():
            pool, gate = our.executor.ThreadPoolExecutor(1), Mutex()
            gate.acquire()
            pool.submit(gate.acquire)
            run.wait(lambda: bool(pool._cf_pool.fully_started))
            if not busy:
                gate.release()
                run.wait(lambda: bool(pool._cf_pool.idle))
            run.spawn("submitter", got.say("submit", lambda: submit(pool)))
            run.spawn("closer", lambda: close(pool))
            if busy:
                gate.release()

    run.spawn("main", main)
    return lambda: expect(got["submit"], 7, "refused", *outcomes)


@pool_model(
    "E1 E6",
    faults=(SUBMITS_BLINDLY,),
)
def submit_against_shutdown_that_waits(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, lambda pool: pool.shutdown())


@pool_model("E1 E6")
def submit_against_shutdown_that_does_not_wait(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, lambda pool: pool.shutdown(wait=False))


@pool_model("E1 E6", faults=(LEAVES_TOO_SOON,))
def submit_against_shutdown_while_a_call_ends(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, lambda pool: pool.shutdown(wait=False), busy=True)


@pool_model("E1 E6")
def submit_against_shutdown_that_cancels(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, lambda pool: pool.shutdown(cancel_futures=True), "cancelled")


BREAKS_INTO_THE_REFUSAL = Fault(
    "a pool that is closed while it breaks forgets that it is broken", "corefutures_thread._thread_pool",
    right="        self._breakage = broken\n", wrong="        self._refusal = broken\n",
)  # fmt: skip


@pool_model("E5 E6", faults=(BREAKS_INTO_THE_REFUSAL,))
def an_initializer_that_fails_against_shutdown(run: Run, our: Any) -> Check:
    got = Answers()
    logging.getLogger("concurrent.futures").addHandler(logging.NullHandler())  # not to standard error
    pool = our.executor.ThreadPoolExecutor(1, initializer=int, initargs=("no number",))

    def submit() -> Any:
        try:
            future = pool.submit(int)
        except RuntimeError:
            return "refused"
        return outcome(future)

    run.spawn("submitter", got.say("submit", submit))
    run.spawn("closer", pool.shutdown)
    return lambda: expect(got["submit"], "BrokenThreadPool", "refused")


@pool_model("E3 F5")
def cancel_against_the_worker_that_begins(run: Run, our: Any) -> Check:
    got, ran = Answers(), []

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(1)
        future = pool.submit(ran.append, 1)
        cancelled = future.cancel()
        return cancelled, outcome(future)

    run.spawn("main", got.say("cancel", main))
    run.idle_threads_may_wait = True

    def check() -> None:
        expect(got["cancel"], (True, "cancelled"), (False, None))
        assert ran == ([] if got["cancel"][0] else [1])

    return check


@pool_model("C8", files=(*THREADS, "helping.py", "future.py"), preemptions=1, quick=0)
def two_calls_that_wait_for_each_others_calls(run: Run, our: Any) -> Check:
    """Two workers that fall asleep together, each waiting for a call that has not started: one of them runs it."""
    got = Answers()

    def outer(pool: Any, number: int) -> int:
        inner: int = pool.submit(int, number).result()
        return inner

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(2)
        futures = [pool.submit(outer, pool, number) for number in (1, 2)]
        return [future.result() for future in futures]

    run.spawn("main", got.say("results", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["results"], [1, 2])


@pool_model("C8", files=(*THREADS, "helping.py", "future.py"), preemptions=1, quick=0)
def a_cycle_of_calls_raises(run: Run, our: Any) -> Check:
    got, futures = Answers(), {}

    def wait_for(name: str) -> Any:
        return futures[name].result()

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(2)
        gate = our.future.Future()

        def first() -> Any:
            gate.result()
            return wait_for("second")

        def second() -> Any:
            gate.result()
            return wait_for("first")

        futures["first"] = pool.submit(first)
        futures["second"] = pool.submit(second)
        gate.set_result(None)
        return sorted(outcome(future) for future in futures.values())

    run.spawn("main", got.say("outcomes", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["outcomes"], ["DeadlockError", "DeadlockError"])
