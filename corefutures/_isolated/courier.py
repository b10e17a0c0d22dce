"""Carries parcels between processes: a descriptor over a socket, the bytes stay where they are.

Touches `payload` and `socket`; the worker's half is `DescriptorCourier`, the caller's `DescriptorRoute`. Guarantees:
what is under way belongs to the kernel, and goes when the two processes go.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import sys

from corefutures._isolated.payload import LABEL, open_parcel

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from typing import Any

    from corefutures._isolated.payload import Parcel

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

_ONE_DESCRIPTOR = socket.CMSG_SPACE(4)


def _send(link: socket.socket, number: int, parcel: Parcel, flags: int) -> None:
    rights = array.array("i", [parcel.spool()])
    link.sendmsg([parcel.label(number)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], flags)


def _receive(link: socket.socket, number: int, flags: int) -> Any:
    label, ancillary, _, _ = link.recvmsg(LABEL.size, _ONE_DESCRIPTOR, flags | socket.MSG_CMSG_CLOEXEC)
    if not label:
        raise EOFError("the other side is gone")
    about, count, table = LABEL.unpack(label)
    if about != number:
        raise OSError(f"a parcel for call {about} came in place of the one for call {number}")
    if not count:
        raise OSError("the parcel could not be sent")
    if not ancillary:  # the kernel had no descriptor left to give
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    descriptors = array.array("i")
    descriptors.frombytes(ancillary[0][2])
    return open_parcel(descriptors[0], count, table)


class DescriptorCourier:
    """The worker's half; see `worker.Courier`."""

    def __init__(self, descriptor: int) -> None:
        self._link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=descriptor)

    def fetch(self, number: int) -> Any:
        return _receive(self._link, number, 0)

    def ship(self, number: int, parcel: Parcel) -> None:
        try:
            _send(self._link, number, parcel, 0)
        finally:
            parcel.close()

    def close(self) -> None:
        """Closes the link."""
        self._link.close()


class DescriptorRoute:
    """The caller's half; see `crew.Route`."""

    def __init__(self) -> None:
        self._link, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @property
    def far_end(self) -> int:
        return self._far.fileno()

    def hand_over(self) -> None:
        self._far.close()

    def send(self, number: int, parcel: Parcel) -> None:
        _send(self._link, number, parcel, socket.MSG_DONTWAIT)
        parcel.close()

    def refuse(self, number: int) -> None:
        self._link.send(LABEL.pack(number, 0, 0), socket.MSG_DONTWAIT)

    def receive(self, number: int) -> Any:
        return _receive(self._link, number, socket.MSG_DONTWAIT)

    def close(self) -> None:
        self._link.close()
