"""`InterpreterPool`: what pools of interpreters do differently, over either transport.

Touches the shared machinery. Guarantees: an interpreter, which nothing can end from outside, ends after its current
call; the pool has ended only when the threads of its interpreters have.
"""

from __future__ import annotations

import logging
import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from marshal import loads

from corefutures_interpreter._failures import rebuild
from corefutures_interpreter._serialization import decode_result
from corefutures_pools.blocking import join_thread, threading
from corefutures_pools.workers.messages import ERROR, REFUSED, RESULT_MARSHAL, RESULT_PICKLE
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.refused_call import SentBack
from corefutures_pools.workers.result_decoding import ResultDecoder

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_pools.workers.executor import IsolatedExecutor
    from corefutures_pools.workers.fallback import Fallback
    from corefutures_pools.workers.future import CallFuture
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


class _FallbackDecoder(_Decoder):
    """Asks a `Fallback` for the outcomes of calls that it has run."""

    fallback: Fallback

    def outcome(self, kind: int, body: Any) -> tuple[Any, BaseException | None]:
        """See `ResultDecoder.outcome`."""
        if kind == ERROR:
            return self.fallback.outcome(body) if _says_refused(body) else (None, self.error(body))
        return self.attempt(loads if kind == RESULT_MARSHAL else self.decode, body)


def _says_refused(body: Any) -> bool:
    return bytes(body[: len(REFUSED)]) == REFUSED


class InterpreterPool(WorkerPool):
    """The base class of `InterpreterSharedQueuePool` and `InterpreterPipePool`.

    Args:
        options: See `WorkerPool`.
        threads: The threads of the workers.
        encode: See `WorkerPool`.
        make_fallback: Makes the executor of the calls that interpreters refuse; None if these fail.
        **parts: See `WorkerPool`.
    """

    def __init__(
        self,
        options: PoolOptions,
        *,
        threads: set[threading.Thread],
        encode: Encoder,
        make_fallback: Callable[[], IsolatedExecutor] | None = None,
        **parts: Any,
    ) -> None:
        kind = _Decoder if make_fallback is None else _FallbackDecoder
        decoder = kind(decode_result, encode, RuntimeError)  # not used: `rebuild` makes the causes
        super().__init__(options, encode=encode, decoder=decoder, **parts)
        self._threads = threads
        self.fallback: Fallback | None = None
        if isinstance(decoder, _FallbackDecoder):
            assert make_fallback is not None
            from corefutures_interpreter._refused import read_inline, read_payload  # few pools need them
            from corefutures_pools.workers.fallback import Fallback

            readers: dict[str, Callable[..., Any]] = {"inline": read_inline, "payload": read_payload}
            self.fallback = decoder.fallback = Fallback(self, make_fallback, readers)

    def take_item(self, connection: Any, number: int, kind: int, body: Any) -> None:
        """See `WorkerPool.take_item`; or take a call that the worker could not load."""
        if self.fallback is not None:
            sent = None
            if kind == 0:
                sent = body[0]
            elif kind == RESULT_PICKLE and _says_refused(body):
                sent = decode_result(body[len(REFUSED) :])
            if type(sent) is SentBack:
                self.fallback.take(connection, number, sent)
                return
        super().take_item(connection, number, kind, body)

    def request_stop(self, future: CallFuture[Any]) -> bool:
        """See `WorkerPool.request_stop`; and pass the request on."""
        if self.fallback is None:
            return super().request_stop(future)  # type: ignore[safe-super]  # the transport has it
        future._stop_asked = True  # before the look at what runs elsewhere: see `Fallback`
        asked = super().request_stop(future)  # type: ignore[safe-super]  # the transport has it
        self.fallback.ask(future._number)
        return asked

    def mark_broken(self, message: str, cause: BaseException | None) -> None:
        """See `WorkerPool.mark_broken`."""
        super().mark_broken(message, cause)
        if self.fallback is not None:
            self.fallback.kill()

    def release_resources(self, *, in_child: bool = False) -> None:
        """See `WorkerPool.release_resources`."""
        super().release_resources(in_child=in_child)  # type: ignore[safe-super]  # as above
        if self.fallback is not None:
            self.fallback.end(wait=False)

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
            if self.fallback is not None:
                self.fallback.kill()
            end_process_at_exit(lambda: self._threads)

    def join(self) -> None:
        """Wait for the end of the pool and of its interpreters, except in a thread of the pool."""
        super().join()
        if not self.owns_thread(threading.current_thread()):
            for thread in list(self._threads):
                join_thread(thread)
            if self.fallback is not None:
                self.fallback.end(wait=True)
