"""Registration for `dump`: every pool that is made registers itself.

Touches the core's register of living executors; `snapshots` if the environment names a signal.
"""

from __future__ import annotations

import os

from corefutures._instrumentation import register_for_dump

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

#: The environment variable that names a signal, for `dump_on_signal`.
_SIGNAL_VARIABLE = "COREFUTURES_DUMP_SIGNAL"


def register_pool(executor: Any) -> None:
    """Have `dump` know an executor that has just been made; it is not kept alive."""
    register_for_dump(executor)
    if _SIGNAL_VARIABLE in os.environ:
        from corefutures_pools.inspection.snapshots import follow_variable  # here for start-up time only

        follow_variable(_SIGNAL_VARIABLE)
