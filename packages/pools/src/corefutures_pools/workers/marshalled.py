"""Marshalled calls and results: a function by its name, and values that `marshal` copies as `pickle` would.

Used on both sides; touches nothing of the pool. Programs make many tiny calls of few functions, so the encoded name of
a function is cached. Guarantees: what is encoded here arrives as it would have arrived pickled.
"""

from __future__ import annotations

import sys
from marshal import dumps, loads
from types import BuiltinFunctionType, FunctionType

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: The types of functions that can be sent by name.
NAMED: Final = (FunctionType, BuiltinFunctionType)
#: Types that every pickler encodes itself, whatever the reducers.
SCALARS: Final = frozenset({int, float, bool, complex, type(None)})
#: Text and bytes are such types as well; longer ones than this are pickled.
SHORT: Final = 1 << 12

# A marshalled call: 0 (no pickle begins with it), the size of a pickle of the function's name, that pickle, and the
# marshalled arguments.
_GLOBAL: Final = b"\x80\x04c"
_START: Final = 2

#: The encoded names of functions, by module and name; emptied when it is full, which few programs reach.
_heads: dict[tuple[str, str], bytes] = {}
_CACHE_SIZE: Final = 1 << 12


def marshalled_call(fn: FunctionType | BuiltinFunctionType, args: tuple[Any, ...], limit: int) -> bytes | None:
    """Return the body of a call if it can be marshalled in at most `limit` bytes, None otherwise."""
    for arg in args:
        kind = type(arg)
        if kind not in SCALARS and not ((kind is str or kind is bytes) and len(arg) <= SHORT):
            return None
    module, name = fn.__module__, fn.__qualname__
    try:
        if getattr(sys.modules.get(module), name, None) is not fn:  # looked up for each call, as picklers do
            return None
        head = _heads.get((module, name)) or _make_head(module, name)
    except (TypeError, UnicodeEncodeError):  # a strange name
        return None
    body = head + dumps(args)
    return body if head and len(body) <= limit else None


def _make_head(module: str, name: str) -> bytes:
    """Return the encoded name of a function; nothing if the name can't be encoded."""
    pickled = _GLOBAL + f"{module}\n{name}\n.".encode()
    if len(pickled) > 255 or pickled.count(b"\n") != 2:
        return b""
    if len(_heads) >= _CACHE_SIZE:
        _heads.clear()
    head = _heads[module, name] = bytes((0, len(pickled))) + pickled
    return head


class CallReader:
    """Decodes calls, in a worker.

    Args:
        decode: Returns the object of a pickle.
    """

    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self._decode = decode
        self._names: dict[bytes, tuple[str, str]] = {}  # of the functions called before, by the pickles of their names

    def __call__(self, body: bytes) -> Any:
        """Return function and arguments, and keywords if there are any.

        Raises:
            BaseException: Whatever decoding raises.
        """
        if body[0]:
            return self._decode(body)
        end = _START + body[1]
        pickled = body[_START:end]
        try:
            module, name = self._names[pickled]
            fn = getattr(sys.modules[module], name)
        except (KeyError, AttributeError):  # not called before, or deleted meanwhile: unpickling finds it or raises
            fn = self._decode(pickled)
            module, name, _ = pickled[len(_GLOBAL) :].decode().split("\n")
            if len(self._names) >= _CACHE_SIZE:
                self._names.clear()
            self._names[pickled] = module, name
        return fn, loads(body[end:])


def marshalled_result(result: Any) -> bytes | None:
    """Return the body of a result if it can be marshalled, None otherwise."""
    kind = type(result)
    if kind in SCALARS or ((kind is str or kind is bytes) and len(result) <= SHORT):
        return dumps(result)
    return None
