"""The plugin module of the Dask backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    from importlib.util import find_spec

    if find_spec("distributed") is not None:
        return None
    return "the package distributed, Dask's scheduler, is not installed here: pip install distributed"


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="dask",
        factory="corefutures_dask:DaskExecutor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True, survives_worker_loss=True, remote=True),
        summary="Dask's distributed scheduler: processes here, or a cluster of machines",
        contract=(1, 1),
        unavailable_reason=_unavailable_reason,
    )
