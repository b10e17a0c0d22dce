"""The plugin module of the thread backend: describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="thread",
        factory="corefutures_thread:ThreadPoolExecutor",
        capabilities=Capabilities(same_process=True, shares_memory=True, accepts_initializer=True),
        summary="threads of this process",
        contract=(1, 0),
    )
