"""`concurrent.futures.interpreter` for programs that name it: its exceptions, with our pool.

Imports nothing until it is asked for a name. It is there on every Python; before 3.14 it has the pool's name only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    import sys

    if sys.version_info >= (3, 14):
        from concurrent.futures.interpreter import BrokenInterpreterPool as BrokenInterpreterPool

        from corefutures import InterpreterPoolExecutor as InterpreterPoolExecutor


def __getattr__(name: str) -> object:
    from importlib import import_module  # here for start-up time only

    if name == "InterpreterPoolExecutor":
        return getattr(import_module("corefutures"), name)
    try:
        return getattr(import_module("concurrent.futures.interpreter"), name)
    except ModuleNotFoundError as error:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r} before Python 3.14") from error
