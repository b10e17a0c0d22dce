"""Objects as bytes: pickle protocol 5, with large buffers kept out of band in a parcel.

Touches `pickle`, `plain` and nothing of the pool; used on both sides. Guarantees: a parcel has no name anywhere (a
memfd or plain memory), so a killed process leaves nothing behind; what was encoded is a snapshot.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
from struct import Struct
from types import FunctionType

from corefutures._isolated.plain import plain_call

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final

    Buffer = bytes | bytearray | memoryview

#: Bytes; a larger body, or a single buffer of at least half of it, travels as a parcel.
INLINE_LIMIT: Final = 1 << 16
_OUT_OF_BAND: Final = INLINE_LIMIT // 2

_PROTOCOL: Final = 5
_ERROR: Final = Struct("=I")
_SEGMENT: Final = Struct("=QQB")  # offset, size, whether it may be written to
#: sent with a parcel's descriptor: the call's number, the number of segments, where their table lies
LABEL: Final = Struct("=QQQ")
_ALIGNMENT: Final = 64
_BEGINNING: Final = 512  # bytes: room for the name of a function
_PAGE: Final = 1 << 30  # no single write is larger than this

#: How many parcels may hold a descriptor at a time, and how many descriptors are left to everybody else; what is
#: beyond waits in plain memory until it is sent.
_SPOOLED_AT_MOST: Final = 32
_LEFT_TO_OTHERS: Final = 64
_spooled: set[int] = set()


class Parcel:
    """An encoded object too large to travel inline: the pickle, then its out-of-band buffers.

    Args:
        segments: The pickle and the buffers; copied before this returns.
        spool: Whether to write them into a memfd at once, where there is one.

    Thread safety: for one thread at a time.
    """

    __slots__ = ("__weakref__", "count", "descriptor", "segments", "table")

    def __init__(self, segments: Sequence[Buffer], *, spool: bool) -> None:
        self.descriptor = -1
        self.count = len(segments)
        self.table = 0
        self.segments: list[tuple[Buffer, bool]] = []
        if spool and len(_spooled) < _SPOOLED_AT_MOST and _descriptors_abound():
            try:
                self._spool([(part, _writable(part)) for part in segments])
                return
            except OSError:  # no descriptor or no memory to be had: it waits in ours
                self.close()
        self.segments = [(part if type(part) is bytes else bytearray(part), _writable(part)) for part in segments]

    def __len__(self) -> int:
        return self.table or sum(memoryview(part).nbytes for part, _ in self.segments)

    def spool(self) -> int:
        """Returns the descriptor of the memfd that holds everything, which stays the parcel's own.

        Raises:
            OSError: There is no descriptor or no memory to be had.
        """
        if self.descriptor < 0:
            self._spool(self.segments)
            self.segments = []
        return self.descriptor

    def label(self, number: int) -> bytes:
        """Returns what must be sent along with the descriptor for call `number`."""
        return LABEL.pack(number, self.count, self.table)

    def beginning(self) -> bytes:
        """Returns the beginning of the pickle."""
        if self.segments:
            return bytes(memoryview(self.segments[0][0])[:_BEGINNING])
        if sys.platform != "linux":
            raise OSError("only Linux has memory without a name")
        return os.pread(self.descriptor, _BEGINNING, 0)

    def close(self) -> None:
        """Gives everything back."""
        descriptor, self.descriptor = self.descriptor, -1
        self.segments = []
        if descriptor >= 0:
            _spooled.discard(descriptor)
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "descriptor", -1) >= 0:
            self.close()

    def _spool(self, segments: Sequence[tuple[Buffer, bool]]) -> None:
        if sys.platform != "linux":
            raise OSError("only Linux has memory without a name")
        self.descriptor = descriptor = os.memfd_create("corefutures", os.MFD_CLOEXEC)
        _spooled.add(descriptor)
        offset = 0
        table = []
        for part, writable in segments:
            offset += -offset % _ALIGNMENT
            view = memoryview(part).cast("B") if part else memoryview(b"")
            table.append(_SEGMENT.pack(offset, len(view), writable))
            offset = _write_all(descriptor, view, offset)
        self.table = offset
        _write_all(descriptor, memoryview(b"".join(table)), offset)


def _write_all(descriptor: int, view: memoryview, offset: int) -> int:
    """Writes `view` at `offset` (pwrite: no page of ours is mapped, none faults in); returns where it ends."""
    if sys.platform != "linux":
        raise OSError("only Linux has memory without a name")
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done : done + _PAGE], offset + done)
    return offset + done


def _descriptors_abound() -> bool:
    if sys.platform != "linux":
        return False
    import resource  # only large payloads need it, and only where there is a memfd

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = os.dup(0) if limit != resource.RLIM_INFINITY else 0
    if lowest:
        os.close(lowest)
    return lowest < limit - _LEFT_TO_OTHERS or limit == resource.RLIM_INFINITY


def _writable(part: Buffer) -> bool:
    return not memoryview(part).readonly


def open_parcel(descriptor: int, count: int, table: int) -> Any:
    """Decodes the object in a parcel that came as a descriptor, which is closed.

    Its buffers stay where they are: what was decoded refers to the mapped memory, which goes when it goes.
    """
    try:
        whole = memoryview(mmap.mmap(descriptor, table + count * _SEGMENT.size))
    finally:
        os.close(descriptor)
    parts = []
    for offset, size, writable in _SEGMENT.iter_unpack(whole[table:]):
        part = whole[offset : offset + size]
        parts.append(part if writable else part.toreadonly())
    return pickle.loads(parts[0], buffers=parts[1:])


class Encoder:
    """Makes bodies of objects.

    Args:
        reducers: Returns the table of reducers to be used, asked again for each new pickler; copyreg's if None.
        pickler: The class to pickle with; the standard one if None.
        spool: Whether parcels are written into a memfd, where there is one.

    Thread safety: may be called from several threads at once, and from a `__reduce__` that it has called.
    """

    def __init__(
        self,
        reducers: Callable[[], Mapping[type, Callable[[Any], Any]]] | None = None,
        pickler: Any = None,
        spool: bool = True,
    ) -> None:
        self._reducers = reducers
        self._spool = spool and hasattr(os, "memfd_create")
        self._pickler = pickler
        # Picklers to be used again: making one costs more than a tiny call. Whoever takes one out owns it.
        self._idle: list[_Picklery] = []

    def __call__(self, obj: Any) -> bytes | Parcel:
        """Returns `obj` as a body, or as a parcel if it is large.

        Raises:
            BaseException: Whatever pickling raises.
        """
        try:
            picklery = self._idle.pop()
        except IndexError:
            picklery = _Picklery(self._pickler, self._reducers)
        body, buffers = picklery.dump(obj)
        self._idle.append(picklery)  # not reached after an error: its memo would be wrong
        if not buffers and len(body) <= INLINE_LIMIT:
            return body
        return Parcel([body, *buffers], spool=self._spool)

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | Parcel:
        """Returns a call as a body or parcel for `CallReader`: function and arguments, and keywords if there are any.

        Raises:
            BaseException: Whatever pickling raises.
        """
        if not kwargs and type(fn) is FunctionType and self._pickler is None:
            body = plain_call(fn, args, INLINE_LIMIT)
            if body is not None:
                return body
        return self((fn, args, kwargs) if kwargs else (fn, args))


class _Picklery:
    """A pickler with its output and its buffers."""

    def __init__(self, pickler: Any, reducers: Callable[[], Mapping[type, Callable[[Any], Any]]] | None) -> None:
        self._out = io.BytesIO()
        self._buffers: list[memoryview] = []
        make = pickle.Pickler if pickler is None else pickler
        self._pickler = make(self._out, _PROTOCOL, buffer_callback=self._keep_in_band)
        if reducers is not None:
            self._pickler.dispatch_table = reducers()

    def dump(self, obj: Any) -> tuple[bytes, list[memoryview]]:
        self._pickler.dump(obj)
        body = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        self._pickler.clear_memo()
        buffers, self._buffers = self._buffers, []
        return body, buffers

    def _keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _OUT_OF_BAND:
            return True
        self._buffers.append(raw)
        return False


def pack_error(error: BaseException, text: str, encode: Callable[[Any], bytes]) -> bytes:
    """Returns the body of an ERROR frame: the traceback's text, which always decodes, then the exception."""
    raw = text.encode("utf-8", "backslashreplace")
    return _ERROR.pack(len(raw)) + raw + encode(error)


def split_error(body: Buffer) -> tuple[str, memoryview]:
    """Returns the text and the pickled exception of an ERROR frame."""
    view = memoryview(body)
    (size,) = _ERROR.unpack_from(view)
    start = _ERROR.size
    return str(view[start : start + size], "utf-8"), view[start + size :]
