"""What a worker process is given of its program before anything else: environment, umask, processors.

Used by the caller's side. A fork server hands on what it had when it was started, which may be long ago; spawn and fork
need nothing of this but the limits of inner threads. Guarantees: it is in place before the worker imports anything.
"""

from __future__ import annotations

import marshal
import os
import sys

from corefutures_pools.blocking import system
from corefutures_process._inner_threads import VARIABLES

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

_ARRIVAL: Final = marshal.dumps(
    compile(
        """
import os, time
known = os.environ
for key in [key for key in known if key not in environment]:
    del known[key]
moved = known.get("TZ") != environment.get("TZ")
for key, value in environment.items():
    if known.get(key) != value:
        known[key] = value
if moved and hasattr(time, "tzset"):
    time.tzset()
os.umask(umask)
try:
    if processors and os.sched_getaffinity(0) != processors:
        os.sched_setaffinity(0, processors)
except (AttributeError, OSError):  # another system, or they are gone
    pass
""",
        "<surroundings>",
        "exec",
        dont_inherit=True,
    )
)


class ProcessName(str):
    """A process's name that changes its process when it arrives there: nothing of a process arrives earlier.

    The main module is imported next, and the initializer's after that. The module search path has not arrived yet, so
    this comes as what every Python has.
    """

    __slots__ = ("__dict__",)
    _surroundings: dict[str, Any]

    def __new__(cls, name: str, surroundings: dict[str, Any]) -> ProcessName:
        """Returns `name`, with what it brings along."""
        made = super().__new__(cls, name)
        made._surroundings = surroundings
        return made

    def __reduce__(self) -> Any:
        told = {**self._surroundings, "code": _ARRIVAL, "name": str(self)}
        return eval, ("(exec(__import__('marshal').loads(code)), name)[1]", told)


def surroundings(threads: int | None) -> dict[str, Any]:
    """Returns what a worker that is started now is to find, with limits for inner threads."""
    limits = {} if threads is None else dict.fromkeys(VARIABLES, str(threads))
    processors: set[int] | None = None
    if sys.platform == "linux":
        processors = system.sched_getaffinity(0)
    return {"environment": {**os.environ, **limits}, "umask": _umask(), "processors": processors}


def _umask() -> int:
    """Returns this process's umask without changing it, where the system tells."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = system.umask(0o077)  # another thread may make a file meanwhile: rather too private than too open
    system.umask(mask)
    return mask
