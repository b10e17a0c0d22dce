"""Streams of pools with isolated workers: the pool's side; `stream_call` has the worker's.

Touches the pool by its public methods. Guarantees: items are decoded in the thread that takes them.
"""

from __future__ import annotations

from marshal import loads
from typing import TYPE_CHECKING, Any, TypeVar

from corefutures_pools.streams.stream import ItemBuffer, Stream, submit_stream
from corefutures_pools.workers.future import check_call
from corefutures_pools.workers.messages import RESULT_MARSHAL
from corefutures_pools.workers.stream_call import StreamCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from corefutures._future import Future
    from corefutures_pools.workers.call_control import CallControl
    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.result_decoding import ResultDecoder

    class _StreamingPool(Protocol):
        """What this file needs of a pool."""

        control: CallControl
        decoder: ResultDecoder


_T = TypeVar("_T")


def buffer_of(future: CallFuture[Any]) -> ItemBuffer:
    """Return the one buffer of a call that is a stream: whoever comes first makes it."""
    buffer: ItemBuffer = future.__dict__.setdefault("_stream", ItemBuffer())
    return buffer


def stream_from_workers(
    pool: _StreamingPool,
    submit: Callable[..., Future[Any]],
    fn: Callable[..., Iterable[_T]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    size: int,
) -> Stream[_T]:
    """Open a stream of a pool with isolated workers: see `PoolExecutor.stream`."""
    future, local = submit_stream(submit, StreamCall(fn, size), args, kwargs)
    buffer = ItemBuffer() if local is not None else buffer_of(check_call(future))

    def room(number: int) -> None:
        grant = buffer.grant
        if number and grant is not None and not buffer.ending:
            grant(number)

    def decode(kind: int, body: Any) -> Any:
        if kind == RESULT_MARSHAL:
            return loads(body)
        value, error = body if kind == 0 else pool.decoder.outcome(kind, body)
        if error is not None:
            raise error
        return value

    return Stream(
        future,
        buffer,
        room=room,
        lot=size - size // 2,
        decode=decode,
        ask=lambda future: pool.control.request_cancel(pool.control.own(future)),
        local=local,
    )
