"""The backend authors' door: what the smallest backend needs. Each name is imported when it is first asked for.

Pools of one's own are made of the parts in `corefutures_pools`, whose modules are that distribution's door.
Workers pass through this file: it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from corefutures._exceptions import (
        BrokenExecutor as BrokenExecutor,
        UnsupportedError as UnsupportedError,
        WorkerLostError as WorkerLostError,
    )
    from corefutures._executor import Executor as Executor
    from corefutures._future import Future as Future
    from corefutures.registry._description import (
        CONTRACT as CONTRACT,
        Backend as Backend,
        Capabilities as Capabilities,
    )
    from corefutures.registry._hook import hookimpl as hookimpl

_HOMES = {
    "Backend": "corefutures.registry._description",
    "BrokenExecutor": "corefutures._exceptions",
    "CONTRACT": "corefutures.registry._description",
    "Capabilities": "corefutures.registry._description",
    "Executor": "corefutures._executor",
    "Future": "corefutures._future",
    "UnsupportedError": "corefutures._exceptions",
    "WorkerLostError": "corefutures._exceptions",
    "hookimpl": "corefutures.registry._hook",
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
