"""Payloads between interpreters: through queues of `concurrent.interpreters`, without a copy.

`QueuePair` is for both sides, `PoolQueueChannel` for the pool's, `WorkerQueueChannel` for the worker's, which waits at
a pipe. Guarantees: a payload under way belongs to the queues, and is freed when they are.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from concurrent import interpreters
from struct import Struct

from corefutures_interpreter._serialization import undecodable, unload
from corefutures_pools.blocking import system
from corefutures_pools.descriptors import lifted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_interpreter._serialization import Payload

#: Written to the bell: the call's number, and whether its payload is in the queue.
_LABEL = Struct("=Q?")


class QueuePair:
    """One side of the two queues between a pool and a worker.

    Args:
        outward: The number of the queue to put payloads into; None to make both.
        inward: The number of the queue to take payloads from.
    """

    def __init__(self, outward: int | None = None, inward: int | None = None) -> None:
        if outward is None or inward is None:
            self._outward, self._inward = interpreters.create_queue(), interpreters.create_queue()
        else:
            self._outward, self._inward = interpreters.Queue(outward), interpreters.Queue(inward)

    @property
    def numbers(self) -> tuple[int, int]:
        """What the other side's counter is made of."""
        return self._inward.id, self._outward.id

    def put(self, payload: Payload) -> None:
        """Hands a payload over."""
        self._outward.put_nowait(payload.manifest())
        payload.close()

    def take(self) -> Any:
        """Returns the manifest of the payload that was handed over longest ago."""
        return self._inward.get_nowait()


def receive(counter: QueuePair) -> Any:
    """Returns the decoded payload of a worker, copied out of its memory.

    Raises:
        ImportError: Something in it could not be imported.
        NotShareableError: It could not be decoded for any other reason.
    """
    try:
        return unload(counter.take(), keep=True)
    except ImportError:
        raise
    except Exception as exc:
        raise undecodable("result", exc) from exc


class PoolQueueChannel:
    """The caller's half; see `crew.PayloadChannel`."""

    def __init__(self) -> None:
        self.counter = QueuePair()
        self._far_bell, self._bell = map(lifted, system.pipe())

    @property
    def child_end(self) -> tuple[int, tuple[int, int]]:
        return self._far_bell, self.counter.numbers

    def close_child_end(self) -> None:
        system.close(self._far_bell)

    def send(self, number: int, payload: Payload) -> None:
        self.counter.put(payload)
        system.write(self._bell, _LABEL.pack(number, True))

    def refuse(self, number: int) -> None:
        system.write(self._bell, _LABEL.pack(number, False))

    def receive(self, number: int) -> Any:
        return receive(self.counter)

    def close(self) -> None:
        bell, self._bell = self._bell, -1
        if bell >= 0:
            system.close(bell)


class WorkerQueueChannel:
    """The worker's half; see `worker.WorkerPayloadChannel`.

    Args:
        bell: The descriptor of the end to wait at.
        counter: This side's.
        decode: Decodes what `QueuePair.take` returned.
    """

    def __init__(self, bell: int, counter: QueuePair, decode: Callable[[Any], Any]) -> None:
        self._bell = bell
        self._counter = counter
        self._decode = decode

    def receive(self, number: int) -> Any:
        label = system.read(self._bell, _LABEL.size)
        if not label:
            raise EOFError("the pool is gone")
        about, sent = _LABEL.unpack(label)
        if about != number:
            raise OSError(f"a payload for call {about} came in place of the one for call {number}")
        if not sent:
            raise OSError("the payload could not be sent")
        return self._decode(self._counter.take())

    def send(self, number: int, payload: Payload) -> None:
        self._counter.put(payload)
