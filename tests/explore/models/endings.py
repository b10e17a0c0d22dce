"""Models of the end of pools with isolated workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, outcome
from world import Thread

from models.pools import QUEUE, WORKERS, Use, pool_models

POOL = WORKERS + "pool"
QUEUE_POOL = WORKERS + "shared_queue.pool"

LAST_IS_SILENT = Fault(
    "the cancellation of the last call wakes nobody in a pool that closes", POOL,
    right="""            self.count("cancelled")
        if self.closing and not self.calls:
            self.wake()
""",
    wrong="""            self.count("cancelled")
""",
)  # fmt: skip
STARTS_SILENTLY = Fault(
    "a pool that closes does not hear that its only call was cancelled before it had a thread", QUEUE_POOL,
    right="""        if self.closing:  # the last call may have been cancelled before there was a thread to wake
            self.wake()
""", wrong="",
)  # fmt: skip


def _submit_against(run: Run, our: Any, use: Use, close: Callable[[Any], object], *outcomes: Any) -> Check:
    second = Answers()

    def submit(pool: Any) -> Any:
        try:
            return outcome(pool.submit(pow, (2, 6), {}))
        except RuntimeError:
            return "refused"

    def main(pool: Any, _: Any) -> Any:
        thread = Thread(target=second.say("result", lambda: submit(pool)))
        thread.start()
        close(pool)
        thread.join()

    got = use(1, main)
    return lambda: (expect(got["main"], None), expect(second["result"], 64, "refused", *outcomes))


@pool_models("E1 E6")
def a_call_submitted_while_the_pool_closes(run: Run, our: Any, use: Use) -> Check:
    return _submit_against(run, our, use, lambda pool: pool.close(wait=False))


@pool_models("E1 E6")
def a_call_submitted_while_the_pool_closes_and_cancels(run: Run, our: Any, use: Use) -> Check:
    return _submit_against(run, our, use, lambda pool: pool.close(wait=False, cancel_futures=True), "cancelled")


@pool_models("E1 E6")
def a_call_submitted_while_the_workers_are_killed(run: Run, our: Any, use: Use) -> Check:
    return _submit_against(run, our, use, lambda pool: pool.stop_workers("kill"), "cancelled", "BrokenExecutor")


@pool_models("E3 E6", faults={QUEUE: (LAST_IS_SILENT,)})
def the_last_call_cancelled_while_the_pool_closes(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        thread = Thread(target=future.cancel)
        thread.start()
        pool.close(wait=True)
        thread.join()
        return outcome(future)

    got = use(1, main)
    return lambda: expect(got["main"], 32, "cancelled")


@pool_models("E3 E6", faults={QUEUE: (STARTS_SILENTLY,)})
def the_only_call_cancelled_before_there_is_a_worker(run: Run, our: Any, use: Use) -> Check:
    calls: list[Any] = []

    def main(pool: Any, _: Any) -> Any:
        thread = Thread(target=lambda: calls.append(_submit_or_none(pool)))
        thread.start()
        pool.close(wait=True, cancel_futures=True)
        thread.join()
        return None if calls[0] is None else outcome(calls[0])

    got = use(1, main, warm=False)
    return lambda: expect(got["main"], 32, "cancelled", None)


def _submit_or_none(pool: Any) -> Any:
    try:
        return pool.submit(pow, (2, 5), {})
    except RuntimeError:
        return None
