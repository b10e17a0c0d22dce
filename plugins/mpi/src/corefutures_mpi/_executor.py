"""`MPIExecutor`: the executor on the ranks of an MPI job.

Touches the toolkit. Guarantees: options are checked before MPI is started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corefutures import BackendUnavailableError
from corefutures_mpi._plugin import corefutures_backend
from corefutures_pools.engines.executor import EngineExecutor
from corefutures_pools.options import check_count, check_initializer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds of work in a measured chunk: some ten round trips.
_CHUNK_SECONDS = 0.01


class MPIExecutor(EngineExecutor):
    """Runs calls on the ranks of an MPI job.

    In a program that `mpiexec -n N python -m mpi4py.futures program.py` runs, the workers are all ranks but the first,
    and all executors share them. In another program, MPI starts processes for each executor, and ends them at its
    shutdown; for that, `mpiexec` must have started the program or be on PATH.

    Args:
        max_workers: How many calls run at once, at most; None for one for each rank or CPU.
        initializer: Called in each worker before its first call. If it fails, the executor is broken.
        initargs: The arguments for `initializer`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense.
        BackendUnavailableError: There is no MPI library, or MPI can start no workers from this process.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        check_count("max_workers", max_workers)
        initargs = check_initializer(initializer, initargs)
        try:
            from corefutures_mpi._engine import MPIEngine, executors  # here because it starts MPI
        except (ImportError, RuntimeError) as exc:  # mpi4py finds no library, or one that it can't use
            raise BackendUnavailableError(
                "backend 'mpi' (corefutures-mpi) can't be used here: mpi4py finds no MPI library; install the machine's"
                f" one, or pip install mpich ({str(exc).partition(chr(10))[0]})"
            ) from exc
        engine = MPIEngine(max_workers)
        capabilities = corefutures_backend().capabilities
        super().__init__("mpi", engine, capabilities, engine.max_workers, initializer, initargs, _CHUNK_SECONDS)
        executors.add(self)
