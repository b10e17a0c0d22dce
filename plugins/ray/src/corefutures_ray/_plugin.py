"""The plugin module of the Ray backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    import sys
    from importlib.util import find_spec

    if find_spec("ray") is not None:
        return None
    if sys.version_info >= (3, 15):
        return "the package ray is not installed here, and Ray has no release for Python 3.15 (2.60 has 3.14)"
    return "the package ray is not installed here: pip install ray"


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="ray",
        factory="corefutures_ray:RayExecutor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True, survives_worker_loss=True, remote=True),
        summary="Ray's tasks: processes here, or a Ray cluster",
        contract=(1, 1),
        unavailable_reason=_unavailable_reason,
    )
