"""`StreamCall`: the call of a stream in a worker: each item is a frame of its own, sent at once.

Runs in another process or interpreter; imported there with the first stream. Guarantees: an item waits for no other
one; an interrupt comes between two frames, never within one.
"""

from __future__ import annotations

from corefutures._blocking import _thread, system
from corefutures_pools.streams.producing import Unstarted, is_opening, produce, start
from corefutures_pools.workers.marshalled import marshalled_result
from corefutures_pools.workers.messages import ITEM, RESULT_MARSHAL, RESULT_PICKLE
from corefutures_pools.workers.worker_loop import interrupts, serving

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_pools.workers.worker_loop import Reporter, Transport


class StreamCall:
    """What is submitted for a stream.

    Args:
        func: The generator function; called so because that is where names of calls are looked for.
        size: How many items may be ahead of the consumer.
    """

    __slots__ = ("func", "size")

    def __init__(self, func: Callable[..., Any], size: int) -> None:
        self.func = func
        self.size = size

    def __reduce__(self) -> Any:
        return StreamCall, (self.func, self.size)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the generator to its end; return its value."""
        if is_opening():
            return Unstarted(self.func, args, kwargs)
        transport, report = serving[_thread.get_ident()]
        outlet = _FrameOutlet(transport, report, interrupts.call)
        return produce(outlet, self.size, start(self.func, args, kwargs))


class _FrameOutlet:
    """Sends items as frames; see `producing.Outlet`."""

    def __init__(self, transport: Transport, report: Reporter, number: int) -> None:
        self._transport = transport
        self._send = transport.send
        self._forked = transport.forked
        self._encode = report.encode
        self._number = number
        self.stopped = transport.cancel_requested

    def send(self, item: Any) -> None:
        """See `Outlet.send`.

        Raises:
            BaseException: Whatever encoding the item raises.
        """
        body: Any = marshalled_result(item)
        kind = RESULT_MARSHAL | ITEM
        if body is None:
            body, kind = self._encoded(item), RESULT_PICKLE | ITEM
        if self._forked:
            system._exit(1)
        interrupts.held = True
        try:
            if type(body) is bytes:
                self._send(kind, self._number, body)
            else:
                self._transport.send_payload(self._number, body)
        finally:
            interrupts.held = False
            if interrupts.late:
                interrupts.late = False
                raise KeyboardInterrupt

    def _encoded(self, item: Any) -> Any:
        try:
            return self._encode(item)
        except BaseException as exc:
            from corefutures_pools.workers.pickling_errors import explain_result  # hardly any item needs it

            try:
                explain_result(exc, item)
            except BaseException:  # the item's own repr, say: the error is told as it is
                pass
            raise

    def await_credit(self) -> int:
        """See `Outlet.await_credit`."""
        return self._transport.await_grant(self._number)
