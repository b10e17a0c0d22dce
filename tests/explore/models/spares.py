"""Models of spares: one that is lost while it is promoted, and of two losses with one spare."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import Check, Fault, expect, outcome

from models.calls import SUPERVISOR
from models.corruption import LOST
from models.pools import PIPES, QUEUE, Use, pool_models

COUNTS_A_LOST_SPARE = Fault(
    "a spare that is lost while it is promoted is counted as a worker for ever", SUPERVISOR,
    right="""                self.workers.discard(connection)
                continue
""", wrong="                pass\n",
    changes=4,
)  # fmt: skip
LOOKS_FOR_NO_WORKER = Fault(
    "a thread that starts a spare, and one that needs a worker meanwhile, leave it to each other", SUPERVISOR,
    right="""                if self.needs_worker():
                    self._run(_StartRequest(ours=True))
""", wrong="",
)  # fmt: skip


def _ready_spares(pool: Any) -> int:
    return sum(spare.ready for spare in pool.supervisor.spares)


#: The hand-off, without which a whole pool would have too many schedules.
FILES = ("supervisor.py", "connection_table.py", "pipes/pool.py")


@pool_models(
    "E1 E2 E5", files=FILES, focus=(),
    faults={QUEUE: (COUNTS_A_LOST_SPARE,), PIPES: (COUNTS_A_LOST_SPARE,)},
)  # fmt: skip
def a_spare_dies_while_it_is_promoted(run: Run, our: Any, use: Use) -> Check:
    spares: list[Any] = []

    def main(pool: Any, launcher: Any) -> Any:
        with run.settled():
            run.wait(lambda: _ready_spares(pool) == 1)
        spares.extend(launcher.workers[1:])
        launcher.workers[0].kill()
        return outcome(pool.submit(pow, (2, 5), {}))

    got = use(1, main, on_loss="replace", spares=1, settled_end=True)
    run.spawn("killer", lambda: (run.wait(lambda: bool(spares)), spares[0].kill()))
    return lambda: expect(got["main"], 32, LOST)


@pool_models(
    "E1 E2 E5",
    files=FILES,
    focus=(),
    faults={QUEUE: (LOOKS_FOR_NO_WORKER,), PIPES: (LOOKS_FOR_NO_WORKER,)},
)
def two_workers_are_lost_with_one_spare(run: Run, our: Any, use: Use) -> Check:
    """The second one is the spare that was promoted, while the next one is being started."""
    begun: list[bool] = []

    def main(pool: Any, launcher: Any) -> Any:
        with run.settled():
            run.wait(lambda: _ready_spares(pool) == 1)
        launch, (worker, spare) = launcher.launch, launcher.workers

        def launch_late(ends: Any) -> Any:
            begun.append(True)
            run.wait(lambda: not pool.supervisor.workers)
            run.wait(lambda: False, 0.001)  # whatever follows from that happens
            launcher.launch = launch
            return launch(ends)

        launcher.launch = launch_late
        worker.kill()
        while outcome(pool.submit(pow, (2, 5), {})) == LOST:  # a call of the first worker
            pass
        run.wait(lambda: bool(begun))
        futures = [pool.submit(pow, (2, power), {}) for power in (6, 7)]
        spare.kill()
        return [outcome(future) for future in futures]

    got = use(1, main, on_loss="replace", spares=1, settled_end=True)
    return lambda: expect(got["main"], [64, 128], [LOST, 128], [64, LOST])
