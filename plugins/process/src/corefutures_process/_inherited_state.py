"""The state of the program that a worker process inherits: environment, umask, processor affinity.

Used by the pool's side. Workers of a fork server inherit its state, which may be old; with spawn and fork only the
limits of inner threads are sent. Guarantees: the state is set before the worker imports anything of the program.
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

_SET_STATE: Final = marshal.dumps(
    compile(
        """
import os, time
known = os.environ
for key in [key for key in known if key not in environment]:
    del known[key]
zone_changed = known.get("TZ") != environment.get("TZ")
for key, value in environment.items():
    if known.get(key) != value:
        known[key] = value
if zone_changed and hasattr(time, "tzset"):
    time.tzset()
os.umask(umask)
try:
    if processors and os.sched_getaffinity(0) != processors:
        os.sched_setaffinity(0, processors)
except (AttributeError, OSError):  # another platform, or the processors are gone
    pass
""",
        "<inherited state>",
        "exec",
        dont_inherit=True,
    )
)


class StatefulName(str):
    """The name of a process, which sets the state of the process when it is unpickled: before all other arguments.

    The process imports the main module next, and then the module of the initializer. The module search path is not set
    yet, so the pickle refers to builtins alone.
    """

    __slots__ = ("__dict__",)
    _inherited: dict[str, Any]

    def __new__(cls, name: str, state: dict[str, Any]) -> StatefulName:
        """Return `name` with the state to set."""
        made = super().__new__(cls, name)
        made._inherited = state
        return made

    def __reduce__(self) -> Any:
        names = {**self._inherited, "code": _SET_STATE, "name": str(self)}
        return eval, ("(exec(__import__('marshal').loads(code)), name)[1]", names)


def inherited_state(threads: int | None) -> dict[str, Any]:
    """Return the state for a worker that is started now, with limits for inner threads."""
    limits = {} if threads is None else dict.fromkeys(VARIABLES, str(threads))
    processors: set[int] | None = None
    if sys.platform == "linux":
        processors = system.sched_getaffinity(0)
    return {"environment": {**os.environ, **limits}, "umask": _umask(), "processors": processors}


def _umask() -> int:
    """Return this process's umask, without changing it if /proc has it."""
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    mask = system.umask(0o077)  # strict, because another thread may create a file meanwhile
    system.umask(mask)
    return mask
