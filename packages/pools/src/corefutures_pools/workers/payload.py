"""Payloads: encoded objects too large to travel inline, in memfds or in plain memory.

Touches `pickle`, `mmap` and nothing of the pool; used on both sides. Guarantees: a payload is a copy of what was
encoded; it arrives in memory of its own; it has no name in any file system, so a killed process leaves nothing behind.
"""

from __future__ import annotations

import mmap
import pickle
import sys
from struct import Struct

from corefutures._blocking import system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Final

    Buffer = bytes | bytearray | memoryview

#: Bytes: a smaller part of the pickle travels in the message itself, not in a memfd.
EMBEDDED_LIMIT: Final = 1 << 11

#: The header of a payload: the number of its parts, then size and kind of each, then the embedded parts.
_COUNT: Final = Struct("=I")
PART: Final = Struct("=QB")
EMBEDDED: Final = 0  # part of the pickle, in the message itself
STREAM: Final = 1  # part of the pickle
BUFFER: Final = 2  # an out-of-band buffer
READ_ONLY: Final = 3  # an out-of-band buffer that is read-only
CONTINUED: Final = 4  # more of the buffer before

_BEGINNING: Final = 512  # bytes: enough for the name of a function
_AMENDED_LIMIT: Final = 1 << 16  # bytes at the beginning of a pickle that may be amended
_READ_LIMIT: Final = 1 << 30  # bytes in a single read
_READ_LEAST: Final = 1 << 10  # bytes in a single read
_COMPARE_SIZE: Final = 1 << 18  # bytes that are compared at a time
_HUGE_PAGES_FROM: Final = 1 << 22  # bytes; a huge page has 2 MB, as a rule


class Segment:
    """An immutable copy of a part of a payload; several payloads may share it.

    Args:
        pieces: The content. It is copied at once, unless it is `bytes` and stays in plain memory.
        memfds: Whether to write the content into memfds at once, if descriptors and memory allow it.

    Thread safety: one thread at a time may call `to_memfds`; any thread may read the content meanwhile.
    """

    __slots__ = ("__weakref__", "files", "pieces")

    def __init__(self, pieces: Sequence[Buffer], *, memfds: bool) -> None:
        self.files: Any = ()  # memfds, and the number of bytes in each: `Memfds`, if there are any
        if memfds:
            try:
                self.files = _write_memfds(pieces, sparing=True)
                self.pieces: list[Buffer] = []
                return
            except OSError:  # no descriptor or no memory: the content stays in plain memory
                pass
        self.pieces = [piece if type(piece) is bytes else _copied(piece) for piece in pieces]

    @property
    def size(self) -> int:
        """The number of bytes in the segment."""
        return sum(map(len, self.pieces)) + sum([int(size) for _, size in self.files])

    def to_memfds(self) -> Sequence[tuple[int, int]]:
        """Return the memfds to send, with the content, and the number of bytes in each; the segment keeps owning them.

        Raises:
            OSError: The process has no descriptor or no memory left.
        """
        if not self.files:
            self.files = _write_memfds(self.pieces, sparing=False)
            self.pieces = []
        self.files.was_sent = True
        return self.files  # type: ignore[no-any-return]

    def holds(self, content: Buffer) -> bool:
        """Return whether this is a copy of `content`."""
        view, start, pieces = memoryview(content), 0, self.pieces
        for source, size in [(piece, len(piece)) for piece in pieces] or self.files:
            chunk = bytearray(min(size, _COMPARE_SIZE))
            for offset in range(0, size, _COMPARE_SIZE):
                del chunk[size - offset :]
                if isinstance(source, int):
                    _read_at(source, memoryview(chunk), offset)
                else:
                    chunk[:] = source[offset : offset + len(chunk)]
                if chunk != view[start : start + len(chunk)]:  # a bytearray compares with memcmp
                    return False
                start += len(chunk)
        return start == len(view)

    def beginning(self) -> bytes:
        """Return the first bytes of the content."""
        pieces = self.pieces
        if pieces:
            return bytes(pieces[0][:_BEGINNING])
        part = bytearray(min(_BEGINNING, self.files[0][1]))
        _read_at(self.files[0][0], memoryview(part), 0)
        return bytes(part)


class Payload:
    """An encoded object too large to travel inline: its pickle and its out-of-band buffers.

    Args:
        stream: The pickle, in segments.
        buffers: The out-of-band buffers, each with whether it is writable.

    Thread safety: one thread at a time may use it.
    """

    __slots__ = ("__weakref__", "buffers", "stream")

    def __init__(self, stream: list[Segment], buffers: list[tuple[Any, bool]]) -> None:
        self.stream = stream
        self.buffers = buffers

    def __len__(self) -> int:
        return sum([segment.size for segment in [*self.stream, *[segment for segment, _ in self.buffers]]])

    def parts(self) -> Iterable[tuple[Buffer, int]]:
        """Yield the pieces in plain memory, each with its kind."""
        for segment in self.stream:
            for piece in segment.pieces:
                yield piece, STREAM
        for segment, writable in self.buffers:
            kind = BUFFER if writable else READ_ONLY
            for piece in segment.pieces:
                yield piece, kind

    def to_memfds(self) -> tuple[bytes, list[int]]:
        """Return the header of the payload and the memfds with its content, which the payload keeps owning.

        Raises:
            OSError: The process has no descriptor or no memory left.
        """
        table: list[bytes] = []
        embedded: list[Buffer] = []
        descriptors: list[int] = []
        for segment in self.stream:
            if segment.size <= EMBEDDED_LIMIT and segment.pieces:
                table.append(PART.pack(segment.size, EMBEDDED))
                embedded += segment.pieces
                continue
            for descriptor, size in segment.to_memfds():
                table.append(PART.pack(size, STREAM))
                descriptors.append(descriptor)
        for segment, writable in self.buffers:
            kind = BUFFER if writable else READ_ONLY
            for descriptor, size in segment.to_memfds():
                table.append(PART.pack(size, kind))
                descriptors.append(descriptor)
                kind = CONTINUED
        return b"".join([_COUNT.pack(len(table)), *table, *embedded]), descriptors

    def size_in_memory(self) -> int:
        """Return the size of the pickle if that is the whole payload, and lies in plain memory; 0 otherwise."""
        if self.buffers or any(segment.files for segment in self.stream):
            return 0
        return sum([segment.size for segment in self.stream])

    def write_to(self, memory: Any, offset: int) -> None:
        """Write the pickle, which lies in plain memory, into other memory."""
        for segment in self.stream:
            for piece in segment.pieces:
                end = offset + len(piece)
                memory[offset:end] = piece
                offset = end

    def beginning(self) -> bytes:
        """Return the first bytes of the pickle."""
        return self.stream[0].beginning()

    def amend(self, change: Callable[[bytes], bytes]) -> None:
        """Change the beginning of the pickle, before the payload is sent: by `change`, which keeps the size."""
        segment = self.stream[0]
        if segment.pieces:
            segment.pieces = [change(bytes(segment.pieces[0])), *segment.pieces[1:]]
        elif sys.platform == "linux":
            descriptor, size = segment.files[0]
            beginning = system.pread(descriptor, min(size, _AMENDED_LIMIT), 0)
            system.pwrite(descriptor, change(beginning), 0)

    def close(self) -> None:
        """Release all segments."""
        self.stream = []
        self.buffers = []


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────


def _write_memfds(pieces: Sequence[Buffer], *, sparing: bool) -> Any:
    """Write `pieces` into memfds; see `memfds.write_memfds`."""
    if sys.platform == "linux":
        from corefutures_pools.workers.shared_queue.memfds import write_memfds  # here for start-up time only

        return write_memfds(pieces, sparing=sparing)
    raise OSError("only Linux has memory without a name")


def _read_at(descriptor: int, target: memoryview, offset: int) -> None:
    """Fill `target` from `offset` on, without the descriptor's own offset, which other processes share."""
    if sys.platform != "linux":
        raise OSError("only Linux has memory without a name")
    while target:
        count = system.preadv(descriptor, [target[:_READ_LIMIT]], offset)
        if not count:
            raise EOFError("a memory file is shorter than its header says")
        target = target[count:]
        offset += count


def _copied(content: Buffer) -> Buffer:
    view = memoryview(content)
    copy = private_memory(len(view))
    copy[:] = view
    return copy


def private_memory(size: int) -> memoryview:
    """Return new memory of this process, in huge pages if it is large: filling small pages takes far longer.

    Raises:
        MemoryError: The process has no memory left.
    """
    if sys.platform != "linux" or size < _HUGE_PAGES_FROM:
        return memoryview(bytearray(size))
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # the process may have no more mappings: bytearray finds memory elsewhere, or raises MemoryError
        return memoryview(bytearray(size))
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without huge pages
        pass
    return memoryview(memory)


# ── decoding ─────────────────────────────────────────────────────────────────────────────────────────────────


def open_payload(header: memoryview, descriptors: Sequence[int]) -> Any:
    """Decode the object in a payload that was received as descriptors, which stay the caller's.

    Args:
        header: The header that came with the descriptors.
        descriptors: The memfds with the content.

    Raises:
        BaseException: Whatever decoding raises.
    """
    (count,) = _COUNT.unpack_from(header)
    start = _COUNT.size + count * PART.size
    stream: list[Buffer | tuple[int, int]] = []
    buffers: list[tuple[list[tuple[int, int]], bool]] = []
    left = iter(descriptors)
    for size, kind in PART.iter_unpack(header[_COUNT.size : start]):
        if kind == EMBEDDED:
            stream.append(header[start : start + size])
            start += size
        elif kind == STREAM:
            stream.append((next(left), size))
        elif kind == CONTINUED:
            buffers[-1][0].append((next(left), size))
        else:
            buffers.append(([(next(left), size)], kind == READ_ONLY))
    mapped = [_private_copy(files, read_only=read_only) for files, read_only in buffers]
    return unpickle(stream, mapped)


def _private_copy(files: list[tuple[int, int]], *, read_only: bool) -> memoryview:
    """Return memory of this process with the content of memfds; no descriptor is held for it."""
    copy = None
    if len(files) == 1 and sys.platform == "linux" and sys.version_info >= (3, 13):
        try:  # a page is copied when it is written to
            copy = memoryview(mmap.mmap(*files[0], flags=mmap.MAP_PRIVATE, trackfd=False))
        except OSError:  # see `private_memory`
            pass
    if copy is None:
        copy = private_memory(sum([size for _, size in files]))
        start = 0
        for descriptor, size in files:
            _read_at(descriptor, copy[start : start + size], 0)
            start += size
    return copy.toreadonly() if read_only else copy


def unpickle(stream: Sequence[Buffer | tuple[int, int]], buffers: Sequence[Buffer]) -> Any:
    """Return the object of a pickle in parts: each is bytes, or a memfd and the number of bytes in it.

    Raises:
        BaseException: Whatever decoding raises.
    """
    if len(stream) == 1 and not isinstance(stream[0], tuple):
        return pickle.loads(stream[0], buffers=buffers)
    return pickle.Unpickler(_PartsReader(stream), buffers=buffers).load()


class _PartsReader:
    """The file of an unpickler: reads the parts of a pickle, large content directly into the object that it becomes."""

    def __init__(self, parts: Sequence[Buffer | tuple[int, int]]) -> None:
        self._parts = iter(parts)
        self._rest = memoryview(b"")  # unread bytes in memory
        self._file = (-1, 0, 0)  # a memfd, and the range in it that was not read

    def peek(self, _: int) -> Buffer:
        """Return the next bytes without consuming them: at least one, unless the pickle ends here."""
        while not self._rest:
            descriptor, offset, end = self._file
            if offset < end:
                self._rest = memoryview(bytearray(min(end - offset, _READ_LEAST)))
                _read_at(descriptor, self._rest, offset)
                self._file = descriptor, offset + len(self._rest), end
            elif not self._begin_next_part():
                break
        return self._rest

    def _begin_next_part(self) -> bool:
        """Begin with the next part; return whether there is one."""
        for part in self._parts:
            if isinstance(part, tuple):
                self._file = part[0], 0, part[1]
            else:
                self._rest = memoryview(part)
            return True
        return False

    def readinto(self, target: Any) -> int:
        """Fill a buffer; return the number of bytes, which is smaller at the end only."""
        whole = memoryview(target)
        size, done = len(whole), 0
        while done < size:
            rest = self._rest
            if rest:
                part = rest[: size - done]
                whole[done : done + len(part)] = part
                self._rest = rest[len(part) :]
                done += len(part)
                continue
            descriptor, offset, end = self._file
            if offset < end:
                if size - done < _READ_LEAST:
                    self.peek(0)
                    continue
                count = min(end - offset, size - done)
                _read_at(descriptor, whole[done : done + count], offset)
                self._file = descriptor, offset + count, end
                done += count
            elif not self._begin_next_part():
                break
        return done

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        rest = self._rest
        if size <= len(rest):
            self._rest = rest[size:]
            return bytes(rest[:size])
        content = bytearray(size)
        return bytes(memoryview(content)[: self.readinto(content)])

    def readline(self) -> bytes:
        """Refuse: a pickle of protocol 5 has no lines."""
        raise EOFError("protocol 5 has no lines")
