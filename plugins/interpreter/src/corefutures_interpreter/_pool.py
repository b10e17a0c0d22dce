"""`InterpreterPool`: what pools of interpreters do differently, over either transport.

Touches the shared machinery. Guarantees: an interpreter, which nothing can end from outside, ends after its current
call; the pool has ended only when the threads of its interpreters have.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import threading

from corefutures_interpreter._failures import rebuild
from corefutures_interpreter._serialization import decode_result
from corefutures_pools.workers.pool import WorkerPool

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any


class InterpreterPool(WorkerPool):
    """The base class of `InterpreterSharedQueuePool` and `InterpreterPipePool`.

    Args:
        threads: The threads of the workers.
        **options: See `WorkerPool`.
    """

    NOT_READY_HINT = "It had not finished starting."

    def __init__(self, *, threads: set[threading.Thread], **options: Any) -> None:
        super().__init__(
            decode=decode_result,
            remote_traceback=RuntimeError,  # not used: `rebuild` makes the causes
            name="interpreter pool",
            **options,
        )
        self._threads = threads

    def _rebuild(self, body: Any) -> BaseException:
        return rebuild(body, decode_result)

    def join(self) -> None:
        """Wait for the end of the pool and of its interpreters, except in a thread of the pool."""
        super().join()
        if not self.owns_thread(threading.current_thread()):
            for thread in list(self._threads):
                thread.join()
