"""`FrameReader`: reads the workers' result pipes, and parses what workers write there into frames.

Touches `messages`, the connections and the pool's table of calls. Guarantees: a frame is taken once, in the order in
which it was written, also if foreign code that a frame runs waits for the next one; what is no frame harms no call but
the one that wrote it.
"""

from __future__ import annotations

import sys
from itertools import islice
from marshal import loads

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._exceptions import WorkerLostError
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    ERROR,
    EXITING,
    FAILED,
    FETCH_PAYLOAD,
    FRAME,
    INIT_FAILED,
    INLINE_LIMIT,
    ITEM,
    ITEMS,
    PING,
    PONG,
    READY,
    RESULT_MARSHAL,
    RESULT_PAYLOAD,
    RESULT_PICKLE,
    RESULT_SLOT,
    SLOT_RESULT,
    MalformedFrame,
    check_head,
)
from corefutures_pools.workers.shared_queue.connection import READ_SIZE, WorkerConnection

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

    from corefutures_pools.workers.shared_queue.claims import ClaimResolver
    from corefutures_pools.workers.shared_queue.inline_wait import InlineWaitPool

_OUTCOMES: Final = (RESULT_MARSHAL, RESULT_PICKLE, RESULT_PAYLOAD, RESULT_SLOT, ERROR)


class FrameReader:
    """Parses what workers have written, and acts on it.

        result pipe ──receive──▶ inbox ──▶ buffer ──parse──▶ table of calls, futures, payload channel
                                (chunks)  (position)

    1. *Received*: `WorkerConnection.receive` reads and stores a chunk in one operation, whichever thread leads.
    2. *Parsed*: the leader moves a chunk behind what is left in the buffer, and takes the whole frames in there. The
       rest is the beginning of a frame.
    3. A leader that waits inline takes the one frame that it waits for from the inbox itself: see `InlineWaitPool`.

    Taking a frame may run foreign code, and that may wait: then there is a turn of the event loop within this one,
    which parses what is left. So what is under way stands in the connection:

    1. the thread that takes a frame moves `position` behind it first;
    2. the thread that has parsed a buffer puts another object in its place;
    3. a thread that finds another object there stops at once.

    Args:
        pool: The pool.
        claims: The pool's.

    Thread safety: for the result thread, as the leader.
    """

    def __init__(self, pool: InlineWaitPool, claims: ClaimResolver) -> None:
        self._pool = pool
        self._claims = claims

    def read(self, connection: WorkerConnection) -> None:
        """Read and parse all that a worker has written so far."""
        if connection.has_input:
            self.parse(connection)
        while connection.frames >= 0:
            try:
                connection.receive()
                data = connection.inbox[-1]
            except IndexError:  # it was parsed already
                continue
            except OSError:  # there is nothing more, or it was closed
                return
            self.parse(connection)
            if not data:
                self._pool.connections.disconnect(connection)
                return
            if len(data) < READ_SIZE:
                return

    def parse(self, connection: WorkerConnection) -> None:
        """Parse all that was received."""
        while True:
            if connection.inbox:
                try:  # from taking a chunk out to storing it, nothing is called after which foreign code could run
                    connection.in_transit += islice(iter(connection.inbox.popleft, None), 1)
                    connection.buffer = connection.buffer[connection.position :] + connection.in_transit[0]
                    connection.position = 0
                    del connection.in_transit[0]
                except IndexError:  # a thread that waits inline has taken it
                    pass
            if connection.buffer:
                (self._resynchronise if connection.malformed else self._parse_buffer)(connection)
            if not connection.inbox:
                return

    def _parse_buffer(self, connection: WorkerConnection) -> None:
        """Take the whole frames in the buffer."""
        pool = self._pool
        data, position = connection.buffer, connection.position
        end = len(data)
        header, header_size = FRAME.unpack_from, FRAME.size
        arena = pool.queue.arena  # type: ignore[union-attr]
        calls, free, copy, finished = pool.calls, arena.free, arena.copy, 0
        outcome, slot_result, slot_result_size = pool.decoder.outcome, SLOT_RESULT.unpack_from, SLOT_RESULT.size
        try:
            while end - position >= header_size:
                size, kind, number = header(data, position)
                start = position + header_size
                stop = start + size
                if stop > end:
                    self._check(connection, size, kind, number)
                    break
                if connection.buffer is not data:
                    return
                connection.position = stop
                if kind == RESULT_MARSHAL:
                    if not free(number):
                        self._check(connection, size, kind, number)
                    finished += 1
                    value = error = None
                    try:
                        value = loads(data[start:stop])
                    except BaseException as exc:
                        error = exc
                elif kind == RESULT_PICKLE or (kind == RESULT_SLOT and size == slot_result_size):
                    body: bytes | None
                    if kind == RESULT_PICKLE:
                        body = data[start:stop]
                    else:
                        size, kind = slot_result(data, start)
                        small = size <= INLINE_LIMIT and kind in (RESULT_MARSHAL, RESULT_PICKLE)
                        body = copy(number, size) if small else None
                        if body is None:  # a large result, or none of that call
                            self._take(connection, RESULT_SLOT, number, data[start:stop])
                            position = stop
                            continue
                    value, error = outcome(kind, body)  # which may run a turn of the event loop within this one
                    body = None
                    if not free(number):
                        self._check(connection, stop - start, kind, number)
                    finished += 1
                else:
                    self._take(connection, kind, number, data[start:stop])
                    position = stop
                    continue
                pool.settling = calls.get(number)
                future = calls.pop(number, None)  # from here on nothing can fail that would leave it without an end
                if future is not None:  # or else the pool broke
                    future._cf_settle(value, error)
                value = error = future = None
                position = stop
        except MalformedFrame as exc:
            if connection.buffer is data:
                connection.position = position
            self._on_malformed(connection, exc)
            return
        finally:
            pool.settling = None
            if finished:
                pool.supervisor.has_finished_calls = True
        if connection.buffer is data:
            connection.buffer = data[position:]
            connection.position = 0

    # ── frames ───────────────────────────────────────────────────────────────────────────────────────────

    def _take(self, connection: WorkerConnection, kind: int, number: int, body: bytes) -> None:
        """Act on any frame but a RESULT_MARSHAL."""
        pool = self._pool
        payload = kind in (FETCH_PAYLOAD, RESULT_PAYLOAD) and connection.ready and not body and number in pool.calls
        if not payload and kind not in (RESULT_PICKLE, ERROR):
            if kind in ITEMS and number in pool.calls and connection.ready:
                self._take_item(connection, kind & ~ITEM, number, body)
                return
            self._check(connection, len(body), kind, number)
        if kind in (RESULT_PICKLE, ERROR, RESULT_SLOT, RESULT_PAYLOAD):
            if kind == RESULT_PAYLOAD:
                value, error = pool.decoder.attempt(connection.channel.receive, number)
            elif kind == RESULT_SLOT:
                value, error = self._decode_slot(number, body)
            else:
                value, error = pool.decoder.outcome(kind, body)
            if not pool.queue.arena.free(number):  # type: ignore[union-attr]
                self._check(connection, len(body), kind, number)
            pool.supervisor.has_finished_calls = True
            pool.finish_call(number, value, error)
        elif kind == FETCH_PAYLOAD:
            self._send_payload(connection, number)
        elif kind == PONG:
            connection.last_pong = max(connection.last_pong, number)
        elif kind in (CALL_STARTED, CALL_FINISHED):
            pool.record_timing(kind, number, body, connection.name)
        elif kind == READY:
            pool.supervisor.on_worker_ready(connection)
        elif kind == EXITING:
            self._on_exiting(connection)
        elif kind == INIT_FAILED:
            pool.supervisor.on_init_failed(connection, pool.decoder.error(body))
        elif kind == FAILED:
            connection.failure = pool.decoder.error(body)

    def _take_item(self, connection: WorkerConnection, kind: int, number: int, body: bytes) -> None:
        """Pass on an item of a call that is a stream; its kind is that of a result."""
        item: Any = body
        if kind == RESULT_PAYLOAD:
            if body:
                raise MalformedFrame(f"an item of {len(body)} bytes that is a payload")
            kind, item = 0, self._pool.decoder.attempt(connection.channel.receive, number)
        self._pool.take_item(connection, number, kind, item)

    def _decode_slot(self, number: int, body: bytes) -> tuple[Any, BaseException | None]:
        """Return the result or the error of decoding a RESULT_SLOT frame, which `_check` has accepted."""
        arena, (size, kind) = self._pool.queue.arena, SLOT_RESULT.unpack(body)  # type: ignore[union-attr]
        if kind not in (RESULT_PICKLE, RESULT_MARSHAL):
            raise MalformedFrame(f"a result of kind {kind} in the slot of call {number}")
        if size <= INLINE_LIMIT:  # a thread that waits inline may take it as well, and give the slot back
            copy = arena.copy(number, size)
            if copy is not None:
                return self._pool.decoder.outcome(kind, copy)
            if number not in arena.slots:
                return None, None
        view = arena.view(number, size)
        if view is None:
            raise MalformedFrame(f"a result of {size} bytes in the slot of call {number}, which is smaller")
        try:
            return self._pool.decoder.outcome(kind, view)
        finally:
            view.release()

    def _check(self, connection: WorkerConnection, size: int, kind: int, number: int) -> None:
        """Raise MalformedFrame unless that worker may send a frame with this head now."""
        check_head(size, kind, number, ready=connection.ready, calls=self._pool.highest_number(number))
        if kind == PONG and not 0 < number - PING <= self._claims.pings:
            raise MalformedFrame(f"an answer to a PING that was not sent, {number}")
        if kind == EXITING and self._claims.held(connection):
            raise MalformedFrame("the last frame of a worker, in the middle of a call")

    def _send_payload(self, connection: WorkerConnection, number: int) -> None:
        pool = self._pool
        future = pool.calls.get(number)
        payload = None if future is None else future._body
        try:
            if payload is None:  # the pool is broken
                connection.channel.refuse(number)
            else:
                connection.channel.send(number, payload)
        except ConnectionError:  # the worker is dead, or can't be reached any more: its calls are lost
            pool.connections.disconnect(connection)
            return
        except OSError as exc:
            if future is not None:
                self._claims.fail(number, exc.with_traceback(None))  # whose frames refer to the payload
            try:
                connection.channel.refuse(number)
            except OSError:
                pass  # the worker is dead, or will be: it can't go on without an answer
            return
        if future is not None:
            future._body = None

    def _on_exiting(self, connection: WorkerConnection) -> None:
        """Let another worker take the place of one that exits, before that has ended."""
        connection.exiting = True
        self._pool.connections.release_index(connection)
        if connection.worker is not None:
            connection.worker.mark_exiting()
        self._pool.supervisor.replace_worker()

    # ── what is no frame ─────────────────────────────────────────────────────────────────────────────────

    def _on_malformed(self, connection: WorkerConnection, malformed: MalformedFrame) -> None:
        """Note that a call of that worker, or a library that it uses, wrote to the worker's descriptors."""
        wrote = "a call of it wrote what no worker writes to the pipe that leads to the pool"
        connection.malformed = f"{wrote}: {malformed}"
        connection.delivered_since = False
        worker = connection.worker
        if worker is None or worker.pid is not None:
            self._pool.connections.failing.add(connection)
        else:  # it can't be killed: we do with what can be parsed
            self._claims.begin(WorkerLostError(worker=worker.name, message=connection.malformed))
        self._resynchronise(connection)

    def _resynchronise(self, connection: WorkerConnection) -> None:
        """Take the frames about calls that are under way from among other bytes; see `_parse_buffer`."""
        pool = self._pool
        data, position = connection.buffer, connection.position
        end = len(data)
        while end - position >= FRAME.size:
            if connection.buffer is not data:
                return
            connection.position = position
            size, kind, number = FRAME.unpack_from(data, position)
            start = position + FRAME.size
            stop = start + size
            try:
                self._check(connection, size, kind, number)
                if number and kind != PONG and number not in pool.calls:
                    raise MalformedFrame
                if stop > end:
                    break
                if kind == RESULT_MARSHAL:
                    value = loads(data[start:stop])
                    if connection.buffer is not data:
                        return
                    connection.position = stop
                    pool.queue.arena.free(number)  # type: ignore[union-attr]
                    pool.supervisor.has_finished_calls = True
                    pool.finish_call(number, value, None)
                else:
                    if connection.buffer is not data:
                        return
                    connection.position = stop
                    self._take(connection, kind, number, data[start:stop])
            except (MalformedFrame, EOFError, ValueError, TypeError):
                connection.delivered_since = False
                position += 1
            else:
                connection.delivered_since = connection.delivered_since or kind in _OUTCOMES
                position = stop
        if connection.buffer is data:
            connection.buffer = data[position:]
            connection.position = 0
