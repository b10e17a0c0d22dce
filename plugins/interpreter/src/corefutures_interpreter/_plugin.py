"""The plugin module of the interpreter backend: describes it, imports nothing of it."""

from __future__ import annotations

import sys

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    if sys.version_info >= (3, 14):
        try:
            import _interpqueues  # noqa: F401 - whether this build
            import _interpreters  # noqa: F401 - can have other interpreters
        except ImportError:
            return "this build of Python has no concurrent.interpreters"
        return None
    return (
        "it needs Python 3.14 or newer: there is no concurrent.interpreters before, and on 3.13 two interpreters"
        " that import datetime at once crash Python itself"
    )


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
        ),
        summary="interpreters of this process, each with a GIL of its own",
        contract=(1, 0),
        unavailable_reason=_unavailable_reason,
    )
