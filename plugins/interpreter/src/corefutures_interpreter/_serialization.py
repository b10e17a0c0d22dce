"""Serialization between interpreters: pickles, and memory that interpreters share.

Used on both sides; touches the shared encoder and `pickle`. Guarantees: what was encoded is a copy, except for a
memoryview, which shows the same memory on both sides; what a worker sent is copied when it is received, because the
memory of an interpreter is freed with it.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import builtins
import marshal
import pickle
from array import array
from math import prod
from types import FunctionType

from _interpreters import NotShareableError

from corefutures_interpreter._functions import MAIN_MODULES, by_value, rebuild_function
from corefutures_pools.workers.marshalled import make_head
from corefutures_pools.workers.payload import Payload, unpickle
from corefutures_pools.workers.serialization import Encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, Final

    from corefutures_pools.workers.payload import Segment

# ── functions by value ───────────────────────────────────────────────────────────────────────────────────────


class _SentCode:
    """What is known of code that was sent: it never changes, so this is made once.

    Args:
        code: The code of a function.

    Attributes:
        code: Kept, so that its id stays its own.
        marshalled: The code as bytes.
        names: The names in it that are neither local nor attributes: globals or builtins.
        heads: The heads of calls of functions with this code, by name and qualified name.
    """

    __slots__ = ("code", "heads", "marshalled", "names")

    def __init__(self, code: CodeType) -> None:
        self.code = code
        self.marshalled = marshal.dumps(code)
        self.names = _global_names(code)
        self.heads: dict[tuple[str, str], bytes] = {}


#: The code that was sent, by its id; emptied when it is full: a program that makes its functions anew never ends.
_sent: dict[int, _SentCode] = {}
_CACHE_SIZE: Final = 1 << 10


def _by_value(function: FunctionType) -> Any:
    """Reduce a function to its code if no interpreter can import it and it uses nothing but arguments and builtins.

    `concurrent.interpreters` itself sends such functions: nested functions and lambdas without closure or globals.
    Functions of `__main__` are among them, so that they work where no file defines them.
    """
    sent = None if _is_importable(function) else _code_of(function)
    if sent is None:
        return NotImplemented  # by its name
    return rebuild_function, (sent.marshalled, function.__name__, function.__qualname__)


def _is_importable(function: FunctionType) -> bool:
    """Return whether every interpreter can import a function by its name, without running the main module."""
    module = function.__module__
    return module not in MAIN_MODULES and getattr(sys.modules.get(module), function.__qualname__, None) is function


def _code_of(function: FunctionType) -> _SentCode | None:
    """Return the code of a function if that is all of it, None otherwise: the rest may change from call to call."""
    if function.__closure__ or function.__defaults__ or function.__kwdefaults__:
        return None
    code = function.__code__
    sent = _sent.get(id(code))
    if sent is None:
        if len(_sent) >= _CACHE_SIZE:
            _sent.clear()
        sent = _sent[id(code)] = _SentCode(code)
    known = builtins.__dict__
    for name in sent.names:
        if name not in known:
            return None
    return sent


def _head(function: Any) -> bytes:
    """Return the head of calls of a function that is not sent by its name, or not always; nothing if it has none."""
    if type(function) is not FunctionType:
        return b""
    sent = _code_of(function)
    if sent is None:
        return b""
    names = function.__name__, function.__qualname__
    head = sent.heads.get(names)
    if head is None:
        head = sent.heads[names] = make_head(by_value(sent.marshalled, *names))
    return head


def _global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names that `code`, or a function defined in it, uses and that are not local: globals or builtins."""
    from opcode import EXTENDED_ARG, opmap

    shifts = {opmap["LOAD_GLOBAL"]: 1, opmap["LOAD_NAME"]: 0, opmap["STORE_GLOBAL"]: 0, opmap["DELETE_GLOBAL"]: 0}
    names, extended, found = code.co_names, 0, set[str]()
    raw = code.co_code
    for operation, argument in zip(raw[::2], raw[1::2], strict=True):
        argument |= extended << 8
        extended = argument if operation == EXTENDED_ARG else 0
        if operation in shifts:
            found.add(names[argument >> shifts[operation]])
    for part in code.co_consts:
        if isinstance(part, type(code)):
            found.update(_global_names(part))
    return tuple(found)


# ── encoding ─────────────────────────────────────────────────────────────────────────────────────────────────


def _reduce(pickler: Any, obj: Any) -> Any:
    """Reduce objects that the pickler alone can't; for the pickler's `reducer_override`."""
    kind = type(obj)
    if kind is memoryview:
        # A placeholder in the pickle: a memoryview can be one itself only if it is contiguous.
        buffer = pickle.PickleBuffer(b"" if obj.readonly else bytearray())
        pickler.out_of_band.append((buffer, obj))
        return memoryview, (buffer,)
    if kind is array:
        buffer = pickle.PickleBuffer(obj)
        pickler.out_of_band.append((buffer, None))
        return _rebuild_array, (obj.typecode, buffer)
    if kind.__module__ == "multiprocessing.connection":
        # A copy would have the same descriptor, which would be closed twice.
        raise TypeError(f"cannot pickle {kind.__name__!r} object: its descriptor has one owner in this process")
    return NotImplemented


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _by_value(obj) if type(obj) is FunctionType else _reduce(self, obj)


def _plain_pickler() -> type[pickle.Pickler]:
    return _Pickler


def _cloud_pickler() -> Any:
    import concurrent.interpreters  # noqa: F401 - cloudpickle sends the classes of a module by value unless it is imported

    import cloudpickle  # type: ignore[import-untyped, import-not-found, unused-ignore]

    class CloudPickler(cloudpickle.CloudPickler):  # type: ignore[misc, unused-ignore]
        def reducer_override(self, obj: Any) -> Any:
            reduced = _reduce(self, obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

    return CloudPickler


#: serializer → function that returns the class to pickle with.
_PICKLERS = {"pickle": _plain_pickler, "cloudpickle": _cloud_pickler}


def _rebuild_array(kind: str, content: Any) -> array[Any]:
    made: array[Any] = array(kind)
    made.frombytes(memoryview(content).cast("B"))
    return made


class SharedPayload(Payload):
    """A payload whose content the other interpreter reads where it is; its buffers may be memoryviews."""

    __slots__ = ()

    def __len__(self) -> int:
        return sum(view.nbytes for view in self.to_views()[1:])

    def to_views(self) -> tuple[Any, ...]:
        """Return the item for a queue between interpreters: the number of pieces of the pickle, then all views."""
        # A queue copies bytes objects, but not what a memoryview shows.
        pieces = [memoryview(piece) for segment in self.stream for piece in segment.pieces]
        return len(pieces), *pieces, *[_view(*buffer) for buffer in self.buffers]

    def joined(self) -> bytes:
        """Return the pickle in one piece.

        Raises:
            NotShareableError: The payload has out-of-band buffers.
        """
        if self.buffers:
            raise NotShareableError("memory that is shared can't be an argument of an initializer")
        return b"".join(piece for segment in self.stream for piece in segment.pieces)


def _view(content: Segment | memoryview, writable: bool) -> memoryview:
    if isinstance(content, memoryview):
        return content
    view = memoryview(content.pieces[0])
    return view if writable else view.toreadonly()


def make_encoder(serializer: str) -> Encoder:
    """Return the encoder of calls and results.

    Args:
        serializer: "pickle" or "cloudpickle".
    """
    return Encoder(
        pickler=_PICKLERS[serializer](),
        by_value=serializer != "pickle",
        unnamed=MAIN_MODULES,
        unnamed_head=_head,
        memfds=False,
        payload=SharedPayload,
        refusal=_refusal,
    )


def _refusal(obj: Any, error: Exception) -> NotShareableError:
    """Return the exception for an object that could not be pickled because of `error`."""
    return NotShareableError(f"{_named(obj)} does not support cross-interpreter data: {error}")


def _named(obj: Any) -> str:
    """Return the name of an object for an error; raise only what a signal handler raises meanwhile."""
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
    """Return the exception for an object that was received and could not be decoded because of `error`."""
    from corefutures_pools.foreign_code import class_name  # hardly any worker needs it

    return NotShareableError(f"{what} not shareable: object could not be unpickled ({class_name(error)}: {error})")


def decode_result(body: Any) -> Any:
    """Return the object in an inline body that a worker sent.

    Raises:
        ImportError: A part of the object could not be imported.
        NotShareableError: The body could not be decoded for any other reason, which is the cause.
    """
    try:
        return pickle.loads(body)
    except ImportError:
        raise
    except Exception as exc:
        raise undecodable("result", exc) from exc


def load(received: tuple[Any, ...], *, copy: bool = False) -> Any:
    """Return the object in a payload.

    Args:
        received: The item that `SharedPayload.to_views` made.
        copy: Whether to copy the buffers, because their memory may be freed before the object is.

    Raises:
        BaseException: Whatever decoding raises.
    """
    count, *views = received
    return unpickle(views[:count], [_copied(view) for view in views[count:]] if copy else views[count:])


def _copied(view: memoryview) -> memoryview:
    """Return a view of new memory with the same content, format and shape.

    Raises:
        TypeError: No view can be made with that format.
    """
    content = view.tobytes()
    copy: Any = memoryview(content if view.readonly else bytearray(content))
    if view.format == "B" and view.ndim == 1:
        return copy  # type: ignore[no-any-return]
    if view.format[:1] in "<>=T":
        copy = _made_by_ctypes(view, bytearray(content))
    elif view.nbytes:
        return copy.cast(view.format, view.shape)  # type: ignore[no-any-return]
    else:  # `cast` refuses a shape with zeros: make one element more, and take an empty part of it
        shape = view.shape or (0,)
        part = [1, *shape[1:]]
        copy = memoryview(bytearray(view.itemsize * prod(part))).cast(view.format, part)[: shape[0]]  # type: ignore[call-overload]
    return copy.toreadonly() if view.readonly else copy  # type: ignore[no-any-return]


def _made_by_ctypes(view: memoryview, content: bytearray) -> memoryview:
    """Return a view of `content` with the format of a `ctypes` array, which names a byte order."""
    import ctypes  # hardly any result needs it

    for kind in [kind for kind in ctypes._SimpleCData.__subclasses__() if kind.__module__ == ctypes.__name__]:
        for made in kind, getattr(kind, "__ctype_be__", kind), getattr(kind, "__ctype_le__", kind):
            if memoryview(made()).format == view.format:
                for length in reversed(view.shape or ()):
                    made *= length
                return memoryview(made.from_buffer(content))
    raise TypeError(f"memory with the format {view.format!r} can't be copied as such: return its bytes")
