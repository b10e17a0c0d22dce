"""Locks, threads, clocks and system calls for pools: the core's seam, see `corefutures._blocking`.

Touches the core alone.
"""

from corefutures._blocking import (
    Lock as Lock,
    Parker as Parker,
    cancel_requested as cancel_requested,
    clock as clock,
    current_workers as current_workers,
    nested_loops as nested_loops,
    original as original,
    run_nested_loop as run_nested_loop,
    set_cancel_probe as set_cancel_probe,
    spin_until as spin_until,
    start_thread as start_thread,
    system as system,
)
