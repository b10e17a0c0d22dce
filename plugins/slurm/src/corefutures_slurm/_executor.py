"""`SlurmExecutor`: the executor in jobs of a SLURM cluster.

Touches the toolkit. Guarantees: options are checked before anything is submitted.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corefutures import BackendUnavailableError
from corefutures_pools.cpu import usable_processors
from corefutures_pools.engines.executor import EngineExecutor
from corefutures_pools.options import (
    check_choice,
    check_count,
    check_initializer,
    check_seconds,
    check_text,
    shown,
)
from corefutures_slurm._plugin import corefutures_backend

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

#: Seconds of work in a measured chunk: some ten round trips.
_CHUNK_SECONDS: Final = 0.2


class SlurmExecutor(EngineExecutor):
    """Runs calls in jobs of a SLURM cluster.

    Each job is a worker, which runs many calls, one after the other; jobs are submitted as calls need them, together
    as an array. Calls and results are files in a folder of the executor's own, which is removed at its end.

    Args:
        max_workers: How many jobs there are at once, at most; None for as many as this machine has CPUs.
        initializer: Called in each job before its first call. If it fails, the executor is broken.
        initargs: The arguments for `initializer`.
        partition: The partition for the jobs; None for the cluster's default.
        time: The time limit of a job, in minutes. Before it ends a job takes no more calls, and another is submitted.
        mem_gb: The memory of a job, in GB; None for the cluster's default.
        cpus: The CPUs of a job.
        gpus: The GPUs of a job.
        account: Whom SLURM charges.
        qos: The quality of service.
        constraint: The features that a node must have.
        setup: Lines of shell for the start of each job, such as "module load cuda".
        sbatch: More options of `sbatch`, by their names: {"reservation": "course"}.
        folder: Where the folder of the executor is made, and all nodes see it; None for the current folder.
        idle: Seconds after which a job ends that has no call.
        cluster: "slurm"; or "local" for processes of this machine in place of jobs, to try a program: what only SLURM
            knows has no effect then.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense.
        BackendUnavailableError: There is no SLURM here.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        partition: str | None = None,
        time: int = 60,
        mem_gb: float | None = None,
        cpus: int = 1,
        gpus: int | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        setup: Sequence[str] = (),
        sbatch: Mapping[str, Any] | None = None,
        folder: str | os.PathLike[str] | None = None,
        idle: float = 300.0,
        cluster: str = "slurm",
    ) -> None:
        check_count("max_workers", max_workers)
        initargs = check_initializer(initializer, initargs)
        named = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        for name, value in named.items():
            if value is not None:
                check_text(name, value)
        check_count("time", time, optional=False)
        check_count("cpus", cpus, optional=False)
        check_count("gpus", gpus)
        check_seconds("idle", idle, positive=True)
        if mem_gb is not None and (isinstance(mem_gb, bool) or not isinstance(mem_gb, (int, float))):
            raise TypeError(f"mem_gb must be a number of GB or None, not {shown(mem_gb)}")
        if mem_gb is not None and not mem_gb > 0:
            raise ValueError(f"mem_gb must be greater than 0, not {shown(mem_gb)}")
        if isinstance(setup, str) or not isinstance(setup, Sequence):
            raise TypeError(f"setup must be a list of lines, not {shown(setup)}: write setup=[{shown(setup)}]")
        if sbatch is not None and not isinstance(sbatch, Mapping):
            raise TypeError(f"sbatch must be a mapping of options to values, not {shown(sbatch)}")
        check_choice("cluster", cluster, ("slurm", "local"))
        if cluster == "slurm" and (shutil.which("sbatch") is None or shutil.which("srun") is None):
            raise BackendUnavailableError(
                "backend 'slurm' (corefutures-slurm) can't be used here: sbatch and srun are not on PATH; run the"
                " program on a node from which jobs are submitted, or try it with cluster='local'"
            )
        from corefutures_slurm._engine import SlurmEngine  # here for start-up time only

        workers = max_workers or usable_processors()
        general = {"timeout_min": time, "mem_gb": mem_gb, "cpus_per_task": cpus, "gpus_per_node": gpus}
        parameters: dict[str, Any] = {name: value for name, value in general.items() if value is not None}
        parameters |= {f"slurm_{name}": value for name, value in named.items() if value is not None}
        parameters |= {"slurm_job_name": "corefutures", "slurm_array_parallelism": workers}
        # The call of a job that SLURM stops is lost, and must not run twice.
        parameters["slurm_additional_parameters"] = {"no-requeue": True, **(sbatch or {})}
        if setup:
            parameters["slurm_setup"] = list(setup)
        engine = SlurmEngine(cluster, Path(folder or "."), workers, parameters, idle)
        capabilities = corefutures_backend().capabilities
        super().__init__("slurm", engine, capabilities, workers, initializer, initargs, _CHUNK_SECONDS)
