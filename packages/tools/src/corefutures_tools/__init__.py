"""Choose a backend by trying: `compare`; and the commands `map`, `compare`, `new-backend` and `completion`.

Guarantees: importing this package imports nothing else: a worker that runs a batch of `map` loads `_batch` only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is much of the import time of a worker; type checkers know the name

if TYPE_CHECKING:
    from corefutures_tools._comparing.compare import compare as compare
    from corefutures_tools._comparing.measured import Trial as Trial
    from corefutures_tools._comparing.report import Comparison as Comparison

_MODULES = {
    "Comparison": "_comparing.report",
    "Trial": "_comparing.measured",
    "compare": "_comparing.compare",
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
