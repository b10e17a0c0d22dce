"""`InterpreterPipePool`: a pool of interpreters over connections, for all platforms.

Touches `_pool`, `_payload_channel` and the shared machinery.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_interpreter._payload_channel import receive
from corefutures_interpreter._pool import InterpreterPool
from corefutures_pools.workers.pipes.pool import PipePool
from corefutures_pools.workers.transport import connection_pair
from corefutures_pools.workers.worker_loop import ConnectionLost

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.workers.pool import PoolOptions


class InterpreterPipePool(InterpreterPool, PipePool):
    """See `PipePool`; payloads travel through queues, each announced by an empty message."""

    def __init__(self, options: PoolOptions, **parts: Any) -> None:
        super().__init__(options, make_pair=connection_pair, **parts)

    def _send_payload(self, connection: Any, payload: Any) -> None:
        connection.worker.queues.send(payload)
        connection.pipe.send_bytes(b"")

    def _receive_payload(self, connection: Any) -> Any:
        try:
            connection.pipe.recv_bytes(0)
        except (EOFError, OSError) as exc:
            raise ConnectionLost from exc
        return receive(connection.worker.queues)
