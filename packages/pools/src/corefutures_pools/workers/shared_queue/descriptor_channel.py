"""The payload channel of processes: memory files, whose descriptors are passed over a socket; nothing is copied.

Touches payloads and `_socket`: tests that forbid sockets replace `socket.socket`. Guarantees: a payload that was sent
and not received belongs to the kernel, which frees it when the two processes end.
"""

from __future__ import annotations

import _socket
import array
import errno
import sys
from struct import Struct

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.messages import GRANT
from corefutures_pools.workers.payload import open_payload

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.workers.payload import Payload

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

#: The beginning of a message: the number of the call. A message without more says that the payload could not be sent.
_NUMBER = Struct("=Q")
#: A message that grants items of a stream: the number of its call, with GRANT, and how many.
_GRANTED = Struct("=QQ")
#: Bytes of the largest message.
_MESSAGE = 1 << 16
#: Descriptors that the kernel takes with one message.
_MAX_DESCRIPTORS = 253


def _send(socket: _socket.socket, number: int, payload: Payload, flags: int) -> None:
    header, descriptors = payload.to_memfds()
    if len(descriptors) > _MAX_DESCRIPTORS:
        raise OSError(errno.E2BIG, "too many memory files for one message: files must not be so large (ulimit -f)")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    socket.sendmsg([_NUMBER.pack(number), header], rights, flags)


def _receive(socket: _socket.socket, number: int, flags: int) -> Any:
    size = _socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS)
    message, ancillary, received, _ = socket.recvmsg(_MESSAGE, size, flags | _socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) // 4 * 4])
    try:
        if not message:
            raise EOFError("the other end of the payload channel is closed")
        (about,) = _NUMBER.unpack_from(message)
        if about & GRANT:  # for a call that has ended
            return _receive(socket, number, flags)
        if about != number:
            raise OSError(f"the payload of call {about} came in place of that of call {number}")
        if len(message) == _NUMBER.size:
            raise OSError("the payload could not be sent")
        if received & _socket.MSG_CTRUNC:  # the kernel had no descriptor left to give
            raise OSError(errno.EMFILE, system.strerror(errno.EMFILE))
        for index, descriptor in enumerate(descriptors):
            descriptors[index] = above_standard(descriptor)
        return open_payload(memoryview(message)[_NUMBER.size :], descriptors)
    finally:
        for descriptor in descriptors:
            system.close(descriptor)


def _socket_of(descriptor: int) -> _socket.socket:
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, fileno=descriptor)
    socket.settimeout(None)  # whatever the program has for a default
    return socket


class WorkerDescriptorChannel:
    """The worker's end; see `worker.WorkerPayloadChannel`."""

    def __init__(self, descriptor: int) -> None:
        self._socket = _socket_of(descriptor)

    def receive(self, number: int) -> Any:
        """See `WorkerPayloadChannel.receive`."""
        return _receive(self._socket, number, 0)

    def send(self, number: int, payload: Payload) -> None:
        """See `WorkerPayloadChannel.send`."""
        try:
            _send(self._socket, number, payload, 0)
        finally:
            payload.close()

    def receive_grant(self, number: int) -> int:
        """See `WorkerPayloadChannel.receive_grant`."""
        while message := self._socket.recv(_GRANTED.size):
            about, count = _GRANTED.unpack(message)
            if about == number | GRANT:
                return int(count)
        return 0  # the pool is gone

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class PoolDescriptorChannel:
    """The pool's end; see `interface.PayloadChannel`."""

    def __init__(self) -> None:
        pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket, self._child_socket = (_socket_of(above_standard(end.detach())) for end in pair)

    @property
    def child_end(self) -> int:
        """See `PayloadChannel.child_end`."""
        return self._child_socket.fileno()

    def close_child_end(self) -> None:
        """See `PayloadChannel.close_child_end`."""
        self._child_socket.close()

    def send(self, number: int, payload: Payload) -> None:
        """See `PayloadChannel.send`."""
        _send(self._socket, number, payload, _socket.MSG_DONTWAIT)
        payload.close()

    def refuse(self, number: int) -> None:
        """See `PayloadChannel.refuse`."""
        self._socket.send(_NUMBER.pack(number), _socket.MSG_DONTWAIT)

    def grant(self, number: int, count: int) -> None:
        """See `PayloadChannel.grant`."""
        self._socket.send(_GRANTED.pack(number | GRANT, count), _socket.MSG_DONTWAIT)

    def receive(self, number: int) -> Any:
        """See `PayloadChannel.receive`."""
        return _receive(self._socket, number, _socket.MSG_DONTWAIT)

    def close(self) -> None:
        """See `PayloadChannel.close`."""
        self._socket.close()
