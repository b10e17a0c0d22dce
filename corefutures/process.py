"""`concurrent.futures.process` for programs that name it: its exceptions, with our pool.

Imports nothing until it is asked for a name.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from concurrent.futures.process import BrokenProcessPool as BrokenProcessPool

    from corefutures import ProcessPoolExecutor as ProcessPoolExecutor


def __getattr__(name: str) -> object:
    from importlib import import_module  # here for start-up time only

    if name == "ProcessPoolExecutor":
        return getattr(import_module("corefutures"), name)
    return getattr(import_module("concurrent.futures.process"), name)
