"""Carries payloads between processes: descriptors over a socket, the bytes stay where they are.

Touches `payload` and `_socket`: tests that forbid sockets replace `socket.socket`. The worker's half is
`WorkerDescriptorChannel`, the caller's `PoolDescriptorChannel`. Guarantees: a payload under way belongs to the
kernel, and goes when the two processes go.
"""

from __future__ import annotations

import _socket
import array
import errno
import sys
from struct import Struct

from corefutures._blocking import system
from corefutures_pools.descriptors import above_standard
from corefutures_pools.workers.payload import open_payload

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures_pools.workers.payload import Payload

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

#: What comes first in a message: the number of the call; nothing else comes if its payload could not be sent.
_NUMBER = Struct("=Q")
#: Bytes; no message is larger.
_MESSAGE = 1 << 16
#: The kernel takes no more descriptors with one message.
_MOST = 253


def _send(link: _socket.socket, number: int, payload: Payload, flags: int) -> None:
    label, descriptors = payload.to_memfds()
    if len(descriptors) > _MOST:
        raise OSError(errno.E2BIG, "too many memory files for one message: files must not be so large (ulimit -f)")
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    link.sendmsg([_NUMBER.pack(number), label], rights, flags)


def _receive(link: _socket.socket, number: int, flags: int) -> Any:
    size = _socket.CMSG_SPACE(4 * _MOST)
    message, ancillary, received, _ = link.recvmsg(_MESSAGE, size, flags | _socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, content in ancillary:
        descriptors.frombytes(content[: len(content) // 4 * 4])
    try:
        if not message:
            raise EOFError("the other side is gone")
        (about,) = _NUMBER.unpack_from(message)
        if about != number:
            raise OSError(f"a payload for call {about} came in place of the one for call {number}")
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


def _link(descriptor: int) -> _socket.socket:
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, fileno=descriptor)
    link.settimeout(None)  # whatever the program has for a default
    return link


class WorkerDescriptorChannel:
    """The worker's half; see `worker.WorkerPayloadChannel`."""

    def __init__(self, descriptor: int) -> None:
        self._link = _link(descriptor)

    def receive(self, number: int) -> Any:
        return _receive(self._link, number, 0)

    def send(self, number: int, payload: Payload) -> None:
        try:
            _send(self._link, number, payload, 0)
        finally:
            payload.close()

    def close(self) -> None:
        """Closes the link."""
        self._link.close()


class PoolDescriptorChannel:
    """The caller's half; see `crew.PayloadChannel`."""

    def __init__(self) -> None:
        pair = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._link, self._far = (_link(above_standard(end.detach())) for end in pair)

    @property
    def child_end(self) -> int:
        return self._far.fileno()

    def close_child_end(self) -> None:
        self._far.close()

    def send(self, number: int, payload: Payload) -> None:
        _send(self._link, number, payload, _socket.MSG_DONTWAIT)
        payload.close()

    def refuse(self, number: int) -> None:
        self._link.send(_NUMBER.pack(number), _socket.MSG_DONTWAIT)

    def receive(self, number: int) -> Any:
        return _receive(self._link, number, _socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._link.close()
