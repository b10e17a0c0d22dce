"""What a tool's replacement of the standard `ProcessPoolExecutor.submit` works on; loaded once there is one.

Touches the door and the standard library's pool.
"""

from __future__ import annotations

from typing import Any

from corefutures_pools.replaced_submit import StandIn
from corefutures_process._executor import _StandardPool  # as it was: programs put our class in its place


class StandardPoolProxy(StandIn, _StandardPool):
    """Stands in for one of our executors, for one call."""

    _shutdown_thread = False
    _queue_count = 0
    _safe_to_dynamically_spawn_children = False

    @property
    def _pending_work_items(self) -> Any:  # type: ignore[override]
        return self

    _work_ids: Any = _pending_work_items
    _executor_manager_thread_wakeup: Any = _pending_work_items

    def __setitem__(self, number: int, item: Any) -> None:
        self.submitted = item.future, (item.fn, item.args, item.kwargs)

    def put(self, number: int) -> None:
        """Does nothing: as of the queue of numbers."""

    def wakeup(self) -> None:
        """Does nothing: as of what wakes the pool's thread."""

    def _adjust_process_count(self) -> None:
        pass

    def _start_executor_manager_thread(self) -> None:
        pass
