"""What is special about a pool of interpreters, whatever carries its calls; makes the one that this platform has.

Touches the shared machinery. Guarantees: an interpreter, which nobody can end from outside, is asked to leave once
its call is done; the pool has ended only when the threads of its interpreters have.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import threading

from corefutures_interpreter._failures import rebuild
from corefutures_interpreter._serialization import Encoder, decode_result
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.transport import supports_shared_queue

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.context import ContextVariables
    from corefutures_pools.workers.interface import WorkerLauncher


def make_pool(
    size: int,
    launcher: WorkerLauncher,
    threads: set[threading.Thread],
    serializer: str,
    broken: type[Any],
    carried: ContextVariables | None,
    **options: Any,
) -> WorkerPool:
    """Returns a pool of interpreters: `threads` are those of its workers, `carried` is what calls take along."""
    encode: Any = Encoder(serializer)
    if sys.platform == "linux" and supports_shared_queue(size):
        from corefutures_interpreter._by_tickets import InterpreterSharedQueuePool as Kind  # only Linux can import it
    else:
        from corefutures_interpreter._by_pairs import InterpreterPipePool as Kind  # type: ignore[assignment]
    if carried is not None:
        from corefutures_pools.context import ContextEncoder  # here for start-up time only

        encode = ContextEncoder(encode, carried)
    return Kind(
        size=size,
        launcher=launcher,
        threads=threads,
        encode=encode,
        decode=decode_result,
        broken=broken,
        remote_traceback=RuntimeError,  # not used: `rebuild` makes the causes
        name="interpreter pool",
        **options,
    )


class InterpreterPool(WorkerPool):
    """What both kinds have in common.

    Args:
        threads: Those of the workers.
    """

    NOT_READY_HINT = "It had not finished starting."

    def __init__(self, *, threads: set[threading.Thread], **options: Any) -> None:
        super().__init__(**options)
        self._threads = threads

    def _rebuild(self, body: Any) -> BaseException:
        return rebuild(body, self._decode)

    def join(self) -> None:
        """Waits for the end of the pool and of its interpreters, except in one of its own threads."""
        super().join()
        if not self.owns_thread(threading.current_thread()):
            for thread in list(self._threads):
                thread.join()
