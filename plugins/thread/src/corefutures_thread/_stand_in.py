"""`ThreadStandIn`: the object that a tool's replacement of the standard `ThreadPoolExecutor.submit` gets as `self`.

Touches the standard library's pool; imported once there is such a replacement.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from corefutures_pools.replaced_submit import StandIn


@cache
def stand_in_class(standard_pool: Any) -> Any:
    """Return the class, a subclass of the standard pool as it was: programs put our class in its place."""

    class ThreadStandIn(StandIn, standard_pool):  # type: ignore[misc]
        """Replaces one of our executors, for one call."""

        _shutdown = False

        @property
        def _work_queue(self) -> Any:
            return self

        def put(self, item: Any) -> None:
            """Take the call, as the queue."""
            self.submitted = item.future, getattr(item, "task", None) or (item.fn, item.args, item.kwargs)

        def _adjust_thread_count(self) -> None:
            pass

        _resolve_work_item_task: Any = staticmethod(lambda fn, args, kwargs: (fn, args, kwargs))  # from Python 3.14 on

    return ThreadStandIn
