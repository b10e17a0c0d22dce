"""The plugin module of the thread backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="thread",
        factory="corefutures_thread:ThreadPoolExecutor",
        capabilities=Capabilities(
            same_process=True,
            shares_memory=True,
            accepts_initializer=True,
            asks_running=True,
            limits_pending=True,
            limits_shutdown=True,
            handles_exit=True,
            counts_calls=True,
            carries_context=True,
            runs_in_place=True,
            streams=True,
            slots=True,
            worker_values=True,
            shares_objects=True,
        ),
        summary="threads of this process",
        contract=(1, 1),
    )
