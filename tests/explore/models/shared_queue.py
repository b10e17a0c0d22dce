"""Models of a whole pool over the shared queue."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import in_process
from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model, outcome
from world import Thread

INLINE_WAIT = "corefutures_pools.workers.shared_queue.inline_wait"

NEVER_REARMS = Fault(
    "a leader that steps down leaves the result thread disarmed", INLINE_WAIT,
    right="        leadership.rearm()\n        if self.closing or", wrong="        if self.closing or",
)  # fmt: skip


#
# Its workers are threads of the exploration (see `in_process`); pipes, memory and epoll are real.

SHARED_QUEUE = (*CORE, *in_process.MODULES)
READING = ("inline_wait.py", "leader.py", "event_loop.py", "frame_reader.py")
SENDING = (
    "shared_queue/pool.py", "workers/pool.py", "workers/future.py", "call_killer.py", "claims.py", "call_control.py",
    "submission.py", "supervisor.py",
)  # fmt: skip


def queue_model(
    promise: str,
    *,
    files: tuple[str, ...] = READING,
    preemptions: int = 1,
    quick: int | None = 1,
    faults: tuple[Fault, ...] = (),
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:
    """Makes a function a model of a pool of isolated workers."""
    return model(
        promise, modules=SHARED_QUEUE, files=files, preemptions=preemptions, quick=quick, delays=True, faults=faults
    )


def _pool(run: Run, our: Any, workers: int, main: Callable[[Any, Any], Any], *handlers: Any, **options: Any) -> Answers:
    """Has a thread use a pool and close it, and checks at the end that nothing of it is left."""
    got = Answers()
    before = set(os.listdir("/proc/self/fd"))

    def use() -> Any:
        pool, launcher = in_process.make_pool(run, our, workers, **options)
        try:
            return main(pool, launcher)
        finally:
            pool.close(wait=True)

    run.spawn("main", got.say("main", use), *handlers)

    def check_nothing_is_left() -> None:
        left = set(os.listdir("/proc/self/fd")) - before
        assert len(left) <= 1, left  # the folder that is listed

    run.checks.append(check_nothing_is_left)
    return got


@queue_model("E1 F5", preemptions=2, quick=1)
def a_waiter_that_reads_its_own_result(run: Run, our: Any) -> Check:
    got = _pool(run, our, 1, lambda pool, _: pool.submit(pow, (2, 5), {}).result())
    return lambda: expect(got["main"], 32)


@queue_model("E1 F5", faults=(NEVER_REARMS,))
def the_result_thread_after_a_waiter_that_has_read(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        first = pool.submit(pow, (2, 5), {}).result()
        second = pool.submit(pow, (2, 6), {})
        our.wait.wait([second])
        return first, second.result(0)

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], (32, 64))


@queue_model("E1 F5", preemptions=1, quick=None)
def two_waiters_and_the_result_thread(run: Run, our: Any) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        first, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        thread = Thread(target=second.say("result", other.result))
        thread.start()
        result = first.result()
        thread.join()
        return result

    got = _pool(run, our, 2, main)
    return lambda: expect((got["main"], second["result"]), (32, 64))


@queue_model("E1 F8", preemptions=2, quick=1)
def a_handler_that_waits_for_a_call_while_its_thread_reads(run: Run, our: Any) -> Check:
    pools, answers = [], []

    def main(pool: Any, _: Any) -> Any:
        pools.append(pool)
        return pool.submit(pow, (2, 5), {}).result()

    def handler() -> None:
        if pools and not pools[0].closed:
            answers.append(pools[0].submit(pow, (2, 6), {}).result())

    got = _pool(run, our, 1, main, handler)

    def check() -> None:
        expect(got["main"], 32)
        expect(answers, [], [64])

    return check


@queue_model("E1 F5", preemptions=2, quick=1)
def a_time_limit_of_a_waiter_that_reads(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        try:
            return future.result(1)
        except TimeoutError:
            return future.result()

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], 32)


@queue_model("E3 F5", files=(*READING, *SENDING))
def cancel_against_the_claim_of_a_worker(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        cancelled = future.cancel()
        return cancelled, outcome(future)

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], (True, "cancelled"), (False, 32))


@queue_model("C2 E5", files=(*READING, *SENDING), preemptions=1, quick=None)
def kill_against_finish(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        killed = pool.kill(future)
        other = pool.submit(pow, (2, 6), {})
        return killed, outcome(future), outcome(other)

    got = _pool(run, our, 1, main, on_loss="replace")
    return lambda: expect(got["main"], (False, 32, 64), (True, "WorkerLostError", 64), (True, "cancelled", 64))


@queue_model("E1 E5", files=(*READING, *SENDING), preemptions=1, quick=None)
def a_worker_that_dies_at_any_system_call(run: Run, our: Any) -> Check:
    workers: list[Any] = []

    def main(pool: Any, launcher: Any) -> Any:
        workers.append(launcher.workers)
        future, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        return outcome(future), outcome(other)

    def kill() -> None:
        our.wait_until(lambda: bool(workers and workers[0]), 1)
        if workers and workers[0]:
            workers[0][0].kill()

    got = _pool(run, our, 1, main, on_loss="replace")
    run.spawn("killer", kill)
    lost = "WorkerLostError"
    return lambda: expect(got["main"], (32, 64), (lost, 64), (32, lost))


@queue_model("E1 E6", files=(*READING, *SENDING), preemptions=1, quick=None)
def submit_against_the_end_of_an_isolated_pool(run: Run, our: Any) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        first = pool.submit(pow, (2, 5), {})

        def submit() -> Any:
            try:
                return outcome(pool.submit(pow, (2, 6), {}))
            except RuntimeError:
                return "refused"

        thread = Thread(target=second.say("result", submit))
        thread.start()
        pool.close(wait=False)
        result = first.result()
        thread.join()
        return result

    got = _pool(run, our, 1, main)
    return lambda: (expect(got["main"], 32), expect(second["result"], 64, "refused"))
