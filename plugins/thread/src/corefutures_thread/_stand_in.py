"""`ThreadStandIn`: the object that a tool's replacement of the standard `ThreadPoolExecutor.submit` gets as `self`.

Touches the standard library's pool; imported once there is such a replacement.
"""

from __future__ import annotations

from typing import Any

from corefutures_pools.replaced_submit import StandIn
from corefutures_thread._executor import StandardPool  # as it was: programs put our class in its place


class ThreadStandIn(StandIn, StandardPool):
    """Replaces one of our executors, for one call."""

    _shutdown = False

    @property
    def _work_queue(self) -> Any:  # type: ignore[override]
        return self

    def put(self, item: Any) -> None:
        """Take the call, as the queue."""
        self.submitted = item.future, getattr(item, "task", None) or (item.fn, item.args, item.kwargs)

    def _adjust_thread_count(self) -> None:
        pass

    _resolve_work_item_task: Any = staticmethod(lambda fn, args, kwargs: (fn, args, kwargs))  # from Python 3.14 on
