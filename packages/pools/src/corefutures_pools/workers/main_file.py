"""The file of the main module, for workers that start late.

CPython takes `__file__` out of the main module once the main thread has run it. The program goes on for its other
threads and for calls that wait, and workers that start then need the file: they run it for the functions in it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `corefutures`: the first call of a program does without `typing`
if TYPE_CHECKING:
    from typing import Any

#: The main module and its file. Replaced as a whole, by any thread.
_noted: tuple[Any, str] | None = None


def note_main_file() -> None:
    """Note the file of the main module, while a pool is made; nothing if it has none, as in an interactive session."""
    global _noted
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if type(file) is str:
        _noted = main, file


def main_file() -> str | None:
    """Return the file of the main module, also when it has been taken away; None if it has none."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    noted = _noted
    return noted[1] if file is None and noted is not None and noted[0] is main else file


def restore_main_file() -> None:
    """Give the main module the file back that was noted: multiprocessing looks for it there as a process starts."""
    noted, main = _noted, sys.modules.get("__main__")
    if noted is not None and main is not None and main is noted[0] and not hasattr(main, "__file__"):
        main.__file__ = noted[1]
