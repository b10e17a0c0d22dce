"""The backend authors' door: what the smallest backend needs. Each name is imported when it is first asked for.

Pools of one's own are made of the parts in `corefutures_pools`, whose modules are that distribution's door.
Workers pass through this file: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from corefutures._blocking import (
        Lock as Lock,
        add_cancel_probe as add_cancel_probe,
        clock as clock,
        in_worker as in_worker,
        start_thread as start_thread,
    )
    from corefutures._error_text import describe_error as describe_error
    from corefutures._exceptions import (
        BrokenExecutor as BrokenExecutor,
        UnsupportedError as UnsupportedError,
        WorkerLostError as WorkerLostError,
    )
    from corefutures._executor import Executor as Executor
    from corefutures._foreign_code import add_note as add_note, log_failure as log_failure
    from corefutures._future import Future as Future
    from corefutures._instrumentation import attempt_number as attempt_number, register_for_dump as register_for_dump
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
    name: module
    for module, names in {
        "corefutures._blocking": ("Lock", "add_cancel_probe", "clock", "in_worker", "start_thread"),
        "corefutures._error_text": ("describe_error",),
        "corefutures._exceptions": ("BrokenExecutor", "UnsupportedError", "WorkerLostError"),
        "corefutures._executor": ("Executor",),
        "corefutures._foreign_code": ("add_note", "log_failure"),
        "corefutures._future": ("Future",),
        "corefutures._instrumentation": ("attempt_number", "register_for_dump"),
        "corefutures._options": ("check_count", "check_seconds", "check_text", "shown"),
        "corefutures.registry._description": ("CONTRACT", "Backend", "Capabilities", "is_target"),
        "corefutures.registry._hook": ("hookimpl",),
        "corefutures.registry._messages": ("how_to_install",),
        "corefutures.registry._targets": ("load_target",),
    }.items()
    for name in names
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
