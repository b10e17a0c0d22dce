"""How objects cross between interpreters: pickled, but for what the interpreters can share as it is.

Used on both sides; touches the door, `pickle`, and `concurrent.interpreters` for payloads only. Guarantees: what was
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
from math import prod
from types import BuiltinFunctionType, FunctionType

from _interpreters import NotShareableError

from corefutures_pools.workers.marshalled import marshalled_call
from corefutures_pools.workers.serialization import INLINE_LIMIT, Encoder as _Encoder, unpickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from corefutures_pools.workers.serialization import Segment
#: The names that a main module has: in the process that was started, and where it was run again.
MAINS = ("__main__", "__mp_main__")
#: Types of what an interpreter can import by its name.
_NAMED = FunctionType, BuiltinFunctionType


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
    return module not in MAINS and getattr(sys.modules.get(module), function.__qualname__, None) is function


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
        pickler.aside.append((buffer, obj))
        return memoryview, (buffer,)
    if kind is array:
        buffer = pickle.PickleBuffer(obj)
        pickler.aside.append((buffer, None))
        return _make_array, (obj.typecode, buffer)
    if kind.__module__ == "multiprocessing.connection":
        # Pickled by its number, it would be closed twice.
        raise TypeError(f"cannot pickle {kind.__name__!r} object: its descriptor has one owner in this process")
    return NotImplemented


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _by_value(obj) if type(obj) is FunctionType else _reduce(self, obj)


def _plain_pickler() -> type[pickle.Pickler]:
    return _Pickler


def _cloud_pickler() -> Any:
    import concurrent.interpreters  # noqa: F401 - of a module that is not imported, cloudpickle sends classes by value

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


class Payload:
    """An encoded object that is too large to travel inline, or that shares memory.

    Args:
        stream: The pickle, in segments.
        buffers: What goes beside it: segments, or memoryviews as they are.
    """

    __slots__ = ("_buffers", "_stream")

    def __init__(self, stream: list[Segment], buffers: list[tuple[Segment | memoryview, bool]]) -> None:
        self._stream = stream
        self._buffers = buffers

    def __len__(self) -> int:
        return sum(view.nbytes for view in self.manifest()[1:])

    def manifest(self) -> tuple[Any, ...]:
        """Returns what a queue between interpreters is to carry: the count of the pickle's pieces, then all views."""
        # Bytes would be copied by the interpreter that receives them; views of them are not.
        pieces = [memoryview(piece) for segment in self._stream for piece in segment.pieces]
        return len(pieces), *pieces, *[_view(*buffer) for buffer in self._buffers]

    def beginning(self) -> bytes:
        """Returns the beginning of the pickle."""
        return self._stream[0].beginning()

    def joined(self) -> bytes:
        """Returns the pickle in one piece.

        Raises:
            NotShareableError: It has buffers beside it.
        """
        if self._buffers:
            raise NotShareableError("memory that is shared can't be an argument of an initializer")
        return b"".join(piece for segment in self._stream for piece in segment.pieces)

    def close(self) -> None:
        """Lets go of everything."""
        self._stream = []
        self._buffers = []


def _view(content: Segment | memoryview, writable: bool) -> memoryview:
    if isinstance(content, memoryview):
        return content
    view = memoryview(content.pieces[0])
    return view if writable else view.toreadonly()


class Encoder(_Encoder):
    """The shared machinery's encoder, for interpreters.

    Args:
        serializer: "pickle" or "cloudpickle".

    Thread safety: may be called from several threads at once, and from a `__reduce__` that it has called.
    """

    def __init__(self, serializer: str) -> None:
        super().__init__(None, _PICKLERS[serializer](), memfds=False, payload=Payload, refusal=_refusal)
        self._plainly = serializer == "pickle"

    @property
    def by_value(self) -> bool:
        """Whether functions and classes that can't be imported travel as they are: with cloudpickle."""
        return not self._plainly

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | Payload:
        """Returns a call as a body.

        Raises:
            NotShareableError: It can't cross; the cause says why.
        """
        if not kwargs and self._plainly and type(fn) in _NAMED and fn.__module__ not in MAINS:
            body = marshalled_call(fn, args, INLINE_LIMIT)
            if body is not None:
                return body
        return self((fn, args, kwargs) if kwargs else (fn, args), True)  # type: ignore[no-any-return]


def _refusal(obj: Any, error: Exception) -> NotShareableError:
    """Returns what is raised for an object that could not be pickled because of `error`."""
    return NotShareableError(f"{_named(obj)} does not support cross-interpreter data: {error}")


def _named(obj: Any) -> str:
    """Returns what an error calls an object that could not be encoded; raises nothing but what a handler does."""
    try:
        text = repr(obj)
    except BaseException as exc:
        from corefutures_pools.foreign_code import class_name, raises_again  # hardly any worker needs them

        if not (issubclass(type(exc), Exception) or raises_again(exc, repr, obj)):
            raise
        text = f"a {class_name(obj)}"
    return text if len(text) < 300 else f"{text[:300]}…"


# ── decoding ─────────────────────────────────────────────────────────────────────────────────────────────────


def undecodable(what: str, error: Exception) -> NotShareableError:
    """Returns what is raised for an object that arrived, but could not be decoded because of `error`."""
    from corefutures_pools.foreign_code import class_name  # hardly any worker needs it

    return NotShareableError(f"{what} not shareable: object could not be unpickled ({class_name(error)}: {error})")


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
    """Returns the object in a payload.

    Args:
        manifest: As it came out of the queue.
        keep: Whether to copy the buffers, as their memory goes before the object does.

    Raises:
        BaseException: Whatever decoding raises.
    """
    count, *views = manifest
    return unpickle(views[:count], [_copy(view) for view in views[count:]] if keep else views[count:])


def _copy(view: memoryview) -> memoryview:
    """Returns memory of its own with the same content, format and shape.

    Raises:
        TypeError: There is no way to make one of that format.
    """
    content = view.tobytes()
    copy: Any = memoryview(content if view.readonly else bytearray(content))
    if view.format == "B" and view.ndim == 1:
        return copy  # type: ignore[no-any-return]
    if view.format[:1] in "<>=T":
        copy = _made_by_ctypes(view, bytearray(content))
    elif view.nbytes:
        return copy.cast(view.format, view.shape)  # type: ignore[no-any-return]
    else:  # nothing can be cast to a shape with zeros: an empty part of the smallest that isn't
        shape = view.shape or (0,)
        part = [1, *shape[1:]]
        copy = memoryview(bytearray(view.itemsize * prod(part))).cast(view.format, part)[: shape[0]]  # type: ignore[call-overload]
    return copy.toreadonly() if view.readonly else copy  # type: ignore[no-any-return]


def _made_by_ctypes(view: memoryview, content: bytearray) -> memoryview:
    """Returns a view of `content` as it was made by `ctypes`: with a byte order in its format."""
    import ctypes  # hardly any result needs it

    for kind in [kind for kind in ctypes._SimpleCData.__subclasses__() if kind.__module__ == ctypes.__name__]:
        for made in kind, getattr(kind, "__ctype_be__", kind), getattr(kind, "__ctype_le__", kind):
            if memoryview(made()).format == view.format:
                for length in reversed(view.shape or ()):
                    made *= length
                return memoryview(made.from_buffer(content))
    raise TypeError(f"memory with the format {view.format!r} can't be copied as such: return its bytes")
