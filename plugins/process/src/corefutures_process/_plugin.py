"""The plugin module of the process backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    try:
        import _multiprocessing  # noqa: F401 - whether this Python can have other processes at all
    except ImportError:
        return "this Python has no multiprocessing"
    return None


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="process",
        factory="corefutures_process:ProcessPoolExecutor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True, kills_running=True),
        summary="processes of this machine",
        contract=(1, 0),
        unavailable_reason=_unavailable_reason,
    )
