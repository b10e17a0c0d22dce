"""The heads of calls, which name functions, and marshalled calls and results: values that `marshal` copies as `pickle`.

Used on both sides; touches nothing of the pool. Programs make many calls of few functions, so the encoded name of a
function is cached. Guarantees: what is encoded here arrives as it would have arrived pickled.
"""

from __future__ import annotations

import sys
from marshal import dumps, loads

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import BuiltinFunctionType, FunctionType
    from typing import Any, Final

#: The types of functions that can be sent by name.
NAMED: Final = (type(lambda: None), type(len))
#: Types that every pickler encodes itself, whatever the reducers.
SCALARS: Final = frozenset({int, float, bool, complex, type(None)})
#: Text and bytes are such types as well; longer ones than this are pickled, which copies them fewer times.
SHORT: Final = 1 << 15

# A marshalled call: 0 (no pickle begins with it), or 1 if there are keywords; the head; the marshalled arguments, or
# arguments and keywords. The head is the same for each call of a function: the size of a pickle of it in two bytes, and
# that pickle. If an argument is a shared object: 2; where the call begins, in two bytes; the index of the argument; the
# token of the object and its pickle; the call with None in the place of that argument, which may begin with 2 as well,
# and whose arguments are a list.
_GLOBAL: Final = b"\x80\x04c"
_SIZE: Final = 2
WITH_SHARED: Final = 2
_INDEX: Final = 3
_TOKEN: Final = slice(4, 20)
_HEAD_LIMIT: Final = 0xFFFF

#: In a worker: the shared objects that it has, by their tokens, each with its memory.
shared_objects: dict[bytes, tuple[Any, Any]] = {}
#: The heads of functions that are sent by name, by module and name; emptied when it is full, which few programs reach.
_heads: dict[tuple[str, str], bytes] = {}
_CACHE_SIZE: Final = 1 << 12


def marshalled_call(
    fn: FunctionType | BuiltinFunctionType,
    args: tuple[Any, ...] | list[Any],
    kwargs: dict[str, Any],
    limit: int,
    head: bytes = b"",
) -> bytes | None:
    """Return the body of a call if it can be marshalled in at most `limit` bytes, None otherwise.

    Args:
        fn: The function.
        args: Its arguments.
        kwargs: Its keyword arguments.
        limit: See above.
        head: The head, if the function is not sent by its name.
    """
    for arg in args:
        kind = type(arg)
        if kind not in SCALARS and not ((kind is str or kind is bytes) and len(arg) <= SHORT):
            return None
    if kwargs and not _can_be_marshalled(kwargs):
        return None
    if not head:
        module, name = fn.__module__, fn.__qualname__
        try:
            if getattr(sys.modules.get(module), name, None) is not fn:  # looked up for each call, as picklers do
                return None
            head = _heads.get((module, name)) or _named_head(module, name)
        except (TypeError, UnicodeEncodeError):  # a strange name
            return None
        if not head:
            return None
    body = b"\1" + head + dumps((args, kwargs)) if kwargs else b"\0" + head + dumps(args)
    return body if len(body) <= limit else None


def _can_be_marshalled(kwargs: dict[str, Any]) -> bool:
    for name, arg in kwargs.items():
        kind = type(arg)
        if type(name) is not str:
            return False
        if kind not in SCALARS and not ((kind is str or kind is bytes) and len(arg) <= SHORT):
            return False
    return True


def _named_head(module: str, name: str) -> bytes:
    """Return the head for the name of a function; nothing if the name can't be encoded."""
    pickled = _GLOBAL + f"{module}\n{name}\n.".encode()
    head = make_head(pickled) if pickled.count(b"\n") == 2 else b""
    if head:
        if len(_heads) >= _CACHE_SIZE:
            _heads.clear()
        _heads[module, name] = head
    return head


def shared_place(index: int, token: bytes, reference: bytes) -> bytes:
    """Return what precedes a marshalled call with None in the place of a shared object.

    Args:
        index: Which of the arguments it is.
        token: The token of the object.
        reference: The pickle of the object.

    Raises:
        ValueError: The index is too large.
    """
    size = 1 + _SIZE + 1 + len(token) + len(reference)
    return b"".join((bytes((WITH_SHARED,)), size.to_bytes(_SIZE), bytes((index,)), token, reference))


def make_head(pickled: bytes) -> bytes:
    """Return the head with a pickled function; nothing if that is too large."""
    return len(pickled).to_bytes(_SIZE) + pickled if len(pickled) <= _HEAD_LIMIT else b""


def import_named(pickled: bytes) -> Any:
    """Return the function that a head names, without `pickle`; None if there is none, or the head has no name.

    Raises:
        BaseException: Whatever the import of its module raises.
    """
    if not pickled.startswith(_GLOBAL):
        return None
    module, name = _place(pickled)
    __import__(module)
    return getattr(sys.modules.get(module), name, None)


def _place(pickled: bytes) -> tuple[str, str]:
    module, name, _ = pickled[len(_GLOBAL) :].decode().split("\n")
    return module, name


class CallReader:
    """Decodes calls, in a worker.

    Args:
        decode: Returns the object of a pickle.
    """

    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self._decode = decode
        self._names: dict[bytes, tuple[str, str]] = {}  # of the functions called before by name, by their heads

    def __call__(self, body: bytes) -> Any:
        """Return function and arguments, and keywords if there are any.

        Raises:
            BaseException: Whatever decoding raises.
        """
        kind = body[0]
        if kind > 1:
            return self._decode(body) if kind > WITH_SHARED else self._read_with_shared(body)
        end = 1 + _SIZE + (body[1] << 8) + body[2]
        head = body[1:end]
        try:
            module, name = self._names[head]
            fn = getattr(sys.modules[module], name)
        except (KeyError, AttributeError):  # not called before by name, or deleted: unpickling finds it or raises
            fn = self._unpickle(head[_SIZE:], head)
        return (fn, *loads(body[end:])) if kind else (fn, loads(body[end:]))

    def _read_with_shared(self, body: bytes) -> Any:
        end = (body[1] << 8) + body[2]
        known = shared_objects.get(body[_TOKEN])
        value = self._decode(body[_TOKEN.stop : end]) if known is None else known[1]
        call = self(body[end:])
        args = call[1]
        args[body[_INDEX]] = value
        return call

    def _unpickle(self, pickled: bytes, head: bytes) -> Any:
        fn = self._decode(pickled)
        if pickled.startswith(_GLOBAL):
            if len(self._names) >= _CACHE_SIZE:
                self._names.clear()
            self._names[head] = _place(pickled)
        return fn


def marshalled_result(result: Any) -> bytes | None:
    """Return the body of a result if it can be marshalled, None otherwise."""
    kind = type(result)
    if kind in SCALARS or ((kind is str or kind is bytes) and len(result) <= SHORT):
        return dumps(result)
    return None
