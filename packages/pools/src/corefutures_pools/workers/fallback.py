"""`Fallback`: runs in an executor of another kind what the workers of a pool refuse to load.

Touches the two pools. Guarantees: a refused call keeps its future, its place and its worker until it has ended, so that
cancelling, limits, shutdown and exit treat it as a call that runs (E1, E3, E6); it ends once, whatever ends first.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from functools import partial

from corefutures._blocking import Lock, system
from corefutures_pools.admission import Permit
from corefutures_pools.future import LOGGER
from corefutures_pools.workers.messages import REFUSED, REFUSED_NUMBER
from corefutures_pools.workers.refused_call import RefusedCall, SentBack
from corefutures_pools.workers.snapshot import described
from corefutures_pools.workers.streams import buffer_of

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from corefutures._future import Future
    from corefutures_pools.workers.executor import IsolatedExecutor
    from corefutures_pools.workers.pool import WorkerPool


class _Moved:
    """A refused call, while its worker waits.

    Args:
        connection: Of that worker.
        number: The number of the call.

    Attributes:
        future: That of the same call in the other pool; None before it has been submitted, or if it could not be.
        outcome: Its result and its exception, once it has ended.
    """

    __slots__ = ("connection", "future", "number", "outcome")

    def __init__(self, connection: Any, number: int) -> None:
        self.connection = connection
        self.number = number
        self.future: Future[Any] | None = None
        self.outcome: tuple[Any, BaseException | None] | None = None


class _SameItems(Permit):
    """Admits a call, whose items go to the buffer of another one; it is set before a worker can have the call."""

    __slots__ = ("_buffer",)

    def __init__(self, buffer: Any) -> None:
        super().__init__(None)
        self._buffer = buffer

    def _holds(self, future: Any) -> bool:
        future._stream = self._buffer
        return False


class Fallback:
    """Runs the refused calls of one pool.

    1. A worker could not load a call. It sends the call back, as an item that is a `SentBack`, and waits for a grant.
       For all others the call runs there: it can't be cancelled, and it holds its slots.
    2. A thread of the pool enters the call in `_moved`, and submits it to the other executor.
    3. When it has ended there, its outcome is stored, and then the worker gets its grant.
    4. The worker sends an ERROR that says REFUSED. The pool's decoder asks here for the outcome, and the call ends as
       any other.

    A request to stop is noted with the future, and then passed on if the call has a future there; step 2 first sets
    that future, and then looks for a request. So a request that comes between is passed on.

    Args:
        pool: The pool.
        make: Makes the other executor, at the first refused call.
        readers: By the name in an item: the function that `RefusedCall` reads a call with.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(
        self, pool: WorkerPool, make: Callable[[], IsolatedExecutor], readers: Mapping[str, Callable[..., Any]]
    ) -> None:
        self._pool = pool
        self._make = make
        self._readers = readers
        # Guards that there is one executor, and none once the pool has ended. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._executor: IsolatedExecutor | None = None
        self._ended = False
        self._process = system.getpid()
        self._moved: dict[int, _Moved] = {}
        self._told: set[str] = set()

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, connection: Any, number: int, sent: SentBack) -> None:
        """Take a call that the worker of a connection has sent back; its number is given."""
        moved = _Moved(connection, number)
        future = self._pool.calls.get(number)
        if future is None:  # the pool broke, and released those that wait; or will
            self._pool.grant(connection, number, 1)
            return
        self._moved[number] = moved
        future._cf_on_departure = partial(self._leave, number, future._cf_on_departure)
        try:
            self._pool.count("refused")
            self._tell(sent.reason)
            permit = _SameItems(buffer_of(future))  # whose consumer may be about to ask for it, if the call is a stream
            named = described(self._pool, future)
            there = self._opened()._cf_pool.submit(
                RefusedCall(self._readers[sent.reader], sent.content), (), {}, permit
            )
            there._cf_name = named
        except BaseException as exc:
            self._release(moved, None, exc)
            return
        moved.future = there
        there.add_done_callback(partial(self._end_call, moved))
        if future._stop_asked:
            self.ask(number)

    def _tell(self, reason: str) -> None:
        if reason not in self._told:
            self._told.add(reason)
            LOGGER.warning(
                "a worker of the %s could not load a call, which runs in a process: %s", self._pool.name, reason
            )

    def _end_call(self, moved: _Moved, future: Future[Any]) -> None:
        """Store the outcome of a call of the other executor, and wake its first worker."""
        if system.getpid() != self._process:  # a forked child has neither
            return
        if future.cancelled():
            self._release(moved, None, CancelledError("the call was asked to stop before it began in a process"))
        else:
            error = future.exception()
            self._release(moved, None if error is not None else future.result(), error)

    def _release(self, moved: _Moved, result: Any, error: BaseException | None) -> None:
        """Store the outcome of a call, and let its worker go on; break the pool if that of the processes is broken."""
        moved.outcome = result, error
        executor = self._executor
        reason = None if executor is None or self._ended else executor._cf_pool.broken_reason
        if reason is not None:
            cause = None if error is None else error.__cause__
            self._pool.mark_broken(f"the processes of what it refused are broken: {reason}", cause)
        self._pool.grant(moved.connection, moved.number, 1)

    def _leave(self, number: int, depart: Callable[[], object] | None) -> None:
        """Forget a call that has ended; release its worker if that still waits, because the pool broke."""
        moved = self._moved.pop(number, None)
        if moved is not None and moved.outcome is None and system.getpid() == self._process:
            self._pool.grant(moved.connection, number, 1)
        if depart is not None:
            depart()

    def outcome(self, body: Any) -> tuple[Any, BaseException | None]:
        """Return the outcome of the call that an ERROR frame with this body tells of; the same if asked again."""
        (number,) = REFUSED_NUMBER.unpack_from(body, len(REFUSED))
        moved = self._moved.get(number)
        outcome = None if moved is None else moved.outcome
        return (None, None) if outcome is None else outcome  # without an outcome the call has ended already

    def ask(self, number: int) -> None:
        """Ask a call to stop if it runs there."""
        moved = self._moved.get(number)
        executor = self._executor
        if moved is not None and moved.future is not None and executor is not None:
            executor.request_cancel(moved.future)

    # ── the executor ─────────────────────────────────────────────────────────────────────────────────────

    def _opened(self) -> IsolatedExecutor:
        """Return the other executor; make it if there is none.

        Raises:
            BaseException: Whatever making it raises.
        """
        executor = self._executor
        if executor is not None:
            return executor
        made = self._make()
        made._cf_pool.ends_with_another = True
        ended = False
        if self._lock.taken:
            if not (ended := self._ended) and self._executor is None:
                self._executor = made
            self._lock.release()
        executor = self._executor
        if executor is not made:  # another thread was faster; or it has ended
            made.shutdown(wait=False)
        if ended or executor is None:
            raise RuntimeError(f"the {self._pool.name} has ended")
        return executor

    def _taken_out(self) -> IsolatedExecutor | None:
        executor = None
        if self._lock.taken:
            self._ended = True
            executor = self._executor
            self._lock.release()
        return None if system.getpid() != self._process else executor

    def end(self, *, wait: bool) -> None:
        """End the executor: the pool has no more calls."""
        executor = self._taken_out()
        if executor is not None:
            executor._cf_pool.close(wait=wait)

    def kill(self) -> None:
        """End the executor at once: the pool is broken, or its calls are abandoned."""
        executor = self._taken_out()
        if executor is not None:
            executor._cf_pool.stop_workers("kill")

    def interrupt(self) -> None:
        """Interrupt the calls that run there: Ctrl-C."""
        executor = self._executor
        if executor is not None:
            executor._cf_pool.control.interrupt()
