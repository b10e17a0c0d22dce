"""`InterpreterSharedQueuePool`: a pool of interpreters that take tasks from one queue, on Linux.

Touches `_pool`, `_payload_channel` and the shared machinery.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on
assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures_interpreter._payload_channel import PoolQueueChannel
from corefutures_interpreter._pool import InterpreterPool
from corefutures_pools.workers.messages import STOP
from corefutures_pools.workers.shared_queue.pool import SharedQueuePool

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.workers.pool import PoolOptions


class InterpreterSharedQueuePool(InterpreterPool, SharedQueuePool):
    """See `SharedQueuePool`."""

    def __init__(self, options: PoolOptions, **parts: Any) -> None:
        super().__init__(options, make_channel=PoolQueueChannel, **parts)

    def end_workers(self, how: str) -> None:
        """Send a STOP for each worker: nothing can end an interpreter during a call."""
        if self.queue is not None and how == "terminate":
            self.queue.send_control(STOP, len(self.connections))
