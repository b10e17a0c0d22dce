"""The backend authors' door: what the smallest backend needs. Each name is imported when it is first asked for.

Pools of one's own are made of the parts in `corefutures_pools`, whose modules are that distribution's door.
Workers pass through this file: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from corefutures._blocking import Lock as Lock, clock as clock, start_thread as start_thread
    from corefutures._error_text import describe_error as describe_error
    from corefutures._exceptions import (
        BrokenExecutor as BrokenExecutor,
        UnsupportedError as UnsupportedError,
        WorkerLostError as WorkerLostError,
        add_note as add_note,
    )
    from corefutures._executor import Executor as Executor
    from corefutures._foreign_code import log_failure as log_failure
    from corefutures._future import Future as Future
    from corefutures._instrumentation import register_for_dump as register_for_dump
    from corefutures._options import (
        check_count as check_count,
        check_seconds as check_seconds,
        check_text as check_text,
        shown as shown,
    )
    from corefutures.registry._description import (
        CONTRACT as CONTRACT,
        Backend as Backend,
        Capabilities as Capabilities,
        is_target as is_target,
    )
    from corefutures.registry._hook import hookimpl as hookimpl
    from corefutures.registry._messages import how_to_install as how_to_install
    from corefutures.registry._targets import load_target as load_target

_HOMES = {
    "Backend": "corefutures.registry._description",
    "BrokenExecutor": "corefutures._exceptions",
    "CONTRACT": "corefutures.registry._description",
    "Capabilities": "corefutures.registry._description",
    "Executor": "corefutures._executor",
    "Future": "corefutures._future",
    "Lock": "corefutures._blocking",
    "UnsupportedError": "corefutures._exceptions",
    "WorkerLostError": "corefutures._exceptions",
    "add_note": "corefutures._exceptions",
    "check_count": "corefutures._options",
    "check_seconds": "corefutures._options",
    "check_text": "corefutures._options",
    "clock": "corefutures._blocking",
    "describe_error": "corefutures._error_text",
    "hookimpl": "corefutures.registry._hook",
    "how_to_install": "corefutures.registry._messages",
    "is_target": "corefutures.registry._description",
    "load_target": "corefutures.registry._targets",
    "log_failure": "corefutures._foreign_code",
    "register_for_dump": "corefutures._instrumentation",
    "shown": "corefutures._options",
    "start_thread": "corefutures._blocking",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the table says it once


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Not by `importlib`: a worker interpreter would have to import that first.
        value: object = getattr(__import__(_HOMES[name], fromlist=(name,)), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
