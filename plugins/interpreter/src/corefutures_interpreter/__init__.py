"""The interpreter backend of corefutures: `InterpreterPoolExecutor`, on Python 3.14 and newer.

The class is imported on first use: worker interpreters import this file, and nothing of the pool's side.
"""

from __future__ import annotations

import sys

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_interpreter needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-interpreter came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

TYPE_CHECKING = False  # type checkers take it as true; importing `typing` takes longer than creating an interpreter
if TYPE_CHECKING and sys.version_info >= (3, 14):
    from corefutures_interpreter._executor import InterpreterPoolExecutor as InterpreterPoolExecutor

__all__ = ["InterpreterPoolExecutor"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name == "InterpreterPoolExecutor":
            if sys.version_info >= (3, 14):
                from corefutures_interpreter._executor import InterpreterPoolExecutor  # here for start-up time only

                globals()[name] = InterpreterPoolExecutor
                return InterpreterPoolExecutor
            raise ImportError("InterpreterPoolExecutor needs Python 3.14 or newer")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
