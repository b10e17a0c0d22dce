"""In a worker process or interpreter: whether its call was asked to stop.

Imports nothing, because every worker imports it. The loops that run calls put a probe here, `cancel_requested` asks it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable

#: Returns whether the call that runs here was asked to stop; None where calls don't come from elsewhere.
probe: Callable[[], bool] | None = None


def ask_by(asked: Callable[[], bool]) -> None:
    """Makes this the worker of a pool, whose calls learn from `asked` that they should stop."""
    global probe
    probe = asked
    hosting = sys.modules.get("corefutures._hosting")
    if hosting is not None:  # forked, perhaps by a thread that hosted a call: it hosts none here
        hosting.hosts.clear()
