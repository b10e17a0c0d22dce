"""The worker's side of the portable way: one connection, one call at a time; and how payloads cross it.

Runs in the worker; `send_payload` and `receive_payload` also in the caller's process. Touches `frames`, `payload`,
`plain`, `worker`, `_stopping`. Guarantees: as `worker`; a payload never has a name, so nothing can be left behind.
"""

from __future__ import annotations

import _thread
import pickle
import sys
from struct import Struct

from corefutures._blocking import clock, original, set_cancel_probe, system
from corefutures_pools.workers.marshalled import CallReader
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    EXITING,
    FRAME,
    INIT_FAILED,
    LAST,
    MOMENT,
    OBSERVED,
    PAYLOAD_SIZE,
    READY,
    RESULT_PAYLOAD,
    STOP,
)
from corefutures_pools.workers.payload import PART, READ_ONLY, STREAM, unpickle
from corefutures_pools.workers.worker_loop import Reporter, interrupts

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from corefutures_pools.workers.payload import Payload
    from corefutures_pools.workers.serialization import Encoder

    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    else:
        from multiprocessing.connection import Connection

#: The head of a call: its number, and PAYLOAD_SIZE if its payload follows; an inline body follows at once.
CALL: Final = Struct("=QI")
#: In place of a body's size: call `number`, which was sent in full before, is asked to stop.
REQUEST: Final = 0xFFFF_FFFE
#: Bytes: a longer body of a frame follows in a message of its own, so that a message with a frame has a limit.
SHORT: Final = 1 << 16
_COUNT: Final = Struct("=Q")


def serve_pipe(
    *,
    connection: Connection,
    encode: Encoder,
    prepare: Callable[[], object] | None,
    limit: int | None,
    decode: Callable[[Any], Any] = pickle.loads,
    reporter: type[Reporter] = Reporter,
    fetch: Callable[[Connection], Any] | None = None,
    ship: Callable[[Connection, Any], None] | None = None,
) -> None:
    """Run calls until there is a STOP, no more connection, or `limit` calls were run.

    Args:
        connection: Leads to the pool.
        encode: Encodes results.
        prepare: The initializer, ready to be called, or None.
        limit: How many calls to run at most, or None.
        decode: Makes an object of an inline body.
        reporter: Encodes what came of calls.
        fetch: Returns the decoded payload that was announced; through the connection if None.
        ship: Sends a payload that was announced; through the connection if None.
    """
    report = reporter(encode)
    take = CallReader(decode)
    fetch = fetch or receive_payload
    ship = ship or send_payload
    process, main, interruptible = system.getpid(), _thread.get_ident(), interrupts
    number = asked = 0  # the call that runs, and the last one that was asked to stop
    # Held by whoever reads: while a call runs, whoever asks whether it should stop; otherwise the loop below.
    # Nobody waits for it: who finds it taken knows nothing newer, and may be a handler that interrupts its holder.
    reading = _thread.allocate_lock()
    reading.acquire()
    spoken, header = _speaks(connection), FRAME.pack

    def probe() -> bool:
        nonlocal asked
        if asked != number and system.getpid() == process:
            is_main = _thread.get_ident() == main
            if is_main:
                interruptible.held = True
            if reading.acquire(False):
                try:
                    if spoken():
                        asked = CALL.unpack(connection.recv_bytes())[0]
                except (EOFError, OSError):  # the pool is gone, which is seen when the call has ended
                    pass
                finally:
                    reading.release()
            if is_main:
                interruptible.held = False
                if interruptible.late:
                    interruptible.late = False
                    raise KeyboardInterrupt
        return 0 != asked == number

    def send(kind: int, number: int, body: bytes = b"") -> None:
        if len(body) <= SHORT:
            connection.send_bytes(header(len(body), kind, number) + body)
        else:
            send_frame(connection, kind, number, body)

    set_cancel_probe(probe)
    if prepare is not None:
        try:
            try:
                interruptible.call = -1
                prepare()
            finally:
                interruptible.call = 0
        except BaseException as exc:
            send(INIT_FAILED, 0, report.init_failure(exc))
            return
        prepare = None
    send(READY, 0)
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:  # the pool is gone
            return
        number, size = CALL.unpack_from(message)
        if size == REQUEST:  # it has ended
            continue
        if number == STOP:
            send(EXITING, 0)
            return
        if number & OBSERVED:
            send(CALL_STARTED, number, MOMENT.pack(clock.perf_counter(), 0))
        body: Any
        try:
            if size == PAYLOAD_SIZE:
                fn, args, *kwargs = fetch(connection)
            else:
                fn, args, *kwargs = take(message[CALL.size :])
            message = b""
            reading.release()
            try:
                try:  # as in `serve_shared_queue`
                    interruptible.call = number
                    result = fn(*args, **kwargs[0]) if kwargs else fn(*args)
                finally:
                    interruptible.call = 0
            finally:
                reading.acquire()
        except ConnectionLost:
            raise
        except BaseException as exc:
            kind, body = report.error(exc)
        else:
            kind, body = report.value(result)
        if system.getpid() != process:  # forked off by the call: the pool is not ours
            system._exit(1)
        fn = args = kwargs = result = None  # dropped before the caller can know that the call is done
        if number & OBSERVED:
            send(CALL_FINISHED, number, MOMENT.pack(clock.perf_counter(), len(body)))
        last = limit == 1
        if isinstance(body, bytes):
            send(kind | last * LAST, number, body)
        else:
            send(RESULT_PAYLOAD | last * LAST, number)
            ship(connection, body)
        body = None
        if last:
            return
        if limit is not None:
            limit -= 1


def _speaks(connection: Connection) -> Callable[[], bool]:
    """Return a function that tells whether there is anything to read: `Connection.poll` at a tenth of its cost."""
    if sys.platform == "win32":
        return lambda: connection.poll(0)
    import select

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


class ConnectionLost(Exception):
    """The other side has gone in the middle of a payload."""


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
