"""The worker's side of the shared queue: reads task descriptors, finds bodies in the arena, writes frames.

Runs in another process or interpreter, so it imports hardly anything. Guarantees: a call is in the status table of its
worker before anything of it runs; see `SharedQueueTransport` for what the pool finds when a worker is killed.
"""

from __future__ import annotations

import sys

from corefutures._blocking import clock, system
from corefutures_pools.descriptors import kept_memfds, memfd_releasers
from corefutures_pools.workers.messages import (
    EXITING,
    FETCH_PAYLOAD,
    FRAME,
    INLINE_LIMIT,
    ITEM,
    PAYLOAD_SIZE,
    PONG,
    RESULT_MARSHAL,
    RESULT_PAYLOAD,
    RESULT_PICKLE,
    RESULT_SLOT,
    SLOT_LIMIT,
    SLOT_RESULT,
    STOP,
    TASK,
)
from corefutures_pools.workers.worker_loop import Reporter, end_worker, serve

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from functools import partial
    from mmap import mmap
    from typing import Any, Protocol

    from corefutures_pools.workers.payload import Payload
    from corefutures_pools.workers.serialization import Encoder
    from corefutures_pools.workers.worker_loop import Claim, Send

    class WorkerPayloadChannel(Protocol):
        """Carries payloads between a pool and one worker; the backend's own."""

        def receive(self, number: int) -> Any:
            """Return the decoded payload of call `number`, which has been asked for with FETCH_PAYLOAD."""
            ...

        def send(self, number: int, payload: Payload) -> None:
            """Send the result of call `number`; the frame that announces it follows."""
            ...

        def receive_grant(self, number: int) -> int:
            """Wait until more items of call `number` may be sent; return how many, 0 if it is to stop."""
            ...
else:
    from _functools import partial  # the one of `functools`, which would be imported for this alone


def slot_capacity(offset: int, starts: tuple[int, int]) -> int:
    """Return how many bytes of a result the slot at `offset` is good for: none if it is small, or has no memory."""
    if offset < starts[0]:
        return 0
    return INLINE_LIMIT if offset < starts[1] else SLOT_LIMIT


class SharedQueueTransport:
    """A worker's ends of the shared queue, opened; see `worker_loop.Transport` and `serve_shared_queue`.

    A worker is killed at any point; these are the steps that matter, and what the pool finds afterwards:

    1. The worker has read a task descriptor: no other worker can read it, but the pool does not know which one has
       (it resolves that by PING).
    2. The call's number is in the status table: the call is known to be this worker's, and is lost with it (E5).
    3. The call's result is in the pipe of frames: it has been delivered.
    """

    def __init__(
        self,
        tasks: int,
        frames: int,
        arena: mmap,
        status_table: memoryview,
        worker_index: int,
        slot_starts: tuple[int, int],
        channel: WorkerPayloadChannel,
        limit: int | None,
        forked: Sequence[object],
        after_calls: list[Callable[[], object]] | None,
        report: Reporter,
    ) -> None:
        self.forked = forked
        self.after_calls = [] if after_calls is None else after_calls
        self.send = self.deliver = _make_send(frames)
        self._tasks, self._limit = tasks, limit
        self._arena, self._status_table, self._worker_index = arena, status_table, worker_index
        self._slot_starts = slot_starts
        self._slot = 0  # the offset of the slot of the call that runs; 0 if it is too small for a result
        asked = len(status_table) // 2 + worker_index
        # No method: it outlives the loop, and the transport need not.
        self.cancel_requested = lambda: 0 != status_table[asked] == status_table[worker_index]
        self._channel = channel
        self._report = report

    def claims(self) -> Iterator[Claim]:
        """See `worker_loop.Transport.claims`."""
        tasks, unpack, now = self._tasks, TASK.unpack, clock.monotonic_ns
        arena, status_table, worker_index = self._arena, self._status_table, self._worker_index
        since, limit = len(status_table) // 4 + worker_index, self._limit
        large_start, view, kept = self._slot_starts[0], memoryview(arena), kept_memfds
        memfd_releasers.add(type(self))  # not itself, which need not outlive the loop
        for task in iter(partial(system.read, tasks, TASK.size), b""):  # nothing: the pool is gone
            number, offset, size = unpack(task)
            if size:
                status_table[since] = now()
                status_table[worker_index] = number
                if offset < large_start:
                    self._slot = 0
                    yield number, None if size == PAYLOAD_SIZE else arena, offset, offset + size
                else:  # a pickle is read where it is; a marshalled call begins with 0, 1 or 2
                    self._slot = offset
                    yield number, view if arena[offset] > 2 else arena, offset, offset + size
                if limit is not None:
                    limit -= 1
                    if limit == 0:
                        break
                if kept:
                    self._release_unless_busy()
            elif number == STOP:
                break
            else:  # a PING
                self.send(PONG, number)
        else:
            return
        self.send(EXITING, 0)

    def _release_unless_busy(self) -> None:
        """Close the memfds that were kept unless there are tasks, or soon will be."""
        if sys.platform == "linux":
            from corefutures._blocking import select
            from corefutures_pools.workers.shared_queue.memfds import release_idle  # hardly any worker needs it

            poll = select.poll()
            poll.register(self._tasks, select.POLLIN)
            while (due := release_idle()) is not None and not poll.poll(due * 1000 + 1):
                pass

    def fetch(self, number: int) -> Any:
        """See `worker_loop.Transport.fetch`."""
        self.send(FETCH_PAYLOAD, number)
        return self._channel.receive(number)

    def deliver_large(self, kind: int, number: int, body: bytes | Payload) -> None:
        """See `worker_loop.Transport.deliver_large`."""
        slot, room = self._slot, slot_capacity(self._slot, self._slot_starts)
        if isinstance(body, bytes):
            if kind in (RESULT_PICKLE, RESULT_MARSHAL) and len(body) <= room:
                self._arena[slot : slot + len(body)] = body
                kind, body = RESULT_SLOT, SLOT_RESULT.pack(len(body), kind)
            self.deliver(kind, number, body)
            return
        payload, kind, body = body, RESULT_PAYLOAD, b""
        try:
            size = payload.size_in_memory()
            if 0 < size <= room:
                payload.write_to(self._arena, slot)
                payload.close()
                kind, body = RESULT_SLOT, SLOT_RESULT.pack(size, RESULT_PICKLE)
            else:
                self._channel.send(number, payload)
        except BaseException as exc:
            kind, body = self._report.error(exc)
        self.deliver(kind, number, body)

    def send_payload(self, number: int, payload: Payload) -> None:
        """See `worker_loop.Transport.send_payload`."""
        self._channel.send(number, payload)
        self.send(RESULT_PAYLOAD | ITEM, number)

    def await_grant(self, number: int, *, unless_asked: bool = True) -> int:
        """See `worker_loop.Transport.await_grant`."""
        return self._channel.receive_grant(number)


def _make_send(frames: int) -> Send:
    """Return a function that writes a frame to the pipe `frames`."""
    header, write = FRAME.pack, system.write

    def send(kind: int, number: int, body: bytes = b"") -> None:
        frame = header(len(body), kind, number) + body
        sent = write(frames, frame)
        while sent < len(frame):  # a signal came between
            sent += write(frames, memoryview(frame)[sent:])

    return send


def serve_shared_queue(
    *,
    tasks: int,
    frames: int,
    arena: mmap,
    slot_starts: tuple[int, int],
    status_table: memoryview,
    worker_index: int,
    channel: WorkerPayloadChannel,
    encode: Encoder,
    prepare: Callable[[], object] | None,
    limit: int | None,
    forked: Sequence[object] = (),
    after_calls: list[Callable[[], object]] | None = None,
    decode: Callable[[Any], Any] | None = None,
    reporter: type[Reporter] = Reporter,
    is_spare: bool = False,
) -> None:
    """Run calls until STOP is read, the pipe is closed, or `limit` calls were run.

    Args:
        tasks: Descriptor of the pipe that all workers read task descriptors from.
        frames: Descriptor of this worker's own pipe back.
        arena: The memory in which inline bodies lie, and results that fit into the slot of their call.
        slot_starts: See `Arena`.
        status_table: One unsigned 64-bit number for each worker: the call that it has claimed last. In its second
            quarter another: when it did. In its second half another: the call there that was asked to stop.
        worker_index: The index of this worker's number in the status table.
        channel: Carries payloads.
        encode: Encodes results.
        prepare: The initializer, ready to be called, or None.
        limit: The maximum number of calls to run, or None.
        forked: No longer empty in a process that a call has forked, which is not the worker.
        after_calls: Called after each call; they raise nothing.
        decode: Makes an object of an inline body; unpickles it if None.
        reporter: Encodes the outcomes of calls.
        is_spare: Whether to wait for a grant before the first call is claimed.
    """
    if decode is None:
        from pickle import loads  # here for workers that unpickle nothing at first

        decode = loads
    report = reporter(encode)
    transport = SharedQueueTransport(
        tasks, frames, arena, status_table, worker_index, slot_starts, channel, limit, forked, after_calls, report
    )
    try:
        serve(transport, report=report, prepare=prepare, decode=decode, is_spare=is_spare)
    finally:
        end_worker()
