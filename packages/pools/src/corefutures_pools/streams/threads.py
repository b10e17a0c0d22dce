"""Streams of pools of threads: the generator and its consumer share the buffer.

Touches the core's blocking seam. Guarantees: a producer without room sleeps, and is woken by its consumer, by a request
to stop and by the end of the pool; a worker that takes a stream of its own pool runs the generator itself.
"""

from __future__ import annotations

from collections import deque
from operator import call
from typing import TYPE_CHECKING, Any, TypeVar

from corefutures._blocking import Parker, cancel_requested, spin_until
from corefutures_pools.future import PoolFuture, ask_to_stop, begin
from corefutures_pools.streams.producing import Unstarted, is_opening, produce, start
from corefutures_pools.streams.stream import ItemBuffer, Stream, here, submit_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from corefutures._future import Future
    from corefutures_pools.helping import WorkerThread

_T = TypeVar("_T")


def stream_from_threads(
    submit: Callable[..., Future[Any]],
    fn: Callable[..., Iterable[_T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    size: int,
) -> Stream[_T]:
    """Open a stream of a pool of threads whose futures are `PoolFuture`: see `PoolExecutor.stream`."""
    buffer = ItemBuffer()
    outlet = _ThreadOutlet(buffer, size)
    buffer.grant = outlet.on_room
    future, local = submit_stream(submit, _ThreadStreamCall(fn, outlet), args, kwargs)
    if isinstance(future, PoolFuture):
        future._cf_stream = buffer
    return Stream(
        future,
        buffer,
        room=outlet.on_room,
        lot=-(-size // 4),
        decode=_decoded,
        ask=_cancel_or_ask,
        adopt=_adopted,
        local=local,
    )


def _decoded(kind: int, body: Any) -> Any:
    return body[0]


def _adopted(worker: WorkerThread, future: Any) -> Unstarted | None:
    """Take the call for this thread to run step by step, if it has not started and is of the worker's pool."""
    if not isinstance(future, PoolFuture) or not worker.adopt(future):
        return None
    started = begin(future)
    if started is None:  # it has been cancelled
        return None
    fn, args, kwargs = started
    with here():
        unstarted: Unstarted = fn(*args, **(kwargs or {}))
    return unstarted


def _cancel_or_ask(future: Any) -> None:
    if not future.cancel() and isinstance(future, PoolFuture):
        ask_to_stop(future)


class _ThreadStreamCall:
    """What is submitted for a stream to a pool of threads."""

    def __init__(self, func: Callable[..., Any], outlet: _ThreadOutlet) -> None:
        self.func = func
        self._outlet = outlet

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        if is_opening():
            return Unstarted(self.func, args, kwargs)
        return produce(self._outlet, self._outlet.size, start(self.func, args, kwargs))


class _ThreadOutlet:
    """The producer's side of a stream between threads; see `producing.Outlet`.

    A producer without room parks until half of the buffer is free: see `ItemBuffer` for why no wake-up is lost.
    """

    def __init__(self, buffer: ItemBuffer, size: int) -> None:
        self.size = size
        self._buffer = buffer
        self._enough = size // 2
        self._waiting: list[Callable[[], object]] = []
        self.stopped = cancel_requested

    def send(self, item: Any) -> None:
        """See `Outlet.send`."""
        buffer = self._buffer
        buffer.items.append((0, (item, None)))
        if buffer.waiting:
            buffer.wake()

    def on_room(self, _: int) -> None:
        """Wake the producer if it waits and has room now, or is to end; for the consumer."""
        if self._waiting and self._has_room():
            try:
                deque(map(call, iter(self._waiting.pop, None)), 0)
            except IndexError:
                pass

    def _has_room(self) -> bool:
        return self._buffer.ending or len(self._buffer.items) <= self._enough

    def await_credit(self) -> int:
        """See `Outlet.await_credit`."""
        while not (self._has_room() or spin_until(self._has_room)):
            parker = Parker()
            self._waiting.append(parker.unpark)
            try:
                if not self._has_room():
                    parker.park()
            finally:
                try:
                    self._waiting.remove(parker.unpark)
                except ValueError:
                    pass
        return max(0, self.size - len(self._buffer.items))
