"""Calls that never enter the table of a pool: what can't be serialised, and what runs in the thread that submits it.

Touches `admission`. Guarantees: a call that is refused gives its permit back; each such call is counted.
"""

from __future__ import annotations

from corefutures._blocking import threading
from corefutures._instrumentation import instrumentation
from corefutures_pools.admission import Permit
from corefutures_pools.foreign_code import raises_again
from corefutures_pools.helping import run_call
from corefutures_pools.slot_call import SlotCall
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.serialization import RetainedCall

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from corefutures_pools.admission import PendingLimiter
    from corefutures_pools.slots import SlotScheduler
    from corefutures_pools.workers.serialization import Encoder

    class _SubmittingPool(Protocol):
        """What this file needs of a pool."""

        owner: Callable[[], Any]

        def submit(
            self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], permit: Permit | None = None
        ) -> CallFuture[Any]: ...
        def dispatch_held(self, future: Any, grant: bytes) -> None: ...
        def on_held_ended(self, future: Any) -> None: ...
        def on_held_left(self) -> None: ...
        def count(self, *whats: str) -> None: ...
        def owns_thread(self, thread: threading.Thread) -> bool: ...


class _SlotPermit(Permit):
    """The permit of a call that demands slots.

    Args:
        limiter: See `Permit`.
        slots: The scheduler of the pool.
        pool: The pool.
        call: The call.
    """

    __slots__ = ("_call", "_future", "_pool", "_slots")

    def __init__(
        self, limiter: PendingLimiter | None, slots: SlotScheduler, pool: _SubmittingPool, call: SlotCall
    ) -> None:
        super().__init__(limiter)
        self._slots, self._pool, self._call = slots, pool, call
        self._future: Any = None

    def _holds(self, future: Any) -> bool:
        """Hold the call."""
        self._future = future
        self._slots.enter(future, self._call, self._pool)
        return True

    def _submit(self, future: Any) -> None:
        """Have the call sent once it has its slots."""
        self._slots.submit(future)

    def release(self) -> None:
        """Give the place back, and hold the call no more."""
        super().release()
        if self._future is not None:
            self._slots.withdraw(self._future)


def submit_admitted(
    pool: _SubmittingPool,
    limiter: PendingLimiter | None,
    slots: SlotScheduler | None,
    fn: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> CallFuture[Any]:
    """Submit a call if fewer calls wait than may, or once that is so; and hold it if it demands slots."""
    permit = Permit(limiter)
    if slots is not None and slots.nothing is not None and type(fn) is not SlotCall and callable(fn):
        fn = slots.nothing.call(fn)
    if slots is not None and type(fn) is SlotCall:
        permit = _SlotPermit(limiter, slots, pool, fn)
    try:
        own = limiter is not None and pool.owns_thread(threading.current_thread())
        if permit.acquire(own, own_thread_runs=False):
            return pool.submit(fn, args, kwargs, permit)
        return _run_in_caller(pool, fn, args, kwargs)
    except BaseException:
        permit.release()
        raise


def refuse_unencodable(
    pool: _SubmittingPool,
    encode: Encoder,
    error: BaseException,
    fn: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    permit: Permit | None,
) -> CallFuture[Any]:
    """Return a future that has failed with `error`, which encoding its call raised (E4).

    Raises:
        BaseException: `error` is a signal handler's, not the encoder's: it does not come again.
    """
    if not (issubclass(type(error), Exception) or raises_again(error, _try_to_encode, encode, fn, args, kwargs)):
        raise error
    from corefutures_pools.workers.pickling_errors import explain  # here for start-up time only

    told = error, encode, fn, args, kwargs
    try:
        explain(*told)
    except BaseException as other:  # of an argument's own repr, say: the error stays as it is
        if not (issubclass(type(other), Exception) or raises_again(other, explain, *told)):
            raise
    finally:
        del told  # no cycle
    failed: CallFuture[Any] = CallFuture()
    if permit is not None:
        failed._cf_on_departure = permit.release
    if instrumentation.enabled and (owner := pool.owner()) is not None:
        instrumentation.track_call(owner, fn, failed)
    pool.count("unsent", "failed")
    failed._cf_settle(None, error)
    return failed


def _try_to_encode(encode: Encoder, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    body = encode.call(fn, args, kwargs)
    if isinstance(body, RetainedCall):
        body = body.body
    if not isinstance(body, bytes):
        body.close()


def _run_in_caller(pool: _SubmittingPool, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture[Any]:
    """Run a call in the thread that submits it, because no more calls may wait."""
    future: CallFuture[Any] = CallFuture()
    if instrumentation.enabled and (owner := pool.owner()) is not None:
        instrumentation.track_call(owner, fn, future)
    result, error = run_call(future, fn, args, kwargs)
    try:
        pool.count("unsent", *(() if error is None else ("failed",)))
        future._cf_settle(result, error)
        if error is not None and not issubclass(type(error), Exception):  # meant for this thread
            raise error
    finally:
        del error
    return future
