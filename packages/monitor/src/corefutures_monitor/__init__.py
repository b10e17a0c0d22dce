"""Watch executors at work: progress, timelines, profiles, spans and metrics of OpenTelemetry.

Guarantees: importing this package imports nothing else: a worker that unpickles an instrumented call loads
`_span_context` only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is much of the import time of a worker; type checkers know the name

if TYPE_CHECKING:
    from corefutures_monitor._opentelemetry import instrument as instrument
    from corefutures_monitor._profiling.sampling import (
        FunctionProfile as FunctionProfile,
        Profile as Profile,
        profile as profile,
    )
    from corefutures_monitor._progress.counts import ProgressCounts as ProgressCounts
    from corefutures_monitor._progress.renderers import progress_line as progress_line
    from corefutures_monitor._progress.tracking import progress as progress, track as track
    from corefutures_monitor._timelines.recording import trace as trace

_MODULES = {
    "FunctionProfile": "_profiling.sampling",
    "Profile": "_profiling.sampling",
    "ProgressCounts": "_progress.counts",
    "instrument": "_opentelemetry",
    "profile": "_profiling.sampling",
    "progress": "_progress.tracking",
    "progress_line": "_progress.renderers",
    "trace": "_timelines.recording",
    "track": "_progress.tracking",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # here for start-up time only

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
