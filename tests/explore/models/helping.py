"""Models of calls that wait for calls of their own pool: the worker runs these, or raises `DeadlockError`."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, outcome
from world import Mutex

from models.thread_pool import pool_model

HELPING = "corefutures_pools.helping"

HELPS_ONCE = Fault(
    "two workers that fall asleep together, each having looked while the other one was awake", HELPING,
    right="if not self.help_one(awaited, timed=timed):\n                    return", wrong="return",
)  # fmt: skip
LOOKS_BEFORE_IT_WAITS = Fault(
    "a worker looks for a cycle of calls before it says what it waits for", HELPING,
    right="""        with _wait_graph_lock:
            self.awaited, self._needs_all = awaited, needs_all
            if needs_all and self.calls:
                cycle = self._find_cycle(awaited)
""",
    wrong="""        if needs_all and self.calls:
            cycle = self._find_cycle(awaited)
        self.awaited, self._needs_all = awaited, needs_all
""",
)  # fmt: skip


FILES = ("helping.py", "_thread_pool.py")


def _two_calls(run: Run, our: Any, first: Any, second: Any) -> Answers:
    """Two workers run a call each; the calls go on at the same time."""
    got = Answers()

    def main() -> Any:
        with run.settled():
            pool, gates = our.executor.ThreadPoolExecutor(2), (Mutex(), Mutex())
            futures: list[Any] = []

            def call(function: Any, gate: Any) -> Any:
                gate.acquire()
                return function(pool, futures)

            for function, gate in zip((first, second), gates, strict=True):
                gate.acquire()
                futures.append(pool.submit(call, function, gate))
            run.wait(lambda: len(pool._cf_pool.queue) == 0)
            for gate in gates:
                gate.release()
        return [outcome(future) for future in futures]

    run.spawn("main", got.say("results", main))
    run.idle_threads_may_wait = True
    return got


@pool_model("C8", files=FILES, delays=True, faults=(HELPS_ONCE,))
def two_calls_that_wait_for_each_others_calls(run: Run, our: Any) -> Check:
    """Two workers that fall asleep together, each waiting for a call that has not started: one of them runs it.

    With a time limit a worker helps only if all others sleep.
    """
    got = _two_calls(
        run,
        our,
        lambda pool, _: pool.submit(int, 1).result(5),
        lambda pool, _: pool.submit(int, 2).result(5),
    )
    return lambda: expect(got["results"], [1, 2])


@pool_model("C8", files=FILES, delays=True, faults=(LOOKS_BEFORE_IT_WAITS,))
def a_cycle_of_calls_raises(run: Run, our: Any) -> Check:
    got = _two_calls(run, our, lambda _, futures: futures[1].result(), lambda _, futures: futures[0].result())
    return lambda: expect(got["results"], ["DeadlockError", "DeadlockError"])


@pool_model("C8", files=FILES, delays=True)
def a_call_that_waits_for_a_call_against_one_that_takes_it(run: Run, our: Any) -> Check:
    """The worker that waits claims the call, or another worker has taken it."""
    got = _two_calls(run, our, lambda pool, _: pool.submit(int, 1).result(), lambda pool, _: 2)
    return lambda: expect(got["results"], [1, 2])
