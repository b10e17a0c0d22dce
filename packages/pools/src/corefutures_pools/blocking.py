"""Locks, threads, clocks and system calls for pools: the core's seam, see `corefutures._blocking`.

Touches the core alone.
"""

from corefutures._blocking import (
    Lock as Lock,
    ask_by as ask_by,
    cancel_requested as cancel_requested,
    clock as clock,
    current_workers as current_workers,
    nested_loops as nested_loops,
    original as original,
    run_nested_loop as run_nested_loop,
    spin_until as spin_until,
    start_thread as start_thread,
    system as system,
)
