"""Models of pools with isolated workers that lack something at a start, and of calls that come meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import in_process
from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model, outcome
from world import Thread

from models.calls import DOES_NOT_LOOK_AGAIN, SUPERVISOR
from models.corruption import LOST
from models.pools import PIPES, QUEUE, Use, pool_models

ASKS_AS_A_STRANGER = Fault(
    "the thread of a lost worker is taken for a submitter, which would be told that no new worker could be started",
    SUPERVISOR,
    right="                self.start_workers(ours=True)\n", wrong="                self.start_workers()\n",
)  # fmt: skip
STARTS_ITS_THREAD_ALONE = Fault(
    "a pool that forks starts its thread though its first worker could not be forked: none is forked later", SUPERVISOR,
    right="if pool.thread is None and len(self.workers):", wrong="if pool.thread is None:",
)  # fmt: skip
ENDS_THE_POOL_LATE = Fault(
    "a start that has failed ends a pool for which another thread has started workers meanwhile", SUPERVISOR,
    right="                        self._end_unserved(exc)\n", wrong="                        pass\n",
    also=((SUPERVISOR, """        if pool.broken_reason is not None:
            return failure
""", """        self._end_unserved(failure)
        if pool.broken_reason is not None:
            return failure
"""),),
)  # fmt: skip
STARTS_AFTER_THE_END = Fault(
    "a thread that was about to start workers does so for a pool that has ended meanwhile", SUPERVISOR,
    right="if leaves or not self.needs_worker():  # the request", wrong="if leaves:  # the request",
)  # fmt: skip
LEAVES_FOR_ANOTHER = Fault(
    "a thread that starts workers, and one that has left that to it, leave it to each other", SUPERVISOR,
    right="                    leaves = leaves and bool(requests)\n", wrong="", changes=3,
)  # fmt: skip


@model(
    "E2", modules=(*CORE, *in_process.PIPE_MODULES), files=("supervisor.py",), preemptions=3,
    faults=(DOES_NOT_LOOK_AGAIN, LEAVES_FOR_ANOTHER),
)  # fmt: skip
def two_that_start_workers_for_their_calls(run: Run, our: Any) -> Check:
    """The supervisor alone: a worker is an entry in its set."""
    pool = SimpleNamespace(
        size=2, calls={}, broken_reason=None, thread="one", wake=lambda: None, start_worker=lambda launcher: start()
    )

    class Launcher: ...

    launcher = Launcher()
    module = our.modules[SUPERVISOR]
    supervisor = module.WorkerSupervisor(
        pool, launcher, on_launcher_collected=int, on_loss="break", prestart=False, not_ready_hint="", logs=None
    )
    supervisor.opened = True

    def start() -> None:
        assert launcher
        supervisor.workers.add(len(supervisor.workers))

    def submit(number: int) -> None:
        pool.calls[number] = number
        if supervisor.needs_worker():
            supervisor._run(module._StartRequest(ours=False))

    run.spawn("one", lambda: submit(1))
    run.spawn("another", lambda: submit(2))
    return lambda: expect(len(supervisor.workers), 2)


def _submit(pool: Any, number: int) -> Any:
    """Returns the outcome of a call, or that it was refused."""
    try:
        future = pool.submit(in_process.tell, (number,), {})
    except (RuntimeError, OSError):  # `BrokenExecutor` is one
        return "refused"
    return outcome(future)


@pool_models("E1 E5", PIPES, focus=("supervisor.py",), faults={PIPES: (ASKS_AS_A_STRANGER,)})
def a_new_worker_whose_thread_can_not_start(run: Run, our: Any, use: Use) -> Check:
    """The last call is not left to nobody: it fails, or was refused."""

    def main(pool: Any, launcher: Any) -> Any:
        in_process.acts[:] = [lambda: launcher.running().kill()]
        run.refused_threads = "attendant"
        lost = pool.submit(in_process.act, (0,), {})
        return _submit(pool, 1), outcome(lost)

    got = use(1, main, on_loss="replace")
    return lambda: expect(
        got["main"], ("BrokenExecutor", LOST), ("refused", LOST), ("refused", "BrokenExecutor")
    )  # fmt: skip


@pool_models(
    "E1 E5", QUEUE, files=("supervisor.py", "workers/pool.py"), preemptions=2,
    faults={QUEUE: (STARTS_ITS_THREAD_ALONE, ENDS_THE_POOL_LATE, STARTS_AFTER_THE_END)},
)  # fmt: skip
def a_first_worker_that_can_not_be_forked(run: Run, our: Any, use: Use) -> Check:
    """Workers are forked before the first thread of their pool, or never."""
    second = Answers()

    def main(pool: Any, launcher: Any) -> Any:
        launcher.refuses = 1
        thread = Thread(target=second.say("result", lambda: _submit(pool, 2)))
        thread.start()
        results = _submit(pool, 1), _submit(pool, 3)
        thread.join()
        return results

    got = use(2, main, warm=False, prestart=True)
    failed = "refused", "BrokenExecutor"

    def check() -> None:
        for number, result in ((1, got["main"][0]), (2, second["result"]), (3, got["main"][1])):
            expect(result, number, *failed)

    return check
