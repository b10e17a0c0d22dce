"""`StandardPoolProxy`: the object that a tool's replacement of `ProcessPoolExecutor.submit` gets as `self`.

Touches the toolkit and the standard library's pool. Imported only once a tool has replaced that method.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from corefutures_pools.replaced_submit import StandIn


@cache
def proxy_class(standard_pool: Any) -> Any:
    """Return the class, a subclass of the original standard pool: programs assign our class to its name."""

    class StandardPoolProxy(StandIn, standard_pool):  # type: ignore[misc]
        """Records what the replaced method submits, for one call; see `StandIn`."""

        _shutdown_thread = False
        _queue_count = 0
        _safe_to_dynamically_spawn_children = False

        @property
        def _pending_work_items(self) -> Any:
            return self

        _work_ids: Any = _pending_work_items
        _executor_manager_thread_wakeup: Any = _pending_work_items

        def __setitem__(self, number: int, item: Any) -> None:
            self.submitted = item.future, (item.fn, item.args, item.kwargs)

        def put(self, number: int) -> None:
            """Do nothing: the queue of call numbers calls it."""

        def wakeup(self) -> None:
            """Do nothing: the wake-up object of the pool's thread calls it."""

        def _adjust_process_count(self) -> None:
            pass

        def _start_executor_manager_thread(self) -> None:
            pass

    return StandardPoolProxy
