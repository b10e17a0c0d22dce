"""How objects cross between interpreters: pickled, but for what the interpreters can share as it is.

Used on both sides; touches the door, `pickle`, and `concurrent.interpreters` for parcels only. Guarantees: what was
encoded is a snapshot, except for a memoryview, which shows the very memory that it showed before; what a worker sent is
copied out of its memory when it is received, because that memory goes when its interpreter does.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import builtins
import marshal
import pickle
from array import array
from types import FunctionType

from _interpreters import NotShareableError

from corefutures.backend import plain_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType
    from typing import Any

_PROTOCOL = 5
#: Bytes; a larger body, or a single buffer of at least half of it, travels as a parcel.
_INLINE_LIMIT = 1 << 16
_OUT_OF_BAND = _INLINE_LIMIT // 2
_BEGINNING = 512  # bytes: room for the name of a function

#: Bytes; from this size on a snapshot is in huge pages, which have 2 MB each as a rule.
_HUGE = 1 << 22


# ── functions by value ───────────────────────────────────────────────────────────────────────────────────────


def _by_value(function: FunctionType) -> Any:
    """Reduces a function to its code if no interpreter can import it and it needs nothing but arguments and builtins.

    That is what the interpreters let cross themselves: nested functions and lambdas without closure or globals. What
    is defined in `__main__` is among them, so that it works where there is no file to import it from.
    """
    if _is_importable(function):
        return NotImplemented  # by its name
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__ or _uses_globals(function.__code__):
        return NotImplemented
    return _make_function, (marshal.dumps(function.__code__), function.__name__, function.__qualname__)


def _is_importable(function: FunctionType) -> bool:
    """Returns whether a function can be had by its name, in any interpreter and without running the main module."""
    module = function.__module__
    return module != "__main__" and getattr(sys.modules.get(module), function.__qualname__, None) is function


def _make_function(code: bytes, name: str, qualname: str) -> FunctionType:
    function = FunctionType(marshal.loads(code), {"__builtins__": builtins, "__name__": "__main__"}, name)
    function.__qualname__ = qualname
    return function


def _uses_globals(code: CodeType) -> bool:
    """Returns whether `code`, or a function made in it, looks up a name that is neither local nor a builtin."""
    from opcode import EXTENDED_ARG, opmap

    shifts = {opmap["LOAD_GLOBAL"]: 1, opmap["LOAD_NAME"]: 0, opmap["STORE_GLOBAL"]: 0, opmap["DELETE_GLOBAL"]: 0}
    names, extended = code.co_names, 0
    raw = code.co_code
    for operation, argument in zip(raw[::2], raw[1::2], strict=True):
        argument |= extended << 8
        extended = argument if operation == EXTENDED_ARG else 0
        if operation in shifts and not hasattr(builtins, names[argument >> shifts[operation]]):
            return True
    return any(_uses_globals(part) for part in code.co_consts if isinstance(part, type(code)))


# ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────


def _reduce(pickler: Any, obj: Any) -> Any:
    """Reduces what needs more than pickling, for the pickler's `reducer_override`."""
    kind = type(obj)
    if kind is memoryview:
        # Stands for it in the pickle: only what is contiguous could do that itself.
        buffer = pickle.PickleBuffer(b"" if obj.readonly else bytearray())
        pickler.shared.append((buffer, obj))
        return memoryview, (buffer,)
    if kind is array:
        return _make_array, (obj.typecode, pickle.PickleBuffer(obj))
    return NotImplemented


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _by_value(obj) if type(obj) is FunctionType else _reduce(self, obj)


def _plain_pickler() -> type[pickle.Pickler]:
    return _Pickler


def _cloud_pickler() -> Any:
    import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc, unused-ignore]
        def reducer_override(self, obj: Any) -> Any:
            reduced = _reduce(self, obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

    return CloudPickler


#: serializer → what returns the class to pickle with.
_PICKLERS = {"pickle": _plain_pickler, "cloudpickle": _cloud_pickler}


def _make_array(kind: str, content: Any) -> array[Any]:
    made: array[Any] = array(kind)
    made.frombytes(memoryview(content).cast("B"))
    return made


class Parcel:
    """An encoded object that is too large to travel inline, or that shares memory.

    Args:
        pickled: The pickle, in pieces.
        buffers: Its out-of-band buffers.
    """

    __slots__ = ("_manifest",)

    def __init__(self, pickled: list[bytes | memoryview], buffers: list[memoryview]) -> None:
        # Bytes would be copied by the interpreter that receives them; views of them are not.
        views: list[memoryview] = [memoryview(piece) for piece in pickled]
        self._manifest: tuple[Any, ...] = (len(pickled), *views, *buffers)

    def __len__(self) -> int:
        return sum(view.nbytes for view in self._manifest[1:])

    def manifest(self) -> tuple[Any, ...]:
        """Returns what a queue between interpreters is to carry: the count of the pickle's pieces, then all views."""
        return self._manifest

    def beginning(self) -> bytes:
        """Returns the beginning of the pickle."""
        return b"".join(view[:_BEGINNING] for view in self._manifest[1:2])

    def joined(self) -> bytes:
        """Returns the pickle in one piece.

        Raises:
            NotShareableError: It has buffers beside it.
        """
        count, *views = self._manifest
        if count < len(views):
            raise NotShareableError("memory that is shared can't be an argument of an initializer")
        return b"".join(views)

    def close(self) -> None:
        """Lets go of everything."""
        self._manifest = (0,)


class Encoder:
    """Makes bodies of objects; stands in for the shared machinery's encoder.

    Args:
        serializer: "pickle" or "cloudpickle".

    Thread safety: may be called from several threads at once, and from a `__reduce__` that it has called.
    """

    def __init__(self, serializer: str) -> None:
        self._plainly = serializer == "pickle"
        self._pickler = _PICKLERS[serializer]()
        # Picklers to be used again: making one costs more than a tiny call. Whoever takes one out owns it.
        self._idle: list[_Picklery] = []

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | Parcel:
        """Returns a call as a body.

        Raises:
            NotShareableError: It can't cross; the cause says why.
        """
        if not kwargs and self._plainly and type(fn) is FunctionType and fn.__module__ != "__main__":
            body = plain_call(fn, args, _INLINE_LIMIT)
            if body is not None:
                return body
        return self((fn, args, kwargs) if kwargs else (fn, args))

    def __call__(self, obj: Any) -> bytes | Parcel:
        """Returns `obj` as a body.

        Raises:
            NotShareableError: It can't cross; the cause says why.
        """
        try:
            picklery = self._idle.pop()
        except IndexError:
            picklery = _Picklery(self._pickler)
        try:
            pickled, buffers = picklery.dump(obj)
        except Exception as exc:  # the pickler is not used again: its memo would be wrong
            raise NotShareableError(f"{_named(obj)} does not support cross-interpreter data: {exc}") from exc
        self._idle.append(picklery)
        if not buffers:
            if len(pickled) == 1 and len(pickled[0]) <= _INLINE_LIMIT:
                return bytes(pickled[0])
            if sum(map(len, pickled)) <= _INLINE_LIMIT:
                return b"".join(pickled)
        return Parcel(pickled, buffers)


def _named(obj: Any) -> str:
    """Returns what an error calls an object that could not be encoded; never raises."""
    try:
        text = repr(obj)
    except Exception:
        text = f"a {type(obj).__name__}"
    return text if len(text) < 300 else f"{text[:300]}…"


class _Picklery:
    """A pickler with its output and its buffers.

    The pickler writes large bytes as they are, with no copy of its own in between.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._pieces: list[bytes | memoryview] = []
        self._buffers: list[memoryview] = []
        self._shared: list[tuple[pickle.PickleBuffer, memoryview]] = []
        self._pickler = make(self, _PROTOCOL, buffer_callback=self._keep_in_band)
        self._pickler.shared = self._shared

    def dump(self, obj: Any) -> tuple[list[bytes | memoryview], list[memoryview]]:
        self._pickler.dump(obj)
        self._pickler.clear_memo()
        pieces, self._pieces = self._pieces, []
        buffers, self._buffers = self._buffers, []
        self._shared.clear()
        return pieces, buffers

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        self._pieces.append(piece if type(piece) is bytes else _snapshot(memoryview(piece)))

    def _keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        for stand_in, view in self._shared:
            if buffer is stand_in:
                self._buffers.append(view)
                return False
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _OUT_OF_BAND:
            return True
        copy = _snapshot(raw)
        self._buffers.append(copy.toreadonly() if raw.readonly else copy)
        return False


def _snapshot(content: memoryview) -> memoryview:
    """Returns a copy, which may be written to; in huge pages if it is large: filling small ones takes far longer."""
    if sys.platform != "linux" or content.nbytes < _HUGE:
        return memoryview(bytearray(content))
    import mmap

    copy = mmap.mmap(-1, content.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        copy.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel that was built without them
        pass
    view = memoryview(copy)
    view[:] = content
    return view


# ── decoding ─────────────────────────────────────────────────────────────────────────────────────────────────


def undecodable(what: str, error: Exception) -> NotShareableError:
    """Returns what is raised for an object that arrived, but could not be decoded because of `error`."""
    return NotShareableError(f"{what} not shareable: object could not be unpickled ({type(error).__name__}: {error})")


def decode_result(body: Any) -> Any:
    """Returns the object in an inline body that a worker sent.

    Raises:
        ImportError: Something in it could not be imported.
        NotShareableError: It could not be decoded for any other reason, which is the cause.
    """
    try:
        return pickle.loads(body)
    except ImportError:
        raise
    except Exception as exc:
        raise undecodable("result", exc) from exc


def unload(manifest: tuple[Any, ...], *, keep: bool = False) -> Any:
    """Returns the object in a parcel.

    Args:
        manifest: As it came out of the queue.
        keep: Whether to copy the buffers, as their memory goes before the object does.

    Raises:
        BaseException: Whatever decoding raises.
    """
    count, *views = manifest
    buffers = [_copy(view) for view in views[count:]] if keep else views[count:]
    return pickle.Unpickler(_Stream(views[:count]), buffers=buffers).load()


def _copy(view: memoryview) -> memoryview:
    content = view.tobytes()
    copy = memoryview(content if view.readonly else bytearray(content))
    return copy if view.format == "B" and view.ndim == 1 else copy.cast(view.format, view.shape)  # type: ignore[call-overload, no-any-return, unused-ignore]


class _Stream:
    """A file that an unpickler reads pieces from: large bytes straight into the object that they become."""

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def readinto(self, target: Any) -> int:
        whole = memoryview(target).cast("B")
        done = 0
        while done < len(whole):
            if not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = piece
            part = self._rest[: len(whole) - done]
            whole[done : done + len(part)] = part
            self._rest = self._rest[len(part) :]
            done += len(part)
        return done

    def read(self, size: int) -> bytes:
        if size <= len(self._rest):
            part, self._rest = self._rest[:size], self._rest[size:]
            return bytes(part)
        content = bytearray(size)
        return bytes(content[: self.readinto(content)])

    def readline(self) -> bytes:
        raise EOFError("protocol 5 has no lines")
