"""The check whether this process may be forked: not while it has other interpreters.

Touches `_exceptions` when it refuses. CPython ends such a child before it has run a line of Python.
"""

from __future__ import annotations

import sys


def check_fork(what: str) -> None:
    """Raise UnsupportedError if a fork would end the child at once.

    Args:
        what: The subject of the message: the pool that would fork.

    Raises:
        UnsupportedError: There are other interpreters in this process.
    """
    module = sys.modules.get("_interpreters")  # without it there are none
    if module is None or len(module.list_all()) < 2:
        return
    from corefutures._exceptions import UnsupportedError  # here for workers, which do without

    raise UnsupportedError(
        f"{what} can't fork this process while it has other interpreters, as a running InterpreterPoolExecutor has:"
        " CPython ends the child with a crash; shut that pool down before, or use the start method 'forkserver' or"
        " 'spawn'"
    )
