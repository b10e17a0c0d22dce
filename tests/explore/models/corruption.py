"""Models of calls that write where only their worker may write: into the status table, and into the result pipe.

What such a call harms is itself: no other call is lost, is run twice, or waits for ever.
"""

from __future__ import annotations

from typing import Any

import in_process
from explorer import Run
from modelling import Check, Fault, expect, outcome
from world import is_readable, write

from models.losses import CALL_KILLER, CLAIMS, QUEUE_POOL
from models.pools import QUEUE, WORKERS, Use, pool_models

FRAME_READER = WORKERS + "shared_queue.frame_reader"
LOST = "WorkerLostError"

BELIEVES_THE_LOST = Fault(
    "of a call that two workers have entered in the status table, the one that is lost is believed to have it", CLAIMS,
    right="        return 0 if any(current_task(other.index) == task for other in others) else task\n",
    wrong="        return task\n",
)  # fmt: skip
BELIEVES_THE_ROW = Fault(
    "the row of a lost worker is believed: nobody looks for another call that the worker had claimed", QUEUE_POOL,
    right="        self.claims.begin(loss)\n", wrong="        if not held:\n            self.claims.begin(loss)\n",
)  # fmt: skip
KILLS_ANYWAY = Fault(
    "a worker that has sent malformed frames is killed, whatever it runs by now", CALL_KILLER,
    right="if not connection.delivered_since or not queue.claimed(pool.calls.copy()).difference(others):",
    wrong="if True:",
)  # fmt: skip
READS_NO_MORE = Fault(
    "what a worker sends after malformed frames is not read", FRAME_READER,
    right="(self._resynchronise if connection.malformed else self._parse_buffer)(connection)",
    wrong="connection.malformed or self._parse_buffer(connection)",
    also=((FRAME_READER, """connection.malformed))
        self._resynchronise(connection)
""", "connection.malformed))\n"),),
)  # fmt: skip


@pool_models(
    "E1 E5", QUEUE, files=("shared_queue/worker.py", "claims.py"), preemptions=2,
    faults={QUEUE: (BELIEVES_THE_LOST, BELIEVES_THE_ROW)},
)  # fmt: skip
def a_worker_dies_that_has_overwritten_its_row(run: Run, our: Any, use: Use) -> Check:
    """The row shows the call of the other worker, which has claimed that by then, and entered it, or not yet."""
    numbers: list[int] = []
    entered: list[bool] = []

    def main(pool: Any, launcher: Any) -> Any:
        def overwrite() -> None:
            run.wait(lambda: not is_readable(pool.queue.reader))  # the other worker has claimed its call
            worker = launcher.running()
            (index,) = [one.index for one in pool.connections if one.worker is worker]
            entered.append(pool.status_table.is_claimed(numbers[1]))
            pool.status_table._current[index] = numbers[1]
            worker.kill()

        def run_beside() -> int:
            run.wait(lambda: bool(entered))
            return in_process.tell(7)

        in_process.acts[:] = [overwrite, run_beside]
        with run.settled():
            futures = [pool.submit(in_process.act, (number,), {}) for number in (0, 1)]
            numbers[:] = [future._number for future in futures]
        return [outcome(future) for future in futures]

    def check() -> None:
        # Nothing speaks against the row if the other worker has not entered its call.
        expect(got["main"], [LOST, 7], *([] if entered[0] else [[LOST, LOST]]))
        assert in_process.told.count(7) <= 1

    got = use(2, main, on_loss="replace")
    return check


@pool_models(
    "E1 E5", QUEUE, files=("frame_reader.py", "call_killer.py", "shared_queue/worker.py"), preemptions=1,
    focus=("call_killer.py", "shared_queue/worker.py"), faults={QUEUE: (KILLS_ANYWAY, READS_NO_MORE)},
)  # fmt: skip
def a_call_that_writes_malformed_frames(run: Run, our: Any, use: Use) -> Check:
    """It writes into the pipe that its worker's results go through; the same worker runs the next call."""

    def main(pool: Any, launcher: Any) -> Any:
        def write_garbage() -> int:
            return write(launcher.result_pipes[launcher.workers.index(launcher.running())], b"\xff" * 7)

        in_process.acts[:] = [write_garbage]
        with run.settled():
            futures = [pool.submit(in_process.act, (0,), {})]
            futures += [pool.submit(in_process.tell, (number,), {}) for number in (1, 2)]
        return [outcome(future) for future in futures]

    def check() -> None:
        expect(got["main"], [7, 1, 2], [LOST, 1, 2])
        expect(sorted(in_process.told), [1, 2])

    got = use(1, main, on_loss="replace")
    return check
