"""`InterpreterPool`: what pools of interpreters do differently, over either transport.

Touches the shared machinery. Guarantees: an interpreter, which nothing can end from outside, ends after its current
call; the pool has ended only when the threads of its interpreters have.
"""

from __future__ import annotations

import logging
import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_interpreter._failures import rebuild
from corefutures_interpreter._serialization import decode_result
from corefutures_pools.blocking import threading
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.result_decoding import ResultDecoder

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.serialization import Encoder


LOGGER = logging.getLogger("concurrent.futures")

#: Seconds that calls have to stop at exit before they are abandoned.
_GRACE = 0.3


class _Decoder(ResultDecoder):
    """Decodes what interpreters send: see `ResultDecoder`."""

    def rebuild(self, body: Any) -> BaseException:
        """Return the exception that a body reports."""
        return rebuild(body, self.decode)


class InterpreterPool(WorkerPool):
    """The base class of `InterpreterSharedQueuePool` and `InterpreterPipePool`.

    Args:
        options: See `WorkerPool`.
        threads: The threads of the workers.
        encode: See `WorkerPool`.
        **parts: See `WorkerPool`.
    """

    def __init__(self, options: PoolOptions, *, threads: set[threading.Thread], encode: Encoder, **parts: Any) -> None:
        decoder = _Decoder(decode_result, encode, RuntimeError)  # not used: `rebuild` makes the causes
        super().__init__(options, encode=encode, decoder=decoder, **parts)
        self._threads = threads

    def finish_at_exit(self) -> None:
        """See `WorkerPool.finish_at_exit`; with `at_exit="abandon"` a warning names the calls that are left running."""
        if not self.daemons:
            self.finish()
            return
        from corefutures_interpreter._abandoned_calls import end_process_at_exit

        try:
            self.join_in_time(_GRACE)
        except TimeoutError as exc:
            LOGGER.warning("the program ends while calls run that it abandons: %s", exc)
            end_process_at_exit(lambda: self._threads)

    def join(self) -> None:
        """Wait for the end of the pool and of its interpreters, except in a thread of the pool."""
        super().join()
        if not self.owns_thread(threading.current_thread()):
            for thread in list(self._threads):
                thread.join()
