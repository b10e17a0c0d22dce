"""Models of workers that are killed, lost or leave while calls end."""

from __future__ import annotations

from typing import Any

import in_process
from explorer import Run
from modelling import Check, Fault, expect, outcome

from models.pools import INTERPRETERS, PIPED_INTERPRETERS, PIPES, QUEUE, WORKERS, Use, pool_models

CALL_KILLER = WORKERS + "shared_queue.call_killer"
CLAIMS = WORKERS + "shared_queue.claims"
QUEUE_POOL = WORKERS + "shared_queue.pool"
PIPE_POOL = WORKERS + "pipes.pool"

KILLS_UNLOCKED = Fault(
    "a worker is killed for a call that it had a moment ago", PIPE_POOL,
    right="""            with connection.lock:
                if connection.call is future and connection.worker is not None:
                    connection.verdict""",
    wrong="""            if connection.call is future and connection.worker is not None:
                if True:
                    connection.verdict""",
)  # fmt: skip
KILLS_BLINDLY = Fault(
    "a worker is killed for a call that has ended: another call is lost with it", CALL_KILLER,
    right="_stop(worker.pid) and self._runs(connection, number)", wrong="_stop(worker.pid)",
)  # fmt: skip
FORGETS_CLAIMS = Fault(
    "nobody looks for the call that a lost worker had claimed and not entered", QUEUE_POOL,
    right="        self.claims.begin(loss)\n", wrong="",
)  # fmt: skip
ASKS_NOBODY = Fault(
    "a call that was claimed when a worker was lost is taken for that worker's", CLAIMS,
    right="            elif not resolution.candidates:\n", wrong="            else:\n",
    also=((CLAIMS, """            else:
                queue.ping(resolution.ping, len(resolution.candidates))
""", ""),),
)  # fmt: skip
READS_THE_TABLE_LAST = Fault(
    "the status table is read after the result pipes: what was claimed in between is taken for what runs", CLAIMS,
    right="""        for candidate in candidates:
            read(candidate)
""", wrong="",
    changes=3, also=((CLAIMS, """        current = {candidate: table""", """        for candidate in candidates:
            read(candidate)
        current = {candidate: table"""),),
)  # fmt: skip
CLAIMS_IN_STEPS = Fault(
    "of a call that is posted while the pool looks what was claimed, it is said that a worker has claimed it",
    WORKERS + "shared_queue.task_queue",
    right="""        known = {*calls}
        waiting = {*self.encoded.copy()}
        self._atomically((self._drain_step(), map(waiting.update, (self.read_back,))))
        return known.intersection(self.arena.slots.copy()).difference(waiting, self.revoked.copy())
""",
    wrong="""        self.drain()
        slots = {*self.arena.slots.copy()}
        return slots.difference(self.encoded.copy(), self.read_back.copy(), self.revoked.copy())
""",
    changes=3,
)  # fmt: skip
ASKS_TOO_FEW = Fault(
    "a worker that is started while the pool looks what was claimed is not asked for it", CLAIMS,
    right="""        tasks = pool.queue.claimed(pool.calls.copy())
        # Afterwards: a worker that has been started meanwhile may have claimed one of them.
        candidates = {connection for connection in pool.connections if not connection.exiting}
""",
    wrong="""        candidates = {connection for connection in pool.connections if not connection.exiting}
        tasks = pool.queue.claimed(pool.calls.copy())
""",
)  # fmt: skip
STAYS_STOPPED = Fault(
    "a worker that was stopped to be looked at does not go on", CALL_KILLER,
    right="                    try:\n                        go_on()\n",
    wrong="                    try:\n                        pass\n",
)  # fmt: skip


@pool_models("C2 E5", faults={QUEUE: (KILLS_BLINDLY, STAYS_STOPPED), PIPES: (KILLS_UNLOCKED,)})
def a_call_killed_while_it_ends(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        return pool.kill(future), outcome(future), outcome(other)

    got = use(1, main, on_loss="replace")
    return lambda: expect(got["main"], (False, 32, 64), (True, "WorkerLostError", 64), (True, "cancelled", 64))


@pool_models("C2 E5", focus=("time_limits.py",))
def a_call_whose_time_is_up_while_it_ends(run: Run, our: Any, use: Use) -> Check:
    def main(pool: Any, _: Any) -> Any:
        limited = pool.control.submit_limited(0.01, lambda: pool.submit(in_process.pause, (0.02,), {}))
        other = pool.submit(pow, (2, 6), {})
        return outcome(limited), outcome(other)

    got = use(1, main, on_loss="replace")
    return lambda: expect(got["main"], (None, 64), ("TimeoutError", 64))


@pool_models("E1 E5", focus=("claims.py",))
def a_worker_dies_at_any_step(run: Run, our: Any, use: Use) -> Check:
    workers: list[Any] = []

    def main(pool: Any, launcher: Any) -> Any:
        workers.append(launcher.workers[0])
        future, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        return outcome(future), outcome(other)

    got = use(1, main, on_loss="replace")
    run.spawn("killer", lambda: (run.wait(lambda: bool(workers)), workers[0].kill()))
    lost = "WorkerLostError"
    return lambda: expect(got["main"], (32, 64), (lost, 64), (32, lost))


@pool_models(
    "E1 E5", QUEUE, files=("shared_queue/worker.py", "claims.py"), preemptions=2,
    faults={QUEUE: (FORGETS_CLAIMS, ASKS_NOBODY)},
)  # fmt: skip
def a_worker_dies_with_a_claim_while_another_delivers(run: Run, our: Any, use: Use) -> Check:
    """It is killed at any step of a worker, also between the claim of a task and its entry in the status table."""
    workers: list[Any] = []

    def main(pool: Any, launcher: Any) -> Any:
        with run.settled():
            futures = [pool.submit(in_process.tell, (number,), {}) for number in (1, 2)]
        workers.append(launcher.workers[0])
        return [outcome(future) for future in futures]

    def check() -> None:
        lost = [number for number, got_it in enumerate(got["main"], 1) if got_it == "WorkerLostError"]
        assert len(lost) <= 1, got["main"]
        for number, got_it in enumerate(got["main"], 1):
            expect(got_it, number, "WorkerLostError")
            assert in_process.told.count(number) <= 1
            if got_it == "WorkerLostError":
                expect(in_process.told_by.get(number), None, "worker 0")

    got = use(2, main, on_loss="replace")
    run.spawn("killer", lambda: (run.wait(lambda: bool(workers)), workers[0].kill()))
    return check


@pool_models(
    "E1 E5", QUEUE, files=("shared_queue/worker.py", "claims.py"), focus=("claims.py",),
    faults={QUEUE: (READS_THE_TABLE_LAST,)},
)  # fmt: skip
def a_worker_delivers_while_an_idle_one_is_lost(run: Run, our: Any, use: Use) -> Check:
    """And claims the next call at once: the call before is delivered, and was not claimed by the lost worker."""
    begun, next_ones = [], []  # type: ignore[var-annotated]

    def main(pool: Any, launcher: Any) -> Any:
        def submit_next() -> None:
            begun.append(1)
            run.wait(lambda: pool.claims.pings > 0)
            next_ones.append(pool.submit(in_process.tell, (2,), {}))

        with run.settled():
            idle, _ = launcher.workers
            idle.stop()
            in_process.acts[:] = [submit_next]
            first = pool.submit(in_process.act, (0,), {})
            run.wait(lambda: bool(begun))
            idle.kill()
        return outcome(first), outcome(next_ones[0])

    got = use(2, main, on_loss="replace")
    return lambda: expect(got["main"], (None, 2))


@pool_models(
    "E1 E5", QUEUE, files=("task_queue.py", "claims.py"), preemptions=2, faults={QUEUE: (CLAIMS_IN_STEPS, ASKS_TOO_FEW)}
)
def calls_posted_while_an_idle_worker_is_lost(run: Run, our: Any, use: Use) -> Check:
    """Nobody has claimed them: the new worker runs each of them, once."""

    def main(pool: Any, launcher: Any) -> Any:
        launcher.workers[0].kill()
        return [outcome(future) for future in [pool.submit(in_process.tell, (number,), {}) for number in (1, 2)]]

    got = use(1, main, on_loss="replace")
    return lambda: (expect(got["main"], [1, 2]), expect(sorted(in_process.told), [1, 2]))


@pool_models("E1 E5", PIPES, focus=())
def a_call_submitted_while_an_idle_worker_dies(run: Run, our: Any, use: Use) -> Check:
    """The other idle worker takes the call."""
    pools: list[Any] = []

    def kill() -> None:
        run.wait(lambda: bool(pools))
        if pools[0]._idle:
            pools[0]._idle[0].worker.kill()

    def main(pool: Any, _: Any) -> Any:
        pools.append(pool)
        return outcome(pool.submit(pow, (2, 5), {}))

    got = use(2, main, on_loss="replace")
    run.spawn("killer", kill)
    return lambda: expect(got["main"], 32, "WorkerLostError")


@pool_models("E1 E2", QUEUE, PIPES, INTERPRETERS, PIPED_INTERPRETERS, focus=("supervisor.py",))
def a_call_submitted_while_the_last_worker_leaves(run: Run, our: Any, use: Use) -> Check:
    """Each worker runs one call."""

    def main(pool: Any, _: Any) -> Any:
        first = outcome(pool.submit(pow, (2, 5), {}))
        return first, outcome(pool.submit(pow, (2, 6), {}))

    got = use(1, main, warm=False, limit=1)
    return lambda: expect(got["main"], (32, 64))
