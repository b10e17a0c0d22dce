"""The plugin module of the SLURM backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    from importlib.util import find_spec

    if find_spec("submitit") is None:
        return "the package submitit, which talks to SLURM, is not installed here: pip install submitit"
    if find_spec("fcntl") is None:
        return "submitit runs on POSIX systems alone"
    return None


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="slurm",
        factory="corefutures_slurm:SlurmExecutor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True, survives_worker_loss=True, remote=True),
        summary="jobs of a SLURM cluster, by submitit: each is a worker for many calls",
        contract=(1, 1),
        unavailable_reason=_unavailable_reason,
    )
