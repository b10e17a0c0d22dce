"""`Living`: the objects of one kind that are alive, for what concerns them all: the end of the interpreter, a fork.

Touches nothing. Guarantees: keeps none of them alive; every step is one operation of a dict, so that threads, handlers
and finalisers may come and go at any point, and a forked child finds it whole.
"""

from __future__ import annotations

import os
import weakref

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any


class Living:
    """A set of weak references.

    A `WeakSet` won't do: it can't be iterated while another thread adds to it.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """Enters an object, until it goes."""
        key, references = id(thing), self._references
        references[key] = weakref.ref(thing, lambda _: references.pop(key, None))

    def all(self) -> list[Any]:
        """Returns those that are alive at this moment."""
        return [thing for reference in list(self._references.values()) if (thing := reference()) is not None]

    def clear(self) -> None:
        """Forgets them all."""
        self._references.clear()


#: Every living executor, for `dump`.
executors = Living()

#: The environment variable that names a signal, for `dump_on_signal`.
_SIGNAL_VARIABLE = "COREFUTURES_DUMP_SIGNAL"


def enroll(executor: Any) -> None:
    """Have `dump` know an executor that has just been made; it is not kept alive."""
    executors.add(executor)
    if _SIGNAL_VARIABLE in os.environ:
        from corefutures_pools.inspection.snapshots import follow_variable  # here for start-up time only

        follow_variable(_SIGNAL_VARIABLE)
