"""Models of threads that wait and read the result pipes themselves, in place of the result thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, outcome
from world import Thread

from models.pools import QUEUE, READING, WORKERS, Use, pool_models

INLINE_WAIT = WORKERS + "shared_queue.inline_wait"
CALL_FUTURE = WORKERS + "future"

NOBODY_WAKES_THE_LEADER = Fault(
    "a thread that reads is not woken when its call ends by another thread", INLINE_WAIT,
    right="                future._cf_add_parked(leadership.wakeup.set)\n", wrong="",
)  # fmt: skip
TELLS_NOBODY = Fault(
    "a thread that has read its result tells nobody else who waits for it", INLINE_WAIT,
    right="        if term.settled and future._has_to_tell():\n", wrong="        if False:\n",
)  # fmt: skip
SUBSCRIBES_ONLY = Fault(
    "a thread that waits for the call of one that reads, and was interrupted, asks nobody to look after that",
    INLINE_WAIT,
    right="""            self.wake()  # for what was read, and not parsed
        self.watchdog.request()
""",
    wrong="""            self.wake()  # for what was read, and not parsed
""",
)  # fmt: skip
LOOKS_FIRST = Fault(
    "a thread that waits for the call of one that has begun to read meanwhile asks nobody to look after that",
    CALL_FUTURE, right="                pool.step_down()\n", wrong="", changes=3,
)  # fmt: skip
SAYS_NOTHING = Fault(
    "a thread that is about to sleep looks whether another one reads, and has not said before that it waits",
    CALL_FUTURE, right="                self._cf_watched = True  # before the look at", wrong="                #",
)  # fmt: skip
LOOKS_FIRST_TO_SUBSCRIBE = Fault(
    "a thread looks whether another one reads, and then subscribes", CALL_FUTURE,
    right="""        subscribed = super()._cf_subscribe(waiter)
        if pool is not None:
            pool.step_down()
        return subscribed
""",
    wrong="""        if pool is not None:
            pool.step_down()
        return super()._cf_subscribe(waiter)
""",
)  # fmt: skip
DISARMS_FIRST = Fault(
    "a thread that reads has disarmed the result thread before it looks whether others wait", INLINE_WAIT,
    right="""                if future._cf_watched:
                    self.watchdog.request()
                leadership.disarm()
""",
    wrong="""                leadership.disarm()
                if future._cf_watched:
                    self.watchdog.request()
""",
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


@pool_models("E1 F8", QUEUE, focus=("inline_wait.py",), files=READING, faults={QUEUE: (SUBSCRIBES_ONLY, LOOKS_FIRST)})
def a_handler_that_waits_for_a_thread_while_its_thread_reads(run: Run, our: Any, use: Use) -> Check:
    """That other thread waits for the same call, which the interrupted thread was about to read."""

    def prepare(pool: Any, future: Any, thread: Thread) -> None:
        thread.start()

    return _join_in_a_handler(run, use, outcome, 32, prepare)


@pool_models("E1 F8", QUEUE, focus=(), files=READING, preemptions=1, faults={QUEUE: (SAYS_NOTHING,)})
def a_handler_that_waits_for_a_thread_that_falls_asleep(run: Run, our: Any, use: Use) -> Check:
    """That other thread did not read, as there was another call; it gets the lock of the future at last."""

    def prepare(pool: Any, future: Any, thread: Thread) -> None:
        second = pool.submit(pow, (2, 6), {})
        with future._cf_lock:
            thread.start()
            run.wait(lambda: thread._actor.blocked is not None)
            expect(second.cancel(), True)

    return _join_in_a_handler(run, use, outcome, 32, prepare)


@pool_models("E1 F8", QUEUE, focus=(), files=READING, preemptions=1, faults={QUEUE: (LOOKS_FIRST_TO_SUBSCRIBE,)})
def a_handler_that_waits_for_a_thread_that_subscribes(run: Run, our: Any, use: Use) -> Check:
    """That other thread is about to wait for the same call: it gets the lock of the future at last."""

    def prepare(pool: Any, future: Any, thread: Thread) -> None:
        with future._cf_lock:
            thread.start()
            run.wait(lambda: thread._actor.blocked is not None)

    return _join_in_a_handler(run, use, lambda future: len(our.wait.wait([future]).done), 1, prepare)


@pool_models("E1 F8", QUEUE, focus=(), files=READING, preemptions=1, faults={QUEUE: (DISARMS_FIRST,)})
def a_handler_that_waits_for_a_thread_that_has_subscribed(run: Run, our: Any, use: Use) -> Check:
    """That other thread waits for the same call already; nobody read when it began."""

    def prepare(pool: Any, future: Any, thread: Thread) -> None:
        thread.start()
        run.wait(lambda: bool(future._cf_listeners))

    return _join_in_a_handler(run, use, lambda future: len(our.wait.wait([future]).done), 1, prepare)


def _join_in_a_handler(
    run: Run, use: Use, wait: Callable[[Any], Any], expected: Any, prepare: Callable[[Any, Any, Thread], None]
) -> Check:
    other, threads = Answers(), []  # type: ignore[var-annotated]

    def main(pool: Any, launcher: Any) -> Any:
        with run.settled():
            (worker,) = launcher.workers
            worker.stop()
            future = pool.submit(pow, (2, 5), {})
            thread = Thread(target=other.say("result", lambda: wait(future)))
            prepare(pool, future, thread)
            threads.append(thread)
            worker.go_on()
        return future.result()

    def handler() -> None:
        if threads:
            threads[0].join()

    got = use(1, main, handler)
    return lambda: expect((got["main"], other["result"]), (32, expected))
