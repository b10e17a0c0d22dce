"""Objects as bytes: pickled with protocol 5, in payloads if they are large.

Touches `pickle`, `plain` and nothing of the pool; used on both sides. Guarantees: what was encoded is a snapshot; it
arrives as it would through any pickle, whatever its size, in memory of its own; a payload has no name anywhere (memfds
or plain memory), so a killed process leaves nothing behind.
"""

from __future__ import annotations

import copyreg
import errno
import mmap
import os
import pickle
import sys
from struct import Struct
from weakref import WeakValueDictionary, finalize, getweakrefcount

from corefutures._blocking import system
from corefutures_pools.descriptors import lifted
from corefutures_pools.workers.marshalled import NAMED, marshalled_call

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Final

    Buffer = bytes | bytearray | memoryview
    Reducers = Mapping[type, Callable[[Any], Any]]

#: Bytes; a larger body travels as a payload.
INLINE_LIMIT: Final = 1 << 16
#: Bytes; content of at least this size has a segment of its own, which calls that wait with equal content share.
LARGE: Final = 1 << 18
#: How many of these a payload may have, since each takes a descriptor; what is beyond goes with the rest.
_LARGE_AT_MOST: Final = 16
#: Bytes; the rest travels beside the descriptors, not behind one, if it is at most this large.
_BESIDE: Final = 1 << 11

_PROTOCOL: Final = 5
_ERROR: Final = Struct("=I")
_COUNT: Final = Struct("=I")
_BEGINNING: Final = 512  # bytes: room for the name of a function
_PAGE: Final = 1 << 30  # no single write is larger than this
_SHORT: Final = 1 << 10  # bytes that are read at least
_STRETCH: Final = 1 << 18  # bytes that are compared at a time
_HUGE: Final = 1 << 22  # bytes; from this size on memory is in huge pages, which have 2 MB each as a rule

#: Bytes; a pickler that has grown larger is not used again. Its memo grows with the objects that it meets, never
#: shrinks, and is gone over as a whole each time it is cleared.
_GROWN: Final = 1 << 17
#: Bytes; a pickle of no more has no objects for that.
_TINY: Final = 1 << 12

#: What the parts of a payload are, as told beside its descriptors.
PART: Final = Struct("=QB")  # size, kind
BESIDE: Final = 0  # of the pickle, right here
STREAM: Final = 1  # of the pickle
BUFFER: Final = 2  # beside the pickle
READ_ONLY: Final = 3  # the same, not to be written to
CONTINUED: Final = 4  # goes on with the buffer before

#: How many memfds there may be at a time, and how many descriptors are left to everybody else; what is
#: beyond waits in plain memory until it is sent.
_MEMFDS_AT_MOST: Final = 32
_FILES_AT_MOST: Final = 200  # of one segment: no message takes more than 253 descriptors
_LEFT_TO_OTHERS: Final = 64
_open_memfds: set[int] = set()

#: What is to be done when objects go, as far as `weakref.finalize` was told.
_finalizers: Final[Mapping[Any, Any]] = getattr(finalize, "_registry", {})
_room_for_references: Final = type.__dict__["__weakrefoffset__"].__get__


# ── payloads ──────────────────────────────────────────────────────────────────────────────────────────────────


class Segment:
    """A copy of what a payload consists of, which nobody changes: several payloads may have the same.

    Args:
        pieces: Copied before this returns, unless they are bytes, and stay in plain memory.
        memfds: Whether to write them into memfds at once, if there is room.

    Thread safety: one thread at a time may have it written into memfds; anybody may ask what it holds meanwhile.
    """

    __slots__ = ("__weakref__", "files", "pieces")

    def __init__(self, pieces: Sequence[Buffer], *, memfds: bool) -> None:
        self.files: Sequence[tuple[int, int]] = ()  # memfds, and how much is in each
        if memfds and len(_open_memfds) < _MEMFDS_AT_MOST:
            try:
                self.files = _write_memfds(pieces, sparing=True)
                self.pieces: list[Buffer] = []
                return
            except OSError:  # no descriptor or no memory to be had: it waits in ours
                pass
        self.pieces = [piece if type(piece) is bytes else _snapshot(piece) for piece in pieces]

    @property
    def size(self) -> int:
        """How many bytes that is."""
        return sum(map(len, self.pieces)) + sum([size for _, size in self.files])

    def to_memfds(self) -> Sequence[tuple[int, int]]:
        """Returns the descriptors of the memfds that hold everything, and how much is in each; they stay ours.

        Raises:
            OSError: There is no descriptor or no memory to be had.
        """
        if not self.files:
            self.files = _write_memfds(self.pieces, sparing=False)
            self.pieces = []
        return self.files

    def holds(self, content: Buffer) -> bool:
        """Returns whether this is a copy of `content`."""
        view, start, pieces = memoryview(content), 0, self.pieces
        for source, size in [(piece, len(piece)) for piece in pieces] or self.files:
            stretch = bytearray(min(size, _STRETCH))
            for offset in range(0, size, _STRETCH):
                del stretch[size - offset :]
                if isinstance(source, int):
                    _fill(source, memoryview(stretch), offset)
                else:
                    stretch[:] = source[offset : offset + len(stretch)]
                if stretch != view[start : start + len(stretch)]:  # of a bytearray, that is done as fast as can be
                    return False
                start += len(stretch)
        return start == len(view)

    def beginning(self) -> bytes:
        """Returns the beginning of the content."""
        pieces = self.pieces
        if pieces:
            return bytes(pieces[0][:_BEGINNING])
        part = bytearray(min(_BEGINNING, self.files[0][1]))
        _fill(self.files[0][0], memoryview(part), 0)
        return bytes(part)


class _Files(list["tuple[int, int]"]):
    """Memfds, and how much is in each; closed when nobody refers to this any more."""

    def __del__(self) -> None:
        for descriptor, _ in self:
            _open_memfds.discard(descriptor)
            system.close(descriptor)


class Payload:
    """An encoded object too large to travel inline: its pickle, and what goes beside it.

    Args:
        stream: The pickle, in segments.
        buffers: Its out-of-band buffers, and whether they may be written to.

    Thread safety: for one thread at a time.
    """

    __slots__ = ("__weakref__", "buffers", "stream")

    def __init__(self, stream: list[Segment], buffers: list[tuple[Segment, bool]]) -> None:
        self.stream = stream
        self.buffers = buffers

    def __len__(self) -> int:
        return sum([segment.size for segment in self.stream]) + sum([segment.size for segment, _ in self.buffers])

    def parts(self) -> Iterable[tuple[Buffer, int]]:
        """Yields everything as it is in plain memory, piece by piece, each with what it is."""
        for segment in self.stream:
            for piece in segment.pieces:
                yield piece, STREAM
        for segment, writable in self.buffers:
            kind = BUFFER if writable else READ_ONLY
            for piece in segment.pieces:
                yield piece, kind

    def to_memfds(self) -> tuple[bytes, list[int]]:
        """Returns what is to be sent along with descriptors, and these, which stay the payload's own.

        Raises:
            OSError: There is no descriptor or no memory to be had.
        """
        table: list[bytes] = []
        beside: list[Buffer] = []
        descriptors: list[int] = []
        for segment in self.stream:
            if segment.size <= _BESIDE and segment.pieces:
                table.append(PART.pack(segment.size, BESIDE))
                beside += segment.pieces
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
        return b"".join([_COUNT.pack(len(table)), *table, *beside]), descriptors

    def beginning(self) -> bytes:
        """Returns the beginning of the pickle."""
        return self.stream[0].beginning()

    def close(self) -> None:
        """Lets go of everything."""
        self.stream = []
        self.buffers = []


def _write_memfds(pieces: Sequence[Buffer], *, sparing: bool) -> _Files:
    """Writes `pieces` into memfds: one, unless files must not be so large.

    Args:
        pieces: What to write.
        sparing: Whether to leave some descriptors to others.

    Raises:
        OSError: There is no descriptor or no memory to be had.
    """
    if sys.platform != "linux":
        raise OSError("only Linux has memory without a name")
    files: list[tuple[int, int]] = []
    try:
        descriptor, done = _new_file(sparing=sparing), 0
        files.append((descriptor, 0))
        for piece in pieces:
            view = memoryview(piece)
            while view:
                try:
                    written = system.pwrite(descriptor, view[:_PAGE], done)
                except OSError as exc:
                    if exc.errno != errno.EFBIG:
                        raise
                    if not done or len(files) == _FILES_AT_MOST:
                        raise OSError(
                            errno.EFBIG,
                            f"{sum(map(len, pieces)):,} bytes can't be sent under this limit of the size of files"
                            " (RLIMIT_FSIZE, ulimit -f), which counts for memory files as well",
                        ) from None
                    descriptor, done = _new_file(sparing=sparing), 0
                    files.append((descriptor, 0))
                    continue
                view = view[written:]
                done += written
                files[-1] = descriptor, done
    except BaseException:
        for descriptor, _ in files:
            system.close(descriptor)
        raise
    _open_memfds.update([descriptor for descriptor, _ in files])
    return _Files(files)


def _new_file(*, sparing: bool) -> int:
    """Returns the descriptor of a new memfd.

    Raises:
        OSError: There is none to be had.
    """
    if sys.platform != "linux":
        raise OSError("only Linux has memory without a name")
    descriptor = lifted(system.memfd_create("corefutures", os.MFD_CLOEXEC))
    if sparing:
        import resource  # only large payloads need it, and only where there is a memfd

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit != resource.RLIM_INFINITY and descriptor >= limit - _LEFT_TO_OTHERS:
            system.close(descriptor)
            raise OSError(errno.EMFILE, system.strerror(errno.EMFILE))
    return descriptor


def _fill(descriptor: int, target: memoryview, offset: int) -> None:
    """Reads what is at `offset` into `target`; what the descriptor's own offset is plays no role: others share it."""
    if sys.platform != "linux":
        raise OSError("only Linux has memory without a name")
    while target:
        count = system.preadv(descriptor, [target[:_PAGE]], offset)
        if not count:
            raise EOFError("a memory file is shorter than it was said to be")
        target = target[count:]
        offset += count


def _snapshot(content: Buffer) -> Buffer:
    """Returns a copy, in memory that is taken for it alone."""
    view = memoryview(content)
    copy = private_memory(len(view))
    copy[:] = view
    return copy


def private_memory(size: int) -> memoryview:
    """Returns memory of this process alone; in huge pages if it is large: filling small ones takes far longer.

    Raises:
        MemoryError: There is none.
    """
    if sys.platform != "linux" or size < _HUGE:
        return memoryview(bytearray(size))
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:  # this process may have no more mappings: Python finds memory elsewhere, or says that there is none
        return memoryview(bytearray(size))
    try:
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel that was built without them
        pass
    return memoryview(memory)


# ── taking payloads ───────────────────────────────────────────────────────────────────────────────────────────


def open_payload(label: memoryview, descriptors: Sequence[int]) -> Any:
    """Decodes the object in a payload that came as descriptors, which stay the caller's.

    Args:
        label: What was sent along with them.
        descriptors: All of them.

    Raises:
        BaseException: Whatever decoding raises.
    """
    (count,) = _COUNT.unpack_from(label)
    start = _COUNT.size + count * PART.size
    stream: list[Buffer | tuple[int, int]] = []
    buffers: list[tuple[list[tuple[int, int]], bool]] = []
    left = iter(descriptors)
    for size, kind in PART.iter_unpack(label[_COUNT.size : start]):
        if kind == BESIDE:
            stream.append(label[start : start + size])
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
    """Returns memory with the content of memfds: this process's own, and no descriptor is held for it."""
    copy = None
    if len(files) == 1 and sys.platform == "linux" and sys.version_info >= (3, 13):
        try:  # pages are copied when they are written to
            copy = memoryview(mmap.mmap(*files[0], flags=mmap.MAP_PRIVATE, trackfd=False))
        except OSError:  # see `private_memory`
            pass
    if copy is None:
        copy = private_memory(sum([size for _, size in files]))
        start = 0
        for descriptor, size in files:
            _fill(descriptor, copy[start : start + size], 0)
            start += size
    return copy.toreadonly() if read_only else copy


def unpickle(stream: Sequence[Buffer | tuple[int, int]], buffers: Sequence[Buffer]) -> Any:
    """Returns the object of a pickle in parts: bytes, or a memfd and how much is in it.

    Raises:
        BaseException: Whatever decoding raises.
    """
    if len(stream) == 1 and not isinstance(stream[0], tuple):
        return pickle.loads(stream[0], buffers=buffers)
    return pickle.Unpickler(_Stream(stream), buffers=buffers).load()


class _Stream:
    """A file that an unpickler reads parts from: large content straight into the object that it becomes."""

    def __init__(self, parts: Sequence[Buffer | tuple[int, int]]) -> None:
        self._parts = iter(parts)
        self._rest = memoryview(b"")  # of a part in memory
        self._file = (-1, 0, 0)  # of another part: what is left of it

    def peek(self, _: int) -> Buffer:
        """Returns what comes next, at least one byte of it unless there is none, and leaves it to be read."""
        while not self._rest:
            descriptor, offset, end = self._file
            if offset < end:
                self._rest = memoryview(bytearray(min(end - offset, _SHORT)))
                _fill(descriptor, self._rest, offset)
                self._file = descriptor, offset + len(self._rest), end
            elif not self._begin_next():
                break
        return self._rest

    def _begin_next(self) -> bool:
        """Goes on to the next part; returns whether there is one."""
        for part in self._parts:
            if isinstance(part, tuple):
                self._file = part[0], 0, part[1]
            else:
                self._rest = memoryview(part)
            return True
        return False

    def readinto(self, target: Any) -> int:
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
                if size - done < _SHORT:
                    self.peek(0)
                    continue
                count = min(end - offset, size - done)
                _fill(descriptor, whole[done : done + count], offset)
                self._file = descriptor, offset + count, end
                done += count
            elif not self._begin_next():
                break
        return done

    def read(self, size: int) -> bytes:
        rest = self._rest
        if size <= len(rest):
            self._rest = rest[size:]
            return bytes(rest[:size])
        content = bytearray(size)
        return bytes(memoryview(content)[: self.readinto(content)])

    def readline(self) -> bytes:
        raise EOFError("protocol 5 has no lines")


# ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────


class RetainedCall:
    """The body of a call that may only name what its arguments hold, and these, to be kept until the call has ended."""

    __slots__ = ("body", "call")

    def __init__(self, body: Any, call: Any) -> None:
        self.body = body
        self.call = call


class _Reducers(dict["type", "Any"]):
    """A pickler's table: the reducer of each class, found when it is met; unlike a pickler it says what was met.

    Args:
        tables: Reducers, of which later ones come first; copyreg's if there are none.
    """

    def __init__(self, tables: Sequence[Reducers]) -> None:
        super().__init__()
        self._tables = tables
        self.passing: list[type] = []  # classes that are here for this dump only
        self._naming = False  # an object was met whose pickle may only name what the object holds

    def __missing__(self, kind: type) -> Any:
        from corefutures_pools.workers.reducers import find  # here for start-up time only

        reducer, lasting, naming = find(kind, self._tables or (copyreg.dispatch_table,))
        if not self._tables and kind in copyreg.dispatch_table:  # another may take its place
            lasting = False
        self[kind] = reducer
        if naming:
            self._naming = True
        if naming or not lasting:
            self.passing.append(kind)
        return reducer

    def end_dump(self) -> bool:
        """Returns whether an object was met whose pickle may only name what the object holds."""
        for kind in self.passing:
            del self[kind]
        self.passing.clear()
        naming, self._naming = self._naming, False
        return naming


class Encoder:
    """Makes bodies of objects.

    Args:
        reducers: Returns the tables of reducers to be used, of which later ones come first; asked once, when the first
            object is to be pickled. What is added to them afterwards counts from then on. copyreg's if None, and NumPy
            arrays are as any object then.
        pickler: The class to pickle with; the standard one if None. Its attribute `aside` is set to a list: a
            `PickleBuffer` that is entered there, with content to go in its place or None, may go beside the pickle,
            and then arrives as any buffer; all others arrive as bytes or bytearrays.
        memfds: Whether payloads are written into memfds, where there are such.
        payload: Makes a payload of its stream and its buffers.
        refusal: Makes what is raised for an object that can't be pickled, of that and of what pickling raised.

    Thread safety: may be called from several threads at once, and from a `__reduce__` that it has called.
    """

    def __init__(
        self,
        reducers: Callable[[], Sequence[Reducers]] | None = None,
        pickler: Any = None,
        memfds: bool = True,
        payload: Callable[[list[Segment], list[tuple[Any, bool]]], Any] = Payload,
        refusal: Callable[[Any, Exception], Exception] | None = None,
    ) -> None:
        self._refusal = refusal
        self._reducers = reducers
        self._memfds = memfds and hasattr(os, "memfd_create")
        self._pickler = pickler
        self._payload = payload
        self._tables: Sequence[Reducers] | None = None
        # Picklers to be used again: making one costs more than a tiny call. Whoever takes one out owns it.
        self._idle: list[_Picklery] = []
        # Large ones that have not been sent, by size and samples of what they hold.
        self._segments: WeakValueDictionary[Any, Segment] = WeakValueDictionary()

    @property
    def by_value(self) -> bool:
        """Whether functions and classes that can't be imported travel as they are: with cloudpickle."""
        return self._pickler is not None

    def __call__(self, obj: Any, is_call: bool = False) -> Any:
        """Returns `obj` as a body, or as a payload if it is large; or `RetainedCall`, if it is a call to be kept.

        Raises:
            BaseException: Whatever pickling raises.
        """
        try:
            picklery = self._idle.pop()
        except IndexError:
            picklery = self._make_picklery(self._segment)
        else:  # unless somebody has added a reducer meanwhile, or imported NumPy
            if (
                picklery.tables != picklery.copies or picklery.awaited in sys.modules
                if picklery.tables
                else picklery.registered != len(copyreg.dispatch_table)
            ):
                picklery = self._make_picklery(self._segment)
        try:
            picklery.pickler.dump(obj)
        except BaseException as exc:
            picklery.drop()  # its memo is wrong now
            if self._refusal is None or not isinstance(exc, Exception):
                raise
            raise self._refusal(obj, exc) from exc
        if picklery.passing or _finalizers:
            naming = picklery.reducers.end_dump()
            if is_call and (naming or _are_watched(obj[1])):
                return RetainedCall(self._all_of(picklery), obj)
        if picklery.is_more:
            return self._all_of(picklery)
        body, picklery.small = picklery.small, b""
        picklery.pickler.clear_memo()
        size = len(body)
        if size <= _TINY or sys.getsizeof(picklery.pickler) <= _GROWN:
            self._idle.append(picklery)
        else:
            picklery.drop()
        return body if size <= INLINE_LIMIT else self._body_of([body], [])

    def _all_of(self, picklery: _Picklery) -> Any:
        """Returns what was written as a body, whatever its size, and keeps the picklery unless it has grown."""
        pieces, buffers = picklery.take()
        if sys.getsizeof(picklery.pickler) <= _GROWN:
            self._idle.append(picklery)
        else:
            picklery.drop()
        return self._body_of(pieces, buffers)

    def _body_of(self, pieces: list[Buffer | Segment], buffers: list[tuple[Any, bool]]) -> Any:
        stream: list[Segment] = []
        rest: list[Any] = pieces
        if Segment in map(type, pieces):
            rest = []
            for piece in pieces:
                if isinstance(piece, Segment):
                    if rest:
                        stream.append(self._small_segment(rest))
                        rest = []
                    stream.append(piece)
                else:
                    rest.append(piece)
        elif not buffers and sum(map(len, pieces)) <= INLINE_LIMIT:  # type: ignore[arg-type]
            return b"".join(rest)
        if rest:
            stream.append(self._small_segment(rest))
        return self._payload(stream, buffers)

    def in_band(self, obj: Any) -> bytes:
        """Returns `obj` as one body, however large.

        Raises:
            BaseException: Whatever pickling raises.
        """
        picklery = self._make_picklery(None)
        try:
            picklery.pickler.dump(obj)
            pieces, buffers = picklery.take()
        finally:
            picklery.drop()
        if buffers:
            raise pickle.PicklingError("memory that is shared can't go along here")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)  # type: ignore[arg-type, return-value]

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Returns a call as a body or payload for `CallReader`: function and arguments, and keywords if there are any.

        A call of which something may go with its arguments, which it only names, is returned as `RetainedCall`.

        Raises:
            BaseException: Whatever pickling raises.
        """
        if not kwargs and type(fn) in NAMED and self._pickler is None:
            body = marshalled_call(fn, args, INLINE_LIMIT)
            if body is not None:
                return body
        return self((fn, args, kwargs) if kwargs else (fn, args), True)

    def _make_picklery(self, segment: Callable[[Buffer], Segment] | None) -> _Picklery:
        if self._tables is None:
            self._tables = () if self._reducers is None else self._reducers()
        return _Picklery(self._pickler, self._tables, segment, self._memfds)

    def _segment(self, content: Buffer) -> Segment:
        """Returns a segment with large content; the same as before, if that has not been sent yet."""
        size, view = len(content), memoryview(content)
        key = size, bytes(view[:64]), bytes(view[size // 2 :][:64]), bytes(view[-64:])
        segment = self._segments.get(key)
        if segment is None or not segment.holds(content):
            segment = self._segments[key] = Segment([content], memfds=self._memfds)
        return segment

    def _small_segment(self, pieces: list[Buffer]) -> Segment:
        return Segment(pieces, memfds=self._memfds and sum(map(len, pieces)) > _BESIDE)


class _Picklery:
    """A pickler with its reducers, its output and its buffers.

    The pickler writes large content as it is, with no copy of its own in between. What it writes of a small object, and
    of nothing else, is `small` as a whole.
    """

    def __init__(
        self,
        make: Any,
        tables: Sequence[Reducers],
        segment: Callable[[Buffer], Segment] | None,
        copies: bool,
    ) -> None:
        self._segment = segment
        self._copies = copies  # bytes, too; or else they are kept as they are, and so once, whoever waits with them
        self._segments = 0  # made for this dump
        self.small = b""  # what was written last, in pieces of no more than `INLINE_LIMIT`
        self.is_more = False  # there are others as well, or buffers
        self._pieces: list[Buffer | Segment] = []
        self._buffers: list[tuple[Any, bool]] = []
        self._aside: list[tuple[pickle.PickleBuffer, Any]] = []
        pickler: Any = (make or pickle.Pickler)(self, _PROTOCOL, buffer_callback=self._keep_in_band)
        self.pickler: Any = pickler
        if make is not None:  # a class of ours, which has room for that
            pickler.aside = self._aside
        self.tables = [*tables]
        self.copies = [dict(table) for table in tables]  # as they were; equal as long as these hold
        numpy = sys.modules.get("numpy") if tables else None
        self._array = getattr(numpy, "ndarray", None)
        self.awaited = "numpy" if tables and self._array is None else ""  # a module whose import counts
        self.registered = len(copyreg.dispatch_table)
        self.reducers = _Reducers(self.tables)
        self.passing = self.reducers.passing
        if self._array is not None:
            self.reducers[self._array] = self._reduce_array
        pickler.dispatch_table = self.reducers

    def take(self) -> tuple[list[Buffer | Segment], list[tuple[Any, bool]]]:
        """Returns the pickle, in pieces, and what goes beside it; another object may be pickled then."""
        self.pickler.clear_memo()
        pieces, self._pieces = self._pieces, []
        if self.small:
            pieces.append(self.small)
            self.small = b""
        buffers, self._buffers = self._buffers, []
        self._aside.clear()
        self._segments = 0
        self.is_more = False
        return pieces, buffers

    def drop(self) -> None:
        """Lets go of the pickler, which refers to us, and may have much memory."""
        self.pickler = None

    def write(self, piece: Buffer | pickle.PickleBuffer) -> None:
        if type(piece) is bytes:
            if len(piece) <= INLINE_LIMIT:
                self.small += piece
                return
            if len(piece) < LARGE or not self._copies:
                if self.small:
                    self._pieces.append(self.small)
                    self.small = b""
                self._pieces.append(piece)
                self.is_more = True
                return
        self._write_more(piece)

    def _write_more(self, piece: Buffer | pickle.PickleBuffer) -> None:
        self.is_more = True
        if self.small:
            self._pieces.append(self.small)
            self.small = b""
        content: Buffer = piece.raw() if isinstance(piece, pickle.PickleBuffer) else piece
        if len(content) >= LARGE and self._segment is not None and self._segments < _LARGE_AT_MOST:
            self._segments += 1
            self._pieces.append(self._segment(content))
        else:  # a memoryview is of memory that the pickler has only now
            self._pieces.append(bytes(content) if content is piece and type(piece) is memoryview else content)

    def _reduce_array(self, array: Any) -> Any:
        """Reduces a NumPy array, which is content with any buffer, unlike what else may be made of a `PickleBuffer`."""
        reduced = array.__reduce_ex__(_PROTOCOL)
        self.is_more = True
        self._aside += [(arg, None) for arg in reduced[1] if type(arg) is pickle.PickleBuffer]
        return reduced

    def _keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        self.is_more = True
        found = [entry for entry in self._aside if entry[0] is buffer]
        if not found:
            return True
        self._aside.remove(found[0])
        content = found[0][1]
        if content is not None:
            self._buffers.append((content, True))
            return False
        raw = buffer.raw()
        if raw.nbytes < LARGE or self._segment is None or self._segments >= _LARGE_AT_MOST:
            return True
        self._segments += 1
        self._buffers.append((self._segment(raw), not raw.readonly))
        return False


def _are_watched(args: tuple[Any, ...]) -> bool:
    """Returns whether something may be done when an argument goes, or an item of a chunk: it is referred to weakly."""
    columns = [arg for arg in args if type(arg) is list and arg and _room_for_references(type(arg[0]))]
    return any(any(map(getweakrefcount, column)) for column in (args, *columns))


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────


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
