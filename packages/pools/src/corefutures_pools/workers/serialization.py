"""The encoder: pickles calls and results with protocol 5, small ones inline, large ones as payloads.

Touches `pickle`, `marshalled`, `payload` and nothing of the pool; used on both sides. Guarantees: what was encoded is a
copy, which later changes don't reach; it arrives as through any pickle, whatever its size.
"""

from __future__ import annotations

import copyreg
import functools
import os
import pickle
import sys
from functools import partial
from weakref import WeakValueDictionary, finalize, getweakrefcount

from corefutures_pools.workers.marshalled import NAMED, marshalled_call
from corefutures_pools.workers.messages import INLINE_LIMIT, SLOT_LIMIT
from corefutures_pools.workers.payload import EMBEDDED_LIMIT, Payload, Segment

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from typing import Any, Final

    from corefutures_pools.workers.payload import Buffer

    Reducers = Mapping[type, Callable[[Any], Any]]

#: Bytes: larger content has a segment of its own, which waiting calls with equal content share.
LARGE: Final = 1 << 18
#: How many such segments a payload has at most, since each takes a descriptor; more content goes with the rest.
_LARGE_AT_MOST: Final = 16

_PROTOCOL: Final = 5

#: Bytes: a pickler that has grown larger is dropped. Its memo grows with the number of objects and never shrinks, and
#: clearing it takes time in proportion to its size.
_MEMO_LIMIT: Final = 1 << 17
#: Bytes: the memo of a pickle of this size stays below that limit.
_TINY: Final = 1 << 12

#: The id of what stands for an argument of the call among those of a `partial`, on Python 3.14 and newer.
PLACEHOLDER: Final = id(functools.Placeholder) if hasattr(functools, "Placeholder") else None

#: The finalizers that `weakref.finalize` knows.
_finalizers: Final[Mapping[Any, Any]] = getattr(finalize, "_registry", {})
_weakref_offset: Final = type.__dict__["__weakrefoffset__"].__get__


class RetainedCall:
    """The body of a call, and what the pool keeps until the call has ended: its arguments, or shared objects in them.

    The pickle of an argument may only refer to a resource that the argument owns, such as a temporary folder.
    """

    __slots__ = ("body", "call", "shared")

    def __init__(self, body: Any, call: Any, shared: list[Any]) -> None:
        self.body = body
        self.call = call
        self.shared = shared

    def enter(self, future: Any, has_permit: bool) -> None:
        """Have the future of the call keep all of it. Memory alone is freed by whichever thread ends the call."""
        if self.call is None and not has_permit:
            future._cf_on_departure = self.shared.clear
        else:
            future._kept = self.call, self.shared


class Encoder:
    """Encodes objects as bodies of messages.

    Args:
        reducers: Returns the tables of reducers, of which later ones take precedence; called once, before the first
            object is pickled. Later additions to the tables take effect. If None, the table is copyreg's, and NumPy
            arrays are pickled as any object.
        pickler: The class to pickle with; the standard one if None. Its attribute `out_of_band` is set to a list. A
            `PickleBuffer` that the pickler adds to that list, with other content in its place or None, may be sent out
            of band, and arrives as a buffer; all other buffers arrive as bytes or bytearrays.
        by_value: Whether the pickler sends functions and classes by value that can't be imported.
        unnamed: Names of modules that workers can't import, or not at once.
        unnamed_head: Makes the head of calls of a function in such a module; nothing if the function is to be sent by
            its name.
        memfds: Whether payloads are written into memfds, where the platform has them.
        payload: Makes a payload of its stream and its buffers.
        refusal: Makes the exception to raise for an object that can't be pickled, of the object and the original error.

    Thread safety: any thread may call it, also a `__reduce__` that it has called.
    """

    def __init__(
        self,
        reducers: Callable[[], Sequence[Reducers]] | None = None,
        pickler: Any = None,
        *,
        by_value: bool = False,
        unnamed: Container[str] = (),
        unnamed_head: Callable[[Any], bytes] = lambda _: b"",
        memfds: bool = True,
        payload: Callable[[list[Segment], list[tuple[Any, bool]]], Any] = Payload,
        refusal: Callable[[Any, Exception], Exception] | None = None,
    ) -> None:
        #: Whether functions and classes that can't be imported are sent by value: with cloudpickle.
        self.by_value = by_value
        self._unnamed = unnamed
        self._unnamed_head = unnamed_head
        self._refusal = refusal
        self._reducers = reducers
        self._memfds = memfds and hasattr(os, "memfd_create")
        self._pickler = pickler
        self._payload = payload
        self._tables: Sequence[Reducers] | None = None
        # Picklers for reuse: making one costs more than a tiny call. The thread that pops one owns it.
        self._idle: list[_ReusablePickler] = []
        self._idle_in_band: list[_ReusablePickler] = []  # those that make no segments
        self.sharer: Any = None  # the `Sharer` of the pool, once it shares an object
        # Large segments that have not been sent, by size and samples of the content.
        self._segments: WeakValueDictionary[Any, Segment] = WeakValueDictionary()

    def __call__(self, obj: Any, is_call: bool = False) -> Any:
        """Return `obj` as a body, or as a payload if it is large; or as a `RetainedCall`.

        Raises:
            BaseException: Whatever pickling raises.
        """
        try:
            reusable = self._idle.pop()
        except IndexError:
            reusable = self._make_pickler(self._segment)
        else:
            if reusable.is_outdated():
                reusable = self._make_pickler(self._segment)
        try:
            reusable.pickler.dump(obj)
        except BaseException as exc:
            reusable.drop()  # its memo is wrong now
            if self._refusal is None or not isinstance(exc, Exception) or getattr(exc, "_cf_is_refusal", False):
                raise
            raise self._refusal(obj, exc) from exc
        if reusable.transient or _finalizers:
            by_reference, shared = reusable.reducers.end_dump()
            if is_call and (by_reference or shared or _have_weak_references(obj[1])):
                return RetainedCall(self._finish(reusable), obj, shared)
        if reusable.is_more:
            return self._finish(reusable)
        body, reusable.small = reusable.small, b""
        reusable.pickler.clear_memo()
        size = len(body)
        if size <= _TINY or sys.getsizeof(reusable.pickler) <= _MEMO_LIMIT:
            self._idle.append(reusable)
        else:
            reusable.drop()
        return body if size <= INLINE_LIMIT else self._body_of([body], [])

    def _finish(self, reusable: _ReusablePickler) -> Any:
        """Return the output as a body, whatever its size, and keep the pickler unless it has grown."""
        pieces, buffers = reusable.take_output()
        if sys.getsizeof(reusable.pickler) <= _MEMO_LIMIT:
            self._idle.append(reusable)
        else:
            reusable.drop()
        return self._body_of(pieces, buffers)

    def _body_of(self, pieces: list[Buffer | Segment], buffers: list[tuple[Any, bool]]) -> Any:
        plain: list[Any] = pieces
        if not buffers and Segment not in map(type, pieces) and (size := sum(map(len, plain))) <= SLOT_LIMIT:
            if size <= INLINE_LIMIT:
                return b"".join(plain)
            return self._payload([Segment(plain, memfds=False)], buffers)
        stream: list[Segment] = []
        rest: list[Any] = []
        own = _LARGE_AT_MOST - sum([isinstance(piece, Segment) for piece in pieces])
        for piece in pieces:
            if self._memfds and type(piece) is bytes and len(piece) >= LARGE and own > 0:
                own -= 1
                piece = self._segment(piece)
            if not isinstance(piece, Segment):
                rest.append(piece)
                continue
            if rest:
                stream.append(self._small_segment(rest))
                rest = []
            stream.append(piece)
        if rest:
            stream.append(self._small_segment(rest))
        return self._payload(stream, buffers)

    def in_band(self, obj: Any) -> bytes:
        """Return `obj` as one body, however large.

        Raises:
            BaseException: Whatever pickling raises.
        """
        try:
            reusable = self._idle_in_band.pop()
        except IndexError:
            reusable = self._make_pickler(None)
        else:
            if reusable.is_outdated():
                reusable = self._make_pickler(None)
        try:
            reusable.pickler.dump(obj)
        except BaseException:
            reusable.drop()  # its memo is wrong now
            raise
        pieces, buffers = reusable.take_output()
        reusable.reducers.end_dump()
        if sys.getsizeof(reusable.pickler) <= _MEMO_LIMIT:
            self._idle_in_band.append(reusable)
        else:
            reusable.drop()
        if buffers:
            raise pickle.PicklingError("memory that is shared can't go along here")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)  # type: ignore[arg-type, return-value]

    def shared(self, obj: Any) -> tuple[list[Buffer], list[memoryview], Any]:
        """Return the pickle of an object in pieces, its out-of-band buffers, and what both may refer to.

        Raises:
            BaseException: Whatever pickling raises.
        """
        from corefutures_pools.workers.sharing.pickling import dump_shared  # few pools need it

        if self._tables is None:
            self._tables = () if self._reducers is None else self._reducers()
        reducers = _ReducerCache(self._tables, self)
        pieces, buffers = dump_shared(obj, self._pickler or pickle.Pickler, reducers)
        by_reference, shared = reducers.end_dump()
        return pieces, buffers, (obj if by_reference else None, shared) if by_reference or shared else None

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a call as a body or payload for `CallReader`: function and arguments, and keywords if there are any.

        The result is a `RetainedCall` if the pickle may only refer to resources of the arguments.

        Raises:
            BaseException: Whatever pickling raises.
        """
        kind = type(fn)
        if kind in NAMED and not self.by_value:
            head = self._unnamed_head(fn) if fn.__module__ in self._unnamed else b""
            body = marshalled_call(fn, args, kwargs, INLINE_LIMIT, head)
            if body is not None:
                return body
            if self.sharer is not None:
                retained = self.sharer.marshalled_call(fn, args, kwargs, head)
                if retained is not None:
                    return retained
        elif kind is partial and not (PLACEHOLDER is not None and PLACEHOLDER in map(id, fn.args)):
            return self.call(fn.func, fn.args + args, fn.keywords | kwargs)
        return self((fn, args, kwargs) if kwargs else (fn, args), True)

    def _make_pickler(self, segment: Callable[[Buffer], Segment] | None) -> _ReusablePickler:
        if self._tables is None:
            self._tables = () if self._reducers is None else self._reducers()
        return _ReusablePickler(self._pickler, self._tables, segment, self)

    def _segment(self, content: Buffer) -> Segment:
        """Return a segment with large content; a waiting segment with equal content, if there is one."""
        size, view = len(content), memoryview(content)
        key = size, bytes(view[:64]), bytes(view[size // 2 :][:64]), bytes(view[-64:])
        segment = self._segments.get(key)
        if segment is None or not segment.holds(content):
            segment = self._segments[key] = Segment([content], memfds=self._memfds)
        return segment

    def _small_segment(self, pieces: list[Buffer]) -> Segment:
        return Segment(pieces, memfds=self._memfds and sum(map(len, pieces)) > EMBEDDED_LIMIT)


class _ReusablePickler:
    """A pickler with its reducers, and the file that it writes to.

    The pickler writes large content without a copy in between. The output for a small object is `small` alone.
    """

    def __init__(
        self,
        make: Any,
        tables: Sequence[Reducers],
        segment: Callable[[Buffer], Segment] | None,
        encoder: Encoder,
    ) -> None:
        self._segment = segment
        # The state of one dump: written by the thread that has taken this object out of `Encoder._idle`.
        self._segments = 0  # made for this dump; written by that thread
        self.small = b""  # the last output, in pieces of at most `INLINE_LIMIT`; written by that thread
        self.is_more = False  # the output has other pieces as well, or buffers
        self._pieces: list[Buffer | Segment] = []
        self._buffers: list[tuple[Any, bool]] = []
        self._out_of_band: list[tuple[pickle.PickleBuffer, Any]] = []  # written by that thread
        pickler: Any = (make or pickle.Pickler)(self, _PROTOCOL, buffer_callback=self._keep_in_band)
        self.pickler: Any = pickler
        if make is not None:  # a Python class, which has room for the attribute
            pickler.out_of_band = self._out_of_band
        self.tables = [*tables]
        self.copies = [dict(table) for table in tables]  # as they were: equal as long as the reducers below are right
        numpy = sys.modules.get("numpy") if tables else None
        self._array = getattr(numpy, "ndarray", None)
        self.awaited = "numpy" if tables and self._array is None else ""  # the pickler is outdated once it is imported
        self.registered = len(copyreg.dispatch_table)
        self.reducers = _ReducerCache(self.tables, encoder)
        self.transient = self.reducers.transient
        if self._array is not None:
            self.reducers[self._array] = self._reduce_array
        pickler.dispatch_table = self.reducers

    def is_outdated(self) -> bool:
        """Return whether the program has added a reducer or imported NumPy since."""
        if self.tables:
            return self.tables != self.copies or self.awaited in sys.modules
        return self.registered != len(copyreg.dispatch_table)

    def take_output(self) -> tuple[list[Buffer | Segment], list[tuple[Any, bool]]]:
        """Return the pickle in pieces and its out-of-band buffers; the pickler is ready for another object then."""
        self.pickler.clear_memo()
        pieces, self._pieces = self._pieces, []
        if self.small:
            pieces.append(self.small)
            self.small = b""
        buffers, self._buffers = self._buffers, []
        self._out_of_band.clear()
        self._segments = 0
        self.is_more = False
        return pieces, buffers

    def drop(self) -> None:
        """Release the pickler, which refers to this object, and may have much memory."""
        self.pickler = None

    def write(self, piece: Buffer | pickle.PickleBuffer) -> None:
        """Take a piece of the output; called by the pickler."""
        if type(piece) is bytes:
            if len(piece) <= INLINE_LIMIT:
                self.small += piece
                return
            if self.small:
                self._pieces.append(self.small)
                self.small = b""
            self._pieces.append(piece)
            self.is_more = True
        else:
            self._write_large(piece)

    def _write_large(self, piece: Buffer | pickle.PickleBuffer) -> None:
        self.is_more = True
        if self.small:
            self._pieces.append(self.small)
            self.small = b""
        content: Buffer = piece.raw() if isinstance(piece, pickle.PickleBuffer) else piece
        if len(content) >= LARGE and self._segment is not None and self._segments < _LARGE_AT_MOST:
            self._segments += 1
            self._pieces.append(self._segment(content))
        else:  # a memoryview shows memory that the pickler has only during this call
            self._pieces.append(bytes(content) if content is piece and type(piece) is memoryview else content)

    def _reduce_array(self, array: Any) -> Any:
        """Reduce a NumPy array, which works with any buffer as its content, unlike other users of `PickleBuffer`."""
        reduced = array.__reduce_ex__(_PROTOCOL)
        self.is_more = True
        self._out_of_band += [(arg, None) for arg in reduced[1] if type(arg) is pickle.PickleBuffer]
        return reduced

    def _keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        self.is_more = True
        found = [entry for entry in self._out_of_band if entry[0] is buffer]
        if not found:
            return True
        self._out_of_band.remove(found[0])
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


class _ReducerCache(dict["type", "Any"]):
    """The dispatch table of a pickler: finds the reducer of a class on first use, and records what the dump met.

    Args:
        tables: Reducers, of which later ones take precedence; copyreg's if there are none.
        encoder: Whose pickler this is.
    """

    def __init__(self, tables: Sequence[Reducers], encoder: Encoder) -> None:
        super().__init__()
        self._tables = tables
        self._encoder = encoder
        self.shared: list[Any] = []  # the memory of the shared objects that the dump met
        self.transient: list[type] = []  # classes whose entries are for this dump only
        self._by_reference = False  # an object's pickle may only refer to a resource of the object

    def __missing__(self, kind: type) -> Any:
        if (reduce_shared := getattr(kind, "_cf_reduce_for", None)) is not None:
            reducer = self[kind] = partial(reduce_shared, encoder=self._encoder, used=self.shared)
            self.transient.append(kind)  # so that `end_dump` is called
            return reducer
        from corefutures_pools.workers.reducers import find  # here for start-up time only

        reducer, permanent, by_reference = find(kind, self._tables or (copyreg.dispatch_table,))
        if not self._tables and kind in copyreg.dispatch_table:  # the program may replace it
            permanent = False
        self[kind] = reducer
        if by_reference:
            self._by_reference = True
        if by_reference or not permanent:
            self.transient.append(kind)
        return reducer

    def end_dump(self) -> tuple[bool, list[Any]]:
        """Return what the dump met.

        Returns:
            Whether there was an object whose pickle may only refer to a resource of the object; the memory of the
            shared objects.
        """
        for kind in self.transient:
            del self[kind]
        self.transient.clear()
        by_reference, self._by_reference = self._by_reference, False
        shared, self.shared = self.shared, []
        return by_reference, shared


def _have_weak_references(args: tuple[Any, ...]) -> bool:
    """Return whether an argument, or an item of a chunk, has weak references: it may have a finalizer."""
    columns = [arg for arg in args if type(arg) is list and arg and _weakref_offset(type(arg[0]))]
    return any(any(map(getweakrefcount, column)) for column in (args, *columns))
