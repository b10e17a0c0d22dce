"""Locks, threads, queues, clocks, waits and system calls for pools: the core's seam, see `corefutures._blocking`.

Touches the core alone.
"""

from __future__ import annotations

from corefutures import _blocking
from corefutures._blocking import (
    Lock as Lock,
    Parker as Parker,
    cancel_requested as cancel_requested,
    clock as clock,
    current_workers as current_workers,
    is_service_thread as is_service_thread,
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


def at_once(timeout: float | None = None) -> float | None:
    """Return for how many seconds of a wait this thread may block at once: the main thread looks for signals meanwhile.

    Python runs signal handlers between two steps of the main thread, so a signal must end what blocks it. It does not
    if it comes after the last step and before the thread is asleep: with one processor under load, one Ctrl-C in a
    hundred. Nor if another thread gets it, nor on Windows. Then the wait would go on until something else ends it.

    Args:
        timeout: Seconds that the wait may take; None for no limit.

    Returns:
        At most `SIGNAL_INTERVAL` in the main thread; elsewhere `timeout`.
    """
    longest = _blocking.SIGNAL_INTERVAL
    in_main = _blocking._thread.get_ident() == _blocking._main_thread[0]
    return longest if in_main and (timeout is None or timeout > longest) else timeout


def join_thread(thread: threading.Thread, timeout: float | None = None) -> None:
    """Wait for the end of a thread as `thread.join` does; the main thread looks for signals meanwhile: see `at_once`.

    Args:
        thread: A thread that was started.
        timeout: Seconds; None for no limit.

    Raises:
        RuntimeError: The thread was not started, or is this one.
    """
    deadline = None if timeout is None else clock.monotonic() + timeout
    while (piece := at_once(timeout)) != timeout and thread.is_alive():
        thread.join(piece)
        timeout = None if deadline is None else max(0.0, deadline - clock.monotonic())
    if timeout is None:
        thread.join()
    else:
        thread.join(min(timeout, _blocking._thread.TIMEOUT_MAX))
