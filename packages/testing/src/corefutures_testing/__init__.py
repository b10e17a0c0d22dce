"""The door of corefutures-testing: tests of programs with executors, under schedules that a seed decides.

Each name is imported when it is first asked for: worker processes pass through this file, and so does every run of
pytest, for the sake of the plugin in `corefutures_testing.plugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corefutures_testing._chaos_call import ChaosError as ChaosError
    from corefutures_testing._executor import SimulatedExecutor as SimulatedExecutor
    from corefutures_testing._exploring import explore as explore

_HOMES = {
    "ChaosError": "corefutures_testing._chaos_call",
    "SimulatedExecutor": "corefutures_testing._executor",
    "explore": "corefutures_testing._exploring",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the table says it once


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(__import__(_HOMES[name], fromlist=(name,)), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
