"""Payloads between interpreters: through queues of `concurrent.interpreters`, without a copy.

`QueuePair` is for both sides, `PoolQueueChannel` for the pool's, `WorkerQueueChannel` for the worker's, which waits at
a pipe. Guarantees: a payload under way belongs to the queues, and is freed when they are.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from concurrent import interpreters
from struct import Struct

from corefutures_interpreter._serialization import load, undecodable
from corefutures_pools.blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.messages import GRANT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_interpreter._serialization import SharedPayload

#: In the pipe. Announces a payload: the call's number, and 1 if the payload is in the queue, 0 if it could not be sent.
#: Or grants items of a stream: the call's number with GRANT, and how many.
_HEADER = Struct("=QQ")


class QueuePair:
    """One side of the two queues between a pool and a worker.

    Args:
        outgoing: The id of the queue to send payloads through; None to make both queues.
        incoming: The id of the queue to receive payloads from.
    """

    def __init__(self, outgoing: int | None = None, incoming: int | None = None) -> None:
        if outgoing is None or incoming is None:
            self._outgoing, self._incoming = interpreters.create_queue(), interpreters.create_queue()
        else:
            self._outgoing, self._incoming = interpreters.Queue(outgoing), interpreters.Queue(incoming)

    @property
    def ids(self) -> tuple[int, int]:
        """The arguments of the other side's `QueuePair`."""
        return self._incoming.id, self._outgoing.id

    def send(self, payload: SharedPayload) -> None:
        """Send a payload."""
        self._outgoing.put_nowait(payload.to_views())
        payload.close()

    def receive(self) -> Any:
        """Return the views of the oldest payload that was sent and not yet received."""
        return self._incoming.get_nowait()


def receive(queues: QueuePair) -> Any:
    """Return the decoded payload of a worker, copied out of the worker's memory.

    Raises:
        ImportError: A part of the payload could not be imported.
        NotShareableError: The payload could not be decoded for any other reason.
    """
    try:
        return load(queues.receive(), copy=True)
    except ImportError:
        raise
    except Exception as exc:
        raise undecodable("result", exc) from exc


class PoolQueueChannel:
    """The pool's end; see `interface.PayloadChannel`."""

    def __init__(self) -> None:
        self.queues = QueuePair()
        self._child_pipe, self._pipe = map(above_standard, system.pipe())

    @property
    def child_end(self) -> tuple[int, tuple[int, int]]:
        """The descriptor of the worker's end of the pipe, and the ids of its queues."""
        return self._child_pipe, self.queues.ids

    def close_child_end(self) -> None:
        """See `PayloadChannel.close_child_end`."""
        system.close(self._child_pipe)

    def send(self, number: int, payload: SharedPayload) -> None:
        """See `PayloadChannel.send`."""
        self.queues.send(payload)
        system.write(self._pipe, _HEADER.pack(number, 1))

    def refuse(self, number: int) -> None:
        """See `PayloadChannel.refuse`."""
        system.write(self._pipe, _HEADER.pack(number, 0))

    def grant(self, number: int, count: int) -> None:
        """See `PayloadChannel.grant`."""
        system.write(self._pipe, _HEADER.pack(number | GRANT, count))

    def receive(self, number: int) -> Any:
        """See `PayloadChannel.receive`."""
        return receive(self.queues)

    def close(self) -> None:
        """See `PayloadChannel.close`."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            system.close(pipe)


class WorkerQueueChannel:
    """The worker's end; see `shared_queue.worker.WorkerPayloadChannel`.

    Args:
        pipe: The descriptor to read headers from.
        queues: The worker's side of the queues.
        decode: Decodes what `QueuePair.receive` returned.
    """

    def __init__(self, pipe: int, queues: QueuePair, decode: Callable[[Any], Any]) -> None:
        self._pipe = pipe
        self._queues = queues
        self._decode = decode

    def receive(self, number: int) -> Any:
        """See `WorkerPayloadChannel.receive`."""
        about, sent = GRANT, 0
        while about & GRANT:  # for a call that has ended
            header = system.read(self._pipe, _HEADER.size)
            if not header:
                raise EOFError("the pool is gone")
            about, sent = _HEADER.unpack(header)
        if about != number:
            raise OSError(f"a payload for call {about} came in place of the one for call {number}")
        if not sent:
            raise OSError("the payload could not be sent")
        return self._decode(self._queues.receive())

    def receive_grant(self, number: int) -> int:
        """See `WorkerPayloadChannel.receive_grant`."""
        while header := system.read(self._pipe, _HEADER.size):
            about, count = _HEADER.unpack(header)
            if about == number | GRANT:
                return int(count)
        return 0  # the pool is gone

    def send(self, number: int, payload: SharedPayload) -> None:
        """See `WorkerPayloadChannel.send`."""
        self._queues.send(payload)
