"""The worker's side of the portable path: one connection, one call at a time; and how payloads cross it.

Runs in the worker; `send_payload` and `receive_payload` also in the caller's process. Touches `messages`, `payload`,
`worker_loop`, `_blocking`. Guarantees: those of `worker_loop`; a payload has no name, so nothing can be left behind.
"""

from __future__ import annotations

import sys
from functools import partial
from struct import Struct

from corefutures._blocking import _thread, original, system
from corefutures_pools.workers.messages import EXITING, FRAME, GRANT, ITEM, LAST, PAYLOAD_SIZE, RESULT_PAYLOAD, STOP
from corefutures_pools.workers.payload import PART, READ_ONLY, STREAM, unpickle
from corefutures_pools.workers.worker_loop import ConnectionLost, Reporter, end_worker, interrupts, leave_forked, serve

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final

    from corefutures_pools.workers.payload import Payload
    from corefutures_pools.workers.serialization import Encoder
    from corefutures_pools.workers.worker_loop import Claim

    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    else:
        from multiprocessing.connection import Connection

#: The head of a call: its number, and PAYLOAD_SIZE if its payload follows; an inline body follows at once. Or, with
#: GRANT, the number of a call that is a stream, and how many more items it may send.
CALL: Final = Struct("=QI")
#: In place of a body's size: call `number`, which was sent in full before, is asked to stop.
REQUEST: Final = 0xFFFF_FFFE
#: Bytes: a longer body of a frame follows in a message of its own, so that a message with a frame has a limit.
SHORT: Final = 1 << 16
_COUNT: Final = Struct("=Q")
#: Seconds of one wait for the pool.
_LONG: Final = 3600.0


class PipeTransport:
    """A worker's end of its connection to the pool; see `worker_loop.Transport` and `serve_pipe`."""

    def __init__(
        self,
        connection: Connection,
        fetch: Callable[[Connection], Any],
        ship: Callable[[Connection, Any], None],
        limit: int | None,
    ) -> None:
        self.forked: list[bool] = []
        self.after_calls: list[Callable[[], object]] = []
        if sys.platform != "win32":
            system.register_at_fork(after_in_child=partial(leave_forked, self.forked, self.after_calls))
        self.send = partial(send_frame, connection)
        self._limit = limit
        self._last = 0  # LAST, or-ed to the kind of an outcome, if it is that of the last call
        self._connection, self._fetch, self._ship = connection, fetch, ship
        self._readable = make_readable(connection)
        self._main = _thread.get_ident()
        self._number = self._asked = 0  # the call that runs, and the last one that was asked to stop
        self._granted: list[tuple[int, int]] = []  # numbers of calls, and how many more items they may send
        self._is_gone = False  # the pool is, as `cancel_requested` has found out
        # Guards reading from the connection. `serve` holds it, but from when a call has been received in full until
        # its result is sent: then `cancel_requested` does while it reads, and never waits for it: who finds it taken
        # knows nothing newer, and may be a handler that interrupts its holder.
        self._reading = _thread.allocate_lock()
        self._reading.acquire()

    def claims(self) -> Iterator[Claim]:
        """See `worker_loop.Transport.claims`."""
        receive, release, limit = self._connection.recv_bytes, self._reading.release, self._limit
        unpack, start = CALL.unpack_from, CALL.size
        while not self._last:
            try:
                message = receive()
            except EOFError:  # the pool is gone
                return
            number, size = unpack(message)
            if size == REQUEST or number & GRANT:  # that call has ended
                continue
            if number == STOP:
                self.send(EXITING, 0)
                return
            self._number = number
            if limit is not None:
                limit -= 1
                self._last = 0 if limit else LAST
            if size == PAYLOAD_SIZE:
                yield number, None, 0, 0
            else:
                release()
                yield number, message, start, start + size

    def fetch(self, number: int) -> Any:
        """See `worker_loop.Transport.fetch`."""
        try:
            return self._fetch(self._connection)
        finally:
            self._reading.release()

    def deliver(self, kind: int, number: int, body: bytes = b"") -> None:
        """See `worker_loop.Transport.deliver`."""
        self._reading.acquire()
        send_frame(self._connection, kind | self._last, number, body)

    def deliver_large(self, kind: int, number: int, body: bytes | Payload) -> None:
        """See `worker_loop.Transport.deliver_large`."""
        if isinstance(body, bytes):
            self.deliver(kind, number, body)
        else:
            self.deliver(RESULT_PAYLOAD, number)
            self._ship(self._connection, body)

    def cancel_requested(self) -> bool:
        """See `worker_loop.Transport.cancel_requested`."""
        if self._asked != self._number and not self.forked:
            self._receive_requests()
        return 0 != self._asked == self._number

    def send_payload(self, number: int, payload: Payload) -> None:
        """See `worker_loop.Transport.send_payload`."""
        self.send(RESULT_PAYLOAD | ITEM, number)
        self._ship(self._connection, payload)

    def await_grant(self, number: int, *, unless_asked: bool = True) -> int:
        """See `worker_loop.Transport.await_grant`."""
        from corefutures_pools.workers.transport import wait_natively  # only streams need it

        while not self._is_gone:
            if self.cancel_requested():
                if unless_asked:
                    break
                self._receive_requests()
            while self._granted:
                about, count = self._granted.pop(0)
                if about == number:
                    return count
            wait_natively([self._connection], _LONG)
        return 0

    def _receive_requests(self) -> None:
        """Receive what the pool has sent about the call that runs, unless another thread does."""
        is_main = _thread.get_ident() == self._main
        if is_main:
            interrupts.held = True
        if self._reading.acquire(False):
            try:
                while self._readable():
                    number, size = CALL.unpack(self._connection.recv_bytes())
                    if number & GRANT:
                        self._granted.append((number & ~GRANT, size))
                    else:
                        self._asked = number
            except (EOFError, OSError):  # the pool is gone, which is seen when the call has ended
                self._is_gone = True
            finally:
                self._reading.release()
        if is_main:
            interrupts.held = False
            if interrupts.late:
                interrupts.late = False
                raise KeyboardInterrupt


def serve_pipe(
    *,
    connection: Connection,
    encode: Encoder,
    prepare: Callable[[], object] | None,
    limit: int | None,
    decode: Callable[[Any], Any] | None = None,
    reporter: type[Reporter] = Reporter,
    fetch: Callable[[Connection], Any] | None = None,
    ship: Callable[[Connection, Any], None] | None = None,
) -> None:
    """Run calls until there is a STOP, no more connection, or `limit` calls were run.

    Args:
        connection: Leads to the pool.
        encode: Encodes results.
        prepare: The initializer, ready to be called, or None.
        limit: The maximum number of calls to run, or None.
        decode: Makes an object of an inline body; unpickles it if None.
        reporter: Encodes the outcomes of calls.
        fetch: Returns the decoded payload that was announced; through the connection if None.
        ship: Sends a payload that was announced; through the connection if None.
    """
    if decode is None:
        from pickle import loads  # here for workers that unpickle nothing at first

        decode = loads
    transport = PipeTransport(connection, fetch or receive_payload, ship or send_payload, limit)
    try:
        serve(transport, report=reporter(encode), prepare=prepare, decode=decode)
    finally:
        end_worker()


def make_readable(connection: Connection) -> Callable[[], bool]:
    """Return a function that returns whether there is anything to read: `Connection.poll` at a tenth of its cost."""
    if sys.platform == "win32":
        return lambda: connection.poll(0)
    from corefutures._blocking import select

    make: Any = getattr(select, "poll", None)
    if not isinstance(make, type(len)):  # gevent's waits for a loop, which a worker does without; eventlet's is none
        make = getattr(original("select"), "poll", None)
    if make is None:
        return lambda: connection.poll(0)
    poll = make()
    poll.register(connection.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))


def send_frame(connection: Connection, kind: int, number: int, body: bytes = b"") -> None:
    """Send a frame to the pool."""
    head = FRAME.pack(len(body), kind, number)
    if len(body) <= SHORT:
        connection.send_bytes(head + body)
    else:
        connection.send_bytes(head)
        connection.send_bytes(body)


def send_payload(connection: Connection, payload: Payload) -> None:
    """Send a payload that is held in plain memory."""
    parts = list(payload.parts())
    connection.send_bytes(_COUNT.pack(len(parts)))
    for part, kind in parts:
        connection.send_bytes(PART.pack(len(part), kind))
        if len(part):
            connection.send_bytes(part)
    payload.close()


def receive_payload(connection: Connection) -> Any:
    """Receive and decode a payload, each part into memory of its own.

    Raises:
        ConnectionLost: It did not come in full, or there was no memory for it.
        BaseException: Whatever decoding raises; the connection is at the end of the payload then.
    """
    stream: list[Any] = []
    buffers: list[Any] = []
    try:
        (count,) = _COUNT.unpack(connection.recv_bytes(_COUNT.size))
        for _ in range(count):
            size, kind = PART.unpack(connection.recv_bytes(PART.size))
            part = bytearray(size)
            if size and connection.recv_bytes_into(part) != size:
                raise EOFError("part of a payload")
            if kind == STREAM:
                stream.append(part)
            else:
                buffers.append(memoryview(part).toreadonly() if kind == READ_ONLY else part)
    except Exception as exc:  # all that is read here belongs to the protocol
        raise ConnectionLost from exc
    return unpickle(stream, buffers)
