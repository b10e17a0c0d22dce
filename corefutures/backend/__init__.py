"""The backend authors' door: names only, each imported when it is first asked for.

A plugin module takes `Backend`, `Capabilities` and `hookimpl` from here, an executor its base
classes. Workers may pass through this file: it imports neither pluggy nor the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corefutures._executor import Executor as Executor
    from corefutures._future import Future as Future, PoolFuture as PoolFuture
    from corefutures.backend._description import (
        CONTRACT as CONTRACT,
        Backend as Backend,
        Capabilities as Capabilities,
    )
    from corefutures.backend._hook import hookimpl as hookimpl

_HOMES = {
    "Backend": "corefutures.backend._description",
    "CONTRACT": "corefutures.backend._description",
    "Capabilities": "corefutures.backend._description",
    "Executor": "corefutures._executor",
    "Future": "corefutures._future",
    "PoolFuture": "corefutures._future",
    "hookimpl": "corefutures.backend._hook",
}

__all__ = ["CONTRACT", "Backend", "Capabilities", "Executor", "Future", "PoolFuture", "hookimpl"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # here for start-up time only

    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
