"""Models of calls in pools with isolated workers, from `submit` to the callbacks."""

from __future__ import annotations

from typing import Any

import in_process
from explorer import Run
from modelling import Answers, Check, Fault, expect, outcome
from world import Thread

from models.pools import PIPES, QUEUE, WORKERS, Use, pool_models

SUPERVISOR = WORKERS + "supervisor"
EVENT_LOOP = WORKERS + "shared_queue.event_loop"
PIPE_POOL = WORKERS + "pipes.pool"

LOOKS_ONCE = Fault(
    "a thread that has become idle does not look for a call again", PIPE_POOL,
    right="            self._look_again()\n", wrong="", changes=3,
)  # fmt: skip
RINGS_IN_STEPS = Fault(
    "a worker's thread is taken out of the idle list, and then woken: two steps", PIPE_POOL,
    right="            next(self._waking)\n", wrong="            self._idle.popleft().wake()\n",
)  # fmt: skip
RUNS_CANCELLED = Fault(
    "a cancelled call is sent", PIPE_POOL,
    right="if call._cf_try_dispatch():", wrong="if call._cf_try_dispatch() or True:",
)  # fmt: skip
NO_NESTED_LOOP = Fault(
    "a callback in the thread that serves the pool waits for a call that this thread has to receive", EVENT_LOOP,
    right="        nested_loops[threading.get_ident()] = self._run_nested\n", wrong="",
)  # fmt: skip
NO_NESTED_LOOP_IN_PIPES = Fault(
    "a callback in the thread that serves a worker waits for a call that this thread has to send", PIPE_POOL,
    right="        nested_loops[threading.get_ident()] = partial(self._run_nested, connection)\n", wrong="",
)  # fmt: skip
WAITS_FOR_ITSELF = Fault(
    "a callback that submits to a full pool waits in the thread that would make room", WORKERS + "submission",
    right="own = limiter is not None and pool.owns_thread(threading.current_thread())", wrong="own = False",
)  # fmt: skip
STARTS_IN_PLACE = Fault(
    "workers are started in the submitter's thread, where a signal handler finds them half started", SUPERVISOR,
    right="if self.prestart or request.ours:", wrong="if True:",
)  # fmt: skip
DOES_NOT_LOOK_AGAIN = Fault(
    "of two threads that start workers, neither sees that another one is needed", SUPERVISOR,
    right="            while failure is None and not leaves and self.needs_worker():\n",
    wrong="            for _ in range(int(failure is None and self.needs_worker())):\n",
)  # fmt: skip


@pool_models("E1 E2", quick=1, faults={PIPES: (LOOKS_ONCE,)})
def a_call_submitted_while_a_worker_goes_idle(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        first, second = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        return outcome(first), outcome(second)

    got = use(1, main)
    return lambda: expect(got["main"], (32, 64))


@pool_models("E2", focus=(), faults={PIPES: (DOES_NOT_LOOK_AGAIN,)})
def two_submitters_that_need_a_worker_each(run: Run, our: Any, use: Use) -> Check:
    """See `two_that_start_workers_for_their_calls` for the requests alone, with more preemptions."""
    other = Answers()

    def main(pool: Any, _: Any) -> Any:
        thread = Thread(target=other.say("result", lambda: outcome(pool.submit(in_process.meet, (1,), {}))))
        thread.start()
        result = outcome(pool.submit(in_process.meet, (2,), {}))
        thread.join()
        return result

    got = use(2, main, warm=False, settled_end=True)
    return lambda: expect((got["main"], other["result"]), (2, 1))


@pool_models("E3 F5", quick=1, faults={PIPES: (RUNS_CANCELLED,)})
def a_call_cancelled_while_a_worker_claims_it(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(in_process.tell, (1,), {})
        return future.cancel(), outcome(future)

    got = use(1, main)

    def check() -> None:
        expect(got["main"], (True, "cancelled"), (False, 1))
        expect(in_process.told, [] if got["main"][0] else [1])

    return check


@pool_models("E1 F8", focus=("shared_queue/pool.py", "pipes/pool.py"), faults={PIPES: (RINGS_IN_STEPS,)})
def a_call_of_a_handler_that_interrupts_a_submitter(run: Run, our: Any, use: Use) -> Check:
    """The handler waits for its call, whatever it has interrupted."""
    pools, answers = [], []  # type: ignore[var-annotated]

    def main(pool: Any, _: Any) -> Any:
        pools.append(pool)
        return pool.submit(pow, (2, 5), {}).result()

    def handler() -> None:
        if pools and not pools[0].closed:
            answers.append(pools[0].submit(pow, (2, 6), {}).result())

    got = use(1, main, handler)
    return lambda: (expect(got["main"], 32), expect(answers, [], [64]))


@pool_models("E1 F8", focus=("supervisor.py",), faults={QUEUE: (STARTS_IN_PLACE,), PIPES: (STARTS_IN_PLACE,)})
def a_call_of_a_handler_that_interrupts_the_first_submitter(run: Run, our: Any, use: Use) -> Check:
    pools, answers = [], []  # type: ignore[var-annotated]

    def main(pool: Any, _: Any) -> Any:
        pools.append(pool)
        return pool.submit(pow, (2, 5), {}).result()

    def handler() -> None:
        if pools and not pools[0].closed:
            answers.append(pools[0].submit(pow, (2, 6), {}).result())

    got = use(1, main, handler, warm=False)
    return lambda: (expect(got["main"], 32), expect(answers, [], [64]))


@pool_models("F4 F8", faults={QUEUE: (NO_NESTED_LOOP,), PIPES: (NO_NESTED_LOOP_IN_PIPES,)})
def a_callback_that_waits_for_a_call(run: Run, our: Any, use: Use) -> Check:
    answers: list[Any] = []

    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        future.add_done_callback(lambda _: answers.append(pool.submit(pow, (2, 6), {}).result()))
        return outcome(future)

    got = use(1, main)
    return lambda: (expect(got["main"], 32), expect(answers, [64], []))


@pool_models("C4 F4", faults={QUEUE: (WAITS_FOR_ITSELF,), PIPES: (WAITS_FOR_ITSELF,)})
def a_callback_that_submits_to_a_full_pool(run: Run, our: Any, use: Use) -> Check:
    answers: list[Any] = []

    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        future.add_done_callback(lambda _: answers.append(pool.submit(pow, (2, 7), {})))
        other = pool.submit(pow, (2, 6), {})  # waits until the first call has ended
        return outcome(future), outcome(other), [outcome(answer) for answer in answers]

    got = use(1, main, max_pending=1)
    return lambda: expect(got["main"], (32, 64, [128]), (32, 64, []))
