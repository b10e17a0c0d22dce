"""Models of threads that wait and read the result pipes themselves, in place of the result thread."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, outcome
from world import Thread

from models.pools import QUEUE, READING, WORKERS, Use, pool_models

INLINE_WAIT = WORKERS + "shared_queue.inline_wait"

NOBODY_WAKES_THE_LEADER = Fault(
    "a thread that reads is not woken when its call ends by another thread", INLINE_WAIT,
    right="                future._cf_add_parked(leadership.wakeup.set)\n", wrong="",
)  # fmt: skip
TELLS_NOBODY = Fault(
    "a thread that has read its result tells nobody else who waits for it", INLINE_WAIT,
    right="        if term.settled and future._has_to_tell():\n", wrong="        if False:\n",
)  # fmt: skip
_ASKS_LATER = """                self.watchdog.request()  # who reads began after `step_down`, and may be interrupted
"""
SUBSCRIBES_ONLY = Fault(
    "a thread that waits for the call of one that reads, and was interrupted, asks nobody to look after that",
    INLINE_WAIT,
    right="""            self.wake()  # for what was read, and not parsed
        self.watchdog.request()
""",
    wrong="""            self.wake()  # for what was read, and not parsed
""",
    also=((INLINE_WAIT, _ASKS_LATER, ""),),
)  # fmt: skip
LOOKS_ONCE = Fault(
    "a thread that waits for the call of one that has begun to read meanwhile asks nobody to look after that",
    INLINE_WAIT, right=_ASKS_LATER, wrong="", changes=4,
)  # fmt: skip
NEVER_REARMS = Fault(
    "a leader that steps down leaves the result thread disarmed", INLINE_WAIT,
    right="        leadership.rearm()\n        if self.closing or", wrong="        if self.closing or",
)  # fmt: skip


@pool_models("E1 F5", QUEUE, files=READING, preemptions=2)
def a_waiter_that_reads_its_own_result(run: Run, our: Any, use: Use) -> Check:
    got = use(1, lambda pool, _: pool.submit(pow, (2, 5), {}).result())
    return lambda: expect(got["main"], 32)


@pool_models("E1 F5", QUEUE, files=READING, preemptions=2, faults={QUEUE: (NEVER_REARMS,)})
def the_result_thread_after_a_waiter_that_has_read(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        first = pool.submit(pow, (2, 5), {}).result()
        second = pool.submit(pow, (2, 6), {})
        our.wait.wait([second])
        return first, second.result(0)

    got = use(1, main)
    return lambda: expect(got["main"], (32, 64))


@pool_models("E1 F5", QUEUE, files=READING, preemptions=2)
def two_waiters_and_the_result_thread(run: Run, our: Any, use: Use) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        first, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        thread = Thread(target=second.say("result", other.result))
        thread.start()
        result = first.result()
        thread.join()
        return result

    got = use(2, main, settled_end=True)
    return lambda: expect((got["main"], second["result"]), (32, 64))


@pool_models("E1 F5", QUEUE, files=READING, preemptions=2)
def a_time_limit_of_a_waiter_that_reads(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        try:
            return future.result(1)
        except TimeoutError:
            return future.result()

    got = use(1, main)
    return lambda: expect(got["main"], 32)


@pool_models("E3 F5", QUEUE, files=READING, preemptions=2, faults={QUEUE: (NOBODY_WAKES_THE_LEADER,)})
def a_call_cancelled_while_a_thread_reads_its_result(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        with run.settled():
            future = pool.submit(pow, (2, 5), {})
            thread = Thread(target=future.cancel)
        thread.start()
        result = outcome(future)
        thread.join()
        return result

    got = use(1, main)
    return lambda: expect(got["main"], 32, "cancelled")


@pool_models("E1 F5", QUEUE, files=READING, preemptions=1, faults={QUEUE: (TELLS_NOBODY,)})
def two_threads_that_wait_for_one_call(run: Run, our: Any, use: Use) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        with run.settled():
            future = pool.submit(pow, (2, 5), {})
            thread = Thread(target=second.say("result", lambda: outcome(future)))
        thread.start()
        result = outcome(future)
        thread.join()
        return result

    got = use(1, main)
    return lambda: expect((got["main"], second["result"]), (32, 32))


@pool_models("E1 F8", QUEUE, focus=("inline_wait.py",), files=READING)
def a_handler_that_waits_for_a_call_while_its_thread_reads(run: Run, our: Any, use: Use) -> Check:
    pools, answers = [], []  # type: ignore[var-annotated]

    def main(pool: Any, _: Any) -> Any:
        with run.settled():
            future = pool.submit(pow, (2, 5), {})
        pools.append(pool)
        return future.result()

    def handler() -> None:
        if pools and not pools[0].closed:
            answers.append(pools[0].submit(pow, (2, 6), {}).result())

    got = use(1, main, handler)
    return lambda: (expect(got["main"], 32), expect(answers, [], [64]))


@pool_models("E1 F8", QUEUE, focus=(), files=READING, preemptions=1, faults={QUEUE: (SUBSCRIBES_ONLY, LOOKS_ONCE)})
def a_handler_that_waits_for_a_thread_while_its_thread_reads(run: Run, our: Any, use: Use) -> Check:
    """That other thread waits for the same call, which the interrupted thread was about to read."""
    other, got_it = Answers(), []  # type: ignore[var-annotated]
    threads: list[Any] = []

    def main(pool: Any, _: Any) -> Any:
        with run.settled():
            future = pool.submit(pow, (2, 5), {})
            threads.append(Thread(target=other.say("result", lambda: outcome(future))))
            threads[0].start()
        return future.result()

    def handler() -> None:
        if threads:
            threads[0].join()
            got_it.append(1)

    got = use(1, main, handler)
    return lambda: expect((got["main"], other["result"]), (32, 32))
