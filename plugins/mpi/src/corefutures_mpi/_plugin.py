"""The plugin module of the MPI backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    from importlib.util import find_spec

    if find_spec("mpi4py") is not None:
        return None
    return "the package mpi4py is not installed here: pip install mpi4py, and mpich where the machine has no MPI"


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="mpi",
        factory="corefutures_mpi:MPIExecutor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True, remote=True),
        summary="the ranks of an MPI job, by mpi4py: on the nodes of a cluster",
        contract=(1, 1),
        unavailable_reason=_unavailable_reason,
    )
