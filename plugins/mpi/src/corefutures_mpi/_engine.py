"""The workers: ranks of the MPI job that runs, or processes that MPI starts for one executor.

Importing this module starts MPI in this process. Guarantees: an executor is refused where its workers could not start.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corefutures import BackendUnavailableError
from corefutures.backend import describe_error
from corefutures_pools import wire
from corefutures_pools.blocking import system
from corefutures_pools.cpu import usable_processors
from corefutures_pools.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_pools.engines.queue import Report, Task

# Not every environment that checks types has mpi4py.
MPI: Final[Any] = import_module("mpi4py.MPI")
MPIPoolExecutor: Final[Any] = import_module("mpi4py.futures").MPIPoolExecutor
_core: Final[Any] = import_module("mpi4py.futures._core")

#: The variables by which launchers tell a process its rank: those of MPICH, of PMIx, and of Open MPI.
_LAUNCHED: Final = ("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
#: Seconds between two looks at workers that are being started.
_START_INTERVAL: Final = 0.01
#: The process that has started MPI: a forked child must not use it.
_PID: Final = system.getpid()

#: The living executors. At exit they end before mpi4py ends its own: the steps run in reverse order of their
#: registration, and mpi4py has registered its step by now.
executors: Final = Lifecycle(close=lambda _: None)


class _EndOfJob:
    """Ends our executors before mpi4py ends the job's workers, which it does when the program's file has run.

    mpi4py keeps its threads and their queues in the order in which they were added. It puts None into each queue, and
    then joins each thread. This object is added first, as both.
    """

    def put(self, _: None) -> None:
        for executor in executors.all():
            executor.shutdown()

    def join(self) -> None:
        pass


_end_of_job: Final = _EndOfJob()  # mpi4py refers to it weakly


class MPIEngine:
    """The workers of one executor.

    Args:
        max_workers: How many processes to start; None for one for each CPU. In a job that
            `mpiexec … -m mpi4py.futures` has started, the workers are its ranks but the first.

    Raises:
        BackendUnavailableError: MPI can start no workers from this process.
    """

    def __init__(self, max_workers: int | None) -> None:
        if system.getpid() != _PID:
            raise _refusal("the process was forked, and MPI stays with the parent; make the executor there")
        if _core.SharedPool is not None:
            _core.SharedPool.threads.setdefault(_end_of_job, _end_of_job)
            ranks = max(1, MPI.COMM_WORLD.size - 1)  # with one rank, mpi4py runs the calls in a thread of it
            self.max_workers: int = min(max_workers or ranks, ranks)
        else:
            _check_can_start()
            self.max_workers = max_workers or usable_processors()
        # Functions of the main program travel by value, so that workers need not run it again.
        self._pool = MPIPoolExecutor(self.max_workers, main=False, path=list(sys.path))
        self._pool.bootup(wait=False)
        pool = self._pool._pool
        while not pool.event.wait(_START_INTERVAL):
            if not pool.thread.is_alive() and not pool.event.is_set():
                raise _refusal(f"MPI could not start {self.max_workers} workers: its message is on standard error")

    def attach(self, wake: Callable[[], None], fail: Callable[[str], None]) -> None:
        """See `Engine.attach`."""

    def slots(self, calls: int) -> int:
        """See `Engine.slots`."""
        return self.max_workers

    def start(self, task: Task, report: Report) -> None:
        """See `Engine.start`."""

        def end(future: Any) -> None:
            error = future.exception()
            report(future.result() if error is None else RuntimeError(f"MPI failed: {describe_error(error)}"))

        self._pool.submit(wire.run, *task).add_done_callback(end)

    def shutdown(self) -> None:
        """End the workers; ranks of the job go on, for other executors."""
        self._pool.shutdown()


def _check_can_start() -> None:
    ranks: int = MPI.COMM_WORLD.size
    if ranks > 1:
        raise _refusal(
            f"each of the {ranks} ranks runs this program and would start workers of its own; run "
            f"mpiexec -n {ranks} python -m mpi4py.futures {_program()}"
        )
    if not any(name in os.environ for name in _LAUNCHED) and shutil.which("mpiexec") is None:
        beside = Path(sys.executable).with_name("mpiexec")
        command = str(beside) if beside.exists() else "mpiexec"
        raise _refusal(
            "mpiexec has not started this process and is not on PATH, so that MPI can start no workers; run "
            f"{command} -n {usable_processors() + 1} python -m mpi4py.futures {_program()}"
        )


def _program() -> str:
    return os.path.basename(sys.argv[0] if sys.argv else "") or "program.py"


def _refusal(reason: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"backend 'mpi' (corefutures-mpi) can't be used here: {reason}")
