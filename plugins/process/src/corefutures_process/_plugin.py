"""The plugin module of the process backend: its description; imports nothing of the backend."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    from importlib.util import find_spec

    return None if find_spec("_multiprocessing") else "this Python can't start other processes"


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="process",
        factory="corefutures_process:ProcessPoolExecutor",
        capabilities=Capabilities(
            pickles=True,
            accepts_initializer=True,
            kills_running=True,
            asks_running=True,
            limits_pending=True,
            limits_shutdown=True,
            handles_exit=True,
            counts_calls=True,
            carries_context=True,
            streams=True,
            slots=True,
            worker_values=True,
            shares_objects=True,
            spares=True,
            limits_memory=True,
        ),
        summary="processes of this machine",
        contract=(1, 1),
        unavailable_reason=_unavailable_reason,
    )
