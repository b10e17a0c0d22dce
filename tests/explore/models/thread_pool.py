"""Models of the thread pool."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from explorer import Interrupted, Run
from modelling import CORE, Answers, Check, Fault, Program, expect, model, outcome
from world import Mutex

WORKER, EXECUTOR = "corefutures_thread._worker", "corefutures_thread._executor"
THREAD_POOL = "corefutures_thread._thread_pool"

SLEEPS_AT_ONCE = Fault(
    "a worker that has entered itself into the idle list does not look for a call again", WORKER,
    right="            if queue or pool.leaving:", wrong="            if pool.leaving:",
)  # fmt: skip

LEAVES_TOO_SOON = Fault(
    "a worker leaves while a submitter counts on it: the pool is closed, and still called fully started", THREAD_POOL,
    right="        self.fully_started = False  # before `leaving`\n",
    wrong="        self.leaving = self.slots is None\n        self.fully_started = False\n",
)  # fmt: skip

UNPARKS_IN_STEPS = Fault(
    "a worker is taken out of the idle list, and then unparked: two steps", THREAD_POOL,
    right="map(call, iter(self.idle.pop, None)).__next__", wrong="lambda: self.idle.pop()()",
)  # fmt: skip
IDLE_IN_A_FINALISER = Fault(
    "a worker is in the idle list while a finaliser runs in it", WORKER,
    right="if listed and getrefcount(current[0]) == _SINGLE_REFERENCE:", wrong="if False:",
)  # fmt: skip
IDLE_IN_A_CALLBACK = Fault(
    "a worker is in the idle list while a callback runs in it", WORKER,
    right="if listed and future._cf_callbacks and future._cf_has_long_callbacks():", wrong="if False:",
)  # fmt: skip
LEAVES_OTHERS_CALLS = Fault(
    "a submitter that is interrupted in the start of a worker leaves nobody for the calls that counted on it", EXECUTOR,
    right="            pool.replace_interrupted_start()\n", wrong="",
)  # fmt: skip
FORGETS_A_STARTED_WORKER = Fault(
    "a worker that was started counts no more if its submitter is interrupted: nobody waits for it", THREAD_POOL,
    right="            if isinstance(exc, Exception) or not thread.is_alive():\n", wrong="            if True:\n",
    also=(
        (THREAD_POOL, """                if thread.ident in self.workers:
                    self.threads.setdefault(thread, starter)
""", ""),
        (THREAD_POOL, "        self.threads.setdefault(thread, threading.get_ident())\n", ""),
    ),
)  # fmt: skip
SUBMITS_BLINDLY = Fault(
    "a submitter does not look again whether the pool is closed", EXECUTOR,
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
    delays: bool = False,
    files: tuple[str, ...] = THREADS,
    faults: tuple[Fault, ...] = (),
) -> Callable[[Program], Program]:
    """Makes a function a model of the thread pool: see `Model`."""
    return model(promise, modules=POOL, files=files, preemptions=preemptions, quick=quick, delays=delays, faults=faults)


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


@pool_model("E1 E6", preemptions=1, quick=0)
def submit_against_shutdown_while_a_worker_starts(run: Run, our: Any) -> Check:
    """The worker calls the pool fully started while it is being closed."""
    got = Answers()

    def main() -> None:
        with run.settled():
            pool = our.executor.ThreadPoolExecutor(1)
            run.spawn("starter", got.say("first", lambda: submit(pool)))
            run.spawn("submitter", got.say("second", lambda: submit(pool)))
            run.spawn("closer", lambda: pool.shutdown(wait=False))

    def submit(pool: Any) -> Any:
        try:
            return outcome(pool.submit(int, 7))
        except RuntimeError:
            return "refused"

    run.spawn("main", main)

    def check() -> None:
        expect(got["first"], 7, "refused")
        expect(got["second"], 7, "refused")

    return check


@pool_model("E1 E6")
def submit_against_shutdown_that_cancels(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, lambda pool: pool.shutdown(cancel_futures=True), "cancelled")


BREAKS_INTO_THE_REFUSAL = Fault(
    "a pool that is closed while it breaks forgets that it is broken", "corefutures_thread._thread_pool",
    right="        self._breakage = broken\n", wrong="        self._refusal = broken\n",
)  # fmt: skip


@pool_model("E5 E6", files=("_thread_pool.py",), faults=(BREAKS_INTO_THE_REFUSAL,))
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


@pool_model("E6 F4")
def submit_against_shutdown_in_a_callback(run: Run, our: Any) -> Check:
    return _submit_against_the_end_of_a_call(run, our, lambda pool, first: first.add_done_callback(_shut_down(pool)))


@pool_model("E6 F8")
def submit_against_shutdown_in_a_finaliser(run: Run, our: Any) -> Check:
    return _submit_against_the_end_of_a_call(run, our, lambda pool, first: None)


def _shut_down(pool: Any) -> Callable[[object], None]:
    return lambda _: pool.shutdown()


class _Closing:
    """A result whose finaliser, in the worker's thread, shuts its pool down."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __del__(self) -> None:
        self._pool.shutdown()


def _submit_against_the_end_of_a_call(run: Run, our: Any, prepare: Callable[[Any, Any], object]) -> Check:
    """A call is submitted while another one ends, and with it the pool."""
    got = Answers()

    def first(pool: Any, gate: Any) -> Any:
        gate.acquire()
        return _Closing(pool)

    def submit(pool: Any) -> Any:
        try:
            return outcome(pool.submit(int, 7))
        except RuntimeError:
            return "refused"

    def main() -> None:
        with run.settled():
            pool, gate = our.executor.ThreadPoolExecutor(1), Mutex()
            gate.acquire()
            prepare(pool, pool.submit(first, pool, gate))
            run.wait(lambda: bool(pool._cf_pool.fully_started))
            run.spawn("submitter", got.say("submit", lambda: submit(pool)))
            gate.release()

    run.spawn("main", main)
    return lambda: expect(got["submit"], 7, "refused")


def _submit_against_a_detained_worker(run: Run, our: Any, prepare: Callable[[Any, Any], object], result: Any) -> Check:
    """The end of a call detains its worker until the next call has run: another worker has to take that."""
    got = Answers()

    def first(begin: Any, gate: Any) -> Any:
        begin.acquire()
        return result(gate)

    def main() -> Any:
        with run.settled():
            pool, begin, gate = our.executor.ThreadPoolExecutor(2), Mutex(), Mutex()
            begin.acquire()
            gate.acquire()
            prepare(pool.submit(first, begin, gate), gate)
            run.wait(lambda: not pool._cf_pool.queue)
            begin.release()
        return pool.submit(gate.release).result()

    run.spawn("main", got.say("result", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["result"], None)


class _Waiting:
    """A result whose finaliser waits."""

    def __init__(self, gate: Any) -> None:
        self._gate = gate

    def __del__(self) -> None:
        self._gate.acquire()


@pool_model("E2 F6", delays=True, faults=(IDLE_IN_A_FINALISER,))
def submit_against_a_finaliser_in_a_worker(run: Run, our: Any) -> Check:
    return _submit_against_a_detained_worker(run, our, lambda future, gate: None, _Waiting)


@pool_model("E2 F4", delays=True, faults=(IDLE_IN_A_CALLBACK,))
def submit_against_a_callback_in_a_worker(run: Run, our: Any) -> Check:
    def prepare(future: Any, gate: Any) -> None:
        future.add_done_callback(lambda _: gate.acquire())

    return _submit_against_a_detained_worker(run, our, prepare, lambda gate: None)


@pool_model("E6 F8", faults=(UNPARKS_IN_STEPS,))
def a_handler_that_shuts_down_while_its_thread_submits(run: Run, our: Any) -> Check:
    got, pools = Answers(), []  # type: ignore[var-annotated]

    def main() -> Any:
        with run.settled():
            pool = our.executor.ThreadPoolExecutor(1)
            pool.submit(int).result()
            run.wait(lambda: bool(pool._cf_pool.idle))
        pools.append(pool)
        try:
            future = pool.submit(int, 7)
        except RuntimeError:
            return "refused"
        pool.shutdown()
        return outcome(future)

    run.spawn("main", got.say("submit", main), lambda: pools and pools[0].shutdown())
    return lambda: expect(got["submit"], 7, "refused")


def interrupt() -> None:
    """Does what Ctrl-C does."""
    raise Interrupted


@pool_model("E1 F8", delays=True, faults=(LEAVES_OTHERS_CALLS,))
def an_interrupted_submitter_against_another_one(run: Run, our: Any) -> Check:
    got = Answers()

    def submit(pool: Any, number: int) -> Any:
        try:
            return outcome(pool.submit(int, number))
        except Interrupted:
            return "interrupted"

    def main() -> None:
        with run.settled():
            pool = our.executor.ThreadPoolExecutor(1)
            run.spawn("interrupted", got.say("first", lambda: submit(pool, 7)), interrupt)
            run.spawn("another", got.say("second", lambda: submit(pool, 8)))

    run.spawn("main", main)
    run.idle_threads_may_wait = True
    return lambda: (expect(got["first"], 7, "interrupted", "Interrupted"), expect(got["second"], 8))


@pool_model("E6 F8", preemptions=2, faults=(FORGETS_A_STARTED_WORKER,))
def shutdown_after_an_interrupted_start(run: Run, our: Any) -> Check:
    """`shutdown` waits for a worker whose start was interrupted."""
    got = Answers()

    def main() -> Any:
        with run.settled():
            pool = our.executor.ThreadPoolExecutor(1)
        try:
            pool.submit(int)
        except Interrupted:
            pass
        try:
            pool.shutdown()
        except Interrupted:
            pool.shutdown()
        return [actor.name for actor in run.actors if actor.name.startswith("ThreadPool") and not actor.ended]

    run.spawn("main", got.say("left", main), interrupt)
    return lambda: expect(got["left"], [])
