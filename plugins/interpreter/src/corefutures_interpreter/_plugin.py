"""The plugin module of the interpreter backend: its description; imports nothing of the backend but `_availability`."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl
from corefutures_interpreter._availability import unavailable_reason


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend."""
    return Backend(
        name="interpreter",
        factory="corefutures_interpreter:InterpreterPoolExecutor",
        capabilities=Capabilities(
            same_process=True,
            pickles=True,
            accepts_initializer=True,
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
        ),
        summary="interpreters of this process, each with a GIL of its own",
        contract=(1, 1),
        unavailable_reason=unavailable_reason,
    )
