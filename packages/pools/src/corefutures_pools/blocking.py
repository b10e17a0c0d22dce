"""Locks, threads, queues, clocks, waits and system calls for pools: the core's seam, see `corefutures._blocking`.

Touches the core alone.
"""

from __future__ import annotations

from corefutures import _blocking
from corefutures._blocking import (
    Lock as Lock,
    Parker as Parker,
    at_once as at_once,
    cancel_requested as cancel_requested,
    clock as clock,
    current_workers as current_workers,
    is_service_thread as is_service_thread,
    join_thread as join_thread,
    mark_service_thread as mark_service_thread,
    nested_loops as nested_loops,
    original as original,
    run_nested_loop as run_nested_loop,
    set_cancel_probe as set_cancel_probe,
    sleep as sleep,
    spin_until as spin_until,
    start_thread as start_thread,
    system as system,
)

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures._blocking import (
        queue as queue,
        select as select,
        threading as threading,
        wait_ready as wait_ready,
    )
else:

    def __getattr__(name: str) -> Any:
        """Take from the core what is imported when it is first asked for."""
        return getattr(_blocking, name)
