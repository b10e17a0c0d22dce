"""Clocks and calls of the operating system as Python made them, whatever stands in their places in `time` and `os`.

Touches nothing. Tools for tests replace them there, and under their own names in every module that has imported them:
so they are kept in two objects, into which nobody looks. Sleeping, locks and threads are not among them: libraries
with threads of their own replace these so that all goes on, and they are looked up at each call.
"""

from __future__ import annotations

import sys
import time

__all__ = ["clock", "original", "system"]

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`


def original(name: str) -> Any:
    """Returns a new copy of a module that is written in C, as it was before anybody changed it."""
    from importlib.util import find_spec, module_from_spec  # hardly any program needs it

    specification = find_spec(name)
    assert specification is not None
    assert specification.loader is not None
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if TYPE_CHECKING:
    import os as system
    import time as clock
    from typing import Any
else:
    _Namespace = type(sys.implementation)
    _patched = type(time.monotonic) is not type(len)  # the clocks stand still just now
    clock = _Namespace(**vars(original("time") if _patched else time))
    # What `os` is made of; nobody else uses it.
    system = _Namespace(**vars(__import__("nt" if sys.platform == "win32" else "posix")))
