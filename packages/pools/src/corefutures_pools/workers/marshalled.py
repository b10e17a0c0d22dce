"""Plain calls and results: a function known by its name, and values that `marshal` copies as `pickle` would.

Used on both sides; touches nothing of the pool. Tiny calls are many and of few functions, so nothing is looked up or
written twice. Guarantees: what is encoded here arrives as it would have arrived pickled.
"""

from __future__ import annotations

import sys
from marshal import dumps, loads
from types import BuiltinFunctionType, FunctionType

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: Types of what can be known by its name.
NAMED: Final = (FunctionType, BuiltinFunctionType)
#: Types of which every pickler makes the same, whatever the reducers: nothing could be asked about them.
SCALARS: Final = frozenset({int, float, bool, complex, type(None)})
#: The same holds for text and bytes, of which longer ones than this are left to picklers.
SHORT: Final = 1 << 12

# A plain call begins with 0 (pickles don't), then come the size of a pickle of the function's name, that pickle
# itself, and the arguments.
_GLOBAL: Final = b"\x80\x04c"
_START: Final = 2

#: The beginnings of the calls of functions, by module and name; no more of them than programs have, as a rule.
_beginnings: dict[tuple[str, str], bytes] = {}
_KEPT: Final = 1 << 12


def marshalled_call(fn: FunctionType | BuiltinFunctionType, args: tuple[Any, ...], limit: int) -> bytes | None:
    """Returns the body of a call if it is plain and at most `limit` bytes long, None otherwise."""
    for arg in args:
        kind = type(arg)
        if kind not in SCALARS and not ((kind is str or kind is bytes) and len(arg) <= SHORT):
            return None
    module, name = fn.__module__, fn.__qualname__
    try:
        if getattr(sys.modules.get(module), name, None) is not fn:  # looked up anew, as picklers do
            return None
        beginning = _beginnings.get((module, name)) or _begin(module, name)
    except (TypeError, UnicodeEncodeError):  # a strange name
        return None
    body = beginning + dumps(args)
    return body if beginning and len(body) <= limit else None


def _begin(module: str, name: str) -> bytes:
    """Returns the beginning of the calls of a function; nothing if it has a name for which that can't be made."""
    pickled = _GLOBAL + f"{module}\n{name}\n.".encode()
    if len(pickled) > 255 or pickled.count(b"\n") != 2:
        return b""
    if len(_beginnings) >= _KEPT:
        _beginnings.clear()
    made = _beginnings[module, name] = bytes((0, len(pickled))) + pickled
    return made


class CallReader:
    """Decodes calls, in a worker.

    Args:
        decode: Makes an object of a pickle.
    """

    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self._decode = decode
        self._names: dict[bytes, tuple[str, str]] = {}  # of the functions seen so far, by their pickles

    def __call__(self, body: bytes) -> Any:
        """Returns function and arguments, and keywords if there are any.

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
        except (KeyError, AttributeError):  # not seen before, or it has gone: what unpickling makes of that
            fn = self._decode(pickled)
            module, name, _ = pickled[len(_GLOBAL) :].decode().split("\n")
            if len(self._names) >= _KEPT:
                self._names.clear()
            self._names[pickled] = module, name
        return fn, loads(body[end:])


def marshalled_result(result: Any) -> bytes | None:
    """Returns the body of a result if it is plain, None otherwise."""
    kind = type(result)
    if kind in SCALARS or ((kind is str or kind is bytes) and len(result) <= SHORT):
        return dumps(result)
    return None
